//! Fuzzes the opening of a file channel: whatever its files hold, it opens or says which file it refuses; what
//! it lends was written so, and stands in a frame whose checksum holds; and what is put after that is kept.

#![no_main]
#![allow(dead_code)]

#[path = "../collector"]
mod collector {
    pub mod channel;
    pub mod counters;
    pub mod event;
    pub mod findings;
    pub mod keys;
    pub mod lock;
    pub mod properties;
    pub mod stop;
    pub mod avro {
        pub mod datum;
        pub mod frame;

        pub type Hash = [u8; 16];
    }
}
#[path = "channel/files.rs"]
mod files;
mod memory;
#[path = "channel/scan.rs"]
mod scan;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use collector::channel::{Channel, Failure, Settings};
use collector::event::Event;
use collector::findings::Findings;
use collector::keys::Keys;
use collector::properties::Property;
pub use collector::*;
use files::Files;

/// What an opening and a reading may need beside what grows with the files.
const MEMORY: usize = 8 << 20;

/// Where the files are, and the channel that is opened there.
static PLACE: LazyLock<(PathBuf, Settings)> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("channel-{}", std::process::id()));
    let text = |name: &str| folder.join(name).display().to_string();
    let given = [
        ("dataDirs", text("data")),
        ("checkpointDir", text("checkpoint")),
        ("maxFileSize", "1".to_owned()),
        ("minimumRequiredSpace", "0".to_owned()),
        ("keep-alive", "0".to_owned()),
    ];
    let given = given.map(|(key, value)| Property { key: key.to_owned(), value, line: 1 });
    let findings = Findings::default();
    let keys = given.iter().map(|property| (property.key.clone(), property));
    let settings = Settings::read("file", &Keys::new("a1", "channels.c1", keys, &findings));
    (folder, settings.expect("it is a type"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let files = Files::made_of(bytes);
    let (folder, settings) = &*PLACE;
    files.write(folder);
    let size: usize = files.all().map(|(_, bytes)| bytes.len()).sum();
    // An event of two bytes takes some fifty in memory, and its place is made twice.
    let within = MEMORY + 200 * size;
    let channel = match memory::within(within, || settings.open("c1")) {
        Ok(channel) => channel,
        Err(error) => return refused(&files, folder, &error),
    };
    let (written, noted) = (scan::events(&files), scan::taken(&files));
    let lent = match memory::within(within, || take_all(&channel, |_| false)) {
        Ok(lent) => lent,
        Err(error) => return refused(&files, folder, &error),
    };
    let take_all = |channel: &Arc<dyn Channel>, commits: &dyn Fn(usize) -> bool| {
        take_all(channel, commits).expect("it could be read before")
    };
    for (number, event) in &lent {
        let is_there = written.get(number).is_some_and(|events| events.contains(event));
        assert!(is_there, "{number} was never written: {event:?}");
        assert!(!noted.iter().any(|taken| taken.contains(number)), "{number} was taken");
    }
    if files.is_sound() {
        let is_due = |number: &u64| !noted.iter().any(|taken| taken.contains(number));
        let due: Vec<_> = written.keys().copied().filter(is_due).collect();
        assert_eq!(lent.iter().map(|(number, _)| *number).collect::<Vec<_>>(), due);
    }
    assert_eq!(channel.len(), lent.len());
    // What comes back is lent again, and what is committed is not.
    let commits = |nth: usize| files.commits(nth);
    assert_eq!(take_all(&channel, &commits), lent);
    let numbered = (0..).zip(&lent);
    let left: Vec<_> =
        numbered.filter(|(nth, _)| !commits(*nth)).map(|(_, one)| one.clone()).collect();
    assert_eq!(take_all(&channel, &|_| false), left);
    drop(channel);
    // So it is after a start.
    let channel = settings.open("c1").expect("it was opened before");
    assert_eq!(channel.len(), left.len());
    if !files.puts() {
        assert_eq!(take_all(&channel, &|_| false), left);
        return;
    }
    let mine = Event::new(&b"mine"[..]);
    let room = match Arc::clone(&channel).reserve(std::slice::from_ref(&mine)) {
        Ok(room) => room,
        Err(error) => panic!("{}", stop::chain(&error)),
    };
    if let Err(error) = room.commit(&mut vec![mine.clone()], None) {
        // Who has had its last number says so, and names no file.
        let is_at_its_end = stop::chain(&error).contains("used up") && !files.is_sound();
        if !is_at_its_end {
            refused(&files, folder, &error);
        }
        return;
    }
    drop(channel);
    let channel = settings.open("c1").expect("it was opened before");
    let mut last = take_all(&channel, &|_| true);
    let (number, event) = last.pop().expect("an event was put");
    assert!(event == mine && lent.last().is_none_or(|(before, _)| *before < number));
    assert_eq!(last, left);
    assert_eq!(channel.len(), 0);
});

/// Takes all there is, one by one, and commits some; returns all with their numbers, which grow.
fn take_all(
    channel: &Arc<dyn Channel>,
    commits: impl Fn(usize) -> bool,
) -> Result<Vec<(u64, Event)>, Failure> {
    let mut lent: Vec<(u64, Event)> = Vec::new();
    let mut takes = Vec::new();
    // A take of nothing waits, however short.
    while takes.len() < channel.len() {
        let take = Arc::clone(channel).take(1, Duration::ZERO)?;
        let Some(event) = take.events().first() else { break };
        let number = take.end().expect("a file channel numbers its events") - 1;
        assert!(lent.last().is_none_or(|(before, _)| *before < number), "numbers grow");
        lent.push((number, event.clone()));
        takes.push(take);
    }
    for (nth, take) in takes.into_iter().enumerate() {
        if commits(nth) {
            take.commit()?;
        }
    }
    Ok(lent)
}

/// What is refused is named.
fn refused(files: &Files, folder: &Path, error: &Failure) {
    let text = stop::chain(error);
    let is_named =
        files.all().any(|(name, _)| text.contains(&folder.join(name).display().to_string()));
    assert!(is_named && !files.is_sound(), "{text}: {files:?}");
}
