use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::source::Source as _;
use crate::source::trial::{Ends, Trial, bodies, read};

struct Logs(tempfile::TempDir);

impl Logs {
    fn new() -> Logs {
        let logs = Logs(testing::folder());
        std::fs::create_dir(logs.path("logs")).unwrap();
        logs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("logs").join(name), text).unwrap();
    }

    fn source(&self, pattern: &str, more: &[(&str, &str)]) -> Taildir {
        let positions = self.path("positions.json").to_string_lossy().into_owned();
        let group = format!("{}/{pattern}", self.path("logs").display());
        let mut given = vec![
            ("filegroups", "g"),
            ("filegroups.g", &*group),
            ("positionFile", &*positions),
            ("backoffSleepIncrement", "1"),
            ("maxBackoffSleep", "1"),
        ];
        given.extend_from_slice(more);
        let (source, found) = read(&given, Taildir::read);
        assert!(found.is_empty(), "{found:?}");
        source
    }
}

#[test]
fn files_are_read_by_their_names_with_their_headers() {
    let logs = Logs::new();
    logs.write("a.log", "1\n2\n");
    logs.write("b.txt", "x\n");
    let headers = [
        ("headers.g.kind", "access"),
        ("headers.g.a.b", "c"),
        ("byteOffsetHeader", "true"),
        ("fileHeader", "true"),
        ("batchSize", "1"),
        ("maxBatchCount", "1"),
    ];
    let mut source = logs.source(r".*\.log", &headers);
    assert!(["kind", "file", "byteoffset"].iter().all(|header| source.may_set(header)));
    let events = Trial::new(10).run_and_take_events(&mut source, 2);
    assert_eq!(bodies(&events), ["1", "2"]);
    let headers = &events[1].headers;
    let get = |name: &str| headers.get(name).map(|value| &**value);
    assert_eq!(
        (get("kind"), get("a.b"), get("byteoffset")),
        (Some("access"), Some("c"), Some("2"))
    );
    assert_eq!(get("file"), logs.path("logs/a.log").to_str());
}

#[test]
fn flumes_positions_are_taken_over_and_written() {
    let logs = Logs::new();
    logs.write("a", "1\n2\n3\n");
    let inode = |name: &str| std::fs::metadata(logs.path("logs").join(name)).unwrap().ino();
    let entry = |pos: u64| {
        let file = logs.path("logs/a");
        format!(r#"[{{"inode":{},"pos":{pos},"file":"{}"}}]"#, inode("a"), file.display())
    };
    let flumes = logs.path("positions.json");
    std::fs::write(&flumes, entry(2)).unwrap();
    let mut source = logs.source(".*", &[]);
    assert_eq!(Trial::new(10).run_and_take(&mut source, 2), ["2", "3"]);
    assert_eq!(std::fs::read_to_string(&flumes).unwrap(), entry(6));
    // Flume reads on, and then we do.
    logs.write("a", "1\n2\n3\n4\n5\n");
    std::fs::write(&flumes, entry(8)).unwrap();
    assert_eq!(Trial::new(10).run_and_take(&mut source, 1), ["5"]);
    // An older one of its positions, which a crash may have left, does not count.
    std::fs::write(&flumes, entry(2)).unwrap();
    logs.write("b", "6\n");
    assert_eq!(Trial::new(10).run_and_take(&mut source, 1), ["6"]);
}

#[test]
fn a_renamed_file_that_still_matches_is_not_read_again() {
    let logs = Logs::new();
    logs.write("a.log", "1\n");
    let mut source = logs.source(r"a\.log.*", &[]);
    assert_eq!(Trial::new(10).run_and_take(&mut source, 1), ["1"]);
    std::fs::rename(logs.path("logs/a.log"), logs.path("logs/a.log.1")).unwrap();
    logs.write("a.log", "2\n");
    assert_eq!(Trial::new(10).run_and_take(&mut source, 1), ["2"]);
}

#[test]
fn what_is_there_can_be_skipped() {
    let logs = Logs::new();
    logs.write("a", "1\n");
    let mut source = logs.source(".*", &[("skipToEnd", "true")]);
    let trial = Trial::new(10);
    let late = std::thread::scope(|threads| {
        let running = threads.spawn(|| source.run(&trial.inlet, &trial.stop).unwrap());
        while !logs.path("positions.json").exists() {
            std::thread::yield_now();
        }
        logs.write("b", "2\n");
        let late = bodies(&trial.take(Duration::from_secs(20)));
        trial.stop.stop();
        running.join().unwrap();
        late
    });
    assert_eq!(late, ["2"]);
}

#[test]
fn a_line_without_end_is_handed_over_when_its_file_is_idle() {
    let logs = Logs::new();
    logs.write("a", "1\n2");
    let mut source = logs.source(".*", &[("idleTimeout", "0")]);
    assert_eq!(Trial::new(10).run_and_take(&mut source, 2), ["1", "2"]);
}

/// Whether this process has a file open.
fn is_open(path: &Path) -> bool {
    let mut open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.any(|link| std::fs::read_link(link.unwrap().path()).is_ok_and(|opened| opened == path))
}

#[test]
fn a_file_is_closed_when_it_is_idle_and_opened_again_when_it_grows() {
    for (timeout, closes) in [("1", true), ("3600000", false)] {
        let logs = Logs::new();
        logs.write("a", "1\n");
        let path = logs.path("logs/a");
        let mut source = logs.source(".*", &[("idleTimeout", timeout)]);
        let trial = Trial::new(10);
        let take = || bodies(&trial.take(Duration::from_secs(20)));
        std::thread::scope(|threads| {
            threads.spawn(|| source.run(&trial.inlet, &trial.stop).unwrap());
            let _ends = Ends(&trial.stop);
            assert_eq!(take(), ["1"]);
            let begun = Instant::now();
            while closes && is_open(&path) {
                assert!(begun.elapsed() < Duration::from_secs(20), "it stays open");
            }
            let mut log = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            log.write_all(b"2\n").unwrap();
            drop(log);
            assert_eq!(take(), ["2"]);
            assert!(closes || is_open(&path));
        });
    }
}

#[test]
fn a_full_channel_loses_nothing() {
    let logs = Logs::new();
    let lines: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    logs.write("a", &(lines.join("\n") + "\n"));
    let mut source = logs.source(".*", &[("batchSize", "7")]);
    assert_eq!(Trial::new(10).run_and_take(&mut source, 500), lines);
}

#[test]
fn mistakes_are_told() {
    let given = [
        ("filegroups", "g h"),
        ("filegroups.g", "logs/.*"),
        ("filegroups.i", "/logs/.*"),
        ("filegroups.h", "/logs/(unclosed"),
        ("headers.x.y", "z"),
        ("maxBatchCount", "0"),
    ];
    let (_, found) = read(&given, Taildir::read);
    let begins = [
        "line 2: sources.r1.filegroups.g is logs/.*; allowed",
        "line 3: warning: sources.r1.filegroups.i: filegroups does not list it",
        "line 4: sources.r1.filegroups.h: (unclosed cannot be used",
        "line 5: warning: sources.r1.headers.x.y: filegroups lists no such group",
        "line 6: sources.r1.maxBatchCount is 0",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(found.starts_with(begin), "{found}");
    }
}
