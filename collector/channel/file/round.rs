//! Those who commit at the same time share one sync.
//!
//! Whoever writes joins the round that is open, in the order of the writes. The first to join leads it: as
//! soon as no other sync runs it closes the round, syncs once for all who have joined, and says how it went.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Those who wait for the same sync.
#[derive(Debug, Default)]
pub struct Round {
    led: AtomicBool,
    outcome: Mutex<Option<Outcome>>,
    decided: Condvar,
}

/// Done, or the system's number of the error: each who waits has an error of its own.
type Outcome = Result<(), i32>;

/// A place in a round.
#[derive(Debug)]
pub struct Ticket {
    round: Arc<Round>,
    leads: bool,
}

impl Round {
    /// Joins; the first one leads.
    pub fn join(round: &Arc<Round>) -> Ticket {
        let leads = !round.led.swap(true, Ordering::Relaxed);
        Ticket { round: Arc::clone(round), leads }
    }

    /// Says how it went, if nobody has said it before.
    pub fn decide(&self, outcome: Result<(), &io::Error>) {
        let unknown = rustix::io::Errno::IO.raw_os_error();
        let outcome = outcome.map_err(|error| error.raw_os_error().unwrap_or(unknown));
        self.outcome().get_or_insert(outcome);
        self.decided.notify_all();
    }

    fn outcome(&self) -> MutexGuard<'_, Option<Outcome>> {
        // It is set in one go.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Whether the sync is this one's to do.
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Whether it is known how it went.
    pub fn is_decided(&self) -> bool {
        self.round.outcome().is_some()
    }

    /// The round.
    pub fn round(&self) -> &Round {
        &self.round
    }

    /// Waits until it is known how it went.
    pub fn wait(self) -> io::Result<()> {
        let waited = self.round.decided.wait_while(self.round.outcome(), |told| told.is_none());
        let outcome = waited.unwrap_or_else(PoisonError::into_inner).expect("it was waited for");
        outcome.map_err(io::Error::from_raw_os_error)
    }
}
