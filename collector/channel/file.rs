//! Events wait in files: they outlive the process and the machine's power.
//!
//! # The design
//!
//! A **log of segments** holds the events, in the order in which they were put; it is only ever written at its
//! end. Every event has a number, its **sequence number**, one more than the event before, which is never
//! given to another event. A second log holds ranges of numbers that are **done with**: delivered and
//! committed. A segment all of whose events are done with is removed.
//!
//! ```text
//!  dataDirs/online-recall/                              checkpointDir/online-recall/
//!    lock                                                 lock
//!    00000000000000000000.events   first event: 0         00000000000000000007.checkpoint   generation 7
//!    00000000000000183422.events   first event: 183422    00000000000000000007.acks
//!    00000000000000183422.4096.damaged   set aside        00000000000000000006.…            the one before
//! ```
//!
//! Both folders may be the same. Flume's own files stand above them, are not touched, and where there are any
//! the channel does not open.
//!
//! ## Limits
//!
//! - a segment has 64 MiB (`maxFileSize`, if that is less), or as much as its only frame needs;
//! - the events of one put come to 1 GiB at most;
//! - how many events wait is bounded by `capacity`; how many bytes, by `minimumRequiredSpace`: a put is refused
//!   while the disk has less left than that;
//! - in memory are the events that are lent or have come back, those of one frame that was read, and 256 KiB
//!   of the segment that is read: nothing grows with what waits.
//!
//! ## The files, version 1
//!
//! All numbers are little-endian; `crc` is the CRC-32 of all before it. A segment:
//!
//! ```text
//!  0        8         10      12   16      32        40        48   60    64
//!  ┌────────┬─────────┬───────┬────┬───────┬─────────┬─────────┬────┬─────┬───────┬───────┬── ─ ─ ──┐
//!  │ORevents│version 1│flags  │ 0  │ id    │ first   │ after   │ 0  │ crc │ frame │ frame │ zeros   │
//!  └────────┴─────────┴───────┴────┴───────┴─────────┴─────────┴────┴─────┴───────┴───────┴── ─ ─ ──┘
//!    flags: 1 = every put is synced     first: number of the first event, as in the file's name
//!    id: the channel's, made once       after: behind the last event of the segment before
//! ```
//!
//! What stands in a segment from the next one's `after` on is void. Where `after` is less than `first`, the
//! numbers between were never given. A frame is one put, and begins at a multiple of eight:
//!
//! ```text
//!  0         4        8       16      20    24        32    36    40
//!  ┌─────────┬────────┬───────┬───────┬─────┬─────────┬─────┬─────┬───────────────────┬─────────┐
//!  │f70ee591 │ length │ first │ count │ crc │ durable │ 0   │ crc │ events, `length`  │ 0 to 7  │
//!  └─────────┴────────┴───────┴───────┴─────┴─────────┴─────┴─────┴───────────────────┴ zeros ──┘
//!    crc at 20: of the events           durable: all events below stood on the disk when this was written
//!    crc at 36: of bytes 0 to 36, begun with the CRC-32 of id and the segment's first number
//!
//!  an event:  headers │ (length, name, length, value) for each │ length, body        numbers are varints
//! ```
//!
//! A frame that stands within the body of an event, or was left over from another segment, is none: its
//! second checksum does not begin right. The files of what is done with:
//!
//! ```text
//!  acks, 1 MiB, written once with zeros:
//!  ┌────────┬─────────┬───┬────┬────────────┬───┬─────┬───────────────────────────────────────────┬── ─ ─ ┐
//!  │OR_acks0│version 1│ 0 │ id │ generation │ 0 │ crc │ records of 32: from, to, durable, mark, crc│ zeros │
//!  └────────┴─────────┴───┴────┴────────────┴───┴─────┴───────────────────────────────────────────┴── ─ ─ ┘
//!  checkpoint:
//!  ┌────────┬─────────┬───┬────┬────────────┬───┬─────┬───────┬─────────┬────────┬───────────────┬─────┐
//!  │ORcheckp│version 1│ 0 │ id │ generation │ 0 │ crc │ below │ durable │ closed │ (from, to) …  │ crc │
//!  └────────┴─────────┴───┴────┴────────────┴───┴─────┴───────┴─────────┴────────┴───────────────┴─────┘
//! ```
//!
//! When the acks are full, and at every start and end, files of the next generation are made; those of the one
//! before are kept. Every one of them states facts that stay true, so a start takes what all of them say together:
//! of two generations any one file may be lost.
//!
//! ## Invariants
//!
//! - *put-durable*: a put that returns is on the disk (with `fsyncPerTransaction`), and an event is lent only
//!   when it is: no sink has ever seen a number that a crash can take back.
//! - *take-durable*: a take that was committed is on the disk before its events lose their room; events are never
//!   done with because of anything else than a commit, a `forget_below`, or damage that was set aside.
//! - *once*: a number is given once. After a crash of a channel that does not sync every put the numbers jump by 2³²,
//!   as the other side may have seen some that the disk has not.
//! - *all-or-nothing*: a put that failed has no event that is ever lent. After a failed write the next frame is
//!   written over it. After a failed sync nothing is known of what was written since the last one: the log
//!   goes over to a new segment, whose `after` makes it void.
//! - *nothing-silent*: bytes that are no frame where one must stand are kept in a file beside, logged and counted
//!   (`EventDamagedCount`); the frames before and behind are delivered.
//!
//! ## Commits share syncs
//!
//! A put is encoded outside all locks, then written under the log's lock, and joins the open [round](round::Round).
//! The first in a round leads it: it waits for the sync that runs, closes the round, syncs, and wakes the others. Commits
//! of takes do the same with the acks. With `fsyncPerTransaction = false` nobody waits, and a thread syncs every
//! `fsyncInterval`.
//!
//! ## A start
//!
//! It reads the files of what is done with, the headers of all segments, and the frames of the last one, at most
//! 64 MiB whatever waits. Frames of the other segments are looked at when they are taken. The last segment ends at
//! the first place without a whole frame, unless what stands there must have been whole: because a frame behind it,
//! a checkpoint or a record says that it stood on the disk (`durable`). What was torn there is kept beside as
//! `.torn`, and the log goes on in a new segment.
//!
//! ## What a crash leaves
//!
//! | crash | after the next start |
//! | --- | --- |
//! | before or while a frame is written | the put has not returned: none of it is there, or, if it was written wholly, all |
//! | between write and sync | likewise; frames behind a torn one that were not synced either are set aside with it |
//! | after the sync | all of it is there |
//! | while a segment is made | a file `.new`, which is removed; or an empty segment |
//! | before, while or after a record is written, before its sync | the commit of the take has not returned: its events are lent again, or are not |
//! | after a commit of a take that failed | likewise: what a sink commits it has delivered |
//! | after a put that failed because of its sync, before the next one | none of it is there, or all |
//! | while the files of a generation are made | those of the one before count; `.new` is removed |
//! | between removing segments | those that are left are removed |
//!
//! ## What damage does
//!
//! | damaged | what happens |
//! | --- | --- |
//! | events of a frame, or its header | that put is set aside as `.damaged`; all others are delivered |
//! | the header of a segment | its name tells the first number; all is delivered |
//! | the last frame after a crash, where nothing tells that it was whole | set aside as `.torn` |
//! | a record of acks | the take that it was of may be lent again |
//! | a checkpoint | nothing: the one before and both acks say the same |
//! | a segment is missing | its events are missed with an error; all others are delivered |
//! | both generations are missing | what stands in the segments is lent again |
//! | a file of another channel, or of a later version | the channel does not open |

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Failure, Refused, Room, Take};
use crate::counters::{self, Channel as Count, Counters};
use crate::event::Event;
use crate::stop::{Stop, chain};

mod acked;
mod acks;
mod disk;
mod facts;
mod folder;
mod frame;
mod gate;
mod reader;
mod recovery;
mod round;
mod segment;
mod settings;
mod stock;
mod transaction;
mod writer;

use acks::Acks;
use folder::Folders;
use gate::Gate;
use reader::Reader;
pub use settings::Settings;
use stock::Stock;
use transaction::{Lent, Reserved};
use writer::Writer;

/// A channel in files.
pub struct Channel {
    name: String,
    settings: Settings,
    stock: Arc<Stock>,
    gate: Arc<Gate>,
    writer: Arc<Writer>,
    acks: Arc<Acks>,
    reader: Mutex<Reader>,
    syncing: Option<Syncing>,
    counters: Counters<counters::Channel>,
    folders: Folders,
}

/// The thread that syncs what is written, where that is not done at every commit.
#[derive(Debug)]
struct Syncing {
    stop: Stop,
    thread: JoinHandle<()>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Channel {
    /// Opens it, with what stands there from before.
    ///
    /// # Errors
    ///
    /// If its folders cannot be had or are not its own.
    pub fn open(name: &str, settings: &Settings) -> Result<Arc<Channel>, Failure> {
        Channel::open_sized(name, settings, facts::SIZE)
    }

    fn open_sized(name: &str, settings: &Settings, acks: u64) -> Result<Arc<Channel>, Failure> {
        let begun = Instant::now();
        let syncs = settings.sync_every.is_none();
        let folders = Folders::open(&settings.data, &settings.checkpoint)
            .map_err(|error| Failure::new(chain(&error)))?;
        let id = uuid::Uuid::new_v4().into_bytes();
        let found = recovery::recover(&folders, id, (settings.segment, syncs))
            .map_err(|error| Failure::new(chain(&error)))?;
        let reach = found.reach;
        let (next, must_begin) = found.next;
        let facts =
            facts::Facts { durable: found.facts.durable.max(reach.sequence), ..found.facts };
        let below = found.acked.below();
        let stock = Arc::new(Stock::new(
            &folders.data,
            settings.capacity,
            found.segments,
            found.acked,
            reach.sequence,
        ));
        let gate = Arc::new(Gate::new(reach));
        let writer = Arc::new(Writer::new(
            &folders.data,
            (found.id, settings.segment, syncs),
            (found.last, reach, must_begin),
            (&stock, &gate),
        ));
        let failed = |folder: &Path| {
            let what = format!("cannot write in {}", folder.display());
            |error| Failure::io(what, error)
        };
        // Before the last checkpoint is no more the newest: it may be all that tells where the log ended.
        writer.skip_to(next).map_err(failed(&folders.data))?;
        let acks = Acks::begin(&folders.checkpoint, (found.id, acks, syncs), &facts, &stock);
        let acks = Arc::new(acks.map_err(failed(&folders.checkpoint))?);
        stock.clean(below);
        let reader = Reader::new(&folders.data, found.id, below);
        let syncing = match settings.sync_every {
            Some(interval) => {
                let started = Syncing::start(name, interval, &writer, &acks);
                Some(started.map_err(|error| Failure::io("cannot start a thread", error))?)
            }
            None => None,
        };
        log::info!(
            "channel {name} is open: path={} events={} took_ms={}",
            folders.data.display(),
            stock.len(),
            begun.elapsed().as_millis()
        );
        Ok(Arc::new(Channel {
            name: name.to_owned(),
            settings: settings.clone(),
            stock,
            gate,
            writer,
            acks,
            reader: Mutex::new(reader),
            syncing,
            counters: Counters::new(name),
            folders,
        }))
    }

    fn refused(&self, source: Failure) -> Refused {
        Refused::Failed { channel: self.name.clone(), source }
    }

    /// Whether the disk has as much room as it must.
    fn has_space(&self) -> Result<(), Failure> {
        let (folder, least) = (&self.folders.data, self.settings.required_space);
        let free = disk::free(folder);
        let free = free.map_err(|error| {
            Failure::io(format!("cannot ask how much room {} has", folder.display()), error)
        })?;
        if free < least {
            return Err(Failure::new(format!(
                "the disk of {} has {free} bytes left; minimumRequiredSpace is {least}",
                folder.display()
            )));
        }
        Ok(())
    }

    /// Events that are there, without waiting; and up to where all was looked at.
    fn look(&self, most: usize) -> Result<(gate::Reach, Vec<(u64, Event)>), Failure> {
        // It is changed only after what can fail.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let (reach, returned) = self.gate.look();
        reader.take_back(returned);
        let damaged = reader.fill(most, reach, (&self.stock, &self.acks)).map_err(|error| {
            Failure::io(format!("cannot read in {}", self.folders.data.display()), error)
        })?;
        self.counters.add(Count::EventDamagedCount, damaged);
        Ok((reach, reader.hand_out(most).collect()))
    }
}

impl Syncing {
    fn start(
        name: &str,
        interval: Duration,
        writer: &Arc<Writer>,
        acks: &Arc<Acks>,
    ) -> std::io::Result<Syncing> {
        let (writer, acks) = (Arc::clone(writer), Arc::clone(acks));
        let stop = Stop::default();
        let (told, channel) = (stop.clone(), name.to_owned());
        let work = move || {
            while !told.wait(interval) {
                // Events first: what is done with stood on the disk before.
                for synced in [writer.sync(), acks.sync()] {
                    if let Err(error) = synced {
                        log::error!("channel {channel} may not stand on the disk: error={error}");
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Syncing { stop, thread })
    }
}

impl Drop for Channel {
    /// Notes that all is on the disk: the next start finds it so.
    fn drop(&mut self) {
        if let Some(syncing) = self.syncing.take() {
            syncing.stop.stop();
            syncing.thread.join().expect("a panic ends the process");
        }
        let closed = self.writer.sync().and_then(|()| self.acks.close(self.writer.durable()));
        if let Err(error) = closed {
            log::warn!("channel {} is not closed as it should: error={error}", self.name);
        }
    }
}

impl super::Channel for Channel {
    fn reserve(self: Arc<Self>, events: &[Event]) -> Result<Box<dyn Room>, Refused> {
        let (most, many) = (self.settings.transaction_capacity, events.len());
        self.counters.add(Count::EventPutAttemptCount, many);
        if many > most {
            return Err(Refused::TooMany { channel: self.name.clone(), batch: many, most });
        }
        let length = frame::length(events);
        if length > frame::MOST {
            let most = frame::MOST;
            let why = format!("a batch of {length} bytes is more than it takes at once: {most}");
            return Err(self.refused(Failure::new(why)));
        }
        self.has_space().map_err(|failure| self.refused(failure))?;
        if !self.stock.reserve(many, self.settings.keep_alive) {
            let (channel, capacity) = (self.name.clone(), self.settings.capacity);
            return Err(Refused::Full { channel, len: self.stock.len(), capacity });
        }
        Ok(Box::new(Reserved::new(self, many, length)))
    }

    fn take(self: Arc<Self>, most: usize, patience: Duration) -> Result<Box<dyn Take>, Failure> {
        let most = most.min(self.settings.transaction_capacity);
        self.counters.add(Count::EventTakeAttemptCount, most);
        let begun = Instant::now();
        let mut numbered = Vec::new();
        if most > 0 {
            loop {
                let (reach, found) = self.look(most)?;
                let left = patience.saturating_sub(begun.elapsed());
                numbered = found;
                if !numbered.is_empty() || left.is_zero() {
                    break;
                }
                self.gate.wait(reach, left);
            }
        }
        Ok(Box::new(Lent::new(self, numbered)))
    }

    fn len(&self) -> usize {
        self.stock.len()
    }

    fn capacity(&self) -> usize {
        self.settings.capacity
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn counters(&self) -> &Counters<counters::Channel> {
        &self.counters
    }

    fn forget_below(&self, position: u64) -> Result<(), Failure> {
        let failed =
            |error| Failure::io(format!("cannot forget what is below position {position}"), error);
        // The other side may know of events that were never synced.
        self.writer.skip_to(position).map_err(failed)?;
        let open = self.stock.open(0..position);
        self.acks.commit(&open, self.writer.durable()).map_err(failed)?;
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.skip_to(position);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
