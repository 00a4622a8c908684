//! A process that is not process 0: it joins, and takes part in runs until the cluster ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::door::{Circle, Door, Unreached, call, settle};
use super::handshake::Purpose;
use super::link::{Heard, Link};
use super::network::Network;
use super::said::{ToHub, ToMember};
use super::{Error, FAREWELL, OVERDUE, end, leave};
use crate::ledger::Doubts;
use crate::retry::Stop;

/// A process of a cluster, as it speaks with process 0, the hub.
pub struct Member {
    circle: Circle,
    door: Door,
    link: Link<ToHub>,
    heard: Receiver<ToMember>,
    ending: Arc<AtomicBool>,
}

impl Member {
    /// Joins: waits for process 0, and for nobody else; so long, or as long as it takes.
    pub(super) fn join(
        circle: Circle,
        door: Door,
        patience: Option<Duration>,
        stop: &Stop,
    ) -> Result<Member, Error> {
        let socket = call(&circle, 0, Purpose::Control, patience, stop)?;
        settle(&socket, circle.silence)?;
        let (hears, heard) = crossbeam_channel::unbounded();
        let ending = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ending);
        let hear = move |what| match what {
            Heard::Message(ToMember::Exit(status, Some(why))) => {
                if !ends.swap(true, Ordering::SeqCst) {
                    end(status, &format!("the cluster ends: {why}"));
                }
            }
            // Workers may be waiting for those of processes that have ended.
            Heard::Message(ToMember::Exit(_, None)) => leave(),
            Heard::Message(message) => {
                if hears.send(message).is_err() {
                    log::debug!("nobody hears process 0 any more");
                }
            }
            Heard::Lost(why) => {
                if !ends.swap(true, Ordering::SeqCst) {
                    end(1, &format!("process 0 is lost: {why}"));
                }
            }
        };
        let link = Link::start(socket, circle.silence, hear)?;
        log::info!("joined: process={} of={}", circle.here.index, circle.agreed.processes);
        Ok(Member { circle, door, link, heard, ending })
    }

    /// The index of this process.
    pub fn index(&self) -> usize {
        self.circle.here.index
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.circle.agreed.processes
    }

    /// What the hub says.
    pub fn heard(&self) -> &Receiver<ToMember> {
        &self.heard
    }

    /// Says something to the hub; never waits.
    pub fn say(&self, what: &ToHub) {
        self.link.say(what);
    }

    /// Passes doubts on to the hub, which writes the ledger.
    pub fn doubts(&self) -> Doubts {
        let speaker = self.link.speaker();
        Doubts::passed_on(move |doubt| speaker.say(&ToHub::Doubt(doubt)))
    }

    /// Connects with all other processes for a run.
    ///
    /// # Errors
    ///
    /// If one is not there in time.
    pub fn connect(&self, run: u64, stop: &Stop) -> Result<Network, Error> {
        self.door.expect(run);
        let mut sockets = Vec::new();
        for index in 0..self.processes() {
            if index == self.index() {
                sockets.push(None);
                continue;
            }
            let purpose = Purpose::Data(run);
            let socket = if index < self.index() {
                call(&self.circle, index, purpose, Some(OVERDUE), stop)?
            } else {
                self.door
                    .take(index, purpose, OVERDUE)
                    .ok_or(Error::Late { index, what: "connect for a run" })?
            };
            settle(&socket, self.circle.silence)?;
            sockets.push(Some(socket));
        }
        Ok(Network { sockets })
    }

    /// Tells the hub that this process cannot go on: all end.
    pub fn fail(self, status: u8, why: String) {
        self.ending.store(true, Ordering::SeqCst);
        self.link.say(&ToHub::Failed(status, why));
        self.link.close(FAREWELL);
    }
}

impl From<Unreached> for Error {
    fn from(unreached: Unreached) -> Error {
        match unreached {
            Unreached::Stopped => Error::Stopped,
            Unreached::Late { .. } => Error::Unreached(unreached.to_string()),
            Unreached::Refused { .. } => Error::Refused(unreached.to_string()),
        }
    }
}
