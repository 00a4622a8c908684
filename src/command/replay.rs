//! `replay`: the job over log files, into the embedded store or into live servers.

mod live;
mod progress;
mod summary;

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::ending::{Ending, Manner};
use super::{Error, Place, Settled, date};
use crate::cli;
use crate::config::Config;
use crate::health::Health;
use crate::job::{Job, Rooms, Standing};
use crate::ledger::{Dates, Mark};
use crate::source::files::{self, Plan, Position};
use crate::source::{Feed, Topic};
use crate::store::{self, Store};
use crate::{ledger, sink, tables};

use progress::Progress;
use summary::Summary;

/// How many bytes of histories stay in memory beside those of the epochs in flight. To read one again from
/// the store costs little.
const HISTORY_BYTES: usize = 48 << 20;

pub(super) fn replay(args: &cli::Replay) -> Result<String, Error> {
    let begun = Instant::now();
    if args.clicks.is_empty() && args.articles.is_empty() && args.similar.is_none() {
        log::warn!("nothing to replay: name files of clicks, --articles or --similar");
    }
    let settled = Settled::of(&args.outside)?;
    let summary = match &settled.place {
        Place::Store(dir) => into_store(args, &settled.config, dir, begun)?,
        Place::Servers(servers) => live::into_servers(args, &settled.config, servers, begun)?,
    };
    Ok(summary.print(args.json))
}

fn into_store(
    args: &cli::Replay,
    config: &Config,
    dir: &Path,
    begun: Instant,
) -> Result<Summary, Error> {
    let store = Arc::new(Store::create(dir)?);
    let mark = store.mark()?;
    let time = time(args, &store, &mark)?;

    // Everything that may be refused is judged before anything is applied.
    let plan = plan(args, store.positions()?)?;
    store.rename(plan.renaming())?;
    if let Some(similar) = &args.similar {
        store.load(Some(similar), None)?;
    }

    let ending = Ending::listen(Manner::AtOnce)?;
    let records = epoch_records(args, config);
    let job = Job {
        workers: args.workers.into(),
        loaders: args.workers.into(),
        settings: Arc::new(config.settings.clone()),
        names: Arc::default(),
        history_bytes: HISTORY_BYTES,
        history_age: None,
        refresh: None,
        dates: Dates::at(time, mark.time),
        undated: Some(time),
        records: Arc::default(),
        health: Health::default(),
        stop: ending.begin(),
    };
    let (cut, cuts) = crossbeam_channel::unbounded();
    let feed = Arc::new(Feed::new(mark.epoch, config.epoch.in_flight, cut));
    ending.attend(&feed);
    let (tell, told) = crossbeam_channel::unbounded();
    let rooms = Rooms {
        tables: Arc::new(tables::Embedded::new(Arc::clone(&store), Some(time))),
        outside: (sink::Embedded::new(Arc::clone(&store), Some(time), tell)?, told),
        feed: (Arc::clone(&feed), cuts),
    };
    let files = plan.files();
    let (total, bytes) = (plan.total(), plan.progress());
    let progress = Progress { total, bytes, records: Arc::clone(&job.records) };
    let reached = progress.shown_during(|| {
        let standing = Standing { mark: mark.clone(), ..Standing::default() };
        job.run(standing, rooms, |feed| stopped_is_done(plan.read(feed, records)))
    })?;
    store.settle()?;
    // A signal that came when all was done already has interrupted nothing.
    if let Some(signal) = ending.signal().filter(|_| !feed.is_done()) {
        return Err(Error::Interrupted(signal));
    }
    let place = ("store", store.dir().display().to_string());
    Ok(Summary { place, files, begun, mark_before: mark, mark: reached })
}

/// Finds and judges the files that are named, and says what becomes of them.
fn plan(
    args: &cli::Replay,
    known: impl IntoIterator<Item = (Topic, Vec<u8>, Position)>,
) -> Result<Plan, Error> {
    let [clicks, articles] = arguments(args);
    let plan = Plan::new(&clicks, &articles, store::stands_in, known)?;
    for skipped in plan.skipped() {
        log::info!("skipped: path={} reason={}", skipped.path.display(), skipped.why);
    }
    for renamed in plan.renamed() {
        let (from, to) = (renamed.from.display(), renamed.to.display());
        log::info!("known under another name: from={from} path={to}");
    }
    Ok(plan)
}

/// The arguments that name files: of clicks, and of new articles.
fn arguments(args: &cli::Replay) -> [Vec<PathBuf>; 2] {
    let paths = |names: &[OsString]| names.iter().map(PathBuf::from).collect();
    [paths(&args.clicks), paths(&args.articles)]
}

fn epoch_records(args: &cli::Replay, config: &Config) -> NonZeroU64 {
    let records = args.epoch_records.unwrap_or(config.epoch.records);
    NonZeroU64::new(records).expect("an epoch has at least one record")
}

/// Whoever has stopped the job knows why.
fn stopped_is_done(read: Result<(), files::Error>) -> Result<(), files::Error> {
    match read {
        Err(files::Error::Stopped(_)) => Ok(()),
        read => read,
    }
}

/// TIME of this run, in milliseconds since 1970.
fn time(args: &cli::Replay, store: &Store, mark: &Mark) -> Result<u64, Error> {
    let refuse = |reason: String| Err(Error::Usage(format!("--at is refused: {reason}")));
    let Some(at) = args.at else {
        return Ok(ledger::now());
    };
    let Ok(at) = u64::try_from(at.as_millisecond()) else {
        return refuse(format!("{at} is before 1970"));
    };
    let replay = store.replay()?;
    if at < replay.time {
        return refuse(format!(
            "{} is before {}, which this store was last replayed at",
            date(at),
            date(replay.time)
        ));
    }
    // The epochs of the same TIME go on after the last one; those of a later one must begin there.
    let own = if at > replay.time && mark.totals.recalls > 0 { mark.time } else { 0 };
    let newest = match replay.loaded_until {
        until if at <= until => store.newest_loaded()?,
        _ => 0,
    };
    if at <= own.max(newest) {
        return refuse(format!(
            "{} is not after {}, at which a version of a history stands",
            date(at),
            date(own.max(newest))
        ));
    }
    Ok(at)
}
