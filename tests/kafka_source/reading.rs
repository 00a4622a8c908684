//! The source at work: its feed is emptied as workers empty it, and its cuts are kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use dataflows::{Epoch, Settings};
use online_recall::config::{self, Config, Need};
use online_recall::ledger::{Binding, now};
use online_recall::metrics;
use online_recall::retry::Stop;
use online_recall::source::kafka::{Error, Group};
use online_recall::source::{Cut, Feed, Kafka, Next, Range, Reached, Spread};
use testing::kafka::{SHORT, Topics, wait_for};

/// What the source is configured with.
pub struct Settled {
    pub kafka: config::Kafka,
    pub epoch: config::Epoch,
}

/// The configuration of a job that reads these topics, with more keys set.
#[track_caller]
pub fn settled(topics: &Topics, sets: &[&str]) -> Settled {
    let Topics { servers, clicks, articles, .. } = topics;
    let mut all = vec![
        format!("kafka.clicks={clicks}"),
        format!("kafka.articles={articles}"),
        format!("kafka.properties.\"bootstrap.servers\"={servers}"),
    ];
    all.extend(sets.iter().map(|set| (*set).to_owned()));
    let Config { kafka, epoch, .. } = Config::load(None, &all, Need::Kafka).unwrap();
    Settled { kafka, epoch }
}

impl Settled {
    pub fn start(&self) -> Result<Reached, Error> {
        Kafka::start(&self.kafka, &Stop::default())
    }

    #[track_caller]
    pub fn reached(&self) -> Reached {
        self.start().unwrap()
    }

    pub fn open(&self, reached: &Reached, bound: &[Binding]) -> Result<Kafka, Error> {
        let bound = bound.iter().cloned().collect::<VecDeque<_>>();
        Kafka::open(&self.kafka, self.epoch, reached, &bound, Spread::ALL, Stop::default())
    }
}

/// What the ledger would say of an epoch.
pub fn binding(epoch: u64, ranges: &[Range]) -> Binding {
    Binding {
        epoch: Epoch(epoch),
        time: epoch,
        settings: Arc::new(Settings::default()),
        names: Arc::default(),
        ranges: ranges.to_vec(),
    }
}

/// A record as a worker sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub place: String,
    pub ordinal: u32,
    pub timestamp: Option<u64>,
    pub bytes: Vec<u8>,
}

/// What was read of an epoch.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub ranges: Vec<Range>,
    pub records: Vec<Record>,
}

impl Found {
    pub fn sorted(&self) -> Vec<Record> {
        let mut records = self.records.clone();
        records.sort();
        records
    }
}

/// What was read: epochs that are closed, and all of their records.
#[derive(Clone, Debug, Default)]
pub struct Read {
    pub epochs: BTreeMap<u64, Found>,
}

impl Read {
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.epochs.values().flat_map(|found| found.records.clone())
    }

    /// What the ledger would say of the epochs.
    pub fn bindings(&self) -> Vec<Binding> {
        self.epochs.iter().map(|(epoch, found)| binding(*epoch, &found.ranges)).collect()
    }

    /// How far that has come, from there.
    pub fn reached(&self, from: &Reached) -> Reached {
        let mut reached = from.clone();
        for range in self.epochs.values().flat_map(|found| &found.ranges) {
            let of = (range.topic, range.partition.clone());
            reached.insert(of, (range.to, range.position.clone()));
        }
        reached
    }
}

#[derive(Default)]
struct Seen {
    epochs: BTreeMap<u64, Found>,
    cut: BTreeMap<u64, Vec<Range>>,
    /// Nothing more comes of epochs below.
    at: u64,
}

impl Seen {
    fn closed(&self) -> Read {
        let closed = self.cut.iter().filter(|(epoch, _)| **epoch < self.at);
        let epochs = closed.map(|(epoch, ranges)| {
            let mut found = self.epochs.get(epoch).cloned().unwrap_or_default();
            found.ranges.clone_from(ranges);
            (*epoch, found)
        });
        Read { epochs: epochs.collect() }
    }
}

/// A source that runs.
pub struct Run {
    pub feed: Arc<Feed>,
    seen: Arc<Mutex<Seen>>,
    source: JoinHandle<Result<(), Error>>,
    others: [JoinHandle<()>; 2],
    group: Group,
}

impl Run {
    /// Starts where the configuration says, and marks what is cut.
    #[track_caller]
    pub fn start(config: &Settled) -> Run {
        Run::start_at(config, &config.reached(), &[], Epoch(0))
    }

    /// Starts where the configuration says, and marks nothing.
    #[track_caller]
    pub fn start_unmarked(config: &Settled) -> Run {
        Run::begin(config, &config.reached(), &[], Epoch(0), false)
    }

    /// Starts there, with these epochs bound, and marks what is cut.
    #[track_caller]
    pub fn start_at(config: &Settled, from: &Reached, bound: &[Binding], mark: Epoch) -> Run {
        Run::begin(config, from, bound, mark, true)
    }

    #[track_caller]
    fn begin(config: &Settled, from: &Reached, bound: &[Binding], mark: Epoch, marks: bool) -> Run {
        let kafka = config.open(from, bound).unwrap();
        let (cut, cuts) = crossbeam_channel::unbounded();
        let feed = Arc::new(Feed::new(mark, config.epoch.in_flight, cut));
        let seen = Arc::<Mutex<Seen>>::default();
        let group = kafka.group();
        let others = [
            std::thread::spawn({
                let (feed, seen) = (Arc::clone(&feed), Arc::clone(&seen));
                move || work(&feed, &seen)
            }),
            std::thread::spawn({
                let (feed, seen) = (Arc::clone(&feed), Arc::clone(&seen));
                move || keep(&cuts, &seen, marks.then_some(&*feed))
            }),
        ];
        let source = std::thread::spawn({
            let feed = Arc::clone(&feed);
            move || {
                let read = kafka.read(&feed);
                feed.end();
                if let Err(error) = &read {
                    println!("the source ends: {error}");
                }
                read
            }
        });
        Run { feed, seen, source, others, group }
    }

    /// What is read, once closed epochs have so many records.
    #[track_caller]
    pub fn read(&self, records: u64) -> Read {
        wait_for(&format!("record {records}"), || {
            let read = self.seen.lock().unwrap().closed();
            let count = read.records().count() as u64;
            if self.source.is_finished() && count < records {
                panic!("the source has ended after {count} records");
            }
            (count >= records).then_some(read)
        })
    }

    /// Waits for the end of a source that was told to finish: nothing more was read than that.
    #[track_caller]
    pub fn finish(self, read: Read) -> Read {
        let all = self.end().unwrap();
        assert_eq!(
            all.records().count(),
            read.records().count(),
            "some records were read too much"
        );
        all
    }

    /// Waits for the end of the source.
    pub fn end(self) -> Result<Read, Error> {
        let ended = self.source.join().unwrap();
        for other in self.others {
            other.join().unwrap();
        }
        let read = self.seen.lock().unwrap().closed();
        ended.map(|()| read)
    }

    /// What was read in all, to be asked after the end.
    pub fn seen(&self) -> impl Fn() -> Read + use<> {
        let seen = Arc::clone(&self.seen);
        move || seen.lock().unwrap().closed()
    }

    /// Says that an epoch and those before it are done.
    pub fn mark(&self, epoch: Epoch) {
        self.feed.marked(epoch);
    }

    /// Waits until all that is marked holds every record up to now, or later.
    #[track_caller]
    pub fn wait_until_fresh(&self) {
        let begun = now();
        wait_for("freshness", || self.feed.freshness().filter(|time| *time >= begun));
    }

    /// Tells the group all that was read.
    pub fn tell_group(&self) {
        let read = self.seen.lock().unwrap().closed();
        read.epochs.values().for_each(|found| self.group.tell(&found.ranges));
    }
}

/// Takes chunks as a worker does.
fn work(feed: &Feed, seen: &Mutex<Seen>) {
    feed.attend();
    loop {
        let next = feed.next();
        let mut seen = seen.lock().unwrap();
        match next {
            Next::Chunk(chunk) => {
                seen.at = chunk.epoch.0;
                let found = seen.epochs.entry(chunk.epoch.0).or_default();
                found.records.extend(chunk.records().map(|record| Record {
                    place: String::from_utf8(chunk.partition.place(record.place.offset)).unwrap(),
                    ordinal: record.place.partition,
                    timestamp: record.timestamp,
                    bytes: record.bytes.to_vec(),
                }));
            }
            Next::Idle(epoch) => {
                seen.at = epoch.0;
                drop(seen);
                std::thread::park_timeout(SHORT);
            }
            Next::End(epoch) => {
                seen.at = epoch.0;
                return;
            }
            Next::Stopped => return,
        }
    }
}

/// Keeps cuts as the committer does.
fn keep(cuts: &Receiver<Cut>, seen: &Mutex<Seen>, marked: Option<&Feed>) {
    for cut in cuts {
        seen.lock().unwrap().cut.insert(cut.epoch.0, cut.ranges);
        if let Some(feed) = marked {
            feed.marked(cut.epoch);
        }
    }
}

/// Waits until so many records of a partition of clicks are left to be read.
#[track_caller]
pub fn wait_for_lag(topics: &Topics, partition: i32, left: u64) {
    let topic = &topics.clicks;
    let line = format!(
        "online_recall_lag_records{{topic=\"{topic}\",partition=\"{partition}\"}} {left}\n"
    );
    wait_for(&line, || metrics::text().contains(&line).then_some(()));
}
