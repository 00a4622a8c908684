//! How far takers may read: what stands safely, and what has come back.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::Event;

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Behind the last event.
    pub sequence: u64,
    /// The segment in which it stands, by its first event.
    pub segment: u64,
    /// Behind its frame.
    pub offset: u64,
}

/// Where takers wait.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Debug)]
struct State {
    reach: Reach,
    /// Events that were lent and have come back, each with its number.
    returned: Vec<(u64, Event)>,
}

impl Gate {
    /// Open as far as this.
    pub fn new(reach: Reach) -> Gate {
        let state = State { reach, returned: Vec::new() };
        Gate { state: Mutex::new(state), opened: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made in one go: it is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it up to here.
    pub fn open(&self, reach: Reach) {
        let mut state = self.state();
        if (reach.sequence, reach.segment) > (state.reach.sequence, state.reach.segment) {
            state.reach = reach;
            drop(state);
            self.opened.notify_all();
        }
    }

    /// Takes back what was lent.
    pub fn give_back(&self, events: impl IntoIterator<Item = (u64, Event)>) {
        self.state().returned.extend(events);
        self.opened.notify_all();
    }

    /// How far it is open, with what has come back.
    pub fn look(&self) -> (Reach, Vec<(u64, Event)>) {
        let mut state = self.state();
        (state.reach, std::mem::take(&mut state.returned))
    }

    /// Waits, no longer than this, until it is open farther or something has come back.
    pub fn wait(&self, seen: Reach, patience: Duration) {
        let nothing = |state: &mut State| state.reach == seen && state.returned.is_empty();
        let waited = self.opened.wait_timeout_while(self.state(), patience, nothing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
