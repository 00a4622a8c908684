//! What the channel holds: how many events there is room for, which of them are done with, and in which
//! segments they stand.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::acked::Acked;
use super::{disk, segment};

/// What the channel holds.
#[derive(Debug)]
pub struct Stock {
    folder: PathBuf,
    capacity: usize,
    state: Mutex<State>,
    /// Something is done with, or room was given back.
    freed: Condvar,
    /// By their first event: where the one before ends.
    segments: Mutex<BTreeMap<u64, u64>>,
}

#[derive(Debug, Default)]
struct State {
    acked: Acked,
    /// Events that wait, are lent, or have room reserved.
    used: usize,
    /// Events that have room reserved only.
    reserved: usize,
}

impl Stock {
    /// What was found: segments with where the one before them ends, and what is done with of the events
    /// below `next`.
    pub fn new(
        folder: &Path,
        capacity: usize,
        segments: BTreeMap<u64, u64>,
        acked: Acked,
        next: u64,
    ) -> Stock {
        let used = (next - acked.count_below(next)) as usize;
        Stock {
            folder: folder.to_owned(),
            capacity,
            state: Mutex::new(State { acked, used, reserved: 0 }),
            freed: Condvar::new(),
            segments: Mutex::new(segments),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made in one go: it is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        // Likewise.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many events wait or are lent.
    pub fn len(&self) -> usize {
        let state = self.state();
        state.used - state.reserved
    }

    /// Waits for room for so many, no longer than this. Says whether there is.
    pub fn reserve(&self, many: usize, patience: Duration) -> bool {
        let is_full = |state: &mut State| state.used + many > self.capacity;
        let waited = self.freed.wait_timeout_while(self.state(), patience, is_full);
        let (mut state, time) = waited.unwrap_or_else(PoisonError::into_inner);
        if time.timed_out() {
            return false;
        }
        state.used += many;
        state.reserved += many;
        true
    }

    /// Takes reserved room for events that are about to be put.
    pub fn fill(&self, many: usize) {
        self.state().reserved -= many;
    }

    /// Gives room back that was reserved.
    pub fn unreserve(&self, many: usize) {
        let mut state = self.state();
        state.reserved -= many;
        state.used -= many;
        drop(state);
        self.freed.notify_all();
    }

    /// Gives room back that was taken for events that could not be put.
    pub fn unfill(&self, many: usize) {
        self.state().used -= many;
        self.freed.notify_all();
    }

    /// A copy of what is done with.
    pub fn acked(&self) -> Acked {
        self.state().acked.clone()
    }

    /// The parts of a range that are not done with.
    pub fn open(&self, range: Range<u64>) -> Vec<Range<u64>> {
        self.state().acked.open(range)
    }

    /// Notes that these numbers are done with, of which every one was an event: gives their room back, and
    /// removes segments that nobody needs any more.
    pub fn forget(&self, ranges: &[Range<u64>]) {
        let mut state = self.state();
        let new: u64 = ranges.iter().map(|range| state.acked.insert(range.clone())).sum();
        state.used -= new as usize;
        let below = state.acked.below();
        drop(state);
        self.freed.notify_all();
        self.clean(below);
    }

    /// Notes that there are no events with these numbers.
    pub fn skip(&self, range: Range<u64>) {
        self.state().acked.insert(range);
    }

    /// Removes segments all of whose events are below this one.
    pub fn clean(&self, below: u64) {
        let mut segments = self.segments();
        while let (Some((&first, _)), Some((_, &end))) =
            (segments.first_key_value(), segments.iter().nth(1))
        {
            if end > below {
                return;
            }
            let path = segment::path(&self.folder, first);
            if let Err(error) = disk::remove(&path) {
                // At the next start it is tried again.
                log::warn!("cannot remove a segment: path={} error={error}", path.display());
            }
            segments.remove(&first);
        }
    }

    /// Adds a segment; what the one before has from `after` on is void.
    pub fn add(&self, first: u64, after: u64) {
        self.segments().insert(first, after);
    }

    /// The segment in which an event stands, if it does, or else the next one: its first event.
    pub fn segment_of(&self, sequence: u64) -> Option<u64> {
        let segments = self.segments();
        let found = segments.range(..=sequence).next_back().or_else(|| segments.first_key_value());
        found.map(|(first, _)| *first)
    }

    /// The segment behind this one: its first event, and where this one ends.
    pub fn behind(&self, first: u64) -> Option<(u64, u64)> {
        self.segments().range(first + 1..).next().map(|(next, after)| (*next, *after))
    }
}
