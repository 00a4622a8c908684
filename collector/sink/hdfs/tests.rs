//! The sink with files of this machine, and with faults that no file system shows when it is asked to.
//!
//! What a real HDFS does is in [`real`].

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::channel::{self, Channel};
use crate::counters::Sink as Count;
use crate::dead_letters::DeadLetters;
use crate::findings::{Finding, Findings};
use crate::properties::Property;
use crate::stop::Stop;

mod faults;
mod faulty;
mod keys;
mod real;

/// A sink with a channel, in a folder that outlives it.
struct Trial {
    sink: Hdfs,
    tap: Tap,
    channel: Arc<dyn Channel>,
    folder: Arc<TempDir>,
}

/// Reads a sink of these keys, and what is found about them.
fn read(keys: &[(&str, &str)]) -> (Hdfs, Vec<String>) {
    let property = |(at, (key, value)): (usize, &(&str, &str))| Property {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        line: at + 1,
    };
    let all: Vec<_> = keys.iter().enumerate().map(property).collect();
    let findings = Findings::default();
    let given = all.iter().map(|property| (property.key.clone(), property));
    let keys = Keys::new("a1", "sinks.k1", given, &findings);
    let sink = Hdfs::read(&keys);
    keys.finish();
    (sink, findings.into_sorted().iter().map(Finding::to_string).collect())
}

fn new_channel() -> Arc<dyn Channel> {
    let findings = Findings::default();
    let property =
        |key: &str| Property { key: key.to_owned(), value: "100000".to_owned(), line: 1 };
    let all = ["capacity", "transactionCapacity"].map(property);
    let given = all.iter().map(|property| (property.key.clone(), property));
    let keys = Keys::new("a1", "channels.c1", given, &findings);
    channel::Settings::read("memory", &keys).unwrap().open("c1").unwrap()
}

fn event(body: &str, headers: &[(&str, &str)]) -> Event {
    let mut event = Event::new(body.to_owned());
    for (name, value) in headers {
        event.headers.set(*name, *value);
    }
    event
}

/// Text without rolling, in files below the trial's folder.
const PLAIN: [(&str, &str); 4] = [
    ("hdfs.fileType", "DataStream"),
    ("hdfs.rollInterval", "0"),
    ("hdfs.rollSize", "0"),
    ("hdfs.rollCount", "0"),
];

impl Trial {
    /// A sink that writes text into `path` below the folder; more keys come before those of [`PLAIN`].
    fn new(folder: &Arc<TempDir>, path: &str, more: &[(&str, &str)]) -> Trial {
        let path = format!("file://{}/out/{path}", folder.path().display());
        Trial::at(folder, &path, more)
    }

    fn at(folder: &Arc<TempDir>, path: &str, more: &[(&str, &str)]) -> Trial {
        let list = folder.path().join("home/open-files.json");
        let own = [("hdfs.path", path), ("openFiles", list.to_str().unwrap())];
        let mut keys: BTreeMap<&str, &str> = PLAIN.into_iter().chain(own).collect();
        keys.extend(more.iter().copied());
        let (sink, _) = read(&keys.into_iter().collect::<Vec<_>>());
        let channel = new_channel();
        let letters = DeadLetters::new(&folder.path().join("dead"));
        let tap = Tap::new("k1", Arc::clone(&channel), letters, Stop::default());
        Trial { sink, tap, channel, folder: Arc::clone(folder) }
    }

    fn put(&self, events: &[Event]) {
        let mut events = events.to_vec();
        let room = Arc::clone(&self.channel).reserve(&events).ok().unwrap();
        room.commit(&mut events, None).unwrap();
    }

    fn lines(&self, lines: &[&str]) {
        self.put(&lines.iter().map(|line| event(line, &[])).collect::<Vec<_>>());
    }

    /// Delivers all that is in the channel.
    fn deliver(&mut self) {
        self.sink.start(&self.tap).unwrap();
        while !self.channel.is_empty() {
            self.sink.turn(&self.tap).unwrap();
        }
    }

    fn close(&mut self) {
        self.sink.close(&self.tap).unwrap();
    }

    fn count(&self, count: Count) -> u64 {
        self.tap.counters().get(count)
    }

    /// The files below `out` with their bytes, in order of their paths.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let out = self.folder.path().join("out");
        let all = walkdir::WalkDir::new(&out).sort_by_file_name().into_iter().map(Result::unwrap);
        let files = all.filter(|entry| entry.file_type().is_file());
        files
            .map(|entry| {
                let path = entry.path().strip_prefix(&out).unwrap();
                (path.to_str().unwrap().to_owned(), std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    /// The same, as text, with `N` for the numbers.
    fn shown(&self) -> Vec<String> {
        let number = regex::Regex::new(r"\.\d{13}\b").unwrap();
        let shown = |(path, bytes): (String, Vec<u8>)| {
            let text = String::from_utf8(bytes).unwrap().replace('\n', "|");
            format!("{}: {text}", number.replace(&path, ".N"))
        };
        self.files().into_iter().map(shown).collect()
    }

    /// Turns until the files look like this; there is nothing else to wait for.
    fn turn_until(&mut self, seen: impl Fn(&Trial) -> bool) {
        while !seen(self) {
            self.sink.turn(&self.tap).unwrap();
        }
    }
}

fn folder() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

#[test]
fn events_land_in_folders_by_header_and_time_and_the_others_are_dead() {
    let path = "%{type}/%Y-%m-%d/%H%M";
    let keys = [
        ("hdfs.timeZone", "Asia/Shanghai"),
        ("hdfs.round", "true"),
        ("hdfs.roundValue", "10"),
        ("hdfs.roundUnit", "minute"),
        ("hdfs.filePrefix", "ev-%{host}"),
        ("hdfs.fileSuffix", ".log"),
        ("hdfs.inUsePrefix", "_"),
    ];
    let mut trial = Trial::new(&folder(), path, &keys);
    assert!(trial.sink.needs("timestamp"));
    let then = ("timestamp", "1444988339123");
    let later = ("timestamp", "1444988400000");
    trial.put(&[
        event("1", &[then, ("type", "web"), ("host", "a")]),
        event("2", &[then, ("type", "web"), ("host", "b")]),
        event("3", &[("type", "web")]),
        event("4", &[later, ("type", "web"), ("host", "a")]),
        event("5", &[then, ("type", "web"), ("host", "a")]),
        event("6", &[("timestamp", "soon"), ("type", "web")]),
        event("7", &[then, ("type", "..")]),
        event("8", &[then]),
    ]);
    trial.deliver();
    let in_use = [
        "2015-10-16/1730/_ev-.N.log.tmp: 8|",
        "web/2015-10-16/1730/_ev-a.N.log.tmp: 1|5|",
        "web/2015-10-16/1730/_ev-b.N.log.tmp: 2|",
        "web/2015-10-16/1740/_ev-a.N.log.tmp: 4|",
    ];
    assert_eq!(trial.shown(), in_use);
    trial.close();
    assert_eq!(trial.shown(), in_use.map(|line| line.replace('_', "").replace(".tmp", "")));
    let dead: Vec<_> = trial.tap.dead().into_iter().collect();
    assert_eq!(dead, [("bad_path", 1), ("no_timestamp", 2)]);
    assert_eq!(trial.count(Count::EventDrainSuccessCount), 5);
    assert_eq!(trial.count(Count::ConnectionCreatedCount), 4);
    assert_eq!(trial.count(Count::ConnectionClosedCount), 4);
}

#[test]
fn a_file_ends_before_the_event_behind_so_many_events_or_bytes() {
    let mut by_count = Trial::new(&folder(), "a", &[("hdfs.rollCount", "3")]);
    by_count.lines(&["1", "2", "3", "4", "5", "6"]);
    by_count.deliver();
    by_count.close();
    assert_eq!(by_count.shown(), ["a/FlumeData.N: 1|2|3|", "a/FlumeData.N: 4|5|6|"]);
    let numbers: Vec<i64> = by_count
        .files()
        .iter()
        .map(|(path, _)| path.rsplit('.').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers[0] + 1, numbers[1]);

    // Bytes of bodies count, without newlines.
    let mut by_size = Trial::new(&folder(), "a", &[("hdfs.rollSize", "10")]);
    by_size.lines(&["123456789", "1", "123456789", "12", "1"]);
    by_size.deliver();
    by_size.close();
    let expected =
        ["a/FlumeData.N: 123456789|1|", "a/FlumeData.N: 123456789|12|", "a/FlumeData.N: 1|"];
    assert_eq!(by_size.shown(), expected);
}

#[test]
fn a_file_ends_by_its_time_though_nothing_comes() {
    for key in ["hdfs.rollInterval", "hdfs.idleTimeout"] {
        let mut trial = Trial::new(&folder(), "a", &[(key, "1")]);
        trial.lines(&["1", "2"]);
        trial.deliver();
        trial.turn_until(|trial| trial.shown() == ["a/FlumeData.N: 1|2|"]);
        trial.turn_until(|trial| !format!("{:?}", trial.sink).contains("Slot"));
        trial.lines(&["3"]);
        trial.deliver();
        assert_eq!(trial.shown(), ["a/FlumeData.N: 1|2|", "a/FlumeData.N.tmp: 3|"], "{key}");
    }
}

#[test]
fn of_too_many_files_the_one_that_was_not_used_for_longest_ends() {
    let mut trial = Trial::new(&folder(), "%{h}", &[("hdfs.maxOpenFiles", "2")]);
    for (body, host) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "c"), ("5", "a")] {
        trial.put(&[event(body, &[("h", host)])]);
        trial.deliver();
    }
    trial.turn_until(|trial| trial.shown()[1] == "b/FlumeData.N: 2|");
    let expected = ["a/FlumeData.N.tmp: 1|3|5|", "b/FlumeData.N: 2|", "c/FlumeData.N.tmp: 4|"];
    assert_eq!(trial.shown(), expected);
    trial.close();
}

#[test]
fn places_in_turn_with_one_open_file_lose_and_replace_nothing() {
    let mut trial =
        Trial::new(&folder(), "%{h}", &[("hdfs.maxOpenFiles", "1"), ("hdfs.batchSize", "1")]);
    let events = (0..60)
        .map(|number: u32| event(&number.to_string(), &[("h", ["a", "b"][number as usize % 2])]));
    trial.put(&events.collect::<Vec<_>>());
    trial.deliver();
    trial.close();
    let files = trial.files();
    assert!(files.iter().all(|(path, _)| !path.ends_with(".tmp")), "{files:?}");
    let mut lines: Vec<u32> = files
        .iter()
        .flat_map(|(_, bytes)| std::str::from_utf8(bytes).unwrap().lines())
        .map(|line| line.parse().unwrap())
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..60).collect::<Vec<_>>());
}

#[test]
fn a_sink_that_dies_is_followed_by_one_that_ends_its_files_and_no_others() {
    let folder = folder();
    let mut dead = Trial::new(&folder, "a", &[("hdfs.rollCount", "2")]);
    dead.lines(&["1", "2", "3"]);
    dead.deliver();
    drop(dead.sink);
    let foreign = folder.path().join("out/a/FlumeData.5.tmp");
    std::fs::write(&foreign, "another's\n").unwrap();
    // One was listed, and the process died before it was made; another was made and got no event.
    let list = folder.path().join("home/open-files.json");
    let text = std::fs::read_to_string(&list).unwrap();
    let line = text.lines().find(|line| line.contains("\"opened\"")).unwrap();
    let number = regex::Regex::new(r#""number":\d+"#).unwrap();
    let added = [7, 8].map(|n| number.replace(line, format!(r#""number":{n}"#)).into_owned());
    std::fs::write(&list, format!("{text}{}\n{}\n", added[0], added[1])).unwrap();
    std::fs::write(folder.path().join("out/a/FlumeData.8.tmp"), "").unwrap();

    let mut next = Trial::new(&folder, "b", &[]);
    next.sink.start(&next.tap).unwrap();
    let ended = ["a/FlumeData.N: 1|2|", "a/FlumeData.N: 3|", "a/FlumeData.5.tmp: another's|"];
    next.turn_until(|next| next.shown() == ended);
    next.close();
    let (_, left) = open_files::OpenFiles::open(&list).unwrap();
    assert_eq!(left, []);
}

#[test]
fn a_name_that_is_taken_is_left_to_its_file() {
    let mut trial = Trial::new(&folder(), "a", &[]);
    trial.lines(&["1"]);
    trial.deliver();
    let (path, _) = trial.files().remove(0);
    let taken = trial.folder.path().join("out").join(path.strip_suffix(".tmp").unwrap());
    std::fs::write(&taken, "mine").unwrap();
    trial.close();
    assert_eq!(trial.shown(), ["a/FlumeData.N: mine", "a/FlumeData.N: 1|"]);
}

#[test]
fn two_agents_of_one_name_do_not_write_at_once() {
    let folder = folder();
    let mut first = Trial::new(&folder, "a", &[]);
    let mut second = Trial::new(&folder, "a", &[]);
    first.sink.start(&first.tap).unwrap();
    let error = second.sink.start(&second.tap).unwrap_err().to_string();
    assert!(error.starts_with("another agent of the same name writes"), "{error}");
    first.close();
    second.sink.start(&second.tap).unwrap();
}

#[test]
fn files_are_named_and_filled_by_their_type() {
    let check = |more: &[(&str, &str)], end: &str, begins: &[u8]| {
        let mut trial = Trial::new(&folder(), "a", more);
        trial.put(&[event("hello", &[("timestamp", "5")])]);
        trial.deliver();
        trial.close();
        let (path, bytes) = trial.files().remove(0);
        assert!(path.ends_with(end) && bytes.starts_with(begins), "{path} {bytes:?}");
        bytes
    };
    check(&[("hdfs.fileType", "SequenceFile")], "", b"SEQ\x06");
    check(&[("hdfs.fileType", "SequenceFile"), ("hdfs.codeC", "bzip2")], ".bz2", b"SEQ\x06");
    check(&[("serializer", "avro_event")], "", b"Obj\x01");
    let compressed = [("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "gzip")];
    let packed = check(&compressed, ".gz", b"\x1f\x8b");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
    let suffix = [("hdfs.fileSuffix", ".x"), ("hdfs.emptyInUseSuffix", "true")];
    check(&[&compressed[..], &suffix].concat(), ".x", b"\x1f\x8b");
}

#[test]
fn a_key_of_a_sequence_file_must_be_a_number() {
    let mut trial = Trial::new(&folder(), "a", &[("hdfs.fileType", "SequenceFile")]);
    trial.put(&[event("1", &[("timestamp", "soon")]), event("2", &[])]);
    trial.deliver();
    assert_eq!(trial.tap.dead().into_iter().collect::<Vec<_>>(), [("no_timestamp", 1)]);
}

#[test]
fn an_agent_delivers_all_that_waits_in_memory_before_it_ends() {
    let folder = folder();
    let at = folder.path().display();
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
         a1.sources.r1.type = seq\na1.sources.r1.totalEvents = 3000\na1.sources.r1.batchSize = 100\n\
         a1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\na1.channels.c1.capacity = 1000\n\
         a1.sinks.k1.type = org.apache.flume.sink.hdfs.HDFSEventSink\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.hdfs.path = file://{at}/out\na1.sinks.k1.openFiles = {at}/list\n\
         a1.sinks.k1.deadLetters = {at}/dead\na1.sinks.k1.hdfs.fileType = DataStream\n\
         a1.sinks.k1.hdfs.rollSize = 0\na1.sinks.k1.hdfs.rollCount = 1000\n"
    );
    let variables = crate::properties::Variables::default();
    let properties = crate::properties::Properties::parse(text.as_bytes(), &variables).unwrap();
    let (agent, found) = crate::agent::read(&properties, "a1");
    assert!(
        found.iter().all(|finding| finding.weight != crate::findings::Weight::Mistake),
        "{found:?}"
    );
    let running = crate::running::Running::start(agent, &[]).unwrap();
    let tap = Arc::clone(&running.parts().taps[0]);
    let stop = Stop::default();
    // The source ends by itself; that the last of its events are still in the channel does no harm.
    while tap.counters().get(Count::EventDrainAttemptCount) < 2500 {
        stop.wait(Duration::from_millis(1));
    }
    let inlet = &running.parts().inlets[0];
    while inlet.counters().get(crate::counters::Source::EventAcceptedCount) < 3000 {
        stop.wait(Duration::from_millis(1));
    }
    let left = running.end(Duration::from_secs(60), &stop, &[]);
    assert!(left.iter().all(|opened| opened.channel.is_empty()));
    let files: Vec<_> =
        std::fs::read_dir(folder.path().join("out")).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3);
    let mut numbers: Vec<u32> = Vec::new();
    for file in files {
        assert!(!file.file_name().to_str().unwrap().ends_with(".tmp"));
        let text = std::fs::read_to_string(file.path()).unwrap();
        numbers.extend(text.lines().map(|line| line.parse::<u32>().unwrap()));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
}
