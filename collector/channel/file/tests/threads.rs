//! Several putters and takers at once: nothing is lost or doubled, and what one has put stays in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testing::random::Random;

use super::{settings, try_open, try_put};
use crate::channel::{Channel as _, Refused};
use crate::event::Event;

const PUTTERS: u64 = 4;
const EACH: u64 = 3000;

fn name(event: &Event) -> (u64, u64) {
    let text = std::str::from_utf8(&event.body).unwrap();
    let (putter, number) = text.split_once(' ').unwrap();
    (putter.parse().unwrap(), number.parse().unwrap())
}

fn work(sync_every: Option<Duration>) {
    let folder = testing::folder();
    let mut settings = settings(folder.path());
    settings.segment = 1 << 16;
    settings.keep_alive = Duration::from_secs(60);
    settings.sync_every = sync_every;
    let channel = try_open(&settings).unwrap();
    let left = AtomicUsize::new((PUTTERS * EACH) as usize);
    let delivered = Mutex::new(BTreeSet::new());
    std::thread::scope(|threads| {
        for putter in 0..PUTTERS {
            let channel = &channel;
            threads.spawn(move || {
                let (mut random, mut next) = (Random::new(putter), 0);
                while next < EACH {
                    let end = EACH.min(next + 1 + random.below(50) as u64);
                    let event = |number| Event::new(format!("{putter} {number}").into_bytes());
                    match try_put(channel, &mut (next..end).map(event).collect()) {
                        Ok(()) => next = end,
                        Err(Refused::Full { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        for taker in 0..3 {
            let (channel, left, delivered) = (&channel, &left, &delivered);
            threads.spawn(move || {
                let (mut random, mut kept) = (Random::new(100 + taker), Vec::new());
                let mut last = BTreeMap::new();
                while left.load(Ordering::SeqCst) > 0 {
                    let patience = Duration::from_millis(20);
                    let most = 1 + random.below(80);
                    let taken = Arc::clone(channel).take(most, patience).unwrap();
                    let names: Vec<_> = taken.events().iter().map(name).collect();
                    for pair in names.windows(2) {
                        assert!(pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1, "{names:?}");
                    }
                    if random.percent(10) {
                        // They go back: from here on older ones may come.
                        last.clear();
                        continue;
                    }
                    for (putter, number) in &names {
                        last.insert(*putter, *number);
                    }
                    kept.push((taken, names));
                    if kept.len() > 3 || !random.percent(50) {
                        let at = random.below(kept.len());
                        let (taken, names) = kept.swap_remove(at);
                        taken.commit().unwrap();
                        left.fetch_sub(names.len(), Ordering::SeqCst);
                        let mut delivered = delivered.lock().unwrap();
                        for name in names {
                            assert!(delivered.insert(name), "{name:?} came twice");
                        }
                    }
                    // What nobody else gives back must not wait for ever.
                    if left.load(Ordering::SeqCst) <= 500 {
                        kept.clear();
                    }
                }
            });
        }
    });
    assert_eq!(delivered.into_inner().unwrap().len(), (PUTTERS * EACH) as usize);
    assert_eq!(channel.len(), 0);
    drop(channel);
    assert_eq!(try_open(&settings).unwrap().len(), 0);
}

#[test]
fn nothing_is_lost_or_doubled_between_threads() {
    work(None);
}

#[test]
fn nor_where_a_thread_syncs() {
    work(Some(Duration::from_millis(1)));
}

#[test]
fn one_taker_has_all_of_a_putter_in_its_order() {
    let folder = testing::folder();
    let mut settings = settings(folder.path());
    settings.keep_alive = Duration::from_secs(60);
    let channel = try_open(&settings).unwrap();
    std::thread::scope(|threads| {
        for putter in 0..3 {
            let channel = &channel;
            threads.spawn(move || {
                for number in 0..300 {
                    let event = Event::new(format!("{putter} {number}").into_bytes());
                    try_put(channel, &mut vec![event]).unwrap();
                }
            });
        }
        let mut next = [0; 3];
        while next.iter().sum::<u64>() < 900 {
            let taken = Arc::clone(&channel).take(7, Duration::from_secs(60)).unwrap();
            for (putter, number) in taken.events().iter().map(name) {
                assert_eq!(std::mem::replace(&mut next[putter as usize], number + 1), number);
            }
            taken.commit().unwrap();
        }
    });
}
