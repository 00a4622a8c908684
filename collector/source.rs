//! Where events come from.
//!
//! **The contract.** A source runs on a thread of its own, from [`Source::run`] until it is told to stop,
//! and gives batches to its [`Inlet`]. It moves its position, answers its peer or forgets its input only
//! after the inlet has taken the batch: then every required channel has it. A source that can read its
//! input again gives a batch by [`Inlet::persist`], which waits for room as long as it takes; one whose peer
//! waits for an answer gives it by [`Inlet::accept`] and hands a refusal on.
//!
//! One event, file or peer that is bad is set aside, logged and counted, and never ends a source. A run
//! that ends with an error is begun again, with growing waits.

pub mod avro;
pub mod exec;
pub mod follow;
pub mod http;
pub mod inlet;
pub mod kafka;
pub mod netcat;
pub mod pattern;
pub mod seq;
pub mod spooldir;
pub mod taildir;
#[cfg(test)]
mod trial;

use std::fmt::Debug;

pub use inlet::{Inlet, Stopped};

use crate::keys::Keys;
use crate::stop::Stop;

/// Why a source does not work for now.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Makes events of what comes from somewhere.
pub trait Source: Debug + Send {
    /// How many events it puts at once, at most; 0 where its peers decide.
    fn batch(&self) -> usize;

    /// Works until it is stopped, or its input has ended.
    ///
    /// # Errors
    ///
    /// If it cannot go on; it may be called again.
    fn run(&mut self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure>;

    /// Whether events may come with this header already.
    fn may_set(&self, header: &str) -> bool {
        let _ = header;
        false
    }

    /// What it loses when the agent is killed, whatever its channels are; None where that is nothing.
    fn loses(&self) -> Option<&'static str> {
        None
    }
}

/// Reads the keys of a source of this type. None for a type that is not known.
pub fn read(kind: &str, keys: &Keys<'_>) -> Option<Box<dyn Source>> {
    let name = kind.strip_prefix("org.apache.flume.source.").unwrap_or(kind);
    Some(match &*name.to_ascii_lowercase() {
        "avro" | "avrosource" => Box::new(avro::Avro::read(keys)),
        "exec" | "execsource" => Box::new(exec::Exec::read(keys)),
        "http" | "http.httpsource" => Box::new(http::Http::read(keys)),
        "netcat" | "netcatsource" => Box::new(netcat::Netcat::read(keys)),
        "kafka.kafkasource" => Box::new(kafka::Kafka::read(keys)),
        "seq" | "sequencegeneratorsource" => Box::new(seq::Seq::read(keys)),
        "spooldir" | "spooldirectorysource" => Box::new(spooldir::Spooldir::read(keys)),
        "taildir" | "taildir.taildirsource" => Box::new(taildir::Taildir::read(keys)),
        _ => return None,
    })
}

/// The types that [`read`] knows.
pub const TYPES: &[&str] = &[
    "avro",
    "exec",
    "http",
    "netcat",
    "seq",
    "spooldir",
    "TAILDIR",
    "org.apache.flume.source.kafka.KafkaSource",
];

#[cfg(test)]
mod tests {
    #[test]
    fn flumes_names_are_known() {
        for kind in [
            "exec",
            "org.apache.flume.source.ExecSource",
            "TAILDIR",
            "org.apache.flume.source.taildir.TaildirSource",
            "spooldir",
            "org.apache.flume.source.SpoolDirectorySource",
            "NetCat",
            "org.apache.flume.source.NetcatSource",
            "http",
            "org.apache.flume.source.http.HTTPSource",
        ] {
            let (source, _) = super::trial::read(&[], |keys| super::read(kind, keys));
            assert!(source.is_some(), "{kind}");
        }
    }
}
