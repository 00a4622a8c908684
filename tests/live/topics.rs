//! What stands in the topics of a site, read by a consumer that knows nothing of the job.

use std::time::Duration;

use online_recall::text;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use testing::kafka::{LONG, Topics};

/// A record, as it stands in its partition; its place there is its offset.
pub struct Record {
    /// Its timestamp in milliseconds since 1970.
    pub timestamp: i64,
    /// Its bytes; none of a tombstone.
    pub bytes: Vec<u8>,
}

/// The records of a partition that are left.
pub struct Left {
    first: u64,
    records: Vec<Record>,
}

impl Left {
    /// Those of a range.
    pub fn range(&self, from: u64, to: u64) -> &[Record] {
        let nth = |offset: u64| offset.saturating_sub(self.first) as usize;
        &self.records[nth(from)..nth(to)]
    }

    /// The offset after the last one.
    pub fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }
}

/// How many partitions a topic has.
pub fn partitions(member: &BaseConsumer, topic: &str) -> i32 {
    let metadata = member.fetch_metadata(Some(topic), LONG).unwrap();
    i32::try_from(metadata.topics()[0].partitions().len()).unwrap()
}

/// How many partitions of a topic this broker leads.
pub fn led_by(member: &BaseConsumer, topic: &str, broker: i32) -> usize {
    let metadata = member.fetch_metadata(Some(topic), LONG).unwrap();
    let led = |partition: &&MetadataPartition| partition.leader() == broker;
    metadata.topics()[0].partitions().iter().filter(led).count()
}

/// Where every partition of a topic begins and ends.
fn bounds(member: &BaseConsumer, topic: &str) -> Vec<(u64, u64)> {
    let bounds = |partition| {
        let (first, end) = member.fetch_watermarks(topic, partition, LONG).unwrap();
        (u64::try_from(first).unwrap(), u64::try_from(end).unwrap())
    };
    (0..partitions(member, topic)).map(bounds).collect()
}

/// Where every partition of a topic ends.
pub fn ends(member: &BaseConsumer, topic: &str) -> Vec<u64> {
    bounds(member, topic).into_iter().map(|(_, end)| end).collect()
}

/// All records of a topic, partition by partition. None may be none of a producer.
pub fn records(topics: &Topics, topic: &str) -> Vec<Left> {
    let member = topics.member("whoever-looks");
    let bounds = bounds(&member, topic);
    let none = |(first, _): &(u64, u64)| Left { first: *first, records: Vec::new() };
    let mut all: Vec<Left> = bounds.iter().map(none).collect();
    each_message(&member, topic, &bounds, |message| {
        let left = &mut all[usize::try_from(message.partition()).unwrap()];
        assert_eq!(u64::try_from(message.offset()).unwrap(), left.end(), "one is missing");
        left.records.push(Record {
            timestamp: message.timestamp().to_millis().expect("each has a timestamp"),
            bytes: message.payload().unwrap_or_default().to_vec(),
        });
    });
    all
}

/// The letters of a topic of dead letters, as the lines that they would be in a file.
pub fn letters(topics: &Topics, topic: &str) -> Vec<String> {
    let member = topics.member("whoever-looks");
    let bounds = bounds(&member, topic);
    let mut all = Vec::new();
    each_message(&member, topic, &bounds, |message| {
        let mut line = message.key().expect("its place").to_vec();
        let header = message.headers().unwrap().iter().find(|header| header.key == "reason");
        line.push(b'\t');
        line.extend(header.unwrap().value.unwrap());
        line.push(b'\t');
        text::escape(message.payload().unwrap_or_default(), &mut line);
        all.push(String::from_utf8(line).unwrap());
    });
    all
}

/// Reads all messages of a topic.
fn each_message(
    member: &BaseConsumer,
    topic: &str,
    bounds: &[(u64, u64)],
    mut take: impl FnMut(BorrowedMessage<'_>),
) {
    let mut list = TopicPartitionList::new();
    for partition in (0..).take(bounds.len()) {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    member.assign(&list).unwrap();
    let wanted: u64 = bounds.iter().map(|(first, end)| end - first).sum();
    for _ in 0..wanted {
        take(member.poll(LONG).expect("records come").unwrap());
    }
    assert!(member.poll(Duration::ZERO).is_none(), "nobody produces any more");
}
