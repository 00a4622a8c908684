//! For tests: keys as a file would have them, channels, and what stands in topics.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use testing::kafka::LONG;

use crate::channel::{Channel, memory};
use crate::event::Event;
use crate::findings::{Finding, Findings};
use crate::keys::Keys;
use crate::properties::Property;

/// What these keys come to for whoever asks, and what is found wrong with them.
pub fn keys<T>(
    path: &str,
    given: &[(&str, &str)],
    ask: impl FnOnce(&Keys<'_>) -> T,
) -> (T, Vec<String>) {
    let property = |(at, (key, value)): (usize, &(&str, &str))| Property {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        line: at + 1,
    };
    let given: Vec<_> = given.iter().enumerate().map(property).collect();
    let findings = Findings::default();
    let given = given.iter().map(|property| (property.key.clone(), property));
    let keys = Keys::new("a1", path, given, &findings);
    let answer = ask(&keys);
    keys.finish();
    (answer, findings.into_sorted().iter().map(Finding::to_string).collect())
}

/// A channel in memory for so many events.
pub fn channel(capacity: usize) -> Arc<dyn Channel> {
    let capacity = capacity.to_string();
    let given =
        [("capacity", &*capacity), ("transactionCapacity", &*capacity), ("keep-alive", "0")];
    let (settings, found) = keys("channels.c1", &given, memory::Settings::read);
    assert!(found.is_empty(), "{found:?}");
    memory::Channel::new("c1", &settings)
}

/// Puts events into a channel.
pub fn put(channel: &Arc<dyn Channel>, mut events: Vec<Event>) {
    Arc::clone(channel).reserve(&events).ok().unwrap().commit(&mut events, None).unwrap();
}

/// Takes all that is in a channel.
pub fn drain(channel: &Arc<dyn Channel>) -> Vec<Event> {
    let taken = Arc::clone(channel).take(usize::MAX, Duration::ZERO).unwrap();
    let events = taken.events().to_vec();
    taken.commit().unwrap();
    events
}

/// Calls this with every committed record of a topic, a partition after another, to where its end is now.
pub fn read(servers: &str, topic: &str, mut each: impl FnMut(&BorrowedMessage<'_>)) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "reader");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), LONG).unwrap();
    let partitions: Vec<_> = metadata.topics()[0].partitions().iter().map(|one| one.id()).collect();
    {
        let mut list = TopicPartitionList::new();
        for &partition in &partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
    }
    let mut ends = 0;
    while ends < partitions.len() {
        match consumer.poll(LONG).expect("a topic has an end") {
            Ok(message) => each(&message),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The values of a topic, as texts.
pub fn values(servers: &str, topic: &str) -> Vec<String> {
    let mut values = Vec::new();
    read(servers, topic, |message| {
        values.push(String::from_utf8_lossy(message.payload().unwrap()).into_owned());
    });
    values
}

/// How many records were ever written to a topic of one partition, with what is no event of them.
pub fn end(servers: &str, topic: &str) -> i64 {
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer =
        config.set("bootstrap.servers", servers).set("group.id", "reader").create().unwrap();
    consumer.fetch_watermarks(topic, 0, LONG).unwrap().1
}
