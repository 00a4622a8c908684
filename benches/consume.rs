//! A bare consumer: what rdkafka alone reads of topics, one record after another, in one thread.
//!
//! ```text
//! consume bare|decoded SERVERS CLICKS ARTICLES RECORDS
//! ```
//!
//! Reads both topics from their beginnings until so many records have come. `decoded` makes events of
//! them, by the job's own decoder. Its settings are rdkafka's own, but that a queue which was full is
//! filled again soon; others were not compared.

use std::error::Error;
use std::time::Duration;

use online_recall::decode;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

mod figures;

use figures::{Figures, Stopwatch};

/// The program's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long a broker may take that is busy besides.
const LONG: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, how, servers, clicks, articles, records] = &args[..] else {
        return Err("usage: consume bare|decoded SERVERS CLICKS ARTICLES RECORDS".into());
    };
    let decoded = match how.as_str() {
        "bare" => false,
        "decoded" => true,
        other => return Err(format!("neither bare nor decoded: {other}").into()),
    };
    let records: u64 = records.parse()?;

    let stopwatch = Stopwatch::start()?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("fetch.queue.backoff.ms", "20")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for topic in [clicks, articles] {
        let metadata = consumer.fetch_metadata(Some(topic), LONG)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            partitions.add_partition_offset(topic, partition.id(), Offset::Offset(0))?;
        }
    }
    consumer.assign(&partitions)?;

    let mut figures = Figures::default();
    let mut read = 0;
    while read < records {
        let Some(record) = consumer.poll(LONG) else {
            return Err(format!("after {read} records none comes, and {records} are to be").into());
        };
        let record = record?;
        read += 1;
        if decoded {
            let bytes = record.payload().unwrap_or_default();
            if record.topic() == clicks {
                match decode::click(bytes) {
                    Ok(Some(_)) => figures.hits += 1,
                    Ok(None) => figures.others += 1,
                    Err(_) => figures.dead_letters += 1,
                }
            } else {
                match decode::new_article(bytes) {
                    Ok(_) => figures.new_articles += 1,
                    Err(_) => figures.dead_letters += 1,
                }
            }
        }
    }
    stopwatch.print(&figures)?;
    Ok(())
}
