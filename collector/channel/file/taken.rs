//! What was taken, durably: a log of ranges of numbers, written anew when it has become long.
//!
//! ```text
//! taken:  "ORTAKEN2"  (0:8 mark:8 crc:4)  (from:8 to:8 crc:4)*
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::folders::named;
use super::ranges::{LAST, Ranges};
use super::sync::Syncs;

const MAGIC: &[u8; 8] = b"ORTAKEN2";
const RECORD: usize = 20;

/// When it is written anew: when it has grown by so much, and to twice of what it was.
const LONG: u64 = 1 << 20;

/// The log of what was taken.
#[derive(Debug)]
pub(super) struct Taken {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Arc<File>,
    /// How those who wait for this file's writes share its syncs.
    syncs: Arc<Syncs>,
    length: u64,
    /// How long it was when it was written anew.
    anew: u64,
    ranges: Ranges,
}

fn record(from: u64, to: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&from.to_le_bytes());
    record[8..16].copy_from_slice(&to.to_le_bytes());
    let crc = crc32fast::hash(&record[..16]);
    record[16..].copy_from_slice(&crc.to_le_bytes());
    record
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("it has eight bytes"))
}

/// What a record says, if it is whole.
fn said(one: &[u8]) -> Option<(u64, u64)> {
    let (from, to) = (number(&one[..8]), number(&one[8..16]));
    (one == record(from, to) && from <= to && to <= LAST).then_some((from, to))
}

/// What the log says, and where its last whole record ends: one that was not written to its end was never
/// acknowledged. What a damaged one before it has said is not known, and is taken again. None where it is no
/// such log.
fn read(bytes: &[u8]) -> Option<(Ranges, u64)> {
    let mut records = bytes.strip_prefix(MAGIC)?.chunks_exact(RECORD).map(said);
    let (0, mark) = records.next()?? else { return None };
    let (mut ranges, mut many, mut whole) = (Ranges::below(mark), 1, 1);
    for record in records {
        many += 1;
        let Some((from, to)) = record else { continue };
        ranges.add(from, to);
        whole = many;
    }
    Some((ranges, (MAGIC.len() + whole * RECORD) as u64))
}

impl Taken {
    /// Opens the log in this folder, or begins one, in which all below `mark` is taken.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written, or is damaged.
    pub fn open(folder: &Path, mark: u64) -> io::Result<Taken> {
        let path = folder.join("taken");
        let (ranges, length) = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Ranges::below(mark), 0),
            Err(error) => return Err(named(&path, error)),
            Ok(bytes) => read(&bytes).ok_or_else(|| {
                let what = "it is no log of what was taken";
                named(&path, io::Error::new(io::ErrorKind::InvalidData, what))
            })?,
        };
        if length == 0 {
            write_anew(&path, &ranges)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|error| named(&path, error))?;
        let length = if length == 0 { file.metadata()?.len() } else { length };
        file.set_len(length)?;
        let syncs = Arc::default();
        let state = State { file: Arc::new(file), syncs, length, anew: length, ranges };
        Ok(Taken { path, state: Mutex::new(state) })
    }

    /// Looks at what was taken.
    pub fn look<T>(&self, look: impl FnOnce(&Ranges) -> T) -> T {
        look(&self.state().ranges)
    }

    /// Notes that these were taken; durably, if that is asked for.
    ///
    /// # Errors
    ///
    /// If it cannot be noted.
    pub fn add(&self, ranges: &[(u64, u64)], durably: bool) -> io::Result<()> {
        let bytes: Vec<u8> = ranges.iter().flat_map(|(from, to)| record(*from, *to)).collect();
        let mut state = self.state();
        if state.length > 2 * state.anew + LONG {
            let mut all = state.ranges.clone();
            for (from, to) in ranges {
                all.add(*from, *to);
            }
            write_anew(&self.path, &all)?;
            let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
            let length = file.metadata()?.len();
            // Who waits for a write to the old file waits for its syncs; all that it said stands in the new one.
            let (file, syncs) = (Arc::new(file), Arc::default());
            *state = State { file, syncs, length, anew: length, ranges: all };
            return Ok(());
        }
        state.file.write_all_at(&bytes, state.length)?;
        state.length += bytes.len() as u64;
        for (from, to) in ranges {
            state.ranges.add(*from, *to);
        }
        let (file, syncs, write) =
            (Arc::clone(&state.file), Arc::clone(&state.syncs), state.syncs.written());
        drop(state);
        if durably { syncs.wait(write, || file.sync_data()) } else { Ok(()) }
    }

    /// Makes durable what was noted.
    ///
    /// # Errors
    ///
    /// If that cannot be had.
    pub fn sync(&self) -> io::Result<()> {
        let file = Arc::clone(&self.state().file);
        file.sync_data()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_anew(path: &Path, ranges: &Ranges) -> io::Result<()> {
    let next = path.with_extension("new");
    let mut file = File::create(&next).map_err(|error| named(&next, error))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(record(0, ranges.mark()));
    bytes.extend(ranges.above().flat_map(|(from, to)| record(from, to)));
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    let folder = path.parent().expect("it stands in a folder");
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_known_after_a_start_also_when_it_was_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let taken = Taken::open(folder.path(), 3).unwrap();
        taken.add(&[(3, 5), (7, 9)], true).unwrap();
        drop(taken);
        let taken = Taken::open(folder.path(), 0).unwrap();
        assert_eq!(taken.look(|ranges| (ranges.mark(), ranges.count_below(99))), (5, 7));
        for from in 10..200_000 {
            taken.add(&[(from, from + 1)], false).unwrap();
        }
        taken.add(&[(5, 7), (9, 10)], true).unwrap();
        assert!(std::fs::metadata(folder.path().join("taken")).unwrap().len() < 2 * LONG);
        drop(taken);
        let taken = Taken::open(folder.path(), 0).unwrap();
        assert_eq!(taken.look(Ranges::mark), 200_000);
    }

    #[test]
    fn a_record_that_was_not_written_to_its_end_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        Taken::open(folder.path(), 0).unwrap().add(&[(0, 4), (9, 12)], true).unwrap();
        let path = folder.path().join("taken");
        let whole = std::fs::read(&path).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            match Taken::open(folder.path(), 0) {
                Ok(taken) if end >= 48 => {
                    assert_eq!(taken.look(|ranges| ranges.count_below(99)), 4)
                }
                Ok(taken) => assert_eq!(taken.look(|ranges| ranges.count_below(99)), 0),
                Err(error) => assert!(end < 28, "{error}"),
            }
        }
    }

    /// No bit of it says of what waits that it was taken.
    #[test]
    fn what_is_damaged_is_taken_again_and_nothing_else_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        Taken::open(folder.path(), 3).unwrap().add(&[(5, 7), (9, 12)], true).unwrap();
        let path = folder.path().join("taken");
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            let left: &[u64] = match (bit / 8).checked_sub(28).map(|at| at / RECORD) {
                None => {
                    Taken::open(folder.path(), 0).unwrap_err();
                    continue;
                }
                Some(0) => &[0, 1, 2, 9, 10, 11],
                Some(_) => &[0, 1, 2, 5, 6],
            };
            let taken = Taken::open(folder.path(), 0).unwrap();
            let found: Vec<_> =
                taken.look(|ranges| (0..20).filter(|number| ranges.has(*number)).collect());
            assert_eq!(found, left, "bit {bit}");
        }
    }
}
