//! Kafka's clients: how one is configured and ends, what it is asked, and what it says when it fails.
//!
//! ```text
//!  [kafka.properties] ─┐                ┌─▶ Consumer ─▶ topics, offsets, commits
//!                      ├─▶ Access ──────┼─▶ Messages ─▶ batches of records
//!  --command-config ───┘                ├─▶ producer
//!    (Java's names)                     └─▶ admin
//! ```
//!
//! What the library gets wrong, or leaves to its caller, is dealt with here and nowhere else: a list of
//! partitions that outlives its call keeps a client from ending, so none does; a client that does not
//! end is left behind after a while; an unknown topic is asked for, since assigning it says nothing.

mod ask;
mod error;
mod native;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use collector::kafka::java;
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{NoCustomPartitioner, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::config::{self, Text};

pub use ask::At;
pub use collector::kafka::java::Unreadable;
pub use error::Error;
pub use native::{Found, Messages, What};
pub use rdkafka::message::Timestamp;
pub use rdkafka::types::RDKafkaErrorCode as Code;

/// What a consumer is, whatever the configuration says beside: the job itself knows where it reads.
const CONSUMER: [(&str, &str); 6] = [
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
];

/// What a consumer is unless the configuration says otherwise: memory stays small, and a queue that was
/// full is filled again at once.
const CONSUMER_DEFAULTS: [(&str, &str); 3] = [
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "16777216"),
    ("fetch.queue.backoff.ms", "20"),
];

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number in it.
    pub number: i32,
}

impl Partition {
    /// Reads `topic/number`, as places and the ledger name it.
    pub fn parse(name: &[u8]) -> Option<Partition> {
        let (topic, number) = str::from_utf8(name).ok()?.rsplit_once('/')?;
        let number = number.parse().ok().filter(|number| *number >= 0)?;
        Some(Partition { topic: topic.into(), number })
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// How a cluster is reached: librdkafka's properties, by name.
#[derive(Clone)]
pub struct Access {
    properties: BTreeMap<String, Text>,
    /// The options by which a command reaches it likewise.
    options: String,
}

impl Access {
    /// As a job's configuration has it.
    pub fn of(config: &config::Kafka) -> Access {
        let properties = config.properties.clone();
        let servers = properties.get("bootstrap.servers").map_or("", Text::shown);
        let options = match &config.file {
            Some(file) if properties.keys().any(|name| java::is_of_security(name)) => {
                format!("--config {}", file.display())
            }
            _ => format!("--bootstrap-server {servers}"),
        };
        Access { properties, options }
    }

    /// As a command line has it: the servers, and a file of properties by the names that Kafka's own
    /// tools give them.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or says something that is not understood.
    pub fn to(servers: &str, command_config: Option<&Path>) -> Result<Access, Error> {
        let mut options = format!("--bootstrap-server {servers}");
        let mut properties = match command_config {
            Some(path) => {
                options += &format!(" --command-config {}", path.display());
                let read = java::read(path);
                let failed = |what| Error::CommandConfig { path: path.to_owned(), what };
                let named = |(name, value)| (name, Text::from(value));
                read.map_err(failed)?.into_iter().map(named).collect()
            }
            None => BTreeMap::new(),
        };
        properties.insert("bootstrap.servers".to_owned(), Text::from(servers.to_owned()));
        Ok(Access { properties, options })
    }

    /// The options by which a command of this program reaches the same cluster, for errors that name one.
    pub fn options(&self) -> &str {
        &self.options
    }

    /// The servers, as they may be shown.
    pub fn servers(&self) -> &str {
        self.properties.get("bootstrap.servers").map_or("", Text::shown)
    }

    /// Makes a consumer that belongs to no group as a member, and may commit offsets to this one.
    ///
    /// # Errors
    ///
    /// If the configuration is refused; nothing is asked of a server yet.
    pub fn consumer(&self, group: &str) -> Result<Consumer, Error> {
        self.make_consumer(group, &self.config(&CONSUMER_DEFAULTS))
    }

    /// Makes a consumer whose records are taken by the batch.
    ///
    /// # Errors
    ///
    /// If the configuration is refused; nothing is asked of a server yet.
    pub fn messages(&self, group: &str) -> Result<Messages, Error> {
        let mut config = self.config(&CONSUMER_DEFAULTS);
        // Records are taken past the client's own loop, which would pass on what it logs. Whoever reads
        // has another client that asks, and is told what goes wrong.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        Ok(Messages::new(self.make_consumer(group, &config)?))
    }

    fn make_consumer(&self, group: &str, config: &ClientConfig) -> Result<Consumer, Error> {
        let mut config = config.clone();
        config.set("group.id", group);
        for (name, value) in CONSUMER {
            config.set(name, value);
        }
        let heard = Arc::new(Heard::default());
        let client = config.create_with_context(Ear(Arc::clone(&heard)));
        let client = client.map_err(Error::of_configuration)?;
        let (servers, options) = (self.servers().to_owned(), self.options.clone());
        Ok(Consumer { client: Some(client), heard, servers, options })
    }

    /// Makes a producer: idempotent, and with the partitions that a producer in Java takes for the same
    /// keys. `settings` are librdkafka's; the configuration passes over them.
    ///
    /// # Errors
    ///
    /// If the configuration is refused; nothing is asked of a server yet.
    pub fn producer<C, P>(&self, settings: &[(&str, &str)], context: C) -> Result<P, Error>
    where
        C: ProducerContext<NoCustomPartitioner>,
        P: FromClientConfigAndContext<C>,
    {
        let mut config = self.config(settings);
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        config.create_with_context(context).map_err(Error::of_configuration)
    }

    /// Makes a client that makes and deletes topics.
    ///
    /// # Errors
    ///
    /// If the configuration is refused; nothing is asked of a server yet.
    pub fn admin(&self) -> Result<AdminClient<Ear>, Error> {
        let config = self.config(&[]);
        config.create_with_context(Ear::default()).map_err(Error::of_configuration)
    }

    /// The same, with a property of librdkafka's set, whatever the configuration says.
    pub fn with(&self, name: &str, value: &str) -> Access {
        let mut access = self.clone();
        access.properties.insert(name.to_owned(), value.to_owned().into());
        access
    }

    fn config(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "online-recall");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value.as_str());
        }
        config
    }
}

/// A consumer, without a group's assignment: it reads what it is told to.
///
/// When it is dropped, its client ends on a thread of its own, so that a client that does not end holds
/// up nothing.
pub struct Consumer {
    client: Option<BaseConsumer<Ear>>,
    heard: Arc<Heard>,
    servers: String,
    options: String,
}

impl Consumer {
    /// Reads these partitions from these offsets on, and no others.
    ///
    /// # Errors
    ///
    /// If the client refuses.
    pub fn read<'a>(
        &self,
        from: impl IntoIterator<Item = (&'a Partition, u64)>,
    ) -> Result<(), Error> {
        let list = list(from)?;
        // Nothing is asked of a server here, and nothing may be polled: it could be a record.
        self.assign(&list).map_err(|error| Error::of("read partitions", error))
    }
}

impl Deref for Consumer {
    type Target = BaseConsumer<Ear>;

    fn deref(&self) -> &BaseConsumer<Ear> {
        self.client.as_ref().expect("a consumer has its client until it is dropped")
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        collector::kafka::end(move || {
            if let Err(error) = client.unassign() {
                log::debug!("cannot give up the partitions of a client that ends: error={error}");
            }
            drop(client);
        });
    }
}

/// Lists partitions with offsets; it must not outlive the call that it is made for.
fn list<'a>(
    offsets: impl IntoIterator<Item = (&'a Partition, u64)>,
) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        let offset = i64::try_from(offset).map_err(|_| Error::Offset(offset))?;
        let offset = rdkafka::Offset::Offset(offset);
        let added = list.add_partition_offset(&partition.topic, partition.number, offset);
        added.map_err(|error| Error::of("name partitions", error))?;
    }
    Ok(list)
}

/// The last failure that a client has told of by itself: why servers do not answer.
#[derive(Debug, Default)]
struct Heard {
    last: Mutex<Option<String>>,
    refused: AtomicBool,
}

/// Hears what a client says by itself. Whoever asks logs that nobody answers, and why; so what is heard
/// is for debugging alone.
#[derive(Debug, Default)]
pub struct Ear(Arc<Heard>);

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log::debug!("librdkafka says: level={level:?} facility={facility} message={message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::debug!("librdkafka says: error={error} reason={reason}");
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ConsumerContext for Ear {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result
            && !self.0.refused.swap(true, Ordering::Relaxed)
        {
            log::warn!(
                "the group's offsets are refused, which lag tools alone look at; not logged again: \
                 error={error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_known_by_its_name() {
        let partition = Partition { topic: "a.b-c_d".into(), number: 12 };
        assert_eq!(Partition::parse(partition.to_string().as_bytes()), Some(partition));
        for name in ["", "a", "a/", "a/-1", "a/x", "a/2147483648"] {
            assert_eq!(Partition::parse(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_property_that_there_is_not_is_named() {
        let mut access = Access::to("127.0.0.1:1", None).unwrap();
        access.properties.insert("fetch.max.byte".to_owned(), Text::from("1".to_owned()));
        let error = access.consumer("g").map(drop).unwrap_err();
        assert!(error.to_string().contains("fetch.max.byte"), "{error}");
    }

    #[test]
    fn a_client_that_was_told_to_read_ends() {
        let consumer = Access::to("127.0.0.1:1", None).unwrap().consumer("g").unwrap();
        let partition = Partition { topic: "t".into(), number: 0 };
        consumer.read([(&partition, 5)]).unwrap();
        drop(consumer);
    }
}
