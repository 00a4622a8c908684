//! The embedded store as ledger and sink: binding, effects, dead letters and mark of an epoch are one
//! durable transaction.
//!
//! Nothing is bound ahead, and nothing of an epoch can be applied twice: either all of it stands, with
//! the mark, or nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use dataflows::{Article, Channel, HotIncrement, NewArticle, Recall};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::{DeadLetter, Failed, Share, Sink};
use crate::failpoint;
use crate::ledger::{Binding, Ledger, Mark};
use crate::store::rows::{self, List, Replay, Version};
use crate::store::{Error, Store};

/// Writes epochs into the store.
pub struct Embedded {
    store: Arc<Store>,
    replay: Replay,
    batch: fjall::OwnedWriteBatch,
    bound: VecDeque<Binding>,
    scores: Scores,
}

impl Embedded {
    /// Writes the epochs of a replay at `time`.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn new(store: Arc<Store>, time: u64) -> Result<Embedded, Error> {
        let mut replay = store.replay()?;
        replay.time = replay.time.max(time);
        let batch = store.batch();
        Ok(Embedded { store, replay, batch, bound: VecDeque::new(), scores: Scores::default() })
    }

    fn put_hot(&mut self, increment: &HotIncrement) -> Result<(), Error> {
        let HotIncrement { channel, article, weight } = *increment;
        let key = rows::score(channel, article);
        let stands = match self.scores.get((channel, article)) {
            Some(score) => score,
            None => match self.store.value(&self.store.hot, &key)? {
                Some(value) => {
                    rows::number(&value).ok_or_else(|| self.store.damaged("hot", key.as_bytes()))?
                }
                None => 0,
            },
        };
        let score = stands + weight;
        self.scores.put((channel, article), score);
        self.batch.insert(&self.store.hot, key, score.to_le_bytes());
        Ok(())
    }

    fn put_new(&mut self, article: &NewArticle, binding: &Binding) {
        let key = rows::score(article.channel, article.article);
        let timestamp = article.timestamp.unwrap_or(binding.time);
        self.batch.insert(&self.store.new, key, timestamp.to_le_bytes());
    }

    fn put_recall(&mut self, recall: Recall, binding: &Binding) {
        let Recall { cell, articles, version } = recall;
        let key = rows::cell(&cell.user, cell.channel, version);
        let version = Version { timestamp: binding.time, list: List::Recalled(articles) };
        self.batch.insert(&self.store.cells, key, rows::encode(&version));
    }

    fn put_dead_letter(&mut self, letter: DeadLetter, binding: &Binding) {
        let key = rows::letter(&letter.place, letter.reason, binding.epoch, letter.topic);
        self.batch.insert(&self.store.letters, key, letter.bytes);
    }
}

impl Sink for Embedded {
    fn apply(&mut self, binding: &Binding, mut share: Share) -> Result<(), Failed> {
        for increment in &share.hot {
            self.put_hot(increment)?;
        }
        for article in &share.new {
            self.put_new(article, binding);
        }
        // Sorted writes find their places side by side.
        share.recalls.sort_unstable_by(|a, b| a.cell.cmp(&b.cell));
        for recall in share.recalls {
            self.put_recall(recall, binding);
        }
        for letter in share.dead_letters {
            self.put_dead_letter(letter, binding);
        }
        Ok(())
    }
}

impl Ledger for Embedded {
    fn bind(&mut self, binding: &Binding) -> Result<(), Failed> {
        self.bound.push_back(binding.clone());
        Ok(())
    }

    fn mark(&mut self, mark: &Mark) -> Result<(), Failed> {
        let binding = self.bound.pop_front().filter(|binding| binding.epoch == mark.epoch);
        let binding = binding.expect("the mark passes the first bound epoch");
        let mut batch = std::mem::replace(&mut self.batch, self.store.batch());
        for range in &binding.ranges {
            self.store.put_range(&mut batch, range);
        }
        self.store.put_mark(&mut batch, mark, &self.replay);
        failpoint::reach("before-commit");
        self.store.commit(batch)?;
        failpoint::reach("after-commit");
        Ok(())
    }
}

/// Scores that were written lately, so that they need not be read: two generations, of which the older
/// goes when the younger is full.
#[derive(Default)]
struct Scores {
    young: Generation,
    old: Generation,
}

type Generation = HashMap<(Channel, Article), u64, FxBuildHasher>;

/// How many scores a generation holds.
const GENERATION: usize = 1 << 17;

impl Scores {
    fn get(&self, key: (Channel, Article)) -> Option<u64> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    fn put(&mut self, key: (Channel, Article), score: u64) {
        if self.young.len() == GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, score);
    }
}
