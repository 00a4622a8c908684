//! How events become the bytes of a file.
//!
//! **The contract.** A serializer is of one file: [`Serializer::begin`] once, then events, and
//! [`Serializer::flush`] whenever what was written must be whole: after it the bytes so far can be read,
//! whatever follows.

pub mod avro;

use std::fmt::Debug;

use crate::event::Event;
use crate::keys::Keys;

/// Makes the bytes of a file of events.
pub trait Serializer: Send {
    /// Adds what stands at the beginning of a file.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Adds an event.
    fn write(&mut self, event: &Event, out: &mut Vec<u8>);

    /// Adds what makes the bytes so far whole.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }
}

/// A serializer as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// Bodies alone.
    Text {
        /// Whether each is a line.
        appends_newline: bool,
    },
    /// Headers as Java prints a map, a space, the body.
    HeaderAndText {
        /// Whether each is a line.
        appends_newline: bool,
    },
    /// An Avro container of events.
    Avro(avro::Settings),
}

impl Settings {
    /// Reads `serializer` and the keys below it, all behind a prefix.
    pub fn read(keys: &Keys<'_>, prefix: &str) -> Settings {
        #[derive(Clone, Copy)]
        enum Kind {
            Text,
            HeaderAndText,
            Avro,
        }
        const CLASSES: &str = "org.apache.flume.serialization.";
        let key = format!("{prefix}serializer");
        let kind = keys.choice(
            &key,
            "TEXT",
            &[
                ("TEXT", Kind::Text),
                ("HEADER_AND_TEXT", Kind::HeaderAndText),
                ("AVRO_EVENT", Kind::Avro),
                (&format!("{CLASSES}BodyTextEventSerializer$Builder"), Kind::Text),
                (
                    &format!("{CLASSES}HeaderAndBodyTextEventSerializer$Builder"),
                    Kind::HeaderAndText,
                ),
                (&format!("{CLASSES}FlumeEventAvroEventSerializer$Builder"), Kind::Avro),
            ],
        );
        let newline = || keys.flag(&format!("{key}.appendNewline"), true);
        match kind {
            Kind::Text => Settings::Text { appends_newline: newline() },
            Kind::HeaderAndText => Settings::HeaderAndText { appends_newline: newline() },
            Kind::Avro => Settings::Avro(avro::Settings::read(keys, &key)),
        }
    }

    /// Whether headers are written.
    pub fn needs_headers(&self) -> bool {
        !matches!(self, Settings::Text { .. })
    }

    /// One for a new file.
    pub fn open(&self) -> Box<dyn Serializer> {
        match self {
            Settings::Text { appends_newline } => {
                Box::new(Text { appends_newline: *appends_newline })
            }
            Settings::HeaderAndText { appends_newline } => {
                Box::new(HeaderAndText { appends_newline: *appends_newline })
            }
            Settings::Avro(settings) => Box::new(avro::Container::new(settings)),
        }
    }
}

#[derive(Debug)]
struct Text {
    appends_newline: bool,
}

impl Serializer for Text {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        out.extend_from_slice(&event.body);
        if self.appends_newline {
            out.push(b'\n');
        }
    }
}

#[derive(Debug)]
struct HeaderAndText {
    appends_newline: bool,
}

impl Serializer for HeaderAndText {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        // In the order in which they were set; Java's is by its hash.
        out.push(b'{');
        for (place, (name, value)) in event.headers.iter().enumerate() {
            if place > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(b"} ");
        out.extend_from_slice(&event.body);
        if self.appends_newline {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(settings: &Settings) -> String {
        let mut event = Event::new("hello");
        event.headers.set("host", "a");
        event.headers.set("b", "");
        let (mut serializer, mut out) = (settings.open(), Vec::new());
        serializer.begin(&mut out);
        serializer.write(&event, &mut out);
        serializer.write(&Event::new(""), &mut out);
        serializer.flush(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_bodies_with_or_without_headers_and_newlines() {
        assert_eq!(written(&Settings::Text { appends_newline: true }), "hello\n\n");
        assert_eq!(written(&Settings::Text { appends_newline: false }), "hello");
        let headers = Settings::HeaderAndText { appends_newline: true };
        assert_eq!(written(&headers), "{host=a, b=} hello\n{} \n");
    }
}
