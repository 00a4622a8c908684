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

mod fence;
mod kept;
mod recover;
mod redis;

use std::sync::Arc;

use dataflows::{Epoch, Settings};
use serde::{Deserialize, Serialize};

use crate::sink::Totals;
use crate::source::Range;

pub use fence::Fence;
pub use redis::{
    Again, Doubt, Doubts, Error, Found, Freshness, Opened, Redis, Room, Then, Vacant, confirm,
    open, reached_by, reset,
};

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
    /// Where its effects go.
    pub names: Arc<Names>,
    /// Its records.
    pub ranges: Vec<Range>,
}

/// The names of what effects go into, as the configuration has them; nothing where that is the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The key of a channel's hot articles, with `{channel}` in it.
    pub hot: String,
    /// The key of a channel's new articles, likewise.
    pub new: String,
    /// The table of neighbours.
    pub similar: String,
    /// The table of mailboxes.
    pub cb_recall: String,
    /// The table of histories.
    pub history_recall: String,
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

/// Dates epochs, in milliseconds since 1970; each later than the one before.
#[derive(Clone, Copy, Debug)]
pub struct Dates {
    from: From,
    last: u64,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Time(u64),
    Clock,
}

impl Dates {
    /// Dates the epochs of a replay at TIME: T(e) = max(TIME + e, T(e-1) + 1). `last` is the date of
    /// the last epoch so far.
    pub fn at(time: u64, last: u64) -> Dates {
        Dates { from: From::Time(time), last }
    }

    /// Dates epochs by the clock: T(e) = max(now, T(e-1) + 1).
    pub fn live(last: u64) -> Dates {
        Dates { from: From::Clock, last }
    }

    /// The date of the next epoch to be bound.
    pub fn next(&mut self, epoch: Epoch) -> u64 {
        let wanted = match self.from {
            From::Time(time) => time + epoch.0,
            From::Clock => now(),
        };
        self.last = wanted.max(self.last + 1);
        self.last
    }
}

/// Now, in milliseconds since 1970.
pub fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_time_and_never_stand_still() {
        let mut dates = Dates::at(1000, 0);
        assert_eq!([1, 2, 3].map(|e| dates.next(Epoch(e))), [1001, 1002, 1003]);
        let mut later_but_behind = Dates::at(900, 1003);
        assert_eq!([4, 5].map(|e| later_but_behind.next(Epoch(e))), [1004, 1005]);
    }

    #[test]
    fn dates_of_the_clock_grow_though_it_is_behind() {
        let ahead = now() + 1_000_000;
        let mut dates = Dates::live(ahead);
        assert_eq!([7, 8].map(|e| dates.next(Epoch(e))), [ahead + 1, ahead + 2]);
        assert!(Dates::live(0).next(Epoch(1)) < ahead);
    }
}
