//! What makes an epoch's effects durable outside; the contract stands in [`crate::outside`].

mod again;
pub mod dead_letters;
mod embedded;
mod hbase;
mod live;
mod redis;

use std::error::Error;
use std::ops::AddAssign;

use dataflows::{HotIncrement, NewArticle};
use serde::{Deserialize, Serialize};

use crate::decode::Reason;
use crate::source::Topic;

pub use again::Again;
pub use dead_letters::DeadLetters;
pub use embedded::Embedded;
pub use hbase::Hbase;
pub use live::{Live, Owned};
pub use redis::{Begin, Changed, Redis};

/// Why something outside could not be read or written.
pub type Failed = Box<dyn Error + Send + Sync>;

/// What an epoch does to score keys: of each key and article one change.
#[derive(Debug, Default)]
pub struct Scores {
    /// What hot scores gain.
    pub hot: Vec<HotIncrement>,
    /// What new scores become; an article without a timestamp gets T(e).
    pub new: Vec<NewArticle>,
}

/// A record that is no event: kept, counted, with its bytes, place and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its place, as people read it: `topic/partition/offset` or `file:line`.
    pub place: Vec<u8>,
    /// What it was taken for.
    pub topic: Topic,
    /// Why it is no event.
    pub reason: Reason,
    /// Its bytes; of one that is too long, the first.
    pub bytes: Vec<u8>,
}

/// How many records were read, by outcome, and what came of them. Nothing is lost: every record read
/// is counted under exactly one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records that are clicks which count.
    pub hits: u64,
    /// Records that are other events of the topic of clicks.
    pub others: u64,
    /// Records that are new articles.
    pub new_articles: u64,
    /// Records that are no events, in the order of [`Reason::ALL`].
    pub dead_letters: [u64; Reason::ALL.len()],
    /// Lists that were recalled.
    pub recalls: u64,
}

impl Totals {
    /// All records read.
    pub fn records(&self) -> u64 {
        self.hits + self.others + self.new_articles + self.all_dead_letters()
    }

    /// All records that are no events.
    pub fn all_dead_letters(&self) -> u64 {
        self.dead_letters.iter().sum()
    }

    /// What has come since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Totals) -> Totals {
        Totals {
            hits: self.hits - earlier.hits,
            others: self.others - earlier.others,
            new_articles: self.new_articles - earlier.new_articles,
            dead_letters: std::array::from_fn(|reason| {
                self.dead_letters[reason] - earlier.dead_letters[reason]
            }),
            recalls: self.recalls - earlier.recalls,
        }
    }

    /// Counts a record that is no event.
    pub fn count_dead_letter(&mut self, reason: Reason) {
        self.dead_letters[reason as usize] += 1;
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.hits += other.hits;
        self.others += other.others;
        self.new_articles += other.new_articles;
        for (sum, count) in self.dead_letters.iter_mut().zip(other.dead_letters) {
            *sum += count;
        }
        self.recalls += other.recalls;
    }
}
