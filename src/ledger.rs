//! What is bound, and what is done.
//!
//! ```text
//!  bind(e) ─▶ effects of e, in any order ─▶ mark(e)
//! ```
//!
//! A binding says durably what an epoch is, before anything that the epoch causes is visible outside
//! (*bound-first*); the mark passes an epoch only after all its effects are durable (*mark-last*).
//! Bindings may run ahead of the mark by a bounded number of epochs, and follow each other without
//! gap or overlap. A ledger that stands in one transaction with all effects, as the embedded store's
//! does, keeps a binding until the mark and writes both with the effects.

use std::sync::Arc;

use dataflows::{Epoch, Settings};
use serde::{Deserialize, Serialize};

use crate::sink::{Failed, Totals};
use crate::source::Range;

/// The durable statement: this epoch is exactly these ranges, at this time, with these settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The epoch.
    pub epoch: Epoch,
    /// T(e): the date of its effects, in milliseconds since 1970; greater than that of every epoch
    /// before it.
    pub time: u64,
    /// What its effects depend on beside its records and the tables.
    pub settings: Arc<Settings>,
    /// Its records.
    pub ranges: Vec<Range>,
}

/// The durable statement: every epoch up to this one is wholly done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The last epoch wholly done; 0 before the first.
    pub epoch: Epoch,
    /// T(e) of that epoch.
    pub time: u64,
    /// What all epochs so far have read and done.
    pub totals: Totals,
}

/// Where bindings and marks stand. One thread, the committer, writes it.
pub trait Ledger {
    /// Binds the epoch after the last bound one.
    ///
    /// # Errors
    ///
    /// Only those that trying again cannot mend: the job stops.
    fn bind(&mut self, binding: &Binding) -> Result<(), Failed>;

    /// Moves the mark to a bound epoch, all of whose shares have been applied, as have been those of
    /// every epoch below it.
    ///
    /// # Errors
    ///
    /// Only those that trying again cannot mend: the job stops, and the mark stays.
    fn mark(&mut self, mark: &Mark) -> Result<(), Failed>;
}

/// Dates epochs: T(e) = max(TIME + e, T(e-1) + 1), in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Dates {
    time: u64,
    last: u64,
}

impl Dates {
    /// Dates epochs from TIME on; `last` is the date of the last epoch so far.
    pub fn new(time: u64, last: u64) -> Dates {
        Dates { time, last }
    }

    /// The date of the next epoch to be bound.
    pub fn next(&mut self, epoch: Epoch) -> u64 {
        self.last = (self.time + epoch.0).max(self.last + 1);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_time_and_never_stand_still() {
        let mut dates = Dates::new(1000, 0);
        assert_eq!([1, 2, 3].map(|e| dates.next(Epoch(e))), [1001, 1002, 1003]);
        let mut later_but_behind = Dates::new(900, 1003);
        assert_eq!([4, 5].map(|e| later_but_behind.next(Epoch(e))), [1004, 1005]);
    }
}
