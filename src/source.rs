//! Where records come from.
//!
//! A source reads records on threads of its own, cuts them into epochs and writes them, undecoded,
//! into the [`Feed`], from which all workers take:
//!
//! ```text
//!  begin(e) ─▶ push(chunk of e)* ─▶ close(cut of e) ─▶ begin(e + 1) ─▶ … ─▶ end
//!     │             │                    │
//!     │ waits while │ waits while the    └─▶ the committer binds e
//!     │ e is beyond │ queue is full
//!     │ the bound   └─▶ any worker takes it, decodes it and feeds the dataflow at e
//! ```
//!
//! What a source promises: the chunks of an epoch hold exactly the records of its cut's ranges, each
//! once (*contiguous*); the same ranges, read again, hold the same records (*replayable*); it never
//! holds more than a bounded number of bytes in memory, whatever a record's or a file's size.

mod feed;
pub mod files;
pub mod kafka;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dataflows::{Epoch, Place};
use serde::{Deserialize, Serialize};

pub use feed::{Feed, Next, Stopped};
pub use kafka::{Group, Kafka};

/// What the records of a partition are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topic {
    /// Clicks and the like: JSON objects.
    Clicks,
    /// New articles: `CHANNEL,ARTICLE`.
    Articles,
}

/// Where a run of records stands: a file, or a partition of a topic.
#[derive(Debug)]
pub struct Partition {
    /// What its records are.
    pub topic: Topic,
    /// The name that places begin with: the file as given, or `topic/partition`.
    pub name: Vec<u8>,
    /// What stands between name and offset in a place: `:` for files, `/` for topics.
    pub separator: u8,
    /// Its rank in the order of an epoch's records.
    pub ordinal: u32,
}

impl Partition {
    /// The place of the record at `offset`, as people read it.
    pub fn place(&self, offset: u64) -> Vec<u8> {
        let mut place = self.name.clone();
        place.push(self.separator);
        place.extend_from_slice(offset.to_string().as_bytes());
        place
    }
}

/// A record as read: bytes with a place and a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it stands.
    pub place: Place,
    /// Its timestamp in milliseconds since 1970, if it carries one.
    pub timestamp: Option<u64>,
    /// Its bytes, undecoded.
    pub bytes: &'a [u8],
}

/// A run of consecutive records of one partition and one epoch, undecoded.
#[derive(Debug)]
pub struct Chunk {
    /// The epoch that they belong to.
    pub epoch: Epoch,
    /// The partition that they stand in.
    pub partition: Arc<Partition>,
    /// The records.
    pub batch: Batch,
}

/// Consecutive records, as their source has them.
#[derive(Debug)]
pub enum Batch {
    /// Whole lines, each with its newline but for the last line of a file. A line that is longer than
    /// any record may be stands cut, though still too long.
    Lines {
        /// The offset of the first one.
        first: u64,
        /// The lines.
        lines: Bytes,
    },
    /// Messages of a topic, whose offsets may have gaps. One that is longer than any record may be
    /// stands cut, though still too long.
    Messages {
        /// The bytes of all of them, one after another.
        bytes: Vec<u8>,
        /// What each is.
        index: Vec<Message>,
    },
}

/// A message of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Its offset.
    pub offset: u64,
    /// Its timestamp in milliseconds since 1970; negative where it carries none.
    pub timestamp: i64,
    /// Where its bytes end in those of the batch; they begin where those before it end.
    pub end: usize,
}

impl Chunk {
    /// Its records, in order; of lines, each without the end of its line and the timestamp before it.
    pub fn records(&self) -> Records<'_> {
        let partition = self.partition.ordinal;
        match &self.batch {
            Batch::Lines { first, lines } => {
                Records::Lines(Lines { partition, offset: *first, rest: lines })
            }
            Batch::Messages { bytes, index } => {
                Records::Messages(Messages { partition, bytes, start: 0, index: index.iter() })
            }
        }
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        match &self.batch {
            Batch::Lines { lines, .. } => lines.len(),
            Batch::Messages { bytes, index } => bytes.len() + size_of_val(&index[..]),
        }
    }
}

/// The records of a [`Chunk`], in order.
#[derive(Clone, Debug)]
pub enum Records<'a> {
    /// Of lines.
    Lines(Lines<'a>),
    /// Of messages.
    Messages(Messages<'a>),
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        match self {
            Records::Lines(lines) => lines.next(),
            Records::Messages(messages) => messages.next(),
        }
    }
}

/// Records that are messages.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    partition: u32,
    bytes: &'a [u8],
    /// Where the next one begins.
    start: usize,
    index: std::slice::Iter<'a, Message>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let Message { offset, timestamp, end } = *self.index.next()?;
        let bytes = &self.bytes[self.start..end];
        self.start = end;
        let place = Place { partition: self.partition, offset };
        Some(Record { place, timestamp: u64::try_from(timestamp).ok(), bytes })
    }
}

/// Records that are lines.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    partition: u32,
    /// The offset of the next one.
    offset: u64,
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = match memchr::memchr(b'\n', self.rest) {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &self.rest[..0]),
        };
        let place = Place { partition: self.partition, offset: self.offset };
        self.rest = rest;
        self.offset += 1;
        let (timestamp, bytes) = split_timestamp(line.strip_suffix(b"\r").unwrap_or(line));
        Some(Record { place, timestamp, bytes })
    }
}

/// Takes off what Kafka's console consumer prints before a record; a line that does not begin so, to
/// the letter, is a record as it stands.
#[inline]
pub fn split_timestamp(line: &[u8]) -> (Option<u64>, &[u8]) {
    let stamped = match line.first() {
        Some(b'C') => line.strip_prefix(b"CreateTime:"),
        Some(b'L') => line.strip_prefix(b"LogAppendTime:"),
        Some(b'N') => return (None, line.strip_prefix(b"NO_TIMESTAMP\t").unwrap_or(line)),
        _ => None,
    };
    stamped.and_then(milliseconds).map_or((None, line), |(ms, record)| (Some(ms), record))
}

/// Splits `[0-9]{1,15}`, a tab and the rest.
fn milliseconds(stamped: &[u8]) -> Option<(u64, &[u8])> {
    let digits = stamped.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let record = stamped[digits..].strip_prefix(b"\t")?;
    let number = |ms, digit: &u8| ms * 10 + u64::from(digit - b'0');
    (1..=15).contains(&digits).then(|| (stamped[..digits].iter().fold(0, number), record))
}

/// How far an epoch reaches in one partition: the half-open range `from..to` of offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// What the records are.
    pub topic: Topic,
    /// The partition's name.
    pub partition: Vec<u8>,
    /// The first offset; for files, the first line, counted from 1.
    pub from: u64,
    /// The offset after the last one.
    pub to: u64,
    /// What the source must know beside `to` to go on there.
    pub position: Position,
}

/// What a source must know of a partition to go on in it, beside the offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// Of a file.
    File(files::Position),
    /// Of a partition of a topic: a checksum of the last record before the offset, by which a topic
    /// that was made anew is told from the one that was read; 0 where none was read.
    Topic(u64),
}

/// How far every partition has been read, by topic and name: the offset of the next record, and what
/// is known there.
pub type Reached = BTreeMap<(Topic, Vec<u8>), (u64, Position)>;

/// Which partitions of topics a process reads: of each topic every so-manieth, so that each process has as
/// many as any other, give or take one a topic. Topics of one partition go to different processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The index of the process.
    pub index: usize,
    /// How many processes there are.
    pub processes: usize,
}

impl Spread {
    /// All of them.
    pub const ALL: Spread = Spread { index: 0, processes: 1 };

    /// Whether a partition is among them.
    pub fn has(self, topic: Topic, number: i32) -> bool {
        let nth = number.unsigned_abs() as usize % self.processes;
        self.index
            == match topic {
                Topic::Clicks => nth,
                Topic::Articles => self.processes - 1 - nth,
            }
    }
}

/// What an epoch is: the ranges that it takes of every partition it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The epoch.
    pub epoch: Epoch,
    /// Its ranges, in the order in which they were read.
    pub ranges: Vec<Range>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(lines: &[u8]) -> Vec<(u64, Option<u64>, Vec<u8>)> {
        let partition =
            Partition { topic: Topic::Clicks, name: b"a".to_vec(), separator: b':', ordinal: 3 };
        let chunk = Chunk {
            epoch: Epoch(1),
            partition: Arc::new(partition),
            batch: Batch::Lines { first: 7, lines: Bytes::copy_from_slice(lines) },
        };
        let split = |record: Record<'_>| {
            assert_eq!(record.place.partition, 3);
            (record.place.offset, record.timestamp, record.bytes.to_vec())
        };
        chunk.records().map(split).collect()
    }

    #[test]
    fn every_line_is_a_record_also_an_empty_one_and_an_unended_one() {
        let found = records(b"a\n\n\r\nb");
        let bytes: Vec<(u64, &[u8])> = found.iter().map(|(at, _, it)| (*at, &it[..])).collect();
        assert_eq!(bytes, [(7, &b"a"[..]), (8, b""), (9, b""), (10, b"b")]);
        assert!(records(b"").is_empty());
    }

    #[test]
    fn a_message_is_a_record_as_it_stands_with_its_own_offset_and_timestamp() {
        let partition =
            Partition { topic: Topic::Clicks, name: b"t/2".to_vec(), separator: b'/', ordinal: 2 };
        let index = [(5, 9, 2), (8, -1, 2), (9, 0, 6)];
        let index = index.map(|(offset, timestamp, end)| Message { offset, timestamp, end });
        let batch = Batch::Messages { bytes: b"a\nb\r\n\r".to_vec(), index: index.to_vec() };
        let chunk = Chunk { epoch: Epoch(1), partition: Arc::new(partition), batch };
        let found: Vec<_> = chunk
            .records()
            .map(|record| (record.place.offset, record.timestamp, record.bytes))
            .collect();
        assert_eq!(found, [(5, Some(9), &b"a\n"[..]), (8, None, b""), (9, Some(0), b"b\r\n\r")]);
    }

    #[test]
    fn one_carriage_return_belongs_to_the_end_of_a_line() {
        for (line, record) in
            [(&b"a\r\n"[..], &b"a"[..]), (b"a\r", b"a"), (b"a\r\r\n", b"a\r"), (b"a\rb\n", b"a\rb")]
        {
            assert_eq!(records(line), [(7, None, record.to_vec())]);
        }
    }

    #[test]
    fn a_timestamp_is_taken_off_only_where_it_is_one_to_the_letter() {
        for (line, timestamp, record) in [
            ("CreateTime:1554891332000\t{}", Some(1_554_891_332_000), "{}"),
            ("LogAppendTime:0\t18,5", Some(0), "18,5"),
            ("CreateTime:007\t", Some(7), ""),
            ("CreateTime:999999999999999\ta", Some(999_999_999_999_999), "a"),
            ("NO_TIMESTAMP\ta\tb", None, "a\tb"),
            ("CreateTime:1\tCreateTime:2\tb", Some(1), "CreateTime:2\tb"),
            ("CreateTime:1000000000000000\ta", None, "CreateTime:1000000000000000\ta"),
            ("CreateTime:\ta", None, "CreateTime:\ta"),
            ("CreateTime:-1\ta", None, "CreateTime:-1\ta"),
            ("CreateTime:1 a", None, "CreateTime:1 a"),
            ("CreateTime:1", None, "CreateTime:1"),
            ("createTime:1\ta", None, "createTime:1\ta"),
            (" CreateTime:1\ta", None, " CreateTime:1\ta"),
            ("LogAppendTime:1x\ta", None, "LogAppendTime:1x\ta"),
            ("NO_TIMESTAMP:1\ta", None, "NO_TIMESTAMP:1\ta"),
            ("NO_TIMESTAMP", None, "NO_TIMESTAMP"),
        ] {
            let expected = [(7, timestamp, record.as_bytes().to_vec())];
            assert_eq!(records(format!("{line}\r\n").as_bytes()), expected, "{line}");
        }
    }
}
