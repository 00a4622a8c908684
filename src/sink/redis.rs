//! Scores in Redis: each score key has one owner, here, and changes one epoch after another.
//!
//! ```text
//!  scores(e) ──▶ by key ──▶ a queue a key ──▶ the first of every queue, in one go ──▶ Scored(e)
//!                                              one script a key: the key mark tells
//! ```
//!
//! A script finds the epoch before in the key mark, applies, and moves the mark; else it changes
//! nothing and says what stands. So a reply that was lost is harmless, and so is a second run: the
//! epoch is found done. Several epochs are under way at once; of one key the next is sent when the one
//! before is answered.
//!
//! Where the ledger stands on the same server, a script applies nothing of an incarnation that it does not
//! know any more.
//!
//! An epoch with many articles of a key is applied in parts, so that no script holds Redis up for
//! long: in between the key mark names the last article of the parts that were applied. The parts are
//! of sorted articles, so a second run goes on behind that article, however it cuts the rest.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use dataflows::{Article, Epoch};
use serde::{Deserialize, Serialize};

use super::Scores;
use crate::cluster::Place;
use crate::config;
use crate::failpoint;
use crate::ledger::{self, Binding, Doubt, Doubts, Names};
use crate::outside::Told;
use crate::redis::{
    self, Client, Dated, KeyMark, Part, ScoreKey, Scored, Token, channel_of, score_key,
};
use crate::retry::{Ended, Fault, Faulty, Peer, Stop, persist};

/// How many articles a script changes at most: a millisecond or two of Redis's time.
const PART: usize = 2000;

/// Where scores begin.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Begin {
    /// The last epoch that was applied to each score key.
    pub keys: BTreeMap<String, KeyMark>,
    /// The epochs that are bound already, and run again: they may have been applied.
    pub bound: Vec<Dated>,
    /// Of score keys an epoch that runs again and is known to have touched them: it does so again, also
    /// where the records that did are gone.
    pub touched: BTreeMap<String, Epoch>,
    /// What must stand in the ledger, where that is on the same server; nothing where it is not looked at.
    pub token: Option<Token>,
}

impl Begin {
    /// With what a start has found.
    pub fn of(found: &ledger::Found) -> Begin {
        let token = Some(found.token());
        let ledger::Found { keys, bound, touched, .. } = found;
        Begin { keys: keys.clone(), bound: bound.clone(), touched: touched.clone(), token }
    }

    /// With epochs that are done, and run again, in the incarnation of that token.
    pub fn again(again: &ledger::Again, token: Token) -> Begin {
        let ledger::Again { standing, keys, touched, .. } = again;
        let bound = standing.bound.iter().map(Dated::of).collect();
        // Where only the first of them run now, the next start goes on behind the last of these.
        let last = standing.bound.back().map_or(standing.mark.epoch, |last| last.epoch);
        let touched = touched.iter().map(|(key, epoch)| (key.clone(), (*epoch).min(last)));
        Begin { keys: keys.clone(), bound, touched: touched.collect(), token: Some(token) }
    }
}

impl Begin {
    /// As far as it concerns a process, of the lists of these names: each is touched by one process.
    #[must_use]
    pub fn of_process(mut self, names: &Names, here: Place) -> Begin {
        // A list of other names is touched by none of the epochs.
        self.touched.retain(|key, _| match channel_of(names, key) {
            Some(channel) => here.owns(channel),
            None => here.index == 0,
        });
        self
    }
}

/// Writes scores into Redis. Calls do not wait; what became of them is told.
///
/// Dropping it stops the job: what was called for and not told may be written, or not.
pub struct Redis {
    stop: Stop,
    calls: Option<Sender<(Arc<Binding>, Scores)>>,
    owner: Option<JoinHandle<()>>,
}

/// This score key stands at another time than the ledger, and why is not found out here: while epochs ran
/// again for it somebody else has written, or a part of Redis went back.
#[derive(Debug, thiserror::Error)]
#[error("{0} stands at another time than the ledger")]
pub struct Changed(pub String);

impl Redis {
    /// Writes scores of a job; `doubts` hears of key marks that stand at another time than the ledger.
    /// Where nobody hears of them, they are failures.
    ///
    /// # Errors
    ///
    /// If a url of the configuration is none.
    pub fn new(
        redis: &config::Redis,
        job: &str,
        begin: Begin,
        told: Sender<Told>,
        stop: Stop,
        doubts: Option<Doubts>,
    ) -> Result<Redis, redis::Error> {
        let Begin { keys, bound, touched, token } = begin;
        let client = Client::new(redis)?;
        let mut owner = Owner {
            token: token.filter(|_| !client.is_cluster()),
            client,
            job: job.to_owned(),
            names: HashMap::new(),
            keys: Vec::new(),
            busy: Vec::new(),
            epochs: BTreeMap::new(),
            bound: bound.into_iter().map(|dated| (dated.epoch, dated.time)).collect(),
            touched: BTreeMap::new(),
            told,
            stop: stop.clone(),
            doubts,
        };
        for (name, last) in keys {
            let nth = owner.key(name.into());
            owner.keys[nth].last = Some(last);
        }
        for (name, epoch) in touched {
            let nth = owner.key(name.into());
            owner.touched.entry(epoch).or_default().push(nth);
        }
        let (calls, asked) = crossbeam_channel::unbounded();
        let owner = std::thread::Builder::new()
            .name("scores".to_owned())
            .spawn(move || owner.run(&asked))
            .expect("the system has room for a thread");
        Ok(Redis { stop, calls: Some(calls), owner: Some(owner) })
    }

    /// Adds to hot scores and sets new ones; told as `Scored`.
    pub fn scores(&mut self, binding: &Arc<Binding>, scores: Scores) {
        let calls = self.calls.as_ref().expect("they end with the drop");
        // An owner that is gone has told of a failure before, and the job stops.
        if calls.send((Arc::clone(binding), scores)).is_err() {
            log::debug!("nobody writes scores any more: the job is stopping");
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be waiting for a server that is away.
        self.stop.stop();
        drop(self.calls.take());
        if let Some(owner) = self.owner.take()
            && owner.join().is_err()
        {
            log::error!("the thread that writes scores has panicked");
        }
    }
}

/// The thread that owns all score keys.
struct Owner {
    client: Client,
    job: String,
    token: Option<Token>,
    names: HashMap<Arc<str>, usize>,
    keys: Vec<Key>,
    /// The keys that have something to write.
    busy: Vec<usize>,
    /// The epochs that are not wholly written.
    epochs: BTreeMap<Epoch, Open>,
    /// The dates of epochs that were bound before this run.
    bound: BTreeMap<Epoch, u64>,
    /// The keys that epochs touch in any case.
    touched: BTreeMap<Epoch, Vec<usize>>,
    told: Sender<Told>,
    stop: Stop,
    doubts: Option<Doubts>,
}

/// A score key.
struct Key {
    name: Arc<str>,
    /// The last epoch that was applied to it, or a part of it.
    last: Option<KeyMark>,
    waiting: VecDeque<Change>,
    /// It stands at another time than the ledger: nothing more is written.
    doubted: bool,
}

/// What an epoch does to a key.
struct Change {
    epoch: Dated,
    adds: bool,
    /// Sorted by article.
    articles: Vec<(Article, u64)>,
}

/// An epoch whose scores are not all written.
struct Open {
    /// Their names.
    keys: Vec<Arc<str>>,
    left: usize,
}

impl Owner {
    fn run(mut self, calls: &Receiver<(Arc<Binding>, Scores)>) {
        loop {
            if self.busy.is_empty() {
                match calls.recv() {
                    Ok((binding, scores)) => self.accept(&binding, scores),
                    Err(_) => return,
                }
            }
            for (binding, scores) in calls.try_iter() {
                self.accept(&binding, scores);
            }
            if let Err(ended) = self.write() {
                return self.tell(match ended {
                    Ended::Stopped => Told::Stopped,
                    Ended::Failed(error) => Told::Failed(error.into()),
                });
            }
        }
    }

    /// Lines up what an epoch does, key by key.
    fn accept(&mut self, binding: &Binding, mut scores: Scores) {
        let epoch = Dated::of(binding);
        scores.hot.sort_unstable_by_key(|hot| (hot.channel, hot.article));
        scores.new.sort_unstable_by_key(|new| (new.channel, new.article));
        let mut keys = Vec::new();
        let mut line_up = |owner: &mut Owner, nth: usize, adds: bool, articles| {
            let key = &mut owner.keys[nth];
            keys.push(Arc::clone(&key.name));
            if key.waiting.is_empty() && !key.doubted {
                owner.busy.push(nth);
            }
            key.waiting.push_back(Change { epoch, adds, articles });
        };
        for hot in scores.hot.chunk_by(|a, b| a.channel == b.channel) {
            let nth = self.key(score_key(&binding.names, ScoreKey::Hot(hot[0].channel)).into());
            let articles = hot.iter().map(|hot| (hot.article, hot.weight)).collect();
            line_up(self, nth, true, articles);
        }
        for new in scores.new.chunk_by(|a, b| a.channel == b.channel) {
            let nth = self.key(score_key(&binding.names, ScoreKey::New(new[0].channel)).into());
            let time = |time: Option<u64>| time.unwrap_or(epoch.time);
            let articles = new.iter().map(|new| (new.article, time(new.timestamp))).collect();
            line_up(self, nth, false, articles);
        }
        for nth in self.touched.remove(&epoch.epoch).unwrap_or_default() {
            let last = self.keys[nth].waiting.back();
            if last.is_none_or(|change| change.epoch != epoch) {
                line_up(self, nth, true, Vec::new());
            }
        }
        if keys.is_empty() {
            self.tell(Told::Scored(epoch.epoch, keys));
        } else {
            self.epochs.insert(epoch.epoch, Open { left: keys.len(), keys });
        }
    }

    fn key(&mut self, name: Arc<str>) -> usize {
        *self.names.entry(name).or_insert_with_key(|name| {
            let (name, waiting) = (Arc::clone(name), VecDeque::new());
            self.keys.push(Key { name, last: None, waiting, doubted: false });
            self.keys.len() - 1
        })
    }

    /// Writes the next of every key, however long that takes. Repeating it is harmless: the key marks
    /// tell what was applied.
    fn write(&mut self) -> Result<(), Ended<redis::Error>> {
        self.busy.retain(|&nth| {
            let epochs = &mut self.epochs;
            let told = &self.told;
            self.keys[nth].pass_what_is_applied(|epoch| one_written(epochs, told, epoch));
            !self.keys[nth].waiting.is_empty()
        });
        if self.busy.is_empty() {
            return Ok(());
        }
        let stop = self.stop.clone();
        persist(&stop, Peer::Redis, "writing scores", |_| self.attempt())
    }

    fn attempt(&mut self) -> Result<(), redis::Error> {
        let parts: Vec<_> = self.busy.iter().map(|&nth| (nth, self.keys[nth].next())).collect();
        let commands: Vec<_> =
            parts.iter().map(|(_, part)| redis::prepare(&self.job, part, self.token)).collect();
        let sent: Vec<_> = parts.into_iter().map(|(nth, part)| (nth, part.after)).collect();
        failpoint::reach("before-scores");
        let answers = self.client.ask_all(&commands);
        failpoint::reach("after-scores");
        let mut failed: Option<redis::Error> = None;
        for ((nth, after), answer) in sent.into_iter().zip(answers) {
            match redis::scored(&self.job, &self.keys[nth].name, answer) {
                Ok(Scored::Now) => self.keys[nth].last = Some(after),
                Ok(Scored::Not(found)) => self.found(nth, after.last, found),
                Ok(Scored::Disowned) => {
                    self.doubt(nth, |doubts, _| doubts.disowned());
                }
                Err(error) => {
                    // What cannot be mended counts before what can.
                    if failed.as_ref().is_none_or(|first| first.fault() != Fault::Fatal) {
                        failed = Some(error);
                    }
                }
            }
            let (epochs, told) = (&mut self.epochs, &self.told);
            self.keys[nth].pass_what_is_applied(|epoch| one_written(epochs, told, epoch));
        }
        let keys = &self.keys;
        self.busy.retain(|&nth| !keys[nth].waiting.is_empty() && !keys[nth].doubted);
        failed.map_or(Ok(()), Err)
    }

    /// Takes in that an epoch was not applied to a key, because of the key mark that stands there.
    fn found(&mut self, nth: usize, sent: Dated, found: Option<KeyMark>) {
        let key = &mut self.keys[nth];
        match judge(sent, found, &self.bound) {
            Judged::Done => key.last = Some(KeyMark::whole(sent)),
            Judged::InParts(mark) => key.last = Some(mark),
            Judged::AtAnotherTime => self.doubt(nth, |doubts, key| {
                doubts.say(Doubt { key: key.name.to_string(), known: key.last, found });
            }),
        }
    }

    /// Says what is wrong with a key, and writes nothing more of it.
    fn doubt(&mut self, nth: usize, say: impl FnOnce(&Doubts, &Key)) {
        let key = &mut self.keys[nth];
        key.doubted = true;
        match &self.doubts {
            Some(doubts) => say(doubts, key),
            None => {
                let changed = Changed(key.name.to_string());
                self.tell(Told::Failed(changed.into()));
            }
        }
    }

    fn tell(&self, what: Told) {
        tell(&self.told, what);
    }
}

impl Key {
    /// Drops what is applied from the queue, and says of which epochs that was the last part.
    fn pass_what_is_applied(&mut self, mut applied: impl FnMut(Epoch)) {
        let Some(last) = self.last else { return };
        let is_applied = |change: &Change| {
            let epoch = change.epoch.epoch;
            epoch < last.last.epoch || (epoch == last.last.epoch && last.through.is_none())
        };
        while self.waiting.front().is_some_and(is_applied) {
            let change = self.waiting.pop_front().expect("it was just looked at");
            applied(change.epoch.epoch);
        }
    }

    /// The next part to write, of a key that has one.
    fn next(&self) -> Part<'_> {
        let Change { epoch, adds, articles } = self.waiting.front().expect("a busy key has work");
        let rest = match self.last {
            Some(KeyMark { last, through: Some(through) }) if last.epoch == epoch.epoch => {
                &articles[articles.partition_point(|(article, _)| *article <= through)..]
            }
            _ => &articles[..],
        };
        let (changes, through) = match rest.get(..PART) {
            Some(part) if rest.len() > PART => (part, part.last().map(|(article, _)| *article)),
            _ => (rest, None),
        };
        let after = KeyMark { last: *epoch, through };
        Part { key: &self.name, adds: *adds, before: self.last, after, changes }
    }
}

/// What a key mark says that an epoch did not expect.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// The epoch was applied before.
    Done,
    /// It was applied in parts, up to this one.
    InParts(KeyMark),
    /// Redis, or this node of it, stands at another time than the ledger.
    AtAnotherTime,
}

fn judge(sent: Dated, found: Option<KeyMark>, bound: &BTreeMap<Epoch, u64>) -> Judged {
    match found {
        Some(found) if found.last == sent => match found.through {
            Some(_) => Judged::InParts(found),
            None => Judged::Done,
        },
        // A later epoch that is bound was applied after this one, in the run before.
        Some(KeyMark { last, .. })
            if last.epoch > sent.epoch && bound.get(&last.epoch) == Some(&last.time) =>
        {
            Judged::Done
        }
        _ => Judged::AtAnotherTime,
    }
}

/// Counts that one key of an epoch is written.
fn one_written(epochs: &mut BTreeMap<Epoch, Open>, told: &Sender<Told>, epoch: Epoch) {
    let open = epochs.get_mut(&epoch).expect("an epoch is open while a key waits");
    open.left -= 1;
    if open.left == 0
        && let Some(Open { keys, .. }) = epochs.remove(&epoch)
    {
        tell(told, Told::Scored(epoch, keys));
    }
}

fn tell(told: &Sender<Told>, what: Told) {
    // Who is gone has heard of a failure before, and the job stops.
    if told.send(what).is_err() {
        log::debug!("nobody hears what became of scores: the job is stopping");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(epoch: u64) -> Dated {
        Dated { epoch: Epoch(epoch), time: 1000 + epoch }
    }

    #[test]
    fn what_a_key_mark_says_that_an_epoch_did_not_expect() {
        let bound = BTreeMap::from([(Epoch(5), 1005), (Epoch(6), 1006)]);
        let whole = |dated| Some(KeyMark::whole(dated));
        let part = |dated| KeyMark { last: dated, through: Some(Article(7)) };
        let other = Dated { time: 5, ..e(6) };
        for (what, found, judged) in [
            ("itself", whole(e(5)), Judged::Done),
            ("a part of itself", Some(part(e(5))), Judged::InParts(part(e(5)))),
            ("a later bound one", whole(e(6)), Judged::Done),
            ("a part of a later bound one", Some(part(e(6))), Judged::Done),
            ("nothing", None, Judged::AtAnotherTime),
            ("an earlier one", whole(e(4)), Judged::AtAnotherTime),
            ("a later one that is not bound", whole(e(7)), Judged::AtAnotherTime),
            ("a later one, bound otherwise", whole(other), Judged::AtAnotherTime),
        ] {
            assert_eq!(judge(e(5), found, &bound), judged, "{what}");
        }
    }

    #[test]
    fn the_parts_of_an_epoch_follow_each_other_and_a_second_run_goes_on_behind_the_last() {
        let articles: Vec<_> = (0..5000).map(|n| (Article(n), 1)).collect();
        let change = Change { epoch: e(5), adds: true, articles };
        let mut key = Key {
            name: "ch:1:hot".into(),
            last: Some(KeyMark::whole(e(3))),
            waiting: VecDeque::from([change]),
            doubted: false,
        };
        let mut cuts = Vec::new();
        let mut done = Vec::new();
        while !key.waiting.is_empty() {
            let part = key.next();
            assert_eq!(part.before, key.last);
            cuts.push((part.changes.len(), part.after.through));
            key.last = Some(part.after);
            key.pass_what_is_applied(|epoch| done.push(epoch));
        }
        let through = |article| Some(Article(article));
        assert_eq!(cuts, [(2000, through(1999)), (2000, through(3999)), (1000, None)]);
        assert_eq!((key.last, done), (Some(KeyMark::whole(e(5))), vec![Epoch(5)]));
        let articles = vec![(Article(-3), 1), (Article(1), 1), (Article(7), 1)];
        key.waiting.push_back(Change { epoch: e(6), adds: true, articles });
        // Another version has cut otherwise.
        key.last = Some(KeyMark { last: e(6), through: through(1) });
        assert_eq!(key.next().changes, [(Article(7), 1)]);
    }
}
