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
mod refresher;
mod worker;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Receiver;
use dataflows::{Epoch, Recall, Settings};

use crate::health::Health;
use crate::ledger::{Binding, Dates, Mark, Names};
use crate::outside::{Outside, Told};
use crate::retry::{self, Stop};
use crate::sink::{DeadLetter, Failed, Scores, Totals};
use crate::source::{Cut, Feed};
use crate::tables::Tables;

use committer::Committer;
use loader::Loaders;
use refresher::Refresher;

/// What a job is to do, wherever its records come from and its effects go to.
#[derive(Clone, Debug)]
pub struct Job {
    /// How many workers compute.
    pub workers: usize,
    /// How many threads read histories for them.
    pub loaders: usize,
    /// What the effects depend on.
    pub settings: Arc<Settings>,
    /// Where they go.
    pub names: Arc<Names>,
    /// How many bytes of histories all workers together keep in memory beside the epochs in flight.
    pub history_bytes: usize,
    /// After how long a history that is in memory is read again; never where others do not write.
    pub history_age: Option<Duration>,
    /// How often the table of similar articles is read again; never where others do not write.
    pub refresh: Option<Duration>,
    /// How epochs are dated.
    pub dates: Dates,
    /// The date of a new article that carries none, in milliseconds since 1970; T(e) if there is
    /// none here either.
    pub undated: Option<u64>,
    /// Counts the records of the epochs that are done, for whoever watches.
    pub records: Arc<AtomicU64>,
    /// Hears that the table of similar articles was read, and of the first failure.
    pub health: Health,
    /// Ends every wait.
    pub stop: Stop,
}

/// Where a job begins: the last mark, and the epochs above it that are bound.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The last epoch wholly done.
    pub mark: Mark,
    /// The epochs after it that are bound, without a gap.
    pub bound: VecDeque<Binding>,
}

/// What surrounds the workers.
pub struct Rooms<O> {
    /// What they read.
    pub tables: Arc<dyn Tables>,
    /// Where their effects go, and what became of that.
    pub outside: (O, Receiver<Told>),
    /// Where their records come from, and what its epochs are.
    pub feed: (Arc<Feed>, Receiver<Cut>),
}

/// What one worker has computed of an epoch: two of them an epoch, one of each part.
struct Share {
    epoch: Epoch,
    part: Part,
}

enum Part {
    Counted(Counted),
    /// What is recalled to the cells that the worker owns, each at most once.
    Recalled(Vec<Recall>),
}

/// What comes without waiting for a history.
#[derive(Default)]
struct Counted {
    /// Of the score keys that the worker owns.
    scores: Scores,
    /// The dead letters among the records that the worker decoded.
    dead_letters: Vec<DeadLetter>,
    /// The records that the worker decoded.
    totals: Totals,
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
        epoch: Epoch,
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
    health: Health,
    feed: Arc<Feed>,
    stop: Stop,
}

impl Failure {
    /// Keeps the error, if it is the first, and stops the job.
    fn report(&self, error: Error) {
        self.keep(error);
        self.stop.stop();
        self.feed.stop();
    }

    fn keep(&self, error: Error) {
        self.health.failed(retry::chain(&error));
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
        standing: Standing,
        rooms: Rooms<O>,
        read: impl FnOnce(&Feed) -> Result<(), E> + Send,
    ) -> Result<Mark, Error>
    where
        O: Outside,
        E: Into<Failed>,
    {
        let Rooms { tables, outside: (outside, told), feed: (feed, cuts) } = rooms;
        let Standing { mark, bound } = standing;
        let (first, stop) = (Mutex::new(None), self.stop.clone());
        let (health, told_feed) = (self.health.clone(), Arc::clone(&feed));
        let failure = Arc::new(Failure { first, health, feed: told_feed, stop });
        let (shares_in, shares) = crossbeam_channel::unbounded();
        let start = mark.epoch.next();
        let last_bound = bound.back().map_or(mark.epoch, |binding| binding.epoch);
        let loaders = Arc::new(Loaders::new(self.workers));
        let refresher = Arc::new(Refresher::new());

        let reached = std::thread::scope(|threads| {
            let committer = Committer {
                outside,
                feed: Arc::clone(&feed),
                workers: self.workers,
                settings: Arc::clone(&self.settings),
                names: Arc::clone(&self.names),
                bound,
                dates: self.dates,
                mark,
                records: Arc::clone(&self.records),
            };
            let committer = spawn(threads, "committer", {
                let failure = Arc::clone(&failure);
                move || committer.run(&cuts, &shares, &told, &failure)
            });
            for _ in 0..self.loaders {
                let (loaders, tables, failure) = (&loaders, &tables, &failure);
                spawn(threads, "loader", move || loaders.run(&**tables, failure));
            }
            if self.settings.recall {
                let (refresher, tables, failure) = (&refresher, &tables, &failure);
                spawn(threads, "refresher", move || {
                    refresher.run(&**tables, self, failure);
                });
            } else {
                self.health.table_read();
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
                bound: last_bound,
                feed: Arc::clone(&feed),
                loaders: Arc::clone(&loaders),
                refresher: Arc::clone(&refresher),
                shares: shares_in,
            });
            match started {
                Ok(workers) => drop(workers.join()),
                Err(reason) => {
                    failure.report(Error::Start { workers: self.workers, reason });
                }
            }
            loaders.close();
            let reached = committer.join().expect("a panic ends the process");
            // Whoever still waits for the next reading of a table need not.
            self.stop.stop();
            reached
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
