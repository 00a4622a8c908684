//! Commits that come at once share a sync: one of them makes all durable that was written before.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What is written to a file and what is durable, counted in writes.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    durable: u64,
    /// Somebody is at it.
    syncing: bool,
    /// A sync has failed: what the disk has of the writes before is not known any more.
    failed: bool,
}

impl Syncs {
    /// Notes a write; returns its number. To be called in the order of the writes.
    pub fn written(&self) -> u64 {
        let mut state = self.state();
        state.written += 1;
        state.written
    }

    /// Returns when this write and all before it are durable: by this sync or by another's.
    ///
    /// # Errors
    ///
    /// If it cannot be had; then no later one can.
    pub fn wait(&self, write: u64, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state();
        while state.durable < write && state.syncing && !state.failed {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed {
            return Err(io::Error::other("an earlier write did not reach the disk"));
        }
        if state.durable >= write {
            return Ok(());
        }
        state.syncing = true;
        let until = state.written;
        drop(state);
        let synced = sync();
        let mut state = self.state();
        state.syncing = false;
        match &synced {
            Ok(()) => state.durable = until,
            Err(_) => state.failed = true,
        }
        drop(state);
        self.done.notify_all();
        synced
    }

    /// Whether a sync has failed.
    pub fn has_failed(&self) -> bool {
        self.state().failed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are set in one go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_sync_serves_all_writes_before_it() {
        let (syncs, synced) = (Syncs::default(), AtomicUsize::new(0));
        let sync = || {
            synced.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let (first, second) = (syncs.written(), syncs.written());
        syncs.wait(first, sync).unwrap();
        syncs.wait(second, sync).unwrap();
        assert_eq!(synced.load(Ordering::Relaxed), 1);
        syncs.wait(syncs.written(), sync).unwrap();
        assert_eq!(synced.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn after_a_sync_that_failed_nothing_is_said_to_be_durable() {
        let syncs = Syncs::default();
        let write = syncs.written();
        assert!(syncs.wait(write, || Err(io::Error::other("no"))).is_err());
        assert!(syncs.wait(write, || Ok(())).is_err() && syncs.has_failed());
    }
}
