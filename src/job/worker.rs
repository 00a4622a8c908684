//! One worker's loop: take a chunk, decode it, feed the dataflows, step, hand over what is final.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use dataflows::{Article, Cached, Epoch, Hit, Inputs, Neighbours, NewArticle, Outputs};
use timely::communication::WorkerGuards;
use timely::worker::Worker;

use super::loader::Loaders;
use super::refresher::{Change, Refresher};
use super::{Counted, Job, Part, Share};
use crate::cluster::Network;
use crate::decode::{self, KEPT_OF_TOO_LONG};
use crate::failpoint;
use crate::metrics;
use crate::sink::DeadLetter;
use crate::source::{Chunk, Feed, Next, Topic};

/// What the workers share.
pub(super) struct Plan {
    pub job: Job,
    /// The first epoch that is not marked.
    pub start: Epoch,
    /// The last epoch that was bound before the start.
    pub bound: Epoch,
    pub feed: Arc<Feed>,
    pub loaders: Arc<Loaders>,
    pub refresher: Arc<Refresher>,
    pub shares: Sender<Share>,
}

/// Starts all workers of this process.
pub(super) fn start(plan: Plan, network: Network) -> Result<WorkerGuards<()>, String> {
    network.start(plan.job.workers, move |worker| {
        run(&plan, worker);
        // What is left, if anything, is not to be finished.
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    })
}

fn run(plan: &Plan, worker: &mut Worker) {
    let index = worker.index() % plan.job.workers;
    let history_bytes = plan.job.history_bytes / plan.job.workers;
    let settings = &plan.job.settings;
    let (inputs, outputs) = dataflows::build(worker, settings, history_bytes, plan.bound);
    // One worker of all processes feeds the table for all.
    let similar = (worker.index() == 0 && plan.job.settings.recall).then(|| Similar {
        changes: plan.refresher.attend(),
        complete: false,
        changed: BTreeMap::new(),
    });
    let mut state = State {
        plan,
        index,
        inputs,
        outputs,
        similar,
        open: VecDeque::new(),
        recalling: plan.start,
        cached: Cached::default(),
        begun: Instant::now(),
    };
    plan.feed.attend();
    state.advance_to(plan.start);
    let mut end = None;
    loop {
        let mut idle = false;
        match plan.feed.next() {
            Next::Chunk(chunk) => {
                state.advance_to(chunk.epoch);
                state.feed(&chunk);
            }
            Next::Idle(epoch) => {
                state.advance_to(epoch);
                idle = true;
            }
            Next::End(epoch) => {
                state.advance_to(epoch);
                end = Some(epoch);
                idle = true;
            }
            Next::Stopped => return,
        }
        let changed = state.refresh();
        let answered = state.answer();
        worker.step();
        let asked = state.ask();
        let handed_over = state.hand_over();
        // An epoch that was never closed, because its source failed, is left as it is.
        if end.is_some_and(|end| state.is_done(end)) {
            return;
        }
        if idle && !changed && !answered && !asked && !handed_over {
            // Woken by the feed, by a loader, or by another worker.
            worker.step_or_park(None);
        }
    }
}

struct State<'a> {
    plan: &'a Plan,
    /// Of the workers of this process.
    index: usize,
    inputs: Inputs,
    outputs: Outputs,
    /// Where the one worker that feeds the table hears of it.
    similar: Option<Similar>,
    /// What this worker has counted of the epochs whose scores are not final, in order. The last is of
    /// the epoch that the inputs stand at, once that has a record here.
    open: VecDeque<(Epoch, Counted)>,
    /// The first epoch whose recalls are not final.
    recalling: Epoch,
    /// What was counted of the histories in memory.
    cached: Cached,
    begun: Instant,
}

/// The table of similar articles, as it comes.
struct Similar {
    changes: Receiver<Change>,
    /// It was read to its end once: recalls may be computed.
    complete: bool,
    /// What has changed since in the epoch that is open, each row as it was last.
    changed: BTreeMap<Article, Option<Neighbours>>,
}

/// Feeds changes of the table, which count from the epoch on that it stands at: of each row one.
fn send(inputs: &mut Inputs, rows: impl IntoIterator<Item = (Article, Option<Neighbours>)>) {
    let epoch = *inputs.similar.time();
    for (article, nearest) in rows {
        inputs.similar.send((article, nearest, epoch));
    }
}

impl State<'_> {
    /// Takes what has changed in the table of similar articles.
    fn refresh(&mut self) -> bool {
        let Some(similar) = &mut self.similar else { return false };
        let mut any = false;
        for change in similar.changes.try_iter() {
            any = true;
            match change {
                Change::Rows(rows) if similar.complete => similar.changed.extend(rows),
                Change::Rows(rows) => send(&mut self.inputs, rows),
                Change::Complete if similar.complete => {}
                Change::Complete => {
                    similar.complete = true;
                    self.inputs.similar.advance_to(*self.inputs.hits.time());
                }
            }
        }
        self.advance_similar();
        any
    }

    /// The table counts as of an epoch when no change of it can come any more.
    fn advance_similar(&mut self) {
        let now = *self.inputs.hits.time();
        let complete = self.similar.as_ref().is_none_or(|similar| similar.complete);
        if complete && *self.inputs.similar.time() < now {
            if let Some(similar) = &mut self.similar {
                send(&mut self.inputs, std::mem::take(&mut similar.changed));
            }
            self.inputs.similar.advance_to(now);
        }
        self.inputs.similar.flush();
    }

    /// Says that no record of an epoch below will come on this worker.
    fn advance_to(&mut self, epoch: Epoch) {
        let now = *self.inputs.hits.time();
        if now >= epoch {
            return;
        }
        // A share is due of every epoch, also where it is empty: the committer counts them.
        let from = now.max(self.plan.start).0;
        let from = self.open.back().map_or(from, |(last, _)| last.next().0);
        self.open.extend((from..epoch.0).map(|epoch| (Epoch(epoch), Counted::default())));
        self.inputs.hits.advance_to(epoch);
        self.inputs.articles.advance_to(epoch);
        self.advance_similar();
        if let Some(age) = self.plan.job.history_age {
            self.inputs.generation.set(generation(self.begun.elapsed(), age));
        }
    }

    /// Whether this worker has handed over all epochs before `end`, the first that will never be.
    fn is_done(&self, end: Epoch) -> bool {
        self.open.front().is_none_or(|(epoch, _)| *epoch >= end) && self.recalling >= end
    }

    /// Decodes a chunk of the epoch that the inputs stand at.
    fn feed(&mut self, chunk: &Chunk) {
        if self.open.back().is_none_or(|(last, _)| *last < chunk.epoch) {
            self.open.push_back((chunk.epoch, Counted::default()));
        }
        let (_, share) = self.open.back_mut().expect("a share was just opened");
        for record in chunk.records() {
            let reason = match chunk.partition.topic {
                Topic::Clicks => match decode::click(record.bytes) {
                    Ok(Some(click)) => {
                        let decode::Click { user, channel, article, action } = click;
                        let place = record.place;
                        self.inputs.hits.send(Hit { user, channel, article, action, place });
                        share.totals.hits += 1;
                        continue;
                    }
                    Ok(None) => {
                        share.totals.others += 1;
                        continue;
                    }
                    Err(reason) => reason,
                },
                Topic::Articles => match decode::new_article(record.bytes) {
                    Ok((channel, article)) => {
                        let timestamp = record.timestamp.or(self.plan.job.undated);
                        let place = record.place;
                        self.inputs.articles.send(NewArticle {
                            channel,
                            article,
                            timestamp,
                            place,
                        });
                        share.totals.new_articles += 1;
                        continue;
                    }
                    Err(reason) => reason,
                },
            };
            share.totals.count_dead_letter(reason);
            let kept = match reason {
                decode::Reason::TooLong => &record.bytes[..KEPT_OF_TOO_LONG],
                _ => record.bytes,
            };
            share.dead_letters.push(DeadLetter {
                place: chunk.partition.place(record.place.offset),
                topic: chunk.partition.topic,
                reason,
                bytes: kept.to_owned(),
            });
        }
    }

    /// Feeds the answers that have come, and how far the outside has got.
    fn answer(&mut self) -> bool {
        // Advanced before the answers are fed: they were read when at least this was durable.
        let durable = self.plan.feed.mark().next();
        if *self.inputs.history.time() < durable {
            self.inputs.history.advance_to(durable);
        }
        let answers = self.plan.loaders.take(self.index);
        let any = !answers.is_empty();
        for mut histories in answers {
            self.inputs.history.send_batch(&mut histories);
        }
        any
    }

    /// Passes on what the dataflows ask.
    fn ask(&mut self) -> bool {
        let asks = self.outputs.asks.take_all();
        let any = !asks.is_empty();
        self.plan.loaders.ask(self.index, asks);
        any
    }

    /// Hands over this worker's share of every epoch that has become final: what is counted does not
    /// wait for what is recalled.
    fn hand_over(&mut self) -> bool {
        let closed = *self.inputs.hits.time();
        let mut any = false;
        while let Some((epoch, mut counted)) = self
            .open
            .pop_front_if(|(epoch, _)| *epoch < closed && !self.outputs.counted.less_equal(epoch))
        {
            counted.scores.hot = self.outputs.hot.take(epoch);
            counted.scores.new = self.outputs.new.take(epoch);
            self.send(Share { epoch, part: Part::Counted(counted) });
            any = true;
        }
        while self.recalling < closed && !self.outputs.recalled.less_equal(&self.recalling) {
            let epoch = self.recalling;
            let recalls = self.outputs.recalls.take(epoch);
            self.send(Share { epoch, part: Part::Recalled(recalls) });
            self.recalling = epoch.next();
            let now = self.outputs.cached.get();
            metrics::cached(self.index, std::mem::replace(&mut self.cached, now), now);
            any = true;
        }
        any
    }

    fn send(&self, share: Share) {
        failpoint::reach("share");
        if self.plan.shares.send(share).is_err() {
            // The committer has failed, and has said so: the feed is stopped.
            log::debug!("a share is handed over to nobody: the job is stopping");
        }
    }
}

/// The number of the generation that histories are loaded in: [`dataflows::GENERATIONS`] of them make
/// the age at which one is loaded anew.
fn generation(elapsed: Duration, age: Duration) -> u16 {
    let one = (age / dataflows::GENERATIONS.into()).as_millis().max(1);
    // Wraps after years; only differences count.
    (elapsed.as_millis() / one) as u16
}
