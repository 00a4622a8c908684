//! Files that are laid into a folder, whole, and never changed: each is read once, in batches that never
//! hold events of two files.
//!
//! **Positions.** How far the file that is read has come stands in Flume's tracker, from which Flume may go on,
//! and which is taken over from it; it is written after each batch that the channels have taken. It survives
//! a kill of the process as it is. It is synced to the disk only where a channel outlives the machine, too:
//! where the channels are in memory, a position that survives what they held would only make the loss sure.
//! A file is renamed or deleted when the channels have its last batch. A batch that they took and that was not
//! noted is read again as it was, for a file does not change: channels that outlive the process know it, and
//! do not take it twice. With another `batchSize` it is another batch, and is doubled.
//!
//! **What is bad** never stops the source, as it does in Flume. A file that cannot be read or decoded, or was
//! changed while it was read, is set aside as `NAME.FAILED` (with a number, if that is taken), logged and
//! counted; what was well before in it is in the channels. A file whose name with the suffix is taken already
//! gets a number before the suffix. A folder that cannot be written is no bad file: it is tried again.
//!
//! A line of exactly `maxLineLength` is one event (in Flume an empty one follows it).

mod avro;
mod blob;
mod container;
mod folder;
mod lines;
mod reading;
mod retire;
mod tracker;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use folder::{Order, Rules, Waiting};
use reading::Deserializer;
use retire::Done;
use tracker::{Left, Place, Stamp, Tracker};

use super::pattern::Pattern;
use super::{Failure, Inlet, Stopped};
use crate::counters::Source as Count;
use crate::event::{Event, Headers, Text};
use crate::keys::Keys;
use crate::stop::{Stop, chain};

/// How long it waits at first for a channel that is full.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Reads the files of a folder.
#[derive(Debug)]
pub struct Spooldir {
    rules: Rules,
    trackers: PathBuf,
    done: Done,
    batch: usize,
    poll: Duration,
    /// The longest wait for a channel that is full.
    longest_wait: Duration,
    deserializer: Deserializer,
    file_header: Option<Text>,
    name_header: Option<Text>,
}

/// Why nothing can be read for now.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot look into spoolDir {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot note how far {} is read", path.display())]
    Tracker { path: PathBuf, source: io::Error },
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is read, and cannot be renamed, deleted or marked; its folder must be writable", path.display())]
    Retire { path: PathBuf, source: io::Error },
}

impl Spooldir {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Spooldir {
        let folder = PathBuf::from(keys.required("spoolDir"));
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let pattern = |key: &str, default: &str| {
            let text = keys.text_or(key, default);
            Pattern::read(keys, key, &text)
        };
        let trackers = folder.join(keys.text_or("trackerDir", ".flumespool"));
        let deletes =
            keys.choice("deletePolicy", "never", &[("never", false), ("immediate", true)]);
        let marks =
            keys.choice("trackingPolicy", "rename", &[("rename", false), ("tracker_dir", true)]);
        let poll = keys.time("pollDelay", Duration::from_millis(1), 500);
        let longest_wait = keys.number("maxBackoff", 4000, "a whole number from 1", |n| n >= 1);
        let header = |flag: &str, key: &str, default: &str| {
            let (is_set, name) = (keys.flag(flag, false), keys.text_or(key, default));
            is_set.then(|| name.into())
        };
        let orders =
            [("oldest", Order::Oldest), ("youngest", Order::Youngest), ("random", Order::Random)];
        let rules = Rules {
            recursive: keys.flag("recursiveDirectorySearch", false),
            include: pattern("includePattern", "^.*$"),
            ignore: pattern("ignorePattern", "^$"),
            suffix: keys.text_or("fileSuffix", ".COMPLETED"),
            done: marks.then(|| trackers.clone()),
            order: keys.choice("consumeOrder", "oldest", &orders),
            lasts: poll,
            folder,
        };
        let done = match (deletes, marks) {
            (true, _) => Done::Deleted,
            (false, true) => Done::Marked,
            (false, false) => Done::Renamed,
        };
        Spooldir {
            rules,
            trackers,
            done,
            batch: keys.count("batchSize", 100),
            poll,
            longest_wait: Duration::from_millis(longest_wait),
            deserializer: Deserializer::read(keys),
            file_header: header("fileHeader", "fileHeaderKey", "file"),
            name_header: header("basenameHeader", "basenameHeaderKey", "basename"),
        }
    }

    /// Whether the folder can be read, and written where it must be.
    fn check(&self) -> Result<(), Error> {
        use rustix::fs::{Access, access};
        let needs = if self.done == Done::Marked {
            Access::READ_OK | Access::EXEC_OK
        } else {
            Access::READ_OK | Access::EXEC_OK | Access::WRITE_OK
        };
        let folder = |source| Error::Folder { path: self.rules.folder.clone(), source };
        if !std::fs::metadata(&self.rules.folder).map_err(folder)?.is_dir() {
            return Err(folder(io::ErrorKind::NotADirectory.into()));
        }
        access(&self.rules.folder, needs).map_err(|error| folder(error.into()))?;
        let tracker = |source| Error::Tracker { path: self.trackers.clone(), source };
        std::fs::create_dir_all(&self.trackers).map_err(tracker)
    }

    /// Where reading begins in a file: where a run before has left it, if it is the same file.
    fn place(&self, path: &Path, stamp: &Stamp, left: Option<Left>) -> Begins {
        let Some(left) = left.filter(|left| left.path == path) else {
            return Begins::At(Place::default());
        };
        let Some(noted) = &left.stamp else {
            // Flume's: it does not say what the file was.
            if left.place.offset <= stamp.size {
                return Begins::At(left.place);
            }
            log::warn!(
                "a file is shorter than what was read of it, and read anew: path={}",
                path.display()
            );
            return Begins::At(Place::default());
        };
        if stamp.is(noted) {
            Begins::At(left.place)
        } else if stamp.is_of_file(noted) {
            Begins::Nowhere
        } else {
            log::warn!(
                "the file that was being read was replaced by another, which is read from its start: path={} \
                 offset={}",
                path.display(),
                left.place.offset
            );
            Begins::At(Place::default())
        }
    }

    fn headers(&self, path: &Path) -> Headers {
        let mut headers = Headers::default();
        if let Some(header) = &self.file_header {
            headers.set(header.clone(), &*path.to_string_lossy());
        }
        if let Some(header) = &self.name_header {
            let name = path.file_name().unwrap_or_default();
            headers.set(header.clone(), &*name.to_string_lossy());
        }
        headers
    }

    /// Reads a file to its end, and makes an end of it.
    fn deliver(
        &self,
        path: &Path,
        left: Option<Left>,
        inlet: &Inlet,
        stop: &Stop,
    ) -> Result<End, Error> {
        let aside =
            |why: &dyn std::fmt::Display, place: Place| self.set_aside(path, why, place, inlet);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(End::Gone),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return aside(&error, Place::default());
            }
            Err(source) => return Err(Error::Open { path: path.to_owned(), source }),
        };
        let metadata = file.metadata();
        let metadata = metadata.map_err(|source| Error::Open { path: path.to_owned(), source })?;
        let stamp = Stamp::of(&metadata);
        let batch = |place: Place, many: usize| batch(path, &metadata, place, many);
        let begins = match self.place(path, &stamp, left) {
            Begins::At(place) => place,
            Begins::Nowhere => return aside(&Changed, Place::default()),
        };
        let headers = self.headers(path);
        let empty = Event { headers: headers.clone(), body: Bytes::new() };
        let opened = self.deserializer.open(file, stamp.size, begins, headers);
        let mut reading = match opened {
            Ok(reading) => reading,
            Err(bad) => return aside(&chain(&bad), begins),
        };
        let tracked = |source| Error::Tracker { path: path.to_owned(), source };
        let mut tracker: Option<Tracker> = None;
        let mut noted = begins;
        let mut note = |place: Place| {
            if tracker.is_none() {
                let begun = Tracker::begin(&self.trackers, path, &stamp, place, inlet.is_durable());
                tracker = Some(begun.map_err(tracked)?);
            }
            let tracker = tracker.as_ref().expect("it has begun");
            tracker.note(place, inlet.is_durable()).map_err(tracked)
        };
        if stamp.size == 0 && begins == Place::default() {
            // As in Flume: an empty file is an event, too.
            if let Err(Stopped) = self.put(vec![empty], batch(begins, 1), inlet, stop) {
                return Ok(End::Stopped);
            }
            noted = Place { offset: 0, skip: 1 };
            note(noted)?;
        }
        while !reading.has_ended() && stamp.size > 0 {
            let place = reading.place();
            let events = match reading.read(self.batch) {
                Ok(events) => events,
                Err(bad) => return aside(&chain(&bad), reading.place()),
            };
            let batch = batch(place, events.len());
            if let Err(Stopped) = self.put(events, batch, inlet, stop) {
                return Ok(End::Stopped);
            }
            // Of a file that is read with its first batch nothing is noted: it is renamed next.
            if noted != Place::default() || !reading.has_ended() {
                noted = reading.place();
                note(noted)?;
            }
            if stop.is_stopped() && !reading.has_ended() {
                return Ok(End::Stopped);
            }
        }
        let place = if stamp.size == 0 { noted } else { reading.place() };
        drop(reading);
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(End::Gone),
            Ok(now) if Stamp::of(&now) != stamp => {
                note(place)?;
                return aside(&Changed, place);
            }
            Ok(_) | Err(_) => {}
        }
        let retired = retire::retire(path, self.done, &self.rules, inlet.is_durable());
        let taken = match retired {
            Ok(taken) => taken,
            // When it is tried again, nothing is read again.
            Err(source) => {
                note(place)?;
                return Err(Error::Retire { path: path.to_owned(), source });
            }
        };
        if let Some(taken) = taken {
            inlet.counters().add(Count::GenericProcessingFail, 1);
            log::warn!(
                "a file's name was used before: path={} is={}",
                path.display(),
                taken.display()
            );
        }
        if let Some(tracker) = tracker {
            tracker.end().map_err(tracked)?;
        }
        log::info!("a file is read: path={} bytes={}", path.display(), stamp.size);
        Ok(End::Done)
    }

    /// Puts a batch; while there is no room, each wait is twice as long as the one before.
    fn put(
        &self,
        events: Vec<Event>,
        batch: Bytes,
        inlet: &Inlet,
        stop: &Stop,
    ) -> Result<(), Stopped> {
        inlet.persist_once_after(events, batch, stop, (FIRST_WAIT, self.longest_wait))
    }

    fn set_aside(
        &self,
        path: &Path,
        why: &dyn std::fmt::Display,
        place: Place,
        inlet: &Inlet,
    ) -> Result<End, Error> {
        inlet.counters().add(Count::EventReadFail, 1);
        let aside = retire::set_aside(path, &self.rules)
            .map_err(|source| Error::Retire { path: path.to_owned(), source })?;
        log::error!(
            "a file is set aside: path={} as={} read_to={} error={why}",
            path.display(),
            aside.display(),
            place.offset
        );
        match std::fs::remove_file(tracker::path(&self.trackers)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Tracker { path: path.to_owned(), source }),
        }
        Ok(End::Done)
    }
}

/// By what channels know a batch of a file again: the file as it lies there, and which of its events they are.
/// One that is taken out of the folder and laid into it again, to be read again, was changed by that.
fn batch(path: &Path, of: &Metadata, place: Place, many: usize) -> Bytes {
    let (inode, size) = (of.ino(), of.len());
    let written = (of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec());
    format!("{path:?} {inode} {size} {written:?} {} {} {many}", place.offset, place.skip).into()
}

/// Where reading begins.
enum Begins {
    At(Place),
    /// The file was changed since it was begun.
    Nowhere,
}

/// How the reading of a file has ended.
enum End {
    Done,
    /// Somebody has taken it away.
    Gone,
    Stopped,
}

#[derive(Debug, thiserror::Error)]
#[error("it was changed while it was read; a file must be whole when it is laid into the folder")]
struct Changed;

impl super::Source for Spooldir {
    fn batch(&self) -> usize {
        self.batch
    }

    fn run(&mut self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        self.check()?;
        let trackers = |source| Error::Tracker { path: self.trackers.clone(), source };
        // What a run before has begun is read on first.
        let mut left = Tracker::left(&self.trackers).map_err(trackers)?;
        let mut first = left.as_ref().map(|left| left.path.clone());
        first = first.filter(|path| path.is_file() && self.rules.wants(path));
        let mut waiting = Waiting::new();
        loop {
            let path = match first.take() {
                Some(path) => path,
                None => match waiting.next(&self.rules) {
                    Some(path) => path,
                    None if stop.wait(self.poll) => return Ok(()),
                    None => continue,
                },
            };
            match self.deliver(&path, left.take(), inlet, stop)? {
                End::Stopped => return Ok(()),
                End::Gone => log::warn!("a file was taken away: path={}", path.display()),
                End::Done => {}
            }
            if stop.is_stopped() {
                return Ok(());
            }
        }
    }

    fn may_set(&self, header: &str) -> bool {
        let own = [&self.file_header, &self.name_header];
        own.into_iter().flatten().any(|own| **own == *header) || self.deserializer.sets(header)
    }
}

#[cfg(test)]
mod tests;
