//! What makes an epoch's effects durable outside.
//!
//! ```text
//!  workers: share of e ──┐
//!  workers: share of e ──┼─▶ apply(binding of e, share)*, in any order ─▶ ledger: mark(e)
//!  workers: share of e ──┘
//! ```
//!
//! A sink gets the shares of an epoch only after its binding (*bound-first*), and says by returning
//! that a share is durable, or that it will be, together with the mark, or not at all. An epoch may be
//! applied again after a crash; every effect says why that is harmless (*idempotent*): in a
//! transaction with the mark it cannot happen; in Redis the key mark tells; in HBase the receipt and
//! the mailbox rule do.

mod embedded;

use std::error::Error;
use std::ops::AddAssign;

use dataflows::{Epoch, HotIncrement, NewArticle, Recall};
use serde::{Deserialize, Serialize};

use crate::decode::Reason;
use crate::ledger::Binding;
use crate::source::Topic;

pub use embedded::Embedded;

/// Why something outside could not be read or written.
pub type Failed = Box<dyn Error + Send + Sync>;

/// Where effects go.
pub trait Sink {
    /// Makes one worker's share of a bound epoch durable, at once or together with the mark.
    ///
    /// # Errors
    ///
    /// Only those that trying again cannot mend: the job stops, and the epoch stays unmarked.
    fn apply(&mut self, binding: &Binding, share: Share) -> Result<(), Failed>;
}

/// What one worker has computed of an epoch.
#[derive(Debug)]
pub struct Share {
    /// The epoch.
    pub epoch: Epoch,
    /// What the score keys that the worker owns gain: one increment a key and article.
    pub hot: Vec<HotIncrement>,
    /// The new articles of the score keys that the worker owns, each once.
    pub new: Vec<NewArticle>,
    /// What is recalled to the cells that the worker owns, each at most once.
    pub recalls: Vec<Recall>,
    /// The dead letters among the records that the worker decoded.
    pub dead_letters: Vec<DeadLetter>,
    /// The records that the worker decoded, and the lists that it recalled.
    pub totals: Totals,
}

impl Share {
    /// A share without any effect.
    pub fn new(epoch: Epoch) -> Share {
        Share {
            epoch,
            hot: Vec::new(),
            new: Vec::new(),
            recalls: Vec::new(),
            dead_letters: Vec::new(),
            totals: Totals::default(),
        }
    }
}

/// A record that is no event: kept, counted, with its bytes, place and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
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
