use std::io::Write;
use std::sync::Arc;

use super::*;
use crate::source::Source as _;
use crate::source::trial::{Trial, bodies, file_channel, inlet, read};

struct Spool(tempfile::TempDir);

impl Spool {
    fn new() -> Spool {
        Spool(testing::folder())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Sets when a file was written last, in seconds since some day.
    fn age(&self, name: &str, seconds: u64) {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds);
        File::options().append(true).open(self.path(name)).unwrap().set_modified(time).unwrap();
    }

    fn source(&self, more: &[(&str, &str)]) -> Spooldir {
        let folder = self.0.path().to_string_lossy().into_owned();
        let mut given = vec![("spoolDir", &*folder), ("pollDelay", "1")];
        given.extend_from_slice(more);
        let (source, found) = read(&given, Spooldir::read);
        assert!(found.is_empty(), "{found:?}");
        source
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    /// Reads all that is there, file by file, as long as there is one that is read.
    fn all(&self, source: &mut Spooldir) -> Vec<Event> {
        let trial = Trial::new(1_000_000);
        source.check().unwrap();
        let left = Tracker::left(&source.trackers).unwrap();
        let mut waiting = Waiting::new();
        let first = left.as_ref().map(|left| left.path.clone());
        let mut next = first.or_else(|| waiting.next(&source.rules));
        let mut left = left;
        while let Some(path) = next {
            source.deliver(&path, left.take(), &trial.inlet, &trial.stop).unwrap();
            next = waiting.next(&source.rules);
        }
        trial.take(Duration::ZERO)
    }
}

#[test]
fn files_are_read_in_order_and_renamed() {
    let spool = Spool::new();
    for (name, age) in
        [("c", 1), ("a", 3), ("b", 2), ("d", 3), (".hidden", 0), ("old.COMPLETED", 0)]
    {
        spool.write(name, format!("{name}1\n{name}2\n"));
        spool.age(name, age);
    }
    let mut source = spool.source(&[]);
    let read = Trial::new(100).run_and_take(&mut source, 8);
    assert_eq!(read, ["c1", "c2", "b1", "b2", "a1", "a2", "d1", "d2"]);
    let done = ["a", "b", "c", "d", "old"].map(|name| format!("{name}.COMPLETED"));
    assert_eq!(spool.names(), done);
    spool.write("e", "e\n");
    spool.age("e", 5);
    spool.write("f", "f\n");
    spool.age("f", 6);
    let mut youngest = spool.source(&[("consumeOrder", "youngest"), ("deletePolicy", "immediate")]);
    assert_eq!(bodies(&spool.all(&mut youngest)), ["f", "e"]);
    assert_eq!(spool.names(), done);
}

#[test]
fn names_are_judged_and_headers_set() {
    let spool = Spool::new();
    std::fs::create_dir(spool.path("in")).unwrap();
    std::fs::create_dir(spool.path(".in")).unwrap();
    for name in ["a.log", "b.log", "c.txt", "in/d.log", ".in/e.log"] {
        spool.write(name, name);
    }
    let given = [
        ("includePattern", r".*\.log"),
        ("ignorePattern", "b.*"),
        ("recursiveDirectorySearch", "true"),
        ("fileHeader", "true"),
        ("basenameHeader", "true"),
        ("basenameHeaderKey", "name"),
        ("fileSuffix", ".done"),
    ];
    let mut source = spool.source(&given);
    assert!(source.may_set("file") && source.may_set("name") && !source.may_set("basename"));
    let mut events = spool.all(&mut source);
    events.sort_by(|one, other| one.body.cmp(&other.body));
    assert_eq!(bodies(&events), ["a.log", "in/d.log"]);
    let header = |name: &str| events[1].headers.get(name).unwrap().to_string();
    assert_eq!(header("file"), spool.path("in/d.log").to_string_lossy());
    assert_eq!(header("name"), "d.log");
    assert!(spool.path("in/d.log.done").exists() && spool.path("b.log").exists());
}

#[test]
fn an_empty_file_is_an_event() {
    let spool = Spool::new();
    spool.write("a", "");
    assert_eq!(bodies(&spool.all(&mut spool.source(&[]))), [""]);
    assert_eq!(spool.names(), ["a.COMPLETED"]);
}

#[test]
fn a_full_channel_loses_nothing_and_batches_hold_one_file() {
    let spool = Spool::new();
    let lines: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    for (number, lines) in lines.chunks(250).enumerate() {
        spool.write(&number.to_string(), lines.join("\n"));
        spool.age(&number.to_string(), number as u64);
    }
    let mut source = spool.source(&[("batchSize", "7"), ("fileHeader", "true")]);
    let trial = Trial::new(10);
    assert_eq!(trial.run_and_take(&mut source, 1000), lines);
}

#[test]
fn a_full_channel_is_tried_again_after_waits_that_double_up_to_the_longest() {
    // How long so many tries take for which there is no room.
    let time = |longest: &str, tries: u64| {
        let spool = Spool::new();
        spool.write("a", "1\n2\n");
        let mut source = spool.source(&[("maxBackoff", longest)]);
        let trial = Trial::new(1);
        let begun = std::time::Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(|| source.run(&trial.inlet, &trial.stop).unwrap());
            while trial.inlet.counters().get(Count::ChannelWriteFail) < tries {
                std::thread::yield_now();
            }
            trial.stop.stop();
        });
        begun.elapsed()
    };
    // 250 ms, 500 ms.
    assert!(time("4000", 3) >= Duration::from_millis(750));
    // Otherwise it would be half a minute.
    assert!(time("1", 10) < Duration::from_secs(15));
}

#[test]
fn what_was_committed_is_not_read_again_wherever_the_source_is_killed() {
    let spool = Spool::new();
    let lines: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    spool.write("b", lines.join("\n"));
    let mut read = Vec::new();
    // The channel has no room for all: each run ends where it is full.
    while spool.path("b").exists() {
        let trial = Trial::new(20);
        let mut source = spool.source(&[("batchSize", "9")]);
        std::thread::scope(|threads| {
            threads.spawn(|| source.run(&trial.inlet, &trial.stop).unwrap());
            while spool.path("b").exists()
                && trial.inlet.flow().accepted.load(std::sync::atomic::Ordering::Relaxed) < 18
            {
                std::thread::yield_now();
            }
            trial.stop.stop();
        });
        read.extend(trial.taken());
        // One that would come first does not come between.
        spool.write("a", "0");
        spool.age("a", 0);
        if spool.path("b").exists() {
            let left = Tracker::left(&spool.path(".flumespool")).unwrap().unwrap();
            assert_eq!(left.path, spool.path("b"));
        }
    }
    read.truncate(100);
    assert_eq!(read, lines);
}

/// What was put is forgotten by the tracker, as if the source was killed before it noted it.
#[test]
fn a_batch_that_was_put_and_not_noted_is_not_put_again() {
    let (spool, folder) = (Spool::new(), tempfile::tempdir().unwrap());
    spool.write("a", "1\n2\n3\n4\n5\n");
    let channel = file_channel(folder.path(), 2);
    let take = || {
        let taken = Arc::clone(&channel).take(2, Duration::from_secs(60)).unwrap();
        let bodies = bodies(taken.events());
        taken.commit().unwrap();
        bodies
    };
    let run = |during: &dyn Fn()| {
        let (inlet, stop) = (inlet(&[Arc::clone(&channel)]), Stop::default());
        let mut source = spool.source(&[("batchSize", "2")]);
        std::thread::scope(|threads| {
            threads.spawn(|| source.run(&inlet, &stop).unwrap());
            during();
            stop.stop();
        });
    };
    let tracker = spool.path(".flumespool/.flumespool-main.meta");
    run(&|| {
        // It is full with the first batch, which was noted.
        while channel.len() < 2 || !tracker.exists() {
            std::thread::yield_now();
        }
    });
    let before = std::fs::read(&tracker).unwrap();
    run(&|| {
        assert_eq!(take(), ["1", "2"]);
        while channel.len() < 2 || std::fs::read(&tracker).unwrap() == before {
            std::thread::yield_now();
        }
    });
    std::fs::write(&tracker, &before).unwrap();
    run(&|| {
        assert_eq!(take(), ["3", "4"]);
        assert_eq!(take(), ["5"]);
        while spool.path("a").exists() {
            std::thread::yield_now();
        }
    });
    assert!(channel.is_empty());
    // Laid there again, it is to be read again, and its last batch too.
    std::fs::rename(spool.path("a.COMPLETED"), spool.path("a")).unwrap();
    run(&|| assert_eq!([take(), take(), take()].concat(), ["1", "2", "3", "4", "5"]));
}

#[test]
fn flumes_tracker_is_taken_over() {
    let spool = Spool::new();
    spool.write("a", "1\n2\n3\n");
    std::fs::create_dir(spool.path(".flumespool")).unwrap();
    let stamp = Stamp::of(&std::fs::metadata(spool.path("a")).unwrap());
    let place = Place { offset: 2, skip: 0 };
    Tracker::begin(&spool.path(".flumespool"), &spool.path("a"), &stamp, place, true).unwrap();
    assert_eq!(bodies(&spool.all(&mut spool.source(&[]))), ["2", "3"]);
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_read_from_its_start_and_one_that_was_changed_is_set_aside()
{
    let spool = Spool::new();
    spool.write("a", "1\n2\n3\n");
    std::fs::create_dir(spool.path(".flumespool")).unwrap();
    let begin = || {
        let stamp = Stamp::of(&std::fs::metadata(spool.path("a")).unwrap());
        let place = Place { offset: 2, skip: 0 };
        Tracker::begin(&spool.path(".flumespool"), &spool.path("a"), &stamp, place, true).unwrap();
    };
    begin();
    spool.write("b", "4\n5\n");
    std::fs::rename(spool.path("b"), spool.path("a")).unwrap();
    assert_eq!(bodies(&spool.all(&mut spool.source(&[]))), ["4", "5"]);
    spool.write("a", "1\n2\n3\n");
    begin();
    File::options().append(true).open(spool.path("a")).unwrap().write_all(b"6\n").unwrap();
    assert!(spool.all(&mut spool.source(&[])).is_empty());
    assert_eq!(spool.names(), ["a.COMPLETED", "a.FAILED"]);
}

#[test]
fn what_is_bad_is_set_aside_and_stops_nothing() {
    let spool = Spool::new();
    spool.write("a", b"1\n2\n\xff\n3\n");
    spool.write("b", "4\n");
    spool.write("a.FAILED", "");
    for (name, age) in [("a", 1), ("b", 2)] {
        spool.age(name, age);
    }
    let trial = Trial::new(100);
    assert_eq!(trial.run_and_take(&mut spool.source(&[]), 3), ["1", "2", "4"]);
    assert_eq!(spool.names(), ["a.FAILED", "a.FAILED.1", "b.COMPLETED"]);
    assert_eq!(trial.inlet.counters().get(Count::EventReadFail), 1);
    // A name that comes again.
    spool.write("b", "5\n");
    assert_eq!(bodies(&spool.all(&mut spool.source(&[]))), ["5"]);
    assert_eq!(spool.names(), ["a.FAILED", "a.FAILED.1", "b.1.COMPLETED", "b.COMPLETED"]);
}

#[test]
fn a_file_that_grows_while_it_is_read_is_set_aside() {
    let spool = Spool::new();
    spool.write("a", "1\n2\n3\n");
    let mut source = spool.source(&[("batchSize", "1")]);
    let trial = Trial::new(1);
    let mut read = Vec::new();
    std::thread::scope(|threads| {
        threads.spawn(|| source.run(&trial.inlet, &trial.stop).unwrap());
        read.extend(bodies(&trial.take(Duration::from_secs(20))));
        File::options().append(true).open(spool.path("a")).unwrap().write_all(b"4\n").unwrap();
        for _ in 0..2 {
            read.extend(bodies(&trial.take(Duration::from_secs(20))));
        }
        while spool.path("a").exists() {
            std::thread::yield_now();
        }
        trial.stop.stop();
    });
    assert_eq!(read, ["1", "2", "3"]);
    assert_eq!(spool.names(), ["a.FAILED"]);
}

#[test]
fn marks_elsewhere_leave_the_folder_as_it_is() {
    let spool = Spool::new();
    let marks = tempfile::tempdir().unwrap();
    spool.write("a", "1\n");
    spool.write("b", b"\xff\n");
    let given = [("trackingPolicy", "tracker_dir"), ("trackerDir", marks.path().to_str().unwrap())];
    assert_eq!(bodies(&spool.all(&mut spool.source(&given))), ["1"]);
    assert!(spool.all(&mut spool.source(&given)).is_empty());
    assert_eq!(spool.names(), ["a", "b"]);
    assert!(marks.path().join("a.COMPLETED").exists() && marks.path().join("b.COMPLETED").exists());
}

fn container(datums: i64, codec: apache_avro::Codec) -> Vec<u8> {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}"#;
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    let mut writer = apache_avro::Writer::with_codec(&schema, Vec::new(), codec).unwrap();
    for number in 0..datums {
        let long = apache_avro::types::Value::Long(number);
        let record = apache_avro::types::Value::Record(vec![("n".to_owned(), long)]);
        writer.append_value(record).unwrap();
        if number % 9 == 0 {
            writer.flush().unwrap();
        }
    }
    writer.into_inner().unwrap()
}

#[test]
fn datums_of_avro_are_events() {
    for codec in [apache_avro::Codec::Null, apache_avro::Codec::Deflate(Default::default())] {
        let spool = Spool::new();
        spool.write("a", container(50, codec));
        let file = || File::open(spool.path("a")).unwrap();
        let size = file().metadata().unwrap().len();
        for most in [1, 7, 100] {
            let open = |place| {
                let header = avro::SchemaHeader::Hash;
                Deserializer::Avro(header).open(file(), size, place, Headers::default()).unwrap()
            };
            let (mut reading, mut all) = (open(Place::default()), Vec::new());
            while !reading.has_ended() {
                let place = reading.place();
                let events = reading.read(most).unwrap();
                assert_eq!(open(place).read(most).unwrap(), events);
                all.extend(events);
            }
            let expected: Vec<Vec<u8>> = (0..50)
                .map(|number| {
                    let mut bytes = Vec::new();
                    crate::avro::datum::put_long(&mut bytes, number);
                    bytes
                })
                .collect();
            assert_eq!(all.iter().map(|event| event.body.to_vec()).collect::<Vec<_>>(), expected);
            assert_eq!(all[0].headers.get("flume.avro.schema.hash").unwrap().len(), 16);
        }
        spool.write("b", b"no container");
        let given = [("deserializer", "AVRO"), ("deserializer.schemaType", "LITERAL")];
        let mut source = spool.source(&given);
        let events = spool.all(&mut source);
        assert_eq!(events.len(), 50);
        assert!(events[0].headers.get("flume.avro.schema.literal").unwrap().contains("record"));
        assert_eq!(spool.names(), ["a.COMPLETED", "b.FAILED"]);
    }
}

#[test]
fn whole_files_are_events() {
    let spool = Spool::new();
    spool.write("a", "1\n2\n3\n");
    let given = [
        ("deserializer", "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder"),
        ("deserializer.maxBlobLength", "4"),
    ];
    assert_eq!(bodies(&spool.all(&mut spool.source(&given))), ["1\n2\n", "3\n"]);
}

#[test]
fn mistakes_are_told() {
    let given = [
        ("deserializer", "com.example.Mine$Builder"),
        ("deletePolicy", "later"),
        ("inputCharset", "nosuch"),
        ("bufferMaxLineLength", "100"),
        ("deserializer.maxLineLength", "5"),
        ("deserializer.maxLineLenght", "5"),
        ("includePattern", "(a"),
        ("maxBackoff", "0"),
    ];
    let (_, found) = read(&given, Spooldir::read);
    let begins = [
        "line 1: sources.r1.deserializer is com.example.Mine$Builder; allowed: LINE",
        "line 2: sources.r1.deletePolicy is later; allowed: never, immediate",
        "line 3: sources.r1.inputCharset is nosuch; allowed: a charset",
        "line 5: warning: sources.r1.deserializer.maxLineLength: it does not count beside bufferMax",
        "line 6: warning: sources.r1.deserializer.maxLineLenght is no key",
        "line 7: sources.r1.includePattern: (a cannot be used",
        "line 8: sources.r1.maxBackoff is 0; allowed: a whole number from 1",
        "sources.r1.spoolDir is missing",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(found.starts_with(begin), "{found}\n{begin}");
    }
}
