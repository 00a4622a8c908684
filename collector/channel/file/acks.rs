//! What is done with, on the disk: a log of ranges, and from time to time a checkpoint of all of them.
//!
//! Both are facts that stay true: a number that is done with is never given to another event. So what is
//! known after a crash is all that any of the files says, in whatever order they were written.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::acked::Acked;
use super::disk::{self, File};
use super::frame::{u32_at, u64_at};
use super::round::{Round, Ticket};
use super::segment::{Bad, Id, START, VERSION};
use super::stock::Stock;

/// How many bytes a log of ranges has.
pub const SIZE: u64 = 1 << 20;

/// How many bytes a range has in it.
const RECORD: usize = 32;

/// What the names of the two files end in.
pub const SUFFIXES: [&str; 2] = [".acks", ".checkpoint"];

const MAGIC: &[u8; 8] = b"OR_acks\0";
const CHECKPOINT_MAGIC: &[u8; 8] = b"ORcheckp";
const RECORD_MAGIC: u32 = 0x0ac5_51de;

/// The log of what is done with.
#[derive(Debug)]
pub struct Acks {
    folder: PathBuf,
    id: Id,
    size: u64,
    syncs: bool,
    stock: Arc<Stock>,
    /// Held by whoever syncs: an error is told to one only. Taken before `open`.
    turn: Mutex<()>,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: Arc<File>,
    generation: u64,
    offset: u64,
    round: Arc<Round>,
    /// What the round will have made done with.
    pending: Vec<Range<u64>>,
    /// The file does not tell the truth any more: a new one is needed.
    is_broken: bool,
}

impl Open {
    fn has_room(&self, bytes: usize, size: u64) -> bool {
        !self.is_broken && self.offset + bytes as u64 <= size
    }

    /// Whoever waits for the next sync is told that it failed.
    fn give_up(&mut self, error: io::Error) -> io::Error {
        self.is_broken = true;
        self.pending.clear();
        let outcome = Err(error);
        std::mem::take(&mut self.round).decide(&outcome);
        outcome.expect_err("it is one")
    }
}

/// What the files of a folder say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What is done with.
    pub acked: Acked,
    /// All events below this stood on the disk once.
    pub durable: u64,
    /// Where the newest checkpoint says that the channel was closed: behind the last event.
    pub closed: Option<u64>,
    /// The newest files.
    pub generation: u64,
    /// Whose they are.
    pub id: Option<Id>,
}

/// Why a folder's files are not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A later program has written it.
    #[error("{} has version {version}: a later program has written it", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// It belongs to the events of another channel.
    #[error("{} belongs to the events of another channel", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
    },
}

impl Acks {
    /// Begins the files behind those of `facts`, with what is done with.
    pub fn begin(
        folder: &Path,
        (id, size, syncs): (Id, u64, bool),
        facts: &Facts,
        stock: &Arc<Stock>,
    ) -> io::Result<Acks> {
        let generation = facts.generation + 1;
        let checkpoint = Checkpoint { generation, durable: facts.durable, is_closed: false };
        let file = begin(folder, id, size, checkpoint, &stock.acked())?;
        let open = Open {
            file: Arc::new(file),
            generation,
            offset: START,
            round: Arc::default(),
            pending: Vec::new(),
            is_broken: false,
        };
        let folder = folder.to_owned();
        let (turn, open) = (Mutex::new(()), Mutex::new(open));
        Ok(Acks { folder, id, size, syncs, stock: Arc::clone(stock), turn, open })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // It is changed only after what can fail.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that these are done with, and forgets them; when it returns that stands on the disk, if every
    /// take is synced. All events below `durable` stand there.
    pub fn commit(&self, ranges: &[Range<u64>], durable: u64) -> io::Result<()> {
        let most = (self.size - START) as usize / RECORD;
        ranges.chunks(most).try_for_each(|ranges| self.commit_some(ranges, durable))
    }

    fn commit_some(&self, ranges: &[Range<u64>], durable: u64) -> io::Result<()> {
        let records: Vec<u8> =
            ranges.iter().flat_map(|range| record(range, durable, self.id)).collect();
        let ticket = loop {
            let mut open = self.open();
            if open.has_room(records.len(), self.size) {
                // After an error all is as before: the next record is written over this one.
                open.file.write(&records, open.offset)?;
                open.offset += records.len() as u64;
                open.pending.extend(ranges.iter().cloned());
                break Round::join(&open.round);
            }
            drop(open);
            self.go_over(records.len(), durable)?;
        };
        if !self.syncs {
            self.stock.forget(ranges);
            return Ok(());
        }
        if ticket.leads() {
            self.lead(&ticket);
        }
        ticket.wait()
    }

    /// Syncs for all who have joined the ticket's round.
    fn lead(&self, ticket: &Ticket) {
        let _turn = self.turn();
        if ticket.is_decided() {
            return;
        }
        let mut open = self.open();
        open.round = Arc::default();
        let (file, pending) = (Arc::clone(&open.file), std::mem::take(&mut open.pending));
        drop(open);
        let outcome = match file.sync() {
            Ok(()) => {
                self.stock.forget(&pending);
                Ok(())
            }
            Err(error) => Err(self.open().give_up(error)),
        };
        ticket.round().decide(&outcome);
    }

    /// Goes over to the next files, if records of this size still need them.
    fn go_over(&self, bytes: usize, durable: u64) -> io::Result<()> {
        let _turn = self.turn();
        let mut open = self.open();
        if open.has_room(bytes, self.size) {
            return Ok(());
        }
        self.sync_open(&mut open)?;
        self.next_files(&mut open, durable, false)
    }

    /// What is written is synced, and forgotten.
    fn sync_open(&self, open: &mut Open) -> io::Result<()> {
        if open.is_broken {
            return Ok(());
        }
        if let Err(error) = open.file.sync() {
            return Err(open.give_up(error));
        }
        let pending = std::mem::take(&mut open.pending);
        if self.syncs {
            self.stock.forget(&pending);
        }
        Ok(())
    }

    fn next_files(&self, open: &mut Open, durable: u64, is_closed: bool) -> io::Result<()> {
        let generation = open.generation + 1;
        let checkpoint = Checkpoint { generation, durable, is_closed };
        let file = begin(&self.folder, self.id, self.size, checkpoint, &self.stock.acked())?;
        (open.file, open.generation, open.offset) = (Arc::new(file), generation, START);
        open.is_broken = false;
        Ok(())
    }

    /// Syncs what is written.
    pub fn sync(&self) -> io::Result<()> {
        let _turn = self.turn();
        let mut open = self.open();
        open.pending.clear();
        let (file, is_broken) = (Arc::clone(&open.file), open.is_broken);
        drop(open);
        if is_broken { Ok(()) } else { file.sync() }
    }

    /// Makes the last checkpoint: all events are below `end`, and stand on the disk.
    pub fn close(&self, end: u64) -> io::Result<()> {
        let _turn = self.turn();
        let mut open = self.open();
        self.sync_open(&mut open)?;
        self.next_files(&mut open, end, true)
    }
}

/// What a checkpoint says besides what is done with.
#[derive(Clone, Copy)]
struct Checkpoint {
    generation: u64,
    durable: u64,
    is_closed: bool,
}

fn path(folder: &Path, generation: u64, suffix: &str) -> PathBuf {
    folder.join(format!("{generation:020}{suffix}"))
}

/// Makes the files of a generation; those of the last one are kept, those before it removed.
fn begin(
    folder: &Path,
    id: Id,
    size: u64,
    checkpoint: Checkpoint,
    acked: &Acked,
) -> io::Result<File> {
    let generation = checkpoint.generation;
    // Written and not only preallocated: a sync of what has been written before is faster.
    let mut bytes = vec![0; size as usize];
    bytes[..START as usize].copy_from_slice(&start(MAGIC, id, generation));
    let file = disk::write_whole(&path(folder, generation, SUFFIXES[0]), &bytes)?;
    let bytes = checkpoint_bytes(id, checkpoint, acked);
    disk::write_whole(&path(folder, generation, SUFFIXES[1]), &bytes)?;
    disk::sync_folder(folder)?;
    for suffix in SUFFIXES {
        let old = generation.checked_sub(2).map(|old| path(folder, old, suffix));
        if let Some(old) = old.filter(|old| old.exists())
            && let Err(error) = disk::remove(&old)
        {
            // At the next start it is tried again.
            log::warn!("cannot remove an old checkpoint: path={} error={error}", old.display());
        }
    }
    Ok(file)
}

fn start(magic: &[u8; 8], id: Id, generation: u64) -> [u8; START as usize] {
    let mut bytes = [0; START as usize];
    bytes[..8].copy_from_slice(magic);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&id);
    bytes[32..40].copy_from_slice(&generation.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn read_start(bytes: &[u8], magic: &[u8; 8]) -> Result<(Id, u64), Bad> {
    if bytes.len() < START as usize
        || bytes[..8] != *magic
        || u32_at(bytes, 60) != crc32fast::hash(&bytes[..60])
    {
        return Err(Bad::Damaged);
    }
    match u16::from_le_bytes([bytes[8], bytes[9]]) {
        VERSION => Ok((bytes[16..32].try_into().expect("sixteen bytes"), u64_at(bytes, 32))),
        version => Err(Bad::Version(version)),
    }
}

fn record(range: &Range<u64>, durable: u64, id: Id) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..8].copy_from_slice(&range.start.to_le_bytes());
    bytes[8..16].copy_from_slice(&range.end.to_le_bytes());
    bytes[16..24].copy_from_slice(&durable.to_le_bytes());
    bytes[24..28].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
    let crc = record_crc(&bytes, id);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn record_crc(bytes: &[u8], id: Id) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(u32_at(&id, 0));
    hasher.update(&bytes[..28]);
    hasher.finalize()
}

fn checkpoint_bytes(id: Id, checkpoint: Checkpoint, acked: &Acked) -> Vec<u8> {
    let mut bytes = start(CHECKPOINT_MAGIC, id, checkpoint.generation).to_vec();
    let numbers = [acked.below(), checkpoint.durable, checkpoint.is_closed.into()];
    let ranges = acked.above().flat_map(|range| [range.start, range.end]);
    for number in numbers.into_iter().chain(ranges) {
        bytes.extend(number.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

impl Facts {
    /// Reads the files of these generations. One that is damaged is left aside: what it alone knows is
    /// lent again.
    pub fn read(folder: &Path, files: &[(u64, PathBuf)]) -> Result<Facts, Error> {
        let mut facts = Facts::default();
        let mut newest = None;
        for (generation, path) in files {
            facts.generation = facts.generation.max(*generation);
            let bytes = std::fs::read(path);
            let bytes = bytes.map_err(|source| Error::Read { path: path.clone(), source })?;
            let is_checkpoint = path.to_string_lossy().ends_with(SUFFIXES[1]);
            let magic = if is_checkpoint { CHECKPOINT_MAGIC } else { MAGIC };
            let id = match read_start(&bytes, magic) {
                Ok((id, _)) => id,
                Err(Bad::Version(version)) => {
                    return Err(Error::Version { path: path.clone(), version });
                }
                Err(Bad::Damaged) => {
                    damaged(path, "its header");
                    continue;
                }
            };
            if facts.id.is_some_and(|known| known != id) {
                return Err(Error::Foreign { path: path.clone() });
            }
            facts.id = Some(id);
            if !is_checkpoint {
                facts.add_records(&bytes, id, path);
            } else if let Some(closed) = facts.add_checkpoint(&bytes, path)
                && newest.is_none_or(|(newest, _)| newest < *generation)
            {
                newest = Some((*generation, closed));
            }
        }
        facts.closed = newest
            .filter(|(generation, _)| *generation == facts.generation)
            .and_then(|(_, closed)| closed);
        log::debug!("read what is done with: path={} facts={facts:?}", folder.display());
        Ok(facts)
    }

    fn add_records(&mut self, bytes: &[u8], id: Id, path: &Path) {
        for record in bytes[START as usize..].chunks_exact(RECORD) {
            if record.iter().all(|byte| *byte == 0) {
                continue;
            }
            let (from, to) = (u64_at(record, 0), u64_at(record, 8));
            let is_whole =
                u32_at(record, 24) == RECORD_MAGIC && u32_at(record, 28) == record_crc(record, id);
            if !is_whole || from > to {
                damaged(path, "a record");
                continue;
            }
            self.acked.insert(from..to);
            self.durable = self.durable.max(u64_at(record, 16));
        }
    }

    /// Says whether it is whole, and if so, whether the channel was closed, and where.
    fn add_checkpoint(&mut self, bytes: &[u8], path: &Path) -> Option<Option<u64>> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let numbers: Vec<u64> = body
            .get(START as usize..)
            .unwrap_or_default()
            .chunks_exact(8)
            .map(|number| u64_at(number, 0))
            .collect();
        let whole = (u32_at(crc, 0) == crc32fast::hash(body)).then_some(&*numbers);
        let Some([below, durable, closed, ranges @ ..]) = whole else {
            damaged(path, "what it says");
            return None;
        };
        self.acked.insert(0..*below);
        for range in ranges.chunks_exact(2) {
            self.acked.insert(range[0]..range[1]);
        }
        self.durable = self.durable.max(*durable);
        Some((*closed == 1).then_some(*durable))
    }
}

/// What a crash leaves half written looks the same.
fn damaged(path: &Path, what: &str) {
    log::warn!("{what} is damaged, and is not used: path={}", path.display());
}
