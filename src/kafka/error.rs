//! What may be wrong with Kafka, or with how it is reached.

use std::path::PathBuf;

use collector::kafka::java::Unreadable;
use rdkafka::error::KafkaError;

use super::Code;
use crate::retry::{Fault, Faulty};

/// Why Kafka could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A property is unknown, or its value is none.
    #[error("kafka's client refuses the property {name}: {reason}")]
    Property {
        /// Its name in librdkafka.
        name: String,
        /// What librdkafka says.
        reason: String,
    },
    /// The properties do not go together.
    #[error("kafka's client refuses its configuration: {0}")]
    Configuration(String),
    /// A file of properties cannot be used.
    #[error("cannot use {}: {what}", path.display())]
    CommandConfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        what: Unreadable,
    },
    /// There is no such topic.
    #[error(
        "kafka at {servers} has no topic {topic}; make it: online-recall topics create {topic} \
         --partitions 4 {options}"
    )]
    NoTopic {
        /// The topic.
        topic: String,
        /// Where it was looked for.
        servers: String,
        /// The options by which a command reaches them.
        options: String,
    },
    /// Nobody answers, or nobody who can.
    #[error("cannot {attempt} at {servers}: {code}{}", because(reason.as_deref()))]
    Away {
        /// What was attempted.
        attempt: String,
        /// Whom was asked.
        servers: String,
        /// How it failed.
        code: Code,
        /// What the client has heard of late.
        reason: Option<String>,
    },
    /// It was refused.
    #[error("cannot {attempt}")]
    Refused {
        /// What was attempted.
        attempt: String,
        /// Why.
        source: KafkaError,
    },
    /// An offset is none that Kafka could have.
    #[error("{0} is no offset")]
    Offset(u64),
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

impl Error {
    pub(super) fn of_configuration(error: KafkaError) -> Error {
        match error {
            KafkaError::ClientConfig(_, reason, name, _) => Error::Property { name, reason },
            KafkaError::ClientCreation(reason) => Error::Configuration(reason),
            error => Error::of("make a client of kafka", error),
        }
    }

    pub(super) fn of(attempt: &str, source: KafkaError) -> Error {
        Error::Refused { attempt: attempt.to_owned(), source }
    }

    /// Whether it is the configuration that must be mended.
    pub fn is_of_configuration(&self) -> bool {
        matches!(
            self,
            Error::Property { .. } | Error::Configuration(_) | Error::CommandConfig { .. }
        )
    }
}

/// Whether a failure with this code is one of servers that are away, or not yet what they will be.
pub(super) fn passes(code: Code) -> bool {
    use Code::*;
    matches!(
        code,
        BrokerTransportFailure
            | BrokerDestroy
            | DestroyBroker
            | Resolve
            | AllBrokersDown
            | OperationTimedOut
            | TimedOutQueue
            | MessageTimedOut
            | SSL
            | Authentication
            | SaslAuthenticationFailed
            | WaitingForCoordinator
            | WaitCache
            | UnknownBroker
            | UnknownPartition
            | NodeUpdate
            | Retry
            | Outdated
            | InProgress
            | PreviousInProgress
            | LeaderNotAvailable
            | NotLeaderForPartition
            | RequestTimedOut
            | BrokerNotAvailable
            | ReplicaNotAvailable
            | NetworkException
            | CoordinatorLoadInProgress
            | CoordinatorNotAvailable
            | NotCoordinator
            | NotController
            | StaleControllerEpoch
            | KafkaStorageError
            | FetchSessionIdNotFound
            | InvalidFetchSessionEpoch
            | ListenerNotFound
            | FencedLeaderEpoch
            | UnknownLeaderEpoch
            | StaleBrokerEpoch
            | OffsetNotAvailable
            | PreferredLeaderNotAvailable
            | EligibleLeadersNotAvailable
            | ThrottlingQuotaExceeded
            | UnknownTopicId
            // Whether there is a topic is what the topics are asked for.
            | UnknownTopicOrPartition
            | RebootstrapRequired
    )
}

impl Faulty for Error {
    fn fault(&self) -> Fault {
        match self {
            // What is asked changes nothing there, and a commit to a group may be repeated.
            Error::Away { .. } => Fault::Unknown,
            _ => Fault::Fatal,
        }
    }
}
