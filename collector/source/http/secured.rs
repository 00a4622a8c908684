//! Where peers connect that speak TLS: a peer is there when it has brought that about, and until then holds up
//! no other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use openssl::ssl::SslAcceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::complaints::Complaints;
use crate::stop::chain;
use crate::tls::stream::Stream;

/// Listens for peers that speak TLS.
pub struct Secured {
    listener: TcpListener,
    acceptor: SslAcceptor,
    /// How long a peer may take for its TLS.
    patience: Duration,
    /// The peers that have not brought it about yet. They end with the listener.
    shaking: JoinSet<Option<(Stream, SocketAddr)>>,
    complaints: Arc<Complaints>,
}

impl Secured {
    /// Peers of this listener are shown what the acceptor has to show.
    pub fn new(
        listener: TcpListener,
        acceptor: SslAcceptor,
        patience: Duration,
        complaints: Arc<Complaints>,
    ) -> Secured {
        Secured { listener, acceptor, patience, shaking: JoinSet::new(), complaints }
    }

    fn shake(&mut self, socket: TcpStream, peer: SocketAddr) {
        let (acceptor, patience) = (self.acceptor.clone(), self.patience);
        let complaints = Arc::clone(&self.complaints);
        self.shaking.spawn(async move {
            let accepted = Stream::accepted(socket, &acceptor);
            let why = match tokio::time::timeout(patience, accepted).await {
                Ok(Ok(stream)) => return Some((stream, peer)),
                Ok(Err(error)) => format!("there is no TLS with it: {}", chain(&error)),
                Err(_) => format!("it has not brought about its TLS in {} s", patience.as_secs()),
            };
            complaints.of_peer(peer, &why);
            None
        });
    }
}

impl Listener for Secured {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            tokio::select! {
                // It waits itself where the system has no room for another connection.
                (socket, peer) = Listener::accept(&mut self.listener) => self.shake(socket, peer),
                Some(shaken) = self.shaking.join_next() => {
                    if let Some(peer) = shaken.expect("a panic ends the process") {
                        return peer;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
