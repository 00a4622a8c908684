//! Servers that are away, and disks that are full, while a log grows: nothing is lost, memory stays, and what
//! waits is delivered when they are back.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use hdfs_native::sync::ClientBuilder;
use testing::disk::Disk;
use testing::kafka::{Topics, wait_for};
use testing::place::Place;
use testing::random::Random;
use testing::servers::Server;

use super::agent::Agent;
use super::log::{
    BATCH, Came, END, Log, OnDrop, committed, file_channel, into_kafka, rolled_by, tail,
};

/// How long servers are away.
fn away() -> Duration {
    Duration::from_secs(if testing::all() { 60 } else { 8 })
}

/// All lines of the files below a folder of HDFS, once none is being written.
fn in_hdfs(server: &Server, folder: &str) -> Option<Came> {
    let client =
        ClientBuilder::new().with_url(format!("hdfs://{}", server.address())).build().unwrap();
    let mut files = client.list_status(folder, true).unwrap();
    files.retain(|file| !file.isdir);
    if files.iter().any(|file| file.path.ends_with(".tmp")) {
        return None;
    }
    let mut came = Came::default();
    for file in files {
        let mut reader = client.read(&file.path).unwrap();
        let bytes = reader.read_bytes(reader.file_length()).unwrap();
        let text = String::from_utf8(bytes.into()).unwrap();
        text.lines().filter(|line| *line != END).for_each(|line| came.add(line.to_owned()));
    }
    Some(came)
}

#[test]
fn while_kafka_and_hdfs_are_away_lines_wait_on_the_disk_and_all_are_delivered_afterwards() {
    let (kafka, hdfs) = (Server::start("kafka", &[]), Server::start("hdfs", &[]));
    let topics = Topics::make(&kafka.address(), 1, 1);
    let place = Place::empty();
    let mut log = Log::new(&place);
    place.write(
        "agent.properties",
        format!(
            "a1.channels = c1 c2\na1.sinks = kafka hdfs\n{}{}{}{}\
             a1.sinks.hdfs.type = hdfs\na1.sinks.hdfs.channel = c2\n\
             a1.sinks.hdfs.hdfs.path = hdfs://{}/lines\na1.sinks.hdfs.hdfs.fileType = DataStream\n\
             a1.sinks.hdfs.hdfs.batchSize = {BATCH}\na1.sinks.hdfs.hdfs.rollInterval = 2\n\
             a1.sinks.hdfs.hdfs.rollSize = 0\na1.sinks.hdfs.hdfs.rollCount = 0\n",
            tail("c1 c2"),
            file_channel("c1"),
            file_channel("c2"),
            into_kafka("c1", &topics),
            hdfs.address(),
        ),
    );
    let over = AtomicBool::new(false);
    let mut writes = Random::new(65);
    let agent = Agent::start(&place, "");
    thread::scope(|threads| {
        threads.spawn(|| log.write_until(&over, &mut writes));
        let _over = OnDrop(&over);
        for sink in ["kafka", "hdfs"] {
            agent.delivers(sink, 1000);
        }
        kafka.kill(&[]);
        hdfs.kill(&[]);
        thread::park_timeout(away());
        // What was read waits: the source goes on.
        agent.grows("events_read_total{", 1000);
        agent.waits("c1", 1000);
        agent.waits("c2", 1000);
        kafka.restart(&[]);
        hdfs.restart(&[]);
        for sink in ["kafka", "hdfs"] {
            agent.grows(&format!("events_delivered_total{{sink=\"{sink}\"}}"), 1000);
        }
    });
    let in_kafka = committed(&topics).all(log.lines);
    agent.empties("c2");
    // A file that was given up is ended beside, when HDFS has taken it from its writer.
    let in_hdfs = wait_for("the end of all files", || in_hdfs(&hdfs, "/lines")).all(log.lines);
    let peak = agent.peak_mb();
    agent.ends();
    eprintln!("{} lines; doubled: {in_kafka} in Kafka, {in_hdfs} in HDFS; {peak} MB", log.lines);
    assert_eq!(in_kafka, 0);
    // What was under way.
    assert!(in_hdfs <= 10_000, "{in_hdfs}");
    assert!(peak < 150, "{peak} MB");
}

#[test]
fn where_disks_are_full_the_log_waits_and_goes_on_when_there_is_room() {
    const LINES: usize = 200_000;
    let place = Place::empty();
    let disks = [("channel", "3m"), ("rolled", "1m")];
    let disks = disks.map(|(name, size)| Disk::mount(&place.path(name), size));
    let [Some(channel), Some(rolled)] = disks else { return };
    let lines: String = (0..LINES).map(|at| format!("line {at:07}\n")).collect();
    place.write("logs/log", lines + END + "\n");
    place.write(
        "agent.properties",
        format!(
            "a1.channels = channel\na1.sinks = rolled\n{}{}\
             a1.channels.channel.maxFileSize = 262144\n\
             a1.channels.channel.minimumRequiredSpace = 1048576\n\
             a1.sinks.rolled.type = file_roll\na1.sinks.rolled.channel = channel\n\
             a1.sinks.rolled.sink.directory = rolled\na1.sinks.rolled.sink.batchSize = {BATCH}\n",
            tail("channel"),
            file_channel("channel"),
        ),
    );
    let mut agent = Agent::start(&place, "");
    agent.says("No space left on device");
    agent.says("minimumRequiredSpace");
    // Killed like this it begins in the same place.
    agent.kill();
    let mut agent = Agent::start(&place, "");
    agent.says("No space left on device");
    rolled.grow("100m");
    channel.grow("100m");
    let doubled = wait_for("the end", || rolled_by(&place)).all(LINES);
    assert!(doubled <= 2 * BATCH, "{doubled}");
    agent.ends();
}
