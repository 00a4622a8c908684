//! What the channel promises, one thing at a time, and on a disk that fails when it is told to. Random work,
//! crashes and damage against a simple model: [`model`]; many threads: [`threads`]; a process that is killed:
//! [`kills`]; bytes that nobody has written: [`garbage`]; how fast it is: [`speed`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::super::{Channel as _, Refused, Take};
use super::disk::faults;
use super::folder::OURS;
use super::{Channel, Settings, facts, segment};
use crate::channel::Failure;
use crate::counters::Channel as Count;
use crate::event::Event;

mod garbage;
mod kills;
mod model;
mod speed;
mod threads;

fn settings(folder: &Path) -> Settings {
    Settings {
        capacity: 1000,
        transaction_capacity: 1000,
        keep_alive: Duration::ZERO,
        data: vec![folder.join("data")],
        checkpoint: folder.join("checkpoint"),
        segment: 4096,
        required_space: 0,
        sync_every: None,
    }
}

/// As few records of acks as make the next generation come often.
const FEW_ACKS: u64 = segment::START + 20 * 32;

fn try_open(settings: &Settings) -> Result<Arc<Channel>, Failure> {
    Channel::open_sized("c1", settings, FEW_ACKS)
}

fn open(folder: &Path) -> Arc<Channel> {
    try_open(&settings(folder)).unwrap()
}

fn events(bodies: &[&str]) -> Vec<Event> {
    bodies.iter().map(|body| Event::new(body.as_bytes().to_vec())).collect()
}

fn try_put(channel: &Arc<Channel>, events: &mut Vec<Event>) -> Result<(), Refused> {
    let room = Arc::clone(channel).reserve(events)?;
    room.commit(events).map_err(|source| channel.refused(source))
}

fn put(channel: &Arc<Channel>, bodies: &[&str]) {
    try_put(channel, &mut events(bodies)).unwrap();
}

fn take(channel: &Arc<Channel>, most: usize) -> Box<dyn Take> {
    Arc::clone(channel).take(most, Duration::ZERO).unwrap()
}

fn bodies(take: &dyn Take) -> Vec<&str> {
    take.events().iter().map(|event| std::str::from_utf8(&event.body).unwrap()).collect()
}

/// The files of this ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for part in ["data", "checkpoint"] {
        let entries = fs::read_dir(folder.join(part).join(OURS)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// Changes a byte of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Ends a channel as a process does that is killed: nothing more is written.
fn kill(channel: Arc<Channel>) {
    faults::die_after(1, 0);
    drop(channel);
    faults::revive();
}

#[test]
fn what_is_lent_takes_room_until_it_is_committed_and_goes_back_in_order() {
    let folder = testing::folder();
    let mut three = settings(folder.path());
    (three.capacity, three.transaction_capacity) = (3, 3);
    let channel = try_open(&three).unwrap();
    put(&channel, &["a", "b", "c"]);
    let full = try_put(&channel, &mut events(&["d"]));
    assert!(matches!(full, Err(Refused::Full { len: 3, capacity: 3, .. })));
    let (first, second) = (take(&channel, 1), take(&channel, 1));
    assert!(try_put(&channel, &mut events(&["d"])).is_err());
    drop(second);
    drop(first);
    let all = take(&channel, 9);
    assert_eq!((bodies(&*all), all.end()), (vec!["a", "b", "c"], Some(3)));
    drop(all);
    take(&channel, 2).commit().unwrap();
    assert_eq!(channel.len(), 1);
    put(&channel, &["d", "e"]);
    assert_eq!(bodies(&*take(&channel, 9)), ["c", "d", "e"]);
    let room = Arc::clone(&channel).reserve(&events(&["f"]));
    assert!(matches!(room, Err(Refused::Full { .. })));
    let many = try_put(&channel, &mut events(&["f", "g", "h", "i"]));
    assert!(matches!(many, Err(Refused::TooMany { batch: 4, most: 3, .. })));
}

#[test]
fn room_that_is_not_used_is_given_back() {
    let folder = testing::folder();
    let mut two = settings(folder.path());
    (two.capacity, two.transaction_capacity) = (2, 2);
    let channel = try_open(&two).unwrap();
    let room = Arc::clone(&channel).reserve(&events(&["a", "b"])).ok().unwrap();
    assert_eq!(channel.len(), 0);
    assert!(try_put(&channel, &mut events(&["c"])).is_err());
    drop(room);
    put(&channel, &["c", "d"]);
    assert!(take(&channel, 0).events().is_empty());
    assert_eq!(take(&channel, 0).end(), None);
}

#[test]
fn all_but_what_was_committed_is_there_after_a_start_whatever_ended_the_last_one() {
    let folder = testing::folder();
    for end in [drop, kill] {
        let channel = open(folder.path());
        assert_eq!(channel.len(), 0);
        put(&channel, &["a", "b", "c", "d"]);
        put(&channel, &["e"]);
        let (first, second, third) = (take(&channel, 1), take(&channel, 2), take(&channel, 1));
        let position = third.end().unwrap();
        second.commit().unwrap();
        third.commit().unwrap();
        drop(first);
        end(channel);
        let channel = open(folder.path());
        assert_eq!(channel.len(), 2);
        let rest = take(&channel, 9);
        assert_eq!((bodies(&*rest), rest.end()), (vec!["a", "e"], Some(position + 1)));
        rest.commit().unwrap();
    }
}

#[test]
fn segments_all_of_whose_events_are_done_with_are_removed() {
    let folder = testing::folder();
    let channel = open(folder.path());
    let body = "x".repeat(1000);
    for _ in 0..40 {
        put(&channel, &[&body]);
    }
    assert!(files(folder.path(), segment::SUFFIX).len() >= 10);
    let first = take(&channel, 1);
    while let late = take(&channel, 7)
        && late.end().is_some()
    {
        late.commit().unwrap();
    }
    assert!(files(folder.path(), segment::SUFFIX).len() >= 10);
    first.commit().unwrap();
    assert_eq!(files(folder.path(), segment::SUFFIX).len(), 1);
    // Generations of what is done with do not pile up either.
    assert!(files(folder.path(), facts::SUFFIXES[0]).len() <= 2);
}

#[test]
fn a_batch_larger_than_a_segment_has_one_of_its_own() {
    let folder = testing::folder();
    let channel = open(folder.path());
    let body = "x".repeat(100_000);
    put(&channel, &["a"]);
    put(&channel, &[&body]);
    put(&channel, &["b"]);
    assert_eq!(bodies(&*take(&channel, 9)), ["a", &body, "b"]);
    kill(channel);
    assert_eq!(bodies(&*take(&open(folder.path()), 9)), ["a", &body, "b"]);
}

#[test]
fn a_put_that_fails_is_not_there_and_the_next_is() {
    for (step, error) in [
        (faults::Step::Write, Errno::NOSPC),
        (faults::Step::Sync, Errno::IO),
        (faults::Step::Create, Errno::NOSPC),
        (faults::Step::Name, Errno::IO),
    ] {
        let folder = testing::folder();
        let channel = open(folder.path());
        faults::begin();
        put(&channel, &["a"]);
        // Where a new segment cannot be made, none may be needed.
        let large = "x".repeat(5000);
        faults::die_after(usize::MAX, 30);
        faults::fail(Some((step, error)));
        let mut batch = events(&["b", &large]);
        for _ in 0..3 {
            assert!(try_put(&channel, &mut batch).is_err(), "{step:?}");
            assert_eq!((batch.len(), channel.len()), (2, 1), "{step:?}");
        }
        faults::fail(None);
        put(&channel, &["c"]);
        try_put(&channel, &mut batch).unwrap();
        let all = take(&channel, 9);
        assert_eq!((bodies(&*all), all.end()), (vec!["a", "c", "b", &*large], Some(4)), "{step:?}");
        drop(all);
        kill(channel);
        let channel = open(folder.path());
        assert_eq!(bodies(&*take(&channel, 9)), ["a", "c", "b", &large], "{step:?}");
        assert_eq!(files(folder.path(), ".damaged").len(), 0);
    }
}

#[test]
fn a_put_that_failed_does_not_come_back_when_the_channel_is_closed_and_opened() {
    let folder = testing::folder();
    let channel = open(folder.path());
    put(&channel, &["a"]);
    faults::fail(Some((faults::Step::Sync, Errno::IO)));
    assert!(try_put(&channel, &mut events(&["b"])).is_err());
    faults::fail(None);
    drop(channel);
    let channel = open(folder.path());
    put(&channel, &["c"]);
    assert_eq!(bodies(&*take(&channel, 9)), ["a", "c"]);
    kill(channel);
    assert_eq!(bodies(&*take(&open(folder.path()), 9)), ["a", "c"]);
}

#[test]
fn a_commit_that_cannot_be_noted_goes_back() {
    for step in [faults::Step::Write, faults::Step::Sync] {
        let folder = testing::folder();
        let channel = open(folder.path());
        put(&channel, &["a", "b"]);
        faults::fail(Some((step, Errno::IO)));
        let taken = take(&channel, 1);
        assert!(taken.commit().is_err());
        faults::fail(None);
        assert_eq!(channel.len(), 2);
        let taken = take(&channel, 9);
        assert_eq!(bodies(&*taken), ["a", "b"]);
        taken.commit().unwrap();
        kill(channel);
        assert_eq!(open(folder.path()).len(), 0);
    }
}

#[test]
fn a_disk_without_room_refuses_puts_and_gives_out_what_waits() {
    let folder = testing::folder();
    drop(open(folder.path()));
    put(&open(folder.path()), &["a"]);
    let mut full = settings(folder.path());
    full.required_space = u64::MAX;
    let channel = try_open(&full).unwrap();
    let refused = try_put(&channel, &mut events(&["b"])).unwrap_err();
    let text = crate::stop::chain(&refused);
    assert!(text.contains("minimumRequiredSpace is 18446744073709551615"), "{text}");
    take(&channel, 1).commit().unwrap();
}

#[test]
fn a_damaged_frame_is_set_aside_and_all_others_are_delivered() {
    // In its events, in its header, in its length alone; closed before or killed.
    for (at, end) in [(70, drop as fn(_)), (70, kill), (0, kill), (4, drop), (5, kill)] {
        let folder = testing::folder();
        let channel = open(folder.path());
        put(&channel, &["first"]);
        put(&channel, &["second", "2"]);
        put(&channel, &["third"]);
        end(channel);
        let segment = &files(folder.path(), segment::SUFFIX)[0];
        let first = super::frame::padded(7);
        flip(segment, segment::START as usize + first + if at == 70 { 45 } else { at });
        let channel = open(folder.path());
        assert_eq!(channel.len(), 4);
        let all = take(&channel, 9);
        assert_eq!((bodies(&*all), all.end()), (vec!["first", "third"], Some(4)));
        assert_eq!((channel.len(), channel.counters().get(Count::EventDamagedCount)), (2, 2));
        let aside = files(folder.path(), ".damaged");
        assert_eq!(aside.len(), 1);
        let kept = fs::read(&aside[0]).unwrap();
        assert!(kept.windows(3).any(|bytes| bytes == b"sec"));
        // It is damaged once.
        drop(all);
        kill(channel);
        let channel = open(folder.path());
        assert_eq!((channel.len(), files(folder.path(), ".damaged").len()), (2, 1));
        put(&channel, &["fourth"]);
        assert_eq!(bodies(&*take(&channel, 9)), ["first", "third", "fourth"]);
        assert_eq!(channel.counters().get(Count::EventDamagedCount), 0);
    }
}

#[test]
fn a_torn_end_is_cut_and_kept_beside() {
    let folder = testing::folder();
    let channel = open(folder.path());
    put(&channel, &["a"]);
    put(&channel, &["b"]);
    kill(channel);
    let segment = &files(folder.path(), segment::SUFFIX)[0];
    flip(segment, segment::START as usize + 48 + 41);
    let channel = open(folder.path());
    assert_eq!(files(folder.path(), ".torn").len(), 1);
    put(&channel, &["c"]);
    assert_eq!(bodies(&*take(&channel, 9)), ["a", "c"]);
    assert_eq!(channel.counters().get(Count::EventDamagedCount), 0);
    kill(channel);
    assert_eq!(bodies(&*take(&open(folder.path()), 9)), ["a", "c"]);
}

#[test]
fn an_end_that_a_closed_channel_had_is_missed() {
    let folder = testing::folder();
    let channel = open(folder.path());
    put(&channel, &["a"]);
    put(&channel, &["b"]);
    drop(channel);
    let segment = &files(folder.path(), segment::SUFFIX)[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[segment::START as usize + 48..].fill(0);
    fs::write(segment, bytes).unwrap();
    let channel = open(folder.path());
    put(&channel, &["c"]);
    let rest = take(&channel, 9);
    assert_eq!((bodies(&*rest), rest.end()), (vec!["a", "c"], Some(3)));
    assert_eq!(channel.counters().get(Count::EventDamagedCount), 1);
}

#[test]
fn a_damaged_header_of_a_segment_loses_nothing() {
    let folder = testing::folder();
    let channel = open(folder.path());
    let body = "x".repeat(3000);
    for _ in 0..3 {
        put(&channel, &[&body]);
    }
    drop(channel);
    for segment in files(folder.path(), segment::SUFFIX) {
        flip(&segment, 33);
    }
    let channel = open(folder.path());
    assert_eq!(bodies(&*take(&channel, 9)), [&*body; 3]);
    put(&channel, &["d"]);
    drop(channel);
    assert_eq!(take(&open(folder.path()), 9).end(), Some(4));
}

#[test]
fn a_segment_that_is_missing_is_missed_and_the_others_are_delivered() {
    let folder = testing::folder();
    let channel = open(folder.path());
    for body in ["a", "b", "c"] {
        put(&channel, &[&body.repeat(3000)]);
    }
    drop(channel);
    fs::remove_file(&files(folder.path(), segment::SUFFIX)[1]).unwrap();
    let channel = open(folder.path());
    let rest = take(&channel, 9);
    assert_eq!(bodies(&*rest), ["a".repeat(3000), "c".repeat(3000)]);
    assert_eq!(channel.counters().get(Count::EventDamagedCount), 1);
}

#[test]
fn numbers_go_on_when_all_segments_are_gone() {
    let folder = testing::folder();
    let channel = open(folder.path());
    put(&channel, &["a", "b"]);
    drop(channel);
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    let channel = open(folder.path());
    assert_eq!(channel.len(), 0);
    put(&channel, &["c"]);
    assert_eq!(take(&channel, 9).end(), Some(3));
}

#[test]
fn of_two_generations_any_one_file_may_be_lost() {
    for lost in 0..4 {
        let folder = testing::folder();
        let channel = open(folder.path());
        put(&channel, &["a", "b", "c"]);
        let taken = take(&channel, 1);
        take(&channel, 1).commit().unwrap();
        drop(taken);
        drop(channel);
        drop(open(folder.path()));
        let mut all = files(folder.path(), facts::SUFFIXES[0]);
        all.extend(files(folder.path(), facts::SUFFIXES[1]));
        assert_eq!(all.len(), 4);
        flip(&all[lost], 70.min(fs::metadata(&all[lost]).unwrap().len() as usize - 1));
        assert_eq!(bodies(&*take(&open(folder.path()), 9)), ["a", "c"]);
    }
}

#[test]
fn without_any_checkpoint_all_that_stands_there_is_lent_again() {
    let folder = testing::folder();
    let channel = open(folder.path());
    put(&channel, &["a", "b"]);
    take(&channel, 1).commit().unwrap();
    kill(channel);
    fs::remove_dir_all(folder.path().join("checkpoint")).unwrap();
    let again = take(&open(folder.path()), 9);
    assert_eq!((bodies(&*again), again.end()), (vec!["a", "b"], Some(2)));
}

#[test]
fn files_of_another_channel_or_version_are_refused_and_stay() {
    let (one, other) = (testing::folder(), testing::folder());
    put(&open(one.path()), &["a"]);
    put(&open(other.path()), &["b"]);
    let mut mixed = settings(one.path());
    mixed.checkpoint = other.path().join("checkpoint");
    let text = crate::stop::chain(&try_open(&mixed).unwrap_err());
    assert!(text.contains("belongs to another channel"), "{text}");
    let segment = &files(one.path(), segment::SUFFIX)[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(segment, &bytes).unwrap();
    let text = crate::stop::chain(&try_open(&settings(one.path())).unwrap_err());
    assert!(text.contains("has version 2"), "{text}");
    assert_eq!(fs::read(segment).unwrap(), bytes);
}

#[test]
fn what_the_other_side_has_is_forgotten_and_positions_never_go_back() {
    let folder = testing::folder();
    let channel = open(folder.path());
    put(&channel, &["a", "b", "c"]);
    let position = take(&channel, 2).end().unwrap();
    kill(channel);
    let channel = open(folder.path());
    channel.forget_below(position).unwrap();
    channel.forget_below(1).unwrap();
    assert_eq!(channel.len(), 1);
    let rest = take(&channel, 9);
    assert_eq!((bodies(&*rest), rest.end()), (vec!["c"], Some(3)));
    drop(rest);
    // A position that this channel has never given: it goes on behind it.
    channel.forget_below(100).unwrap();
    assert_eq!(channel.len(), 0);
    put(&channel, &["d"]);
    kill(channel);
    let channel = open(folder.path());
    let rest = take(&channel, 9);
    assert_eq!((bodies(&*rest), rest.end(), channel.len()), (vec!["d"], Some(101), 1));
}

#[test]
fn after_a_crash_without_syncs_numbers_jump() {
    let folder = testing::folder();
    let mut unsynced = settings(folder.path());
    unsynced.sync_every = Some(Duration::from_secs(3600));
    let channel = try_open(&unsynced).unwrap();
    put(&channel, &["a"]);
    drop(channel);
    let channel = try_open(&unsynced).unwrap();
    put(&channel, &["b"]);
    take(&channel, 1).commit().unwrap();
    kill(channel);
    let channel = open(folder.path());
    put(&channel, &["c"]);
    let rest = take(&channel, 9);
    assert_eq!((bodies(&*rest), rest.end()), (vec!["b", "c"], Some(2 + super::recovery::JUMP + 1)));
    assert_eq!(channel.len(), 2);
    rest.commit().unwrap();
    // Now all is synced.
    kill(channel);
    let channel = open(folder.path());
    put(&channel, &["d"]);
    assert_eq!(take(&channel, 9).end(), Some(2 + super::recovery::JUMP + 2));
}

#[test]
fn a_start_reads_no_more_than_the_headers_and_the_last_segment() {
    let folder = testing::folder();
    let mut large = settings(folder.path());
    (large.segment, large.capacity) = (1 << 20, 1_000_000);
    let channel = try_open(&large).unwrap();
    let batch: Vec<_> = (0..1000).map(|_| Event::new(vec![b'x'; 200])).collect();
    for _ in 0..100 {
        try_put(&channel, &mut batch.clone()).unwrap();
    }
    kill(channel);
    let segments = files(folder.path(), segment::SUFFIX);
    assert!(segments.len() >= 20);
    faults::begin();
    let channel = try_open(&large).unwrap();
    let read = faults::bytes_read();
    assert!(read < (2 << 20), "{read} bytes");
    assert_eq!(channel.len(), 100_000);
}

#[test]
fn memory_does_not_grow_with_what_waits() {
    let folder = testing::folder();
    let mut large = settings(folder.path());
    (large.segment, large.capacity) = (1 << 20, 1_000_000);
    let channel = try_open(&large).unwrap();
    let batch: Vec<_> = (0..1000).map(|_| Event::new(vec![b'x'; 200])).collect();
    for _ in 0..20 {
        try_put(&channel, &mut batch.clone()).unwrap();
    }
    for _ in 0..20 {
        take(&channel, 100).commit().unwrap();
        // The rest of the one frame that was read.
        assert!(channel.reader.lock().unwrap().held() <= 900);
    }
}

#[test]
fn a_place_that_cannot_be_read_is_tried_again_and_at_last_set_aside() {
    let folder = testing::folder();
    let channel = open(folder.path());
    put(&channel, &["a"]);
    put(&channel, &["b"]);
    faults::begin();
    faults::fail(Some((faults::Step::Read, Errno::IO)));
    let taken = |channel: &Arc<Channel>| Arc::clone(channel).take(9, Duration::ZERO);
    for _ in 0..5 {
        assert!(taken(&channel).is_err());
    }
    faults::fail(None);
    assert_eq!(bodies(&*taken(&channel).unwrap()), ["a", "b"]);
    kill(channel);
    let channel = open(folder.path());
    faults::fail(Some((faults::Step::Read, Errno::IO)));
    let mut failed = 0;
    while taken(&channel).is_err() {
        failed += 1;
    }
    faults::fail(None);
    assert_eq!((failed, channel.len()), (10, 0));
    assert_eq!(channel.counters().get(Count::EventDamagedCount), 2);
    put(&channel, &["c"]);
    assert_eq!(bodies(&*take(&channel, 9)), ["c"]);
}
