use std::sync::Arc;

use super::*;
use crate::channel::{self, Channel};
use crate::dead_letters::DeadLetters;
use crate::event::Event;
use crate::findings::Findings;
use crate::properties::Property;
use crate::stop::Stop;

fn keys<T>(all: &[(&str, &str)], read: impl FnOnce(&Keys<'_>) -> T) -> T {
    let property = |(key, value): &(&str, &str)| Property {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        line: 1,
    };
    let all: Vec<_> = all.iter().map(property).collect();
    let findings = Findings::default();
    let given = all.iter().map(|property| (property.key.clone(), property));
    read(&Keys::new("a1", "sinks.k1", given, &findings))
}

struct Trial {
    sink: FileRoll,
    tap: Tap,
    channel: Arc<dyn Channel>,
    folder: tempfile::TempDir,
}

impl Trial {
    fn new(more: &[(&str, &str)]) -> Trial {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().to_str().unwrap();
        let sink = keys(&[&[("sink.directory", directory)], more].concat(), FileRoll::read);
        let capacity = [("capacity", "10000"), ("transactionCapacity", "10000")];
        let settings = keys(&capacity, |keys| channel::Settings::read("memory", keys).unwrap());
        let channel = settings.open("c1").unwrap();
        let letters = DeadLetters::new(&folder.path().join("dead"));
        let tap = Tap::new("k1", Arc::clone(&channel), letters, Stop::default());
        Trial { sink, tap, channel, folder }
    }

    fn lines(&self, lines: &[&'static str]) {
        let mut events: Vec<_> = lines.iter().map(|line| Event::new(*line)).collect();
        let room = Arc::clone(&self.channel).reserve(&events).ok().unwrap();
        room.commit(&mut events, None).unwrap();
    }

    fn deliver(&mut self) {
        self.sink.start(&self.tap).unwrap();
        while !self.channel.is_empty() {
            self.sink.turn(&self.tap).unwrap();
        }
    }

    /// Names, with `N` for the time, and contents.
    fn shown(&self) -> Vec<String> {
        let mut all: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let text = std::fs::read_to_string(&path).unwrap().replace('\n', "|");
                let name = path.file_name().unwrap().to_str().unwrap();
                let stamp = regex::Regex::new(r"\d{13,14}").unwrap();
                format!("{}: {text}", stamp.replace(name, "N"))
            })
            .collect();
        all.sort();
        all
    }
}

#[test]
fn a_file_is_followed_by_the_next_one_in_time_though_nothing_comes() {
    let naming = [("sink.pathManager.prefix", "ev-"), ("sink.pathManager.extension", "log")];
    let mut trial = Trial::new(&[&[("sink.rollInterval", "1")], &naming[..]].concat());
    trial.lines(&["a", "b"]);
    trial.deliver();
    assert_eq!(trial.shown(), ["ev-N-1.log: a|b|"]);
    while trial.shown().len() < 2 {
        trial.sink.turn(&trial.tap).unwrap();
    }
    trial.lines(&["c"]);
    trial.deliver();
    trial.sink.close(&trial.tap).unwrap();
    let shown = trial.shown();
    assert_eq!(shown[0], "ev-N-1.log: a|b|");
    assert!(shown[1..].iter().any(|file| file.ends_with(".log: c|")), "{shown:?}");
}

#[test]
fn the_time_of_its_beginning_can_name_a_file() {
    let mut trial = Trial::new(&[("sink.pathManager", "ROLLTIME"), ("sink.rollInterval", "0")]);
    trial.lines(&["a"]);
    trial.deliver();
    trial.sink.close(&trial.tap).unwrap();
    let entry = std::fs::read_dir(trial.folder.path()).unwrap().next().unwrap().unwrap();
    let name = entry.file_name().into_string().unwrap();
    assert!(regex::Regex::new(r"^20\d{12}-1$").unwrap().is_match(&name), "{name}");
}

#[test]
fn no_file_is_overwritten() {
    let mut trial = Trial::new(&[]);
    trial.sink.naming.stamp = "1444988339123".to_owned();
    std::fs::write(trial.folder.path().join("1444988339123-1"), "old|").unwrap();
    trial.lines(&["a"]);
    trial.deliver();
    assert_eq!(trial.shown(), ["N-1: old|", "N-2: a|"]);
}

#[test]
fn a_write_that_fails_goes_back_and_is_written_once_into_the_next_file() {
    let mut trial = Trial::new(&[]);
    trial.lines(&["a"]);
    trial.deliver();
    // A file that cannot be written: it is open for reading only.
    let open = trial.sink.open.as_mut().unwrap();
    open.file = File::open(&open.path).unwrap();
    trial.lines(&["b", "c"]);
    let error = trial.sink.turn(&trial.tap).unwrap_err().to_string();
    assert!(error.starts_with("cannot write into "), "{error}");
    assert_eq!(trial.channel.len(), 2);
    trial.deliver();
    assert_eq!(trial.shown(), ["N-1: a|", "N-2: b|c|"]);
}

#[test]
fn a_serializer_begins_and_ends_each_file() {
    let mut trial = Trial::new(&[("sink.serializer", "avro_event")]);
    trial.lines(&["a", "b"]);
    trial.deliver();
    trial.sink.close(&trial.tap).unwrap();
    let path = trial
        .folder
        .path()
        .join(std::fs::read_dir(trial.folder.path()).unwrap().next().unwrap().unwrap().file_name());
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(apache_avro::Reader::new(&bytes[..]).unwrap().count(), 2);
}
