//! `replay`: the job over log files, into the embedded store.

use std::fmt::Write;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Error, Settled, date};
use crate::cli;
use crate::decode::Reason;
use crate::health::Health;
use crate::job::{Job, Rooms, Standing};
use crate::ledger::{Dates, Mark};
use crate::retry::Stop;
use crate::source::Feed;
use crate::source::files::{self, Plan};
use crate::store::{self, Store};
use crate::{ledger, sink, tables};

/// How many bytes of histories stay in memory beside those of the epochs in flight.
const HISTORY_BYTES: usize = 48 << 20;

pub(super) fn replay(args: &cli::Replay) -> Result<String, Error> {
    let begun = Instant::now();
    if args.clicks.is_empty() && args.articles.is_empty() && args.similar.is_none() {
        log::warn!("nothing to replay: name files of clicks, --articles or --similar");
    }
    let settled = Settled::of(&args.outside)?;
    let store = Arc::new(Store::create(settled.dir()?)?);
    let mark = store.mark()?;
    let time = time(args, &store, &mark)?;

    // Everything that may be refused is judged before anything is applied.
    let paths = |names: &[std::ffi::OsString]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    let plan = Plan::new(
        &paths(&args.clicks),
        &paths(&args.articles),
        store::stands_in,
        store.positions()?,
    )?;
    for skipped in plan.skipped() {
        log::info!("skipped: path={} reason={}", skipped.path.display(), skipped.why);
    }
    for renamed in plan.renamed() {
        let (from, to) = (renamed.from.display(), renamed.to.display());
        log::info!("known under another name: from={from} path={to}");
    }
    store.rename(plan.renaming())?;
    if let Some(similar) = &args.similar {
        store.load(Some(similar), None)?;
    }

    let records = args.epoch_records.unwrap_or(settled.config.epoch.records);
    let records = NonZeroU64::new(records).expect("an epoch has at least one record");
    let job = Job {
        workers: args.workers.into(),
        loaders: args.workers.into(),
        settings: Arc::new(settled.settings().clone()),
        names: Arc::default(),
        history_bytes: HISTORY_BYTES,
        history_age: None,
        refresh: None,
        dates: Dates::at(time, mark.time),
        undated: Some(time),
        records: Arc::default(),
        health: Health::default(),
        stop: Stop::default(),
    };
    let (cut, cuts) = crossbeam_channel::unbounded();
    let feed = Arc::new(Feed::new(mark.epoch, settled.config.epoch.in_flight, cut));
    let (tell, told) = crossbeam_channel::unbounded();
    let rooms = Rooms {
        tables: Arc::new(tables::Embedded::new(Arc::clone(&store), time)),
        outside: (sink::Embedded::new(Arc::clone(&store), time, tell)?, told),
        feed: (Arc::clone(&feed), cuts),
    };
    let files = plan.files();
    let progress = Progress { total: plan.total(), bytes: plan.progress(), job: job.clone() };

    let interrupts = Interrupts::listen(Arc::clone(&feed))?;
    let watched = Arc::clone(&feed);
    let reached = progress.shown_during(|| {
        job.run(Standing { mark: mark.clone(), ..Standing::default() }, rooms, |feed| {
            match plan.read(feed, records) {
                // Whoever has stopped the job knows why.
                Err(files::Error::Stopped(_)) => Ok(()),
                read => read,
            }
        })
    });
    // A signal that came when all was done already has interrupted nothing.
    let caught = interrupts.end();
    let signal = if watched.is_done() { 0 } else { caught };
    let reached = reached?;
    store.settle()?;

    let summary = Summary { store: &store, files, begun, mark_before: mark, mark: reached };
    if signal != 0 {
        return Err(Error::Interrupted(signal));
    }
    Ok(if args.json { summary.document() } else { summary.table() })
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

/// Listens to the signals that end a replay.
struct Interrupts {
    signals: signal_hook::iterator::Handle,
    caught: Arc<AtomicI32>,
}

impl Interrupts {
    fn listen(feed: Arc<Feed>) -> Result<Interrupts, Error> {
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::Signals)?;
        let interrupts = Interrupts { signals: signals.handle(), caught: Arc::default() };
        let caught = Arc::clone(&interrupts.caught);
        std::thread::spawn(move || {
            for signal in &mut signals {
                caught.store(signal, Ordering::Relaxed);
                feed.stop();
            }
        });
        Ok(interrupts)
    }

    /// Stops listening; returns the signal that came, or 0.
    fn end(self) -> i32 {
        self.signals.close();
        self.caught.load(Ordering::Relaxed)
    }
}

/// What a person who waits is shown.
struct Progress {
    total: Option<u64>,
    bytes: Arc<AtomicU64>,
    job: Job,
}

impl Progress {
    /// Shows a bar while `work` goes on; nothing where standard error is no terminal.
    fn shown_during<T>(&self, work: impl FnOnce() -> T) -> T {
        let bar = ProgressBar::new(0);
        if bar.is_hidden() {
            return work();
        }
        let (done, until) = mpsc::channel::<()>();
        std::thread::scope(|threads| {
            threads.spawn(move || {
                let bar = self.style(bar);
                let tick = Duration::from_millis(100);
                while until.recv_timeout(tick) == Err(mpsc::RecvTimeoutError::Timeout) {
                    bar.set_position(self.bytes.load(Ordering::Relaxed));
                    let records = self.job.records.load(Ordering::Relaxed);
                    let rate = records as f64 / bar.elapsed().as_secs_f64();
                    let (records, rate) = (HumanCount(records), HumanCount(rate as u64));
                    bar.set_message(format!("{records} records, {rate}/s"));
                }
                bar.finish_and_clear();
            });
            let result = work();
            drop(done);
            result
        })
    }

    fn style(&self, bar: ProgressBar) -> ProgressBar {
        let template = match self.total {
            Some(total) => {
                bar.set_length(total);
                "{bar:30} {percent:>3}%  {bytes}/{total_bytes}  {msg}  {eta} left"
            }
            None => "{spinner} {bytes}  {msg}  {elapsed}",
        };
        bar.with_style(ProgressStyle::with_template(template).expect("the template is one"))
    }
}

/// What a run has done.
struct Summary<'a> {
    store: &'a Store,
    /// How many files had something new, and how many had not.
    files: (usize, usize),
    begun: Instant,
    mark_before: Mark,
    mark: Mark,
}

impl Summary<'_> {
    fn document(&self) -> String {
        let totals = self.mark.totals.since(&self.mark_before.totals);
        let reasons = Reason::ALL.into_iter().zip(totals.dead_letters);
        let letters: serde_json::Map<_, _> =
            reasons.map(|(reason, count)| (reason.name().to_owned(), json!(count))).collect();
        let document = json!({
            "records": totals.records(),
            "hits": totals.hits,
            "others": totals.others,
            "new_articles": totals.new_articles,
            "recalls": totals.recalls,
            "dead_letters": letters,
            "epochs": self.mark.epoch.0 - self.mark_before.epoch.0,
            "epoch_mark": self.mark.epoch.0,
            "files": { "read": self.files.0, "unchanged": self.files.1 },
            "seconds": self.begun.elapsed().as_secs_f64(),
            "peak_memory_bytes": peak_memory(),
        });
        format!("{document}\n")
    }

    fn table(&self) -> String {
        let totals = self.mark.totals.since(&self.mark_before.totals);
        let elapsed = self.begun.elapsed();
        let rate = totals.records() as f64 / elapsed.as_secs_f64().max(1e-9);
        let (read, unchanged) = self.files;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<16}{value:>14}").expect("a string takes all text");
        };
        line("files", format!("{read} read, {unchanged} unchanged"));
        line("records", HumanCount(totals.records()).to_string());
        line("  hits", HumanCount(totals.hits).to_string());
        line("  other events", HumanCount(totals.others).to_string());
        line("  new articles", HumanCount(totals.new_articles).to_string());
        line("  dead letters", HumanCount(totals.all_dead_letters()).to_string());
        for (reason, count) in Reason::ALL.into_iter().zip(totals.dead_letters) {
            if count > 0 {
                line(&format!("    {reason}"), HumanCount(count).to_string());
            }
        }
        line("lists recalled", HumanCount(totals.recalls).to_string());
        let epochs = self.mark.epoch.0 - self.mark_before.epoch.0;
        line("epochs", HumanCount(epochs).to_string());
        if totals.records() > 0 {
            line("rate", format!("{}/s", HumanCount(rate as u64)));
        }
        line("time", format!("{:.2} s", elapsed.as_secs_f64()));
        if let Some(peak) = peak_memory() {
            line("peak memory", HumanBytes(peak).to_string());
        }
        writeln!(text, "store           {}", self.store.dir().display())
            .expect("a string takes all text");
        text
    }
}

/// The most memory that the process has held, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}
