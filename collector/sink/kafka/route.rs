//! Where an event goes, and as what: topic, partition, key, date, headers and value.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};

use crate::avro;
use crate::event::Event;
use crate::keys::Keys;

/// The topic where nothing names one, in Flume.
const TOPIC: &str = "default-flume-topic";

/// The header with the key.
const KEY: &str = "key";

/// How an event becomes a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    topic: Vec<Piece>,
    /// The header that may name another topic.
    topic_header: Option<String>,
    partition: Option<i32>,
    partition_header: Option<String>,
    timestamp_header: Option<String>,
    /// The event's headers that go along, each with its name there.
    headers: Vec<(String, String)>,
    /// Whether all headers travel with the body, as Flume's own datum.
    as_datum: bool,
}

/// A piece of a topic's name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Header(String),
}

/// A message to be.
#[derive(Debug)]
pub(super) struct Message<'e> {
    pub topic: Cow<'e, str>,
    pub partition: Option<i32>,
    /// Whether the event itself asks for that partition.
    pub asks: bool,
    pub key: Option<&'e str>,
    pub timestamp: Option<i64>,
    pub headers: Option<OwnedHeaders>,
    pub value: &'e [u8],
}

/// Why an event never becomes one: a word and a text.
pub(super) type Never = (&'static str, String);

impl Route {
    /// Reads the keys.
    pub fn read(keys: &Keys<'_>) -> Route {
        let topic = keys.renamed("topic", "kafka.topic");
        let topic = topic.unwrap_or_else(|| keys.text_or("kafka.topic", TOPIC));
        let topic = pieces(&topic).unwrap_or_else(|wrong| {
            let text = format!("{wrong} has no meaning in a topic; allowed: %{{header}}, %%");
            keys.mistaken("kafka.topic", text);
            Vec::new()
        });
        if let [Piece::Text(name)] = &*topic
            && !is_name(name)
        {
            keys.wrong("kafka.topic", name, "a topic: 1 to 249 letters, digits, . _ -");
        }
        let may_differ = keys.flag("allowTopicOverride", true);
        let topic_header = keys.text_or("topicHeader", "topic");
        let partition = keys.is_given("defaultPartitionId").then(|| {
            keys.number("defaultPartitionId", 0, "a partition: a whole number from 0", |number| {
                number >= 0
            })
        });
        if partition.is_none() {
            keys.text("defaultPartitionId");
        }
        Route {
            topic,
            topic_header: may_differ.then_some(topic_header),
            partition,
            partition_header: keys.text("partitionIdHeader"),
            timestamp_header: keys.text("timestampHeader"),
            headers: keys.below("header."),
            as_datum: keys.flag("useFlumeEventFormat", false),
        }
    }

    /// The topic, where no header is in its name.
    pub fn topic(&self) -> Option<&str> {
        match &*self.topic {
            [Piece::Text(name)] => Some(name),
            _ => None,
        }
    }

    /// Makes a message of an event; `room` is where its value may be written.
    ///
    /// # Errors
    ///
    /// If it can never be one.
    pub fn message<'e>(
        &'e self,
        event: &'e Event,
        room: &'e mut Vec<u8>,
    ) -> Result<Message<'e>, Never> {
        let header =
            |name: &Option<String>| event.headers.get(name.as_deref()?).map(|value| &**value);
        let topic = match header(&self.topic_header) {
            Some(topic) => Cow::Borrowed(topic),
            None => self.named(event),
        };
        if !is_name(&topic) {
            return Err(("bad_topic", format!("{topic:?} can be no topic")));
        }
        let asked = match header(&self.partition_header) {
            None => None,
            // As Java reads it: a sign may stand there.
            Some(text) => match text.parse::<i32>() {
                Ok(number) if number >= 0 => Some(number),
                _ => {
                    return Err(("bad_partition", format!("{text:?} is no number of a partition")));
                }
            },
        };
        let timestamp = header(&self.timestamp_header).and_then(|text| text.parse().ok());
        let value = if self.as_datum {
            room.clear();
            avro::event::put(room, event);
            &*room
        } else {
            &*event.body
        };
        Ok(Message {
            topic,
            partition: asked.or(self.partition),
            asks: asked.is_some(),
            key: event.headers.get(KEY).map(|key| &**key),
            timestamp: timestamp.filter(|&timestamp: &i64| timestamp >= 0),
            headers: self.headers_of(event),
            value,
        })
    }

    fn headers_of(&self, event: &Event) -> Option<OwnedHeaders> {
        let there =
            |(name, there): &(String, String)| Some((there.clone(), event.headers.get(name)?));
        let mut there = self.headers.iter().filter_map(there).peekable();
        there.peek()?;
        Some(there.fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key: &key, value: Some(&**value) })
        }))
    }

    /// The topic's name with its headers filled in; of one that is missing, nothing.
    fn named<'e>(&'e self, event: &'e Event) -> Cow<'e, str> {
        if let Some(name) = self.topic() {
            return Cow::Borrowed(name);
        }
        let text = self.topic.iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Header(name) => event.headers.get(name).map_or("", |value| &**value),
        });
        Cow::Owned(text.collect())
    }
}

/// Reads a topic with escapes; what is wrong with it, if it is none.
fn pieces(topic: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), topic);
    while let Some((before, behind)) = rest.split_once('%') {
        text += before;
        if let Some(behind) = behind.strip_prefix('%') {
            text.push('%');
            rest = behind;
        } else if let Some((name, behind)) =
            behind.strip_prefix('{').and_then(|name| name.split_once('}'))
        {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Header(name.to_owned()));
            rest = behind;
        } else {
            return Err(format!(
                "%{}",
                behind.chars().next().map(String::from).unwrap_or_default()
            ));
        }
    }
    text += rest;
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// Whether Kafka takes this as a topic's name.
fn is_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(topic: &str) -> Route {
        Route {
            topic: pieces(topic).unwrap(),
            topic_header: Some("topic".to_owned()),
            partition: Some(3),
            partition_header: Some("p".to_owned()),
            timestamp_header: Some("t".to_owned()),
            headers: vec![("host".to_owned(), "from".to_owned())],
            as_datum: false,
        }
    }

    fn event(headers: &[(&str, &str)]) -> Event {
        let mut event = Event::new("body");
        for (name, value) in headers {
            event.headers.set(*name, *value);
        }
        event
    }

    #[test]
    fn headers_say_where_an_event_goes() {
        let route = route("web-%{site}");
        let mut room = Vec::new();
        let plain = event(&[("site", "a"), ("key", "k"), ("t", "12"), ("host", "h")]);
        let message = route.message(&plain, &mut room).unwrap();
        assert_eq!((&*message.topic, message.partition, message.asks), ("web-a", Some(3), false));
        assert_eq!(
            (message.key, message.timestamp, message.value),
            (Some("k"), Some(12), &b"body"[..])
        );
        assert!(message.headers.is_some());
        let sent = event(&[("topic", "other"), ("p", "7"), ("t", "soon")]);
        let mut room = Vec::new();
        let message = route.message(&sent, &mut room).unwrap();
        assert_eq!((&*message.topic, message.partition, message.asks), ("other", Some(7), true));
        assert_eq!((message.key, message.timestamp), (None, None));
    }

    #[test]
    fn what_can_be_no_message_is_said() {
        for (headers, reason) in [
            (&[("p", "x")][..], "bad_partition"),
            (&[("p", "-1")], "bad_partition"),
            (&[("p", "99999999999")], "bad_partition"),
            (&[("topic", "")], "bad_topic"),
            (&[("topic", "a b")], "bad_topic"),
            (&[("topic", "..")], "bad_topic"),
        ] {
            let found = route("t").message(&event(headers), &mut Vec::new()).map(drop).unwrap_err();
            assert_eq!(found.0, reason, "{headers:?}");
        }
        let found = route("%{site}").message(&event(&[]), &mut Vec::new()).map(drop).unwrap_err();
        assert_eq!(found.0, "bad_topic");
    }

    #[test]
    fn a_topic_has_headers_in_its_name_and_no_dates() {
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(pieces("a%%b"), Ok(vec![text("a%b")]));
        let both = [text("a-"), Piece::Header("x".to_owned()), text("-b")];
        assert_eq!(pieces("a-%{x}-b"), Ok(both.to_vec()));
        for (topic, wrong) in [("a-%Y", "%Y"), ("%", "%"), ("%{x", "%{")] {
            assert_eq!(pieces(topic), Err(wrong.to_owned()));
        }
    }
}
