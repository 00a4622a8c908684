//! Watches the topics beside the reader: what partitions there are, how far they reach, and whether
//! anybody answers; and tells the group how far the job has come.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::kafka::{self, At, Consumer, Partition};
use crate::ledger::now;
use crate::metrics;
use crate::retry::{Ended, Peer, Stop, chain, persist};
use crate::source::{Range, Spread, Topic};

use super::Topics;

/// How often everything is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is logged how far behind the job is, while it is.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// How often in a row a topic must be missing, or too short, to be so: a cluster that changes may say
/// so for a moment.
const SURE: u32 = 3;

/// What the reader hears of the topics.
pub(super) enum News {
    /// There are more partitions of a topic with this id, which begin there.
    Found(Topic, u128, Vec<(Partition, u64)>),
    /// A topic seems to be another than it was.
    Doubt,
    /// The topics cannot be read.
    Failed(kafka::Error),
}

/// What the reader and its watch tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// How far every partition is read.
    reached: Mutex<BTreeMap<Partition, u64>>,
    /// The ids of the topics that are read, by name.
    ids: Mutex<BTreeMap<String, u128>>,
    /// How many records are read.
    pub records: AtomicU64,
    /// When the brokers were last asked something that they answered, in milliseconds since 1970.
    pub answered: AtomicU64,
    /// The offsets of the mark that the group was not told yet.
    marks: Mutex<BTreeMap<Partition, u64>>,
}

impl Shared {
    /// Notes how far partitions are read.
    pub fn reach<'a>(&self, offsets: impl Iterator<Item = (&'a Partition, u64)>) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, offset) in offsets {
            match reached.get_mut(partition) {
                Some(reached) => *reached = offset,
                None => drop(reached.insert(partition.clone(), offset)),
            }
        }
    }

    /// Notes which topics are read.
    pub fn know<'a>(&self, ids: impl Iterator<Item = (&'a str, u128)>) {
        let mut known = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(ids.map(|(topic, id)| (topic.to_owned(), id)));
    }

    /// Whether the topic of this id is the one that is read.
    fn knows(&self, topic: &str, id: u128) -> bool {
        let known = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(topic).is_none_or(|known| *known == 0 || id == 0 || *known == id)
    }

    /// Forgets a partition that is read no more.
    pub fn forget(&self, partition: &Partition) {
        metrics::not_read(&partition.topic, partition.number);
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).remove(partition);
    }

    fn reached(&self) -> BTreeMap<Partition, u64> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells the group how far the job has come: for lag tools alone. Nothing reads it back.
#[derive(Clone, Debug)]
pub struct Group(pub(super) Arc<Shared>);

impl Group {
    /// Takes the ranges of an epoch that the mark has passed; never waits. They are told within a
    /// second; a refusal is logged once.
    pub fn tell(&self, ranges: &[Range]) {
        let mut marks = self.0.marks.lock().unwrap_or_else(PoisonError::into_inner);
        for range in ranges {
            if let Some(partition) = Partition::parse(&range.partition) {
                marks.insert(partition, range.to);
            }
        }
    }
}

/// Watches the topics until it is stopped.
pub(super) struct Watch {
    pub ask: Arc<Consumer>,
    pub topics: Topics,
    /// Which of their partitions are read here.
    pub spread: Spread,
    pub shared: Arc<Shared>,
    /// How many records behind is behind.
    pub behind: u64,
    pub stop: Stop,
    pub news: Sender<News>,
}

/// What was seen before.
#[derive(Default)]
struct Seen {
    /// How often in a row a topic was missing.
    missing: u32,
    /// How often in a row a partition was missing, or ended before what was read of it.
    short: u32,
    /// Whether a topic has another id.
    another: bool,
    lag: u64,
}

/// How far behind the job was when that was last logged.
struct Logged {
    at: Instant,
    lag: Option<u64>,
    records: u64,
}

impl Watch {
    /// Watches.
    pub fn run(&self) {
        let mut seen = Seen::default();
        let mut logged = Logged { at: Instant::now(), lag: None, records: 0 };
        let mut first = true;
        while first || !self.stop.wait(EVERY) {
            first = false;
            self.tell_group();
            // Looking changes nothing.
            let look = |_| self.look(&mut seen);
            match persist(&self.stop, Peer::Kafka, "what the topics are", look) {
                Ok(()) => {}
                Err(Ended::Stopped) => break,
                Err(Ended::Failed(kafka::Error::NoTopic { .. })) if seen.missing + 1 < SURE => {
                    seen.missing += 1;
                    continue;
                }
                Err(Ended::Failed(error)) => return self.say(News::Failed(error)),
            }
            let was_missing = std::mem::take(&mut seen.missing) > 0;
            let is_another = std::mem::take(&mut seen.another);
            if was_missing || is_another || seen.short >= SURE {
                seen.short = 0;
                self.say(News::Doubt);
            }
            if logged.at.elapsed() >= LOGGED_EVERY {
                self.log(&mut logged, seen.lag);
            }
        }
        self.tell_group();
    }

    fn look(&self, seen: &mut Seen) -> Result<(), kafka::Error> {
        let reached = self.shared.reached();
        // 1. Partitions that are new begin at their beginning; one that is no more is the reader's to
        //    judge.
        let mut missing = false;
        let names = self.topics.each_ref().map(|(_, name)| &**name);
        // In this order: of one that is missing the ids would say less.
        let there = [self.ask.partitions(names[0])?, self.ask.partitions(names[1])?];
        let ids = self.ask.topic_ids(&names)?;
        for (((topic, name), id), mut new) in self.topics.iter().zip(ids).zip(there) {
            seen.another |= !self.shared.knows(name, id);
            let is_there = |partition: &Partition| new.contains(partition);
            let mut of_it = reached.keys().filter(|partition| *partition.topic == **name);
            missing |= !of_it.all(is_there);
            new.retain(|it| self.spread.has(*topic, it.number) && !reached.contains_key(it));
            if !new.is_empty() {
                let beginnings = self.ask.offsets(At::Beginning, &new)?;
                for (partition, from) in &beginnings {
                    log::info!("a new partition: partition={partition} offset={from}");
                }
                // Known from now on; read as soon as the reader hears of it.
                self.shared.reach(beginnings.iter().map(|(partition, from)| (partition, *from)));
                self.say(News::Found(*topic, id, beginnings.into_iter().collect()));
            }
        }
        if missing {
            seen.short += 1;
            return Ok(());
        }
        // 2. What was read before the question stands before the answer, or is gone.
        let asked = now();
        let ends = self.ask.offsets(At::End, reached.keys())?;
        self.shared.answered.store(asked, Ordering::Relaxed);
        let mut lag = 0;
        let mut short = false;
        for (partition, end) in &ends {
            let reached = reached[partition];
            short |= *end < reached;
            let left = end.saturating_sub(reached);
            metrics::lag(&partition.topic, partition.number, left);
            lag += left;
        }
        seen.short = if short { seen.short + 1 } else { 0 };
        seen.lag = lag;
        Ok(())
    }

    /// Logs how far behind the job is, and for how long yet.
    fn log(&self, logged: &mut Logged, lag: u64) {
        let records = self.shared.records.load(Ordering::Relaxed);
        let seconds = logged.at.elapsed().as_secs_f64();
        let rate = (records - logged.records) as f64 / seconds;
        let now = (lag > self.behind).then_some(lag);
        if let Some(outlook) = outlook(logged.lag, now, rate, seconds) {
            log::info!("{outlook}: lag_records={lag} records_per_second={rate:.0}");
        }
        *logged = Logged { at: Instant::now(), lag: now, records };
    }

    fn tell_group(&self) {
        let mut marks = self.shared.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let told = std::mem::take(&mut *marks);
        drop(marks);
        if !told.is_empty()
            && let Err(error) = self.ask.tell_group(told.iter().map(|(it, offset)| (it, *offset)))
        {
            log::warn!("cannot tell the group its offsets: error={}", chain(&error));
        }
        // What became of those before is heard here.
        self.ask.listen();
    }

    fn say(&self, news: News) {
        if self.news.send(news).is_err() {
            log::debug!("news of the topics are told to nobody: the source has ended");
        }
    }
}

/// How it looks for a job that was so far behind some seconds ago, and is so far behind now, if it is;
/// and has read at this rate meanwhile.
fn outlook(before: Option<u64>, now: Option<u64>, rate: f64, seconds: f64) -> Option<String> {
    match (before, now) {
        (None, None) => None,
        (Some(_), None) => Some("caught up".to_owned()),
        (_, Some(lag)) => {
            // What comes meanwhile makes it longer; at first that is not known.
            let gained = before.map_or(rate, |before| (before as f64 - lag as f64) / seconds);
            if gained < 1.0 {
                return Some("falling behind".to_owned());
            }
            let left = (lag as f64 / gained).ceil() as u64;
            let (hours, minutes, seconds) = (left / 3600, left / 60 % 60, left % 60);
            let left = match (hours, minutes) {
                (0, 0) => format!("{seconds} s"),
                (0, _) => format!("{minutes} min {seconds} s"),
                _ => format!("{hours} h {minutes} min"),
            };
            Some(format!("catching up, done in about {left}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outlook_is_by_what_is_gained_on_what_comes() {
        for (before, now, rate, said) in [
            (None, None, 500.0, None),
            (Some(900), None, 500.0, Some("caught up")),
            (None, Some(30_000), 1_000.0, Some("catching up, done in about 30 s")),
            (Some(40_000), Some(30_000), 5_000.0, Some("catching up, done in about 30 s")),
            (Some(900_000), Some(800_000), 1.0, Some("catching up, done in about 1 min 20 s")),
            (Some(80_010), Some(80_000), 1.0, Some("catching up, done in about 22 h 13 min")),
            (Some(30_000), Some(30_001), 5_000.0, Some("falling behind")),
            (None, Some(30_000), 0.0, Some("falling behind")),
        ] {
            assert_eq!(outlook(before, now, rate, 10.0).as_deref(), said, "{before:?} {now:?}");
        }
    }

    #[test]
    fn the_group_is_told_the_last_of_what_is_marked() {
        let shared = Arc::new(Shared::default());
        let range = |partition: &[u8], to| Range {
            topic: Topic::Clicks,
            partition: partition.to_vec(),
            from: 0,
            to,
            position: crate::source::Position::Topic(1),
        };
        let group = Group(Arc::clone(&shared));
        group.tell(&[range(b"t/0", 5), range(b"t/1", 7)]);
        group.tell(&[range(b"t/0", 9)]);
        let marks = shared.marks.lock().unwrap();
        let told: Vec<_> = marks.iter().map(|(it, offset)| (it.to_string(), *offset)).collect();
        assert_eq!(told, [("t/0".to_owned(), 9), ("t/1".to_owned(), 7)]);
    }
}
