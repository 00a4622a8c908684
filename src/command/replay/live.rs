//! The replay into live servers: a job of its own, beside the live one.

use std::cell::Cell;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::{Progress, Summary, arguments, epoch_records, plan, stopped_is_done};
use crate::cli;
use crate::cluster::Place;
use crate::command::ending::{Ending, Manner};
use crate::command::incarnations::{Ready, Records};
use crate::command::work::Work;
use crate::command::{Error, Servers, replay_of, tables};
use crate::config::Config;
use crate::health::Health;
use crate::ledger::{Binding, Found, now};
use crate::retry::{Ended, Peer, Stop, persist};
use crate::source::files::{self, Bound};
use crate::source::{Position, Reached};
use crate::{live, redis, store};

/// Replays into live servers.
pub(super) fn into_servers(
    args: &cli::Replay,
    config: &Config,
    servers: &Servers,
    begun: Instant,
) -> Result<Summary, Error> {
    if args.at.is_some() {
        let why = "--at is refused: what is replayed into live servers is dated by the clock, as the \
                   live job dates it";
        return Err(Error::Usage(why.to_owned()));
    }
    let ending = Ending::listen(Manner::AtOnce)?;
    let job = replay_of(config);
    if config.settings.recall {
        refuse_beside_live(config, servers, &ending.stop())
            .map_err(|error| ending.signal().map_or(error, Error::Interrupted))?;
    }
    log::warn!(
        "replaying into live servers: job={job}; hits that Kafka has delivered to job {} too count \
         twice",
        config.job.as_str()
    );
    let into = live::Servers::new(config, &job, &servers.redis, servers.hbase.as_ref())?;
    let records: Arc<AtomicU64> = Arc::default();
    let files = Files {
        args,
        arguments: arguments(args),
        servers,
        epoch_records: epoch_records(args, config),
        records: Arc::clone(&records),
        found: Cell::default(),
    };
    let health = Health::default();
    let here = Place::alone(args.workers.into());
    let work = Work { config, here, hub: None, health, ending, records };
    let done = work.with_servers(&into, false, &files)?;
    if let Some(signal) = work.ending.signal().filter(|_| !done.is_all) {
        return Err(Error::Interrupted(signal));
    }
    let (place, files) = (("job", job), files.found.get());
    Ok(Summary { place, files, begun, mark_before: done.from, mark: done.to })
}

/// How long after the time up to which all is visible a job counts as running, in milliseconds.
const FRESH: u64 = 10_000;

/// Refuses where the live job runs: each of both would recall what the other one has not heard of.
fn refuse_beside_live(config: &Config, servers: &Servers, stop: &Stop) -> Result<(), Error> {
    let name = config.job.as_str();
    let mut job = redis::Job::new(&servers.redis, name)?;
    let runs = persist(stop, Peer::Redis, "whether the job runs", |_| {
        let is_fresh = job.freshness()?.is_some_and(|time| now().saturating_sub(time) < FRESH);
        Ok::<_, redis::Error>(is_fresh || job.is_running()?)
    });
    match runs {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::Usage(format!(
            "job {name} runs, or has ended less than 10 seconds ago: a replay with `recall` beside it \
             would recall what it recalls too; end it first, or leave `recall` out of the dataflows"
        ))),
        Err(Ended::Failed(error)) => Err(error.into()),
        Err(Ended::Stopped) => Err(live::Error::Stopped.into()),
    }
}

/// Log files, read into live servers.
struct Files<'a> {
    args: &'a cli::Replay,
    /// What names files: of clicks, and of new articles.
    arguments: [Vec<PathBuf>; 2],
    servers: &'a Servers,
    epoch_records: NonZeroU64,
    /// Counts the records of the epochs that are done.
    records: Arc<AtomicU64>,
    /// How many files had something new, and how many had not.
    found: Cell<(usize, usize)>,
}

impl Records for Files<'_> {
    /// Renamed files get their new names, and all files are judged, where nothing is bound.
    const BOUND_ALONE: bool = true;

    fn beginning(&self, _: &Stop) -> Result<Reached, Error> {
        Ok(Reached::new())
    }

    fn bound(
        &self,
        reached: &Reached,
        bound: &VecDeque<Binding>,
        _: &Stop,
    ) -> Result<Ready, Error> {
        let [clicks, articles] = &self.arguments;
        let bound = Bound::new(bound, reached, [clicks, articles], store::stands_in)?;
        let read = Box::new(|feed: &_| Ok(stopped_is_done(bound.read(feed))?));
        Ok(Ready { read, group: None })
    }

    fn all(&self, found: &mut Found, stop: &Stop) -> Result<Ready, Error> {
        let known = found.reached.iter().map(|((topic, name), (_, position))| match position {
            Position::File(position) => Ok((*topic, name.clone(), position.clone())),
            Position::Topic(_) => {
                Err(files::Error::Foreign(String::from_utf8_lossy(name).into_owned()))
            }
        });
        let plan = plan(self.args, known.collect::<Result<Vec<_>, _>>()?)?;
        found.rename(plan.renaming(), stop).map_err(live::Error::from)?;
        if let Some(similar) = &self.args.similar {
            tables::load_into(self.servers, Some(similar), None)?;
        }
        self.found.set(plan.files());
        let (total, bytes) = (plan.total(), plan.progress());
        let progress = Progress { total, bytes, records: Arc::clone(&self.records) };
        let epoch_records = self.epoch_records;
        let read = Box::new(move |feed: &_| {
            let read = progress.shown_during(|| plan.read(feed, epoch_records));
            Ok(stopped_is_done(read)?)
        });
        Ok(Ready { read, group: None })
    }
}
