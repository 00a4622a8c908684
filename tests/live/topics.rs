//! What stands in the topics of a site, read by a consumer that knows nothing of the job.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use testing::kafka::{LONG, Topics};

/// A record, as it stands in its partition; its place there is its offset.
pub struct Record {
    /// Its timestamp in milliseconds since 1970.
    pub timestamp: i64,
    /// Its bytes; none of a tombstone.
    pub bytes: Vec<u8>,
}

/// How many partitions a topic has.
pub fn partitions(member: &BaseConsumer, topic: &str) -> i32 {
    let metadata = member.fetch_metadata(Some(topic), LONG).unwrap();
    i32::try_from(metadata.topics()[0].partitions().len()).unwrap()
}

/// Where every partition of a topic ends.
pub fn ends(member: &BaseConsumer, topic: &str) -> Vec<u64> {
    let end = |partition| {
        let (_, end) = member.fetch_watermarks(topic, partition, LONG).unwrap();
        u64::try_from(end).unwrap()
    };
    (0..partitions(member, topic)).map(end).collect()
}

/// All records of a topic, partition by partition. None may be gone, or be none of a producer.
pub fn records(topics: &Topics, topic: &str) -> Vec<Vec<Record>> {
    let member = topics.member("whoever-looks");
    let ends = ends(&member, topic);
    let mut list = TopicPartitionList::new();
    for partition in (0..).take(ends.len()) {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    member.assign(&list).unwrap();
    let mut all: Vec<Vec<Record>> = ends.iter().map(|_| Vec::new()).collect();
    let wanted: u64 = ends.iter().sum();
    for _ in 0..wanted {
        let message = member.poll(LONG).expect("records come").unwrap();
        let records = &mut all[usize::try_from(message.partition()).unwrap()];
        assert_eq!(usize::try_from(message.offset()).unwrap(), records.len(), "one is missing");
        records.push(Record {
            timestamp: message.timestamp().to_millis().expect("each has a timestamp"),
            bytes: message.payload().unwrap_or_default().to_vec(),
        });
    }
    assert!(member.poll(Duration::ZERO).is_none(), "nobody produces any more");
    all
}
