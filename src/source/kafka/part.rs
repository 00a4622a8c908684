//! A partition as it is read: how far, with what of the open epoch.

use std::sync::Arc;

use flate2::Crc;

use crate::decode::MAX_RECORD;
use crate::kafka;
use crate::source::{self, Batch, Chunk, Message, Position, Range, Topic};
use dataflows::Epoch;

/// How many bytes of records make a chunk.
const CHUNK_BYTES: usize = 64 << 10;

/// A partition as it is read.
pub(super) struct Part {
    pub partition: kafka::Partition,
    /// The topic's id; 0 where the servers give it none.
    pub topic_id: u128,
    source: Arc<source::Partition>,
    /// The offset to be read next.
    pub next: u64,
    /// The offset up to which nothing is left: beyond `next` where no record stands there.
    pub passed: u64,
    /// Where the range of the open epoch begins.
    from: u64,
    /// Of the last record that left this part in a chunk.
    checksum: u64,
    /// The records of the open epoch that are in no chunk yet.
    bytes: Vec<u8>,
    index: Vec<Message>,
    /// Whether the open epoch has records of it.
    touched: bool,
    /// Whether its end was found behind the last record.
    at_end: bool,
    /// Whether Kafka has it no more, and it is passed over.
    pub gone: bool,
    /// How often in a row it could not be read.
    pub failures: u32,
    /// The time up to which all its records are read, in milliseconds since 1970.
    pub seen: Option<u64>,
}

/// A checksum of a record, never 0: the id of the topic that it was read from, its date, and its bytes,
/// as far as they are kept.
///
/// The id is the one that the topic had when it was looked at last: what is read of another topic before
/// that is noticed has a checksum that it will not have again.
pub(super) fn checksum(topic_id: u128, timestamp: i64, kept: &[u8]) -> u64 {
    let crc = |bytes: &[u8]| {
        let mut crc = Crc::new();
        crc.update(bytes);
        u64::from(crc.sum())
    };
    let around = [&topic_id.to_le_bytes()[..], &timestamp.to_le_bytes()].concat();
    (crc(kept) << 32 | crc(&around)).max(1)
}

/// What is kept of a record: of one that is too long no more than tells that.
pub(super) fn kept(value: Option<&[u8]>) -> &[u8] {
    let value = value.unwrap_or_default();
    &value[..value.len().min(MAX_RECORD + 1)]
}

/// A record's date in milliseconds since 1970; negative where it carries none.
pub(super) fn date(timestamp: kafka::Timestamp) -> i64 {
    timestamp.to_millis().unwrap_or(-1)
}

impl Part {
    /// A partition that is read from there on.
    pub fn new(
        topic: Topic,
        (partition, topic_id): (kafka::Partition, u128),
        next: u64,
        checksum: u64,
    ) -> Part {
        // The order of an epoch's records: by topic, then by number.
        let number = partition.number.unsigned_abs();
        let ordinal = match topic {
            Topic::Clicks => number,
            Topic::Articles => number | 1 << 31,
        };
        let name = partition.to_string().into_bytes();
        let source = Arc::new(source::Partition { topic, name, separator: b'/', ordinal });
        Part {
            partition,
            topic_id,
            source,
            next,
            passed: next,
            from: next,
            checksum,
            bytes: Vec::new(),
            index: Vec::new(),
            touched: false,
            at_end: false,
            gone: false,
            failures: 0,
            seen: None,
        }
    }

    /// What it is read for.
    pub fn topic(&self) -> Topic {
        self.source.topic
    }

    /// Its rank in the order of an epoch's records.
    pub fn ordinal(&self) -> u32 {
        self.source.ordinal
    }

    /// Its name in places and in the ledger.
    pub fn name(&self) -> &[u8] {
        &self.source.name
    }

    /// Takes a record, and says how many bytes of it; none if it was read before, which may be found
    /// again after partitions were assigned anew.
    pub fn take(
        &mut self,
        offset: u64,
        timestamp: i64,
        value: Option<&[u8]>,
        now: u64,
    ) -> Option<usize> {
        if offset < self.next {
            return None;
        }
        let kept = kept(value);
        self.bytes.extend_from_slice(kept);
        self.index.push(Message { offset, timestamp, end: self.bytes.len() });
        self.next = offset + 1;
        self.passed = self.next;
        self.touched = true;
        self.at_end = false;
        self.failures = 0;
        if let Ok(time) = u64::try_from(timestamp) {
            self.seen = self.seen.max(Some(time.min(now)));
        }
        Some(kept.len())
    }

    /// Notes that its end was found there.
    pub fn end_at(&mut self, offset: u64) {
        if offset >= self.next {
            self.passed = offset;
            self.at_end = true;
            self.failures = 0;
        }
    }

    /// Notes that nothing was waiting to be taken, then.
    pub fn drained(&mut self, time: u64) {
        if self.at_end {
            self.seen = self.seen.max(Some(time));
        }
    }

    /// Whether its topic, which has this id now, is another than the one that was read.
    pub fn is_of_another(&self, topic_id: u128) -> bool {
        self.topic_id != 0 && topic_id != 0 && self.topic_id != topic_id
    }

    /// Whether so many of its records wait that they make a chunk.
    pub fn is_full(&self) -> bool {
        self.bytes.len() + size_of_val(&self.index[..]) >= CHUNK_BYTES
    }

    /// The records that wait, as a chunk.
    pub fn chunk(&mut self, epoch: Epoch) -> Option<Chunk> {
        self.checksum = self.last()?;
        let batch = Batch::Messages {
            bytes: std::mem::take(&mut self.bytes),
            index: std::mem::take(&mut self.index),
        };
        Some(Chunk { epoch, partition: Arc::clone(&self.source), batch })
    }

    /// The checksum of the last record that was read; 0 if there was none.
    pub fn mark(&self) -> u64 {
        self.last().unwrap_or(self.checksum)
    }

    fn last(&self) -> Option<u64> {
        let last = self.index.last()?;
        let start = self.index.len().checked_sub(2).map_or(0, |before| self.index[before].end);
        Some(checksum(self.topic_id, last.timestamp, &self.bytes[start..last.end]))
    }

    /// Ends its range of the open epoch, if it has one: all its records are in chunks.
    pub fn close(&mut self) -> Option<Range> {
        if !std::mem::take(&mut self.touched) {
            return None;
        }
        let from = std::mem::replace(&mut self.from, self.next);
        Some(Range {
            topic: self.source.topic,
            partition: self.source.name.clone(),
            from,
            to: self.next,
            position: Position::Topic(self.checksum),
        })
    }

    /// Ends its range of an epoch that was bound before.
    pub fn close_bound(&mut self, to: u64) {
        self.touched = false;
        self.at_end = false;
        self.next = self.next.max(to);
        self.passed = self.next;
        self.from = to;
    }

    /// Whether its next range begins there.
    pub fn goes_on_at(&self, offset: u64) -> bool {
        self.from == offset
    }

    /// Passes over what is gone: the range of the open epoch spans it.
    pub fn pass_to(&mut self, earliest: u64) {
        self.next = self.next.max(earliest);
        self.passed = self.next;
        self.at_end = false;
    }

    /// Begins again, in a topic that was made anew: no epoch is open that has records of it.
    pub fn begin_again(&mut self, topic_id: u128, earliest: u64) {
        assert!(!self.touched, "what was read of a topic is closed before it begins again");
        let (topic, partition) = (self.source.topic, (self.partition.clone(), topic_id));
        *self = Part { seen: self.seen, ..Part::new(topic, partition, earliest, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> Part {
        let partition = kafka::Partition { topic: "t".into(), number: 3 };
        Part::new(Topic::Clicks, (partition, 5), 10, 7)
    }

    #[test]
    fn a_range_ends_after_its_last_record_and_the_next_begins_there() {
        let mut part = part();
        assert_eq!(part.close(), None);
        assert_eq!(part.take(12, 5, Some(b"ab"), 100), Some(2));
        assert_eq!(part.take(15, -1, None, 100), Some(0));
        assert_eq!(part.take(15, -1, Some(b"again"), 100), None, "it was read before");
        part.end_at(17);
        let chunk = part.chunk(Epoch(1)).unwrap();
        let found: Vec<_> =
            chunk.records().map(|it| (it.place.offset, it.bytes.to_vec())).collect();
        assert_eq!(found, [(12, b"ab".to_vec()), (15, Vec::new())]);
        let range = part.close().unwrap();
        assert_eq!((range.from, range.to, &range.partition[..]), (10, 16, &b"t/3"[..]));
        assert_eq!(range.position, Position::Topic(checksum(5, -1, b"")));
        part.take(17, 6, Some(b"c"), 100);
        part.chunk(Epoch(2)).unwrap();
        assert_eq!(part.close().map(|range| (range.from, range.to)), Some((16, 18)));
    }

    #[test]
    fn a_record_that_is_too_long_is_cut_and_still_too_long() {
        let mut part = part();
        let value = vec![b'x'; MAX_RECORD + 1000];
        assert_eq!(part.take(10, 0, Some(&value), 0), Some(MAX_RECORD + 1));
        assert_eq!(part.take(11, 0, Some(&value[..MAX_RECORD]), 0), Some(MAX_RECORD));
    }

    #[test]
    fn the_mark_is_that_of_the_last_record_in_a_chunk_or_not() {
        let mut part = part();
        assert_eq!(part.mark(), 7);
        part.take(10, 1, Some(b"a"), 0);
        part.take(11, 2, Some(b"b"), 0);
        let mark = part.mark();
        assert_eq!(mark, checksum(5, 2, b"b"));
        part.chunk(Epoch(1)).unwrap();
        assert_eq!(part.mark(), mark);
        for other in [checksum(5, 1, b"b"), checksum(5, 2, b"c"), checksum(6, 2, b"b")] {
            assert_ne!(other, mark);
        }
    }

    #[test]
    fn all_is_seen_up_to_the_last_date_or_while_at_the_end_up_to_now() {
        let mut part = part();
        part.drained(50);
        assert_eq!(part.seen, None, "its end is not known");
        part.take(10, 30, Some(b"a"), 100);
        assert_eq!(part.seen, Some(30));
        part.take(11, 900, Some(b"a"), 100);
        assert_eq!(part.seen, Some(100), "a date to come is none");
        part.end_at(12);
        part.drained(150);
        assert_eq!(part.seen, Some(150));
        part.take(12, 160, Some(b"a"), 200);
        part.drained(300);
        assert_eq!(part.seen, Some(160));
    }
}
