//! The files of what is done with: a log of ranges, and a checkpoint of all before it. The picture is in
//! [`super`].
//!
//! Both state facts that stay true: a number that is done with is never given to another event. So what is
//! known after a crash is all that any of the files says, in whatever order they were written.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::acked::Acked;
use super::disk::{self, File};
use super::frame::{u32_at, u64_at};
use super::segment::{Bad, Id, START, VERSION};

/// How many bytes a log of ranges has.
pub const SIZE: u64 = 1 << 20;

/// How many bytes a range has in it.
pub const RECORD: usize = 32;

/// What the names of the two files end in.
pub const SUFFIXES: [&str; 2] = [".acks", ".checkpoint"];

const MAGIC: &[u8; 8] = b"OR_acks\0";
const CHECKPOINT_MAGIC: &[u8; 8] = b"ORcheckp";
const RECORD_MAGIC: u32 = 0x0ac5_51de;

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

/// What a checkpoint says besides what is done with.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    /// Its number.
    pub generation: u64,
    /// All events below this stand on the disk.
    pub durable: u64,
    /// Whether these are all.
    pub is_closed: bool,
}

fn path(folder: &Path, generation: u64, suffix: &str) -> PathBuf {
    folder.join(format!("{generation:020}{suffix}"))
}

/// Makes the files of a generation; those of the last one are kept, those before it removed.
pub fn begin(
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

/// A range that is done with; all events below `durable` stand on the disk.
pub fn record(range: &Range<u64>, durable: u64, id: Id) -> [u8; RECORD] {
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
