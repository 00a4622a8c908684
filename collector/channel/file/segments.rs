//! The log itself: segments on the disk, one of which is written.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};

use super::folders::named;
use super::frame::{Encoded, Origins, Tag, can_decode, decode};
use super::ranges::LAST;
use super::segment::{Damage, Reading, head, judge, name, recover, set_aside};
use crate::channel::Origin;
use crate::event::Event;

/// A log of frames, numbered by their events.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    /// How many bytes a segment has, unless one transaction has more.
    size: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The first number of every segment; the last one is written.
    firsts: BTreeSet<u64>,
    /// None before the first write: a segment is made when it is needed.
    active: Option<Active>,
    /// The number of the next event.
    next: u64,
    /// The last batch of each source.
    origins: Origins,
}

#[derive(Debug)]
struct Active {
    file: Arc<File>,
    tag: Tag,
    offset: u64,
    size: u64,
}

/// The first numbers of the segments in a folder.
fn segments(folder: &Path, entries: std::fs::ReadDir) -> io::Result<BTreeSet<u64>> {
    let mut firsts = BTreeSet::new();
    for entry in entries {
        let entry = entry?.file_name();
        let stem = entry.to_str().and_then(|entry| entry.strip_suffix(".log"));
        let Some(first) = stem.and_then(|stem| stem.parse().ok()) else { continue };
        if entry.to_str() == Some(&name(first)) {
            let path = folder.join(&entry);
            judge(&path, first).map_err(|error| named(&path, error))?;
            firsts.insert(first);
        }
    }
    Ok(firsts)
}

impl Segments {
    /// Opens the log in a folder, which is there; `least` is the lowest number that the next event may have.
    /// What stands behind the last whole frame is cut off, and kept aside if there is anything.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn open(folder: &Path, size: u64, least: u64) -> io::Result<(Segments, Option<Damage>)> {
        let firsts = std::fs::read_dir(folder).and_then(|entries| segments(folder, entries));
        let firsts = firsts.map_err(|error| named(folder, error))?;
        let origins = Origins::new();
        let mut state = State { firsts, active: None, next: least, origins };
        let mut damage = None;
        if let Some(&last) = state.firsts.last() {
            let recovered = recover(folder, last, &mut state.origins);
            let (reading, size, cut_off) =
                recovered.map_err(|error| named(&folder.join(name(last)), error))?;
            damage = cut_off;
            let Reading { file, tag, offset, next, .. } = reading;
            // Numbers follow each other within a segment: where some are passed over, another one begins. So it
            // does in place of one that is damaged so much that no frame could be known in it.
            state.next = next.max(least);
            if next == state.next && tag != Tag::NONE {
                state.active = Some(Active { file, tag, offset, size });
            }
        }
        Ok((Segments { folder: folder.to_owned(), size, state: Mutex::new(state) }, damage))
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.state().next
    }

    /// The lowest number that it has; none where it is empty.
    pub fn first(&self) -> Option<u64> {
        self.state().firsts.first().copied()
    }

    /// Writes a frame; `written` is called when it is, before the next. Returns the number behind its events.
    ///
    /// # Errors
    ///
    /// If it is not written: then nothing of it is.
    pub fn append<T>(
        &self,
        mut frame: Encoded,
        origin: Option<&Origin>,
        written: impl FnOnce() -> T,
    ) -> io::Result<(u64, T)> {
        let mut state = self.state();
        if state.next + u64::from(frame.count) > LAST {
            return Err(io::Error::other("all numbers of events are used up"));
        }
        let length = frame.len() as u64;
        let fits = |active: &Active| active.offset + length <= active.size;
        if !state.active.as_ref().is_some_and(fits) {
            // What was written to the one before is durable before the next one is begun.
            if let Some(active) = &state.active {
                active.file.sync_data()?;
            }
            let first = state.next;
            state.active = Some(self.create(first, &state.origins, length)?);
            state.firsts.insert(first);
        }
        let first = state.next;
        let active = state.active.as_mut().expect("it was just made sure of");
        active.file.write_all_at(frame.at(active.tag, first), active.offset)?;
        active.offset += length;
        state.next += u64::from(frame.count);
        if let Some(Origin { source, batch }) = origin {
            state.origins.insert(source.clone(), batch.clone());
        }
        Ok((state.next, written()))
    }

    /// The last batch of a source.
    pub fn last_of(&self, source: &str) -> Option<Bytes> {
        self.state().origins.get(source).cloned()
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    ///
    /// If the disk does not.
    pub fn sync(&self) -> io::Result<()> {
        let file = self.state().active.as_ref().map(|active| Arc::clone(&active.file));
        file.map_or(Ok(()), |file| file.sync_data())
    }

    /// Removes the segments whose events all have numbers below this one.
    ///
    /// # Errors
    ///
    /// If one cannot be removed.
    pub fn remove_below(&self, mark: u64) -> io::Result<()> {
        loop {
            let mut state = self.state();
            let mut two = state.firsts.iter().copied();
            let (Some(first), Some(second)) = (two.next(), two.next()) else { return Ok(()) };
            if second > mark {
                return Ok(());
            }
            state.firsts.remove(&first);
            drop(state);
            std::fs::remove_file(self.folder.join(name(first)))?;
        }
    }

    /// Reads from this number on.
    pub fn reader(self: &Arc<Self>, next: u64) -> Reader {
        Reader { segments: Arc::clone(self), reading: None, next }
    }

    /// Makes a segment that begins with these origins, and has room for a frame of this length. It has its name
    /// when it is whole.
    fn create(&self, first: u64, origins: &Origins, length: u64) -> io::Result<Active> {
        let path = self.folder.join("new.log");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| named(&path, error))?;
        let tag = Tag::draw();
        let mut bytes = head(first, tag).to_vec();
        bytes.extend(Encoded::of_origins(origins).at(tag, first));
        let offset = bytes.len() as u64;
        let size = self.size.max(offset + length);
        // All room at once: a commit then finds it, and has no length to write down.
        match fallocate(&file, FallocateFlags::empty(), 0, size) {
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(size)?,
            other => other?,
        }
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        std::fs::rename(path, self.folder.join(name(first)))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Active { file: Arc::new(file), tag, offset, size })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads frame after frame.
#[derive(Debug)]
pub(super) struct Reader {
    segments: Arc<Segments>,
    reading: Option<Reading>,
    next: u64,
}

/// What a reader comes to next.
#[derive(Debug)]
pub(super) enum Next {
    /// Events, of which this is the number of the first.
    Events(u64, Vec<Event>),
    /// Events that are gone.
    Lost(Damage),
}

impl Reader {
    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Passes over what has numbers below this one.
    pub fn pass(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// The next frame of which all numbers are below `end`, up to which the log is whole.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn read(&mut self, end: u64) -> io::Result<Option<Next>> {
        while self.next < end {
            let (first, behind) = {
                let state = self.segments.state();
                let first = state.firsts.range(..=self.next).next_back().copied();
                (first, state.firsts.range(self.next + 1..).next().copied())
            };
            // Numbers are skipped only where they were taken before.
            let Some(first) = first else {
                self.next = behind.unwrap_or(end).min(end);
                continue;
            };
            let reading = match &mut self.reading {
                Some(reading) if reading.first == first => reading,
                reading => {
                    let path = self.segments.folder.join(name(first));
                    let file = File::open(&path).map_err(|error| named(&path, error))?;
                    reading.insert(Reading::new(file, first)?)
                }
            };
            let size = reading.file.metadata()?.len();
            let until = behind.unwrap_or(end);
            if let Some((header, events)) = reading.whole(until, size)? {
                if header.end() <= self.next {
                    if can_decode(events, header.count) {
                        reading.pass(&header);
                        continue;
                    }
                } else if let Some(events) = decode(events, header.count) {
                    reading.pass(&header);
                    self.next = header.end();
                    return Ok(Some(Next::Events(header.first, events)));
                }
            }
            let (from, found) = (self.next, reading.find_next(until, size)?);
            self.next = found.as_ref().map_or(until, |found| found.first).max(from);
            // What was lost is lost with these bytes, unless it was taken before.
            let end = size.max(reading.offset);
            let to = found.as_ref().map_or(end, |found| found.offset);
            let damage = match self.next > from {
                true => Some(set_aside(&self.segments.folder, reading, to, (from, self.next))?),
                false => None,
            };
            match found {
                Some(found) => (reading.offset, reading.next) = (found.offset, found.first),
                // What is put from now on stands behind.
                None => reading.next = until,
            }
            if let Some(damage) = damage {
                return Ok(Some(Next::Lost(damage)));
            }
        }
        Ok(None)
    }
}
