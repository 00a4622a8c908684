//! One segment of the log: its file, the frames in it, and what is done where one is damaged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use super::folders::named;
use super::frame::{self, HEADER, Header, Origins, Tag, can_decode};
use super::ranges::LAST;

/// What a segment begins with.
const MAGIC: &[u8; 8] = b"ORLOG002";

/// Where its first frame stands.
const START: u64 = 32;

/// How much is looked through at once.
const STEP: usize = 1 << 20;

/// The name of the segment that begins with this number.
pub(super) fn name(first: u64) -> String {
    format!("{first:020}.log")
}

/// What stands in a segment before its frames.
pub(super) fn head(first: u64, tag: Tag) -> [u8; START as usize] {
    let mut head = [0; START as usize];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&first.to_le_bytes());
    head[16..24].copy_from_slice(&tag.0);
    head
}

/// Judges whether a file can be the segment that it is called.
///
/// # Errors
///
/// If it cannot be, or cannot be read.
pub(super) fn judge(path: &Path, first: u64) -> io::Result<()> {
    let file = File::open(path)?;
    let refused = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if first > LAST || !file.metadata()?.is_file() {
        return refused("it is no segment of a log");
    }
    let mut start = [0; START as usize];
    let is_whole = file.read_exact_at(&mut start, 0).is_ok();
    let (kind, version) = MAGIC.split_at(5);
    if start[..5] == *kind && start[5..8] != *version && start[5..8].iter().all(u8::is_ascii_digit)
    {
        return refused("it is a segment of another version");
    }
    // Its name and its first frame say what its head does: what stands behind that may be well all the same.
    if !is_whole || start != head(first, Tag::of(&start[16..24])) {
        log::error!("damaged: path={} offset=0 bytes={START}", path.display());
    }
    Ok(())
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

/// Looks through the last segment. Returns where its next frame belongs, how large the segment is, and what was
/// cut off; adds the origins of its frames.
pub(super) fn recover(
    folder: &Path,
    last: u64,
    origins: &mut Origins,
) -> io::Result<(Reading, u64, Option<Damage>)> {
    let file = OpenOptions::new().read(true).write(true).open(folder.join(name(last)))?;
    let size = file.metadata()?.len();
    let mut reading = Reading::new(file, last)?;
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

/// A place in a segment.
#[derive(Debug)]
pub(super) struct Reading {
    pub file: Arc<File>,
    /// The number of the segment.
    pub first: u64,
    /// What its frames begin with.
    pub tag: Tag,
    pub offset: u64,
    /// The number of the first event of the frame that should stand here.
    pub next: u64,
}

/// A whole frame behind damaged bytes.
pub(super) struct Found {
    pub offset: u64,
    pub first: u64,
}

impl Reading {
    /// Where the first frame of a segment stands.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn new(file: File, first: u64) -> io::Result<Reading> {
        let size = file.metadata()?.len();
        // What is missing of it is as good as zeros: no tag.
        let mut start = [0; START as usize + Tag::BYTES];
        let many = start.len().min(usize::try_from(size).unwrap_or(usize::MAX));
        file.read_exact_at(&mut start[..many], 0)?;
        let (said, shown) = (Tag::of(&start[16..]), Tag::of(&start[START as usize..]));
        let mut reading =
            Reading { file: Arc::new(file), first, tag: shown, offset: START, next: first };
        // A head that is damaged costs nothing where the first frame is whole.
        if reading.whole(u64::MAX, size)?.is_none() {
            reading.tag = said;
        }
        Ok(reading)
    }

    /// Goes on behind the frame that stands here.
    pub fn pass(&mut self, header: &Header) {
        self.offset += (HEADER + header.length) as u64;
        self.next = header.end();
    }

    /// The frame that should stand here, if it does, whole, and none of its numbers is from `end` on.
    pub fn whole(&self, end: u64, size: u64) -> io::Result<Option<(Header, Bytes)>> {
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
        let Some(header) = Header::read(&header, self.tag) else { return Ok(None) };
        let behind = self.offset + HEADER as u64;
        if header.length as u64 > size - behind {
            return Ok(None);
        }
        let mut events = vec![0; header.length];
        self.file.read_exact_at(&mut events, behind)?;
        Ok(Some((header, events.into())))
    }

    /// The next whole frame behind this place, of which none of the numbers is from `end` on.
    pub fn find_next(&self, end: u64, size: u64) -> io::Result<Option<Found>> {
        let Some(last) = end_of_bytes(self, size)? else { return Ok(None) };
        let mut rest = vec![0; usize::try_from(last - self.offset).unwrap_or(0)];
        self.file.read_exact_at(&mut rest, self.offset)?;
        // A frame may end with bytes that are 0.
        rest.resize(usize::try_from(size - self.offset).unwrap_or(0).min(rest.len() + STEP), 0);
        let rest = Bytes::from(rest);
        for at in memmem::find_iter(&rest[1..], &self.tag.0).map(|at| at + 1) {
            let Some(header) = Header::read(&rest[at..], self.tag) else { continue };
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
pub(super) fn set_aside(
    folder: &Path,
    reading: &Reading,
    to: u64,
    lost: (u64, u64),
) -> io::Result<Damage> {
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
