//! Where records come from.
//!
//! A source reads records on threads of its own, cuts them into epochs and writes them, undecoded,
//! into the [`Feed`], from which all workers take:
//!
//! ```text
//!  begin(e) ─▶ push(chunk of e)* ─▶ close(cut of e) ─▶ begin(e + 1) ─▶ … ─▶ end
//!     │             │                    │
//!     │ waits while │ waits while the    └─▶ the committer binds e
//!     │ e is beyond │ queue is full
//!     │ the bound   └─▶ any worker takes it, decodes it and feeds the dataflow at e
//! ```
//!
//! What a source promises: the chunks of an epoch hold exactly the records of its cut's ranges, each
//! once (*contiguous*); the same ranges, read again, hold the same records (*replayable*); it never
//! holds more than a bounded number of bytes in memory, whatever a record's or a file's size.

mod feed;
pub mod files;

use std::sync::Arc;

use dataflows::{Epoch, Place};
use serde::{Deserialize, Serialize};

pub use feed::{Feed, Next, Stopped};

/// What the records of a partition are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topic {
    /// Clicks and the like: JSON objects.
    Clicks,
    /// New articles: `CHANNEL,ARTICLE`.
    Articles,
}

/// Where a run of records stands: a file, or a partition of a topic.
#[derive(Debug)]
pub struct Partition {
    /// What its records are.
    pub topic: Topic,
    /// The name that places begin with: the file as given, or `topic/partition`.
    pub name: Vec<u8>,
    /// What stands between name and offset in a place: `:` for files, `/` for topics.
    pub separator: u8,
    /// Its rank in the order of an epoch's records.
    pub ordinal: u32,
}

impl Partition {
    /// The place of the record at `offset`, as people read it.
    pub fn place(&self, offset: u64) -> Vec<u8> {
        let mut place = self.name.clone();
        place.push(self.separator);
        place.extend_from_slice(offset.to_string().as_bytes());
        place
    }
}

/// A record as read: bytes with a place and a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it stands.
    pub place: Place,
    /// Its timestamp in milliseconds since 1970, if it carries one.
    pub timestamp: Option<u64>,
    /// Its bytes, undecoded.
    pub bytes: &'a [u8],
}

/// A run of consecutive records of one partition and one epoch, undecoded.
#[derive(Debug)]
pub struct Chunk {
    /// The epoch that they belong to.
    pub epoch: Epoch,
    /// The partition that they stand in.
    pub partition: Arc<Partition>,
    /// The offset of the first one.
    pub first: u64,
    /// The records: whole lines, each with its newline but for the last line of a file. A line that
    /// is longer than any record may be stands cut, though still too long.
    pub lines: Vec<u8>,
}

/// How far an epoch reaches in one partition: the half-open range `from..to` of offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// What the records are.
    pub topic: Topic,
    /// The partition's name.
    pub partition: Vec<u8>,
    /// The first offset; for files, the first line, counted from 1.
    pub from: u64,
    /// The offset after the last one.
    pub to: u64,
    /// What a file source must know to go on at `to`.
    pub file: Option<files::Position>,
}

/// What an epoch is: the ranges that it takes of every partition it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The epoch.
    pub epoch: Epoch,
    /// Its ranges, in the order in which they were read.
    pub ranges: Vec<Range>,
}

impl Chunk {
    /// The records.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        std::iter::empty()
    }
}
