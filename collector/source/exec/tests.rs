use std::path::Path;

use super::*;
use crate::source::Source as _;
use crate::source::trial::{Trial, read};

fn exec(given: &[(&str, &str)]) -> (Exec, Vec<String>) {
    read(given, Exec::read)
}

fn with(folder: &Path, command: &str, more: &[(&str, &str)]) -> Exec {
    let position = folder.join("position").to_string_lossy().into_owned();
    let mut given = vec![("command", command)];
    if Tail::of(command).is_ok() {
        given.push(("positionFile", &position));
    }
    given.extend_from_slice(more);
    let (exec, found) = exec(&given);
    assert!(found.iter().all(|found| found.contains("it runs as a command")), "{found:?}");
    exec
}

#[test]
fn a_command_runs_and_its_lines_are_put() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(folder.path(), "printf a\\nb\\r\\nc", &[]);
    let trial = Trial::new(100);
    trial.run_to_end(&mut exec);
    assert_eq!(trial.taken(), ["a", "b", "c"]);
    assert!(exec.loses().is_some());
}

#[test]
fn a_shell_gets_the_command_as_one_word() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(
        folder.path(),
        "for i in 1 2 3; do echo $i; done | tail -n 2",
        &[("shell", "/bin/sh -c")],
    );
    let trial = Trial::new(100);
    trial.run_to_end(&mut exec);
    assert_eq!(trial.taken(), ["2", "3"]);
}

#[test]
fn a_full_channel_loses_nothing_of_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(folder.path(), "seq 1 1000", &[("batchSize", "7")]);
    let trial = Trial::new(10);
    let all = trial.run_and_take(&mut exec, 1000);
    assert_eq!(all, (1..=1000).map(|number: u32| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_command_that_goes_on_for_ever_is_ended_with_all_that_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(
        folder.path(),
        "echo x; sleep 1000 & sleep 1000",
        &[("shell", "/bin/sh -c"), ("batchTimeout", "0")],
    );
    let trial = Trial::new(10);
    // It is read to its end, which comes when the last of them has ended.
    assert_eq!(trial.run_and_take(&mut exec, 1), ["x"]);
}

#[test]
fn a_command_runs_again_if_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(folder.path(), "echo x", &[("restart", "true"), ("restartThrottle", "0")]);
    let trial = Trial::new(10);
    // It may have run once more before it was stopped.
    let all = trial.run_and_take(&mut exec, 3);
    assert!(all.len() >= 3 && all.iter().all(|line| line == "x"), "{all:?}");
}

#[test]
fn tail_is_followed_and_goes_on_where_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let numbers = |range: std::ops::RangeInclusive<u32>| -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    };
    std::fs::write(&log, numbers(1..=30).join("\n") + "\n").unwrap();
    let command = format!("tail -F {}", log.display());
    let mut exec = with(folder.path(), &command, &[]);
    assert!(exec.loses().is_none());
    let trial = Trial::new(100);
    assert_eq!(trial.run_and_take(&mut exec, 10), numbers(21..=30));
    std::fs::rename(&log, folder.path().join("log.1")).unwrap();
    std::fs::write(&log, numbers(31..=90).join("\n") + "\n").unwrap();
    let mut exec = with(folder.path(), &command, &[("batchSize", "7")]);
    let trial = Trial::new(7);
    assert_eq!(trial.run_and_take(&mut exec, 60), numbers(31..=90));
}

#[test]
fn keys_are_known_and_what_cannot_be_is_a_mistake() {
    let (_, found) = exec(&[("command", "tail -F /a"), ("charset", "UTF-16"), ("batchSize", "0")]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("line 2: sources.r1.charset: lines are found by"), "{found:?}");
    let (_, found) = exec(&[("command", "x"), ("positionFile", "/p"), ("restart", "true")]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn keys_of_a_command_are_warned_of_where_a_file_is_followed() {
    let given = [
        ("restart", "true"),
        ("restartThrottle", "1"),
        ("logStdErr", "true"),
        ("batchTimeout", "1"),
        ("shell", "/bin/sh -c"),
    ];
    let follows = [&[("command", "tail -F /a")][..], &given].concat();
    let found = exec(&follows).1;
    assert_eq!(found.len(), given.len(), "{found:#?}");
    for (found, (key, _)) in found.iter().zip(given) {
        assert!(found.contains(&format!("warning: sources.r1.{key} has no effect: ")), "{found}");
    }
    let runs = [&[("command", "echo x")][..], &given].concat();
    assert!(exec(&runs).1.is_empty());
}

#[test]
fn who_uses_tail_in_another_way_is_told_what_it_loses_and_what_to_do() {
    for (command, advice) in [
        ("tail -F /a /b", "a source of type TAILDIR with all these files"),
        ("tail -F -c 0 /a", "tail -F without -c"),
        ("tail -F /a | grep x", "an interceptor of type regex_filter"),
        ("sudo tail -F /a", "tail -F with one file, and nothing else"),
    ] {
        let found = exec(&[("command", command)]).1;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("it runs as a command, and keeps no position"), "{found:?}");
        assert!(found[0].contains(advice), "{found:?}");
    }
    assert!(exec(&[("command", "vmstat 1")]).1.is_empty());
}

/// A writer that rotates its own log in any way beside a source that reads it, is stopped and begins anew,
/// into a channel that is full most of the time. What it cannot show is a kill between two system calls:
/// that is in the tests of `follow`.
#[test]
fn whatever_happens_beside_every_line_comes_once() {
    let seeds = if testing::all() { 1..=100 } else { 1..=12 };
    let one = std::env::var("ONLINE_RECALL_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in one.map_or(seeds, |seed: u64| seed..=seed) {
        let result = std::panic::catch_unwind(|| any_life_beside(seed));
        assert!(result.is_ok(), "seed {seed} failed: ONLINE_RECALL_TEST_SEED={seed}");
    }
}

fn any_life_beside(seed: u64) {
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use testing::random::Random;

    let folder = testing::folder();
    let (logs, at) =
        (folder.path().join("logs"), |name: &str| folder.path().join("logs").join(name));
    std::fs::create_dir(logs).unwrap();
    let command = format!("tail -n +1 -F {}", at("log").display());
    let (written, taken, ended) = (AtomicU64::new(0), AtomicU64::new(0), Stop::default());
    let write = |random: &mut Random| {
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(at("log")).unwrap();
        for _ in 0..random.below(8) {
            let mut text = String::new();
            let many = random.below(30) as u64;
            for number in written.load(SeqCst)..written.load(SeqCst) + many {
                text += &format!("{number} {}\n", "x".repeat(random.below(90)));
            }
            file.write_all(text.as_bytes()).unwrap();
            written.fetch_add(many, SeqCst);
        }
    };
    let all_is_read = || {
        while taken.load(SeqCst) < written.load(SeqCst) && !ended.is_stopped() {
            std::thread::yield_now();
        }
    };
    // What was rotated before the very first start is past.
    let first = Trial::new(25);
    first.stop.stop();
    first.run_to_end(&mut with(folder.path(), &command, &[]));
    let mut read = Vec::new();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut random = Random::new(seed);
            for _ in 0..20 + random.below(30) {
                write(&mut random);
                if at("log.3").exists() {
                    // What goes away is read before.
                    all_is_read();
                }
                match random.below(5) {
                    0 | 1 => continue,
                    _ if !at("log").exists() => continue,
                    2 => {
                        all_is_read();
                        if random.percent(50) {
                            std::fs::File::create(at("log")).unwrap();
                        } else {
                            std::fs::remove_file(at("log")).unwrap();
                        }
                        continue;
                    }
                    way => {
                        for number in (1..3).rev() {
                            let from = at(&format!("log.{number}"));
                            if from.exists() {
                                std::fs::rename(from, at(&format!("log.{}", number + 1))).unwrap();
                            }
                        }
                        if way == 3 {
                            std::fs::rename(at("log"), at("log.1")).unwrap();
                        } else {
                            std::fs::copy(at("log"), at("log.1")).unwrap();
                            std::fs::File::options()
                                .write(true)
                                .open(at("log"))
                                .unwrap()
                                .set_len(0)
                                .unwrap();
                        }
                    }
                }
            }
            all_is_read();
            ended.stop();
        });
        let mut random = Random::new(seed ^ 1);
        let begun = std::time::Instant::now();
        while !ended.is_stopped() {
            let mut exec = with(folder.path(), &command, &[("batchSize", "20")]);
            exec.look = Duration::from_millis(1);
            let trial = Trial::new(60);
            let until = taken.load(SeqCst) + random.below(400) as u64;
            std::thread::scope(|threads| {
                let running = threads.spawn(|| exec.run(&trial.inlet, &trial.stop).unwrap());
                while taken.load(SeqCst) < until && !ended.is_stopped() {
                    let some = trial.take(Duration::ZERO);
                    taken.fetch_add(some.len() as u64, SeqCst);
                    read.extend(some);
                    if begun.elapsed() > Duration::from_secs(40) {
                        ended.stop();
                    }
                    std::thread::yield_now();
                }
                trial.stop.stop();
                running.join().unwrap();
            });
            let some = trial.take(Duration::ZERO);
            taken.fetch_add(some.len() as u64, SeqCst);
            read.extend(some);
        }
    });
    let number = |event: &Event| {
        let text = std::str::from_utf8(&event.body).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let mut numbers: Vec<_> = read.iter().map(number).collect();
    numbers.sort_unstable();
    let expected: Vec<_> = (0..written.load(SeqCst)).collect();
    let missed: Vec<_> =
        expected.iter().filter(|number| numbers.binary_search(number).is_err()).collect();
    let doubled: Vec<_> = numbers.windows(2).filter(|two| two[0] == two[1]).collect();
    assert!(missed.is_empty() && doubled.is_empty(), "missed {missed:?} doubled {doubled:?}");
}
