//! Writes events into topics of Kafka.
//!
//! A batch is committed when the brokers have all of it, whichever answered first; meanwhile the next are on
//! their way, and all are committed in their order. Where the brokers do not take a batch, it and those
//! behind it go back to the channel, and what was written of them is written again: at least once.
//! Within the client nothing is doubled or reordered: it is idempotent, unless `kafka.producer.acks` says
//! less than `all`.
//!
//! With `exactlyOnce = true` and a file channel, each take is a transaction of Kafka's, in which the channel's position travels: a kill doubles nothing.
//!
//! An event that no broker will ever take is a dead letter: `too_large`, `bad_topic`, `bad_partition`, or
//! `refused` by the broker, as one without a key is by a compacted topic.

mod error;
mod once;
mod route;
mod stream;
mod writer;

use std::fmt;
use std::time::Duration;

use rdkafka::producer::BaseProducer;

use self::error::Error;
use self::once::Once;
use self::route::Route;
use self::stream::Stream;
use super::{Failure, Tap, Turn};
use crate::counters::Sink as Count;
use crate::kafka::client::{self, Properties, Role};
use crate::keys::Keys;

/// The client that writes.
type Client = BaseProducer<writer::Reports>;

/// What the client is unless the keys say otherwise.
const DEFAULTS: [(&str, &str); 6] = [
    // As a producer in Java: the same partitions for the same keys, the same memory, the same patience.
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.kbytes", "32768"),
    ("delivery.timeout.ms", "120000"),
    // As many as are taken at once have room.
    ("queue.buffering.max.messages", "1000000"),
    // How large a message may be is for the brokers to say; a batch stays below what topics usually take.
    ("message.max.bytes", "16777216"),
    ("batch.size", "262144"),
];

/// How a sink writes.
#[derive(Clone, Debug)]
struct Settings {
    batch: usize,
    route: Route,
    properties: Properties,
    agent: String,
    exactly_once: bool,
}

impl Settings {
    /// The properties of a client that sends every message by itself.
    fn one_by_one(&self) -> Properties {
        let mut properties = self.properties.clone();
        properties.set("batch.num.messages", "1");
        properties
    }

    /// How long a message may be on its way.
    fn delivery_timeout(&self) -> Duration {
        let ms = self.properties.get("delivery.timeout.ms").and_then(|ms| ms.parse().ok());
        Duration::from_millis(ms.unwrap_or(120_000))
    }

    /// The name of the transactions. The channel's identity is in it: agents of one name on many machines, with
    /// channels of their own, do not shut each other out.
    fn transactional_id(&self, sink: &str, channel: &str) -> String {
        match self.properties.get("transactional.id") {
            Some(id) => id.to_owned(),
            None => format!("online-recall.{}.{sink}.{channel}", self.agent),
        }
    }
}

/// Writes events into topics.
pub struct Kafka {
    settings: Settings,
    work: Work,
}

/// How far it has come.
enum Work {
    Stopped,
    Streams(Box<Stream>),
    Transacts(Box<Once>),
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Kafka {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Kafka {
        let servers = client::servers(keys, Some("brokerList"));
        let mut batch = keys.count("flumeBatchSize", 100);
        for old in ["kafka.flumeBatchSize", "batchSize", "kafka.batchSize"] {
            if let Some(text) = keys.renamed(old, "flumeBatchSize") {
                match text.parse() {
                    Ok(number) if number >= 1 => batch = number,
                    _ => keys.wrong(old, &text, "a whole number from 1"),
                }
            }
        }
        let mut properties = Properties::read(keys, Role::Producer, &servers);
        for old in ["requiredAcks", "kafka.producer.requiredAcks"] {
            if let Some(acks) = keys.renamed(old, "kafka.producer.acks") {
                properties.set("acks", &acks);
            }
        }
        for old in ["key.serializer.class", "kafka.serializer.class"] {
            keys.ignore(old, "a key is the text of the header key, and a value the body");
        }
        let exactly_once = keys.flag("exactlyOnce", false);
        let route = Route::read(keys);
        judge(keys, &mut properties, exactly_once, &route);
        let settings =
            Settings { batch, route, properties, agent: keys.agent().to_owned(), exactly_once };
        Kafka { settings, work: Work::Stopped }
    }

    fn begin(&self, tap: &Tap) -> Result<Work, Failure> {
        Ok(if self.settings.exactly_once {
            Work::Transacts(Box::new(Once::start(&self.settings, tap)?))
        } else {
            Work::Streams(Box::new(Stream::start(&self.settings, tap)?))
        })
    }
}

/// Judges what the keys say of acknowledgements and transactions, and says the rest.
fn judge(keys: &Keys<'_>, properties: &mut Properties, exactly_once: bool, route: &Route) {
    const ACKS: &str = "kafka.producer.acks";
    let asked = properties.get("acks").map(str::to_owned);
    let waits_for_all = asked.as_deref().is_none_or(|acks| matches!(acks, "all" | "-1"));
    if asked.is_none() {
        keys.advise(
            ACKS,
            "acks is all here, and the client idempotent, where Flume's default is acks = 1: then nothing is lost \
             with the broker that leads",
        );
    }
    if !waits_for_all {
        keys.advise(ACKS, "with less than all an event is lost with the broker that alone has it");
    }
    properties.set_unless_given("enable.idempotence", if waits_for_all { "true" } else { "false" });
    let is_idempotent = properties.get("enable.idempotence") == Some("true");
    if is_idempotent && !waits_for_all {
        keys.mistaken("kafka.producer.enable.idempotence", "idempotence needs acks = all");
    }
    if exactly_once {
        if !waits_for_all || !is_idempotent {
            keys.mistaken("exactlyOnce", "it needs acks = all and an idempotent client");
        }
        if route.topic().is_none() {
            keys.mistaken(
                "exactlyOnce",
                "it needs a kafka.topic without %{header}, whose partition 0 carries the position; the header of \
                 topicHeader may still name other topics",
            );
        }
        // A message may not be on its way for longer than its transaction.
        let patience = properties.get("delivery.timeout.ms").and_then(|ms| ms.parse::<u64>().ok());
        let patience = patience.unwrap_or(60_000);
        properties.set_unless_given("delivery.timeout.ms", "60000");
        properties.set_unless_given("transaction.timeout.ms", &patience.max(60_000).to_string());
    } else if properties.remove("transactional.id").is_some() {
        let key = "kafka.producer.transactional.id";
        keys.mistaken(key, "transactions need exactlyOnce = true");
    }
    for (name, value) in DEFAULTS {
        properties.set_unless_given(name, value);
    }
    let mut whole = properties.clone();
    if exactly_once {
        whole.set_unless_given("transactional.id", "any");
    }
    whole.judge(keys, Role::Producer);
    let room: Option<u64> =
        properties.get("queue.buffering.max.kbytes").and_then(|kib| kib.parse().ok());
    if let Some(room) = room
        && room < 1024
    {
        keys.advise(
            "kafka.producer.buffer.memory",
            "it is less than 1 MiB: a larger event becomes a dead letter",
        );
    }
}

impl super::Sink for Kafka {
    fn batch(&self) -> usize {
        self.settings.batch
    }

    fn start(&mut self, tap: &Tap) -> Result<(), Failure> {
        self.work = Work::Stopped;
        let begun = self.begin(tap);
        let count = if begun.is_ok() {
            Count::ConnectionCreatedCount
        } else {
            Count::ConnectionFailedCount
        };
        tap.counters().add(count, 1);
        self.work = begun?;
        Ok(())
    }

    fn turn(&mut self, tap: &Tap) -> Result<Turn, Failure> {
        let turn = match &mut self.work {
            Work::Stopped => Err("it was not started".into()),
            Work::Streams(stream) => stream.turn(&self.settings, tap),
            Work::Transacts(once) => once.turn(&self.settings, tap),
        };
        if turn.is_err() {
            tap.counters().add(Count::EventWriteFail, 1);
            // What is on its way is given up, and goes back.
            self.work = Work::Stopped;
        }
        turn
    }

    fn settle(&mut self, tap: &Tap) -> Result<bool, Failure> {
        let Work::Streams(stream) = &mut self.work else { return Ok(true) };
        let settled = match stream.hand_over(&self.settings.route, tap) {
            Ok(_) => stream.settle(&self.settings, tap, true).map(|()| stream.is_empty()),
            Err(error) => Err(error),
        };
        if settled.is_err() {
            self.work = Work::Stopped;
        }
        settled
    }

    fn close(&mut self, tap: &Tap) -> Result<(), Failure> {
        if !matches!(self.work, Work::Stopped) {
            tap.counters().add(Count::ConnectionClosedCount, 1);
        }
        self.work = Work::Stopped;
        Ok(())
    }

    fn must_be_alone(&self) -> Option<&'static str> {
        self.settings.exactly_once.then_some("exactlyOnce")
    }
}

#[cfg(test)]
mod tests;
