//! Agents that are killed at any moment while a log grows and is rotated: nothing is lost, and nothing is
//! doubled but what docs/collector.md says.

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
use testing::servers;

use super::agent::Agent;

/// The last line of a log.
const END: &str = "the end";
/// How many lines an agent reads at once.
const BATCH: usize = 50;

fn kills() -> usize {
    if testing::all() { 100 } else { 10 }
}

/// A log that is written and rotated.
struct Log {
    path: PathBuf,
    lines: usize,
    rotations: usize,
}

impl Log {
    fn new(place: &Place) -> Log {
        place.write("logs/log", "");
        Log { path: place.path("logs/log"), lines: 0, rotations: 0 }
    }

    /// Writes lines until `over`, some thousand a second, and the end.
    fn write_until(&mut self, over: &AtomicBool, random: &mut Random) {
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
struct Came(BTreeMap<String, usize>);

impl Came {
    /// Requires that every line has come; returns how many came more than once.
    #[track_caller]
    fn all(&self, lines: usize) -> usize {
        let lost: Vec<_> = (0..lines)
            .map(|at| format!("line {at:07}"))
            .filter(|line| !self.0.contains_key(line))
            .collect();
        assert!(lost.is_empty(), "{} of {lines} are lost, such as {:?}", lost.len(), lost[0]);
        self.0.values().map(|times| times - 1).sum()
    }

    fn add(&mut self, line: String) {
        *self.0.entry(line).or_default() += 1;
    }
}

/// What those see who read what is committed, up to the end.
fn committed(topics: &Topics) -> Came {
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

fn file_channel(name: &str) -> String {
    format!(
        "a1.channels.{name}.type = file\na1.channels.{name}.checkpointDir = {name}/checkpoint\n\
         a1.channels.{name}.dataDirs = {name}/data\n"
    )
}

/// A source that follows the log, into these channels.
fn tail(channels: &str) -> String {
    format!(
        "a1.sources = log\na1.sources.log.type = exec\n\
         a1.sources.log.command = tail -n +1 -F logs/log\n\
         a1.sources.log.batchSize = {BATCH}\na1.sources.log.channels = {channels}\n"
    )
}

/// A sink that writes a channel into a topic, by transactions.
fn into_kafka(channel: &str, topics: &Topics) -> String {
    format!(
        "a1.sinks.kafka.type = org.apache.flume.sink.kafka.KafkaSink\n\
         a1.sinks.kafka.channel = {channel}\n\
         a1.sinks.kafka.kafka.bootstrap.servers = {}\na1.sinks.kafka.kafka.topic = {}\n\
         a1.sinks.kafka.flumeBatchSize = {BATCH}\na1.sinks.kafka.exactlyOnce = true\n",
        topics.servers, topics.clicks
    )
}

#[test]
fn killed_at_any_moment_an_agent_loses_nothing_and_doubles_a_batch_at_most() {
    let topics = Topics::make(&servers::kafka().address(), 1, 1);
    let place = Place::empty();
    let mut log = Log::new(&place);
    fs::create_dir(place.path("rolled")).unwrap();
    place.write(
        "agent.properties",
        format!(
            "a1.channels = c1 c2\na1.sinks = kafka rolled\n{}{}{}{}\
             a1.sinks.rolled.type = file_roll\na1.sinks.rolled.channel = c2\n\
             a1.sinks.rolled.sink.directory = rolled\na1.sinks.rolled.sink.rollInterval = 1\n\
             a1.sinks.rolled.sink.batchSize = {BATCH}\n",
            tail("c1 c2"),
            file_channel("c1"),
            file_channel("c2"),
            into_kafka("c1", &topics),
        ),
    );
    let over = AtomicBool::new(false);
    let (mut random, mut writes) = (Random::new(61), Random::new(62));
    let agent = thread::scope(|threads| {
        threads.spawn(|| log.write_until(&over, &mut writes));
        // Also where a kill is waited for in vain.
        let _over = OnDrop(&over);
        for _ in 0..kills() {
            let agent = Agent::start(&place, "");
            agent.reads(1);
            thread::park_timeout(Duration::from_millis(random.below(500) as u64));
            agent.kill();
        }
        Agent::start(&place, "")
    });
    let in_kafka = committed(&topics).all(log.lines);
    agent.empties("c2");
    agent.ends();
    let mut rolled = Came::default();
    for entry in fs::read_dir(place.path("rolled")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        text.lines().filter(|line| *line != END).for_each(|line| rolled.add(line.to_owned()));
    }
    let in_files = rolled.all(log.lines);
    let (lines, rotations) = (log.lines, log.rotations);
    eprintln!(
        "{lines} lines, {rotations} rotations; doubled: {in_kafka} in Kafka, {in_files} in files"
    );
    assert!(rotations > 3, "the log was hardly rotated");
    // Into Kafka only from the source to the channel, which takes no more than a sync.
    assert!(in_kafka <= BATCH * (1 + kills() / 10), "{in_kafka}");
    assert!(in_files <= 2 * BATCH * kills(), "{in_files}");
}

/// A sends what it has read again where it has not heard that B has it.
#[test]
fn whichever_of_two_agents_is_killed_nothing_is_lost_between_them() {
    let topics = Topics::make(&servers::kafka().address(), 1, 1);
    let (a, b) = (Place::empty(), Place::empty());
    let mut log = Log::new(&a);
    let port = servers::free_ports();
    a.write(
        "agent.properties",
        format!(
            "a1.channels = c1\na1.sinks = wire\n{}{}\
             a1.sinks.wire.type = avro\na1.sinks.wire.channel = c1\n\
             a1.sinks.wire.hostname = 127.0.0.1\na1.sinks.wire.port = {port}\n\
             a1.sinks.wire.batch-size = {BATCH}\n",
            tail("c1"),
            file_channel("c1"),
        ),
    );
    b.write(
        "agent.properties",
        format!(
            "a1.sources = wire\na1.channels = c1\na1.sinks = kafka\n\
             a1.sources.wire.type = avro\na1.sources.wire.channels = c1\n\
             a1.sources.wire.bind = 127.0.0.1\na1.sources.wire.port = {port}\n{}{}",
            file_channel("c1"),
            into_kafka("c1", &topics),
        ),
    );
    let over = AtomicBool::new(false);
    let (mut random, mut writes) = (Random::new(63), Random::new(64));
    let agents = thread::scope(|threads| {
        threads.spawn(|| log.write_until(&over, &mut writes));
        let _over = OnDrop(&over);
        let mut agents = [&a, &b].map(|place| Some(Agent::start(place, "")));
        for _ in 0..kills() {
            let nth = random.below(2);
            let agent = agents[nth].take().unwrap();
            agent.reads(1);
            thread::park_timeout(Duration::from_millis(random.below(500) as u64));
            agent.kill();
            agents[nth] = Some(Agent::start([&a, &b][nth], ""));
        }
        agents
    });
    let doubled = committed(&topics).all(log.lines);
    eprintln!("{} lines, {} rotations; doubled: {doubled}", log.lines, log.rotations);
    assert!(doubled <= 2 * BATCH * kills(), "{doubled}");
    agents.into_iter().flatten().for_each(Agent::ends);
}

/// Ends the writing of a log, also where a test fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
