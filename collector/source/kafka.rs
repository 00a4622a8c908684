//! Reads topics of Kafka, as a member of a group.
//!
//! A batch ends when it is full, or `batchDurationMillis` after its first record. Its offsets are committed
//! when the channels have it: a crash between the two reads it again. What is taken away from this member
//! before it was put is left to who has it then; what was put but not committed is not committed any more,
//! and read again there.
//!
//! While a channel is full, the source stays in its group: it reads nothing, and answers. `isolation.level`
//! is `read_committed`, where Java's clients begin with `read_uncommitted`: what was never committed is no
//! event.

mod batch;
mod member;
mod record;

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use self::batch::Batch;
use self::member::Member;
use self::record::Record;
use super::{Failure, Inlet, Stopped};
use crate::java_regex::JavaRegex;
use crate::kafka::client::{self, Properties, Role};
use crate::keys::Keys;
use crate::stop::Stop;

/// How long is waited for a record before something else is looked at.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often topics are looked for while there is none.
const NONE_YET: Duration = Duration::from_secs(5);

/// What the client is unless the keys say otherwise: memory stays small, and a queue that was full is filled
/// again at once.
const DEFAULTS: [(&str, &str); 5] = [
    ("group.id", "flume"),
    ("isolation.level", "read_committed"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "16777216"),
    ("fetch.queue.backoff.ms", "20"),
];

/// Why it does not read for now.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The client's properties do not go together.
    #[error("kafka's client refuses its configuration")]
    Configuration(#[source] Box<KafkaError>),
    /// Nobody answers.
    #[error("cannot ask kafka for its topics{}", because(heard.as_deref()))]
    Away {
        /// What the client has said of late.
        heard: Option<String>,
        /// How it failed.
        source: Box<KafkaError>,
    },
    /// What the topics are read from cannot be read.
    #[error("cannot read from kafka{}", because(heard.as_deref()))]
    Read {
        /// What the client has said of late.
        heard: Option<String>,
        /// How it failed.
        source: Box<KafkaError>,
    },
}

fn because(heard: Option<&str>) -> String {
    heard.map_or_else(String::new, |heard| format!(" ({heard})"))
}

/// Which topics are read.
#[derive(Debug)]
enum Topics {
    Named(Vec<String>),
    Matching(Box<JavaRegex>),
}

/// Reads topics.
pub struct Kafka {
    topics: Topics,
    properties: Properties,
    record: Record,
    batch: usize,
    duration: Duration,
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("topics", &self.topics)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

impl Kafka {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Kafka {
        if keys.is_given("kafka.bootstrap.servers") {
            keys.ignore("zookeeperConnect", "brokers are reached without ZooKeeper");
        } else {
            keys.refuse("zookeeperConnect", "name the brokers by kafka.bootstrap.servers");
        }
        keys.ignore(
            "migrateZookeeperOffsets",
            "offsets that still stand in ZooKeeper are not looked for: a first run of Flume 1.7 to 1.11 moves them",
        );
        let servers = client::servers(keys, None);
        let topics = topics(keys);
        let mut properties = Properties::read(keys, Role::Consumer, &servers);
        if let Some(group) = keys.renamed("groupId", "kafka.consumer.group.id") {
            properties.set("group.id", &group);
        }
        if properties.get("auto.offset.reset").is_none() {
            keys.advise(
                "kafka.consumer.auto.offset.reset",
                "it is latest, as in Flume: what stands in a topic or new partition before the group's first commit \
                 is not read (earliest reads it)",
            );
        }
        for (name, value) in DEFAULTS {
            properties.set_unless_given(name, value);
        }
        for name in ["enable.auto.commit", "enable.auto.offset.store"] {
            properties.set(name, "false");
        }
        properties.judge(keys, Role::Consumer);
        Kafka {
            topics,
            properties,
            record: Record::read(keys),
            batch: keys.count("batchSize", 1000),
            duration: keys.time("batchDurationMillis", Duration::from_millis(1), 1000),
        }
    }
}

fn topics(keys: &Keys<'_>) -> Topics {
    const NAMED: &str = "kafka.topics";
    const MATCHING: &str = "kafka.topics.regex";
    if let Some(pattern) = keys.text(MATCHING) {
        if keys.is_given(NAMED) {
            keys.ignore(NAMED, "kafka.topics.regex counts");
        }
        match JavaRegex::parse(&pattern) {
            Ok(pattern) => return Topics::Matching(Box::new(pattern)),
            Err(error) => keys.mistaken(MATCHING, error),
        }
        return Topics::Named(Vec::new());
    }
    let names = keys.renamed("topic", NAMED).unwrap_or_else(|| keys.required(NAMED));
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    Topics::Named(names.map(str::to_owned).collect())
}

/// The topics that are subscribed to, and when they were looked for.
#[derive(Default)]
struct Subscribed {
    topics: Vec<String>,
    looked: Option<Instant>,
}

impl Kafka {
    /// Subscribes to the topics, where they are due to be looked for.
    fn look(&self, member: &Member, subscribed: &mut Subscribed) -> Result<(), Error> {
        let age = self.properties.get("metadata.max.age.ms").and_then(|ms| ms.parse().ok());
        let age = if subscribed.topics.is_empty() {
            NONE_YET
        } else {
            Duration::from_millis(age.unwrap_or(300_000))
        };
        if subscribed.looked.is_some_and(|looked| looked.elapsed() < age) {
            return Ok(());
        }
        let first = subscribed.looked.replace(Instant::now()).is_none();
        let topics = match &self.topics {
            Topics::Named(_) if !first => return Ok(()),
            Topics::Named(topics) => {
                // A topic that is not there is read once it is; but it may be written wrongly.
                let there = member.topics()?;
                for topic in topics.iter().filter(|topic| !there.contains(topic)) {
                    log::warn!("there is no topic {topic} yet: it is read when it is made");
                }
                topics.clone()
            }
            Topics::Matching(pattern) => {
                let mut topics = member.topics()?;
                topics.retain(|topic| !topic.starts_with("__") && pattern.matches(topic));
                topics.sort_unstable();
                if topics.is_empty() {
                    log::warn!("there is no topic that matches {pattern} yet");
                }
                topics
            }
        };
        if topics != subscribed.topics {
            let names: Vec<_> = topics.iter().map(String::as_str).collect();
            let done = member.client().subscribe(&names);
            done.map_err(|error| Error::Read { heard: member.ear().last(), source: error.into() })?;
            subscribed.topics = topics;
        }
        Ok(())
    }

    /// Reads until the batch is full, or it is time, or nothing may be read any more.
    fn fill(
        &self,
        (batch, put): (&mut Batch, &mut Batch),
        member: &Member,
        inlet: &Inlet,
        stop: &Stop,
    ) -> Result<(), Error> {
        let mut end = (!batch.events.is_empty()).then(|| Instant::now() + self.duration);
        while batch.events.len() < self.batch {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            let patience = left.unwrap_or(PATIENCE).min(PATIENCE);
            let polled = member.client().poll(patience);
            let lost = member.lost();
            batch.leave(&lost);
            put.leave(&lost);
            match polled {
                Some(Ok(message)) => {
                    end.get_or_insert_with(|| Instant::now() + self.duration);
                    batch.push(&message, &self.record, member, inlet);
                }
                Some(Err(error)) => self.judge(error, member)?,
                None if end.is_none() || stop.is_stopped() => break,
                None => {}
            }
        }
        Ok(())
    }

    /// What the client says in place of a record.
    fn judge(&self, source: KafkaError, member: &Member) -> Result<(), Error> {
        let fails = matches!(source, KafkaError::MessageConsumptionFatal(_))
            || matches!(
                source.rdkafka_error_code(),
                Some(
                    Code::AutoOffsetReset
                        | Code::TopicAuthorizationFailed
                        | Code::GroupAuthorizationFailed
                        | Code::SaslAuthenticationFailed
                        | Code::Authentication
                )
            );
        if fails {
            return Err(Error::Read { heard: member.ear().last(), source: source.into() });
        }
        member.ear().warn(format_args!("something cannot be read now: error={source}"));
        Ok(())
    }

    /// Puts a batch, and commits its offsets. While a channel has no room the group is answered; what was read
    /// ahead then is returned.
    fn put(
        &self,
        batch: &mut Batch,
        member: &Member,
        inlet: &Inlet,
        stop: &Stop,
    ) -> Result<Batch, Stopped> {
        let events = std::mem::take(&mut batch.events);
        let events = events.into_iter().map(|(event, _)| event).collect();
        let (mut ahead, mut lost, mut stands) = (Batch::default(), Vec::new(), false);
        let put = inlet.persist_beside(events, stop, || {
            if !stands {
                member.stand(true);
                stands = true;
            }
            while let Some(polled) = member.client().poll(Duration::ZERO) {
                match polled {
                    Ok(message) => ahead.push(&message, &self.record, member, inlet),
                    Err(error) => log::debug!("while a channel is full: error={error}"),
                }
            }
            let now = member.lost();
            ahead.leave(&now);
            lost.extend(now);
        });
        if stands {
            member.stand(false);
        }
        put?;
        batch.leave(&lost);
        member.commit(&batch.next, CommitMode::Async);
        Ok(ahead)
    }
}

impl super::Source for Kafka {
    fn batch(&self) -> usize {
        self.batch
    }

    fn run(&mut self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        let member = Member::new(format!("source {}", inlet.name()), &self.properties)?;
        let mut subscribed = Subscribed::default();
        // The second is what was put last, for its offsets.
        let (mut batch, mut put) = (Batch::default(), Batch::default());
        while !stop.is_stopped() {
            self.look(&member, &mut subscribed)?;
            if subscribed.topics.is_empty() {
                stop.wait(PATIENCE);
                continue;
            }
            self.fill((&mut batch, &mut put), &member, inlet, stop)?;
            if batch.next.is_empty() {
                continue;
            }
            let Ok(ahead) = self.put(&mut batch, &member, inlet, stop) else { break };
            put = std::mem::replace(&mut batch, ahead);
        }
        // What became of the last commit is not known otherwise.
        member.commit(&put.next, CommitMode::Sync);
        Ok(())
    }

    fn may_set(&self, header: &str) -> bool {
        self.record.may_set(header)
    }
}

#[cfg(test)]
mod tests;
