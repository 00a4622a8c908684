//! The embedded store as all that stands outside: binding, effects, dead letters and mark of an epoch
//! are one durable transaction.
//!
//! Nothing is bound ahead, and nothing of an epoch can be applied twice: either all of it stands, with
//! the mark, or nothing. So the parts of an epoch wait in memory for the mark.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::Sender;
use dataflows::{Article, Channel, Epoch, HotIncrement, NewArticle, Recall};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::{DeadLetter, Scores};
use crate::failpoint;
use crate::ledger::Binding;
use crate::outside::{Done, Effects, Outside, Told};
use crate::source::Group;
use crate::store::rows::{self, List, Replay, Version};
use crate::store::{Error, Store};

/// Writes epochs into the store.
pub struct Embedded {
    store: Arc<Store>,
    replay: Replay,
    told: Sender<Told>,
    waiting: BTreeMap<Epoch, Waiting>,
    scores: Written,
    /// Whom lag tools ask how far the mark has come; none where the source is no topic.
    group: Option<Group>,
}

/// What an epoch does.
#[derive(Default)]
struct Waiting {
    scores: Scores,
    recalls: Vec<Recall>,
    letters: Vec<DeadLetter>,
}

impl Embedded {
    /// Writes the epochs of a replay at `time`, or of a job that is dated by the clock, and tells what
    /// became of them.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn new(
        store: Arc<Store>,
        time: Option<u64>,
        told: Sender<Told>,
    ) -> Result<Embedded, Error> {
        let mut replay = store.replay()?;
        replay.time = replay.time.max(time.unwrap_or(0));
        let (waiting, scores) = (BTreeMap::new(), Written::default());
        Ok(Embedded { store, replay, told, waiting, scores, group: None })
    }

    /// Tells a group, too, how far the mark has come.
    pub fn telling(self, group: Group) -> Embedded {
        Embedded { group: Some(group), ..self }
    }

    fn effects(&mut self, binding: &Binding) -> &mut Waiting {
        self.waiting.entry(binding.epoch).or_default()
    }

    fn tell(&self, told: Told) {
        // Who is gone has heard of a failure before, and the job stops.
        if self.told.send(told).is_err() {
            log::debug!("nobody hears what became of an epoch: the job is stopping");
        }
    }

    /// Makes an epoch durable.
    fn commit(&mut self, done: &Done) -> Result<(), Error> {
        let mut batch = self.store.batch();
        let mut effects = self.waiting.remove(&done.binding.epoch).unwrap_or_default();
        for increment in &effects.scores.hot {
            self.put_hot(&mut batch, increment)?;
        }
        for article in &effects.scores.new {
            self.put_new(&mut batch, article, &done.binding);
        }
        // Sorted writes find their places side by side.
        effects.recalls.sort_unstable_by(|a, b| a.cell.cmp(&b.cell));
        for recall in effects.recalls {
            self.put_recall(&mut batch, recall, &done.binding);
        }
        for letter in effects.letters {
            self.put_dead_letter(&mut batch, letter, &done.binding);
        }
        for range in &done.binding.ranges {
            self.store.put_range(&mut batch, range);
        }
        self.store.put_mark(&mut batch, &done.mark, &self.replay);
        failpoint::reach("before-commit");
        self.store.commit(batch)?;
        failpoint::reach("after-commit");
        Ok(())
    }

    fn put_hot(
        &mut self,
        batch: &mut fjall::OwnedWriteBatch,
        increment: &HotIncrement,
    ) -> Result<(), Error> {
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
        batch.insert(&self.store.hot, key, score.to_le_bytes());
        Ok(())
    }

    fn put_new(&self, batch: &mut fjall::OwnedWriteBatch, article: &NewArticle, binding: &Binding) {
        let key = rows::score(article.channel, article.article);
        let timestamp = article.timestamp.unwrap_or(binding.time);
        batch.insert(&self.store.new, key, timestamp.to_le_bytes());
    }

    fn put_recall(&self, batch: &mut fjall::OwnedWriteBatch, recall: Recall, binding: &Binding) {
        let Recall { cell, articles, version, .. } = recall;
        let key = rows::cell(&cell.user, cell.channel, version);
        let version = Version { timestamp: binding.time, list: List::Recalled(articles) };
        batch.insert(&self.store.cells, key, rows::encode(&version));
    }

    fn put_dead_letter(
        &self,
        batch: &mut fjall::OwnedWriteBatch,
        letter: DeadLetter,
        binding: &Binding,
    ) {
        let key = rows::letter(&letter.place, letter.reason, binding.epoch, letter.topic);
        batch.insert(&self.store.letters, key, letter.bytes);
    }
}

impl Effects for Embedded {
    fn scores(&mut self, binding: &Arc<Binding>, scores: Scores) {
        self.effects(binding).scores = scores;
        self.tell(Told::Scored(binding.epoch, Vec::new()));
    }

    fn recalls(&mut self, binding: &Arc<Binding>, recalls: Vec<Recall>) {
        self.effects(binding).recalls = recalls;
        self.tell(Told::Recalled(binding.epoch));
    }
}

impl Outside for Embedded {
    fn bind(&mut self, binding: &Arc<Binding>) {
        self.tell(Told::Bound(binding.epoch));
    }

    fn dead_letters(&mut self, binding: &Arc<Binding>, letters: Vec<DeadLetter>) {
        self.effects(binding).letters = letters;
        self.tell(Told::Kept(binding.epoch, 0));
    }

    fn mark(&mut self, done: Done) {
        let told = match self.commit(&done) {
            Ok(()) => Told::Marked(done.binding.epoch),
            Err(error) => Told::Failed(error.into()),
        };
        self.tell(told);
    }

    fn marked(&mut self, binding: &Binding) {
        if let Some(group) = &self.group {
            group.tell(&binding.ranges);
        }
    }
}

/// Scores that were written lately, so that they need not be read: two generations, of which the older
/// goes when the younger is full.
#[derive(Default)]
struct Written {
    young: Generation,
    old: Generation,
}

type Generation = HashMap<(Channel, Article), u64, FxBuildHasher>;

/// How many scores a generation holds.
const GENERATION: usize = 1 << 17;

impl Written {
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
