//! The job: one source, the dataflows on some workers, and what stands outside.
//!
//! ```text
//!  source's threads      workers                                loaders     committer
//!  ────────────────      ──────────────────────────────────     ───────     ─────────
//!  read, cut       ──▶   take a chunk, decode, feed, step
//!        │                    │ asks ───────────────────────▶   read
//!        │                    │◀─────────────────────── answers histories
//!        │                    └─ share of a final epoch ──────────────────▶ apply
//!        └─ cut of a closed epoch ────────────────────────────────────────▶ bind
//!   begin(e + in flight) ◀─────────────────────────────── mark(e) ◀──────── when all shares are in
//! ```
//!
//! Nothing waits in a worker's thread; back-pressure is the bounded number of epochs in flight, which
//! the source waits for. The first failure, wherever it happens, stops everything.

mod committer;
mod loader;
mod worker;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use dataflows::Settings;

use crate::ledger::{Dates, Ledger, Mark};
use crate::sink::{Failed, Sink};
use crate::source::Feed;
use crate::tables::Tables;

use committer::Committer;
use loader::Loaders;

/// What a job is to do, wherever its records come from and its effects go to.
#[derive(Clone, Debug)]
pub struct Job {
    /// How many workers compute.
    pub workers: usize,
    /// What the effects depend on.
    pub settings: Arc<Settings>,
    /// How many bytes of histories all workers together keep in memory beside the epochs in flight.
    pub history_bytes: usize,
    /// How many epochs beyond the mark may be in flight.
    pub in_flight: u64,
    /// TIME: what epochs are dated from, and records that carry no timestamp; in milliseconds since
    /// 1970.
    pub time: u64,
    /// Counts the records of the epochs that are done, for whoever watches.
    pub records: Arc<AtomicU64>,
}

/// Why a job ended before its source did.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source could not be read.
    #[error("cannot go on reading")]
    Source(#[source] Failed),
    /// The tables could not be read.
    #[error("cannot read the tables")]
    Tables(#[source] Failed),
    /// An epoch could not be made durable.
    #[error("cannot make epoch {epoch} durable")]
    Outside {
        /// The epoch.
        epoch: dataflows::Epoch,
        /// Why.
        source: Failed,
    },
    /// The workers could not be started.
    #[error("cannot start {workers} workers: {reason}")]
    Start {
        /// How many were to start.
        workers: usize,
        /// What timely says.
        reason: String,
    },
}

/// Where the first failure is kept; it stops the job.
struct Failure {
    first: Mutex<Option<Error>>,
    feed: Arc<Feed>,
}

impl Failure {
    /// Keeps the error, if it is the first, and stops the job.
    fn report(&self, error: Error) {
        self.keep(error);
        self.feed.stop();
    }

    fn keep(&self, error: Error) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }
}

impl Job {
    /// Runs until the source ends, or something fails, or somebody stops the feed. Returns the mark
    /// that was reached.
    ///
    /// `read` is the source: it runs on a thread of its own and writes into the feed.
    ///
    /// # Errors
    ///
    /// The first failure. All epochs up to the last mark are durable, and nothing of later ones is
    /// taken for done.
    pub fn run<O, E>(
        &self,
        mark: Mark,
        tables: Arc<dyn Tables>,
        outside: O,
        feed: (Arc<Feed>, crossbeam_channel::Receiver<crate::source::Cut>),
        read: impl FnOnce(&Feed) -> Result<(), E> + Send,
    ) -> Result<Mark, Error>
    where
        O: Ledger + Sink + Send,
        E: Into<Failed>,
    {
        let (feed, cuts) = feed;
        let failure = Arc::new(Failure { first: Mutex::new(None), feed: Arc::clone(&feed) });
        let (shares_in, shares) = crossbeam_channel::unbounded();
        let dates = Dates::new(self.time, mark.time);
        let start = mark.epoch.next();
        let loaders = Arc::new(Loaders::new(self.workers));

        let reached = std::thread::scope(|threads| {
            let committer = Committer {
                outside,
                feed: Arc::clone(&feed),
                workers: self.workers,
                settings: Arc::clone(&self.settings),
                dates,
                mark,
                records: Arc::clone(&self.records),
            };
            let committer = spawn(threads, "committer", {
                let failure = Arc::clone(&failure);
                move || committer.run(&cuts, &shares, &failure)
            });
            for _ in 0..self.workers {
                let (loaders, tables, failure) = (&loaders, &tables, &failure);
                spawn(threads, "loader", move || loaders.run(&**tables, failure));
            }
            spawn(threads, "source", {
                let (feed, failure) = (&feed, &failure);
                move || {
                    // Epochs that were closed before a failure are whole, and are still applied.
                    if let Err(error) = read(feed) {
                        failure.keep(Error::Source(error.into()));
                    }
                    feed.end();
                }
            });

            let started = worker::start(worker::Plan {
                job: self.clone(),
                start,
                feed: Arc::clone(&feed),
                loaders: Arc::clone(&loaders),
                tables: Arc::clone(&tables),
                shares: shares_in,
                failure: Arc::clone(&failure),
            });
            match started {
                Ok(workers) => drop(workers.join()),
                Err(reason) => {
                    failure.report(Error::Start { workers: self.workers, reason });
                }
            }
            loaders.close();
            committer.join().expect("a panic ends the process")
        });

        match failure.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(reached),
            Some(error) => Err(error),
        }
    }
}

fn spawn<'scope, T: Send + 'scope>(
    threads: &'scope std::thread::Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> std::thread::ScopedJoinHandle<'scope, T> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn_scoped(threads, run)
        .expect("the system has room for a thread")
}
