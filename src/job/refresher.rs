//! The thread that reads the table of similar articles, once or again and again, and tells one worker
//! what has changed.

use std::sync::Mutex;
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use dataflows::{Article, Neighbours, Settings, nearest};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::{Error, Failure, Job};
use crate::metrics;
use crate::retry::Stop;
use crate::tables::Tables;

/// What the worker is told.
pub(super) enum Change {
    /// These articles have other neighbours now, or none.
    Rows(Vec<(Article, Option<Neighbours>)>),
    /// The table was read to its end.
    Complete,
}

/// How many rows are handed over at once.
const BATCH: usize = 1024;

/// How many batches may wait for the worker.
const AHEAD: usize = 8;

/// One end for the thread, one for the worker.
pub(super) struct Refresher {
    changes: Sender<Change>,
    changed: Receiver<Change>,
    /// Who is to be woken.
    worker: Mutex<Option<Thread>>,
}

impl Refresher {
    pub(super) fn new() -> Refresher {
        let (changes, changed) = bounded(AHEAD);
        Refresher { changes, changed, worker: Mutex::default() }
    }

    /// Makes the calling thread, a worker, the one that is woken; gives its end.
    pub(super) fn attend(&self) -> Receiver<Change> {
        *self.worker() = Some(std::thread::current());
        self.changed.clone()
    }

    /// Reads the table, and again as often as the job says, until it stops.
    pub(super) fn run(&self, tables: &dyn Tables, job: &Job, failure: &Failure) {
        let Job { settings, refresh: every, stop, health, .. } = job;
        let mut known = Known::default();
        loop {
            let begun = Instant::now();
            match self.read(tables, settings, every.is_some().then_some(&mut known), stop) {
                Ok(articles) => {
                    metrics::similar(articles, begun);
                    health.table_read();
                }
                // Who tries until the job stops has not failed.
                Err(_) if stop.is_stopped() => return failure.feed.stop(),
                Err(error) => return failure.report(Error::Tables(error)),
            }
            match *every {
                Some(every) if !stop.wait(every.saturating_sub(begun.elapsed())) => {}
                _ => return,
            }
        }
    }

    /// Reads the table once; returns how many articles it holds.
    fn read(
        &self,
        tables: &dyn Tables,
        settings: &Settings,
        mut known: Option<&mut Known>,
        stop: &Stop,
    ) -> Result<usize, crate::sink::Failed> {
        let mut batch = Vec::new();
        let mut articles = 0;
        if let Some(known) = &mut known {
            known.round += 1;
        }
        tables.similar(&mut |article, neighbours| {
            articles += 1;
            let nearest = nearest(neighbours, settings.neighbours, settings.order);
            if known.as_mut().is_none_or(|known| known.is_new(article, &nearest)) {
                batch.push((article, Some(nearest)));
                if batch.len() == BATCH {
                    self.send(Change::Rows(std::mem::take(&mut batch)), stop);
                }
            }
        })?;
        if let Some(known) = known {
            batch.extend(known.gone().map(|article| (article, None)));
        }
        self.send(Change::Rows(batch), stop);
        self.send(Change::Complete, stop);
        Ok(articles)
    }

    fn send(&self, mut change: Change, stop: &Stop) {
        // The worker leaves without taking everything when the job stops.
        while let Err(unsent) = self.changes.try_send(change) {
            change = unsent.into_inner();
            if stop.wait(Duration::from_millis(1)) {
                return;
            }
        }
        if let Some(worker) = &*self.worker() {
            worker.unpark();
        }
    }

    fn worker(&self) -> std::sync::MutexGuard<'_, Option<Thread>> {
        // Nothing panics while it holds the lock.
        self.worker.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The table as the worker has it.
#[derive(Default)]
struct Known {
    rows: HashMap<Article, (Neighbours, u32), FxBuildHasher>,
    /// The number of the reading.
    round: u32,
}

impl Known {
    /// Notes a row of this round, and says whether it is another than before.
    fn is_new(&mut self, article: Article, nearest: &Neighbours) -> bool {
        let round = self.round;
        let mut is_new = false;
        let (row, seen) = self.rows.entry(article).or_insert_with(|| {
            is_new = true;
            (Neighbours::clone(nearest), round)
        });
        if row != nearest {
            is_new = true;
            *row = Neighbours::clone(nearest);
        }
        *seen = round;
        is_new
    }

    /// Forgets the rows that this round has not met, and names them.
    fn gone(&mut self) -> impl Iterator<Item = Article> + '_ {
        let round = self.round;
        self.rows.extract_if(move |_, (_, seen)| *seen != round).map(|(article, _)| article)
    }
}
