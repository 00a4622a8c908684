//! An event of a record: its value, and headers that say where it stood.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use crate::avro::datum::Malformed;
use crate::avro::event;
use crate::event::{Event, Text};
use crate::keys::Keys;

/// How records become events.
#[derive(Debug)]
pub(super) struct Record {
    /// Whether values are Flume's own datum.
    as_datum: bool,
    topic: Option<Text>,
    /// The events' headers that are taken from records', each with its name there.
    headers: Vec<(Text, String)>,
    timestamp: Text,
    partition: Text,
    offset: Text,
    key: Text,
}

/// A partition, and the texts of it that its events share.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub topic: Text,
    pub number: i32,
    text: Text,
}

impl Part {
    /// That of this number.
    pub fn new(topic: &str, number: i32) -> Part {
        Part { topic: topic.into(), number, text: number.to_string().into() }
    }

    /// That of a record.
    pub fn of(message: &BorrowedMessage<'_>) -> Part {
        Part::new(message.topic(), message.partition())
    }

    /// Whether a record is of it.
    pub fn has(&self, message: &BorrowedMessage<'_>) -> bool {
        self.number == message.partition() && *self.topic == *message.topic()
    }
}

impl Record {
    /// Reads the keys.
    pub fn read(keys: &Keys<'_>) -> Record {
        let sets_topic = keys.flag("setTopicHeader", true);
        let topic = keys.text_or("topicHeader", "topic");
        let headers = keys.below("header.").into_iter();
        Record {
            as_datum: keys.flag("useFlumeEventFormat", false),
            topic: sets_topic.then(|| topic.into()),
            headers: headers.map(|(name, there)| (name.into(), there)).collect(),
            timestamp: "timestamp".into(),
            partition: "partition".into(),
            offset: "offset".into(),
            key: "key".into(),
        }
    }

    /// Whether an event may have this header.
    pub fn may_set(&self, header: &str) -> bool {
        let own = [&self.timestamp, &self.partition, &self.offset, &self.key];
        self.as_datum
            || own.into_iter().chain(&self.topic).any(|name| **name == *header)
            || self.headers.iter().any(|(name, _)| **name == *header)
    }

    /// Makes an event of a record of this partition. What the event brings along counts more, but for the key.
    ///
    /// # Errors
    ///
    /// If its value is no event.
    pub fn event(&self, message: &BorrowedMessage<'_>, part: &Part) -> Result<Event, Malformed> {
        let value = message.payload().unwrap_or_default();
        let mut event = if self.as_datum {
            event::read(Bytes::copy_from_slice(value))?
        } else {
            Event::new(Bytes::copy_from_slice(value))
        };
        let headers = &mut event.headers;
        let brings = |headers: &crate::event::Headers, name: &Text| {
            self.as_datum && headers.get(name).is_some()
        };
        if !brings(headers, &self.timestamp) {
            // Java's clients say -1 where there is none.
            let milliseconds = message.timestamp().to_millis().unwrap_or(-1);
            headers.set(Arc::clone(&self.timestamp), milliseconds.to_string());
        }
        if !self.headers.is_empty()
            && let Some(found) = message.headers()
        {
            for (name, there) in &self.headers {
                for header in found.iter().filter(|header| header.key == there) {
                    let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                    headers.set(Arc::clone(name), &*value);
                }
            }
        }
        if let Some(topic) = &self.topic
            && headers.get(topic).is_none()
        {
            headers.set(Arc::clone(topic), Arc::clone(&part.topic));
        }
        if headers.get(&self.partition).is_none() {
            headers.set(Arc::clone(&self.partition), Arc::clone(&part.text));
        }
        if headers.get(&self.offset).is_none() {
            headers.set(Arc::clone(&self.offset), message.offset().to_string());
        }
        if let Some(key) = message.key() {
            headers.set(Arc::clone(&self.key), &*String::from_utf8_lossy(key));
        }
        Ok(event)
    }
}
