//! Random work against a simple model: puts, takes, commits in any order, rollbacks, disks that fail for a
//! moment, ends and crashes of all kinds, with the channel's files as they would be found: the process is
//! killed between any two steps, a write is torn at any byte, the power takes back what was not synced.
//!
//! What these tests cannot catch: what many threads do at once ([`super::threads`]), and a file system that
//! breaks its own promises.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use testing::random::Random;

use super::super::{Channel, Settings, segment};
use super::{Take, faults, files, flip, settings, take, try_open, try_put};
use crate::channel::{Channel as _, Refused};
use crate::counters::Channel as Count;
use crate::event::Event;

/// Runs a test for so many seeds, or for the one that the environment names, and says which one failed.
fn each_seed(few: u64, many: u64, test: impl Fn(&mut Random)) {
    let one = std::env::var("ONLINE_RECALL_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = match one {
        Some(seed) => seed..=seed,
        None => 1..=if testing::all() { many } else { few },
    };
    for seed in seeds {
        let run = std::panic::AssertUnwindSafe(|| test(&mut Random::new(seed)));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("it failed with ONLINE_RECALL_TEST_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// An event is known by its number here, which its body begins with.
fn number(event: &Event) -> u64 {
    u64::from_le_bytes(event.body[..8].try_into().unwrap())
}

struct Run<'r> {
    random: &'r mut Random,
    settings: Settings,
    channel: Option<Arc<Channel>>,
    next: u64,
    /// What waits, in order.
    waiting: BTreeSet<u64>,
    lent: Vec<(Box<dyn Take>, Vec<u64>)>,
    /// Puts that have failed: after a crash all or nothing of each is there, once.
    maybe_put: Vec<Vec<u64>>,
    /// Commits that have failed: after a crash these may be done with.
    maybe_taken: BTreeSet<u64>,
    /// The position behind an event, once it is known.
    positions: BTreeMap<u64, u64>,
    crashes: usize,
}

impl Run<'_> {
    fn channel(&self) -> &Arc<Channel> {
        self.channel.as_ref().unwrap()
    }

    fn batch(&mut self) -> Vec<Event> {
        let many = self.random.below(20);
        let large = self.random.percent(5);
        let event = |_| {
            let length = self.random.below(if large { 3000 } else { 150 });
            let mut body = self.next.to_le_bytes().to_vec();
            body.resize(8 + length, self.random.number() as u8);
            let mut event = Event::new(body);
            if self.random.percent(30) {
                event.headers.set("host", ["a", "b"][self.random.below(2)]);
            }
            self.next += 1;
            event
        };
        (0..many).map(event).collect()
    }

    fn put(&mut self) {
        let mut batch = self.batch();
        let numbers: Vec<u64> = batch.iter().map(number).collect();
        let held = self.channel().len();
        let put = try_put(self.channel(), &mut batch);
        match put {
            Ok(()) => {
                assert!(batch.is_empty());
                self.waiting.extend(numbers);
            }
            Err(Refused::Full { .. }) => {
                assert!(held + numbers.len() > self.settings.capacity);
            }
            Err(_) => {
                assert_eq!(batch.len(), numbers.len());
                self.maybe_put.push(numbers);
            }
        }
    }

    fn take(&mut self) {
        let most = self.random.below(40);
        let Ok(taken) = Arc::clone(self.channel()).take(most, Duration::ZERO) else {
            assert!(faults::is_dead());
            return;
        };
        let numbers: Vec<u64> = taken.events().iter().map(number).collect();
        let expected: Vec<u64> = self.waiting.iter().copied().take(most).collect();
        assert_eq!(numbers, expected);
        let Some(last) = numbers.last() else { return };
        let end = taken.end().unwrap();
        assert_eq!(*self.positions.entry(*last).or_insert(end), end);
        let (before, after) = (self.positions.range(..last), self.positions.range(last + 1..));
        assert!(before.clone().next_back().is_none_or(|(_, position)| *position < end));
        assert!(after.clone().next().is_none_or(|(_, position)| *position > end));
        for number in &numbers {
            self.waiting.remove(number);
        }
        self.lent.push((taken, numbers));
    }

    fn give_back(&mut self) {
        if !self.lent.is_empty() {
            let (taken, numbers) = self.lent.remove(self.random.below(self.lent.len()));
            drop(taken);
            self.waiting.extend(numbers);
        }
    }

    fn commit(&mut self) {
        if self.lent.is_empty() {
            return;
        }
        let (taken, numbers) = self.lent.remove(self.random.below(self.lent.len()));
        if taken.commit().is_err() {
            self.waiting.extend(&numbers);
            self.maybe_taken.extend(numbers);
        }
    }

    /// The channel ends, and all that was lent comes back.
    fn end(&mut self) {
        for (taken, numbers) in self.lent.drain(..) {
            drop(taken);
            self.waiting.extend(numbers);
        }
        drop(self.channel.take());
    }

    /// Opens it again, and takes over what is there where a crash has left a choice.
    fn open(&mut self, is_crash: bool) {
        let channel = try_open(&self.settings).unwrap();
        let mut taken = Vec::new();
        while let found = take(&channel, 1000)
            && !found.events().is_empty()
        {
            taken.push(found);
        }
        let found = taken.iter().flat_map(|taken| taken.events().iter().map(number));
        let found: Vec<u64> = found.collect();
        assert!(found.is_sorted_by(|one, other| one < other), "{found:?}");
        let found: BTreeSet<u64> = found.into_iter().collect();
        if is_crash {
            for put in self.maybe_put.drain(..) {
                let there = put.iter().filter(|number| found.contains(number)).count();
                assert!(there == 0 || there == put.len(), "half of {put:?}");
                if there > 0 {
                    self.waiting.extend(put);
                }
            }
        }
        // A commit that could not be noted safely may be noted all the same.
        let is_there = |number: &u64| found.contains(number) || !self.maybe_taken.contains(number);
        self.waiting.retain(is_there);
        self.maybe_put.clear();
        self.maybe_taken.retain(|number| self.waiting.contains(number));
        assert_eq!(found, self.waiting);
        drop(taken);
        assert_eq!(channel.counters().get(Count::EventDamagedCount), 0);
        self.channel = Some(channel);
    }

    /// The process was killed, or the machine has lost its power.
    fn crash(&mut self) {
        self.crashes += 1;
        faults::die_after(1, 0);
        self.end();
        if self.settings.sync_every.is_none() && self.random.percent(60) {
            faults::lose_power(self.random);
        } else {
            faults::revive();
        }
        if self.random.percent(20) {
            // And again, while it starts.
            faults::die_after(1 + self.random.below(25), self.random.below(2000));
            let opened = try_open(&self.settings);
            faults::die_after(1, 0);
            drop(opened);
            faults::revive();
        }
        self.open(true);
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.put(),
            30..60 => self.take(),
            60..78 => self.commit(),
            78..85 => self.give_back(),
            85..88 => {
                // Each end begins the next generation: old ones must not be missed.
                self.end();
                self.open(false);
            }
            88..91 => self.crash(),
            91..95 => {
                // It dies on some step of what comes next.
                faults::die_after(1 + self.random.below(6), self.random.below(800));
                for _ in 0..3 {
                    match self.random.below(3) {
                        0 => self.put(),
                        1 => self.take(),
                        _ => self.commit(),
                    }
                }
                self.crash();
            }
            _ => {
                let step = [faults::Step::Write, faults::Step::Sync, faults::Step::Create];
                let (step, error) = (*self.random.one_of(&step), [Errno::NOSPC, Errno::IO]);
                faults::fail(Some((step, *self.random.one_of(&error))));
                for _ in 0..2 {
                    match self.random.below(2) {
                        0 => self.put(),
                        _ => self.commit(),
                    }
                }
                faults::fail(None);
            }
        }
    }

    fn held(&self) -> usize {
        self.waiting.len() + self.lent.iter().map(|(_, numbers)| numbers.len()).sum::<usize>()
    }
}

fn run(random: &mut Random, syncs: bool) {
    let folder = testing::folder();
    let mut settings = settings(folder.path());
    settings.capacity = 1000 + random.below(200);
    settings.segment = 1024 << random.below(4);
    settings.sync_every = (!syncs).then(|| Duration::from_secs(3600));
    faults::begin();
    let channel = Some(try_open(&settings).unwrap());
    let mut run = Run {
        random,
        settings,
        channel,
        next: 0,
        waiting: BTreeSet::new(),
        lent: Vec::new(),
        maybe_put: Vec::new(),
        maybe_taken: BTreeSet::new(),
        positions: BTreeMap::new(),
        crashes: 0,
    };
    for _ in 0..150 {
        run.step();
        assert_eq!(run.channel().len(), run.held());
    }
    run.end();
    run.open(false);
    assert!(files(folder.path(), ".new").is_empty());
}

#[test]
fn random_work_and_crashes_lose_and_double_nothing() {
    each_seed(150, 5000, |random| run(random, true));
}

#[test]
fn without_syncs_random_work_and_kills_lose_and_double_nothing() {
    each_seed(40, 1000, |random| run(random, false));
}

/// Fills a channel, and forgets some of it; returns what waits, by put.
fn fill(folder: &Path, random: &mut Random) -> Vec<Vec<u64>> {
    let channel = try_open(&settings(folder)).unwrap();
    let (mut puts, mut next) = (Vec::new(), 0);
    for _ in 0..5 + random.below(20) {
        let many = 1 + random.below(8) as u64;
        let event = |number: u64| {
            let mut body = number.to_le_bytes().to_vec();
            body.resize(8 + random.below(200), 7);
            Event::new(body)
        };
        let numbers: Vec<u64> = (next..next + many).collect();
        try_put(&channel, &mut numbers.iter().copied().map(event).collect()).unwrap();
        puts.push(numbers);
        next += many;
    }
    let taken = take(&channel, random.below(next as usize / 2));
    let gone: BTreeSet<u64> = taken.events().iter().map(number).collect();
    taken.commit().unwrap();
    for put in &mut puts {
        put.retain(|number| !gone.contains(number));
    }
    if random.percent(50) {
        super::kill(channel);
    }
    puts.retain(|put| !put.is_empty());
    puts
}

fn rest(channel: &Arc<Channel>) -> Vec<u64> {
    let mut rest = Vec::new();
    while let found = take(channel, 1000)
        && !found.events().is_empty()
    {
        rest.extend(found.events().iter().map(number));
        found.commit().unwrap();
    }
    rest
}

#[test]
fn flipped_bytes_cost_the_puts_that_they_hit_and_are_told() {
    each_seed(150, 5000, |random| {
        let folder = testing::folder();
        let puts = fill(folder.path(), random);
        let segments = files(folder.path(), segment::SUFFIX);
        let flips = 1 + random.below(3);
        for _ in 0..flips {
            let segment = random.one_of(&segments);
            let length = std::fs::metadata(segment).unwrap().len() as usize;
            flip(segment, random.below(length));
        }
        let channel = try_open(&settings(folder.path())).unwrap();
        let damaged_before = puts.iter().flatten().count() - channel.len();
        let found: BTreeSet<u64> = {
            let rest = rest(&channel);
            assert!(rest.is_sorted_by(|one, other| one < other), "{rest:?}");
            rest.into_iter().collect()
        };
        let mut lost = 0;
        for put in &puts {
            let there = put.iter().filter(|number| found.contains(number)).count();
            assert!(there == 0 || there == put.len(), "half of {put:?}");
            lost += put.len() - there;
        }
        // What was cut at the end, because nothing tells that it was whole, is kept as torn.
        let told = channel.counters().get(Count::EventDamagedCount) as usize + damaged_before;
        assert_eq!((lost, found.len()), (told, puts.iter().flatten().count() - lost));
        let is_kept = |ending: &str| !files(folder.path(), ending).is_empty();
        assert!(lost == damaged_before || is_kept(".damaged"));
        assert!(damaged_before == 0 || is_kept(".torn"));
        assert_eq!(channel.len(), 0);
    });
}

#[test]
fn a_log_torn_at_any_byte_keeps_all_puts_before() {
    each_seed(100, 3000, |random| {
        let folder = testing::folder();
        let puts = fill(folder.path(), random);
        let last = files(folder.path(), segment::SUFFIX).pop().unwrap();
        let mut bytes = std::fs::read(&last).unwrap();
        let at = segment::START as usize + random.below(bytes.len() - segment::START as usize);
        if random.percent(50) {
            bytes.truncate(at);
        } else {
            bytes[at..].fill(0);
        }
        std::fs::write(&last, &bytes).unwrap();
        let channel = try_open(&settings(folder.path())).unwrap();
        let found = rest(&channel);
        let all: Vec<u64> = puts.iter().flatten().copied().collect();
        assert_eq!(found, all[..found.len()]);
        assert!(
            puts.iter().all(|put| found.contains(&put[0]) == found.contains(put.last().unwrap()))
        );
        // It goes on, and numbers go on.
        let mut more = vec![Event::new(vec![0; 8])];
        try_put(&channel, &mut more).unwrap();
        assert_eq!(rest(&channel), [0]);
    });
}

#[test]
fn damage_to_what_is_done_with_loses_nothing() {
    each_seed(100, 3000, |random| {
        let folder = testing::folder();
        let puts = fill(folder.path(), random);
        let mut notes = files(folder.path(), ".acks");
        notes.extend(files(folder.path(), ".checkpoint"));
        let note = random.one_of(&notes);
        let length = std::fs::metadata(note).unwrap().len() as usize;
        flip(note, random.below(length));
        let found = rest(&try_open(&settings(folder.path())).unwrap());
        let all: Vec<u64> = puts.iter().flatten().copied().collect();
        assert!(found.ends_with(&all), "{found:?} {all:?}");
        assert!(found.is_sorted_by(|one, other| one < other));
    });
}
