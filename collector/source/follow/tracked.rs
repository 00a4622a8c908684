//! One file that is followed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::batch::Batch;
use super::folder::{Entry, Id};
use super::positions::{Cell, Place};
use crate::event::Text;

/// A line that is longer is cut into several.
const LONGEST: usize = 16 << 20;
const BLOCKS: (usize, usize) = (4 << 10, 256 << 10);

/// A file that is followed.
#[derive(Debug)]
pub struct Tracked {
    /// Where its place is noted.
    pub cell: Cell,
    /// How far it is read.
    pub place: Place,
    /// The name under which it is followed, once it was seen there.
    pub base: Option<PathBuf>,
    /// Where it lies; None where it lies nowhere that is known.
    pub lies: Option<PathBuf>,
    /// How long it was when it was looked at last.
    pub size: u64,
    /// When it was written last, as far as is known.
    pub modified: SystemTime,
    /// The group that it belongs to.
    pub group: usize,
    file: Option<File>,
    /// Where it lies, as headers have it.
    text: Text,
    /// Whether it was seen, since it was opened, that it is the file that was read.
    pub verified: bool,
    /// Whether what was read is not there any more: it was cut.
    pub suspect: bool,
    /// How far it holds no whole line.
    looked_to: u64,
    /// When it was seen to change last.
    changed: Instant,
    /// How long its lines are, about.
    line: usize,
}

/// Lines of a file.
#[derive(Debug)]
pub struct Lines {
    /// The cell of the file.
    pub cell: Cell,
    /// Where it lies.
    pub path: Text,
    /// Its group.
    pub group: usize,
    /// The lines, without their ends.
    pub bodies: Vec<Bytes>,
    /// Where each begins.
    pub offsets: Vec<u64>,
    /// Where reading stands behind them.
    pub place: Place,
    /// The CRC-32 of their bytes, with their ends.
    pub crc: u32,
}

impl Tracked {
    /// A file of which so much is read.
    pub fn new(cell: Cell, place: Place, base: Option<PathBuf>) -> Tracked {
        let (text, changed) = (Text::default(), Instant::now());
        Tracked {
            cell,
            place,
            base,
            lies: None,
            size: 0,
            modified: SystemTime::UNIX_EPOCH,
            group: 0,
            file: None,
            text,
            verified: false,
            suspect: false,
            looked_to: 0,
            changed,
            line: 200,
        }
    }

    /// What it is.
    pub fn id(&self) -> Id {
        Id { device: self.place.device, inode: self.place.inode }
    }

    /// Notes where it lies now.
    pub fn lies_at(&mut self, entry: &Entry) {
        let moves = self.lies.as_ref() != Some(&entry.path);
        if moves {
            self.text = entry.path.to_string_lossy().into();
            self.lies = Some(entry.path.clone());
        }
        if moves || self.size != entry.size || self.modified != entry.modified {
            self.changed = Instant::now();
        }
        (self.size, self.modified) = (entry.size, entry.modified);
        if let Some(group) = entry.wanted {
            self.group = group;
            self.base.get_or_insert_with(|| entry.path.clone());
        }
    }

    /// Notes that it lies nowhere.
    pub fn is_gone(&mut self) {
        if self.lies.take().is_some() {
            self.changed = Instant::now();
        }
        self.verified = false;
    }

    /// Whether it lies where it is written.
    pub fn is_home(&self) -> bool {
        self.lies.is_some() && self.lies == self.base
    }

    /// How long nothing of it has changed.
    pub fn quiet(&self) -> Duration {
        self.changed.elapsed()
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Closes it.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// The open file; opens it where it lies. None where another file lies there now, or none.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn file(&mut self) -> io::Result<Option<&File>> {
        if self.file.is_none() {
            let Some(lies) = &self.lies else { return Ok(None) };
            let Some(file) = open(lies, self.id())? else { return Ok(None) };
            self.file = Some(file);
        }
        Ok(self.file.as_ref())
    }

    /// Looks how long it is now, by the open file: it lies nowhere that is known.
    ///
    /// # Errors
    ///
    /// If that cannot be seen.
    pub fn look(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let metadata = file.metadata()?;
        if self.size != metadata.len() {
            self.size = metadata.len();
            self.changed = Instant::now();
        }
        Ok(())
    }

    /// Whether it may have whole lines.
    pub fn may_have_lines(&self) -> bool {
        self.size > self.looked_to.max(self.place.position()) && !self.suspect
    }

    /// Whether something is left that was not read.
    pub fn has_rest(&self) -> bool {
        self.size > self.place.position()
    }

    /// Its next lines, so many at most. What has no end yet is one where it has surely ended.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(
        &mut self,
        most: usize,
        has_ended: bool,
        block: &mut Vec<u8>,
    ) -> io::Result<Option<Lines>> {
        let print = &self.place.print;
        let (tail, before) = (print.tail.clone(), print.tail.len());
        let from = print.position - before as u64;
        let expected = most.saturating_mul(self.line + self.line / 4);
        let mut wanted = before + expected.clamp(BLOCKS.0, BLOCKS.1);
        let Some(file) = self.file()? else { return Ok(None) };
        block.clear();
        let (end, ended) = loop {
            let has_more = fill(file, block, from, wanted)?;
            if block.len() < before || block[..before] != tail {
                self.suspect = true;
                return Ok(None);
            }
            let fresh = &block[before..];
            let last = memchr::memchr_iter(b'\n', fresh).take(most).last();
            match last {
                Some(place) => break (before + place + 1, true),
                None if fresh.len() >= LONGEST => {
                    log::warn!("a line is cut at {LONGEST} bytes: path={}", self.text);
                    break (block.len(), false);
                }
                None if has_more => wanted = before + (wanted - before) * 4,
                None if has_ended && !fresh.is_empty() => break (block.len(), false),
                None => {
                    self.looked_to = from + block.len() as u64;
                    return Ok(None);
                }
            }
        };
        Ok(Some(self.lines(Bytes::copy_from_slice(&block[before..end]), ended)))
    }

    /// The lines of a batch that was read before. None where it does not stand there.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read_again(&mut self, batch: &Batch, block: &mut Vec<u8>) -> io::Result<Option<Lines>> {
        if batch.from != self.place.position() || batch.to > self.size {
            return Ok(None);
        }
        let Some(file) = self.file()? else { return Ok(None) };
        let long = usize::try_from(batch.to - batch.from).unwrap_or(usize::MAX);
        block.clear();
        fill(file, block, batch.from, long)?;
        let is_it = block.len() == long && crc32fast::hash(block) == batch.crc;
        let ended = block.last() == Some(&b'\n');
        Ok((is_it && long > 0).then(|| self.lines(Bytes::copy_from_slice(block), ended)))
    }

    /// The lines that these bytes are, which follow what was read; the last one has an end, or not.
    fn lines(&mut self, all: Bytes, ended: bool) -> Lines {
        let position = self.place.position();
        let mut ends: Vec<usize> = memchr::memchr_iter(b'\n', &all).collect();
        if !ended {
            ends.push(all.len());
        }
        let (mut bodies, mut offsets) =
            (Vec::with_capacity(ends.len()), Vec::with_capacity(ends.len()));
        let mut begin = 0;
        for end in ends {
            let has_return = end > begin && all[end - 1] == b'\r' && (ended || end < all.len());
            bodies.push(all.slice(begin..end - usize::from(has_return)));
            offsets.push(position + begin as u64);
            begin = end + 1;
        }
        self.line = (all.len() / bodies.len()).max(1);
        let place = Place { print: self.place.print.and(&all), ..self.place.clone() };
        let (cell, path, group) = (self.cell, self.text.clone(), self.group);
        Lines { cell, path, group, bodies, offsets, place, crc: crc32fast::hash(&all) }
    }
}

/// Opens a file, if it is this one.
///
/// # Errors
///
/// If it is there and cannot be opened.
pub fn open(path: &Path, id: Id) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok((Id::of(&file.metadata()?) == id).then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads on until the block has so many bytes; says whether there may be more.
fn fill(file: &File, block: &mut Vec<u8>, from: u64, wanted: usize) -> io::Result<bool> {
    let mut long = block.len();
    block.resize(wanted, 0);
    while long < wanted {
        match file.read_at(&mut block[long..], from + long as u64) {
            Ok(0) => break,
            Ok(read) => long += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(long);
    Ok(long == wanted)
}
