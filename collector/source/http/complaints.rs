//! What there is to complain of, from whoever serves to whoever tells: all of it is counted, and the last told.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::counters::Source as Count;
use crate::source::Inlet;

/// What nobody has been told of yet.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    /// How many were no events, and why the last was none.
    events: (usize, String),
    /// How many peers have lost their connection, and why the last has.
    peers: (usize, String),
}

impl Complaints {
    /// Something that was posted is no event.
    pub fn of_event(&self, why: String) {
        let events = &mut self.lock().events;
        *events = (events.0 + 1, why);
    }

    /// A peer loses its connection before it has posted anything.
    pub fn of_peer(&self, peer: SocketAddr, why: &str) {
        let peers = &mut self.lock().peers;
        *peers = (peers.0 + 1, format!("peer={peer} error={why}"));
    }

    /// Counts all, and logs the last of each kind.
    pub fn tell(&self, inlet: &Inlet) {
        let Untold { events, peers } = std::mem::take(&mut *self.lock());
        let name = inlet.name();
        if let (many @ 1.., why) = events {
            inlet.counters().add(Count::EventReadFail, many);
            let untold = many - 1;
            log::warn!("source {name}: what was posted is no event: error={why} untold={untold}");
        }
        if let (many @ 1.., why) = peers {
            inlet.counters().add(Count::GenericProcessingFail, many);
            log::warn!("source {name} drops a peer: {why} untold={}", many - 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Untold> {
        // Numbers and texts are always whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
