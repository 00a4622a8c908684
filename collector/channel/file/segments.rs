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
use super::frame::{self, Encoded, HEADER, Header, Origins, can_decode, decode};
use super::ranges::LAST;
use crate::channel::Origin;
use crate::event::Event;

/// What a segment begins with.
const MAGIC: &[u8; 8] = b"ORLOG001";

/// Where its first frame stands.
const START: u64 = 32;

/// How much is looked through at once.
const STEP: usize = 1 << 20;

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
    offset: u64,
    size: u64,
}

/// Bytes that were no whole frame where one should stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// The file, and the place in it.
    pub file: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The numbers of the events that are lost with them; as far as is known.
    pub lost: (u64, u64),
    /// Where the bytes are kept.
    pub kept: PathBuf,
}

fn name(first: u64) -> String {
    format!("{first:020}.log")
}

fn head(first: u64) -> [u8; START as usize] {
    let mut head = [0; START as usize];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&first.to_le_bytes());
    head
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

/// Judges whether a file can be the segment that it is called.
fn judge(path: &Path, first: u64) -> io::Result<()> {
    let file = File::open(path)?;
    if first > LAST || !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no segment of a log"));
    }
    let mut start = [0; START as usize];
    // Its name says what its head does: what stands behind that may be well all the same.
    if file.read_exact_at(&mut start, 0).is_err() || start != head(first) {
        log::error!("damaged: path={} offset=0 bytes={START}", path.display());
    }
    Ok(())
}

/// Looks through the last segment. Returns where its next frame belongs, how large the segment is, and what was
/// cut off; adds the origins of its frames.
fn recover(
    folder: &Path,
    last: u64,
    origins: &mut Origins,
) -> io::Result<(Reading, u64, Option<Damage>)> {
    let file = OpenOptions::new().read(true).write(true).open(folder.join(name(last)))?;
    let size = file.metadata()?.len();
    let mut reading = Reading::new(file, last);
    loop {
        if let Some((header, events)) = reading.whole(u64::MAX, size)?
            && can_decode(events.clone(), header.count)
        {
            reading.pass(&header);
            frame::origins(events, origins);
            continue;
        }
        let Some(found) = reading.find_next(u64::MAX, size)? else { break };
        set_aside(folder, &reading, found.offset, (reading.next, found.first))?;
        (reading.offset, reading.next) = (found.offset, found.first);
    }
    let cut_off = cut(folder, &reading, size)?;
    Ok((reading, size, cut_off))
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
            let Reading { file, offset, next, .. } = reading;
            // Numbers follow each other within a segment: where some are passed over, another one begins.
            state.next = next.max(least);
            if next == state.next {
                state.active = Some(Active { file, offset, size });
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
        active.file.write_all_at(frame.at(first), active.offset)?;
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
        let mut bytes = head(first).to_vec();
        bytes.extend(Encoded::of_origins(origins).at(first));
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
        Ok(Active { file: Arc::new(file), offset, size })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a segment.
#[derive(Debug)]
struct Reading {
    file: Arc<File>,
    first: u64,
    offset: u64,
    /// The number of the first event of the frame that should stand here.
    next: u64,
}

/// A whole frame behind damaged bytes.
struct Found {
    offset: u64,
    first: u64,
}

impl Reading {
    /// Where the first frame of a segment stands.
    fn new(file: File, first: u64) -> Reading {
        Reading { file: Arc::new(file), first, offset: START, next: first }
    }

    /// Goes on behind the frame that stands here.
    fn pass(&mut self, header: &Header) {
        self.offset += (HEADER + header.length) as u64;
        self.next = header.end();
    }

    /// The frame that should stand here, if it does, whole, and none of its numbers is from `end` on.
    fn whole(&self, end: u64, size: u64) -> io::Result<Option<(Header, Bytes)>> {
        let is_whole = |header: &Header, events: &Bytes| {
            header.first == self.next && header.end() <= end && header.holds(events)
        };
        Ok(self.look(size)?.filter(|(header, events)| is_whole(header, events)))
    }

    /// The frame that stands here, unchecked, if there may be one.
    fn look(&self, size: u64) -> io::Result<Option<(Header, Bytes)>> {
        let mut header = [0; HEADER];
        if self.offset + HEADER as u64 > size {
            return Ok(None);
        }
        self.file.read_exact_at(&mut header, self.offset)?;
        let Some(header) = Header::read(&header) else { return Ok(None) };
        let behind = self.offset + HEADER as u64;
        if header.length as u64 > size - behind {
            return Ok(None);
        }
        let mut events = vec![0; header.length];
        self.file.read_exact_at(&mut events, behind)?;
        Ok(Some((header, events.into())))
    }

    /// The next whole frame behind this place, of which none of the numbers is from `end` on.
    fn find_next(&self, end: u64, size: u64) -> io::Result<Option<Found>> {
        let Some(last) = end_of_bytes(self, size)? else { return Ok(None) };
        let mut rest = vec![0; usize::try_from(last - self.offset).unwrap_or(0)];
        self.file.read_exact_at(&mut rest, self.offset)?;
        // A frame may end with bytes that are 0.
        rest.resize(usize::try_from(size - self.offset).unwrap_or(0).min(rest.len() + STEP), 0);
        let rest = Bytes::from(rest);
        for at in 1..rest.len().saturating_sub(HEADER) {
            let Some(header) = Header::read(&rest[at..]) else { continue };
            let begin = at + HEADER;
            if rest.len() - begin < header.length {
                continue;
            }
            let events = rest.slice(begin..begin + header.length);
            // What is lost between has stood in these bytes, and an event has two at least.
            let is_in = (self.next..=self.next + at as u64 / 2).contains(&header.first)
                && header.end() <= end;
            if is_in && header.holds(&events) && can_decode(events, header.count) {
                let offset = self.offset + at as u64;
                return Ok(Some(Found { offset, first: header.first }));
            }
        }
        Ok(None)
    }
}

/// Keeps the bytes from here to there in a file of their own.
fn set_aside(folder: &Path, reading: &Reading, to: u64, lost: (u64, u64)) -> io::Result<Damage> {
    let bytes = to - reading.offset;
    let mut copy = vec![0; usize::try_from(bytes).unwrap_or(0)];
    reading.file.read_exact_at(&mut copy, reading.offset)?;
    let kept = folder.join(format!("damaged-{:020}-{}", reading.first, reading.offset));
    std::fs::write(&kept, &copy).map_err(|error| named(&kept, error))?;
    File::open(&kept)?.sync_all()?;
    let (file, offset) = (folder.join(name(reading.first)), reading.offset);
    let damage = Damage { file, offset, bytes, lost, kept };
    log::error!(
        "damaged: path={} offset={} bytes={} events_lost={} kept={}",
        damage.file.display(),
        damage.offset,
        damage.bytes,
        lost.1 - lost.0,
        damage.kept.display()
    );
    Ok(damage)
}

/// Cuts off what stands behind the last whole frame: of a transaction that was not written to its end, and
/// was never acknowledged. It is kept aside all the same: a disk may have lied.
fn cut(folder: &Path, reading: &Reading, size: u64) -> io::Result<Option<Damage>> {
    let Some(to) = end_of_bytes(reading, size)? else { return Ok(None) };
    let damage = set_aside(folder, reading, to, (reading.next, reading.next))?;
    let zeros = vec![0; STEP];
    let mut at = reading.offset;
    while at < to {
        let many = STEP.min(usize::try_from(to - at).unwrap_or(STEP));
        reading.file.write_all_at(&zeros[..many], at)?;
        at += many as u64;
    }
    reading.file.sync_data()?;
    Ok(Some(damage))
}

/// Where the last byte ends behind this place that is not 0.
fn end_of_bytes(reading: &Reading, size: u64) -> io::Result<Option<u64>> {
    let (mut bytes, mut at, mut end) = (vec![0; STEP], reading.offset, None);
    while at < size {
        let many = STEP.min(usize::try_from(size - at).unwrap_or(STEP));
        reading.file.read_exact_at(&mut bytes[..many], at)?;
        if let Some(last) = bytes[..many].iter().rposition(|byte| *byte != 0) {
            end = Some(at + last as u64 + 1);
        }
        at += many as u64;
    }
    Ok(end)
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
                    reading.insert(Reading::new(file, first))
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
