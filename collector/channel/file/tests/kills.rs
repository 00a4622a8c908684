//! A real process that puts and takes, and is killed at any moment, again and again: what it said that it
//! has put is never lost, and what it said that it has forgotten never comes again. A disk that is really full.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use testing::random::Random;

use super::super::Settings;
use super::{bodies, files, settings, take, try_open, try_put};
use crate::channel::Channel as _;
use crate::event::Event;

/// What the child works on: its folder, and the number of its first event.
const FOLDER: &str = "ONLINE_RECALL_TEST_CHANNEL";
const FIRST: &str = "ONLINE_RECALL_TEST_CHANNEL_FIRST";

const PUTTERS: u64 = 2;

fn large(folder: &Path) -> Settings {
    let mut settings = settings(folder);
    settings.segment = 1 << 15;
    settings.keep_alive = Duration::from_secs(600);
    settings
}

/// A line at once: what the parent reads was said.
fn say(what: &str, numbers: impl IntoIterator<Item = u64>) {
    let numbers: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    let line = format!("{what} {}\n", numbers.join(" "));
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// The child: puts and takes until it is killed.
#[test]
#[ignore = "it is run by the test that kills it"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let channel = &try_open(&large(Path::new(&folder))).unwrap();
    std::thread::scope(|threads| {
        for putter in 0..PUTTERS {
            threads.spawn(move || {
                let (mut random, mut next) = (Random::new(first + putter), first);
                // Odd numbers and even ones.
                next += (next + putter) % PUTTERS;
                loop {
                    let many = 1 + random.below(30) as u64;
                    let numbers = || (0..many).map(|at| next + at * PUTTERS);
                    let event = |number: u64| {
                        Event::new(
                            format!("{number} {}", "x".repeat(random.below(100))).into_bytes(),
                        )
                    };
                    let mut events = numbers().map(event).collect();
                    say("putting", numbers());
                    try_put(channel, &mut events).unwrap();
                    say("put", numbers());
                    next += many * PUTTERS;
                }
            });
        }
        for taker in 0..2 {
            threads.spawn(move || {
                let (mut random, mut kept) = (Random::new(first + 10 + taker), Vec::new());
                loop {
                    let most = 1 + random.below(60);
                    let taken = Arc::clone(channel).take(most, Duration::from_millis(5)).unwrap();
                    kept.push(taken);
                    if random.percent(60) {
                        let taken = kept.swap_remove(random.below(kept.len()));
                        let numbers: Vec<u64> = taken.events().iter().map(number).collect();
                        say("forgetting", numbers.iter().copied());
                        taken.commit().unwrap();
                        say("forgot", numbers);
                    } else if kept.len() > 4 {
                        kept.clear();
                    }
                }
            });
        }
    });
}

fn number(event: &Event) -> u64 {
    let text = std::str::from_utf8(&event.body).unwrap();
    text.split_once(' ').unwrap().0.parse().unwrap()
}

fn start(folder: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["channel::file::tests::kills::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_process_that_is_killed_loses_and_doubles_nothing() {
    let folder = testing::folder();
    let mut random = Random::new(7);
    let mut first = 0;
    // What was said of each number.
    let (mut put, mut forgot) = (BTreeSet::new(), BTreeSet::new());
    let (mut putting, mut forgetting) = (BTreeMap::new(), BTreeSet::new());
    for kill in 0..if testing::all() { 100 } else { 20 } {
        let mut child = start(folder.path(), first);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut left = random.below(400);
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            // The last one may be torn, and the test's own lines are none of the channel's.
            let words = line.strip_suffix('\n').unwrap_or_default().split_once(' ');
            let (what, numbers) = words.unwrap_or_default();
            let numbers = || numbers.split_whitespace().map(|word| word.parse::<u64>().unwrap());
            match what {
                "putting" => {
                    for number in numbers() {
                        putting.insert(number, kill);
                        first = first.max(number + 1);
                    }
                }
                "put" => put.extend(numbers()),
                "forgetting" => {
                    for number in numbers() {
                        assert!(putting.contains_key(&number), "{number} was never put");
                        assert!(!forgot.contains(&number), "{number} came again");
                        forgetting.insert(number);
                    }
                }
                "forgot" => forgot.extend(numbers()),
                _ => {}
            }
            line.clear();
            if left == 0 {
                child.kill().unwrap();
            }
            left = left.saturating_sub(1);
        }
        child.wait().unwrap();
    }
    let channel = try_open(&large(folder.path())).unwrap();
    let mut rest = BTreeSet::new();
    while let found = take(&channel, 1000)
        && !found.events().is_empty()
    {
        for number in found.events().iter().map(number) {
            assert!(putting.contains_key(&number) && rest.insert(number));
            assert!(!forgot.contains(&number), "{number} came again");
        }
        found.commit().unwrap();
    }
    assert!(put.len() > 1000 && forgot.len() > 1000, "{} {}", put.len(), forgot.len());
    for number in put {
        // What was being forgotten when it was killed may be forgotten.
        assert!(
            rest.contains(&number) || forgetting.contains(&number),
            "{number} of kill {} is lost",
            putting[&number]
        );
    }
    assert!(files(folder.path(), ".damaged").is_empty());
}

/// The child on a disk of three megabytes: fills it, and goes on when there is room again.
#[test]
#[ignore = "it is run by the test that gives it a disk"]
fn child_on_a_small_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut small = settings(Path::new(&folder));
    (small.segment, small.capacity, small.transaction_capacity) = (1 << 18, 1 << 20, 1000);
    let channel = try_open(&small).unwrap();
    let body = "x".repeat(2000);
    let mut next = 0;
    let mut fill = || {
        let begun = next;
        loop {
            let event = |number: u64| Event::new(format!("{number} {body}").into_bytes());
            let mut events = (next..next + 20).map(event).collect();
            if let Err(error) = try_put(&channel, &mut events) {
                let text = crate::stop::chain(&error);
                assert!(text.contains("No space left on device"), "{text}");
                return next - begun;
            }
            next += 20;
        }
    };
    assert!(fill() > 300);
    // It stays full, and gives out what waits.
    assert_eq!(fill(), 0);
    let half = take(&channel, 500);
    assert!(half.events().iter().map(number).eq(0..500));
    half.commit().unwrap();
    assert!(fill() > 300);
    super::kill(channel);
    let channel = try_open(&small).unwrap();
    let mut expected = 500;
    while let found = take(&channel, 1000)
        && !found.events().is_empty()
    {
        for number in found.events().iter().map(number) {
            assert_eq!(number, expected);
            expected += 1;
        }
        assert!(bodies(&*found).iter().all(|text| text.ends_with(&body)));
        found.commit().unwrap();
    }
    assert_eq!(expected, next);
    say("well", [expected]);
}

#[test]
fn a_full_disk_fails_puts_cleanly_and_goes_on_when_there_is_room() {
    let folder = testing::folder();
    let test = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=3m disk \"$1\" || exit 9\n\
                  exec \"$2\" channel::file::tests::kills::child_on_a_small_disk --exact --ignored --nocapture";
    let child = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(test)
        .env(FOLDER, folder.path())
        .output();
    let Ok(child) = child else {
        eprintln!("skipped: there is no unshare");
        return;
    };
    let said = String::from_utf8_lossy(&child.stdout);
    let error = String::from_utf8_lossy(&child.stderr);
    if child.status.code() == Some(9) || error.starts_with("unshare:") {
        eprintln!("skipped: no file system may be mounted here");
        return;
    }
    assert!(child.status.success() && said.contains("well"), "{said}\n{error}");
}
