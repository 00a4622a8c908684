//! Reads topics of Kafka.
//!
//! ```text
//!           a thread                             another
//!  ┌───────────────────────────────┐    ┌─────────────────────────┐
//!  │ take records of all partitions│◀───│ partitions, ends: each  │
//!  │ chunks, epochs ─▶ feed        │news│ second; lag, the group  │
//!  └───────────────────────────────┘    └─────────────────────────┘
//! ```
//!
//! - All partitions are assigned, at offsets that are always known: no group decides, and none is asked.
//! - An epoch ends at a tick of `epoch.interval`, or with `epoch.records` records. While none may be
//!   begun it grows up to those, and then nothing more is taken: the client's own queue, once full, is
//!   not filled. So partitions need not be paused, which would throw away what was fetched of them.
//! - The range of an epoch ends after its last record, and begins where the one before ended: offsets
//!   between them hold no records (of a transaction, or gone and passed over).
//! - Read again, a range is whole when its last record, one beyond, or the partition's end behind it is
//!   seen; and its last record must be the same. A checksum of the last record and of the topic's id
//!   stands in the ledger: so a topic that was made anew is told from the one that was read. It is looked
//!   for at a start, when a partition fails or ends before what was read, and each second by its id;
//!   what is read of another topic before that is noticed fails at the next start.
//! - A partition that the ledger does not know, also one that is added later, is read from its beginning.

mod bound;
mod error;
mod judge;
mod look;
mod part;
mod reader;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::config::{self, Start};
use crate::kafka::{Access, At, Partition};
use crate::ledger::Binding;
use crate::retry::{Peer, Stop, persist};
use crate::source::{Feed, Position, Reached, Spread, Topic};

pub use error::Error;
use part::Part;
use reader::Reader;
pub use watch::Group;
use watch::{Shared, Watch};

/// Topics, open, to be read from where they were left.
pub struct Kafka {
    reader: Reader,
    bound: VecDeque<Binding>,
    epoch: config::Epoch,
}

impl Kafka {
    /// Where a job begins that has no ledger yet: the offset of every partition of every topic. Waits
    /// for servers that do not answer yet.
    ///
    /// Where another job's mark is the start, these are the beginnings, for what that job does not know.
    ///
    /// # Errors
    ///
    /// If a topic is missing, the servers refuse, or the job stops.
    pub fn start(config: &config::Kafka, stop: &Stop) -> Result<Reached, Error> {
        let ask = Access::of(config).consumer(config.group.as_str())?;
        let at = match config.start {
            Start::Earliest | Start::Job(_) => At::Beginning,
            Start::Latest => At::End,
            Start::Time(time) => At::Time(time.as_millisecond().max(0)),
        };
        let mut reached = Reached::new();
        for (topic, name) in topics(config) {
            // Asking changes nothing.
            let offsets = persist(stop, Peer::Kafka, "where the topics begin", |_| {
                ask.offsets(at, &ask.partitions(&name)?)
            })?;
            let resolved = offsets.into_iter().map(|(partition, offset)| {
                ((topic, partition.to_string().into_bytes()), (offset, Position::Topic(0)))
            });
            reached.extend(resolved);
        }
        Ok(reached)
    }

    /// Opens the topics, as far as this process reads them: `reached` is how far the mark has come, `bound`
    /// are the epochs above it. Waits for servers that do not answer yet.
    ///
    /// # Errors
    ///
    /// If a topic is missing, needed records are gone, a topic was made anew, or the job stops.
    pub fn open(
        config: &config::Kafka,
        epoch: config::Epoch,
        reached: &Reached,
        bound: &VecDeque<Binding>,
        spread: Spread,
        stop: Stop,
    ) -> Result<Kafka, Error> {
        let access = Access::of(config);
        let ask = Arc::new(access.consumer(config.group.as_str())?);
        let mut parts = Vec::new();
        // 1. What the ledger knows is read on from there: what is read, and what is bound.
        let topics = topics(config);
        let known = reached
            .iter()
            .map(|((topic, name), (offset, position))| (*topic, &name[..], *offset, position));
        for (topic, name, offset, position) in known {
            let partition = parse(name)?;
            if !spread.has(topic, partition.number) {
                continue;
            }
            let Position::Topic(mark) = position else { return Err(Error::foreign(name)) };
            let mut ranges = bound.iter().flat_map(|binding| &binding.ranges);
            let first = ranges.find(|range| range.partition == name);
            if let Some(range) = first.filter(|range| range.from != offset) {
                // After the mark the topic was made anew.
                parts.push(Part::new(topic, (partition, 0), range.from, 0));
            } else if is_read(&topics, topic, &partition) || first.is_some() {
                parts.push(Part::new(topic, (partition, 0), offset, *mark));
            } else {
                log::warn!("the ledger knows a partition that is not read any more: {partition}");
            }
        }
        // 2. What it does not know begins at its beginning, or where it was bound first.
        for range in bound.iter().flat_map(|binding| &binding.ranges) {
            if !parts.iter().any(|part| part.name() == range.partition) {
                let partition = parse(&range.partition)?;
                if !spread.has(range.topic, partition.number) {
                    continue;
                }
                parts.push(Part::new(range.topic, (partition, 0), range.from, 0));
            }
        }
        for (topic, name) in &topics {
            // Asking changes nothing.
            let new = persist(&stop, Peer::Kafka, "the partitions of the topics", |_| {
                let mut new = ask.partitions(name)?;
                new.retain(|it| spread.has(*topic, it.number));
                new.retain(|it| !parts.iter().any(|part| part.partition == *it));
                ask.offsets(At::Beginning, &new)
            })?;
            parts.extend(new.into_iter().map(|(it, from)| Part::new(*topic, (it, 0), from, 0)));
        }
        parts.sort_by_key(Part::ordinal);
        // 3. All of it is there.
        let messages = access.messages(config.group.as_str())?;
        let shared = Arc::new(Shared::default());
        let on_gap = config.on_gap;
        let lost = BTreeMap::new();
        let mut reader =
            Reader { messages, ask, topics, parts, spread, lost, on_gap, shared, stop };
        reader.look()?;
        Ok(Kafka { reader, bound: bound.clone(), epoch })
    }

    /// Tells lag tools how far the mark has come.
    pub fn group(&self) -> Group {
        Group(Arc::clone(&self.reader.shared))
    }

    /// Reads into the feed: first the bound epochs, exactly as they were bound, then what comes, until
    /// the feed is stopped or told to finish.
    ///
    /// # Errors
    ///
    /// If records that are needed are gone, a topic is missing or was made anew, or the servers refuse.
    /// Servers that are away are waited for.
    pub fn read(self, feed: &Feed) -> Result<(), Error> {
        self.read_to(false, feed)
    }

    /// Reads only the bound epochs into the feed.
    ///
    /// # Errors
    ///
    /// As [`Kafka::read`].
    pub fn read_bound(self, feed: &Feed) -> Result<(), Error> {
        self.read_to(true, feed)
    }

    fn read_to(self, only_bound: bool, feed: &Feed) -> Result<(), Error> {
        let Kafka { mut reader, bound, epoch } = self;
        let (say, news) = crossbeam_channel::unbounded();
        let watch = Watch {
            ask: Arc::clone(&reader.ask),
            topics: reader.topics.clone(),
            spread: reader.spread,
            shared: Arc::clone(&reader.shared),
            behind: epoch.records.saturating_mul(2),
            stop: Stop::default(),
            news: say,
        };
        reader.publish();
        let read = std::thread::scope(|threads| {
            let spawned = std::thread::Builder::new().name("kafka-watch".to_owned());
            spawned
                .spawn_scoped(threads, || watch.run())
                .expect("the system has room for a thread");
            let read = match only_bound {
                true => reader.read_all_bound(bound, feed).map(drop),
                false => reader.run(bound, epoch, feed, &news),
            };
            watch.stop.stop();
            read
        });
        match read {
            // Whoever has stopped the job knows why.
            Err(Error::Stopped(_)) => Ok(()),
            read => read,
        }
    }
}

/// The topics that are read, by what they hold.
type Topics = [(Topic, String); 2];

/// Whether a partition is one of a topic that is read for this.
fn is_read(topics: &Topics, topic: Topic, partition: &Partition) -> bool {
    topics.iter().any(|(read, name)| *read == topic && **name == *partition.topic)
}

fn topics(config: &config::Kafka) -> Topics {
    [(Topic::Clicks, &config.clicks), (Topic::Articles, &config.articles)]
        .map(|(topic, name)| (topic, name.as_str().to_owned()))
}

fn parse(name: &[u8]) -> Result<Partition, Error> {
    Partition::parse(name).ok_or_else(|| Error::foreign(name))
}
