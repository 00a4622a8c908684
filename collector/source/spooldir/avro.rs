//! A datum of a container of Avro an event.

use std::fs::File;
use std::io::Read;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use bytes::Bytes;

use super::container::{Error, Header};
use super::reading::{Bad, Reading};
use super::tracker::Place;
use crate::event::{Event, Headers};
use crate::keys::Keys;

/// A block that is longer when it is unpacked is none.
const LONGEST: u64 = 1 << 30;

/// What the header says of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaHeader {
    /// Its fingerprint.
    Hash,
    /// All of it.
    Literal,
}

impl SchemaHeader {
    /// Reads its key.
    pub fn read(keys: &Keys<'_>) -> SchemaHeader {
        keys.choice(
            "schemaType",
            "HASH",
            &[("HASH", SchemaHeader::Hash), ("LITERAL", SchemaHeader::Literal)],
        )
    }

    /// The header's name.
    pub fn name(self) -> &'static str {
        match self {
            SchemaHeader::Hash => "flume.avro.schema.hash",
            SchemaHeader::Literal => "flume.avro.schema.literal",
        }
    }
}

/// Makes events of datums.
#[derive(Debug)]
pub struct Avro {
    file: File,
    size: u64,
    header: Header,
    schema: Schema,
    is_deflated: bool,
    headers: Headers,
    /// Where the block that is read begins, and the next.
    begin: u64,
    next: u64,
    /// How many of its events are read, and how many are left.
    read: u64,
    left: u64,
    rest: Bytes,
}

impl Avro {
    /// Reads a file from here.
    ///
    /// # Errors
    ///
    /// If it is no container that can be read.
    pub fn new(
        file: File,
        size: u64,
        place: Place,
        mut headers: Headers,
        with: SchemaHeader,
    ) -> Result<Avro, Bad> {
        let header = Header::read(&file, size)?;
        let text = header.get("avro.schema").and_then(|text| std::str::from_utf8(text).ok());
        let text = text.ok_or(Error::Foreign)?;
        let schema = Schema::parse_str(text).map_err(|error| Bad::Schema(error.to_string()))?;
        let is_deflated = match header.get("avro.codec") {
            None | Some(b"null") => false,
            Some(b"deflate") => true,
            Some(other) => return Err(Bad::Codec(String::from_utf8_lossy(other).into_owned())),
        };
        match with {
            SchemaHeader::Hash => {
                headers.set(with.name(), schema.fingerprint::<Rabin>().to_string());
            }
            SchemaHeader::Literal => headers.set(with.name(), text),
        }
        let next = header.block_behind(&file, place.offset, size)?;
        let mut avro = Avro {
            file,
            size,
            header,
            schema,
            is_deflated,
            headers,
            begin: next,
            next,
            read: 0,
            left: 0,
            rest: Bytes::new(),
        };
        let mut skip = place.skip;
        while skip > 0 {
            let skipped = avro.read(skip.min(1000) as usize)?.len();
            if skipped == 0 {
                break;
            }
            skip -= skipped as u64;
        }
        Ok(avro)
    }

    fn next_block(&mut self) -> Result<bool, Bad> {
        while self.left == 0 {
            let Some(block) = self.header.block(&self.file, self.next, self.size)? else {
                return Ok(false);
            };
            (self.begin, self.next) = (self.next, block.end);
            (self.read, self.left) = (0, block.count);
            self.rest = if self.is_deflated {
                let mut unpacked = Vec::new();
                let unpack = flate2::read::DeflateDecoder::new(&*block.bytes);
                let read = unpack.take(LONGEST).read_to_end(&mut unpacked);
                read.map_err(|_| Error::Damaged(self.begin))?;
                unpacked.into()
            } else {
                block.bytes.into()
            };
        }
        Ok(true)
    }
}

impl Reading for Avro {
    fn read(&mut self, most: usize) -> Result<Vec<Event>, Bad> {
        let mut events = Vec::new();
        while events.len() < most {
            match self.next_block() {
                Ok(true) => {}
                Ok(false) => break,
                // What is well before it is put first.
                Err(_) if !events.is_empty() => break,
                Err(error) => return Err(error),
            }
            let reader = GenericDatumReader::builder(&self.schema).build();
            let reader = reader.map_err(|error| Bad::Schema(error.to_string()))?;
            while self.left > 0 && events.len() < most {
                let mut behind = &*self.rest;
                if let Err(error) = reader.read_value(&mut behind) {
                    if events.is_empty() {
                        return Err(Bad::Schema(error.to_string()));
                    }
                    return Ok(events);
                }
                let body = self.rest.split_to(self.rest.len() - behind.len());
                events.push(Event { headers: self.headers.clone(), body });
                self.left -= 1;
                self.read += 1;
            }
        }
        Ok(events)
    }

    fn place(&self) -> Place {
        if self.left == 0 {
            // Flume seeks the mark that stands before a block.
            return Place { offset: self.next - 16, skip: 0 };
        }
        Place { offset: self.begin - 16, skip: self.read }
    }

    fn has_ended(&self) -> bool {
        self.left == 0 && self.next >= self.size
    }
}
