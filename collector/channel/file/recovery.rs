//! What a start makes of the files that it finds.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::acked::Acked;
use super::facts::{self, Facts};
use super::folder::{self, Folders};
use super::gate::Reach;
use super::reader::set_aside;
use super::segment::{Bad, Id, Label, START, Segment, Step, Window};

/// How far the numbers jump after a crash of a channel that does not sync every put: the other side may
/// have seen numbers of events that the disk has not.
pub const JUMP: u64 = 1 << 32;

/// What a start has found.
#[derive(Debug)]
pub struct Recovered {
    /// Whose files they are.
    pub id: Id,
    /// By their first event: where the one before ends.
    pub segments: BTreeMap<u64, u64>,
    /// What is done with, or never was.
    pub acked: Acked,
    /// What the files of that say.
    pub facts: Facts,
    /// The last segment.
    pub last: Segment,
    /// Where it goes on.
    pub reach: Reach,
    /// The number of the next event, and whether it must begin a segment even if that is where it goes on.
    pub next: (u64, bool),
}

/// Why a channel cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its folders cannot be had.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// What is done with cannot be read.
    #[error(transparent)]
    Acks(#[from] facts::Error),
    /// A later program has written a segment.
    #[error("{path} has version {version}: a later program has written it")]
    Version {
        /// Which.
        path: String,
        /// Its version.
        version: u16,
    },
    /// Segments of two channels stand in one folder, or the checkpoint is of other events.
    #[error("{path} belongs to another channel than the files beside it, or than those in {other}")]
    Foreign {
        /// Which.
        path: String,
        /// Where the others are.
        other: String,
    },
    /// A file cannot be read or made.
    #[error("cannot read or make files in {folder}")]
    Io {
        /// Where.
        folder: String,
        /// Why.
        source: io::Error,
    },
}

/// Finds out what stands in the folders. Reads the headers of all segments, the frames of the last one, and
/// what is done with.
pub fn recover(folders: &Folders, new: Id, (size, syncs): (u64, bool)) -> Result<Recovered, Error> {
    let failed = |source| Error::Io { folder: folders.data.display().to_string(), source };
    let found = folders.find()?;
    let facts = Facts::read(&folders.checkpoint, &found.acks)?;
    // STEP 1: what the segments say of themselves.
    let mut labels = Vec::new();
    let mut id = facts.id;
    for (&first, path) in &found.segments {
        let name = || path.display().to_string();
        let label = match Label::read(path).map_err(failed)? {
            Ok(label) if label.first == first => Some(label),
            Ok(_) | Err(Bad::Damaged) => {
                log::error!("the header of a segment is damaged: path={}", path.display());
                None
            }
            Err(Bad::Version(version)) => return Err(Error::Version { path: name(), version }),
        };
        if let Some(label) = label
            && *id.get_or_insert(label.id) != label.id
        {
            let other = folders.checkpoint.display().to_string();
            return Err(Error::Foreign { path: name(), other });
        }
        labels.push((first, label));
    }
    let Some(id) = id else {
        // Without a checkpoint, and no header that is whole.
        for path in found.segments.values() {
            put_away(path).map_err(failed)?;
        }
        return fresh(folders, facts, new, (size, syncs)).map_err(failed);
    };
    // STEP 2: numbers that were never given.
    let mut acked = facts.acked.clone();
    let Some(&(first, _)) = labels.first() else {
        if facts.durable > 0 {
            log::error!(
                "all segments are missing: path={} events={}",
                folders.data.display(),
                facts.durable.saturating_sub(acked.count_below(facts.durable))
            );
        }
        return fresh(folders, facts, id, (size, syncs)).map_err(failed);
    };
    acked.insert(0..first);
    let mut segments = BTreeMap::new();
    for (first, label) in &labels {
        let after = label.map_or(*first, |label| label.after.min(*first));
        acked.insert(after..*first);
        segments.insert(*first, after);
    }
    // STEP 3: where the last one ends.
    let (last, label) = labels.last().copied().expect("there is one");
    let last = Segment::open(&folders.data, id, last).map_err(failed)?;
    let end = end(&last, facts.durable, facts.closed).map_err(failed)?;
    if let Some(torn) = end.torn {
        log::warn!(
            "the last put was torn, and is set aside: path={} offset={} bytes={}",
            last.file().path().display(),
            end.reach.offset,
            torn - end.reach.offset
        );
        set_aside(&last, end.reach.offset..torn, "torn").map_err(failed)?;
    }
    // What was written but not synced before is shown from now on.
    last.file().sync().map_err(failed)?;
    // STEP 4: the next number was never given.
    let mut next = end.reach.sequence.max(facts.durable).max(acked.end());
    let is_closed = facts.closed == Some(next);
    if !is_closed && label.is_some_and(|label| !label.syncs) {
        next += JUMP;
    }
    // The flag of a segment holds for all its frames.
    let must_begin = !end.is_clean || label.is_none_or(|label| label.syncs != syncs);
    acked.insert(end.reach.sequence..next);
    Ok(Recovered { id, segments, acked, facts, last, reach: end.reach, next: (next, must_begin) })
}

/// The first segment of a channel, behind all that is known of it.
fn fresh(
    folders: &Folders,
    facts: Facts,
    id: Id,
    (size, syncs): (u64, bool),
) -> io::Result<Recovered> {
    let next = facts.durable.max(facts.acked.end());
    let label = Label { id, first: next, after: next, syncs };
    let last = Segment::create(&folders.data, label, size)?;
    let mut acked = facts.acked.clone();
    acked.insert(0..next);
    let reach = Reach { sequence: next, segment: next, offset: START };
    let segments = BTreeMap::from([(next, next)]);
    Ok(Recovered { id, segments, acked, facts, last, reach, next: (next, false) })
}

/// Gives a segment of which nothing is known a name that is not looked at.
fn put_away(path: &Path) -> io::Result<()> {
    let aside = path.with_extension("events.damaged");
    log::error!("a segment is damaged and set aside: path={}", aside.display());
    super::disk::rename(path, &aside)
}

/// Where a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    reach: Reach,
    /// Whether nothing but zeros stands behind it.
    is_clean: bool,
    /// Behind what was written there and never acknowledged.
    torn: Option<u64>,
}

/// Walks a segment from frame to frame. One that is not whole ends it, unless it must have been: then it is
/// left to the reader, and what follows counts. Where the channel was closed behind an event, what follows
/// that is a put that failed.
fn end(segment: &Segment, durable: u64, closed: Option<u64>) -> io::Result<End> {
    let (mut at, mut sequence, limit) = (START, segment.first(), segment.size());
    let mut window = Window::default();
    // From the first gap on: where the last byte stands, and what the frames there say of what stood on the disk
    // before them.
    let mut behind = None;
    loop {
        let step = if closed == Some(sequence) {
            Step::End
        } else {
            segment.step(&mut window, at, limit, 0)?
        };
        let spoilt = match step {
            Step::Frame(header, _) if header.first == sequence => {
                (at, sequence) = (at + header.size(), header.end());
                continue;
            }
            Step::Spoilt(header) if header.first == sequence => Some(header),
            _ => None,
        };
        let (written, evidence) = *behind.get_or_insert_with(|| {
            let written = segment.written_end(at, limit);
            (written, written.map_or(durable, |_| durable.max(all_say(segment, at, limit))))
        });
        if sequence < evidence {
            let next = match spoilt {
                Some(header) => Some((at + header.size(), header.end())),
                None => {
                    let found = segment.find(at, limit, |header| header.first >= sequence);
                    found.map(|(at, header)| (at, header.first))
                }
            };
            match next {
                Some(next) => {
                    (at, sequence) = next;
                    continue;
                }
                None => sequence = evidence,
            }
            let reach = Reach { sequence, segment: segment.first(), offset: limit };
            return Ok(End { reach, is_clean: false, torn: None });
        }
        let reach = Reach { sequence, segment: segment.first(), offset: at };
        let torn = written.filter(|written| *written > at);
        return Ok(End { reach, is_clean: torn.is_none(), torn });
    }
}

/// What all frames from here on say of what stood on the disk before them.
fn all_say(segment: &Segment, at: u64, limit: u64) -> u64 {
    let (mut at, mut durable) = (at, 0);
    while let Some((next, header)) = segment.find(at, limit, |_| true) {
        durable = durable.max(header.durable);
        at = next + 8;
    }
    durable
}
