//! A log that grows and is rotated while agents suffer, and what has come of its lines.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::{Message, Offset, TopicPartitionList};
use testing::kafka::{LONG, Topics};
use testing::place::Place;
use testing::random::Random;

/// The last line of a log.
pub const END: &str = "the end";
/// How many lines an agent reads at once.
pub const BATCH: usize = 50;

/// A log that is written and rotated.
pub struct Log {
    path: PathBuf,
    /// How many it has.
    pub lines: usize,
    /// How often it was rotated.
    pub rotations: usize,
}

impl Log {
    pub fn new(place: &Place) -> Log {
        place.write("logs/log", "");
        Log { path: place.path("logs/log"), lines: 0, rotations: 0 }
    }

    /// Writes lines until `over`, some thousand a second, and the end.
    pub fn write_until(&mut self, over: &AtomicBool, random: &mut Random) {
        while !over.load(Ordering::Relaxed) {
            let many = random.below(40);
            let lines: String =
                (self.lines..self.lines + many).map(|at| format!("line {at:07}\n")).collect();
            self.append(&lines);
            self.lines += many;
            if random.percent(2) {
                self.rotate(random.percent(50));
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        self.append(&format!("{END}\n"));
    }

    fn append(&self, text: &str) {
        let file = fs::OpenOptions::new().create(true).append(true).open(&self.path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// As logrotate does it, by renaming or by `copytruncate`.
    fn rotate(&mut self, by_copying: bool) {
        self.rotations += 1;
        let aside = self.path.with_extension(self.rotations.to_string());
        match by_copying {
            true => {
                fs::copy(&self.path, aside).unwrap();
                fs::OpenOptions::new().write(true).open(&self.path).unwrap().set_len(0).unwrap();
            }
            false => fs::rename(&self.path, aside).unwrap(),
        }
    }
}

/// How often each line has come.
#[derive(Default)]
pub struct Came(BTreeMap<String, usize>);

impl Came {
    /// Requires that every line has come; returns how many came more than once.
    #[track_caller]
    pub fn all(&self, lines: usize) -> usize {
        let lost: Vec<_> = (0..lines)
            .map(|at| format!("line {at:07}"))
            .filter(|line| !self.0.contains_key(line))
            .collect();
        assert!(lost.is_empty(), "{} of {lines} are lost, such as {:?}", lost.len(), lost[0]);
        self.0.values().map(|times| times - 1).sum()
    }

    pub fn add(&mut self, line: String) {
        *self.0.entry(line).or_default() += 1;
    }
}

/// What stands in the files of `rolled`; none before the end does.
pub fn rolled_by(place: &Place) -> Option<Came> {
    let (mut came, mut ended) = (Came::default(), false);
    for entry in fs::read_dir(place.path("rolled")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        ended |= text.ends_with(&format!("{END}\n"));
        text.lines().filter(|line| *line != END).for_each(|line| came.add(line.to_owned()));
    }
    ended.then_some(came)
}

/// What those see who read what is committed, up to the end.
pub fn committed(topics: &Topics) -> Came {
    let reader = topics.member("whoever-reads");
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&topics.clicks, 0, Offset::Beginning).unwrap();
    reader.assign(&from).unwrap();
    let (mut came, begun) = (Came::default(), Instant::now());
    loop {
        assert!(begun.elapsed() < LONG, "the end does not come");
        let Some(message) = reader.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let line = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        if line == END {
            return came;
        }
        came.add(line);
    }
}

pub fn file_channel(name: &str) -> String {
    format!(
        "a1.channels.{name}.type = file\na1.channels.{name}.checkpointDir = {name}/checkpoint\n\
         a1.channels.{name}.dataDirs = {name}/data\n"
    )
}

/// A source that follows the log, into these channels.
pub fn tail(channels: &str) -> String {
    format!(
        "a1.sources = log\na1.sources.log.type = exec\n\
         a1.sources.log.command = tail -n +1 -F logs/log\n\
         a1.sources.log.batchSize = {BATCH}\na1.sources.log.channels = {channels}\n"
    )
}

/// A sink that writes a channel into a topic, by transactions.
pub fn into_kafka(channel: &str, topics: &Topics) -> String {
    format!(
        "a1.sinks.kafka.type = org.apache.flume.sink.kafka.KafkaSink\n\
         a1.sinks.kafka.channel = {channel}\n\
         a1.sinks.kafka.kafka.bootstrap.servers = {}\na1.sinks.kafka.kafka.topic = {}\n\
         a1.sinks.kafka.flumeBatchSize = {BATCH}\na1.sinks.kafka.exactlyOnce = true\n",
        topics.servers, topics.clicks
    )
}

/// Ends the writing of a log, also where a test fails.
pub struct OnDrop<'a>(pub &'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
