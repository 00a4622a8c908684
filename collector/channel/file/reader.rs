//! Where events are taken: frames, read one by one from the first segment on.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::acks::Acks;
use super::disk;
use super::frame::{self, Header};
use super::gate::Reach;
use super::segment::{Id, START, Segment, Step, Window};
use super::stock::Stock;
use crate::event::Event;

/// How often a place that cannot be read is tried before it counts as damaged.
const TRIES: u32 = 10;

/// The segments, where they are read.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    id: Id,
    /// The number of the next event to be read.
    cursor: u64,
    place: Option<Place>,
    window: Window,
    /// Events that were read or have come back, each with its number, in order.
    waiting: VecDeque<(u64, Event)>,
    /// How often the place could not be read.
    failed: u32,
}

#[derive(Debug)]
struct Place {
    segment: Segment,
    /// Where the next frame stands.
    at: u64,
    /// The number of its first event.
    sequence: u64,
}

/// Part of a segment that is no frame, with the events that stood there.
#[derive(Debug)]
struct Damage {
    bytes: Range<u64>,
    events: Range<u64>,
    /// Where the next frame stands.
    next: u64,
}

impl Reader {
    /// Reads from this event on.
    pub fn new(folder: &Path, id: Id, cursor: u64) -> Reader {
        Reader {
            folder: folder.to_owned(),
            id,
            cursor,
            place: None,
            window: Window::default(),
            waiting: VecDeque::new(),
            failed: 0,
        }
    }

    /// Takes back what was lent: it comes first again, in its order.
    pub fn take_back(&mut self, events: Vec<(u64, Event)>) {
        if events.is_empty() {
            return;
        }
        self.waiting.extend(events);
        self.waiting.make_contiguous().sort_by_key(|(sequence, _)| *sequence);
    }

    /// Hands out what is read and waits: numbers and events.
    pub fn hand_out(&mut self, most: usize) -> impl Iterator<Item = (u64, Event)> {
        self.waiting.drain(..most.min(self.waiting.len()))
    }

    /// Forgets what is below this event.
    pub fn skip_to(&mut self, sequence: u64) {
        self.waiting.retain(|(waiting, _)| *waiting >= sequence);
        if self.cursor < sequence {
            self.cursor = sequence;
            self.place = None;
        }
    }

    /// How many events it has in memory.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.waiting.len()
    }

    /// Reads until so many wait, or all are read. What is damaged is set aside, and done with; says how many
    /// events it was.
    pub fn fill(
        &mut self,
        most: usize,
        reach: Reach,
        (stock, acks): (&Stock, &Acks),
    ) -> io::Result<usize> {
        let mut damaged = 0;
        while self.waiting.len() < most && self.cursor < reach.sequence {
            let place = match self.place.take() {
                Some(place) => self.place.insert(place),
                None => {
                    self.window.clear();
                    let first = stock.segment_of(self.cursor).unwrap_or(reach.segment);
                    let segment = Segment::open(&self.folder, self.id, first)?;
                    self.place.insert(Place { segment, at: START, sequence: first })
                }
            };
            let (first, behind) = (place.segment.first(), stock.behind(place.segment.first()));
            let end = behind.map_or(reach.sequence, |(_, end)| end.min(reach.sequence));
            if place.sequence >= end {
                let next = behind.map_or(reach.sequence, |(next, _)| next);
                self.cursor = self.cursor.max(next);
                self.place = None;
                continue;
            }
            let limit = if first == reach.segment { reach.offset } else { place.segment.size() };
            let step = place.segment.step(&mut self.window, place.at, limit, self.cursor);
            // A frame that is whole and does not fit here is none of this place.
            let sequence = place.sequence;
            let fits = |header: &Header| header.first == sequence && header.end() <= end;
            let damage = match step {
                Ok(Step::Passed(header)) if fits(&header) => {
                    place.pass(&header);
                    continue;
                }
                Ok(Step::Frame(header, payload)) if fits(&header) => {
                    match frame::decode(&payload, header.count) {
                        Some(events) => {
                            place.pass(&header);
                            self.keep(&header, events, stock);
                            continue;
                        }
                        None => place.spoilt(&header),
                    }
                }
                Ok(Step::Spoilt(header)) if fits(&header) => place.spoilt(&header),
                Err(error) if self.failed < TRIES => {
                    self.failed += 1;
                    self.window.clear();
                    return Err(error);
                }
                Ok(_) | Err(_) => place.damage(end, limit),
            };
            set_aside(&place.segment, damage.bytes.clone(), "damaged")?;
            let open = stock.open(damage.events.clone());
            acks.commit(&open, 0)?;
            let lost: u64 = open.iter().map(|part| part.end - part.start).sum();
            // It may have been found at an earlier start.
            if lost > 0 {
                log::error!(
                    "part of a file is damaged and set aside: events={lost} path={} offset={} bytes={}",
                    place.segment.file().path().display(),
                    damage.bytes.start,
                    damage.bytes.end - damage.bytes.start
                );
            }
            damaged += lost as usize;
            (place.at, place.sequence) = (damage.next, damage.events.end);
            self.cursor = self.cursor.max(place.sequence);
            self.failed = 0;
        }
        Ok(damaged)
    }

    /// Lets those wait that are not done with.
    fn keep(&mut self, header: &Header, events: Vec<Event>, stock: &Stock) {
        let numbered = (header.first..).zip(events);
        let from = std::mem::replace(&mut self.cursor, header.end()).max(header.first);
        let mut open = stock.open(from..header.end()).into_iter().peekable();
        self.waiting.extend(numbered.filter(|(sequence, _)| {
            while open.next_if(|part| part.end <= *sequence).is_some() {}
            open.peek().is_some_and(|part| part.contains(sequence))
        }));
        self.failed = 0;
    }
}

impl Place {
    fn pass(&mut self, header: &Header) {
        self.at += header.size();
        self.sequence = header.end();
    }

    /// A frame of which all is known but its events.
    fn spoilt(&self, header: &Header) -> Damage {
        let next = self.at + header.size();
        Damage { bytes: self.at..next, events: self.sequence..header.end(), next }
    }

    /// What is no frame reaches to the next one.
    fn damage(&self, end: u64, limit: u64) -> Damage {
        let suits = |header: &Header| header.first >= self.sequence && header.end() <= end;
        match self.segment.find(self.at, limit, suits) {
            Some((next, header)) => {
                Damage { bytes: self.at..next, events: self.sequence..header.first, next }
            }
            None => {
                let written = self.segment.written_end(self.at, limit).unwrap_or(self.at);
                Damage { bytes: self.at..written, events: self.sequence..end, next: limit }
            }
        }
    }
}

/// Keeps part of a segment in a file beside it, which the channel does not touch again. Where the disk has
/// no room for it, the segment itself is kept by a second name.
pub fn set_aside(segment: &Segment, bytes: Range<u64>, why: &str) -> io::Result<()> {
    let path = segment.file().path();
    let aside = path.with_extension(format!("{}.{why}", bytes.start));
    if bytes.is_empty() || aside.exists() {
        return Ok(());
    }
    let length = (bytes.end - bytes.start) as usize;
    let content = segment.file().read_what_can_be(bytes.start, length);
    if let Err(error) = disk::write_whole(&aside, &content) {
        log::warn!("a whole segment is kept: path={} error={error}", path.display());
        std::fs::hard_link(path, &aside)?;
    }
    Ok(())
}
