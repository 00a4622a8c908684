//! One worker's loop: take a chunk, decode it, feed the dataflows, step, hand over what is final.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::Sender;
use dataflows::{Epoch, Hit, Inputs, NewArticle, Outputs, nearest};
use timely::communication::WorkerGuards;
use timely::worker::Worker;

use super::loader::Loaders;
use super::{Error, Failure, Job};
use crate::decode::{self, KEPT_OF_TOO_LONG};
use crate::failpoint;
use crate::sink::{DeadLetter, Share};
use crate::source::{Chunk, Feed, Next, Topic};
use crate::tables::Tables;

/// What the workers share.
pub(super) struct Plan {
    pub job: Job,
    /// The first epoch that is not marked.
    pub start: Epoch,
    pub feed: Arc<Feed>,
    pub loaders: Arc<Loaders>,
    pub tables: Arc<dyn Tables>,
    pub shares: Sender<Share>,
    pub failure: Arc<Failure>,
}

/// Starts all workers of this process.
pub(super) fn start(plan: Plan) -> Result<WorkerGuards<()>, String> {
    let workers = plan.job.workers;
    timely::execute(timely::Config::process(workers), move |worker| {
        run(&plan, worker);
        // What is left, if anything, is not to be finished.
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    })
}

fn run(plan: &Plan, worker: &mut Worker) {
    let index = worker.index();
    let history_bytes = plan.job.history_bytes / worker.peers();
    let (inputs, outputs) = dataflows::build(worker, &plan.job.settings, history_bytes);
    let mut state = State { plan, index, inputs, outputs, open: VecDeque::new() };
    plan.feed.attend();
    if index == 0
        && plan.job.settings.recall
        && let Err(error) = state.load_similar()
    {
        return plan.failure.report(error);
    }
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
        let answered = state.answer();
        worker.step();
        let asked = state.ask();
        let handed_over = state.hand_over();
        // An epoch that was never closed, because its source failed, is left as it is.
        if end.is_some_and(|end| state.open.front().is_none_or(|share| share.epoch >= end)) {
            return;
        }
        if idle && !answered && !asked && !handed_over {
            // Woken by the feed, by a loader, or by another worker.
            worker.step_or_park(None);
        }
    }
}

struct State<'a> {
    plan: &'a Plan,
    index: usize,
    inputs: Inputs,
    outputs: Outputs,
    /// This worker's shares of the epochs that are not final, in order. The last is of the epoch that
    /// the inputs stand at, once that has a record here.
    open: VecDeque<Share>,
}

impl State<'_> {
    fn load_similar(&mut self) -> Result<(), Error> {
        let settings = &self.plan.job.settings;
        let rows = &mut self.inputs.similar;
        let mut row = |article, neighbours| {
            let nearest = nearest(neighbours, settings.neighbours, settings.order);
            rows.send((article, Some(nearest), Epoch(0)));
        };
        self.plan.tables.similar(&mut row).map_err(Error::Tables)
    }

    /// Says that no record of an epoch below will come on this worker.
    fn advance_to(&mut self, epoch: Epoch) {
        let now = *self.inputs.hits.time();
        if now >= epoch {
            return;
        }
        // A share is due of every epoch, also where it is empty: the committer counts them.
        let from = now.max(self.plan.start).0;
        let from = self.open.back().map_or(from, |last| last.epoch.next().0);
        self.open.extend((from..epoch.0).map(|epoch| Share::new(Epoch(epoch))));
        self.inputs.hits.advance_to(epoch);
        self.inputs.articles.advance_to(epoch);
        self.inputs.similar.advance_to(epoch);
    }

    /// Decodes a chunk of the epoch that the inputs stand at.
    fn feed(&mut self, chunk: &Chunk) {
        if self.open.back().is_none_or(|last| last.epoch < chunk.epoch) {
            self.open.push_back(Share::new(chunk.epoch));
        }
        let share = self.open.back_mut().expect("a share was just opened");
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
                        let timestamp = record.timestamp.or(Some(self.plan.job.time));
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
        answers.into_iter().for_each(|history| self.inputs.history.send(history));
        self.inputs.history.flush();
        any
    }

    /// Passes on what the dataflows ask.
    fn ask(&mut self) -> bool {
        let asks = self.outputs.asks.take_all();
        let any = !asks.is_empty();
        self.plan.loaders.ask(self.index, asks);
        any
    }

    /// Hands over this worker's share of every epoch that has become final.
    fn hand_over(&mut self) -> bool {
        let mut any = false;
        while let Some(share) = self.open.front()
            && share.epoch < *self.inputs.hits.time()
            && !self.outputs.probe.less_equal(&share.epoch)
        {
            let Some(mut share) = self.open.pop_front() else { break };
            share.hot = self.outputs.hot.take(share.epoch);
            share.new = self.outputs.new.take(share.epoch);
            share.recalls = self.outputs.recalls.take(share.epoch);
            share.totals.recalls = share.recalls.len() as u64;
            failpoint::reach("share");
            if self.plan.shares.send(share).is_err() {
                // The committer has failed, and has said so: the feed is stopped.
                return true;
            }
            any = true;
        }
        any
    }
}
