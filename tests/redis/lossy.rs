//! A proxy that loses replies: what was asked has happened, and nobody is told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Listens before a server for as long as the process lives.
pub struct Lossy {
    address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// How many replies are still to be lost.
    losing: AtomicU64,
    lost: AtomicU64,
}

impl Lossy {
    pub fn before(server: String) -> Lossy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else {
                    continue;
                };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || carry(from, to, None));
                let state = Arc::clone(&shared);
                thread::spawn(move || carry(server, client, Some(&state)));
            }
        });
        Lossy { address, state }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Loses the next so many replies, each with its connection.
    pub fn lose(&self, count: u64) {
        self.state.losing.store(count, Ordering::SeqCst);
    }

    pub fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::SeqCst)
    }
}

/// Carries bytes until one side ends; loses what it should.
fn carry(mut from: TcpStream, mut to: TcpStream, losing: Option<&State>) {
    let mut piece = [0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let loses = |state: &&State| {
            let one_less = |left: u64| left.checked_sub(1);
            state.losing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
        };
        if let Some(state) = losing.filter(loses) {
            state.lost.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // The other direction ends with this one; either may have ended before.
    for end in [from, to] {
        end.shutdown(Shutdown::Both).unwrap_or(());
    }
}
