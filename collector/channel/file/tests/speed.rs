//! How fast it is, on the disk that the system has for temporary files. Run it alone:
//! `cargo test --release -p collector channel::file::tests::speed -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{Channel, Settings};
use crate::channel::Channel as _;
use crate::event::Event;

fn settings(folder: &std::path::Path, putters: usize) -> Settings {
    Settings {
        capacity: 1_000_000,
        transaction_capacity: 10_000,
        keep_alive: Duration::from_secs(putters as u64 * 60),
        segment: 64 << 20,
        ..super::settings(folder)
    }
}

fn batch(events: usize) -> Vec<Event> {
    let headers = [("host", "machine-17"), ("timestamp", "1448726400000")];
    let headers = headers.map(|(name, value)| (name.into(), value.into()));
    let body = bytes::Bytes::from(vec![b'x'; 200]);
    let event = Event { headers: headers.into_iter().collect(), body };
    vec![event; events]
}

/// Puts so many batches by each of so many threads, with a taker beside.
fn run(putters: usize, batches: usize, size: usize, sync_every: Option<Duration>) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path(), putters);
    settings.sync_every = sync_every;
    let channel = Channel::open("c1", &settings).unwrap();
    let begun = Instant::now();
    let mut batches_taken = 0;
    std::thread::scope(|threads| {
        for _ in 0..putters {
            threads.spawn(|| {
                for _ in 0..batches {
                    let mut events = batch(size);
                    let room = Arc::clone(&channel).reserve(&events).ok().unwrap();
                    room.commit(&mut events).unwrap();
                }
            });
        }
        let mut left = putters * batches * size;
        while left > 0 {
            let taken = Arc::clone(&channel).take(1000, Duration::from_secs(60)).unwrap();
            left -= taken.events().len();
            taken.commit().unwrap();
            batches_taken += 1;
        }
    });
    let (events, took) = (putters * batches * size, begun.elapsed().as_secs_f64());
    eprintln!(
        "{putters} putters, batches of {size}, sync {}: {:.0} thousand events/s, {batches_taken} takes",
        if sync_every.is_none() { "each" } else { "seldom" },
        events as f64 / took / 1000.0
    );
}

#[test]
#[ignore = "it measures"]
fn through_the_channel() {
    run(1, 2000, 1000, None);
    run(1, 2000, 1000, None);
    run(4, 500, 1000, None);
    run(1, 3000, 100, None);
    run(16, 300, 100, None);
    run(16, 2000, 1, None);
    run(1, 2000, 1000, Some(Duration::from_secs(5)));
}

#[test]
#[ignore = "it measures"]
fn a_start_with_a_million_events() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), 1);
    let channel = Channel::open("c1", &settings).unwrap();
    for _ in 0..1000 {
        let mut events = batch(1000);
        let room = Arc::clone(&channel).reserve(&events).ok().unwrap();
        room.commit(&mut events).unwrap();
    }
    Arc::clone(&channel).take(1000, Duration::ZERO).unwrap().commit().unwrap();
    super::kill(channel);
    let begun = Instant::now();
    let channel = Channel::open("c1", &settings).unwrap();
    let opened = begun.elapsed();
    let taken = Arc::clone(&channel).take(1000, Duration::ZERO).unwrap();
    eprintln!(
        "open {opened:?}, first take {:?}, {} of {}",
        begun.elapsed(),
        taken.events().len(),
        channel.len()
    );
}
