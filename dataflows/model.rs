//! The facts that the dataflows compute with: ids, hits, neighbours, recalls.
//!
//! Every type here is a totally ordered value without floats, so that results can be compared,
//! sorted and hashed the same way on every worker.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Epoch;

/// A user's id: opaque bytes. `007` and `7` are two users.
///
/// Decimal ids, which are nearly all, are kept as a number. No two users can meet in it: only the
/// canonical decimal of a number of at most 19 digits (no leading zero, no sign) becomes one, and
/// every such number has exactly one canonical decimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct User(Id);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Id {
    Decimal(u64),
    Bytes(Box<[u8]>),
}

/// The most digits of a decimal id that surely fits a `u64`.
const DECIMAL_DIGITS: usize = 19;

impl User {
    /// Makes the id of these bytes.
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> User {
        match decimal(bytes) {
            Some(number) => User::from_decimal(number),
            None => User(Id::Bytes(bytes.into())),
        }
    }

    /// Makes the id whose bytes are the canonical decimal of `number`, which must have at most 19
    /// digits.
    #[inline]
    pub fn from_decimal(number: u64) -> User {
        debug_assert!(number < 10u64.pow(DECIMAL_DIGITS as u32));
        User(Id::Decimal(number))
    }

    /// The number whose canonical decimal the id is, less than 10^19; the bytes of any other id.
    #[inline]
    pub(crate) fn as_decimal(&self) -> Result<u64, &[u8]> {
        match &self.0 {
            Id::Decimal(number) => Ok(*number),
            Id::Bytes(bytes) => Err(bytes),
        }
    }

    /// How many bytes of its own the id takes beside itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Id::Decimal(_) => 0,
            Id::Bytes(bytes) => bytes.len(),
        }
    }

    /// Returns the bytes of the id; `buffer` lends the room for a decimal one.
    pub fn bytes<'a>(&'a self, buffer: &'a mut UserBuffer) -> &'a [u8] {
        match &self.0 {
            Id::Bytes(bytes) => bytes,
            Id::Decimal(number) => {
                let mut rest = *number;
                let mut at = buffer.0.len();
                loop {
                    at -= 1;
                    buffer.0[at] = b'0' + (rest % 10) as u8;
                    rest /= 10;
                    if rest == 0 {
                        break &buffer.0[at..];
                    }
                }
            }
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.bytes(&mut UserBuffer::default())).fmt(f)
    }
}

/// Room for the bytes of a decimal [`User`].
#[derive(Default)]
pub struct UserBuffer([u8; 20]);

fn decimal(bytes: &[u8]) -> Option<u64> {
    let canonical = match bytes {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => {
            rest.len() < DECIMAL_DIGITS && rest.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    canonical.then(|| bytes.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// A channel of the site: `0..=i32::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Channel(pub u32);

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An article's id.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    bytemuck::Pod,
    bytemuck::Zeroable,
)]
#[repr(transparent)]
pub struct Article(pub i64);

impl fmt::Display for Article {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An action that counts as a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// The user opened the article.
    Click,
    /// The user kept the article.
    Collect,
    /// The user passed the article on.
    Share,
}

/// Where a record stands in its epoch's order: by partition, then by offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The ordinal of the partition (topic and partition; for files, the file as read).
    pub partition: u32,
    /// The offset in the partition; for files, the line.
    pub offset: u64,
}

/// A click that counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hit {
    /// Who acted.
    pub user: User,
    /// In which channel.
    pub channel: Channel,
    /// On which article.
    pub article: Article,
    /// What was done.
    pub action: Action,
    /// Where it was read.
    pub place: Place,
}

/// An article that a channel has newly got.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NewArticle {
    /// The channel that got it.
    pub channel: Channel,
    /// The article.
    pub article: Article,
    /// The record's timestamp in milliseconds since 1970; `None` where it carries none.
    pub timestamp: Option<u64>,
    /// Where it was read.
    pub place: Place,
}

/// What one epoch adds to the score of an article in a channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HotIncrement {
    /// The channel.
    pub channel: Channel,
    /// The article.
    pub article: Article,
    /// The sum of the weights of its hits.
    pub weight: u64,
}

/// The nearest neighbours of an article, nearest first, in an immutable list that clones for free.
pub type Neighbours = Arc<[Article]>;

/// What a dataflow must know of a cell of the history before it recalls into it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// The row: whose history.
    pub user: User,
    /// The column: in which channel.
    pub channel: Channel,
}

/// A question for what stands in a cell of the history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ask {
    /// The cell that is asked for.
    pub cell: Cell,
    /// What the answer must carry, so that it finds back.
    pub ticket: Ticket,
}

/// A number that an answer brings back from its question; it means nothing to who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub(crate) u32);

/// What stands in a cell of the history: the answer to a question for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct History {
    /// The ticket of the question.
    pub ticket: Ticket,
    /// Every article of every version that counts, in any order, also more than once.
    pub articles: Vec<Article>,
    /// How many versions stand in the cell, whether they count or not.
    pub versions: u32,
    /// The lists among them that epochs which are run again have left: what such an epoch recalled is
    /// not computed a second time.
    pub receipts: Vec<(Epoch, Vec<Article>)>,
}

impl History {
    /// The answer that nothing stands in the cell.
    pub fn of_nothing(ticket: Ticket) -> History {
        History { ticket, articles: Vec::new(), versions: 0, receipts: Vec::new() }
    }
}

/// The articles that an epoch recalls to a user in a channel: one version of one cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Recall {
    /// The cell that gets the version.
    pub cell: Cell,
    /// What is recalled, in order, never empty, no id twice.
    pub articles: Vec<Article>,
    /// How many versions of the cell come before this one: 0 for the first.
    pub version: u32,
    /// Whether it stands in the history already: an earlier run of the epoch has left it.
    pub stands: bool,
}

/// Which end of the table's values is near.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The greatest value is nearest: the table holds similarities.
    #[default]
    Descending,
    /// The smallest value is nearest: the table holds distances.
    Ascending,
}

/// What a hit adds to a hot score, by its action: each a whole number up to 1,000,000, 0 for "not
/// counted".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// The weight of a click.
    pub click: u32,
    /// The weight of a collect.
    pub collect: u32,
    /// The weight of a share.
    pub share: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { click: 1, collect: 1, share: 1 }
    }
}

impl Weights {
    /// The weight of `action`.
    pub fn of(&self, action: Action) -> u32 {
        match action {
            Action::Click => self.click,
            Action::Collect => self.collect,
            Action::Share => self.share,
        }
    }
}

/// The settings that an epoch's effects depend on; they are bound with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether hot scores are counted.
    pub hot: bool,
    /// Whether new articles are listed.
    pub new: bool,
    /// Whether articles are recalled.
    pub recall: bool,
    /// What a hit adds to a hot score.
    pub weights: Weights,
    /// How many neighbours of an article are looked at.
    pub neighbours: usize,
    /// Which neighbours are nearest.
    pub order: Order,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            hot: true,
            new: true,
            recall: true,
            weights: Weights::default(),
            neighbours: 10,
            order: Order::default(),
        }
    }
}

/// Selects the `count` nearest of an article's neighbours, nearest first: by value in `order`, of
/// equal values the smaller id first. A value that is no finite number is passed over. The row must
/// not name a neighbour twice.
pub fn nearest(
    row: impl IntoIterator<Item = (Article, f64)>,
    count: usize,
    order: Order,
) -> Neighbours {
    let mut row: Vec<_> = row.into_iter().filter(|(_, value)| value.is_finite()).collect();
    row.sort_unstable_by(|(a, x), (b, y)| {
        // `+ 0.0` turns -0.0 into 0.0: total_cmp would tell the two apart, numbers do not.
        let near = (x + 0.0).total_cmp(&(y + 0.0));
        match order {
            Order::Descending => near.reverse(),
            Order::Ascending => near,
        }
        .then(a.cmp(b))
    });
    row.truncate(count);
    row.into_iter().map(|(article, _)| article).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gives_back_the_bytes_it_was_made_of() {
        let ids: [&[u8]; 9] = [
            b"0",
            b"7",
            b"007",
            b"-7",
            b"+7",
            b"1115629498121846784",
            b"9999999999999999999",
            b"10000000000000000000",
            "ü\t".as_bytes(),
        ];
        for id in ids {
            assert_eq!(User::from_bytes(id).bytes(&mut UserBuffer::default()), id);
        }
        assert_ne!(User::from_bytes(b"007"), User::from_bytes(b"7"));
        assert_eq!(User::from_bytes(b"7"), User::from_decimal(7));
    }

    #[test]
    fn a_user_takes_no_more_room_than_a_slice() {
        assert_eq!(size_of::<User>(), 16);
    }

    #[test]
    fn nearest_orders_by_number_then_by_article() {
        let row = [(3, 0.9), (1, 9e-5), (2, 0.9), (9, f64::NAN), (4, -0.0), (5, 0.0)];
        let row = || row.iter().map(|&(article, value)| (Article(article), value));
        let ids = |list: Neighbours| list.iter().map(|article| article.0).collect::<Vec<_>>();
        assert_eq!(ids(nearest(row(), 10, Order::Descending)), [2, 3, 1, 4, 5]);
        assert_eq!(ids(nearest(row(), 3, Order::Ascending)), [4, 5, 1]);
    }
}
