//! The side of a connection that asks.
//!
//! A connection is made with its handshake: after that both sides are known to understand each other. Then any
//! number of batches may be under way. Their answers come in any order: an agent of Flume works on the calls of
//! one connection with several threads, and then even what they bring is taken in another order.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use native_tls::TlsConnector;

pub use super::asked::Calls;
use super::asked::{self, Asked, Unfit};
use super::call::{Answer, Call};
use super::datum::Malformed;
use super::frame::{self, Allowance, Frame, Next};
use super::handshake::Request;
use super::stream::{self, Outside, Stream};
use crate::event::Event;

/// How long an answer may be: a status, or the protocol.
const ANSWER_BYTES: usize = 1 << 20;

/// How many bytes of bodies a call brings at most, unless one alone has more: peers refuse frames that are too
/// long for them, those in Java such of more than a tenth of their memory.
const CALL_BYTES: usize = 16 << 20;

/// Where a peer is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How long a connection may take to come about, with its handshake.
    pub connect: Duration,
    /// How long an answer may take.
    pub request: Duration,
    /// How hard the connection is compressed, if it is.
    pub level: Option<u32>,
    /// TLS, if it is spoken.
    pub tls: Option<TlsConnector>,
}

/// Why a peer has not answered as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its name is none.
    #[error("cannot find the host {host}")]
    Name {
        /// The name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is no connection.
    #[error("cannot connect to {peer}")]
    Connect {
        /// The peer.
        peer: String,
        /// Why.
        source: stream::Error,
    },
    /// A batch cannot be sent.
    #[error("cannot send to {peer}")]
    Send {
        /// The peer.
        peer: String,
        /// Why.
        source: io::Error,
    },
    /// An answer cannot be read.
    #[error("cannot read what {peer} answers")]
    Read {
        /// The peer.
        peer: String,
        /// Why.
        source: frame::Error,
    },
    /// No answer comes in time.
    #[error("{peer} has not answered in {} ms", patience.as_millis())]
    Silent {
        /// The peer.
        peer: String,
        /// How long was waited.
        patience: Duration,
    },
    /// The peer has closed the connection.
    #[error("{peer} has closed the connection")]
    Closed {
        /// The peer.
        peer: String,
    },
    /// The peer speaks something else.
    #[error("{peer} does not speak Flume's protocol")]
    Malformed {
        /// The peer.
        peer: String,
        /// What is wrong with it.
        source: Malformed,
    },
    /// The peer does not know Flume's protocol.
    #[error("{peer} does not know Flume's protocol")]
    Stranger {
        /// The peer.
        peer: String,
    },
    /// The peer answers what it was not asked.
    #[error("{peer} answers the call {serial}, which was not made")]
    Serial {
        /// The peer.
        peer: String,
        /// What it answers.
        serial: i32,
    },
}

impl Error {
    /// Whether the peer does nothing, as far as can be seen, while the connection stands.
    pub fn is_silence(&self) -> bool {
        match self {
            Error::Silent { .. } => true,
            Error::Send { source, .. } => frame::is_silence(source),
            _ => false,
        }
    }
}

/// A connection to a peer.
#[derive(Debug)]
pub struct Client {
    peer: Peer,
    stream: Stream,
    asked: Asked,
    /// Whether the peer works on calls, and answers them, in their order.
    in_order: bool,
    frame: Vec<u8>,
    allowance: Allowance,
}

impl Peer {
    /// As it is called in errors and logs.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Connects, and makes the handshake. Where there are both TLS and compression, the order of the two that
    /// the peer has is found out, and kept in `outside`.
    ///
    /// # Errors
    ///
    /// If the peer cannot be reached, or does not speak Flume's protocol.
    pub fn connect(&self, outside: &mut Outside) -> Result<Client, Error> {
        let first = self.connect_so(*outside);
        let has_both = self.tls.is_some() && self.level.is_some();
        // A peer that was reached, and then was not understood or did not understand.
        let is_doubtful = |error: &Error| match error {
            Error::Connect { source: stream::Error::Connection(error), .. } => {
                error.kind() != io::ErrorKind::ConnectionRefused
            }
            Error::Name { .. } => false,
            _ => true,
        };
        if first.as_ref().err().is_none_or(|error| !has_both || !is_doubtful(error)) {
            return first;
        }
        match self.connect_so(outside.other()) {
            Ok(client) => {
                *outside = outside.other();
                Ok(client)
            }
            Err(_) => first,
        }
    }

    fn connect_so(&self, outside: Outside) -> Result<Client, Error> {
        let deadline = Instant::now() + self.connect;
        let failed = |source| Error::Connect { peer: self.name(), source };
        let socket = self.reach()?;
        let set = || -> io::Result<()> {
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(self.connect))?;
            socket.set_write_timeout(Some(self.request))
        };
        set().map_err(|error| failed(error.into()))?;
        let left = deadline.saturating_duration_since(Instant::now());
        let tls = self.tls.as_ref().map(|tls| (tls, self.host.as_str()));
        let stream = Stream::connected(socket, tls, self.level, outside, left).map_err(failed)?;
        let mut client = Client {
            peer: self.clone(),
            stream,
            asked: Asked::default(),
            in_order: false,
            frame: Vec::new(),
            allowance: Allowance::new(ANSWER_BYTES),
        };
        client.meet()?;
        let set = client.stream.socket().set_read_timeout(Some(self.request));
        set.map_err(|error| failed(error.into()))?;
        Ok(client)
    }

    /// A connection to the first of its addresses that answers.
    fn reach(&self) -> Result<TcpStream, Error> {
        let name = |source| Error::Name { host: self.host.clone(), source };
        let addresses = (self.host.as_str(), self.port).to_socket_addrs().map_err(name)?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, self.connect) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(Error::Connect { peer: self.name(), source: last.into() })
    }
}

impl Client {
    fn meet(&mut self) -> Result<(), Error> {
        frame::begin(&mut self.frame);
        Request::of_ours().put(&mut self.frame);
        Call::put_ping(&mut self.frame);
        self.send_frame()?;
        self.asked.greeted();
        let frame = self.next_frame(self.peer.connect)?;
        self.in_order = asked::met(frame).map_err(|unfit| self.unfit(unfit))?;
        Ok(())
    }

    /// Whether the peer works on calls, and answers them, in their order.
    pub fn in_order(&self) -> bool {
        self.in_order
    }

    /// Sends a batch, which [`Client::receive`] brings the answer to.
    ///
    /// # Errors
    ///
    /// If it cannot be sent: the connection cannot be used any more, but answers to what was sent before may
    /// still be there.
    pub fn send(&mut self, mut events: &[Event]) -> Result<Calls, Error> {
        let mut calls = self.asked.batch();
        while !events.is_empty() {
            let (part, rest) = events.split_at(first_part(events));
            frame::begin(&mut self.frame);
            Call::put_append_batch(&mut self.frame, part);
            self.send_frame()?;
            self.asked.called();
            calls.grow();
            events = rest;
        }
        Ok(calls)
    }

    /// Waits for the answer to a batch: that its calls were all made, or what has become of one that was not.
    ///
    /// # Errors
    ///
    /// If it does not come: what has become of the batch is not known, and the connection cannot be used any
    /// more.
    pub fn receive(&mut self, calls: Calls) -> Result<Answer, Error> {
        loop {
            if let Some(answer) = self.received(calls) {
                return Ok(answer);
            }
            let frame = self.next_frame(self.peer.request)?;
            self.asked.answered(frame).map_err(|unfit| self.unfit(unfit))?;
        }
    }

    /// The answer to a batch, if it is there already.
    pub fn received(&mut self, calls: Calls) -> Option<Answer> {
        self.asked.received(calls)
    }

    /// Sends a frame that was begun.
    fn send_frame(&mut self) -> Result<(), Error> {
        let sent = frame::send(&mut self.stream, &mut self.frame, self.asked.next());
        sent.map_err(|source| Error::Send { peer: self.peer.name(), source })
    }

    fn next_frame(&mut self, patience: Duration) -> Result<Frame, Error> {
        let peer = || self.peer.name();
        let next = frame::read(&mut self.stream, &mut self.allowance.hold(), patience);
        match next.map_err(|source| Error::Read { peer: peer(), source })? {
            Next::Silence => Err(Error::Silent { peer: peer(), patience }),
            Next::End => Err(Error::Closed { peer: peer() }),
            Next::Frame(frame) => Ok(frame),
        }
    }

    fn unfit(&self, unfit: Unfit) -> Error {
        let peer = self.peer.name();
        match unfit {
            Unfit::Malformed(source) => Error::Malformed { peer, source },
            Unfit::Stranger => Error::Stranger { peer },
            Unfit::Serial(serial) => Error::Serial { peer, serial },
        }
    }
}

/// How many of these events go into one call.
fn first_part(events: &[Event]) -> usize {
    let mut bytes = 0;
    let fits = |event: &&Event| {
        bytes += event.body.len();
        bytes <= CALL_BYTES
    };
    events.iter().take_while(fits).count().max(1)
}
