//! Bytes that nobody has written, in place of the channel's files: it opens or says why not, and never
//! panics, hangs, or hands out what was not put.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use testing::random::Random;

use super::super::{facts, segment};
use super::{OURS, files, put, settings, try_open, try_put};
use crate::channel::Channel as _;
use crate::event::Event;

#[test]
fn any_bytes_may_stand_in_any_file() {
    for seed in 1..=if testing::all() { 5000 } else { 200 } {
        let mut random = Random::new(seed);
        let folder = testing::folder();
        let channel = try_open(&settings(folder.path())).unwrap();
        for _ in 0..3 {
            put(&channel, &["a", "b"]);
        }
        drop(channel);
        let endings = [segment::SUFFIX, facts::SUFFIXES[0], facts::SUFFIXES[1]];
        for ending in endings {
            for path in files(folder.path(), ending) {
                let mut bytes = fs::read(&path).unwrap();
                match random.below(5) {
                    0 => bytes = (0..random.below(5000)).map(|_| random.number() as u8).collect(),
                    1 => {
                        for _ in 0..random.below(50) {
                            let at = random.below(bytes.len());
                            bytes[at] = random.number() as u8;
                        }
                    }
                    // Pieces of itself, at other places.
                    2 => {
                        let (from, to) = (random.below(bytes.len()), random.below(bytes.len()));
                        let length = random.below(200).min(bytes.len() - from.max(to));
                        bytes.copy_within(from..from + length, to);
                    }
                    3 => bytes.truncate(random.below(bytes.len())),
                    _ => {}
                }
                fs::write(path, bytes).unwrap();
            }
        }
        let more =
            format!("{:020}{}", random.number() >> random.below(64), random.one_of(&endings));
        let garbage: Vec<u8> = (0..random.below(300)).map(|_| random.number() as u8).collect();
        fs::write(folder.path().join("data").join(OURS).join(more), garbage).unwrap();
        let Ok(channel) = try_open(&settings(folder.path())) else { continue };
        loop {
            let taken = Arc::clone(&channel).take(2, Duration::ZERO).unwrap();
            let are_ours =
                taken.events().iter().all(|event| [&b"a"[..], b"b"].contains(&&*event.body));
            assert!(are_ours, "seed {seed}: {:?}", taken.events());
            if taken.events().is_empty() {
                break;
            }
            taken.commit().unwrap();
        }
        assert_eq!(channel.len(), 0, "seed {seed}");
        try_put(&channel, &mut vec![Event::new("c")]).unwrap();
        let taken = Arc::clone(&channel).take(2, Duration::ZERO).unwrap();
        assert_eq!(taken.events(), [Event::new("c")], "seed {seed}");
    }
}
