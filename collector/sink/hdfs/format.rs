//! What the files hold: `hdfs.fileType`, with `hdfs.codeC`, `hdfs.writeFormat` and `serializer`.

use super::codec::{Codec, Compressed};
use super::sequence::{SequenceFile, Values};
use crate::keys::Keys;
use crate::sink::serializer::{self, Serializer};

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Hadoop's SequenceFile.
    Sequence(Values, Option<Codec>),
    /// What a serializer writes, compressed or not.
    Stream(serializer::Settings, Option<Codec>),
}

impl Format {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Format {
        #[derive(Clone, Copy, PartialEq)]
        enum Kind {
            Sequence,
            Plain,
            Compressed,
        }
        let kind = keys.choice(
            "hdfs.fileType",
            "SequenceFile",
            &[
                ("SequenceFile", Kind::Sequence),
                ("DataStream", Kind::Plain),
                ("CompressedStream", Kind::Compressed),
            ],
        );
        let codec = codec(keys);
        match (kind, codec) {
            (Kind::Plain, Some(_)) => {
                keys.mistaken(
                    "hdfs.codeC",
                    "hdfs.fileType = DataStream is never compressed; CompressedStream is",
                );
            }
            (Kind::Compressed, None) => {
                keys.mistaken("hdfs.fileType", "CompressedStream needs hdfs.codeC = gzip or bzip2");
            }
            _ => {}
        }
        if kind == Kind::Sequence {
            keys.ignore("serializer", "a SequenceFile has none; hdfs.fileType = DataStream has");
            let values = keys.choice(
                "hdfs.writeFormat",
                "Writable",
                &[("Writable", Values::Writable), ("Text", Values::Text)],
            );
            return Format::Sequence(values, codec);
        }
        keys.ignore("hdfs.writeFormat", "it is of SequenceFiles only");
        Format::Stream(serializer::Settings::read(keys, ""), codec)
    }

    /// What a name ends with where nothing else is said.
    pub fn extension(&self) -> &'static str {
        let (Format::Sequence(_, codec) | Format::Stream(_, codec)) = self;
        codec.map_or("", Codec::extension)
    }

    /// Whether headers are written, or the time.
    pub fn needs_headers(&self) -> bool {
        match self {
            Format::Sequence(..) => true,
            Format::Stream(serializer, _) => serializer.needs_headers(),
        }
    }

    /// A serializer for a new file.
    pub fn open(&self) -> Box<dyn Serializer> {
        match self {
            Format::Sequence(values, codec) => Box::new(SequenceFile::new(*values, *codec)),
            Format::Stream(serializer, None) => serializer.open(),
            Format::Stream(serializer, Some(codec)) => {
                Box::new(Compressed::new(serializer.open(), *codec))
            }
        }
    }
}

fn codec(keys: &Keys<'_>) -> Option<Codec> {
    let text = keys.text("hdfs.codeC")?;
    let name = text.rsplit('.').next().unwrap_or(&text).to_ascii_lowercase();
    match name.strip_suffix("codec").unwrap_or(&name) {
        "none" => None,
        "gzip" => Some(Codec::Gzip),
        "bzip2" => Some(Codec::Bzip2),
        "lzo" | "lzop" | "snappy" | "lz4" | "zstandard" | "zstd" | "default" | "deflate" => {
            keys.mistaken("hdfs.codeC", format_args!("{text} is not supported; use gzip or bzip2"));
            None
        }
        _ => {
            keys.wrong("hdfs.codeC", &text, "gzip, bzip2, none");
            None
        }
    }
}
