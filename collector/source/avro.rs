//! The other end of Flume's avro sinks and clients.
//!
//! A connection has a thread of its own, which sleeps in the kernel while the peer has nothing to say, and its
//! calls are answered one after another. So many connections are there at most ([`Avro::read`]:
//! `maxConnections`); one more is closed at once. A frame has a greatest length (`maxFrameBytes`), and all
//! that are under way have four times that, with what their events take.
//!
//! A peer that speaks something else, does not get its first frame or its TLS done in a minute, stops within a
//! frame or does not read its answers loses its connection, and nobody else does.

mod peers;
mod socket;

use std::io::PipeReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use openssl::ssl::SslAcceptor;

use self::peers::Rules;
use self::socket::{Socket, farewell};
use super::{Failure, Inlet};
use crate::avro::call::{Answer, Call, Status};
use crate::avro::frame::{self, Allowance, Next};
use crate::avro::handshake::Known;
use crate::avro::server::Session;
use crate::avro::stream::{self, Stream};
use crate::counters::Source as Count;
use crate::event::Event;
use crate::keys::Keys;
use crate::stop::{Stop, chain};
use crate::tls::{self, Shown};

/// How long a peer may take for its first frame, its TLS, and any mebibyte of a frame that it has begun.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a peer may take to make room for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// How often a thread looks whether its peer has been silent for too long.
const LOOK: Duration = Duration::from_secs(10);

/// How long is waited where the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(500);

/// A thread needs little; what it does not touch is not even there.
const STACK_BYTES: usize = 512 << 10;

/// Takes what Flume's avro sinks and clients send.
#[derive(Debug)]
pub struct Avro {
    bind: String,
    port: u16,
    is_deflated: bool,
    tls: Option<Shown>,
    rules: Rules,
    most_connections: usize,
    most_frame_bytes: usize,
    patience: Duration,
}

/// Why it cannot listen.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot listen on {bind}:{port}")]
    Bind { bind: String, port: u16, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Why a peer loses its connection.
#[derive(Debug, thiserror::Error)]
enum Dropped {
    #[error("it may not connect: ipFilterRules")]
    Denied,
    #[error("there are {0} connections already: maxConnections")]
    TooMany(usize),
    #[error(transparent)]
    Stream(#[from] stream::Error),
    #[error(transparent)]
    Frame(#[from] frame::Error),
    #[error(transparent)]
    Malformed(#[from] crate::avro::datum::Malformed),
    #[error("it has not made its handshake in {} s", .0.as_secs())]
    Silent(Duration),
    #[error("it does not take its answer")]
    Answer(#[source] std::io::Error),
    #[error("cannot set up its connection")]
    Setup(#[source] std::io::Error),
}

impl Avro {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Avro {
        let bind = keys.required("bind");
        let port = keys.port("port");
        keys.ignore(
            "threads",
            "every connection has a thread of its own (maxConnections bounds them)",
        );
        let is_deflated =
            keys.choice("compression-type", "none", &[("none", false), ("deflate", true)]);
        Avro {
            bind,
            port,
            is_deflated,
            tls: Shown::read(keys),
            rules: Rules::read(keys),
            most_connections: keys.count("maxConnections", 1000),
            most_frame_bytes: keys.number(
                "maxFrameBytes",
                64 << 20,
                "65536 to 1073741824",
                |bytes| (1 << 16..=1 << 30).contains(&bytes),
            ),
            patience: PATIENCE,
        }
    }
}

impl super::Source for Avro {
    fn batch(&self) -> usize {
        0
    }

    fn run(&mut self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        let tls = self.tls.as_ref().map(Shown::acceptor).transpose().map_err(Error::from)?;
        let listening = TcpListener::bind((self.bind.as_str(), self.port));
        let listener = listening.map_err(|source| Error::Bind {
            bind: self.bind.clone(),
            port: self.port,
            source,
        })?;
        log::info!("source {} listens: address={}:{}", inlet.name(), self.bind, self.port);
        let (ends, end) = std::io::pipe()?;
        let served = Served {
            settings: self,
            tls,
            inlet,
            stop,
            known: Known::default(),
            allowance: Allowance::new(self.most_frame_bytes),
            open: AtomicUsize::new(0),
            ends: Arc::new(ends),
            told: Mutex::default(),
            untold: AtomicU64::new(0),
        };
        std::thread::scope(|scope| {
            let accepting = Builder::new()
                .name(format!("{} accepts", inlet.name()))
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || served.accept(&listener, scope))?;
            while !stop.wait(Duration::MAX) {}
            // This wakes who waits for a connection, and then those who wait for their peers. What has come is
            // taken, and answered.
            if let Err(error) = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both) {
                log::debug!("the listener is not shut down: error={error}");
            }
            accepting.join().expect("a panic ends the process");
            drop(end);
            Ok(())
        })
    }

    /// Peers send what they like.
    fn may_set(&self, _: &str) -> bool {
        true
    }
}

/// A source that listens.
struct Served<'a> {
    settings: &'a Avro,
    tls: Option<SslAcceptor>,
    inlet: &'a Inlet,
    stop: &'a Stop,
    known: Known,
    allowance: Allowance,
    /// How many connections there are.
    open: AtomicUsize,
    /// Its other end is closed when the source is to end.
    ends: Arc<PipeReader>,
    /// When a lost connection was last told of, and how many were not.
    told: Mutex<Option<Instant>>,
    untold: AtomicU64,
}

impl Served<'_> {
    fn accept<'scope>(&'scope self, listener: &TcpListener, scope: &'scope Scope<'scope, '_>) {
        while !self.stop.is_stopped() {
            match listener.accept() {
                Ok((socket, peer)) => {
                    if let Err(error) = self.let_in(socket, peer, scope) {
                        self.tell(peer, &error);
                    }
                }
                Err(_) if self.stop.is_stopped() => return,
                Err(error) => {
                    log::warn!("source {} cannot accept: error={error}", self.inlet.name());
                    self.stop.wait(NO_ROOM);
                }
            }
        }
    }

    fn let_in<'scope>(
        &'scope self,
        socket: TcpStream,
        peer: SocketAddr,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<(), Dropped> {
        let most = self.settings.most_connections;
        if self.open.fetch_add(1, Ordering::Relaxed) >= most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Dropped::TooMany(most));
        }
        self.inlet.counters().add(Count::OpenConnectionCount, 1);
        let name = format!("{} {}", self.inlet.name(), peer);
        let thread = Builder::new().name(name).stack_size(STACK_BYTES);
        let work = move || {
            match self.serve(socket, peer) {
                Err(error) if !self.stop.is_stopped() => self.tell(peer, &error),
                Ok(()) | Err(_) => {}
            }
            self.forget();
        };
        thread.spawn_scoped(scope, work).map_err(|error| {
            self.forget();
            Dropped::Setup(error)
        })?;
        Ok(())
    }

    fn forget(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.inlet.counters().remove(Count::OpenConnectionCount, 1);
    }

    /// Answers a peer until it has nothing more to ask.
    fn serve(&self, socket: TcpStream, peer: SocketAddr) -> Result<(), Dropped> {
        if !self.settings.rules.allow(peer.ip()) {
            return Err(Dropped::Denied);
        }
        let (begun, patience) = (Instant::now(), self.settings.patience);
        let own = socket.try_clone().map_err(Dropped::Setup)?;
        let own = Socket::new(own, &self.ends, LOOK.min(patience), ANSWER.min(patience));
        let (own, tls) = (own.map_err(Dropped::Setup)?, self.tls.as_ref());
        let mut stream = Stream::accepted(socket, own, tls, self.settings.is_deflated, patience)?;
        let mut session = Session::new(&self.known);
        let answered = self.answer(&mut stream, &mut session, begun);
        if self.stop.is_stopped()
            && let Err(error) = farewell(stream.socket())
        {
            log::debug!("source {}: a peer did not go: error={error}", self.inlet.name());
        }
        answered
    }

    fn answer(
        &self,
        stream: &mut Stream,
        session: &mut Session<'_>,
        begun: Instant,
    ) -> Result<(), Dropped> {
        let patience = self.settings.patience;
        let mut answer = Vec::new();
        while !self.stop.is_stopped() {
            let mut held = self.allowance.hold();
            let frame = match frame::read(stream, &mut held, patience)? {
                Next::Frame(frame) => frame,
                Next::End => break,
                Next::Silence if session.has_met() || begun.elapsed() < patience => continue,
                Next::Silence => return Err(Dropped::Silent(patience)),
            };
            frame::begin(&mut answer);
            if let Some(call) = session.asked(frame.payload, &mut held, &mut answer)? {
                self.do_as_asked(call).put(&mut answer);
            }
            frame::send(stream, &mut answer, frame.serial).map_err(Dropped::Answer)?;
            // An answer is short; one that was long is no reason to keep its room.
            answer.shrink_to(1 << 12);
        }
        Ok(())
    }

    fn do_as_asked(&self, call: Call) -> Answer {
        let counters = self.inlet.counters();
        let (received, accepted, events) = match call {
            Call::Append(event) => {
                (Count::AppendReceivedCount, Count::AppendAcceptedCount, vec![event])
            }
            Call::AppendBatch(events) => {
                (Count::AppendBatchReceivedCount, Count::AppendBatchAcceptedCount, events)
            }
            Call::Ping => return Answer::Status(Status::Ok),
            Call::Unknown(name) => {
                counters.add(Count::GenericProcessingFail, 1);
                return Answer::Error(format!(
                    "there is no call {name}: append and appendBatch are"
                ));
            }
        };
        counters.add(received, 1);
        if self.put(events) {
            counters.add(accepted, 1);
            Answer::Status(Status::Ok)
        } else {
            Answer::Status(Status::Failed)
        }
    }

    /// Puts a batch; says whether it was taken.
    fn put(&self, events: Vec<Event>) -> bool {
        let refused = self.inlet.accept(events);
        if let Err(error) = &refused {
            let name = self.inlet.name();
            log::warn!("source {name} has refused a batch: error={}", chain(error));
        }
        refused.is_ok()
    }

    /// Tells of a peer that has lost its connection: once a second at most, whoever it is.
    fn tell(&self, peer: SocketAddr, error: &Dropped) {
        self.inlet.counters().add(Count::GenericProcessingFail, 1);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < Duration::from_secs(1)) {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        *told = Some(Instant::now());
        let (name, untold) = (self.inlet.name(), self.untold.swap(0, Ordering::Relaxed));
        let error = chain(error);
        log::warn!("source {name} drops a peer: peer={peer} error={error} untold={untold}");
    }
}

#[cfg(test)]
mod tests;
