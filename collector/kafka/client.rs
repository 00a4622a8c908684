//! The properties of one client of a component: what stands below `kafka.producer.` or `kafka.consumer.` in
//! Java's names. Each is told to librdkafka, or has no meaning here and is warned of, or is refused by name.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

use super::java::{self, Unreadable};
use crate::keys::{Keys, nearest};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It writes.
    Producer,
    /// It reads.
    Consumer,
}

/// What one of Java's properties is here.
#[derive(Clone, Copy, Debug)]
enum Here {
    /// It has the same name and meaning.
    Same,
    /// It has another name.
    Named(&'static str),
    /// It has another name, and is counted in KiB.
    InKiB(&'static str),
    /// A class, which must be one of these: then nothing is to be told.
    Must(&'static [&'static str], &'static str),
    /// A class or word that has another name.
    Words(&'static str, &'static [(&'static str, &'static str)]),
    /// It needs no telling: why.
    Ignored(&'static str),
    /// It is not understood: what to use instead.
    Refused(&'static str),
}
use Here::*;

const METRICS: Here = Ignored("what is counted is told by the collector itself");

const BOTH: &[(&str, Here)] = &[
    ("auto.include.jmx.reporter", METRICS),
    ("bootstrap.servers", Ignored("kafka.bootstrap.servers says it")),
    ("client.dns.lookup", Same),
    ("enable.metrics.push", METRICS),
    ("interceptor.classes", Refused("use the interceptors of a source")),
    ("metadata.recovery.rebootstrap.trigger.ms", Same),
    ("metadata.recovery.strategy", Same),
    ("metric.reporters", METRICS),
    ("metrics.num.samples", METRICS),
    ("metrics.recording.level", METRICS),
    ("metrics.sample.window.ms", METRICS),
    ("receive.buffer.bytes", Named("socket.receive.buffer.bytes")),
    ("request.timeout.ms", Named("socket.timeout.ms")),
    ("retry.backoff.max.ms", Same),
    ("retry.backoff.ms", Same),
    ("send.buffer.bytes", Named("socket.send.buffer.bytes")),
    ("socket.connection.setup.timeout.max.ms", Ignored("each try has the same time")),
];

const SERIALIZERS: &[&str] = &[
    "org.apache.kafka.common.serialization.StringSerializer",
    "org.apache.kafka.common.serialization.ByteArraySerializer",
];

const DESERIALIZERS: &[&str] = &[
    "org.apache.kafka.common.serialization.StringDeserializer",
    "org.apache.kafka.common.serialization.ByteArrayDeserializer",
];

const PARTITIONERS: &[(&str, &str)] = &[
    ("org.apache.kafka.clients.producer.internals.DefaultPartitioner", "murmur2_random"),
    ("org.apache.kafka.clients.producer.UniformStickyPartitioner", "random"),
];

const PRODUCER: &[(&str, Here)] = &[
    ("acks", Same),
    ("batch.size", Same),
    ("buffer.memory", InKiB("queue.buffering.max.kbytes")),
    ("compression.gzip.level", Named("compression.level")),
    ("compression.lz4.level", Named("compression.level")),
    ("compression.type", Same),
    ("compression.zstd.level", Named("compression.level")),
    ("delivery.timeout.ms", Same),
    ("enable.idempotence", Same),
    ("key.serializer", Must(SERIALIZERS, "a key is the text of the header key: StringSerializer")),
    ("linger.ms", Same),
    ("max.block.ms", Ignored("a sink waits for room as long as it takes")),
    ("max.in.flight.requests.per.connection", Same),
    ("max.request.size", Named("message.max.bytes")),
    ("metadata.max.idle.ms", Ignored("what is known of a topic is kept")),
    ("partitioner.adaptive.partitioning.enable", Ignored("there is no such choice")),
    ("partitioner.availability.timeout.ms", Ignored("there is no such choice")),
    ("partitioner.class", Words("partitioner", PARTITIONERS)),
    (
        "partitioner.ignore.keys",
        Words("partitioner", &[("true", "random"), ("false", "murmur2_random")]),
    ),
    ("producer.type", Ignored("it is always asynchronous, and waits for every report")),
    // An old name, which its reader has taken.
    ("requiredAcks", Must(&[], "")),
    ("retries", Same),
    ("transaction.timeout.ms", Same),
    ("transactional.id", Same),
    ("type", Ignored("it is always asynchronous, and waits for every report")),
    ("value.serializer", Must(SERIALIZERS, "a value is the body: ByteArraySerializer")),
];

const ASSIGNORS: &[(&str, &str)] = &[
    ("org.apache.kafka.clients.consumer.RangeAssignor", "range"),
    ("org.apache.kafka.clients.consumer.RoundRobinAssignor", "roundrobin"),
    ("org.apache.kafka.clients.consumer.CooperativeStickyAssignor", "cooperative-sticky"),
    (
        "org.apache.kafka.clients.consumer.RangeAssignor,org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        "range",
    ),
];

const COMMITS: Here = Ignored("offsets are committed when the channels have the batch");

const CONSUMER: &[(&str, Here)] = &[
    ("allow.auto.create.topics", Same),
    ("auto.commit.interval.ms", COMMITS),
    (
        "auto.offset.reset",
        Words(
            "auto.offset.reset",
            &[("earliest", "earliest"), ("latest", "latest"), ("none", "error")],
        ),
    ),
    ("check.crcs", Same),
    ("client.rack", Same),
    ("default.api.timeout.ms", Ignored("whoever asks waits as long as it takes")),
    ("enable.auto.commit", COMMITS),
    ("exclude.internal.topics", Ignored("internal topics match no expression")),
    ("fetch.max.bytes", Same),
    ("fetch.max.wait.ms", Named("fetch.wait.max.ms")),
    ("fetch.min.bytes", Same),
    ("group.id", Same),
    ("group.instance.id", Same),
    ("group.protocol", Same),
    ("group.remote.assignor", Same),
    ("heartbeat.interval.ms", Same),
    ("isolation.level", Same),
    (
        "key.deserializer",
        Must(DESERIALIZERS, "a key becomes the text of the header key: StringDeserializer"),
    ),
    ("max.partition.fetch.bytes", Same),
    ("max.poll.interval.ms", Same),
    ("max.poll.records", Ignored("batchSize says how many are put at once")),
    ("partition.assignment.strategy", Words("partition.assignment.strategy", ASSIGNORS)),
    ("session.timeout.ms", Same),
    ("value.deserializer", Must(DESERIALIZERS, "a value becomes a body: ByteArrayDeserializer")),
];

/// librdkafka's properties, by name. They may hold passwords: only their names are shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Properties {
    /// Reads what stands below `kafka.producer.` or `kafka.consumer.` of a component that reaches these
    /// servers.
    pub fn read(keys: &Keys<'_>, role: Role, servers: &str) -> Properties {
        let (prefix, own) = match role {
            Role::Producer => ("kafka.producer.", PRODUCER),
            Role::Consumer => ("kafka.consumer.", CONSUMER),
        };
        let key = |name: &str| format!("{prefix}{name}");
        let translated = java::translate(keys.below(prefix).into_iter().collect());
        for mistake in &translated.mistakes {
            let (name, text) = match mistake {
                Unreadable::Unknown(name) => (&**name, "it is not supported".to_owned()),
                Unreadable::Value { name, allowed } => (*name, format!("it must be {allowed}")),
                other => ("", other.to_string()),
            };
            keys.mistaken(&key(name), text);
        }
        let mut all = translated.properties;
        let known = || BOTH.iter().chain(own);
        for (name, value) in translated.left {
            let Some((_, here)) = known().find(|(known, _)| *known == name) else {
                let mut text = "it is no property of Kafka's client that is known here".to_owned();
                if let Some(nearest) = nearest(&name, known().map(|(known, _)| *known)) {
                    text += &format!("; did you mean {nearest}?");
                }
                keys.mistaken(&key(&name), text);
                continue;
            };
            let mut set = |here: &str, value: String| {
                all.insert(here.to_owned(), (value, name.clone()));
            };
            match *here {
                Same => set(&name, value),
                Named(here) => set(here, value),
                InKiB(here) => match value.parse::<u64>() {
                    Ok(bytes) => set(here, bytes.div_ceil(1024).to_string()),
                    Err(_) => keys.wrong(&key(&name), &value, "a whole number of bytes"),
                },
                Must(classes, allowed) => {
                    if !classes.is_empty() && !classes.contains(&&*value) {
                        keys.mistaken(
                            &key(&name),
                            format_args!("{value} is not supported; {allowed}"),
                        );
                    }
                }
                Words(here, words) => {
                    let wanted: String = value.split_whitespace().collect();
                    match words.iter().find(|(word, _)| *word == wanted) {
                        Some((_, meaning)) => set(here, (*meaning).to_owned()),
                        None => {
                            let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                            keys.wrong(&key(&name), &value, &allowed.join(", "));
                        }
                    }
                }
                Ignored(why) => keys.doubtful(&key(&name), format_args!("it has no effect: {why}")),
                Refused(instead) => {
                    keys.mistaken(&key(&name), format_args!("it is not supported; {instead}"));
                }
            }
        }
        // What librdkafka says of a value, it says now, with the line of its key.
        for (here, (value, name)) in &all {
            if let Err(error) = ClientConfig::new().set(here, value).create_native_config() {
                let reason = match error {
                    KafkaError::ClientConfig(_, reason, ..) => reason,
                    error => error.to_string(),
                };
                keys.mistaken(&key(name), reason);
            }
        }
        let named = all.into_iter().map(|(here, (value, _))| (here, value));
        let mut properties = Properties(named.collect());
        properties.set("bootstrap.servers", servers);
        properties
    }

    /// Notes what librdkafka says of them together: it says it when a client is made. This one reaches nobody.
    pub fn judge(&self, keys: &Keys<'_>, role: Role) {
        let mut config = self.config();
        config.remove("bootstrap.servers");
        config.set_log_level(RDKafkaLogLevel::Emerg);
        let made = match role {
            Role::Producer => config.create::<BaseProducer>().map(drop),
            Role::Consumer => {
                config.create::<BaseConsumer>().map(|client| super::end(move || drop(client)))
            }
        };
        // What it says of one was said before.
        if let Err(KafkaError::ClientCreation(reason)) = made {
            keys.mistaken("type", format_args!("kafka's client refuses its properties: {reason}"));
        }
    }

    /// The value of one, by librdkafka's name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets one, whatever the keys say.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Sets one, unless the keys say it.
    pub fn set_unless_given(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// Forgets one.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Those that say how brokers are reached, whatever the client does.
    pub fn of_connection(&self) -> impl Iterator<Item = (&str, &str)> {
        const OF: [&str; 9] = [
            "bootstrap.",
            "client.",
            "connections.",
            "metadata.",
            "reconnect.",
            "sasl.",
            "security.",
            "socket.",
            "ssl.",
        ];
        let of = |name: &str| OF.iter().any(|of| name.starts_with(of));
        self.0.iter().filter(move |(name, _)| of(name)).map(|(name, value)| (&**name, &**value))
    }

    /// The brokers.
    pub fn servers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// What a client is made of.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "online-recall");
        for (name, value) in &self.0 {
            config.set(name, value);
        }
        config
    }
}

/// Reads the servers, by their key or its old name.
pub fn servers(keys: &Keys<'_>, old: Option<&str>) -> String {
    const KEY: &str = "kafka.bootstrap.servers";
    if let Some(servers) = old.and_then(|old| keys.renamed(old, KEY)) {
        return servers;
    }
    keys.required(KEY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::given;

    fn read(role: Role, given: &[(&str, &str)]) -> (Properties, Vec<String>) {
        given::keys("sinks.k1", given, |keys| Properties::read(keys, role, "h:9092"))
    }

    #[test]
    fn javas_properties_are_told_to_librdkafka() {
        let (properties, found) = read(
            Role::Producer,
            &[
                ("kafka.producer.buffer.memory", "1000000"),
                ("kafka.producer.compression.type", "lz4"),
                ("kafka.producer.max.request.size", "2000000"),
                ("kafka.producer.security.protocol", "SSL"),
                ("kafka.producer.ssl.truststore.type", "PEM"),
                ("kafka.producer.ssl.truststore.location", "/ca.pem"),
                (
                    "kafka.producer.key.serializer",
                    "org.apache.kafka.common.serialization.StringSerializer",
                ),
            ],
        );
        assert!(found.is_empty(), "{found:?}");
        let expected = [
            ("bootstrap.servers", "h:9092"),
            ("compression.type", "lz4"),
            ("message.max.bytes", "2000000"),
            ("queue.buffering.max.kbytes", "977"),
            ("security.protocol", "SSL"),
            ("ssl.ca.location", "/ca.pem"),
        ];
        let all: Vec<_> = properties.0.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(all, expected);
        assert!(!format!("{properties:?}").contains("ca.pem"));
    }

    #[test]
    fn what_cannot_be_told_is_refused_by_name() {
        let (_, found) = read(
            Role::Producer,
            &[
                ("kafka.producer.linger.ms", "soon"),
                ("kafka.producer.lingerms", "5"),
                ("kafka.producer.interceptor.classes", "a.B"),
                ("kafka.producer.ssl.truststore.location", "/ca.jks"),
                ("kafka.producer.max.block.ms", "1"),
                ("kafka.producer.value.serializer", "a.B"),
                ("kafka.producer.partitioner.class", "a.B"),
                ("kafka.producer.sasl.kerberos.service.name", "kafka"),
            ],
        );
        let expected = [
            "line 1: sinks.k1.kafka.producer.linger.ms: ",
            "line 2: sinks.k1.kafka.producer.lingerms: it is no property of Kafka's client that is known here; \
             did you mean linger.ms?",
            "line 3: sinks.k1.kafka.producer.interceptor.classes: it is not supported; use the interceptors",
            "line 5: warning: sinks.k1.kafka.producer.max.block.ms: it has no effect: ",
            "line 6: sinks.k1.kafka.producer.value.serializer: a.B is not supported; ",
            "line 7: sinks.k1.kafka.producer.partitioner.class is a.B; allowed: org.apache.kafka",
            "line 8: sinks.k1.kafka.producer.sasl.kerberos.service.name: it is not supported",
            "sinks.k1.kafka.producer.ssl.truststore.type: it must be PEM; of a store of Java's: keytool",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
    }

    #[test]
    fn every_property_that_is_told_is_one_of_librdkafkas() {
        for (name, here) in BOTH.iter().chain(PRODUCER).chain(CONSUMER) {
            let here = match here {
                Same => name,
                Named(here) | InKiB(here) | Words(here, _) => here,
                _ => continue,
            };
            let set = ClientConfig::new().set(*here, "").create_native_config();
            let unknown = matches!(&set, Err(KafkaError::ClientConfig(_, reason, ..)) if reason.contains("No such"));
            assert!(!unknown, "{name} -> {here}");
        }
    }
}
