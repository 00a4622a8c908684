//! Reads partitions: what is bound exactly as it was bound, then what comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use dataflows::Epoch;

use super::error::Error;
use super::part::{self, Part};
use super::watch::{News, Shared};
use super::{Topics, is_read};
use crate::config::{self, OnGap};
use crate::kafka::{Code, Consumer, Found, Messages, What};
use crate::ledger::{Binding, now};
use crate::retry::Stop;
use crate::source::{Cut, Feed, Spread, Stopped};

/// How long nothing may come before it is asked whether the job ends.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// How long is waited for a record while an epoch is due and may not be begun: its beginning wakes
/// nobody who waits for records.
const SHORT: Duration = Duration::from_millis(5);

/// How many bytes of records an epoch may have before it is closed early, and how many wait here while
/// none may be begun.
const EPOCH_BYTES: usize = 16 << 20;

/// The most records taken at once.
pub(super) const TAKEN: usize = 1024;

/// How long records are waited for that must be there, before it is asked whether they still are.
pub(super) const OVERDUE: Duration = Duration::from_secs(10);

/// How long it counts that the brokers have answered: so long, nothing new is nothing new.
const ANSWERED: u64 = 3_000;

/// Reads partitions into epochs.
pub(super) struct Reader {
    pub messages: Messages,
    /// What is asked about them, by another client.
    pub ask: Arc<Consumer>,
    /// What is read beyond the bound epochs.
    pub topics: Topics,
    /// All that are read here, in the order of an epoch's records.
    pub parts: Vec<Part>,
    /// Which these are.
    pub spread: Spread,
    /// Those that are others than were read, until they begin again: with the ids of their topics, and
    /// their earliest offsets.
    pub lost: BTreeMap<usize, (u128, u64)>,
    pub on_gap: OnGap,
    pub shared: Arc<Shared>,
    pub stop: Stop,
}

/// The epoch that takes what comes.
#[derive(Default)]
struct Open {
    /// It has its number, and perhaps chunks.
    begun: Option<Epoch>,
    records: u64,
    bytes: usize,
}

impl Reader {
    /// Reads the epochs that are bound, then what comes, until the job stops or the source is to end.
    ///
    /// # Errors
    ///
    /// If records cannot be read, or are gone.
    pub fn run(
        &mut self,
        bound: impl IntoIterator<Item = Binding>,
        epoch: config::Epoch,
        feed: &Feed,
        news: &Receiver<News>,
    ) -> Result<(), Error> {
        if !self.read_all_bound(bound, feed)? {
            return Ok(());
        }
        self.begin_again();
        // What was bound of a topic that the configuration does not name any more is done now.
        let Reader { topics, parts, shared, .. } = self;
        parts.retain(|part| {
            let is_read = is_read(topics, part.topic(), &part.partition);
            if !is_read {
                shared.forget(&part.partition);
            }
            is_read
        });
        self.publish();
        self.assign()?;
        self.read_on(epoch, feed, news)
    }

    /// Reads epochs as they were bound. Says whether it did: not where the source is to end, unless others
    /// read them too.
    pub fn read_all_bound(
        &mut self,
        bound: impl IntoIterator<Item = Binding>,
        feed: &Feed,
    ) -> Result<bool, Error> {
        for binding in bound {
            if feed.is_finishing() && !feed.is_of_cluster() {
                return Ok(false);
            }
            self.read_bound(binding, feed)?;
        }
        Ok(true)
    }

    fn read_on(
        &mut self,
        epoch: config::Epoch,
        feed: &Feed,
        news: &Receiver<News>,
    ) -> Result<(), Error> {
        let mut open = Open::default();
        // Nobody who waits for records hears that an epoch was closed elsewhere.
        let longest = if feed.is_of_cluster() { SHORT } else { PATIENCE };
        let mut tick = Instant::now() + epoch.interval;
        loop {
            // 1. Nothing is heard late: of new partitions, of doubts, of the end.
            feed.goes_on()?;
            for heard in news.try_iter() {
                match heard {
                    News::Found(topic, topic_id, found) => {
                        if !self.close_first(&mut open, feed)? {
                            return Ok(());
                        }
                        // One that was gone may be back.
                        self.parts
                            .retain(|part| !found.iter().any(|(it, _)| *it == part.partition));
                        let found = found.into_iter();
                        let new = found.map(|(it, from)| Part::new(topic, (it, topic_id), from, 0));
                        self.parts.extend(new);
                        self.parts.sort_by_key(Part::ordinal);
                        self.publish();
                        self.assign()?;
                    }
                    News::Doubt => self.resume(&mut open, feed)?,
                    News::Failed(error) => return Err(error.into()),
                }
            }
            if feed.is_finishing() {
                if open.records > 0 && (open.begun.is_some() || feed.may_begin()) {
                    self.close(&mut open, feed)?;
                }
                return Ok(());
            }

            // 2. The open epoch is closed at a tick, or as soon after as it may be begun; where it is
            //    full, it is waited for that. Nothing more is taken then, and the client's queue, once
            //    it is full, is not filled: this is the back-pressure.
            //    What others have closed is closed here too, also without a record: epochs are those of all.
            let full = open.records >= epoch.records || open.bytes >= EPOCH_BYTES;
            let now = Instant::now();
            if feed.is_due() && (open.begun.is_some() || feed.may_begin()) {
                self.close(&mut open, feed)?;
                tick = now + epoch.interval;
                continue;
            }
            let due = now >= tick;
            if full {
                self.publish();
            }
            if full && open.begun.is_none() && feed.begin_or_finish()?.is_none() {
                return Ok(());
            }
            if full || due && open.records > 0 && (open.begun.is_some() || feed.may_begin()) {
                self.close(&mut open, feed)?;
            }
            if due && open.records == 0 {
                // Ticks that were missed are not made up for.
                let missed = (now - tick).as_nanos() / epoch.interval.as_nanos().max(1);
                let missed = u32::try_from(missed).unwrap_or(u32::MAX);
                tick += epoch.interval.saturating_mul(missed.saturating_add(1));
            }

            // 3. What comes is taken, and handed over where it makes a chunk.
            let patience = match open.records {
                0 => longest,
                _ if due => SHORT.min(epoch.interval),
                _ => tick.saturating_duration_since(now).min(longest),
            };
            let failed = self.take(patience, epoch.records, &mut open);
            if open.begun.is_some() || self.parts.iter().any(Part::is_full) && feed.may_begin() {
                self.hand_over(&mut open, feed)?;
            }
            if let Some((nth, code)) = failed {
                self.judge_failure(nth, code)?;
                self.resume(&mut open, feed)?;
            }
            if open.records == 0 {
                self.tell_freshness(feed);
            }
        }
    }

    /// Takes what comes into the open epoch.
    fn take(&mut self, patience: Duration, most: u64, open: &mut Open) -> Option<(usize, Code)> {
        let room = most - open.records;
        let room = usize::try_from(room).unwrap_or(TAKEN).min(TAKEN);
        let mut failed = None;
        let mut clock = None;
        let mut last = 0;
        let Reader { messages, parts, .. } = self;
        let taken = messages.poll(patience, room, |found| {
            if !parts.get(last).is_some_and(|part| is_of(part, &found)) {
                let Some(nth) = place(parts, &found) else { return };
                last = nth;
            }
            let part = &mut parts[last];
            let offset = found.offset.unsigned_abs();
            match found.what {
                What::Record { timestamp, value } => {
                    let now = *clock.get_or_insert_with(now);
                    if let Some(bytes) = part.take(offset, part::date(timestamp), value, now) {
                        open.records += 1;
                        open.bytes += bytes;
                    }
                }
                What::End => part.end_at(offset),
                What::Failed(code) => failed = Some((last, code)),
            }
        });
        if taken < room {
            // Nothing was waiting: whoever was at its end is there still, if the brokers would say so.
            let answered = self.shared.answered.load(Ordering::Relaxed);
            let now = now();
            let time = if now < answered + ANSWERED { now } else { answered };
            if answered > 0 {
                self.parts.iter_mut().for_each(|part| part.drained(time));
            }
        }
        failed
    }

    /// Hands over the chunks that are full.
    fn hand_over(&mut self, open: &mut Open, feed: &Feed) -> Result<(), Stopped> {
        let epoch = match open.begun {
            Some(epoch) => epoch,
            None => *open.begun.insert(feed.begin()?),
        };
        for part in self.parts.iter_mut().filter(|part| part.is_full()) {
            push(part, epoch, feed)?;
        }
        Ok(())
    }

    /// Closes the open epoch, which has records and may be begun.
    fn close(&mut self, open: &mut Open, feed: &Feed) -> Result<(), Stopped> {
        let epoch = match open.begun {
            Some(epoch) => epoch,
            None => feed.begin()?,
        };
        let mut ranges = Vec::new();
        for part in &mut self.parts {
            push(part, epoch, feed)?;
            ranges.extend(part.close());
        }
        self.shared.records.fetch_add(open.records, Ordering::Relaxed);
        *open = Open::default();
        feed.close(Cut { epoch, ranges })?;
        self.tell_freshness(feed);
        Ok(())
    }

    /// Tells up to when every record stands in a closed epoch: none waits here.
    fn tell_freshness(&self, feed: &Feed) {
        let seen = self.parts.iter().filter(|part| !part.gone).map(|part| part.seen);
        if self.parts.is_empty() {
            // Of what others read, others tell.
            feed.fresh(now());
        } else if let Some(seen) = seen.min().flatten() {
            feed.fresh(seen);
        }
        self.publish();
    }

    /// Says how far everything is read.
    pub fn publish(&self) {
        let parts = self.parts.iter().filter(|part| !part.gone);
        self.shared.reach(parts.map(|part| (&part.partition, part.passed)));
    }

    /// Reads on where everything was left, once it is sure that this can be done.
    fn resume(&mut self, open: &mut Open, feed: &Feed) -> Result<(), Error> {
        self.look()?;
        // What was read of a topic that was is an epoch of its own.
        if !self.lost.is_empty() && !self.close_first(open, feed)? {
            return Ok(());
        }
        self.begin_again();
        self.assign()
    }

    /// Closes the open epoch, if it has records, before something changes. Says whether that was done,
    /// or the source is to end instead.
    fn close_first(&mut self, open: &mut Open, feed: &Feed) -> Result<bool, Stopped> {
        if open.records > 0 {
            if open.begun.is_none() && feed.begin_or_finish()?.is_none() {
                return Ok(false);
            }
            self.close(open, feed)?;
        }
        Ok(true)
    }

    /// Begins again where a topic was made anew.
    fn begin_again(&mut self) {
        for (nth, (topic_id, earliest)) in std::mem::take(&mut self.lost) {
            self.parts[nth].begin_again(topic_id, earliest);
        }
        self.shared.know(self.parts.iter().map(|part| (&*part.partition.topic, part.topic_id)));
    }

    fn assign(&self) -> Result<(), Error> {
        let parts = self.parts.iter().filter(|part| !part.gone);
        self.messages.read(parts.map(|part| (&part.partition, part.next)))?;
        Ok(())
    }
}

/// Hands over what waits of a partition.
pub(super) fn push(part: &mut Part, epoch: Epoch, feed: &Feed) -> Result<(), Stopped> {
    part.chunk(epoch).map_or(Ok(()), |chunk| feed.push(chunk))
}

fn is_of(part: &Part, found: &Found<'_>) -> bool {
    part.partition.number == found.partition && part.partition.topic.as_bytes() == found.topic
}

/// Which partition it was found in; none if it was given up meanwhile.
pub(super) fn place(parts: &[Part], found: &Found<'_>) -> Option<usize> {
    parts.iter().position(|part| is_of(part, found))
}
