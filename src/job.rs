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
mod follower;
mod loader;
mod refresher;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Receiver;
use dataflows::{Epoch, Recall, Settings};
use serde::{Deserialize, Serialize};

use crate::cluster::{Hub, Member, Network, Place};
use crate::health::Health;
use crate::ledger::{self, Binding, Dates, Mark, Names};
use crate::outside::{Effects, Outside, Told};
use crate::retry::{self, Stop};
use crate::sink::{DeadLetter, Failed, Scores, Totals};
use crate::source::{Cut, Feed, Range};
use crate::tables::Tables;

use committer::Committer;
use follower::Follower;
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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

/// What the other processes of a cluster are to a process that works with them.
pub struct Apart<'a, W> {
    /// Whom it speaks with.
    pub with: &'a W,
    /// How the workers of all of them reach each other.
    pub network: Network,
    /// Which process this is.
    pub here: Place,
    /// Hears when the source has ended here, of the first epoch that it has not closed.
    pub left: Receiver<Epoch>,
    /// Whether more is read than what is bound.
    pub goes_on: bool,
}

/// The other processes, as the committer works with them.
struct Others<'a> {
    hub: &'a Hub,
    left: Receiver<Epoch>,
    goes_on: bool,
    /// The last epoch that any process has closed.
    closed: Epoch,
    /// Of the epochs that some have closed and others not: how many have, and what these have read.
    gathering: BTreeMap<Epoch, (usize, Vec<Range>)>,
    /// The last epoch that all have closed.
    cut: Epoch,
    /// How many read nothing more, this one included; and the first epoch that none of them has closed.
    have_left: usize,
    all_left: Epoch,
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

impl Error {
    /// Whether a newer incarnation has taken the job's ledger.
    pub fn is_fenced(&self) -> bool {
        let Error::Outside { source, .. } = self else { return false };
        let ledger = source.downcast_ref::<ledger::Error>();
        ledger.is_some_and(|error| error.then() == ledger::Then::Fenced)
    }
}

/// Where the first failure is kept; it stops the job.
struct Failure {
    /// With whether the job was stopping already.
    first: Mutex<Option<(Error, bool)>>,
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

    /// The first failure, if there is one: the exit status that tells it, and what it is.
    fn why(&self) -> Option<(u8, String)> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.as_ref().map(|(error, was_stopping)| {
            let status = match (was_stopping, error.is_fenced()) {
                (true, _) => 0,
                (false, true) => 3,
                (false, false) => 1,
            };
            (status, retry::chain(error))
        })
    }

    fn keep(&self, error: Error) {
        self.health.failed(retry::chain(&error));
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert((error, self.stop.is_stopped()));
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
        self.commit(standing, rooms, read, Network::alone(), Place::alone(self.workers), None)
    }

    /// The same as process 0 of a cluster: its feed is one of a cluster.
    ///
    /// # Errors
    ///
    /// As [`Job::run`].
    pub fn lead<O, E>(
        &self,
        standing: Standing,
        rooms: Rooms<O>,
        read: impl FnOnce(&Feed) -> Result<(), E> + Send,
        apart: Apart<'_, Hub>,
    ) -> Result<Mark, Error>
    where
        O: Outside,
        E: Into<Failed>,
    {
        let Apart { with, network, here, left, goes_on } = apart;
        let mark = standing.mark.epoch;
        let others = Others {
            hub: with,
            left,
            goes_on,
            closed: mark,
            gathering: BTreeMap::new(),
            cut: mark,
            have_left: 0,
            all_left: mark.next(),
        };
        self.commit(standing, rooms, read, network, here, Some(others))
    }

    fn commit<O, E>(
        &self,
        standing: Standing,
        rooms: Rooms<O>,
        read: impl FnOnce(&Feed) -> Result<(), E> + Send,
        network: Network,
        here: Place,
        others: Option<Others<'_>>,
    ) -> Result<Mark, Error>
    where
        O: Outside,
        E: Into<Failed>,
    {
        let Rooms { tables, outside: (outside, told), feed: (feed, cuts) } = rooms;
        let Standing { mark, bound } = standing;
        let begin = Begin { start: mark.epoch.next(), bound: last(&mark, &bound), network, here };
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
            others,
        };
        self.work(begin, tables, feed, read, |shares, failure| {
            committer.run(&cuts, shares, &told, failure)
        })
    }

    /// The part of a member in what process 0 leads: its feed is one of a cluster.
    ///
    /// # Errors
    ///
    /// The first failure here.
    pub fn follow<O, E>(
        &self,
        standing: Standing,
        rooms: Rooms<O>,
        read: impl FnOnce(&Feed) -> Result<(), E> + Send,
        apart: Apart<'_, Member>,
    ) -> Result<(), Error>
    where
        O: Effects,
        E: Into<Failed>,
    {
        let Rooms { tables, outside: (effects, told), feed: (feed, cuts) } = rooms;
        let Standing { mark, bound } = standing;
        let Apart { with, network, here, left, goes_on: _ } = apart;
        let begin = Begin { start: mark.epoch.next(), bound: last(&mark, &bound), network, here };
        let follower = Follower {
            effects,
            feed: Arc::clone(&feed),
            workers: self.workers,
            settings: Arc::clone(&self.settings),
            names: Arc::clone(&self.names),
            bound: bound.into_iter().map(|it| (it.epoch, Arc::new(it))).collect(),
            member: with,
            mark: mark.epoch,
            flights: BTreeMap::new(),
        };
        self.work(begin, tables, feed, read, |shares, failure| {
            follower.run(&cuts, &left, shares, &told, failure);
        })
    }

    /// Everything but what becomes of the shares: that is `lead`.
    fn work<T: Send, E: Into<Failed>>(
        &self,
        begin: Begin,
        tables: Arc<dyn Tables>,
        feed: Arc<Feed>,
        read: impl FnOnce(&Feed) -> Result<(), E> + Send,
        lead: impl FnOnce(&Receiver<Share>, &Failure) -> T + Send,
    ) -> Result<T, Error> {
        let (first, stop) = (Mutex::new(None), self.stop.clone());
        let (health, told_feed) = (self.health.clone(), Arc::clone(&feed));
        let failure = Arc::new(Failure { first, health, feed: told_feed, stop });
        let (shares_in, shares) = crossbeam_channel::unbounded();
        let Begin { start, bound, network, here } = begin;
        let loaders = Arc::new(Loaders::new(self.workers));
        let refresher = Arc::new(Refresher::new());

        let reached = std::thread::scope(|threads| {
            let committer = spawn(threads, "committer", {
                let failure = Arc::clone(&failure);
                move || lead(&shares, &failure)
            });
            for _ in 0..self.loaders {
                let (loaders, tables, failure) = (&loaders, &tables, &failure);
                spawn(threads, "loader", move || loaders.run(&**tables, failure));
            }
            // One process reads the table for all.
            if self.settings.recall && here.index == 0 {
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
                    if let Err(error) = read(feed) {
                        let error = Error::Source(error.into());
                        // Epochs that were closed before a failure are whole, and are still applied; but
                        // not where others would wait for the rest.
                        match feed.is_of_cluster() {
                            true => failure.report(error),
                            false => failure.keep(error),
                        }
                    }
                    feed.end();
                }
            });

            let plan = worker::Plan {
                job: self.clone(),
                start,
                bound,
                feed: Arc::clone(&feed),
                loaders: Arc::clone(&loaders),
                refresher: Arc::clone(&refresher),
                shares: shares_in,
            };
            match worker::start(plan, network) {
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
            Some((error, _)) => Err(error),
        }
    }
}

/// Where and how the workers of a process begin.
struct Begin {
    /// The first epoch that is not marked.
    start: Epoch,
    /// The last epoch that was bound before.
    bound: Epoch,
    network: Network,
    here: Place,
}

fn last(mark: &Mark, bound: &VecDeque<Binding>) -> Epoch {
    bound.back().map_or(mark.epoch, |binding| binding.epoch)
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
