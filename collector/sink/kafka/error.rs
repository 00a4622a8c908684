//! Why events do not reach Kafka, and which of them never will.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// Why events do not reach Kafka for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The client's properties do not go together.
    #[error("kafka's client refuses its configuration")]
    Configuration(#[source] Box<KafkaError>),
    /// Nobody answers.
    #[error("cannot {attempt} at {servers}{}", because(heard.as_deref()))]
    Away {
        /// What was attempted.
        attempt: String,
        /// Whom was asked.
        servers: String,
        /// What the client has said of late.
        heard: Option<String>,
        /// How it failed.
        source: Box<KafkaError>,
    },
    /// There is no such topic.
    #[error(
        "kafka at {servers} has no topic {topic}: make it, or let the brokers make it (auto.create.topics.enable)"
    )]
    NoTopic {
        /// The topic.
        topic: String,
        /// Where it was looked for.
        servers: String,
    },
    /// An event was not taken.
    #[error("topic {topic} does not take events: {code}{}", because(heard.as_deref()))]
    NotTaken {
        /// The topic.
        topic: String,
        /// Why.
        code: Code,
        /// What the client has said of late.
        heard: Option<String>,
    },
    /// Another process has taken the transactions over.
    #[error(
        "another process writes with the transactional.id {id}, and has shut this one out: every sink needs one of \
         its own (kafka.producer.transactional.id)"
    )]
    ShutOut {
        /// The id.
        id: String,
    },
    /// The channel does not number its events.
    #[error("exactlyOnce needs a channel of type file")]
    NoPositions,
    /// What the group's offset says is no position.
    #[error(
        "the group {group} has committed {found} for {topic}/0, which is no position of a channel"
    )]
    Position {
        /// The group.
        group: String,
        /// The topic that carries it.
        topic: String,
        /// What was found.
        found: String,
    },
}

fn because(heard: Option<&str>) -> String {
    heard.map_or_else(String::new, |heard| format!(" ({heard})"))
}

/// What a message that was not written says of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It never will be.
    Dead(&'static str),
    /// It, or another that was sent together with it, never will be.
    Suspect(&'static str),
    /// Nothing: another try may succeed.
    Fails,
}

/// Judges an event by how its message failed, where `asks` says that the event itself chose its partition.
pub(super) fn judge(code: Code, asks: bool) -> Verdict {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            Verdict::Suspect("too_large")
        }
        Code::InvalidRecord | Code::InvalidTimestamp => Verdict::Suspect("refused"),
        Code::UnknownPartition if asks => Verdict::Dead("bad_partition"),
        Code::InvalidTopic => Verdict::Dead("bad_topic"),
        _ => Verdict::Fails,
    }
}
