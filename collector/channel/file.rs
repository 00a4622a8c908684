//! Events wait on the disk: what was committed outlives the process, and the machine.
//!
//! ```text
//!   dataDirs/online-recall/                               checkpointDir/online-recall/
//!     00000000000000000000.log   a segment: its name is     taken   which numbers were taken: a mark, and
//!     00000000000000348160.log   the number of its first            ranges above it (`taken`)
//!     lock, identity             event
//!
//!   segment:  magic:8 first:8 tag:8 0:8 │ frame │ frame │ frame │ 0 0 0 …   (preallocated)
//!   frame:    tag:8 crc:4 length:8 count:4 first:8 │ origins │ events        (one transaction, `frame`)
//!   origin:   length source length batch; how many stands before them; numbers as Avro's
//!   event:    headers, then (length name length value)*, then length body; likewise
//! ```
//!
//! Events are numbered from 0 in the order in which they are committed, without gaps, and keep their numbers
//! over starts. Numbers of a size are little-endian. A segment's tag is drawn for it alone.
//!
//! **Limits.** Up to `capacity` events; bodies stay on the disk: in memory are those that are lent, and the rest
//! of the frame that was read last. A transaction has up to `transactionCapacity` events and 1 GiB. Puts are
//! refused while the disk has less than `minimumRequiredSpace`.
//!
//! **A put** is one write of a frame, and a sync that it shares with all that were written meanwhile
//! (`sync`). Until the sync is done the events are not lent: what a sink has delivered is always in the
//! log. **A take** is read from the segments, frame by frame; its commit notes the numbers in `taken`, and
//! syncs likewise. Segments whose numbers are all taken are removed.
//!
//! **Origins.** A frame holds by what its source knows the batch again. The last one of each source is known
//! after a start: a segment begins with a frame without events that holds them all.
//!
//! **Invariants.** *whole*: a frame counts with all its events or not at all. *contiguous*: a segment's frames
//! follow each other without gaps, and so do segments, but for numbers that were taken. *durable*: a commit
//! returns after its bytes are on the disk, unless `fsyncPerTransaction` is off: then it may be `fsyncInterval`
//! later, and a power failure costs that much; a process that is killed costs nothing.
//!
//! **Recovery** reads `taken`, the names of the segments, and the last segment: at most 64 MiB, whatever
//! waits. What stands behind the last whole frame was never acknowledged, and is cut off. A frame before it
//! whose checksum is wrong, or that holds no events, is passed over: its bytes are kept in
//! `damaged-SEGMENT-OFFSET`, and how many events are lost is logged as an error; the channel goes on with the next.
//! A file that is not what its name says stops the start, which names it; nothing in it is touched.
//!
//! | killed | leaves |
//! | --- | --- |
//! | while a segment is made | `new.log`: overwritten by the next |
//! | in the write of a frame | a frame that is not whole: cut off; the source has no answer, and comes again |
//! | after it, before the commit returns | events that the source sends again: twice, unless it knows them again |
//! | in a sink, before its take is committed | nothing here: the events are lent again |
//! | in the write to `taken` | a record that is not whole: cut off; the events are lent again |
//! | while `taken` is written anew | `taken.new`: overwritten by the next |

mod folders;
mod frame;
mod ranges;
mod segment;
mod segments;
mod settings;
mod sync;
mod taken;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Failure, Origin, Refused, Room, Take};
use crate::counters::{self, Channel as Count, Counters};
use crate::event::Event;
use frame::Encoded;
use segments::{Next, Reader, Segments};
pub use settings::Settings;
use sync::Syncs;
use taken::Taken;

/// A channel on the disk.
pub struct Channel {
    settings: Settings,
    segments: Arc<Segments>,
    taken: Taken,
    syncs: Syncs,
    /// The number behind the last event that may be lent.
    committed: AtomicU64,
    reading: Mutex<Reading>,
    /// Something was committed, or has come back.
    filled: Condvar,
    /// How many events have room reserved.
    reserved: Mutex<usize>,
    /// Something was taken, or room given back.
    freed: Condvar,
    counters: Counters<counters::Channel>,
    folder: PathBuf,
    identity: String,
    _locks: [File; 2],
}

#[derive(Debug)]
struct Reading {
    reader: Reader,
    /// The rest of the frame that was read last.
    ahead: VecDeque<(u64, Event)>,
    /// Those that were lent, and have come back.
    returned: BTreeMap<u64, Event>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn broken(what: &'static str) -> impl FnOnce(std::io::Error) -> Failure {
    move |source| Failure::io(what, source)
}

impl Channel {
    /// Opens it, with what waits there.
    ///
    /// # Errors
    ///
    /// If its folders cannot be had, are another's, or are damaged.
    pub fn open(name: &str, settings: &Settings) -> Result<Arc<Channel>, Failure> {
        for folder in settings.folders() {
            folders::refuse_flumes(folder)?;
        }
        let folder = folders::make(&settings.data)?;
        let checkpoint = folders::make(&settings.checkpoint)?;
        let lock = folders::lock(&folder)?;
        let other = match checkpoint == folder {
            true => lock.try_clone().map_err(broken("cannot hold a lock"))?,
            false => folders::lock(&checkpoint)?,
        };
        let opened = Instant::now();
        let taken =
            Taken::open(&checkpoint, 0).map_err(broken("cannot read or write what was taken"))?;
        let mark = taken.look(ranges::Ranges::mark);
        // Also where the disk has lost an end of the log: a number that was taken is no other event's.
        let least = taken.look(ranges::Ranges::end);
        let (segments, damage) = Segments::open(&folder, settings.segment, least)
            .map_err(broken("cannot read the log"))?;
        if damage.is_some() {
            log::warn!(
                "channel {name}: what was cut off was never acknowledged, unless the disk has lost it"
            );
        }
        // A segment is removed only when all its events were taken.
        let first = segments.first().unwrap_or(least);
        if first > mark {
            taken.add(&[(mark, first)], true).map_err(broken("cannot note what was taken"))?;
        }
        let segments = Arc::new(segments);
        let next = segments.next();
        let reader = segments.reader(taken.look(ranges::Ranges::mark));
        let reading = Reading { reader, ahead: VecDeque::new(), returned: BTreeMap::new() };
        let channel = Arc::new(Channel {
            settings: settings.clone(),
            segments,
            taken,
            syncs: Syncs::default(),
            committed: AtomicU64::new(next),
            reading: Mutex::new(reading),
            filled: Condvar::new(),
            reserved: Mutex::new(0),
            freed: Condvar::new(),
            counters: Counters::new(name),
            identity: folders::identity(&folder)?,
            folder,
            _locks: [lock, other],
        });
        let (waiting, took) = (channel.waiting(), opened.elapsed().as_millis());
        log::info!(
            "channel {name} opened: path={} events={waiting} ms={took}",
            channel.folder.display()
        );
        if let Some(interval) = settings.interval {
            let channel = Arc::downgrade(&channel);
            std::thread::Builder::new()
                .name(format!("sync-{name}"))
                .spawn(move || sync_now_and_then(&channel, interval))
                .map_err(broken("cannot start a thread"))?;
        }
        Ok(channel)
    }

    /// How many events wait, with those that are lent.
    fn waiting(&self) -> usize {
        let committed = self.committed.load(Ordering::Acquire);
        let taken = self.taken.look(|ranges| ranges.count_below(committed));
        usize::try_from(committed - taken).unwrap_or(usize::MAX)
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        // Events are moved in one go.
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserved(&self) -> MutexGuard<'_, usize> {
        // A number is always whole.
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, room: usize) {
        *self.reserved() -= room;
        self.freed.notify_all();
    }

    fn put(&self, events: &[Event], origin: Option<&Origin>) -> Result<(), Failure> {
        let encoded = Encoded::of(events, origin);
        if encoded.len() > frame::LARGEST {
            return Err(Failure::new("a transaction of more than 1 GiB"));
        }
        if self.syncs.has_failed() {
            return Err(Failure::new(
                "its disk has failed: what waits is delivered, and nothing is put before a new start",
            ));
        }
        let (end, write) = self
            .segments
            .append(encoded, origin, || self.syncs.written())
            .map_err(broken("cannot write to the log"))?;
        if self.settings.interval.is_none() {
            self.syncs
                .wait(write, || self.segments.sync())
                .map_err(broken("cannot make the log durable"))?;
        }
        self.committed.fetch_max(end, Ordering::AcqRel);
        // Under the lock, so that nobody who has just looked misses it.
        drop(self.reading());
        self.filled.notify_all();
        Ok(())
    }

    /// Notes what was taken, and gives its room back.
    fn forget(&self, ranges: &[(u64, u64)]) -> Result<(), Failure> {
        let durably = self.settings.interval.is_none();
        self.taken.add(ranges, durably).map_err(broken("cannot note what was taken"))?;
        let mark = self.taken.look(ranges::Ranges::mark);
        if let Err(error) = self.segments.remove_below(mark) {
            log::warn!("a segment is not removed: path={} error={error}", self.folder.display());
        }
        drop(self.reserved());
        self.freed.notify_all();
        Ok(())
    }

    /// The next events that are not lent: up to so many.
    fn next(&self, reading: &mut Reading, most: usize) -> Result<Vec<(u64, Event)>, Failure> {
        let mut events = Vec::new();
        while events.len() < most {
            if let Some(event) = reading.returned.pop_first().or_else(|| reading.ahead.pop_front())
            {
                events.push(event);
                continue;
            }
            let end = self.committed.load(Ordering::Acquire);
            match reading.reader.read(end).map_err(broken("cannot read the log"))? {
                None => break,
                Some(Next::Lost(damage)) => self.forget(&[damage.lost])?,
                Some(Next::Events(first, all)) => {
                    let numbered = (first..).zip(all);
                    self.taken.look(|ranges| {
                        reading.ahead.extend(numbered.filter(|(number, _)| !ranges.has(*number)));
                    });
                }
            }
        }
        Ok(events)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.settings.interval.is_some()
            && let Err(error) = self.segments.sync().and_then(|()| self.taken.sync())
        {
            log::error!("channel {} is not durable: error={error}", self.counters.name());
        }
    }
}

fn sync_now_and_then(channel: &Weak<Channel>, interval: Duration) {
    let pause = crate::stop::Stop::default();
    while let Some(channel) = channel.upgrade() {
        let write = channel.syncs.written();
        let synced = channel.syncs.wait(write, || channel.segments.sync());
        if let Err(error) = synced.and_then(|()| channel.taken.sync()) {
            log::error!("channel {} is not durable: error={error}", channel.counters.name());
        }
        drop(channel);
        pause.wait(interval.max(Duration::from_millis(10)));
    }
}

impl super::Channel for Channel {
    fn reserve(self: Arc<Self>, events: &[Event]) -> Result<Box<dyn Room>, Refused> {
        let (most, capacity) = (self.settings.transaction_capacity, self.settings.capacity);
        self.counters.add(Count::EventPutAttemptCount, events.len());
        let channel = self.counters.name().to_owned();
        if events.len() > most {
            return Err(Refused::TooMany { channel, batch: events.len(), most });
        }
        match folders::space(&self.folder) {
            Ok(left) if left >= self.settings.space => {}
            Ok(left) => {
                let least = self.settings.space;
                let path = self.folder.display();
                let what = format!(
                    "the disk of {path} has {left} bytes left: less than minimumRequiredSpace, {least}"
                );
                return Err(Refused::Failed { channel, source: Failure::new(what) });
            }
            Err(error) => {
                let source = Failure::io("cannot ask how much room the disk has", error);
                return Err(Refused::Failed { channel, source });
            }
        }
        let has_no_room =
            |reserved: &mut usize| *reserved + self.waiting() + events.len() > capacity;
        let waited =
            self.freed.wait_timeout_while(self.reserved(), self.settings.keep_alive, has_no_room);
        let (mut reserved, time) = waited.unwrap_or_else(PoisonError::into_inner);
        if time.timed_out() {
            return Err(Refused::Full { channel, len: self.waiting(), capacity });
        }
        *reserved += events.len();
        drop(reserved);
        Ok(Box::new(Reserved { channel: self, events: events.len() }))
    }

    fn take(self: Arc<Self>, most: usize, patience: Duration) -> Result<Box<dyn Take>, Failure> {
        let most = most.min(self.settings.transaction_capacity);
        self.counters.add(Count::EventTakeAttemptCount, most);
        let is_empty = |reading: &mut Reading| {
            reading.returned.is_empty()
                && reading.ahead.is_empty()
                && reading.reader.next() >= self.committed.load(Ordering::Acquire)
        };
        let waited = self.filled.wait_timeout_while(self.reading(), patience, is_empty);
        let mut reading = waited.unwrap_or_else(PoisonError::into_inner).0;
        let lent = self.next(&mut reading, most)?;
        drop(reading);
        let (numbers, events) = lent.into_iter().unzip();
        Ok(Box::new(Lent { channel: self, numbers, events }))
    }

    fn len(&self) -> usize {
        self.waiting()
    }

    fn capacity(&self) -> usize {
        self.settings.capacity
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn identity(&self) -> Option<&str> {
        Some(&self.identity)
    }

    fn last_of(&self, source: &str) -> Option<Bytes> {
        self.segments.last_of(source)
    }

    fn counters(&self) -> &Counters<counters::Channel> {
        &self.counters
    }

    fn forget_below(&self, position: u64) -> Result<(), Failure> {
        let end = self.committed.load(Ordering::Acquire);
        if position > end {
            return Err(Failure::new(format!(
                "position {position} is behind the last event of {}, {end}: it is of another channel",
                self.folder.display()
            )));
        }
        let mark = self.taken.look(ranges::Ranges::mark);
        if position > mark {
            self.forget(&[(mark, position)])?;
        }
        let mut reading = self.reading();
        reading.reader.pass(position);
        reading.ahead.retain(|(number, _)| *number >= position);
        reading.returned.retain(|number, _| *number >= position);
        Ok(())
    }
}

struct Reserved {
    channel: Arc<Channel>,
    events: usize,
}

impl Room for Reserved {
    fn commit(
        self: Box<Self>,
        events: &mut Vec<Event>,
        origin: Option<&Origin>,
    ) -> Result<(), Failure> {
        self.channel.put(events, origin)?;
        self.channel.counters.add(Count::EventPutSuccessCount, events.len());
        events.clear();
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.channel.give_back(self.events);
    }
}

struct Lent {
    channel: Arc<Channel>,
    numbers: Vec<u64>,
    events: Vec<Event>,
}

impl Lent {
    /// The numbers as ranges.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &number in &self.numbers {
            match ranges.last_mut() {
                Some((_, end)) if *end == number => *end += 1,
                _ => ranges.push((number, number + 1)),
            }
        }
        ranges
    }
}

impl Take for Lent {
    fn events(&self) -> &[Event] {
        &self.events
    }

    fn end(&self) -> Option<u64> {
        self.numbers.last().map(|last| last + 1)
    }

    fn commit(mut self: Box<Self>) -> Result<(), Failure> {
        if !self.numbers.is_empty() {
            self.channel.forget(&self.ranges())?;
            self.channel.counters.add(Count::EventTakeSuccessCount, self.numbers.len());
        }
        self.events.clear();
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let numbers = self.numbers.drain(..);
        self.channel.reading().returned.extend(numbers.zip(self.events.drain(..)));
        self.channel.filled.notify_all();
    }
}

#[cfg(test)]
mod tests;
