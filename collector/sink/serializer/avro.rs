//! Avro containers of events: the record that Flume's `AVRO_EVENT` writes.
//!
//! A container is `Obj 1`, a map with schema and codec, and a marker of 16 bytes; then blocks: how many
//! records, how many bytes, the records, the marker. A flush ends a block.

use std::io::Write;

use bzip2::write::BzEncoder;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::Serializer;
use crate::event::Event;
use crate::keys::Keys;

/// Flume's schema, with the spaces that Java's Avro leaves out.
const SCHEMA: &str = concat!(
    r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},"#,
    r#"{"name":"body","type":"bytes"}]}"#
);

/// A container as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long a block is before it is ended.
    block: usize,
    codec: Codec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Bzip2,
}

impl Codec {
    fn name(self) -> &'static str {
        match self {
            Codec::Null => "null",
            Codec::Deflate => "deflate",
            Codec::Bzip2 => "bzip2",
        }
    }
}

impl Settings {
    /// Reads the keys below a serializer's.
    pub fn read(keys: &Keys<'_>, key: &str) -> Settings {
        // Java's Avro takes no others.
        let is_allowed = |block: usize| (32..=1 << 30).contains(&block);
        let block = keys.number(
            &format!("{key}.syncIntervalBytes"),
            2_048_000,
            "a whole number from 32 to 1073741824",
            is_allowed,
        );
        let codec = keys.choice(
            &format!("{key}.compressionCodec"),
            "null",
            &[("null", Codec::Null), ("deflate", Codec::Deflate), ("bzip2", Codec::Bzip2)],
        );
        Settings { block, codec }
    }
}

/// A container that is being written.
#[derive(Debug)]
pub struct Container {
    settings: Settings,
    marker: [u8; 16],
    records: usize,
    block: Vec<u8>,
}

impl Container {
    /// A new one.
    pub fn new(settings: &Settings) -> Container {
        let marker = *uuid::Uuid::new_v4().as_bytes();
        Container { settings: settings.clone(), marker, records: 0, block: Vec::new() }
    }
}

/// A whole number as Avro writes it: zigzag, seven bits a byte.
fn number(value: usize, out: &mut Vec<u8>) {
    let mut rest = (value as u64) << 1;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn bytes(value: &[u8], out: &mut Vec<u8>) {
    number(value.len(), out);
    out.extend_from_slice(value);
}

impl Serializer for Container {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Obj\x01");
        number(2, out);
        for (name, value) in [("avro.codec", self.settings.codec.name()), ("avro.schema", SCHEMA)] {
            bytes(name.as_bytes(), out);
            bytes(value.as_bytes(), out);
        }
        number(0, out);
        out.extend_from_slice(&self.marker);
    }

    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        if !event.headers.is_empty() {
            number(event.headers.len(), &mut self.block);
            for (name, value) in event.headers.iter() {
                bytes(name.as_bytes(), &mut self.block);
                bytes(value.as_bytes(), &mut self.block);
            }
        }
        number(0, &mut self.block);
        bytes(&event.body, &mut self.block);
        self.records += 1;
        if self.block.len() >= self.settings.block {
            self.flush(out);
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if self.records == 0 {
            return;
        }
        number(self.records, out);
        let packed = |done: std::io::Result<Vec<u8>>| done.expect("a vector takes all");
        match self.settings.codec {
            Codec::Null => bytes(&self.block, out),
            Codec::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                let done = encoder.write_all(&self.block).and_then(|()| encoder.finish());
                bytes(&packed(done), out);
            }
            Codec::Bzip2 => {
                let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::best());
                let done = encoder.write_all(&self.block).and_then(|()| encoder.finish());
                bytes(&packed(done), out);
            }
        }
        out.extend_from_slice(&self.marker);
        self.records = 0;
        self.block.clear();
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::Reader;
    use apache_avro::types::Value;

    use super::*;

    fn events() -> Vec<Event> {
        let mut first = Event::new("a".repeat(100));
        first.headers.set("host", "h");
        vec![first, Event::new(&b"\xff\x00"[..]), Event::new("")]
    }

    fn written(codec: Codec) -> Vec<u8> {
        let mut container = Container::new(&Settings { block: 64, codec });
        let mut out = Vec::new();
        container.begin(&mut out);
        events().iter().for_each(|event| container.write(event, &mut out));
        container.flush(&mut out);
        container.flush(&mut out);
        out
    }

    #[test]
    fn another_reader_finds_every_event() {
        for codec in [Codec::Null, Codec::Deflate] {
            let out = written(codec);
            let reader = Reader::new(&out[..]).unwrap();
            assert!(reader.writer_schema().canonical_form().contains("\"Event\""));
            let all: Vec<_> = reader.map(Result::unwrap).collect();
            let expected = events().into_iter().map(|event| {
                let headers = event.headers.iter();
                let headers =
                    headers.map(|(name, value)| (name.to_string(), Value::from(&**value)));
                Value::Record(vec![
                    ("headers".to_owned(), Value::Map(headers.collect())),
                    ("body".to_owned(), Value::Bytes(event.body.to_vec())),
                ])
            });
            assert_eq!(all, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_container_begins_as_javas_does_and_has_two_blocks() {
        let out = written(Codec::Null);
        assert!(
            out.starts_with(b"Obj\x01\x04\x14avro.codec\x08null\x16avro.schema\x8a\x02{\"type\"")
        );
        let marker = &out[out.len() - 16..];
        assert_eq!(out.windows(16).filter(|window| *window == marker).count(), 3);
        // The second block: two records of no headers, with bodies of 2 and 0 bytes.
        assert!(out.ends_with(&[&b"\x04\x0c\x00\x04\xff\x00\x00\x00"[..], marker].concat()));
    }

    #[test]
    fn bzip2_is_a_block_of_its_own() {
        let out = written(Codec::Bzip2);
        assert!(out.windows(3).any(|window| window == b"BZh"));
    }
}
