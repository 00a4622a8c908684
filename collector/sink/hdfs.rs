//! Files in HDFS, or of this machine, in folders by header and time.
//!
//! ```text
//!         takes ──▶ parts, one a place ──▶ bucket ──▶ file, written and synced ──▶ ended and renamed, beside
//!           ▲                                │
//!           └───── all parts are synced ─────┘
//! ```
//!
//! Every place (`hdfs/path.rs`) has a bucket (`hdfs/bucket.rs`) with its open file. The sink takes batches, hands each event to
//! its bucket, and commits a take when all buckets have synced what it brought them; several takes are out at
//! once, so that a slow file holds up no other. How many is bounded: by events and by their bytes.
//!
//! **What is promised.** What is committed is on the disks of the DataNodes, in a file that has its last name or
//! gets it: by this run, or, where it dies, by the next (`hdfs/open_files.rs`). No file is ever overwritten.
//!
//! **Where an event can be twice.** When a sync fails, or the process dies before the commit, it is not known
//! what of it has reached the file: the file keeps it, and the event is written again into another. A NameNode that is
//! away while the DataNodes are well is no such failure, for as long as a call may take: the same file is
//! synced when it is back ([`Out::may_sync_again`](crate::storage::Out::may_sync_again)). The same
//! holds for the parts of a take that are synced when another one's file system is away and the take goes back to
//! the channel. The last line or record of such a file may be cut off, in HDFS.
//!
//! A folder of HDFS with erasure coding takes no syncs: nothing can be promised there, nothing is committed, and the
//! error says so.
//!
//! **When a file fails**, its parts wait with growing pauses and are written again, into a new file, while
//! others go on. When nothing goes on the turn fails; the takes stay here, and go back when the sink is passed
//! over by its group, or ends.

mod bucket;
mod codec;
mod ending;
mod format;
mod open_files;
mod path;
mod sequence;
mod settings;
mod zone;

mod work;

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::path::Places;
use self::settings::Settings;
use self::work::Work;
use super::{Dead, Failure, Sink, Taken, Tap, Turn};
use crate::event::Event;
use crate::keys::Keys;

/// How long a turn waits for news of what is being written: with nothing to take, and with no room to.
const WAITS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Whether it is there is looked for.
    Look,
    /// It is noted in the list of open files.
    List,
    /// It is made.
    Create,
    /// It is written into.
    Write,
    /// It is synced.
    Sync,
    /// It is closed.
    Close,
    /// What was not synced is taken back.
    GiveUp,
    /// It is taken from its writer.
    Recover,
    /// It gets its last name.
    Rename,
    /// It is removed.
    Remove,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Action::Look => "look for",
            Action::List => "list",
            Action::Create => "create",
            Action::Write => "write into",
            Action::Sync => "sync",
            Action::Close => "close",
            Action::GiveUp => "cut off what is not synced of",
            Action::Recover => "recover",
            Action::Rename => "rename",
            Action::Remove => "remove",
        })
    }
}

/// Why something is not done to a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub struct Error {
    /// What.
    pub action: Action,
    /// To which file.
    pub path: String,
    /// Why.
    pub source: io::Error,
}

/// Writes events into files.
#[derive(Debug)]
pub struct Hdfs {
    settings: Settings,
    places: Places,
    work: Option<Work>,
}

impl Hdfs {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Hdfs {
        let (settings, places) = Settings::read(keys);
        Hdfs { settings, places, work: None }
    }

    fn work(&mut self) -> Result<&mut Work, Failure> {
        self.work.as_mut().ok_or_else(|| "it is not started".into())
    }

    /// Hands out the events of a take.
    fn hand_out(&mut self, tap: &Tap, taken: Taken) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = now.as_millis() as i64;
        let needs_headers = self.settings.format.needs_headers();
        let needs_number = matches!(self.settings.format, format::Format::Sequence(..));
        let mut parts = work::Parts::default();
        let mut dead = Vec::new();
        for (place, event) in taken.events().iter().enumerate() {
            if needs_number && sequence::key(event).is_none() {
                let text = "the header timestamp is no number".to_owned();
                dead.push(Dead { place, reason: "no_timestamp", text });
                continue;
            }
            match self.places.of(event, now) {
                Ok(whither) if needs_headers => parts.add(&whither, event.clone()),
                Ok(whither) => parts.add(&whither, Event::new(event.body.clone())),
                Err(nowhere) => {
                    dead.push(Dead { place, reason: nowhere.reason, text: nowhere.text });
                }
            }
        }
        self.work()?.hold(tap, taken, dead, parts)
    }
}

impl Sink for Hdfs {
    fn batch(&self) -> usize {
        self.settings.batch
    }

    fn start(&mut self, _: &Tap) -> Result<(), Failure> {
        if self.work.is_none() {
            self.work = Some(Work::start(&self.settings)?);
        }
        Ok(())
    }

    fn turn(&mut self, tap: &Tap) -> Result<Turn, Failure> {
        let batch = self.settings.batch;
        let work = self.work()?;
        work.hear(tap, Duration::ZERO)?;
        work.try_again();
        if work.is_full() {
            work.hear(tap, if work.in_flight() > 0 { WAITS.1 } else { WAITS.0 })?;
            return work.judged().map(|()| Turn::Ready);
        }
        if work.is_empty() {
            let taken = tap.take(batch)?;
            if taken.events().is_empty() {
                return Ok(Turn::Idle);
            }
            self.hand_out(tap, taken)?;
            return Ok(Turn::Ready);
        }
        let taken = tap.take_within(batch, Duration::ZERO)?;
        let is_quiet = taken.events().is_empty();
        if !is_quiet {
            self.hand_out(tap, taken)?;
        }
        let work = self.work()?;
        if work.is_failing() {
            // Whether anything goes on is seen when all that is on its way has come to its end.
            while work.in_flight() > 0 {
                work.hear(tap, WAITS.1)?;
                if tap.stop().is_stopped() {
                    break;
                }
            }
            return work.judged().map(|()| Turn::Ready);
        }
        if is_quiet {
            work.hear(tap, WAITS.0)?;
        }
        Ok(Turn::Ready)
    }

    fn settle(&mut self, tap: &Tap) -> Result<bool, Failure> {
        let Some(work) = &mut self.work else { return Ok(true) };
        work.hear(tap, if work.in_flight() > 0 { WAITS.0 } else { Duration::ZERO })?;
        work.give_back();
        Ok(work.is_empty())
    }

    fn close(&mut self, tap: &Tap) -> Result<(), Failure> {
        match self.work.take() {
            Some(work) => work.close(tap),
            None => Ok(()),
        }
    }

    fn needs(&self, header: &str) -> bool {
        header == "timestamp" && self.places.needs_timestamp()
    }
}

#[cfg(test)]
mod tests;
