//! The rows of the store: every key's bytes and every value's type, here and nowhere else.
//!
//! ```text
//! keyspace  key                                  value
//! cells     USER \t CHANNEL \t version (u32 BE)  Version: a version of cb_recall, history_recall or both
//! hot       CHANNEL \t ARTICLE                   score (u64 LE)
//! new       CHANNEL \t ARTICLE                   timestamp in ms (u64 LE)
//! similar   ARTICLE                              SimilarRow
//! letters   PLACE \t REASON \t epoch (u64 BE),   the record's bytes
//!           topic (c or a)
//! files     topic (c or a) PATH                  Position
//! ledger    mark, replay, loading                Mark, Replay, Loading
//!           offset (c or a) TOPIC/PARTITION      Offset
//! ```
//!
//! Keys of exported rows are the text that a line of the export begins with, fields escaped: in the
//! store's order they stand as `LC_ALL=C sort` sorts the lines. Version 0 of a cell has a key of its
//! own that is known beforehand, so that "nothing stands here", which is what most look-ups find, is
//! answered by the bloom filters without reading.
//!
//! Values are encoded by `postcard`, whose wire format is stable; a change of a type here is a change of
//! [`super::VERSION`].

use dataflows::{Article, Channel, Epoch, User, UserBuffer};
use serde::{Deserialize, Serialize};

use crate::decode::Reason;
use crate::source::Topic;
use crate::text;

/// A version of a cell, or of two: in a replay a recall stands as one row for its version of
/// cb_recall and the same one of history_recall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// When it was written, in milliseconds since 1970.
    pub timestamp: u64,
    /// What it holds, and where it stands.
    pub list: List,
}

/// The list that a version holds, by where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum List {
    /// In cb_recall and in history_recall: recalled by this job.
    Recalled(Vec<Article>),
    /// In cb_recall only: recalled by this job, and the history's row was replaced since.
    Mailbox(Vec<Article>),
    /// In history_recall only: loaded, as it was written.
    Loaded(Vec<u8>),
}

impl List {
    /// The list as it stands in cb_recall, if it does.
    pub fn in_cb_recall(&self) -> Option<String> {
        match self {
            List::Recalled(articles) | List::Mailbox(articles) => Some(text::list(articles)),
            List::Loaded(_) => None,
        }
    }

    /// The list as it stands in history_recall, if it does.
    pub fn in_history(&self) -> Option<Vec<u8>> {
        match self {
            List::Recalled(articles) => Some(text::list(articles).into_bytes()),
            List::Loaded(text) => Some(text.clone()),
            List::Mailbox(_) => None,
        }
    }
}

/// All neighbours of an article: the neighbour and the value as it was written, which is a finite
/// number, sorted by the line that they make in an export.
pub type SimilarRow = Vec<(Article, String)>;

/// What the store knows of replays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// TIME of the last replay that applied an epoch, in milliseconds since 1970.
    pub time: u64,
    /// No loaded version of a history is dated later.
    pub loaded_until: u64,
}

/// The bytes of a row's value.
pub fn encode(row: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(row).expect("rows hold nothing that postcard cannot encode")
}

/// The key of a version of a cell.
pub fn cell(user: &User, channel: Channel, version: u32) -> Vec<u8> {
    let mut key = cell_prefix(user, channel);
    key.extend_from_slice(&version.to_be_bytes());
    key
}

/// Turns the key of a version of a cell into that of another version of it.
pub fn set_version(key: &mut [u8], version: u32) {
    *key.last_chunk_mut().expect("a cell's key ends with a version") = version.to_be_bytes();
}

/// What the keys of all versions of a cell begin with.
pub fn cell_prefix(user: &User, channel: Channel) -> Vec<u8> {
    let mut key = user_prefix(user.bytes(&mut UserBuffer::default()));
    key.extend_from_slice(itoa(channel.0.into()).as_bytes());
    key.push(b'\t');
    key
}

/// What the keys of all cells of a user begin with.
pub fn user_prefix(user: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(user.len() + 16);
    text::escape(user, &mut key);
    key.push(b'\t');
    key
}

/// The fields of a cell's key: the user, escaped, and the channel, as text; and the version's number.
pub fn cell_fields(key: &[u8]) -> Option<(&[u8], &[u8], u32)> {
    let (fields, version) = key.split_last_chunk()?;
    let tab = memchr::memchr(b'\t', fields)?;
    let channel = fields[tab + 1..].strip_suffix(b"\t")?;
    Some((&fields[..tab], channel, u32::from_be_bytes(*version)))
}

/// The key of an article's score in a channel, in `hot` and `new`.
pub fn score(channel: Channel, article: Article) -> String {
    format!("{channel}\t{article}")
}

/// What the keys of all scores of a channel begin with.
pub fn score_prefix(channel: Channel) -> String {
    format!("{channel}\t")
}

/// The value of a score.
pub fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

/// The key of a dead letter. The epoch tells it from one of another file that had the same path, the
/// topic from that of a file that is read as both.
pub fn letter(place: &[u8], reason: Reason, epoch: Epoch, topic: Topic) -> Vec<u8> {
    let mut key = Vec::with_capacity(place.len() + 32);
    text::escape(place, &mut key);
    key.push(b'\t');
    key.extend_from_slice(reason.name().as_bytes());
    key.push(b'\t');
    key.extend_from_slice(&epoch.0.to_be_bytes());
    key.push(initial(topic));
    key
}

/// The fields of a dead letter's key as they stand in a line: the place, escaped, a tab, the reason.
pub fn letter_fields(key: &[u8]) -> Option<&[u8]> {
    let (fields, _epoch_and_topic) = key.split_last_chunk::<9>()?;
    fields.strip_suffix(b"\t")
}

/// The key of a file's position.
pub fn file(topic: Topic, path: &[u8]) -> Vec<u8> {
    [&[initial(topic)], path].concat()
}

/// What the keys of topics' offsets begin with.
pub const OFFSET: &str = "offset ";

/// The key of how far a partition of a topic has been read.
pub fn offset(topic: Topic, partition: &[u8]) -> Vec<u8> {
    [OFFSET.as_bytes(), &[initial(topic)], partition].concat()
}

/// The topic and partition of such a key.
pub fn offset_fields(key: &[u8]) -> Option<(Topic, &[u8])> {
    file_fields(key.strip_prefix(OFFSET.as_bytes())?)
}

/// How far a partition of a topic has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// The next offset to be read.
    pub next: u64,
    /// The checksum of the last record before it, as [`crate::source::Position::Topic`] has it.
    pub last: u64,
}

fn initial(topic: Topic) -> u8 {
    match topic {
        Topic::Clicks => b'c',
        Topic::Articles => b'a',
    }
}

/// The topic and path of a file's key.
pub fn file_fields(key: &[u8]) -> Option<(Topic, &[u8])> {
    match key {
        [b'c', path @ ..] => Some((Topic::Clicks, path)),
        [b'a', path @ ..] => Some((Topic::Articles, path)),
        _ => None,
    }
}

fn itoa(number: u64) -> String {
    number.to_string()
}
