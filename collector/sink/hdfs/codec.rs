//! Files that are compressed as a whole.
//!
//! At every flush the compressed stream is ended, and the next event begins another behind it, as Flume does:
//! a file of gzip is a row of members, one of bzip2 a row of streams. So a reader gets all that was synced, also of
//! a file whose writer was killed. Hadoop, `gzip`, `bzip2` and their kind read such a row as one.

use std::io::{self, Write};

use bzip2::write::BzEncoder;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::event::Event;
use crate::sink::serializer::Serializer;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
}

impl Codec {
    /// What the name of a file ends with.
    pub fn extension(self) -> &'static str {
        match self {
            Codec::Gzip => ".gz",
            Codec::Bzip2 => ".bz2",
        }
    }

    /// Hadoop's class.
    pub fn class(self) -> &'static str {
        match self {
            Codec::Gzip => "org.apache.hadoop.io.compress.GzipCodec",
            Codec::Bzip2 => "org.apache.hadoop.io.compress.BZip2Codec",
        }
    }

    /// Begins a stream behind what is there.
    pub fn begin(self, out: Vec<u8>) -> Stream {
        match self {
            Codec::Gzip => Stream::Gzip(GzEncoder::new(out, Compression::default())),
            Codec::Bzip2 => Stream::Bzip2(BzEncoder::new(out, bzip2::Compression::best())),
        }
    }

    /// All of these bytes as one stream.
    pub fn packed(self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.begin(Vec::new());
        stream.write(bytes);
        stream.end()
    }
}

/// A compressed stream, with the bytes before it.
pub enum Stream {
    /// A member of gzip.
    Gzip(GzEncoder<Vec<u8>>),
    /// A stream of bzip2.
    Bzip2(BzEncoder<Vec<u8>>),
}

fn taken<T>(done: io::Result<T>) -> T {
    done.expect("a vector takes all")
}

impl Stream {
    /// Compresses these bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        taken(match self {
            Stream::Gzip(stream) => stream.write_all(bytes),
            Stream::Bzip2(stream) => stream.write_all(bytes),
        });
    }

    /// What has come out so far.
    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Stream::Gzip(stream) => stream.get_mut(),
            Stream::Bzip2(stream) => stream.get_mut(),
        }
    }

    /// Ends it.
    pub fn end(self) -> Vec<u8> {
        taken(match self {
            Stream::Gzip(stream) => stream.finish(),
            Stream::Bzip2(stream) => stream.finish(),
        })
    }
}

/// Compresses what another serializer writes. Between two flushes without an event it holds no memory.
pub struct Compressed {
    inner: Box<dyn Serializer>,
    codec: Codec,
    stream: Option<Stream>,
    plain: Vec<u8>,
}

impl Compressed {
    /// A file of what `inner` writes.
    pub fn new(inner: Box<dyn Serializer>, codec: Codec) -> Compressed {
        Compressed { inner, codec, stream: None, plain: Vec::new() }
    }

    fn pack(&mut self, out: &mut Vec<u8>) {
        if self.plain.is_empty() {
            return;
        }
        let codec = self.codec;
        let stream = self.stream.get_or_insert_with(|| codec.begin(Vec::new()));
        stream.write(&self.plain);
        self.plain.clear();
        out.append(stream.out());
    }
}

impl Serializer for Compressed {
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.inner.begin(&mut self.plain);
        self.pack(out);
    }

    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        self.inner.write(event, &mut self.plain);
        self.pack(out);
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        self.inner.flush(&mut self.plain);
        self.pack(out);
        self.plain = Vec::new();
        if let Some(stream) = self.stream.take() {
            out.append(&mut stream.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::sink::serializer::Settings;

    fn read(codec: Codec, bytes: &[u8]) -> String {
        let mut text = String::new();
        match codec {
            Codec::Gzip => flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text),
            Codec::Bzip2 => bzip2::read::MultiBzDecoder::new(bytes).read_to_string(&mut text),
        }
        .unwrap();
        text
    }

    #[test]
    fn all_that_was_flushed_can_be_read_though_more_follows() {
        for codec in [Codec::Gzip, Codec::Bzip2] {
            let text = Settings::Text { appends_newline: true };
            let mut file = Compressed::new(text.open(), codec);
            let mut out = Vec::new();
            file.begin(&mut out);
            assert!(out.is_empty());
            file.write(&Event::new("a"), &mut out);
            file.write(&Event::new("b"), &mut out);
            file.flush(&mut out);
            let length = out.len();
            assert_eq!(read(codec, &out), "a\nb\n");
            file.flush(&mut out);
            assert_eq!(out.len(), length);
            file.write(&Event::new("c"), &mut out);
            file.flush(&mut out);
            assert_eq!(read(codec, &out), "a\nb\nc\n");
        }
    }
}
