//! What the model test can catch: events that are lost, doubled, out of order, or counted wrongly, over takes in
//! any order, starts, and crashes that leave a torn end. What it cannot: a disk that forgets what it has synced.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use testing::random::Random;

use super::super::Channel as _;
use super::frame::Tag;
use super::*;

mod damage;

struct Scene {
    folder: tempfile::TempDir,
    settings: Settings,
}

impl Scene {
    fn new(capacity: usize) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            checkpoint: folder.path().join("checkpoint"),
            data: folder.path().join("data"),
            capacity,
            transaction_capacity: capacity,
            keep_alive: Duration::ZERO,
            // As small as one can be: there are many.
            segment: 4096,
            space: 0,
            interval: None,
        };
        Scene { folder, settings }
    }

    /// Why it cannot be opened.
    fn refused(&self) -> String {
        crate::stop::chain(&Channel::open("c1", &self.settings).unwrap_err())
    }

    fn open(&self) -> Arc<Channel> {
        Channel::open("c1", &self.settings).unwrap()
    }

    /// Opens it, and takes so many.
    fn taken(&self, most: usize) -> Vec<Event> {
        let take = super::super::Channel::take(self.open(), most, Duration::ZERO).unwrap();
        let events = take.events().to_vec();
        take.commit().unwrap();
        events
    }

    /// The folder as a crash at this moment leaves it.
    fn copied(&self) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        for part in ["checkpoint", "data"] {
            let (from, to) = (self.folder.path().join(part), folder.path().join(part));
            fs::create_dir_all(to.join("online-recall")).unwrap();
            for entry in fs::read_dir(from.join("online-recall")).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), to.join("online-recall").join(entry.file_name())).unwrap();
            }
        }
        let mut settings = self.settings.clone();
        (settings.checkpoint, settings.data) =
            (folder.path().join("checkpoint"), folder.path().join("data"));
        Scene { folder, settings }
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.settings.data.join("online-recall")).unwrap();
        let mut all: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        all.sort();
        all
    }

    fn kept_aside(&self) -> usize {
        let entries = fs::read_dir(self.settings.data.join("online-recall")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("damaged-")).count()
    }
}

fn event(number: u64) -> Event {
    let mut event = Event::new(format!("event {number}"));
    event.headers.set("number", number.to_string());
    event
}

fn put(channel: &Arc<Channel>, numbers: std::ops::Range<u64>) -> Result<(), Refused> {
    let mut events: Vec<_> = numbers.map(event).collect();
    let room = Arc::clone(channel).reserve(&events)?;
    room.commit(&mut events, None).unwrap();
    Ok(())
}

fn take(channel: &Arc<Channel>, most: usize) -> Box<dyn Take> {
    Arc::clone(channel).take(most, Duration::ZERO).unwrap()
}

fn numbers(take: &dyn Take) -> Vec<u64> {
    let number = |event: &Event| {
        let number = event.headers.get("number").unwrap().parse().unwrap();
        assert_eq!(*event, self::event(number));
        number
    };
    take.events().iter().map(number).collect()
}

#[test]
fn what_is_lent_takes_room_until_it_is_committed_and_goes_back_in_order() {
    let scene = Scene::new(3);
    let channel = scene.open();
    put(&channel, 0..3).unwrap();
    assert!(matches!(put(&channel, 3..4), Err(Refused::Full { len: 3, capacity: 3, .. })));
    let (first, second) = (take(&channel, 1), take(&channel, 1));
    drop(second);
    drop(first);
    assert_eq!(numbers(&*take(&channel, 9)), [0, 1, 2]);
    let two = take(&channel, 2);
    assert_eq!(two.end(), Some(2));
    two.commit().unwrap();
    put(&channel, 3..5).unwrap();
    assert_eq!(numbers(&*take(&channel, 9)), [2, 3, 4]);
}

/// Puts the events of a batch that its source knows again.
fn put_of(channel: &Arc<Channel>, source: &str, batch: u64, numbers: std::ops::Range<u64>) {
    let mut events: Vec<_> = numbers.map(event).collect();
    let origin = Origin { source: source.to_owned(), batch: batch.to_le_bytes().to_vec().into() };
    let room = Arc::clone(channel).reserve(&events).unwrap();
    room.commit(&mut events, Some(&origin)).unwrap();
}

#[test]
fn the_last_batch_of_each_source_is_known_over_starts_and_segments() {
    let scene = Scene::new(100_000);
    let mut channel = scene.open();
    let last = |channel: &Arc<Channel>, source| {
        let batch = channel.last_of(source)?;
        Some(u64::from_le_bytes(*batch.first_chunk().unwrap()))
    };
    put_of(&channel, "quiet", 7, 0..1);
    for batch in 0..200 {
        put_of(&channel, "busy", batch, 1..40);
        if batch % 50 == 49 {
            drop(channel);
            channel = scene.open();
        }
        take(&channel, 40).commit().unwrap();
        assert_eq!(last(&channel, "busy"), Some(batch));
        assert_eq!(last(&channel, "quiet"), Some(7));
        assert_eq!(last(&channel, "nobody"), None);
    }
    // The segment that the quiet one wrote to is long gone.
    assert!(!scene.segments()[0].ends_with(format!("{:020}.log", 0)));
}

#[test]
fn everything_is_there_after_a_start_but_what_was_taken() {
    let scene = Scene::new(100);
    let channel = scene.open();
    put(&channel, 0..10).unwrap();
    put(&channel, 10..20).unwrap();
    let (first, second) = (take(&channel, 3), take(&channel, 4));
    second.commit().unwrap();
    drop((first, channel));
    let channel = scene.open();
    assert_eq!(channel.len(), 16);
    assert_eq!(numbers(&*take(&channel, 100)), [&[0, 1, 2][..], &Vec::from_iter(7..20)].concat());
}

#[test]
fn a_position_that_the_other_side_knows_is_passed_over() {
    let scene = Scene::new(100);
    let channel = scene.open();
    put(&channel, 0..10).unwrap();
    let identity = channel.identity().map(str::to_owned);
    drop(channel);
    let channel = scene.open();
    assert_eq!(channel.identity(), identity.as_deref());
    assert_ne!(Scene::new(1).open().identity(), identity.as_deref());
    channel.forget_below(4).unwrap();
    assert!(channel.forget_below(11).is_err());
    assert_eq!(numbers(&*take(&channel, 100)), Vec::from_iter(4..10));
    take(&channel, 100).commit().unwrap();
    put(&channel, 10..12).unwrap();
    assert_eq!(take(&channel, 100).end(), Some(12));
}

/// As long as they are needed, and no longer.
#[test]
fn segments_are_removed_when_all_their_events_are_taken() {
    let scene = Scene::new(10_000);
    let channel = scene.open();
    for first in (0..2000).step_by(20) {
        put(&channel, first..first + 20).unwrap();
    }
    let many = scene.segments().len();
    assert!(many > 10, "{many}");
    let held = take(&channel, 1);
    while !take(&channel, 100).events().is_empty() {
        take(&channel, 100).commit().unwrap();
    }
    assert_eq!(scene.segments().len(), many);
    held.commit().unwrap();
    assert_eq!((scene.segments().len(), channel.len()), (1, 0));
}

#[test]
fn a_start_reads_the_last_segment_and_no_other() {
    let scene = Scene::new(10_000);
    let channel = scene.open();
    for first in (0..2000).step_by(20) {
        put(&channel, first..first + 20).unwrap();
    }
    drop(channel);
    // What it does not read, it does not miss.
    let (first, size) = (scene.segments().remove(0), 4096);
    let mut bytes = fs::read(&first).unwrap();
    bytes[100] ^= 1;
    fs::write(&first, &bytes).unwrap();
    assert_eq!(bytes.len(), size);
    let channel = scene.open();
    assert_eq!(channel.len(), 2000);
    // The frame is set aside when it comes to it, and all others are delivered.
    let rest = take(&channel, 10_000);
    assert_eq!(numbers(&*rest), Vec::from_iter(20..2000));
    rest.commit().unwrap();
    assert_eq!((channel.len(), scene.kept_aside()), (0, 1));
}

#[test]
fn flumes_own_log_and_a_folder_in_use_are_refused() {
    let scene = Scene::new(10);
    fs::create_dir_all(&scene.settings.data).unwrap();
    let log = scene.settings.data.join("log-3");
    fs::write(&log, "Flume's").unwrap();
    let error = Channel::open("c1", &scene.settings).unwrap_err().to_string();
    assert!(error.contains("log-3 is a log of Flume's own channel"), "{error}");
    assert_eq!(fs::read(&log).unwrap(), b"Flume's");
    fs::remove_file(log).unwrap();
    let _open = scene.open();
    let error = Channel::open("c1", &scene.settings).unwrap_err().to_string();
    assert!(error.starts_with("another process works in"), "{error}");
}

#[test]
fn a_disk_without_room_takes_nothing_and_goes_on_when_there_is_some() {
    let mut scene = Scene::new(10);
    scene.settings.space = u64::MAX;
    let channel = scene.open();
    let Err(Refused::Failed { source, .. }) = put(&channel, 0..1) else { panic!("it was put") };
    assert!(source.to_string().contains("less than minimumRequiredSpace"), "{source}");
    drop(channel);
    scene.settings.space = 0;
    put(&scene.open(), 0..1).unwrap();
}

#[test]
fn whatever_befalls_it_every_event_is_lent_in_order_until_it_was_taken() {
    let runs = if testing::all() { 2000 } else { 50 };
    for seed in 0..runs {
        model(seed);
    }
}

/// Random actions on the channel and on a plain list of what must be in it.
fn model(seed: u64) {
    let mut random = Random::new(seed);
    let mut scene = Scene::new(400);
    let mut channel = scene.open();
    // In order: what may be lent next. By take: what is lent.
    let (mut waits, mut next) = (VecDeque::<u64>::new(), 0);
    let mut lent: BTreeMap<u32, (Vec<u64>, Box<dyn Take>)> = BTreeMap::new();
    for step in 0..150 {
        let at = format!("seed {seed}, step {step}");
        match random.below(100) {
            0..40 => {
                let many = 1 + random.below(40) as u64;
                let held: usize = lent.values().map(|(numbers, _)| numbers.len()).sum();
                let has_room = waits.len() + held + many as usize <= 400;
                assert_eq!(put(&channel, next..next + many).is_ok(), has_room, "{at}");
                if has_room {
                    waits.extend(next..next + many);
                    next += many;
                }
            }
            40..65 => {
                let some = take(&channel, 1 + random.below(60));
                let expected: Vec<_> = waits.drain(..some.events().len()).collect();
                assert_eq!(numbers(&*some), expected, "{at}");
                if !expected.is_empty() {
                    lent.insert(step, (expected, some));
                } else {
                    assert!(waits.is_empty(), "{at}");
                }
            }
            65..90 => {
                let Some(key) = lent.keys().copied().nth(random.below(3)) else { continue };
                let (numbers, some) = lent.remove(&key).unwrap();
                if random.percent(70) {
                    some.commit().unwrap();
                } else {
                    drop(some);
                    back(&mut waits, numbers);
                }
            }
            end => {
                for (numbers, _) in std::mem::take(&mut lent).into_values() {
                    back(&mut waits, numbers);
                }
                if end < 95 {
                    drop(channel);
                } else {
                    let crashed = scene.copied();
                    drop(std::mem::replace(&mut scene, crashed));
                    torn(&scene, &mut random);
                }
                channel = scene.open();
            }
        }
        let held: usize = lent.values().map(|(numbers, _)| numbers.len()).sum();
        assert_eq!(channel.len(), waits.len() + held, "{at}");
    }
}

fn back(waits: &mut VecDeque<u64>, numbers: Vec<u64>) {
    waits.extend(numbers);
    waits.make_contiguous().sort_unstable();
}

/// What the frames of a segment begin with.
fn tag_of(segment: &[u8]) -> Tag {
    Tag::of(&segment[16..])
}

/// A transaction that was begun, and never acknowledged.
fn torn(scene: &Scene, random: &mut Random) {
    let Some(last) = scene.segments().pop() else { return };
    let mut bytes = fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if end + 8 >= bytes.len() {
        return;
    }
    let mut frame = Encoded::of(&[event(1 << 40), event(1 << 40)], None);
    let frame = frame.at(tag_of(&bytes), u64::MAX / 2);
    let some = &frame[..random.below(frame.len())];
    let some = &some[..some.len().min(bytes.len() - end - 8)];
    bytes[end + 8..end + 8 + some.len()].copy_from_slice(some);
    fs::write(last, bytes).unwrap();
}

#[test]
fn many_that_put_and_take_at_once_lose_and_double_nothing() {
    let scene = Scene::new(2000);
    let channel = scene.open();
    let (putters, each) = (4, 1500_u64);
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for putter in 0..putters {
            let channel = &channel;
            threads.spawn(move || {
                let mut first = putter * each;
                while first < (putter + 1) * each {
                    if put(channel, first..first + 10).is_ok() {
                        first += 10;
                    }
                }
            });
        }
        for taker in 0..3 {
            let (channel, seen) = (&channel, &seen);
            threads.spawn(move || {
                let mut turn = taker;
                while seen.lock().unwrap().len() < (putters * each) as usize {
                    let some = Arc::clone(channel).take(64, Duration::from_millis(5)).unwrap();
                    turn += 1;
                    if turn % 3 == 0 {
                        continue;
                    }
                    let numbers = numbers(&*some);
                    some.commit().unwrap();
                    seen.lock().unwrap().extend(numbers);
                }
            });
        }
    });
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, Vec::from_iter(0..putters * each));
    assert_eq!(channel.len(), 0);
}

const KILLED: &str = "ONLINE_RECALL_TEST_KILLED_CHANNEL";

/// Puts and takes until it is killed, and says what was acknowledged. For the test below.
#[test]
#[ignore = "it works until it is killed"]
fn works_until_it_is_killed() {
    let Ok(folder) = std::env::var(KILLED) else { return };
    let (folder, from) = folder.split_once(' ').unwrap();
    let folder = PathBuf::from(folder);
    let mut settings = Scene::new(5000).settings;
    (settings.checkpoint, settings.data) = (folder.join("checkpoint"), folder.join("data"));
    settings.keep_alive = Duration::from_millis(10);
    let channel = Channel::open("c1", &settings).unwrap();
    let mut next: u64 = from.parse().unwrap();
    let mut told = std::io::stdout().lock();
    loop {
        if put(&channel, next..next + 7).is_ok() {
            next += 7;
            writeln!(told, "\nput {next}").unwrap();
        }
        let some = take(&channel, 5);
        let numbers = numbers(&*some);
        some.commit().unwrap();
        for number in numbers {
            writeln!(told, "\ntaken {number}").unwrap();
        }
    }
}

#[test]
fn killed_at_any_moment_it_has_what_was_acknowledged_and_not_what_was_taken() {
    let scene = Scene::new(5000);
    let kills = if testing::all() { 100 } else { 12 };
    let (mut acknowledged, mut taken, mut random) = (0, Vec::new(), Random::new(1));
    let mut from = 0;
    for _ in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("channel::file::tests::works_until_it_is_killed")
            .env(KILLED, format!("{} {from}", scene.folder.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let enough = 20 + random.below(400);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = 0;
        let mut hear = |line: String| {
            if let Some(number) = line.strip_prefix("put ") {
                acknowledged = number.parse().unwrap();
                said += 1;
            } else if let Some(number) = line.strip_prefix("taken ") {
                taken.push(number.parse::<u64>().unwrap());
                said += 1;
            }
            said
        };
        while hear(lines.next().expect("it works until it is killed").unwrap()) < enough {}
        child.kill().unwrap();
        for line in lines {
            hear(line.unwrap());
        }
        child.wait().unwrap();
        // What was put and not acknowledged may be there: a source would send it again, under the same number.
        let channel = scene.open();
        let all = take(&channel, 5000);
        from = numbers(&*all).last().map_or(acknowledged, |last| last + 1).max(acknowledged);
    }
    let channel = scene.open();
    loop {
        let some = take(&channel, 5000);
        if some.events().is_empty() {
            break;
        }
        taken.extend(numbers(&*some));
        some.commit().unwrap();
    }
    let before = taken.len();
    taken.sort_unstable();
    taken.dedup();
    // Those whose take was committed, and not said to be, are not heard of.
    let unheard = from - taken.len() as u64;
    assert!(unheard <= 5 * kills, "{unheard} events are lost");
    assert_eq!(before, taken.len(), "events were taken twice");
    assert!(before > 50, "little was done: {before}");
}
