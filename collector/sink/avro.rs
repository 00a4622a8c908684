//! Hands events on to Flume's avro sources, or ours.
//!
//! Several batches are under way at a time (`batchesInFlight`): while the other side works on one, the next is
//! on the wire. By default four to a source of ours, and one to Flume's, which works on them with several
//! threads and so takes them in any order.
//!
//! A batch is forgotten when its own answer says that it was taken. One that was refused goes back to the
//! channel, where those behind it may have been taken already; a connection that fails sends all back whose
//! answers are missing, which the other side may have: only these can double.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::tap::Taken;
use super::{Failure, Tap, Turn};
use crate::avro::call::{Answer, Status};
use crate::avro::client::{Calls, Client, Peer};
use crate::avro::stream::Outside;
use crate::counters::Sink as Count;
use crate::keys::Keys;
use crate::tls::Trusted;

/// The time-outs that count unless the keys say otherwise, and the shortest that Flume obeys.
const TIMEOUT: u64 = 20_000;
const SHORTEST: u64 = 1000;

/// How many batches are in flight to a peer that works on them in their order.
const IN_ORDER: usize = 4;

/// Sends batches to a peer.
#[derive(Debug)]
pub struct Avro {
    batch: usize,
    peer: Peer,
    tls: Option<Trusted>,
    /// How long a connection is kept, if not for ever.
    kept: Option<Duration>,
    /// How many batches are in flight at most, whoever the peer is.
    most_in_flight: Option<usize>,
    outside: Outside,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    since: Instant,
    /// What was refused, and goes back when those behind it have their answers.
    refused: Vec<Taken>,
    /// What was sent, and the last of it perhaps not.
    in_flight: VecDeque<(Taken, Option<Calls>)>,
}

/// The peer has not taken a batch.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{peer} has refused a batch: its channel is full, or takes smaller batches only")]
    Status { peer: String },
    #[error("{peer} has refused a batch: {text}")]
    Error { peer: String, text: String },
}

impl Avro {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Avro {
        let host = keys.required("hostname");
        let port = keys.port("port");
        let batch = keys.count("batch-size", 100);
        let is_deflated =
            keys.choice("compression-type", "none", &[("none", false), ("deflate", true)]);
        let level = keys.number("compression-level", 6, "0 to 9", |level| level <= 9);
        keys.ignore("maxIoWorkers", "a sink works on one thread, as in Flume since 1.10");
        let seconds =
            keys.number("reset-connection-interval", 0, "a whole number from 0", |_| true);
        let peer = Peer {
            host,
            port,
            connect: timeout(keys, "connect-timeout"),
            request: timeout(keys, "request-timeout"),
            level: is_deflated.then_some(level),
            tls: None,
        };
        let tls = Trusted::read(keys);
        let kept = (seconds > 0).then(|| Duration::from_secs(seconds));
        const IN_FLIGHT: &str = "batchesInFlight";
        let allowed = |many: &usize| (1..=64).contains(many);
        let given = keys.number(IN_FLIGHT, IN_ORDER, "1 to 64", |many| allowed(&many));
        let most_in_flight = keys.is_given(IN_FLIGHT).then_some(given);
        let outside = Outside::default();
        Avro { batch, peer, tls, kept, most_in_flight, outside, connection: None }
    }

    /// Ends the connection. What has no answer goes back.
    fn lose(&mut self, tap: &Tap) {
        if let Some(mut connection) = self.connection.take() {
            connection.salvage(tap);
            tap.counters().add(Count::ConnectionClosedCount, 1);
        }
    }

    fn is_settled(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.in_flight.is_empty())
    }
}

/// A time-out in milliseconds. One that is too short does not count, as in Flume.
fn timeout(keys: &Keys<'_>, key: &str) -> Duration {
    let given = keys.number(key, TIMEOUT, "a whole number from 0", |_| true);
    if given < SHORTEST {
        keys.doubtful(key, format_args!("less than {SHORTEST} ms; {TIMEOUT} counts"));
        return Duration::from_millis(TIMEOUT);
    }
    Duration::from_millis(given)
}

impl Connection {
    /// Sends a batch. Where the connection has failed, the answers that came before are read all the same: their
    /// batches are not sent twice.
    fn send(&mut self, taken: Taken, peer: &Peer, tap: &Tap) -> Result<(), Failure> {
        let sent = self.client.send(taken.events());
        self.in_flight.push_back((taken, sent.as_ref().ok().copied()));
        let Err(error) = sent else { return Ok(()) };
        while self.in_flight.len() > 1 && !error.is_silence() && self.settle(peer, tap).is_ok() {}
        Err(error.into())
    }

    /// Waits until the first batch has its answer, and forgets it. Once one is refused, those behind it are
    /// waited for, too: they may have been taken.
    fn settle(&mut self, peer: &Peer, tap: &Tap) -> Result<Option<Refused>, Failure> {
        let mut refused = None;
        while let Some(&(_, Some(calls))) = self.in_flight.front() {
            let answer = self.client.receive(calls)?;
            let (taken, _) = self.in_flight.pop_front().expect("it was just looked at");
            let peer = || peer.name();
            let why = match answer {
                Answer::Status(Status::Ok) => {
                    tap.commit(taken, Vec::new())?;
                    if refused.is_none() { break } else { continue }
                }
                Answer::Status(_) => Refused::Status { peer: peer() },
                Answer::Error(text) => Refused::Error { peer: peer(), text },
            };
            self.refused.push(taken);
            refused.get_or_insert(why);
        }
        self.give_back();
        Ok(refused)
    }

    /// Forgets what is known to be taken, though what was sent before it is not.
    fn salvage(&mut self, tap: &Tap) {
        for (taken, calls) in std::mem::take(&mut self.in_flight) {
            let answer = calls.and_then(|calls| self.client.received(calls));
            if answer != Some(Answer::Status(Status::Ok)) {
                self.refused.push(taken);
            } else if let Err(error) = tap.commit(taken, Vec::new()) {
                log::warn!("sink {}: what was delivered is not noted: error={error}", tap.name());
            }
        }
    }

    /// What goes back last stands first in the channel.
    fn give_back(&mut self) {
        while self.refused.pop().is_some() {}
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.refused.extend(self.in_flight.drain(..).map(|(taken, _)| taken));
        self.give_back();
    }
}

impl super::Sink for Avro {
    fn batch(&self) -> usize {
        self.batch
    }

    fn start(&mut self, tap: &Tap) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Ok(());
        }
        // The store is opened every time: a new certificate counts at the next connection.
        self.peer.tls = self.tls.as_ref().map(Trusted::connector).transpose()?;
        let client = self.peer.connect(&mut self.outside);
        let client = client.inspect_err(|_| tap.counters().add(Count::ConnectionFailedCount, 1))?;
        tap.counters().add(Count::ConnectionCreatedCount, 1);
        let (since, in_flight) = (Instant::now(), VecDeque::new());
        self.connection = Some(Connection { client, since, refused: Vec::new(), in_flight });
        Ok(())
    }

    fn turn(&mut self, tap: &Tap) -> Result<Turn, Failure> {
        let is_old = |connection: &Connection| {
            self.kept.is_some_and(|kept| connection.since.elapsed() >= kept)
        };
        if self.connection.as_ref().is_none_or(is_old) {
            while !self.settle(tap)? {}
            self.lose(tap);
            self.start(tap)?;
        }
        let connection = self.connection.as_mut().expect("it was there, or was just made");
        let in_flight = connection.in_flight.len();
        let usual = if connection.client.in_order() { IN_ORDER } else { 1 };
        if in_flight < self.most_in_flight.unwrap_or(usual) {
            let taken = match in_flight {
                0 => tap.take(self.batch)?,
                _ => tap.take_within(self.batch, Duration::ZERO)?,
            };
            if !taken.events().is_empty() {
                connection.send(taken, &self.peer, tap).inspect_err(|_| {
                    tap.counters().add(Count::EventWriteFail, 1);
                    self.lose(tap);
                })?;
                return Ok(Turn::Ready);
            }
            if in_flight == 0 {
                return Ok(Turn::Idle);
            }
        }
        self.settle(tap)?;
        Ok(Turn::Ready)
    }

    fn settle(&mut self, tap: &Tap) -> Result<bool, Failure> {
        let Some(connection) = &mut self.connection else { return Ok(true) };
        let settled = connection.settle(&self.peer, tap);
        let failure: Failure = match settled {
            Ok(None) => return Ok(self.is_settled()),
            // The connection is as good as before.
            Ok(Some(refused)) => refused.into(),
            Err(failure) => {
                self.lose(tap);
                failure
            }
        };
        tap.counters().add(Count::EventWriteFail, 1);
        Err(failure)
    }

    fn close(&mut self, tap: &Tap) -> Result<(), Failure> {
        self.lose(tap);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
