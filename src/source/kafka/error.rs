//! What may be wrong with the records of topics.

use crate::kafka::{self, Partition};
use crate::retry;
use crate::source::Stopped;

/// Why topics cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka fails.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// Records that were not read are gone.
    #[error(
        "topic {}, partition {}: offset {wanted} is to be read next, and the earliest that kafka \
         still has is {earliest}: {} offsets are gone; {SKIP}",
        partition.topic, partition.number, earliest - wanted
    )]
    Gap {
        /// Where.
        partition: Partition,
        /// The offset that is needed.
        wanted: u64,
        /// The first that is there.
        earliest: u64,
    },
    /// Records that were read are gone from its end.
    #[error(
        "topic {}, partition {}: offset {wanted} is to be read next, and kafka has only the offsets \
         from {earliest} to before {end}: the topic was made anew, or has lost records that were \
         read; {SKIP}",
        partition.topic, partition.number
    )]
    Shrunk {
        /// Where.
        partition: Partition,
        /// The offset that is needed.
        wanted: u64,
        /// The first that is there.
        earliest: u64,
        /// The one after the last that is there.
        end: u64,
    },
    /// Another record stands where one was read.
    #[error(
        "topic {}, partition {}: offset {wanted} is to be read next, and the record before it is not \
         the one that was read: the topic was made anew, its earliest offset is {earliest}; {SKIP}",
        partition.topic, partition.number
    )]
    Anew {
        /// Where.
        partition: Partition,
        /// The offset that is needed.
        wanted: u64,
        /// The first that is there.
        earliest: u64,
    },
    /// A partition is gone.
    #[error(
        "topic {}, partition {}: offset {wanted} is to be read next, and kafka has no such partition \
         any more: the topic was made anew, with fewer; {SKIP}",
        partition.topic, partition.number
    )]
    Gone {
        /// Which.
        partition: Partition,
        /// The offset that is needed.
        wanted: u64,
    },
    /// A partition can no longer be read.
    #[error("cannot read {partition}: {code}")]
    Read {
        /// Where.
        partition: Partition,
        /// Why.
        code: kafka::Code,
    },
    /// The ledger speaks of what is no partition of a topic.
    #[error("the ledger's {0} is no partition of a topic: this ledger is not a live job's")]
    Foreign(String),
    /// The job is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Error {
    pub(super) fn foreign(name: &[u8]) -> Error {
        Error::Foreign(String::from_utf8_lossy(name).into_owned())
    }
}

const SKIP: &str =
    "to go on with what is there and count what is gone, set kafka.on_gap = \"skip\"";

impl From<retry::Ended<kafka::Error>> for Error {
    fn from(ended: retry::Ended<kafka::Error>) -> Error {
        match ended {
            retry::Ended::Stopped => Error::Stopped(Stopped),
            retry::Ended::Failed(error) => Error::Kafka(error),
        }
    }
}
