//! Where events go.
//!
//! **The contract.** A sink, or a group of them, has a thread of its own, which calls [`Sink::turn`] again
//! and again. In a turn the sink takes events from its [`Tap`], hands them on, and commits the take only
//! when the other side has said that it has them; a take that is dropped goes back to the channel. A sink
//! may hold several takes, over several turns, and commit them as they are delivered: so one slow file
//! holds up no other.
//!
//! An event that the other side can never take, whatever happens, is no reason to fail: it is committed as
//! dead ([`Tap::commit`]), which keeps it with the reason. All other trouble is a failure of the turn: the
//! take goes back, and the next turn comes after a wait, or another sink of the group has it.

pub mod avro;
pub mod file_roll;
pub mod hdfs;
pub mod kafka;
pub mod logger;
pub mod null;
pub mod serializer;
pub mod tap;

use std::fmt::Debug;

pub use tap::{Dead, Taken, Tap};

use crate::keys::Keys;

/// Why a sink does not deliver for now.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a turn has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something was delivered, or is on its way: the next turn may come at once.
    Ready,
    /// There was nothing to do. The take has waited already: the next turn may come at once, too.
    Idle,
}

/// Hands events on.
pub trait Sink: Debug + Send {
    /// How many events it takes at once, at most.
    fn batch(&self) -> usize;

    /// Makes it ready, before its first turn and again after a turn that failed. Leftovers of a run that
    /// was killed are put in order here.
    ///
    /// # Errors
    ///
    /// If the other side cannot be reached; it is called again after a wait.
    fn start(&mut self, tap: &Tap) -> Result<(), Failure> {
        let _ = tap;
        Ok(())
    }

    /// Delivers what is there, or the next of it; also does what its clocks ask for.
    ///
    /// # Errors
    ///
    /// If something is not delivered: its take is dropped.
    fn turn(&mut self, tap: &Tap) -> Result<Turn, Failure>;

    /// Brings what it has taken further, takes nothing, and does what its clocks ask for; says whether all is
    /// delivered or went back. May wait a moment.
    ///
    /// # Errors
    ///
    /// If something is not delivered: its take is dropped.
    fn settle(&mut self, tap: &Tap) -> Result<bool, Failure> {
        let _ = tap;
        Ok(true)
    }

    /// Closes what is open. It may be started again.
    ///
    /// # Errors
    ///
    /// If something could not be closed as it should; what was committed is safe.
    fn close(&mut self, tap: &Tap) -> Result<(), Failure> {
        let _ = tap;
        Ok(())
    }

    /// Whether it needs this header of every event.
    fn needs(&self, header: &str) -> bool {
        let _ = header;
        false
    }

    /// Whether it must be its channel's only reader, and the channel durable, and why.
    fn must_be_alone(&self) -> Option<&'static str> {
        None
    }
}

/// Reads the keys of a sink of this type. None for a type that is not known.
pub fn read(kind: &str, keys: &Keys<'_>) -> Option<Box<dyn Sink>> {
    let name = kind.strip_prefix("org.apache.flume.sink.").unwrap_or(kind);
    Some(match &*name.to_ascii_lowercase() {
        "hdfs" | "hdfs.hdfseventsink" => Box::new(hdfs::Hdfs::read(keys)),
        "file_roll" | "rollingfilesink" => Box::new(file_roll::FileRoll::read(keys)),
        "null" | "nullsink" => Box::new(null::Null::read(keys)),
        "avro" | "avrosink" => Box::new(avro::Avro::read(keys)),
        "kafka.kafkasink" => Box::new(kafka::Kafka::read(keys)),
        "logger" | "loggersink" => Box::new(logger::Logger::read(keys)),
        _ => return None,
    })
}

/// The types that [`read`] knows.
pub const TYPES: &[&str] =
    &["avro", "file_roll", "hdfs", "logger", "null", "org.apache.flume.sink.kafka.KafkaSink"];
