//! One place, and the file that is open in it.
//!
//! A bucket is a task. It writes all that has come for it since it last looked, syncs once, and reports; so
//! the slower a sync is, the more events share it. A full file is synced and handed over to be ended beside, and the
//! next one opened.
//!
//! A sync that fails because nobody is there is tried again for as long as a call may take: the file goes on, and
//! nothing is in it twice. When a write fails, or a sync in another way, the file is given up and the bucket ends;
//! what was not synced is reported as failed, to be written again into another file.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Semaphore, watch};

use super::ending::{Ending, Holds};
use super::open_files::{Names, OpenFiles};
use super::path::Place;
use super::settings::{Rolling, Settings};
use super::{Action, Error};
use crate::counters::Sink as Count;
use crate::event::Event;
use crate::sink::serializer::Serializer;
use crate::stop::chain;
use crate::storage::{Out, Storage};

/// How many bytes are handed on at once.
const STEP: usize = 256 << 10;

/// The pauses between tries to sync a file whose file system is away: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How many files are ended at the same time.
pub const ENDINGS: usize = 64;

/// The events of a take that go to one place.
#[derive(Debug)]
pub struct Part {
    /// The take's number.
    pub take: u64,
    /// The events, in order.
    pub events: Vec<Event>,
}

/// What a bucket has to say.
#[derive(Debug)]
pub enum Report {
    /// A part of this take is synced.
    Done { place: Arc<Place>, bucket: u64, take: u64 },
    /// These are not, and the bucket has ended.
    Failed { place: Arc<Place>, bucket: u64, parts: Vec<Part>, error: Error },
    /// The bucket has no open file.
    Idle { place: Arc<Place>, bucket: u64 },
    /// Something is counted.
    Count(Count),
}

/// What the buckets of a sink share.
#[derive(Debug)]
pub struct Shared {
    pub settings: Settings,
    pub storage: Arc<dyn Storage>,
    pub open_files: OpenFiles,
    pub reports: Sender<Report>,
    pub endings: Semaphore,
    /// Says that the sink ends: nothing is tried again.
    pub ends: watch::Receiver<bool>,
}

impl Shared {
    pub fn report(&self, report: Report) {
        if self.reports.send(report).is_err() {
            // A sink that is gone takes nothing back: its takes are with the channel already.
            log::debug!("nobody hears a report");
        }
    }

    /// Makes a call, and waits for it no longer than `hdfs.callTimeout`.
    pub async fn call<T>(
        &self,
        action: Action,
        path: &str,
        call: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Error> {
        let done = match self.settings.call_timeout {
            None => call.await,
            Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                let text = format!("no answer within {} ms (hdfs.callTimeout)", limit.as_millis());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }),
        };
        done.map_err(|source| Error { action, path: path.to_owned(), source })
    }

    /// Whether the sink ends.
    pub fn is_ending(&self) -> bool {
        *self.ends.borrow()
    }

    /// Waits so long, or until the sink ends; says whether it does.
    pub async fn is_ended_within(&self, pause: Duration) -> bool {
        let mut ends = self.ends.clone();
        // A sender that is gone is an end, too.
        tokio::time::timeout(pause, ends.wait_for(|ends| *ends)).await.is_ok()
    }
}

/// A place with its open file.
pub struct Bucket {
    shared: Arc<Shared>,
    place: Arc<Place>,
    number: u64,
    /// The number of the last file, where the next one follows it.
    counter: Option<i64>,
    file: Option<Open>,
}

/// A file that is open.
struct Open {
    out: Box<dyn Out>,
    names: Names,
    serializer: Box<dyn Serializer>,
    buffer: Vec<u8>,
    events: u64,
    /// Of bodies.
    bytes: u64,
    has_synced: bool,
    opened: Instant,
    written: Instant,
}

impl Open {
    fn is_full(&self, rolling: &Rolling) -> bool {
        rolling.count.is_some_and(|count| self.events >= count)
            || rolling.size.is_some_and(|size| self.bytes >= size)
    }

    /// When its time is over.
    fn deadline(&self, rolling: &Rolling) -> Option<Instant> {
        let interval = rolling.interval.map(|interval| self.opened + interval);
        let idle = rolling.idle.map(|idle| self.written + idle);
        interval.into_iter().chain(idle).min()
    }

    fn add(&mut self, event: &Event) {
        self.serializer.write(event, &mut self.buffer);
        self.events += 1;
        self.bytes += event.body.len() as u64;
    }
}

impl Bucket {
    /// One of this place.
    pub fn new(shared: Arc<Shared>, place: Arc<Place>, number: u64) -> Bucket {
        Bucket { shared, place, number, counter: None, file: None }
    }

    /// Writes what comes, until nobody sends any more or a write fails.
    pub async fn run(mut self, mut inbox: UnboundedReceiver<Part>) {
        let rolling = self.shared.settings.rolling;
        loop {
            let deadline = self.file.as_ref().and_then(|file| file.deadline(&rolling));
            let came = match deadline {
                None => Ok(inbox.recv().await),
                Some(deadline) if deadline <= Instant::now() => Err(()),
                Some(deadline) => {
                    tokio::time::timeout_at(deadline.into(), inbox.recv()).await.map_err(|_| ())
                }
            };
            let mut parts = match came {
                Ok(Some(part)) => vec![part],
                Ok(None) => break,
                Err(()) => {
                    self.end_file().await;
                    // Flume begins to count anew there.
                    self.counter = None;
                    let (place, bucket) = (Arc::clone(&self.place), self.number);
                    self.shared.report(Report::Idle { place, bucket });
                    continue;
                }
            };
            while let Ok(part) = inbox.try_recv() {
                parts.push(part);
            }
            let (synced, result) = self.write(&parts).await;
            let failed = self.report_done(parts, synced);
            if let Err(error) = result {
                self.give_up().await;
                inbox.close();
                self.report_failed(failed, inbox, error).await;
                return;
            }
        }
        self.end_file().await;
    }

    /// Writes and syncs the events of these parts; says how many of them are synced, whether it failed or not.
    async fn write(&mut self, parts: &[Part]) -> (usize, Result<(), Error>) {
        let rolling = self.shared.settings.rolling;
        let (mut written, mut synced) = (0, 0);
        for event in parts.iter().flat_map(|part| &part.events) {
            if self.file.as_ref().is_some_and(|file| file.is_full(&rolling)) {
                if let Err(error) = self.sync().await {
                    return (synced, Err(error));
                }
                synced = written;
                self.end_file().await;
            }
            if self.file.is_none()
                && let Err(error) = self.open().await
            {
                return (synced, Err(error));
            }
            let file = self.file.as_mut().expect("it was opened");
            file.add(event);
            written += 1;
            if file.buffer.len() >= STEP
                && let Err(error) = self.hand_on().await
            {
                return (synced, Err(error));
            }
        }
        match self.sync().await {
            Ok(()) => (written, Ok(())),
            Err(error) => (synced, Err(error)),
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut number = self.counter.unwrap_or(now.as_millis() as i64) + 1;
        let naming = &shared.settings.naming;
        loop {
            let names = Names {
                root: shared.settings.root.name().to_owned(),
                folder: self.place.folder.clone(),
                name: self.place.name.clone(),
                number,
                suffix: naming.suffix.clone(),
                in_use_prefix: naming.in_use_prefix.clone(),
                in_use_suffix: naming.in_use_suffix.clone(),
            };
            let (path, last) = (names.in_use(), names.last(number));
            // A name that is taken now would be in the way at the end. It is also asked for first because
            // nothing is left behind where no answer comes.
            if shared.call(Action::Look, &last, shared.storage.length(&last)).await?.is_some() {
                number += 1;
                continue;
            }
            if !listed(&shared, names.clone(), OpenFiles::add).await? {
                // Another bucket of this place is still being ended.
                number += 1;
                continue;
            }
            let created = shared.call(Action::Create, &path, shared.storage.create(&path)).await;
            match created {
                Ok(out) => {
                    self.counter = Some(number);
                    let mut serializer = shared.settings.format.open();
                    let mut buffer = Vec::new();
                    serializer.begin(&mut buffer);
                    let now = Instant::now();
                    self.file = Some(Open {
                        out,
                        names,
                        serializer,
                        buffer,
                        events: 0,
                        bytes: 0,
                        has_synced: false,
                        opened: now,
                        written: now,
                    });
                    shared.report(Report::Count(Count::ConnectionCreatedCount));
                    log::debug!("opened a file: path={path}");
                    return Ok(());
                }
                Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => {
                    listed(&shared, names, OpenFiles::remove).await?;
                    number += 1;
                }
                Err(error) => {
                    shared.report(Report::Count(Count::ConnectionFailedCount));
                    // It may have been made for all that.
                    self.end_beside(names, None, Holds::Nothing);
                    return Err(error);
                }
            }
        }
    }

    /// Hands on what is in the buffer.
    async fn hand_on(&mut self) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if file.buffer.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(file.buffer.len().min(STEP));
        let bytes = Bytes::from(std::mem::replace(&mut file.buffer, next));
        self.shared.call(Action::Write, &file.names.in_use(), file.out.write(bytes)).await
    }

    /// Makes safe what was written.
    async fn sync(&mut self) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.serializer.flush(&mut file.buffer);
        self.hand_on().await?;
        let Some(file) = &mut self.file else { return Ok(()) };
        let path = file.names.in_use();
        let synced = sync_insistently(&mut *file.out, &path, &self.shared);
        self.shared.call(Action::Sync, &path, synced).await?;
        file.has_synced = true;
        file.written = Instant::now();
        // A file that is open and still holds no memory.
        file.buffer = Vec::new();
        Ok(())
    }

    /// Hands over the file, of which all is synced, to be ended. Waits while too many are being ended.
    async fn end_file(&mut self) {
        let Some(file) = self.file.take() else { return };
        let permit = self.shared.endings.acquire().await;
        drop(permit);
        let holds = if file.has_synced { Holds::Something } else { Holds::Nothing };
        self.end_beside(file.names, Some(file.out), holds);
    }

    async fn give_up(&mut self) {
        let Some(file) = self.file.take() else { return };
        let path = file.names.in_use();
        if let Err(error) = self.shared.call(Action::GiveUp, &path, file.out.give_up()).await {
            log::warn!("{}", chain(&error));
        }
        let holds = if file.has_synced { Holds::Something } else { Holds::Nothing };
        self.end_beside(file.names, None, holds);
    }

    fn end_beside(&self, names: Names, out: Option<Box<dyn Out>>, holds: Holds) {
        let storage = Arc::clone(&self.shared.storage);
        let ending = Ending { names, storage, out, holds };
        tokio::spawn(ending.run(Arc::clone(&self.shared)));
    }

    /// Reports the parts that are synced as a whole; returns what is left of the others.
    fn report_done(&self, parts: Vec<Part>, mut synced: usize) -> Vec<Part> {
        let mut left = Vec::new();
        for mut part in parts {
            if part.events.len() <= synced {
                synced -= part.events.len();
                let (place, bucket) = (Arc::clone(&self.place), self.number);
                self.shared.report(Report::Done { place, bucket, take: part.take });
            } else {
                part.events.drain(..synced);
                synced = 0;
                left.push(part);
            }
        }
        left
    }

    async fn report_failed(
        self,
        mut parts: Vec<Part>,
        mut inbox: UnboundedReceiver<Part>,
        error: Error,
    ) {
        while let Some(part) = inbox.recv().await {
            parts.push(part);
        }
        let (place, bucket) = (self.place, self.number);
        self.shared.report(Report::Failed { place, bucket, parts, error });
    }
}

/// Syncs a file, and tries it again while its file system is away; no longer than a call may take.
async fn sync_insistently(out: &mut dyn Out, path: &str, shared: &Shared) -> io::Result<()> {
    let (begun, mut pause) = (Instant::now(), PAUSES.0);
    let mut is_told = false;
    loop {
        let error = match out.sync().await {
            Ok(()) => break,
            Err(error) => error,
        };
        // Better to end with what was wrong than by a time that is over.
        let is_over =
            shared.settings.call_timeout.is_some_and(|limit| begun.elapsed() + pause >= limit);
        if !out.may_sync_again() || is_over || shared.is_ended_within(pause).await {
            return Err(error);
        }
        if !is_told {
            log::warn!("a sync is tried again: path={path} error={}", chain(&error));
            is_told = true;
        }
        pause = (pause * 2).min(PAUSES.1);
    }
    if is_told {
        log::info!("a file is synced after {} s: path={path}", begun.elapsed().as_secs());
    }
    Ok(())
}

/// Changes the list of open files, on a thread that may wait for the disk.
async fn listed<T: Send + 'static>(
    shared: &Arc<Shared>,
    names: Names,
    change: fn(&OpenFiles, &Names) -> Result<T, super::open_files::Error>,
) -> Result<T, Error> {
    let (path, shared) = (names.in_use(), Arc::clone(shared));
    let changed = tokio::task::spawn_blocking(move || change(&shared.open_files, &names)).await;
    let failed = |source| Error { action: Action::List, path, source };
    match changed {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed(io::Error::other(error))),
        Err(error) => Err(failed(error.into())),
    }
}
