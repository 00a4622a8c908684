//! The time of the dataflows.

use std::fmt;

use differential_dataflow::lattice::{Lattice, Maximum};
use serde::{Deserialize, Serialize};
use timely::order::{PartialOrder, TotalOrder};
use timely::progress::Timestamp;
use timely::progress::timestamp::{PathSummary, Refines};

/// The number of an epoch: the job's logical time.
///
/// Epochs are numbered from 1; epoch 0 is before the first, when only the tables stand.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialOrder for Epoch {
    #[inline]
    fn less_equal(&self, other: &Self) -> bool {
        self <= other
    }

    #[inline]
    fn less_than(&self, other: &Self) -> bool {
        self < other
    }
}

impl TotalOrder for Epoch {}

impl Timestamp for Epoch {
    type Summary = Epochs;

    fn minimum() -> Self {
        Epoch(0)
    }
}

impl Refines<()> for Epoch {
    fn to_inner((): ()) -> Self {
        Epoch(0)
    }

    fn to_outer(self) {}

    fn summarize(_: Epochs) {}
}

impl Lattice for Epoch {
    #[inline]
    fn join(&self, other: &Self) -> Self {
        *self.max(other)
    }

    #[inline]
    fn meet(&self, other: &Self) -> Self {
        *self.min(other)
    }
}

impl Maximum for Epoch {
    fn maximum() -> Self {
        Epoch(u64::MAX)
    }
}

/// A number of epochs, by which a path of a dataflow delays what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epochs(u64);

impl PartialOrder for Epochs {
    fn less_equal(&self, other: &Self) -> bool {
        self <= other
    }
}

impl PathSummary<Epoch> for Epochs {
    #[inline]
    fn results_in(&self, src: &Epoch) -> Option<Epoch> {
        src.0.checked_add(self.0).map(Epoch)
    }

    #[inline]
    fn followed_by(&self, other: &Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Epochs)
    }
}
