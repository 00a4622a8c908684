//! What a HDFS sink has taken and not yet committed, and the buckets that write it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, watch};

use super::Error;
use super::bucket::{Bucket, ENDINGS, Part, Report, Shared};
use super::ending::{Ending, Holds};
use super::open_files::{Names, OpenFiles};
use super::path::Place;
use super::settings::Settings;
use crate::counters::Sink as Count;
use crate::event::Event;
use crate::sink::{Dead, Failure, Taken, Tap};
use crate::stop::chain;
use crate::storage::{Root, Storage};

/// How many events are out at most, or four batches where these are more; and how many bytes of bodies. What
/// is taken last may go beyond both.
const OUT: (usize, usize) = (10_000, 8 << 20);

/// The pauses of a place whose file has failed: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How long an ending sink waits for its files, where no call has a limit.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is going on.
#[derive(Debug)]
pub struct Work {
    /// Goes first: then no bucket sees that its sender is gone, when a sink is dropped as if it had died.
    runtime: Runtime,
    shared: Arc<Shared>,
    reports: Receiver<Report>,
    ends: watch::Sender<bool>,
    takes: BTreeMap<u64, Held>,
    next_take: u64,
    events: usize,
    bytes: usize,
    buckets: HashMap<Arc<Place>, Slot>,
    next_bucket: u64,
    /// Counts the uses of buckets: of two the one with the smaller count was used longer ago.
    uses: u64,
    resting: HashMap<Arc<Place>, Resting>,
    in_flight: usize,
    /// Whether a file has failed, and nothing was synced since.
    is_failing: bool,
    /// Why the last one has failed.
    error: Option<Arc<Error>>,
}

/// Why nothing goes on.
#[derive(Debug, thiserror::Error)]
#[error("{events} events wait for a file")]
struct Waiting {
    events: usize,
    source: Arc<Error>,
}

/// A take that is not committed.
#[derive(Debug)]
struct Held {
    taken: Taken,
    dead: Vec<Dead>,
    /// How many parts are not synced.
    owing: usize,
    bytes: usize,
    /// Whether it goes back as soon as nobody writes it any more.
    goes_back: bool,
}

/// A bucket at work.
#[derive(Debug)]
struct Slot {
    bucket: u64,
    parts: UnboundedSender<Part>,
    in_flight: usize,
    used: u64,
}

/// A place whose file has failed, until one of its parts is synced.
#[derive(Debug)]
struct Resting {
    failures: u32,
    until: Instant,
    parts: Vec<Part>,
}

impl Resting {
    fn new() -> Resting {
        Resting { failures: 0, until: Instant::now(), parts: Vec::new() }
    }
}

/// Events by their place.
#[derive(Debug, Default)]
pub struct Parts {
    all: Vec<(Arc<Place>, Vec<Event>)>,
    places: HashMap<Arc<Place>, usize>,
    last: usize,
}

impl Parts {
    /// Adds an event of this place.
    pub fn add(&mut self, place: &Arc<Place>, event: Event) {
        if !self.all.get(self.last).is_some_and(|(known, _)| Arc::ptr_eq(known, place)) {
            self.last = *self.places.entry(Arc::clone(place)).or_insert(self.all.len());
            if self.last == self.all.len() {
                self.all.push((Arc::clone(place), Vec::new()));
            }
        }
        self.all[self.last].1.push(event);
    }
}

/// Threads for the buckets of a sink.
pub fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_name("hdfs-sink")
        .enable_all()
        .build()
}

impl Work {
    /// Connects to the file system, and ends what a dead run has left open, beside.
    ///
    /// # Errors
    ///
    /// If Hadoop's configuration is wrong, or another agent of the same name runs.
    pub fn start(settings: &Settings) -> Result<Work, Failure> {
        let runtime = runtime()?;
        let storage = settings.root.open(&settings.credentials, runtime.handle())?;
        Work::start_on(settings, runtime, storage)
    }

    /// Begins to work in this file system.
    ///
    /// # Errors
    ///
    /// As [`Work::start`].
    pub fn start_on(
        settings: &Settings,
        runtime: Runtime,
        storage: Arc<dyn Storage>,
    ) -> Result<Work, Failure> {
        let (open_files, left) = OpenFiles::open(&settings.open_files)?;
        let (report, reports) = channel();
        let (ends, is_ended) = watch::channel(false);
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            storage,
            open_files,
            reports: report,
            endings: Semaphore::new(ENDINGS),
            ends: is_ended,
        });
        let work = Work {
            runtime,
            shared,
            reports,
            ends,
            takes: BTreeMap::new(),
            next_take: 0,
            events: 0,
            bytes: 0,
            buckets: HashMap::new(),
            next_bucket: 0,
            uses: 0,
            resting: HashMap::new(),
            in_flight: 0,
            is_failing: false,
            error: None,
        };
        work.end_left(left)?;
        Ok(work)
    }

    fn end_left(&self, left: Vec<Names>) -> Result<(), Failure> {
        for names in left {
            log::info!("ending a file that a run before has left open: path={}", names.in_use());
            let storage = if names.root == self.shared.settings.root.name() {
                Arc::clone(&self.shared.storage)
            } else {
                Root::read(&names.root)
                    .open(&self.shared.settings.credentials, self.runtime.handle())?
            };
            let ending = Ending { names, storage, out: None, holds: Holds::Unknown };
            self.runtime.spawn(ending.run(Arc::clone(&self.shared)));
        }
        Ok(())
    }

    /// Whether nothing is taken that is not committed.
    pub fn is_empty(&self) -> bool {
        self.takes.is_empty()
    }

    /// Whether no more may be taken.
    pub fn is_full(&self) -> bool {
        self.events >= OUT.0.max(4 * self.shared.settings.batch) || self.bytes >= OUT.1
    }

    /// How many parts are being written.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether a file has failed, and nothing has been synced since.
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Holds a take until its parts are synced.
    pub fn hold(
        &mut self,
        tap: &Tap,
        taken: Taken,
        dead: Vec<Dead>,
        parts: Parts,
    ) -> Result<(), Failure> {
        if parts.all.is_empty() {
            return tap.commit(taken, dead);
        }
        let take = self.next_take;
        self.next_take += 1;
        let bytes = taken.events().iter().map(|event| event.body.len()).sum();
        self.events += taken.events().len();
        self.bytes += bytes;
        let owing = parts.all.len();
        self.takes.insert(take, Held { taken, dead, owing, bytes, goes_back: false });
        for (place, events) in parts.all {
            self.send(place, Part { take, events });
        }
        Ok(())
    }

    /// Hands a part to its bucket, or lets it rest with others of a place whose file has failed.
    fn send(&mut self, place: Arc<Place>, part: Part) {
        if let Some(resting) = self.resting.get_mut(&place)
            && (!resting.parts.is_empty() || Instant::now() < resting.until)
        {
            resting.parts.push(part);
            return;
        }
        self.uses += 1;
        if !self.buckets.contains_key(&place) {
            self.open(&place);
        }
        let slot = self.buckets.get_mut(&place).expect("it was opened");
        slot.used = self.uses;
        match slot.parts.send(part) {
            Ok(()) => {
                slot.in_flight += 1;
                self.in_flight += 1;
            }
            // It has failed just now, and says so in a report that is not heard yet.
            Err(unsent) => self.rest(place, unsent.0),
        }
    }

    /// Makes a bucket; one too many is closed, that which was not used for longest.
    fn open(&mut self, place: &Arc<Place>) {
        if self.buckets.len() >= self.shared.settings.max_open {
            let oldest = self.buckets.iter().min_by_key(|(_, slot)| slot.used);
            if let Some(oldest) = oldest.map(|(place, _)| Arc::clone(place)) {
                self.buckets.remove(&oldest);
            }
        }
        let (parts, inbox) = unbounded_channel();
        let bucket = self.next_bucket;
        self.next_bucket += 1;
        let task = Bucket::new(Arc::clone(&self.shared), Arc::clone(place), bucket);
        self.runtime.spawn(task.run(inbox));
        let slot = Slot { bucket, parts, in_flight: 0, used: self.uses };
        self.buckets.insert(Arc::clone(place), slot);
    }

    fn rest(&mut self, place: Arc<Place>, part: Part) {
        self.resting.entry(place).or_insert_with(Resting::new).parts.push(part);
    }

    /// Writes again what has rested for long enough.
    pub fn try_again(&mut self) {
        let now = Instant::now();
        let due = self
            .resting
            .iter_mut()
            .filter(|(_, resting)| !resting.parts.is_empty() && resting.until <= now);
        let due: Vec<_> = due
            .map(|(place, resting)| (Arc::clone(place), std::mem::take(&mut resting.parts)))
            .collect();
        for (place, parts) in due {
            for part in parts {
                self.send(Arc::clone(&place), part);
            }
        }
    }

    /// Hears what the buckets say; waits for the first word no longer than this.
    pub fn hear(&mut self, tap: &Tap, patience: Duration) -> Result<(), Failure> {
        let mut patience = patience;
        loop {
            match self.reports.recv_timeout(patience) {
                Ok(report) => self.note(tap, report)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
            patience = Duration::ZERO;
        }
    }

    fn note(&mut self, tap: &Tap, report: Report) -> Result<(), Failure> {
        match report {
            Report::Count(count) => tap.counters().add(count, 1),
            Report::Done { place, bucket, take } => {
                self.landed(&place, bucket, 1);
                self.is_failing = false;
                if self.resting.get(&place).is_some_and(|resting| resting.parts.is_empty()) {
                    self.resting.remove(&place);
                }
                self.pay(tap, take, 1)?;
            }
            Report::Idle { place, bucket } => {
                // With something on its way it opens a file again.
                let is_over = |slot: &Slot| slot.bucket == bucket && slot.in_flight == 0;
                if self.buckets.get(&place).is_some_and(is_over) {
                    self.buckets.remove(&place);
                }
            }
            Report::Failed { place, bucket, parts, error } => {
                tap.counters().add(Count::EventWriteFail, 1);
                self.landed(&place, bucket, parts.len());
                if self.buckets.get(&place).is_some_and(|slot| slot.bucket == bucket) {
                    self.buckets.remove(&place);
                }
                self.note_failure(&place, &error);
                for part in parts {
                    if self.takes.get(&part.take).is_some_and(|held| held.goes_back) {
                        self.pay(tap, part.take, 1)?;
                    } else {
                        self.rest(Arc::clone(&place), part);
                    }
                }
                self.is_failing = true;
                self.error = Some(Arc::new(error));
            }
        }
        Ok(())
    }

    /// Lets a place rest, longer each time.
    fn note_failure(&mut self, place: &Arc<Place>, error: &Error) {
        let resting = self.resting.entry(Arc::clone(place)).or_insert_with(Resting::new);
        let pause = PAUSES.0 * (1 << resting.failures.min(8));
        resting.failures += 1;
        resting.until = Instant::now() + pause.min(PAUSES.1);
        if resting.failures == 1 {
            log::warn!("a file has failed, and another takes its events: error={}", chain(error));
        }
    }

    fn landed(&mut self, place: &Arc<Place>, bucket: u64, many: usize) {
        self.in_flight -= many;
        if let Some(slot) = self.buckets.get_mut(place)
            && slot.bucket == bucket
        {
            slot.in_flight -= many;
        }
    }

    /// So many parts of a take are synced, or go back.
    fn pay(&mut self, tap: &Tap, take: u64, many: usize) -> Result<(), Failure> {
        let Some(held) = self.takes.get_mut(&take) else { return Ok(()) };
        held.owing -= many;
        if held.owing > 0 {
            return Ok(());
        }
        let held = self.takes.remove(&take).expect("it was there");
        self.events -= held.taken.events().len();
        self.bytes -= held.bytes;
        if held.goes_back { Ok(()) } else { tap.commit(held.taken, held.dead) }
    }

    /// Says that nothing goes on, where that is so.
    ///
    /// # Errors
    ///
    /// If a file has failed, nothing was synced since, and nothing is on its way.
    pub fn judged(&mut self) -> Result<(), Failure> {
        if self.in_flight > 0 || !self.is_failing {
            return Ok(());
        }
        match &self.error {
            Some(error) => Err(Waiting { events: self.events, source: Arc::clone(error) }.into()),
            None => Ok(()),
        }
    }

    /// Lets the takes go back whose parts rest; one of which others are being written, when these are.
    pub fn give_back(&mut self) {
        for (_, resting) in self.resting.drain() {
            for part in resting.parts {
                if let Some(held) = self.takes.get_mut(&part.take) {
                    held.goes_back = true;
                    held.owing -= 1;
                }
            }
        }
        let over = self.takes.iter().filter(|(_, held)| held.owing == 0);
        let over: Vec<_> = over.map(|(take, _)| *take).collect();
        // Each goes to the channel's head: the last one first.
        for take in over.iter().rev() {
            if let Some(held) = self.takes.remove(take) {
                self.events -= held.taken.events().len();
                self.bytes -= held.bytes;
            }
        }
    }

    /// Ends all files, and waits until each was tried once.
    ///
    /// # Errors
    ///
    /// If some take too long: the next start ends them.
    pub fn close(self, tap: &Tap) -> Result<(), Failure> {
        let Work { runtime, shared, reports, ends, takes, buckets, .. } = self;
        takes.into_values().rev().for_each(drop);
        ends.send_replace(true);
        drop(buckets);
        let patience = shared.settings.call_timeout.unwrap_or(PATIENCE) + Duration::from_secs(5);
        drop(shared);
        let deadline = Instant::now() + patience;
        // Every task holds a sender of reports: when all are gone, all is done.
        let closed = loop {
            match reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Report::Count(count)) => tap.counters().add(count, 1),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = patience.as_secs();
                    break Err(format!(
                        "not all files were ended within {seconds} s; the next start does it"
                    )
                    .into());
                }
            }
        };
        runtime.shutdown_background();
        closed
    }
}
