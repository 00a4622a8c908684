//! The bytes of a record become an event, or the reason why not: the only parser of events.
//!
//! ```text
//!            ┌─ usual ─┐ the shape in which the site's producers write, byte for byte
//! click ─────┤         │ not that shape
//!            │         ▼
//!            └─────── json ──▶ any JSON, by serde_json: what it says is what counts
//! new_article ──────▶ ids
//! ```
//!
//! The fast path `usual` answers only for records of which it has verified every byte; it never
//! gives a reason. So it may be removed, and nothing changes but the time that decoding takes;
//! `tests/decode.rs` and `fuzz/` hold that against each other.

mod ids;
mod json;
mod usual;

use std::fmt;

use dataflows::{Action, Article, Channel, User};
use serde::{Deserialize, Serialize};

/// Why a record is no event, in the order in which a reason is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It has more than [`MAX_RECORD`] bytes.
    TooLong,
    /// It has no bytes, or only blanks.
    Empty,
    /// It is not UTF-8.
    NotUtf8,
    /// It is not exactly one JSON object.
    NotJson,
    /// It lacks `channelId`.
    NoChannel,
    /// Its `channelId` is no channel.
    BadChannel,
    /// It lacks `param` (an object) or `param.action` (a string).
    NoAction,
    /// It is a hit without `userId`.
    NoUser,
    /// It is a hit whose `userId` is no user.
    BadUser,
    /// It is a hit without `articleId`.
    NoArticle,
    /// It is a hit whose `articleId` is no article.
    BadArticle,
    /// It is no `CHANNEL,ARTICLE`.
    BadNewArticle,
}

impl Reason {
    /// Every reason, in the order in which one is given.
    pub const ALL: [Reason; 12] = [
        Reason::TooLong,
        Reason::Empty,
        Reason::NotUtf8,
        Reason::NotJson,
        Reason::NoChannel,
        Reason::BadChannel,
        Reason::NoAction,
        Reason::NoUser,
        Reason::BadUser,
        Reason::NoArticle,
        Reason::BadArticle,
        Reason::BadNewArticle,
    ];

    /// The reason's name, as it stands in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::TooLong => "too_long",
            Reason::Empty => "empty",
            Reason::NotUtf8 => "not_utf8",
            Reason::NotJson => "not_json",
            Reason::NoChannel => "no_channel",
            Reason::BadChannel => "bad_channel",
            Reason::NoAction => "no_action",
            Reason::NoUser => "no_user",
            Reason::BadUser => "bad_user",
            Reason::NoArticle => "no_article",
            Reason::BadArticle => "bad_article",
            Reason::BadNewArticle => "bad_new_article",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

/// The most bytes of a record: 1 MiB. Of a longer one only [`KEPT_OF_TOO_LONG`] are kept.
pub const MAX_RECORD: usize = 1 << 20;

/// How many bytes are kept of a record that is too long.
pub const KEPT_OF_TOO_LONG: usize = 1024;

/// A click that counts, as decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Click {
    /// Who acted.
    pub user: User,
    /// In which channel.
    pub channel: Channel,
    /// On which article.
    pub article: Article,
    /// What was done.
    pub action: Action,
}

/// Decodes a record of the topic of clicks: a hit, or `None` for an event that does not count.
///
/// The record stands here without its line end and without the timestamp before it.
pub fn click(record: &[u8]) -> Result<Option<Click>, Reason> {
    match usual::click(record) {
        Some(event) => Ok(event),
        None => click_of_any_shape(record),
    }
}

/// Decodes as [`click`] does, without its fast path: the full path alone, for tests to compare with.
pub fn click_of_any_shape(record: &[u8]) -> Result<Option<Click>, Reason> {
    json::click(text(record)?)
}

/// Decodes a record of the topic of new articles.
///
/// The record stands here without its line end and without the timestamp before it.
pub fn new_article(record: &[u8]) -> Result<(Channel, Article), Reason> {
    let (channel, article) = text(record)?.split_once(',').ok_or(Reason::BadNewArticle)?;
    let channel = ids::channel(channel.trim_matches([' ', '\t']).as_bytes()).and_then(ids::whole);
    let article = ids::article(article.trim_matches([' ', '\t']).as_bytes()).and_then(ids::whole);
    channel.zip(article).ok_or(Reason::BadNewArticle)
}

/// Judges what the records of both topics must be: not too long, not empty, UTF-8.
fn text(record: &[u8]) -> Result<&str, Reason> {
    if record.len() > MAX_RECORD {
        return Err(Reason::TooLong);
    }
    if record.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
        return Err(Reason::Empty);
    }
    str::from_utf8(record).map_err(|_| Reason::NotUtf8)
}
