//! Hadoop's SequenceFile, version 6, as Hadoop 3 writes it: of each event the time, in milliseconds, as a
//! `LongWritable`, and the body as a `BytesWritable` or a `Text`.
//!
//! ```text
//! header   "SEQ" 6 | key class | value class | compressed? | blocks? | [codec class] | no metadata | marker
//! record   length | length of the key | key | value
//! block    -1 | marker | many | lengths of keys | keys | lengths of values | values      each packed, with its length
//! ```
//!
//! Before a record that begins 100 KiB or more behind the last one stand -1 and the marker, and at
//! every flush. With a codec the records stand in blocks (Flume asks for no other compression), of about a
//! megabyte; a flush ends a block.

use std::time::{SystemTime, UNIX_EPOCH};

use super::codec::Codec;
use crate::event::Event;
use crate::sink::serializer::Serializer;

/// How far apart markers stand: Hadoop 3's.
const MARKERS: u64 = 5 * 1024 * 20;

/// How large a block grows: Hadoop's `io.seqfile.compress.blocksize`.
const BLOCK: usize = 1_000_000;

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// `BytesWritable`.
    Writable,
    /// `Text`.
    Text,
}

/// A file that is being written.
pub struct SequenceFile {
    values: Values,
    marker: [u8; 16],
    /// How long the file is, and where the last marker ends.
    length: u64,
    marked: u64,
    block: Option<Block>,
}

/// Records that wait to be packed.
struct Block {
    codec: Codec,
    many: usize,
    key_lengths: Vec<u8>,
    keys: Vec<u8>,
    value_lengths: Vec<u8>,
    values: Vec<u8>,
}

impl SequenceFile {
    /// A new one.
    pub fn new(values: Values, codec: Option<Codec>) -> SequenceFile {
        let block = codec.map(|codec| Block {
            codec,
            many: 0,
            key_lengths: Vec::new(),
            keys: Vec::new(),
            value_lengths: Vec::new(),
            values: Vec::new(),
        });
        let marker = *uuid::Uuid::new_v4().as_bytes();
        SequenceFile { values, marker, length: 0, marked: 0, block }
    }

    fn mark(&mut self, out: &mut Vec<u8>) {
        if self.marked != self.length {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            out.extend_from_slice(&self.marker);
            self.length += 20;
            self.marked = self.length;
        }
    }

    fn record(&mut self, key: i64, body: &[u8], out: &mut Vec<u8>) {
        if self.length >= self.marked + MARKERS {
            self.mark(out);
        }
        let before = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&8_i32.to_be_bytes());
        out.extend_from_slice(&key.to_be_bytes());
        value(self.values, body, out);
        let length = (out.len() - before - 8) as i32;
        out[before..before + 4].copy_from_slice(&length.to_be_bytes());
        self.length += (out.len() - before) as u64;
    }

    fn end_block(&mut self, out: &mut Vec<u8>) {
        let Some(mut block) = self.block.take_if(|block| block.many > 0) else {
            return;
        };
        self.mark(out);
        let before = out.len();
        number(block.many as i64, out);
        for part in
            [&mut block.key_lengths, &mut block.keys, &mut block.value_lengths, &mut block.values]
        {
            let packed = block.codec.packed(part);
            number(packed.len() as i64, out);
            out.extend_from_slice(&packed);
            *part = Vec::new();
        }
        self.length += (out.len() - before) as u64;
        block.many = 0;
        self.block = Some(block);
    }
}

/// A value as Hadoop writes it.
fn value(values: Values, body: &[u8], out: &mut Vec<u8>) {
    match values {
        Values::Writable => out.extend_from_slice(&(body.len() as i32).to_be_bytes()),
        Values::Text => number(body.len() as i64, out),
    }
    out.extend_from_slice(body);
}

/// A whole number as Hadoop's `WritableUtils.writeVLong` writes it.
fn number(value: i64, out: &mut Vec<u8>) {
    if (-112..=127).contains(&value) {
        out.push(value as u8);
        return;
    }
    let (first, rest) = if value < 0 { (-120_i8, !value) } else { (-112, value) };
    let many = 8 - rest.leading_zeros() as usize / 8;
    out.push((first - many as i8) as u8);
    out.extend_from_slice(&rest.to_be_bytes()[8 - many..]);
}

/// A text as Hadoop's `Text.writeString` writes it.
fn text(value: &str, out: &mut Vec<u8>) {
    number(value.len() as i64, out);
    out.extend_from_slice(value.as_bytes());
}

/// The time of an event: of its header, else now. None where the header is no number.
pub fn key(event: &Event) -> Option<i64> {
    match event.headers.get("timestamp") {
        Some(timestamp) => timestamp.parse().ok(),
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Some(now.as_millis() as i64)
        }
    }
}

impl Serializer for SequenceFile {
    fn begin(&mut self, out: &mut Vec<u8>) {
        let before = out.len();
        out.extend_from_slice(b"SEQ\x06");
        text("org.apache.hadoop.io.LongWritable", out);
        text(
            match self.values {
                Values::Writable => "org.apache.hadoop.io.BytesWritable",
                Values::Text => "org.apache.hadoop.io.Text",
            },
            out,
        );
        let packs = self.block.as_ref().map(|block| block.codec);
        out.extend_from_slice(&[u8::from(packs.is_some()); 2]);
        if let Some(codec) = packs {
            text(codec.class(), out);
        }
        out.extend_from_slice(&0_i32.to_be_bytes());
        out.extend_from_slice(&self.marker);
        self.length += (out.len() - before) as u64;
    }

    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        // Events without a number there do not come this far.
        let key = key(event).unwrap_or_default();
        let Some(block) = &mut self.block else { return self.record(key, &event.body, out) };
        number(8, &mut block.key_lengths);
        block.keys.extend_from_slice(&key.to_be_bytes());
        let before = block.values.len();
        value(self.values, &event.body, &mut block.values);
        number((block.values.len() - before) as i64, &mut block.value_lengths);
        block.many += 1;
        if block.keys.len() + block.values.len() >= BLOCK {
            self.end_block(out);
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if self.block.is_some() { self.end_block(out) } else { self.mark(out) }
    }
}

#[cfg(test)]
mod tests;
