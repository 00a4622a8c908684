//! The bytes of a record become an event, or the reason why not: the only parser of events.

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
pub fn click(_record: &[u8]) -> Result<Option<Click>, Reason> {
    Err(Reason::NotJson)
}

/// Decodes a record of the topic of new articles.
pub fn new_article(_record: &[u8]) -> Result<(Channel, Article), Reason> {
    Err(Reason::BadNewArticle)
}
