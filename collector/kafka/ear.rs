//! What a client says by itself: why servers do not answer, at most once a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

/// How often what goes on failing is logged.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Hears what the client of a component says.
#[derive(Debug)]
pub struct Ear {
    /// The component, as `sink k1`.
    owner: String,
    last: Mutex<Option<String>>,
    said: Mutex<Option<Instant>>,
}

impl Ear {
    /// That of a component's client.
    pub fn new(owner: impl Into<String>) -> Ear {
        Ear { owner: owner.into(), last: Mutex::default(), said: Mutex::default() }
    }

    /// The last failure that the client has told of, for the error that comes of it.
    pub fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says something that may be said again and again, once a minute.
    pub fn warn(&self, text: impl std::fmt::Display) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            log::warn!("{}: {text}", self.owner);
            *said = Some(Instant::now());
        }
    }

    /// What librdkafka would print.
    pub fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let owner = &self.owner;
        log::debug!(
            "{owner}: librdkafka says: level={level:?} facility={facility} message={message}"
        );
    }

    /// A failure that belongs to no message.
    pub fn error(&self, error: &KafkaError, reason: &str) {
        self.warn(format_args!("kafka does not answer: error={error} reason={reason}"));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}
