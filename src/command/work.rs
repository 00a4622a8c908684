//! A job at work, as the commands that run one set it up.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::{Receiver, unbounded};
use dataflows::Settings;

use super::Error;
use super::ending::Ending;
use super::incarnations::then;
use crate::cluster::{Hub, Place, Plan, Reads};
use crate::config::Config;
use crate::health::Health;
use crate::job::{Apart, Job, Rooms, Standing};
use crate::ledger::{Dates, Freshness, Mark, Names, Then};
use crate::live::watch_freshness;
use crate::metrics;
use crate::outside::{Outside, Told};
use crate::retry::{Stop, chain};
use crate::sink::Failed;
use crate::source::Feed;
use crate::tables::Tables;

/// How many bytes of histories stay in memory beside those of the epochs in flight: ten thousand busy users
/// in a dozen channels each. To read a history again is a call of HBase, so as much as is well to have.
const HISTORY_BYTES: usize = 96 << 20;

/// How many threads ask for histories at once.
const LOADERS: usize = 2;

/// Reads records into the feed, to their end.
pub(super) type Read = Box<dyn FnOnce(&Feed) -> Result<(), Failed> + Send>;

/// What a job reads beside its records, and where its effects go.
pub(super) type Effects<O> = (Arc<dyn Tables>, (O, Receiver<Told>));

/// How far a job has come when it ended.
pub(super) struct Ended {
    pub mark: Mark,
    /// All that was there to be read is done.
    pub is_all: bool,
}

/// What every job of a command has in common.
pub(super) struct Work<'a> {
    pub config: &'a Config,
    /// Which process this is.
    pub here: Place,
    /// The others, where this is process 0 of a cluster.
    pub hub: Option<&'a Hub>,
    pub health: Health,
    pub ending: Ending,
    /// Counts the records of the epochs that are done.
    pub records: Arc<AtomicU64>,
}

impl Work<'_> {
    /// A job whose epochs are dated by the clock, and whose tables others write too.
    pub fn job(
        &self,
        settings: Arc<Settings>,
        names: &Arc<Names>,
        standing: &Standing,
        stop: &Stop,
    ) -> Job {
        let last = standing.bound.back().map_or(standing.mark.time, |binding| binding.time);
        Job {
            workers: self.here.workers,
            loaders: LOADERS,
            settings,
            names: Arc::clone(names),
            history_bytes: HISTORY_BYTES,
            history_age: Some(self.config.history_age),
            refresh: Some(self.config.refresh),
            dates: Dates::live(last),
            undated: None,
            records: Arc::clone(&self.records),
            health: self.health.clone(),
            stop: stop.clone(),
        }
    }

    /// Passes over a failure if a signal has ended the work: it was cut short, which is what was wanted.
    pub fn unless_ended<T: Default>(&self, came: Result<T, Error>) -> Result<T, Error> {
        match came {
            Err(error) if self.ending.signal().is_some() => {
                log::warn!("cut short by a signal: {}", chain(&error));
                Ok(T::default())
            }
            came => came,
        }
    }

    /// Does a job while somebody says how fresh everything is.
    pub fn run_watched<O: Outside>(
        &self,
        job: &Job,
        standing: Standing,
        rooms: Effects<O>,
        plan: Option<Plan>,
        read: Read,
        freshness: &Freshness,
    ) -> Result<Ended, Error> {
        let say = |time: u64| {
            // All is visible that is so in all processes.
            let elsewhere = self.hub.map_or(Some(u64::MAX), Hub::fresh);
            if let Some(time) = elsewhere.map(|elsewhere| time.min(elsewhere)) {
                freshness.is(time);
                metrics::visible(time);
            }
        };
        self.run(job, standing, rooms, plan, |feed| watched(feed, read, say))
    }

    /// Does a job, until its source or the command ends.
    pub fn run<O: Outside>(
        &self,
        job: &Job,
        standing: Standing,
        (tables, outside): Effects<O>,
        plan: Option<Plan>,
        read: impl FnOnce(&Feed) -> Result<(), Failed> + Send,
    ) -> Result<Ended, Error> {
        let mark = standing.mark.epoch;
        let (cut, cuts) = unbounded();
        let in_flight = self.config.epoch.in_flight.max(standing.bound.len() as u64);
        let (mark, feed) = match (self.hub, plan) {
            (Some(hub), Some(plan)) => {
                let network = hub.begin(&plan)?;
                let (leave, left) = unbounded();
                let feed = Arc::new(Feed::of_cluster(mark, in_flight, cut, leave, hub.processes()));
                self.ending.attend(&feed);
                let rooms = Rooms { tables, outside, feed: (Arc::clone(&feed), cuts) };
                let goes_on = plan.reads == Reads::All;
                let apart = Apart { with: hub, network, here: self.here, left, goes_on };
                let came = job.lead(standing, rooms, read, apart);
                // Done or not, all have to come to its end before another run begins.
                let came = came.map_err(Error::from);
                match (came, hub.finish()) {
                    (Ok(mark), Ok(())) => (mark, feed),
                    (Ok(_), Err(late)) => return Err(late.into()),
                    (Err(error), Err(late)) if matches!(then(&error), Then::StartAgain { .. }) => {
                        return Err(late.into());
                    }
                    (Err(error), _) => return Err(error),
                }
            }
            _ => {
                let feed = Arc::new(Feed::new(mark, in_flight, cut));
                self.ending.attend(&feed);
                let rooms = Rooms { tables, outside, feed: (Arc::clone(&feed), cuts) };
                (job.run(standing, rooms, read)?, feed)
            }
        };
        log::info!("ended: mark={}", mark.epoch);
        Ok(Ended { mark, is_all: feed.is_done() })
    }
}

/// Reads while it is said how fresh everything is that is read.
pub(super) fn watched<T>(
    feed: &Feed,
    read: impl FnOnce(&Feed) -> T,
    say: impl FnMut(u64) + Send,
) -> T {
    let watched = Stop::default();
    std::thread::scope(|threads| {
        threads.spawn(|| watch_freshness(feed, &watched, say));
        let read = read(feed);
        watched.stop();
        read
    })
}
