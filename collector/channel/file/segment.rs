//! A segment: a file of frames, one behind the other.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::disk::{self, File};
use super::frame::{self, Header, u32_at, u64_at};

/// What tells the files of one channel from those of any other.
pub type Id = [u8; 16];

/// How many bytes a file's own header has.
pub const START: u64 = 64;

/// What the name of a segment ends in.
pub const SUFFIX: &str = ".events";

const MAGIC: &[u8; 8] = b"ORevents";

/// The version of all files of the channel.
pub const VERSION: u16 = 1;

/// How much is read at once.
const STEP: usize = 1 << 18;

/// What was never written, to be compared with.
const ZEROS: [u8; 4096] = [0; 4096];

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Whose it is.
    pub id: Id,
    /// The sequence number of its first event.
    pub first: u64,
    /// Behind the last event of the segment before: what stands there from here on is void.
    pub after: u64,
    /// Whether its frames are synced one by one.
    pub syncs: bool,
}

/// Why a file is not what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Its header is damaged.
    Damaged,
    /// A later program has written it.
    Version(u16),
}

/// A segment that is open.
#[derive(Debug)]
pub struct Segment {
    file: File,
    first: u64,
    salt: u32,
    size: u64,
}

/// What stands at a place of a segment.
#[derive(Debug)]
pub enum Step {
    /// A frame whose events are done with.
    Passed(Header),
    /// A frame with the bytes of its events.
    Frame(Header, Bytes),
    /// A frame whose events are damaged.
    Spoilt(Header),
    /// Zeros: nothing was written here.
    End,
    /// Bytes that are no frame.
    Bad,
}

/// The bytes that were read last.
#[derive(Debug, Default)]
pub struct Window {
    at: u64,
    bytes: Bytes,
}

impl Label {
    fn to_bytes(self) -> [u8; START as usize] {
        let mut bytes = [0; START as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&u16::from(self.syncs).to_le_bytes());
        bytes[16..32].copy_from_slice(&self.id);
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.after.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads what a segment says of itself.
    pub fn parse(bytes: &[u8]) -> Result<Label, Bad> {
        if bytes.len() < START as usize
            || bytes[..8] != *MAGIC
            || u32_at(bytes, 60) != crc32fast::hash(&bytes[..60])
        {
            return Err(Bad::Damaged);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(Bad::Version(version));
        }
        let id = bytes[16..32].try_into().expect("sixteen bytes");
        let (first, after) = (u64_at(bytes, 32), u64_at(bytes, 40));
        Ok(Label { id, first, after, syncs: bytes[10] & 1 == 1 })
    }

    /// Reads that of a file.
    pub fn read(path: &Path) -> io::Result<Result<Label, Bad>> {
        Ok(Label::parse(&File::open(path)?.read(0, START as usize)?))
    }
}

/// The file of the segment that begins with this event.
pub fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}{SUFFIX}"))
}

impl Segment {
    /// Makes one, and has it on the disk with its name. A file of its name holds nothing that counts, and is
    /// replaced.
    pub fn create(folder: &Path, label: Label, size: u64) -> io::Result<Segment> {
        let path = path(folder, label.first);
        let new = disk::new_name(&path);
        let made = || {
            let file = File::create(&new)?;
            file.preallocate(size)?;
            file.write(&label.to_bytes(), 0)?;
            file.sync_whole()?;
            disk::rename(&new, &path)?;
            disk::sync_folder(folder)?;
            Ok(Segment::of(file, label.id, label.first, size))
        };
        made().inspect_err(|_| {
            // What it took of a full disk is given back; at the next start it would be removed, too.
            if let Err(error) = disk::remove(&new) {
                log::debug!("cannot remove what was begun: path={} error={error}", new.display());
            }
        })
    }

    /// Opens the one that begins with this event.
    pub fn open(folder: &Path, id: Id, first: u64) -> io::Result<Segment> {
        let file = File::open(&path(folder, first))?;
        let size = file.len()?;
        Ok(Segment::of(file, id, first, size))
    }

    fn of(file: File, id: Id, first: u64, size: u64) -> Segment {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&id);
        hasher.update(&first.to_le_bytes());
        Segment { file, first, salt: hasher.finalize(), size }
    }

    /// The sequence number of its first event.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// How many bytes it has, with those that are not written yet.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What its frames' checksums begin with.
    pub fn salt(&self) -> u32 {
        self.salt
    }

    /// Its file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What stands at a place. Nothing is read from `limit` on; of a frame with no event from `from` on the
    /// events are not looked at.
    pub fn step(&self, window: &mut Window, at: u64, limit: u64, from: u64) -> io::Result<Step> {
        if at + frame::HEADER as u64 > limit {
            return Ok(Step::End);
        }
        let bytes = window.get(&self.file, at, frame::HEADER, limit)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Step::End);
        }
        let Some(header) = Header::parse(&bytes, self.salt) else { return Ok(Step::Bad) };
        if at + header.size() > limit {
            return Ok(Step::Bad);
        }
        if header.end() <= from {
            return Ok(Step::Passed(header));
        }
        let length = frame::HEADER + header.length as usize;
        let payload = window.get(&self.file, at, length, limit)?;
        let payload = payload.slice(frame::HEADER.min(payload.len())..);
        let is_whole =
            payload.len() == header.length as usize && crc32fast::hash(&payload) == header.crc;
        Ok(if is_whole { Step::Frame(header, payload) } else { Step::Spoilt(header) })
    }

    /// The next place from `at` on where a frame's header stands whole that `suits`.
    pub fn find(
        &self,
        at: u64,
        limit: u64,
        suits: impl Fn(&Header) -> bool,
    ) -> Option<(u64, Header)> {
        let finder = memchr::memmem::Finder::new(&frame::MAGIC);
        let mut at = at;
        while at + frame::HEADER as u64 <= limit {
            // Places are multiples of eight.
            at = self.file.next_written(at)?.max(at) & !7;
            let length = STEP.min(limit.saturating_sub(at) as usize);
            let bytes = self.file.read_what_can_be(at, length);
            if bytes.len() < frame::HEADER {
                return None;
            }
            for place in finder.find_iter(&bytes).filter(|place| place % 8 == 0) {
                let Some(header) = Header::parse(&bytes[place..], self.salt) else { continue };
                if suits(&header) && at + place as u64 + header.size() <= limit {
                    return Some((at + place as u64, header));
                }
            }
            // A header may begin in what was read, and end behind it.
            at += (bytes.len() - frame::HEADER + 8) as u64 & !7;
        }
        None
    }

    /// Behind the last byte from `at` on that is not zero, if there is one.
    pub fn written_end(&self, at: u64, limit: u64) -> Option<u64> {
        let (mut at, mut end) = (at, None);
        while at < limit {
            let Some(next) = self.file.next_written(at) else { break };
            at = next.max(at);
            let bytes = self.file.read_what_can_be(at, STEP.min(limit.saturating_sub(at) as usize));
            if bytes.is_empty() {
                break;
            }
            for (page, part) in bytes.chunks(ZEROS.len()).enumerate() {
                if *part != ZEROS[..part.len()] {
                    let last = part.iter().rposition(|byte| *byte != 0).expect("it has one");
                    end = Some(at + (page * ZEROS.len() + last) as u64 + 1);
                }
            }
            at += bytes.len() as u64;
        }
        end
    }
}

impl Window {
    /// So many bytes, or as many as stand before `limit`.
    fn get(&mut self, file: &File, at: u64, length: usize, limit: u64) -> io::Result<Bytes> {
        let length = length.min(limit.saturating_sub(at) as usize);
        let end = self.at + self.bytes.len() as u64;
        if at < self.at || at + length as u64 > end {
            let most = limit.saturating_sub(at) as usize;
            self.bytes = file.read(at, length.max(STEP.min(most)))?;
            self.at = at;
        }
        let from = (at - self.at) as usize;
        Ok(self.bytes.slice(from..(from + length).min(self.bytes.len())))
    }

    /// Forgets what was read.
    pub fn clear(&mut self) {
        *self = Window::default();
    }
}
