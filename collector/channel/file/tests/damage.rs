//! Files that are not as a channel has left them: cut off, flipped, forged, or of something else.

use super::*;

/// Anything may stand in the files: a start ends, and with no panic.
#[test]
fn files_of_any_bytes_are_opened_or_refused() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let scene = Scene::new(1000);
        let channel = scene.open();
        put(&channel, 0..20).unwrap();
        take(&channel, 3).commit().unwrap();
        drop(channel);
        let taken = scene.settings.checkpoint.join("online-recall/taken");
        for path in [taken].into_iter().chain(scene.segments()) {
            let mut bytes = fs::read(&path).unwrap();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len().min(700));
                bytes[at] = random.below(256) as u8;
            }
            bytes.truncate(bytes.len().saturating_sub(random.below(50)));
            fs::write(&path, bytes).unwrap();
        }
        if let Ok(channel) = Channel::open("c1", &scene.settings) {
            while let Ok(some) = Arc::clone(&channel).take(1000, Duration::ZERO)
                && !some.events().is_empty()
            {
                some.commit().unwrap();
            }
        }
    }
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_named() {
    let last = format!("{:020}.log", u64::MAX);
    // Of a mark that no channel reaches.
    let mark = [b"ORTAKEN2", &[255; 8][..], &[1; 40]].concat();
    let words = &b"some words"[..];
    for (part, name, bytes) in [
        ("checkpoint", "taken", &*mark),
        ("checkpoint", "taken", words),
        ("data", "identity", words),
        ("data", &*last, words),
    ] {
        let scene = Scene::new(10);
        drop(scene.open());
        let path = scene.folder.path().join(part).join("online-recall").join(name);
        fs::write(&path, bytes).unwrap();
        assert!(scene.refused().contains(path.to_str().unwrap()), "{}", scene.refused());
    }
}

/// A name that can be read as a number is not a segment's for that.
#[test]
fn a_file_of_another_name_is_left_alone() {
    let scene = Scene::new(10);
    put(&scene.open(), 0..1).unwrap();
    for name in ["5.log", "+0000000000000000005.log"] {
        fs::write(scene.settings.data.join("online-recall").join(name), b"notes").unwrap();
    }
    assert_eq!(scene.open().len(), 1);
    assert_eq!(scene.segments().len(), 3);
}

/// Whoever sends events chooses their bodies, also such as look like a frame: of another segment, with the
/// number that is due, or with one that is far away.
#[test]
fn a_frame_in_the_body_of_a_torn_one_is_none() {
    for first in [2, 3, 1 << 40, u64::MAX - 1, u64::MAX] {
        let scene = Scene::new(10);
        let channel = scene.open();
        put(&channel, 0..2).unwrap();
        let forged = Encoded::of(&[event(0)], None).at(Tag::draw(), first).to_vec();
        channel.put(&[Event::new(forged), Event::new("torn")], None).unwrap();
        drop(channel);
        let segment = &scene.segments()[0];
        let mut bytes = fs::read(segment).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end] = 0;
        fs::write(segment, bytes).unwrap();
        let channel = scene.open();
        assert_eq!(channel.len(), 2);
        put(&channel, 2..3).unwrap();
        drop(channel);
        assert_eq!(scene.taken(9), [0, 1, 2].map(event));
    }
}

/// Behind a frame that is damaged the next one counts, also where some of it was taken before the start.
#[test]
fn a_frame_of_which_some_was_taken_is_found_behind_a_damaged_one() {
    let scene = Scene::new(10);
    let channel = scene.open();
    put(&channel, 0..2).unwrap();
    put(&channel, 2..5).unwrap();
    drop(channel);
    let segment = &scene.segments()[0];
    let mut bytes = fs::read(segment).unwrap();
    // In the first frame with events.
    let at = bytes.windows(7).position(|window| window == b"event 0").unwrap();
    bytes[at] ^= 1;
    fs::write(segment, bytes).unwrap();
    assert_eq!(scene.taken(1), [event(2)]);
    assert_eq!(scene.taken(9), [event(3), event(4)]);
    assert_eq!(scene.open().len(), 0);
}

/// As a power failure may leave it where commits are not durable at once.
#[test]
fn a_number_that_was_taken_is_no_other_events_also_when_the_log_has_lost_its_end() {
    let scene = Scene::new(10);
    let channel = scene.open();
    put(&channel, 0..6).unwrap();
    let [first, second] = [2, 3].map(|most| take(&channel, most));
    second.commit().unwrap();
    drop(first);
    drop(channel);
    let segment = &scene.segments()[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[32..].fill(0);
    fs::write(segment, bytes).unwrap();
    let channel = scene.open();
    put(&channel, 6..10).unwrap();
    assert_eq!(numbers(&*take(&channel, 9)), [6, 7, 8, 9]);
}

#[test]
fn a_log_that_is_gone_takes_no_room() {
    let scene = Scene::new(3);
    let channel = scene.open();
    put(&channel, 0..3).unwrap();
    let [first, second] = [1, 2].map(|most| take(&channel, most));
    second.commit().unwrap();
    drop(first);
    drop(channel);
    fs::remove_file(&scene.segments()[0]).unwrap();
    let channel = scene.open();
    assert_eq!(channel.len(), 0);
    put(&channel, 3..6).unwrap();
}

/// A checksum can be had by anybody.
#[test]
fn a_frame_without_events_is_passed_over_however_much_was_taken() {
    let scene = Scene::new(10);
    put(&scene.open(), 0..1).unwrap();
    let mut odd = Encoded::of(&[event(7)], None);
    odd.count = 2;
    let segment = &scene.segments()[0];
    let mut bytes = fs::read(segment).unwrap();
    let mut end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for mut frame in [odd, Encoded::of(&[event(1), event(2)], None)] {
        let frame = frame.at(tag_of(&bytes), 1);
        bytes[end..end + frame.len()].copy_from_slice(frame);
        end += frame.len();
    }
    fs::write(segment, bytes).unwrap();
    assert_eq!(scene.taken(2), [event(0), event(1)]);
    assert_eq!(scene.taken(9), [event(2)]);
}

#[test]
fn where_the_last_segment_has_lost_its_beginning_what_is_put_then_is_kept() {
    let scene = Scene::new(10);
    put(&scene.open(), 0..3).unwrap();
    let segment = &scene.segments()[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[..100].fill(0);
    fs::write(segment, bytes).unwrap();
    put(&scene.open(), 3..5).unwrap();
    assert_eq!(scene.taken(9), [3, 4].map(event));
    assert_eq!(scene.kept_aside(), 1);
}

#[test]
fn a_segment_that_is_cut_off_in_its_head_has_lost_its_events_and_no_others() {
    let scene = Scene::new(300);
    put(&scene.open(), 0..99).unwrap();
    put(&scene.open(), 99..198).unwrap();
    let [first, ..] = &scene.segments()[..] else { panic!() };
    fs::OpenOptions::new().write(true).open(first).unwrap().set_len(20).unwrap();
    assert_eq!(scene.taken(300), (99..198).map(event).collect::<Vec<_>>());
    assert_eq!(scene.open().len(), 0);
}

/// Its tag stands in the head and in its first frame: one of them is enough.
#[test]
fn a_bit_of_a_head_that_is_flipped_costs_no_event() {
    let scene = Scene::new(10);
    put(&scene.open(), 0..3).unwrap();
    let segment = scene.segments().remove(0);
    let whole = fs::read(&segment).unwrap();
    // What the head begins with, but for the version, the number, the tag; the tag of the first frame.
    for byte in (0..5).chain(8..40) {
        let mut bytes = whole.clone();
        bytes[byte] ^= 0x10;
        fs::write(&segment, bytes).unwrap();
        let channel = scene.open();
        assert_eq!(numbers(&*take(&channel, 9)), [0, 1, 2], "byte {byte}");
        drop(channel);
    }
}

#[test]
fn a_segment_of_another_version_is_refused_and_left_alone() {
    let scene = Scene::new(10);
    put(&scene.open(), 0..3).unwrap();
    let segment = scene.segments().remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[..8].copy_from_slice(b"ORLOG001");
    fs::write(&segment, &bytes).unwrap();
    let refused = scene.refused();
    assert!(refused.contains(segment.to_str().unwrap()), "{refused}");
    assert!(refused.contains("it is a segment of another version"), "{refused}");
    assert_eq!(fs::read(segment).unwrap(), bytes);
}
