//! The real program, killed: whatever was done before, the same command again leaves what a run without
//! the fault leaves, byte for byte, with any number of workers (*idempotent*, *mark-last*).
//!
//! Catches effects that are lost or doubled around a kill, and starts that do not find what a kill left.
//! A kill takes no acknowledged write from a file: what a power failure would is not tested here.
//! A fault that did not happen does not count: every stop point must be reached, and of the kills at
//! random times those are counted that hit a running process.

#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a panic is a test's verdict")]

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;
use std::{fs, thread};

use rustix::process::Signal;
use testing::exported::Exported;
use testing::oracle::Oracle;
use testing::program::{self, Outcome, STOP_AT};
use testing::random::Random;
use testing::story::Story;
use testing::{all, folder, seeds};

const REPLAY: &str = "replay userClick.log --articles new-article.log --similar similar.tsv \
                      --epoch-records 100 --at 2019-04-11T00:00:00Z --store s";

/// Input for 30 epochs, with a history loaded, and what must come of it.
struct Site {
    place: tempfile::TempDir,
    expected: Exported,
}

impl Site {
    fn new(clicks: usize) -> Site {
        let place = folder();
        let options = format!(
            "--seed 11 --clicks {clicks} --users 100 --articles 120 --channels 4 --garbage 0.1 \
             --epoch-records 100"
        );
        let mut oracle = Oracle::start();
        oracle.generate(place.path(), &options);
        oracle.judge(&place.path().join("plan.json"), &place.path().join("expected"));
        let load = "tables load --history history.tsv --similar similar.tsv --store loaded";
        program::run_line(place.path(), load).done();
        let expected = Exported::read(&place.path().join("expected"));
        Site { place, expected }
    }

    /// Puts a store back to what it was before any replay.
    fn begin(&self) {
        let store = self.place.path().join("s");
        if store.exists() {
            fs::remove_dir_all(&store).unwrap();
        }
        testing::copy(&self.place.path().join("loaded"), &store);
    }

    /// Replays, to be killed at the `nth` time that a point is reached.
    fn stopped_at(&self, label: &str, nth: u64, workers: u16) {
        let outcome = self.replay(Some((label, nth)), workers);
        assert!(outcome.killed(), "{label}:{nth} was not reached: {outcome:#?}");
    }

    fn replay(&self, stop: Option<(&str, u64)>, workers: u16) -> Outcome {
        let workers = workers.to_string();
        let args = REPLAY.split_ascii_whitespace().chain(["-w", &workers]);
        let mut command = program::command(self.place.path(), args);
        if let Some((label, nth)) = stop {
            command.env(STOP_AT, format!("{label}:{nth}"));
        }
        program::end(command)
    }

    #[track_caller]
    fn completes(&self, workers: u16, what: &str) {
        self.replay(None, workers).done();
        Exported::of(&self.place.path().join("s")).must_be(&self.expected, what);
    }
}

/// The points that every epoch of a replay passes.
const POINTS: [&str; 4] = ["cut-sent", "share", "before-commit", "after-commit"];

#[test]
fn a_replay_killed_at_any_point_is_completed_by_any_number_of_workers() {
    let site = Site::new(3000);
    for (label, turn) in POINTS.iter().zip(0..) {
        for (nth, workers) in [(1, [1, 2, 3][turn % 3]), (2, 3), (17, 1), (30, 2)] {
            site.begin();
            site.stopped_at(label, nth, workers);
            site.completes(4 - workers, &format!("after a kill at {label}:{nth}"));
        }
    }
}

#[test]
fn a_kill_before_the_first_commit_leaves_nothing_and_after_it_one_epoch() {
    let site = Site::new(3000);
    for (label, mark) in [("cut-sent", 0), ("share", 0), ("before-commit", 0), ("after-commit", 1)]
    {
        site.begin();
        site.stopped_at(label, 1, 3);
        let job = program::run_line(site.place.path(), "show job --store s --json").done().json();
        assert_eq!(job["epoch_mark"], mark, "{label}: {job}");
        assert_eq!(job["files"].as_array().unwrap().is_empty(), mark == 0, "{label}: {job}");
        site.completes(2, label);
    }
}

#[test]
fn kills_in_quick_succession_are_as_harmless_as_one() {
    let site = Site::new(3000);
    let mut random = Random::new(21);
    for round in 0..if all() { 40 } else { 4 } {
        site.begin();
        let mut kills = Vec::new();
        for _ in 0..2 + random.below(4) {
            // Small numbers: also those who come after the first are killed in their first epochs.
            let (label, nth) = (*random.one_of(&POINTS), 1 + random.below(4) as u64);
            site.stopped_at(label, nth, *random.one_of(&[1, 2, 3, 5]));
            kills.push((label, nth));
        }
        site.completes(
            *random.one_of(&[1, 2, 3, 5]),
            &format!("round {round}: kills at {kills:?}"),
        );
    }
}

#[test]
fn a_store_whose_making_was_cut_off_is_made_by_the_next_command() {
    let site = Site::new(300);
    let load = "tables load --history history.tsv --similar similar.tsv --store s";
    let points = ["version-written:1", "keyspace:1", "keyspace:2", "keyspace:4", "keyspace:7"];
    for point in points {
        let store = site.place.path().join("s");
        if store.exists() {
            fs::remove_dir_all(&store).unwrap();
        }
        let mut command = program::command(site.place.path(), load.split_ascii_whitespace());
        command.env(STOP_AT, point);
        let outcome = program::end(command);
        assert!(outcome.killed(), "{point} was not reached: {outcome:#?}");
        program::run_line(site.place.path(), load).done();
        site.completes(2, point);
    }
}

#[test]
fn a_load_that_is_killed_has_happened_wholly_or_not_at_all() {
    let place = folder();
    // More than one batch, over rows that stand already.
    let similar = |neighbour: usize| -> String {
        (0..6000).map(|n| format!("{}\t{}\t0.5\n", n / 3, neighbour + n)).collect()
    };
    let history = |article: usize| -> String {
        (0..6000).map(|n| format!("u{}\t1\t{}\t[{article}]\n", n / 2, n + 1)).collect()
    };
    let write = |name: &str, text: String| fs::write(place.path().join(name), text).unwrap();
    write("similar-1", similar(1));
    write("history-1", history(1));
    write("similar-2", similar(2));
    write("history-2", history(2));
    write(
        "a.log",
        r#"{"channelId":1,"param":{"action":"click","userId":"u1","articleId":"5"}}"#.to_owned(),
    );
    let load = |n: u8| format!("tables load --similar similar-{n} --history history-{n} --store s");
    program::run_line(place.path(), &load(1)).done();
    // So that the history of u1 has a recall of the job's own.
    program::run_line(place.path(), "replay a.log --store s --at 2019-04-11T00:00:00Z").done();
    let (store, kept) = (place.path().join("s"), place.path().join("kept"));
    testing::copy(&store, &kept);
    let before = Exported::of(&store);
    program::run_line(place.path(), &load(2)).done();
    let after = Exported::of(&store);
    assert!(before.difference(&after).is_some());

    for (point, done) in [
        ("load-staging:1", false),
        ("load-staging:2", false),
        ("load-staging:4", false),
        ("load-staged:1", true),
        ("load-similar-replaced:1", true),
        ("load-histories-replaced:1", true),
        ("load-done:1", true),
    ] {
        let begin = || {
            fs::remove_dir_all(&store).unwrap();
            testing::copy(&kept, &store);
            let mut command = program::command(place.path(), load(2).split_ascii_whitespace());
            let outcome = program::end({
                command.env(STOP_AT, point);
                command
            });
            assert!(outcome.killed(), "{point} was not reached: {outcome:#?}");
        };
        begin();
        Exported::of(&store).must_be(if done { &after } else { &before }, point);
        program::run_line(place.path(), &load(2)).done();
        Exported::of(&store).must_be(&after, &format!("{point}, loaded again"));
        // The command that finds the half of it may be killed, too.
        if done {
            begin();
            let mut command = program::command(place.path(), ["show", "job", "--store", "s"]);
            command.env(STOP_AT, "load-similar-replaced:1");
            // After the last of the points there is nothing left to be replaced.
            assert_eq!(program::end(command).killed(), point != "load-done:1", "{point}");
            Exported::of(&store).must_be(&after, &format!("{point}, and killed again"));
        }
    }
}

#[test]
fn kills_at_random_times_change_nothing() {
    let (wanted, seed) = (if all() { 100 } else { 10 }, 31);
    let site = Site::new(6000);
    let mut random = Random::new(seed);
    site.begin();
    let begun = Instant::now();
    site.replay(None, 2).done();
    let whole = begun.elapsed();
    let (mut hit, mut missed, mut inside) = (0, 0, 0);
    while hit < wanted {
        site.begin();
        let mut span = whole;
        // Kills until one comes too late.
        loop {
            let workers = random.one_of(&[1, 2, 3, 5]).to_string();
            let args = REPLAY.split_ascii_whitespace().chain(["-w", &workers]);
            let mut child = quietly(site.place.path(), args);
            // The fault itself: nothing waits for this time. It grows, so that in the end a run gets
            // beyond its start, however slow the machine has become.
            #[expect(clippy::disallowed_methods, reason = "a kill at a random time is the fault")]
            thread::sleep(span.mul_f64(random.below(1000) as f64 / 1000.0));
            span = span.mul_f64(1.03);
            child.kill().unwrap();
            if child.wait().unwrap().signal() != Some(9) {
                missed += 1;
                break;
            }
            hit += 1;
            let job = program::run_line(site.place.path(), "show job --store s --json").done();
            inside += u32::from(job.json()["epoch_mark"] != 0);
        }
        site.completes(*random.one_of(&[1, 2, 3, 5]), &format!("seed {seed}, after {hit} kills"));
        assert!(missed < 50 * wanted, "kills come too late: {hit} hit, {missed} missed");
    }
    eprintln!(
        "seed {seed}: {hit} kills hit, {inside} of them after the first commit; {missed} missed"
    );
    assert!(inside > 0, "no kill came between two epochs");
}

/// Starts the program with its output thrown away.
fn quietly<'a>(within: &Path, args: impl Iterator<Item = &'a str>) -> Child {
    let mut command = program::command(within, args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn random_stories_with_kills_end_as_the_oracle_tells() {
    seeds::each("crash", if all() { 60 } else { 6 }, |seed, oracle| {
        let story = Story::new(seed, oracle);
        let expected = folder();
        story.judge(oracle, expected.path());
        let place = folder();
        let mut random = Random::new(seed);
        let run = |args: &[OsString]| {
            let labels: &[&str] = if args[0] == "replay" {
                &[
                    "version-written",
                    "keyspace",
                    "load-staged",
                    "cut-sent",
                    "share",
                    "before-commit",
                    "after-commit",
                ]
            } else {
                &["version-written", "keyspace", "load-staging", "load-staged", "load-done"]
            };
            loop {
                let mut command = program::command(place.path(), args);
                if args[0] == "replay" {
                    command.arg("-w").arg(random.one_of(&[1, 2, 3, 5]).to_string());
                }
                let nth = *random.one_of(&[1, 1, 2, 3, 10]);
                command.env(STOP_AT, format!("{}:{nth}", random.one_of(labels)));
                let outcome = program::end(command);
                if !outcome.killed() {
                    outcome.done();
                    return;
                }
            }
        };
        story.play(place.path(), run);
        let store = place.path().join("store");
        Exported::of(&store).must_be(&Exported::read(expected.path()), "after kills");
    });
}

#[test]
fn a_signal_ends_a_replay_with_its_own_status_and_it_completes_afterwards() {
    let site = Site::new(3000);
    let lines = fs::read(site.place.path().join("userClick.log")).unwrap();
    let half: Vec<u8> =
        lines.split_inclusive(|byte| *byte == b'\n').take(1450).collect::<Vec<_>>().concat();
    let line = "replay - --articles new-article.log --epoch-records 100 --at 2019-04-11T00:00:00Z --store s";
    let replay = || program::command(site.place.path(), line.split_ascii_whitespace());
    site.begin();
    program::end_with_input(replay(), &lines).done();
    let expected = Exported::of(&site.place.path().join("s"));
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        site.begin();
        // It cannot be done before its standard input ends.
        let mut child = replay().stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&half).unwrap();
        wait_until_caught(&child, signal.as_raw());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let outcome = program::outcome_of(child, line.to_owned());
        drop(stdin);
        outcome.refused(status, &["ended by signal", "run the same command again"]);
        program::end_with_input(replay(), &lines).done();
        let store = site.place.path().join("s");
        Exported::of(&store).must_be(&expected, &format!("after {signal:?}"));
    }
}

/// Waits until a process has said to the system that it catches a signal.
fn wait_until_caught(child: &Child, signal: i32) {
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.expect("the process runs").trim(), 16).unwrap();
        if caught & (1 << (signal - 1)) != 0 {
            return;
        }
        thread::yield_now();
    }
}
