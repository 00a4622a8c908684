//! Where a process is reached by the others, and how it reaches them.
//!
//! Only who knows the secret comes in. Anybody else (a port scanner, half a handshake, a wrong secret) is
//! dropped after [`PATIENCE`] at the latest, and disturbs nobody: each handshake has a thread of its own,
//! of which there are so many at most, for the oldest is dropped for another; and is logged, once a minute.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::handshake::{self, Hello, PATIENCE, Purpose};
use super::{Agreed, Place};
use crate::config::Address;
use crate::retry::Stop;

/// How many handshakes may be under way.
const AT_ONCE: usize = 64;

/// How long nobody is let in when the system has no room for a connection.
const RESPITE: Duration = Duration::from_millis(10);

/// How many connections of one purpose wait to be taken; a process has one.
const WAITING: usize = 1024;

/// How often it is logged that strangers are dropped, and that a process is waited for.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// The longest wait before a process is called again.
const CALLED_EVERY: Duration = Duration::from_millis(500);

/// What all processes of a cluster need to find and know each other.
#[derive(Clone)]
pub(super) struct Circle {
    pub secret: Arc<[u8]>,
    pub agreed: Agreed,
    pub here: Place,
    pub hosts: Arc<[Address]>,
    pub silence: Duration,
}

/// The listening side.
pub(super) struct Door {
    came: Arc<Came>,
}

#[derive(Default)]
struct Came {
    waiting: Mutex<BTreeMap<(usize, Option<u64>), TcpStream>>,
    news: Condvar,
    /// Those of which it is not known yet who they are, by number, the oldest first.
    strangers: Mutex<BTreeMap<u64, TcpStream>>,
    dropped: Mutex<Dropped>,
}

/// What is known of connections that were dropped.
#[derive(Default)]
struct Dropped {
    logged: Option<Instant>,
    since: u64,
}

/// The run that a connection is for; none of one that joins.
fn run_of(purpose: Purpose) -> Option<u64> {
    match purpose {
        Purpose::Control => None,
        Purpose::Data(run) => Some(run),
    }
}

impl Door {
    /// Listens on this process's line of the host file, and nowhere else, for as long as the process lives.
    ///
    /// # Errors
    ///
    /// If that address cannot be listened on.
    pub fn open(circle: &Circle) -> io::Result<Door> {
        let listener = TcpListener::bind(resolve(&circle.hosts[circle.here.index])?)?;
        let came = Arc::new(Came::default());
        let (door, circle) = (Arc::clone(&came), circle.clone());
        let accept = move || {
            let mut number = 0;
            for socket in listener.incoming() {
                match socket {
                    Ok(socket) => {
                        admit(&door, &circle, number, socket);
                        number += 1;
                    }
                    // Such as too many open files: those who are here already are not concerned.
                    Err(error) => {
                        door.dropped(&"somebody", &error.to_string());
                        Stop::default().wait(RESPITE);
                    }
                }
            }
        };
        std::thread::Builder::new().name("cluster-door".to_owned()).spawn(accept)?;
        Ok(Door { came })
    }

    /// Forgets connections that were made for other runs.
    pub fn expect(&self, run: u64) {
        self.came.lock().retain(|(_, of), _| of.is_none_or(|of| of == run));
    }

    /// Waits for the connection of a process for this purpose; none if it does not come in time.
    pub fn take(&self, from: usize, purpose: Purpose, patience: Duration) -> Option<TcpStream> {
        let until = Instant::now() + patience;
        let mut waiting = self.came.lock();
        loop {
            if let Some(socket) = waiting.remove(&(from, run_of(purpose))) {
                return Some(socket);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.came.news.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Came {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(usize, Option<u64>), TcpStream>> {
        // Whole at any time.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a handshake begins. Where too many are under way, the oldest ends: who belongs here takes
    /// a moment, and calls again.
    fn begin(&self, number: u64, socket: TcpStream) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.insert(number, socket);
        if strangers.len() > AT_ONCE
            && let Some((_, oldest)) = strangers.pop_first()
            && let Err(error) = oldest.shutdown(Shutdown::Both)
        {
            log::debug!("a stranger is gone already: {error}");
        }
    }

    fn end(&self, number: u64) {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Logs that a connection was dropped, unless another one was a while ago.
    fn dropped(&self, from: &dyn std::fmt::Display, why: &str) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        dropped.since += 1;
        if dropped.logged.is_none_or(|at| at.elapsed() >= LOGGED_EVERY) {
            let count = dropped.since;
            log::warn!("a connection was dropped: from={from} count={count}: {why}");
            *dropped = Dropped { logged: Some(Instant::now()), since: 0 };
        }
    }
}

/// Makes sure who has connected, on a thread of its own.
fn admit(came: &Arc<Came>, circle: &Circle, number: u64, socket: TcpStream) {
    let from = socket.peer_addr().map_or_else(|_| "somebody".to_owned(), |it| it.to_string());
    match socket.try_clone() {
        Ok(clone) => came.begin(number, clone),
        Err(error) => return came.dropped(&from, &error.to_string()),
    }
    let (within, circle) = (Arc::clone(came), circle.clone());
    let shake = move || {
        let judge = |hello: &Hello| handshake::compare(&circle.agreed, circle.here, hello);
        let answered = handshake::answer(&socket, &circle.secret, judge);
        within.end(number);
        match answered {
            Ok(hello) => {
                let mut waiting = within.lock();
                // Who calls again has given up the connection before.
                if waiting.len() < WAITING {
                    waiting.insert((hello.from, run_of(hello.purpose)), socket);
                }
                within.news.notify_all();
            }
            // It knows the secret: somebody must mend this.
            Err(handshake::Error::Refused(why)) => {
                log::error!("a process was refused: from={from}: {why}");
            }
            Err(error) => within.dropped(&from, &error.to_string()),
        }
    };
    let spawned = std::thread::Builder::new().name("cluster-handshake".to_owned()).spawn(shake);
    if let Err(error) = spawned {
        came.end(number);
        came.dropped(&"somebody", &error.to_string());
    }
}

/// Why a process was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    /// The work ends.
    #[error("the job is stopping")]
    Stopped,
    /// Not in time.
    #[error("process {index} at {address} is not reached: {why}")]
    Late { index: usize, address: String, why: String },
    /// It does not let this process in.
    #[error("process {index} at {address} refuses this process: {why}")]
    Refused { index: usize, address: String, why: String },
}

/// Calls a process until it lets this one in; gives up after `patience`, if there is one.
pub(super) fn call(
    circle: &Circle,
    index: usize,
    purpose: Purpose,
    patience: Option<Duration>,
    stop: &Stop,
) -> Result<TcpStream, Unreached> {
    let address = &circle.hosts[index];
    let hello =
        Hello { agreed: circle.agreed.clone(), from: circle.here.index, to: index, purpose };
    let begun = Instant::now();
    let mut logged: Option<Instant> = None;
    let mut wait = Duration::from_millis(10);
    loop {
        let why = match reach(address, &circle.secret, &hello) {
            Ok(socket) => return Ok(socket),
            Err(handshake::Error::Refused(why)) => {
                return Err(Unreached::Refused { index, address: address.to_string(), why });
            }
            Err(error) => error.to_string(),
        };
        if patience.is_some_and(|patience| begun.elapsed() >= patience) {
            return Err(Unreached::Late { index, address: address.to_string(), why });
        }
        // A process that starts a moment later is no news.
        if begun.elapsed() > Duration::from_secs(1)
            && logged.is_none_or(|at| at.elapsed() >= LOGGED_EVERY)
        {
            log::warn!("waiting for process {index} at {address}: {why}");
            logged = Some(Instant::now());
        }
        if stop.wait(wait) {
            return Err(Unreached::Stopped);
        }
        wait = (wait * 2).min(CALLED_EVERY);
    }
}

fn reach(address: &Address, secret: &[u8], hello: &Hello) -> Result<TcpStream, handshake::Error> {
    let socket = TcpStream::connect_timeout(&resolve(address)?, PATIENCE)?;
    handshake::call(&socket, secret, hello)?;
    Ok(socket)
}

fn resolve(address: &Address) -> io::Result<SocketAddr> {
    let mut found = (&*address.host, address.port).to_socket_addrs()?;
    found.next().ok_or_else(|| io::Error::other(format!("{} has no address", address.host)))
}

/// Makes a connection one that notices within `silence` that the other end is gone, also where it has
/// nothing to say.
pub(super) fn settle(socket: &TcpStream, silence: Duration) -> io::Result<()> {
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(1))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(1))?;
    let probes = u32::try_from(silence.as_secs()).unwrap_or(u32::MAX).clamp(1, 100);
    sockopt::set_tcp_keepcnt(socket, probes)?;
    let milliseconds = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(socket, milliseconds)?;
    Ok(())
}
