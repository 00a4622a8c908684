//! Agents that are killed at any moment while a log grows and is rotated: nothing is lost, and nothing is
//! doubled but what docs/collector.md says.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use testing::kafka::Topics;
use testing::place::Place;
use testing::random::Random;
use testing::servers;

use super::agent::Agent;
use super::log::{BATCH, Log, OnDrop, committed, file_channel, into_kafka, rolled_by, tail};

fn kills() -> usize {
    if testing::all() { 100 } else { 10 }
}

#[test]
fn killed_at_any_moment_an_agent_loses_nothing_and_doubles_nothing() {
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
    let in_files = rolled_by(&place).unwrap().all(log.lines);
    let (lines, rotations) = (log.lines, log.rotations);
    eprintln!(
        "{lines} lines, {rotations} rotations; doubled: {in_kafka} in Kafka, {in_files} in files"
    );
    assert!(rotations > 3, "the log was hardly rotated");
    assert_eq!(in_kafka, 0);
    // A sink of files may write a batch again that it could not commit.
    assert!(in_files <= BATCH * kills(), "{in_files}");
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
