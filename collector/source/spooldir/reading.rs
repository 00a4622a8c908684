//! How the bytes of a file become events.

use std::fs::File;
use std::io;

use super::avro::{Avro, SchemaHeader};
use super::blob::Blob;
use super::container;
use super::lines::{self, Lines};
use super::tracker::Place;
use crate::event::{Event, Headers};
use crate::keys::Keys;

/// Makes events of a file, from a place on.
pub trait Reading {
    /// The next events, so many at most; none at the end.
    ///
    /// # Errors
    ///
    /// If what follows can be no event.
    fn read(&mut self, most: usize) -> Result<Vec<Event>, Bad>;

    /// Where reading stands.
    fn place(&self) -> Place;

    /// Whether nothing follows.
    fn has_ended(&self) -> bool;
}

/// Why a file is not read on.
#[derive(Debug, thiserror::Error)]
pub enum Bad {
    /// The system does not let it be read.
    #[error("cannot read it")]
    Read(#[from] io::Error),
    /// Bytes are no letters.
    #[error("byte {at} is no letter of the inputCharset; decodeErrorPolicy = REPLACE lets it pass")]
    Undecodable {
        /// Where.
        at: u64,
    },
    /// It is no container of Avro that can be read.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// Its schema cannot be read, or a datum is none of it.
    #[error("it does not fit its schema: {0}")]
    Schema(String),
    /// It is packed in a way that is not known.
    #[error("its blocks are packed by {0}; deflate and null can be read")]
    Codec(String),
}

/// How files are read.
#[derive(Clone, Debug)]
pub enum Deserializer {
    /// A line an event.
    Line(lines::Settings),
    /// A datum of Avro an event.
    Avro(SchemaHeader),
    /// The whole file an event, or so many bytes of it.
    Blob(u64),
}

impl Deserializer {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Deserializer {
        let name = keys.text_or("deserializer", "LINE");
        let own = keys.part("deserializer.");
        let read = match name.strip_suffix("$Builder").unwrap_or(&name) {
            word if word.eq_ignore_ascii_case("line") => {
                Deserializer::Line(lines::Settings::read(keys, &own))
            }
            "org.apache.flume.serialization.LineDeserializer" => {
                Deserializer::Line(lines::Settings::read(keys, &own))
            }
            word if word.eq_ignore_ascii_case("avro") => {
                Deserializer::Avro(SchemaHeader::read(&own))
            }
            "org.apache.flume.serialization.AvroEventDeserializer" => {
                Deserializer::Avro(SchemaHeader::read(&own))
            }
            "org.apache.flume.sink.solr.morphline.BlobDeserializer" => {
                let most = own.number("maxBlobLength", 100_000_000, "a whole number from 1", |n| {
                    (1..=i32::MAX as u64).contains(&n)
                });
                Deserializer::Blob(most)
            }
            _ => {
                keys.wrong(
                    "deserializer",
                    &name,
                    "LINE, AVRO, org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder",
                );
                Deserializer::Line(lines::Settings::read(keys, &own))
            }
        };
        own.finish();
        read
    }

    /// Begins to read a file of this length at a place; all its events get these headers.
    ///
    /// # Errors
    ///
    /// If it can have no events.
    pub fn open(
        &self,
        file: File,
        size: u64,
        place: Place,
        headers: Headers,
    ) -> Result<Box<dyn Reading>, Bad> {
        Ok(match self {
            Deserializer::Line(settings) => {
                Box::new(Lines::new(file, size, place, headers, settings.clone())?)
            }
            Deserializer::Avro(header) => Box::new(Avro::new(file, size, place, headers, *header)?),
            Deserializer::Blob(most) => Box::new(Blob::new(file, size, place, headers, *most)),
        })
    }

    /// Whether every event has this header.
    pub fn sets(&self, header: &str) -> bool {
        matches!(self, Deserializer::Avro(own) if own.name() == header)
    }
}
