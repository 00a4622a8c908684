//! Where reading stands in each followed file, on the disk.
//!
//! ```text
//! ┌────────┬─────────────────┬─────────────────┬───
//! │ header │ cell: slot slot │ cell: slot slot │ …
//! └────────┴─────────────────┴─────────────────┴───
//! ```
//!
//! A file has a cell. What is noted goes into the older slot of its cell, with a number one higher and a
//! checksum: whatever happens to a write, the other slot is whole. A slot is one sector, so a note is one
//! small write in place, and nothing else moves. The whole file is made beside its name, synced and renamed:
//! it is there with all its first cells, or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::print::{self, Print};
use crate::lock;

const MAGIC: &[u8; 16] = b"online-recall\0p1";
const HEADER: u64 = 8192;
/// Where in the header the file's number stands.
const ID: usize = HEADER as usize - 8;
const SLOT: usize = 512;
const CELL: u64 = 2 * SLOT as u64;
/// Cells are added so many at a time.
const GROWTH: u64 = 16;

/// Where reading stands in one file, and how the file is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The device that it is on.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// The name that it is followed under, as a number.
    pub name: u64,
    /// What stands in it around what was read.
    pub print: Print,
}

impl Place {
    /// What was read of it, in bytes.
    pub fn position(&self) -> u64 {
        self.print.position
    }
}

/// A file's cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell(u64);

/// The positions of one source.
#[derive(Debug)]
pub struct Positions {
    file: File,
    path: PathBuf,
    /// Drawn when the file was made.
    id: u64,
    /// How many batches were noted.
    batches: u64,
    /// By cell: the number of its last slot, and whether it holds a place.
    cells: Vec<(u64, bool)>,
}

/// Positions that stand there, with all places.
pub type Known = (Positions, Vec<(Cell, Place)>);

/// Why positions cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("cannot keep positions in {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use by another agent or source", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// It is no file of positions, or not of this version.
    #[error("{} holds no positions that can be read here; move it away to begin anew", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
}

impl Positions {
    /// Opens the positions that stand in a file; `None` where there are none, or they are of another subject
    /// than this.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or another process has them.
    pub fn open(path: &Path, subject: &str) -> Result<Option<Known>, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        lock(&file, path)?;
        let bytes = std::fs::read(path).map_err(io)?;
        match subject_of(&bytes) {
            None => return Err(Error::Foreign { path: path.to_owned() }),
            Some(known) if known != subject => {
                log::warn!(
                    "the positions in {} are those of {known}: they are not used for {subject}",
                    path.display()
                );
                return Ok(None);
            }
            Some(_) => {}
        }
        let id = id_of(&bytes);
        let path = path.to_owned();
        let mut positions = Positions { file, path, id, batches: 0, cells: Vec::new() };
        let mut places = Vec::new();
        for cell in bytes[HEADER as usize..].chunks_exact(CELL as usize) {
            let (first, second) = cell.split_at(SLOT);
            let whole = [slot(first), slot(second)].into_iter().flatten();
            let (number, batches, place) = whole.max_by_key(|(n, ..)| *n).unwrap_or_default();
            positions.batches = positions.batches.max(batches);
            if let Some(place) = &place {
                places.push((Cell(positions.cells.len() as u64), place.clone()));
            }
            positions.cells.push((number, place.is_some()));
        }
        Ok(Some((positions, places)))
    }

    /// Makes a file of positions, in place of what stood there.
    ///
    /// # Errors
    ///
    /// If it cannot be made: then nothing has changed.
    pub fn create(
        path: &Path,
        subject: &str,
        places: &[Place],
    ) -> Result<(Positions, Vec<Cell>), Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io)?;
        let many = (places.len() as u64).next_multiple_of(GROWTH).max(GROWTH);
        let mut bytes = vec![0; (HEADER + many * CELL) as usize];
        let id = uuid::Uuid::new_v4().as_u64_pair().0;
        write_header(&mut bytes, subject, id);
        for (at, place) in places.iter().enumerate() {
            let from = HEADER as usize + at * CELL as usize;
            bytes[from..from + SLOT].copy_from_slice(&slot_of(1, 0, Some(place)));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let beside = path.with_file_name(name);
        let make = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            let mut file =
                options.read(true).write(true).create(true).truncate(true).open(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = make().map_err(io)?;
        lock(&file, path)?;
        std::fs::rename(&beside, path).map_err(io)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        let mut cells = vec![(1, true); places.len()];
        cells.resize(many as usize, (0, false));
        let positions = Positions { file, path: path.to_owned(), id, batches: 0, cells };
        Ok((positions, (0..places.len() as u64).map(Cell).collect()))
    }

    /// Notes a place in a cell of its own.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn add(&mut self, place: &Place, synced: bool) -> Result<Cell, Error> {
        let free = self.cells.iter().position(|(_, used)| !used);
        let cell = free.unwrap_or(self.cells.len());
        if free.is_none() {
            let many = cell as u64 + GROWTH;
            // Written, not only made longer: a note must not fail for want of room.
            let zeros = vec![0; (GROWTH * CELL) as usize];
            let grown = self.file.write_all_at(&zeros, HEADER + cell as u64 * CELL);
            let grown = grown.and_then(|()| self.file.sync_all());
            grown.map_err(|source| Error::Io { path: self.path.clone(), source })?;
            self.cells.resize(many as usize, (0, false));
        }
        let cell = Cell(cell as u64);
        self.write(cell, Some(place), synced)?;
        Ok(cell)
    }

    /// Notes how far a file is read.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn note(&mut self, cell: Cell, place: &Place, synced: bool) -> Result<(), Error> {
        self.write(cell, Some(place), synced)
    }

    /// Notes how far a file is read, now that channels have another batch.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn note_batch(&mut self, cell: Cell, place: &Place, synced: bool) -> Result<(), Error> {
        self.batches += 1;
        self.write(cell, Some(place), synced)
    }

    /// What the next batch is known by: this file, and the batch's number in it.
    pub fn next_batch(&self) -> [u64; 2] {
        [self.id, self.batches + 1]
    }

    /// Forgets a file.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn forget(&mut self, cell: Cell) -> Result<(), Error> {
        self.write(cell, None, false)
    }

    fn write(&mut self, cell: Cell, place: Option<&Place>, synced: bool) -> Result<(), Error> {
        let (number, used) = &mut self.cells[cell.0 as usize];
        *number += 1;
        *used = place.is_some();
        // The first slot has the odd numbers, so this is the older one.
        let at = HEADER + cell.0 * CELL + if *number % 2 == 1 { 0 } else { SLOT as u64 };
        let written = self.file.write_all_at(&slot_of(*number, self.batches, place), at);
        let written = written.and_then(|()| if synced { self.file.sync_data() } else { Ok(()) });
        written.map_err(|source| Error::Io { path: self.path.clone(), source })
    }
}

fn lock(file: &File, path: &Path) -> Result<(), Error> {
    let path = path.to_owned();
    match lock::take(file) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::InUse { path }),
        Err(source) => Err(Error::Io { path, source }),
    }
}

fn write_header(bytes: &mut [u8], subject: &str, id: u64) {
    let subject = subject.as_bytes();
    bytes[..16].copy_from_slice(MAGIC);
    bytes[16..20].copy_from_slice(&(subject.len() as u32).to_le_bytes());
    bytes[20..24].copy_from_slice(&crc32fast::hash(subject).to_le_bytes());
    bytes[24..24 + subject.len()].copy_from_slice(subject);
    bytes[ID..ID + 8].copy_from_slice(&id.to_le_bytes());
}

/// The number of the file; 0 of one that was made without.
fn id_of(bytes: &[u8]) -> u64 {
    bytes.get(ID..).and_then(|rest| rest.first_chunk()).map_or(0, |id| u64::from_le_bytes(*id))
}

fn subject_of(bytes: &[u8]) -> Option<&str> {
    let header = bytes.get(..HEADER as usize)?;
    let number = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().expect("a header"));
    let subject = header.get(24..24 + number(16) as usize)?;
    let well = header.starts_with(MAGIC) && crc32fast::hash(subject) == number(20);
    std::str::from_utf8(subject).ok().filter(|_| well)
}

/// In a slot: checksum, kind, lengths of the two prints, then numbers, then the prints, and how many batches.
const NUMBERS: [usize; 6] = [8, 16, 24, 32, 40, 48 + 2 * print::LONGEST];
const PRINTS: [usize; 2] = [48, 48 + print::LONGEST];

fn slot_of(number: u64, batches: u64, place: Option<&Place>) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    let free = Place::default();
    let print = &place.unwrap_or(&free).print;
    slot[4] = if place.is_some() { 1 } else { 2 };
    slot[5] = print.head.len() as u8;
    slot[6] = print.tail.len() as u8;
    let place = place.unwrap_or(&free);
    let numbers = [number, place.device, place.inode, place.position(), place.name, batches];
    for (at, number) in NUMBERS.into_iter().zip(numbers) {
        slot[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    for (at, bytes) in PRINTS.into_iter().zip([&print.head, &print.tail]) {
        slot[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let sum = crc32fast::hash(&slot[4..]);
    slot[..4].copy_from_slice(&sum.to_le_bytes());
    slot
}

/// The number of a slot, how many batches there were, and its place; no place where it is free. None where it
/// is not whole.
fn slot(bytes: &[u8]) -> Option<(u64, u64, Option<Place>)> {
    let sum = u32::from_le_bytes(*bytes.first_chunk()?);
    if crc32fast::hash(&bytes[4..]) != sum {
        return None;
    }
    let [number, device, inode, position, name, batches] =
        NUMBERS.map(|at| u64::from_le_bytes(*bytes[at..].first_chunk().expect("a slot")));
    let print = |at: usize, long: u8| bytes.get(at..at + usize::from(long)).map(<[u8]>::to_owned);
    match bytes[4] {
        1 => {
            let (head, tail) = (print(PRINTS[0], bytes[5])?, print(PRINTS[1], bytes[6])?);
            let print = Print { position, head, tail };
            Some((number, batches, Some(Place { device, inode, name, print })))
        }
        2 => Some((number, batches, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(inode: u64, position: u64) -> Place {
        let print = Print { position, head: b"head".to_vec(), tail: vec![b't'; print::LONGEST] };
        Place { device: 1, inode, name: 7, print }
    }

    fn reopened(path: &Path) -> (Positions, Vec<(Cell, Place)>) {
        Positions::open(path, "/log").unwrap().unwrap()
    }

    #[test]
    fn what_was_noted_last_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/position");
        assert!(Positions::open(&path, "/log").unwrap().is_none());
        let first = [place(1, 10), place(2, 20)];
        let (mut positions, cells) = Positions::create(&path, "/log", &first).unwrap();
        for position in 11..30 {
            positions.note(cells[0], &place(1, position), false).unwrap();
        }
        positions.forget(cells[1]).unwrap();
        for inode in 3..40 {
            positions.add(&place(inode, 0), false).unwrap();
        }
        assert!(matches!(Positions::open(&path, "/log"), Err(Error::InUse { .. })));
        drop(positions);
        let (_, places) = reopened(&path);
        let mut places: Vec<_> = places.into_iter().map(|(_, place)| place).collect();
        places.sort_by_key(|place| place.inode);
        assert_eq!(places[0], place(1, 29));
        let inodes: Vec<_> = places[1..].iter().map(|place| place.inode).collect();
        assert_eq!(inodes, (3..40).collect::<Vec<_>>());
    }

    #[test]
    fn a_torn_note_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("position");
        let (mut positions, cells) = Positions::create(&path, "/log", &[place(1, 10)]).unwrap();
        positions.note(cells[0], &place(1, 11), true).unwrap();
        positions.note(cells[0], &place(1, 12), true).unwrap();
        drop(positions);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER as usize + 34] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (mut positions, places) = reopened(&path);
        assert_eq!(places[0].1, place(1, 11));
        positions.note(places[0].0, &place(1, 13), true).unwrap();
        drop(positions);
        assert_eq!(reopened(&path).1[0].1, place(1, 13));
    }

    #[test]
    fn what_is_of_another_subject_is_not_used_and_what_is_no_position_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("position");
        drop(Positions::create(&path, "/log", &[place(1, 10)]).unwrap());
        assert!(Positions::open(&path, "/other").unwrap().is_none());
        std::fs::write(&path, "[]").unwrap();
        assert!(matches!(Positions::open(&path, "/log"), Err(Error::Foreign { .. })));
    }
}
