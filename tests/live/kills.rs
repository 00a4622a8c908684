//! The job is killed: at every point that matters, in the first epoch, in recovery, at random, many times
//! in a row; and two incarnations of it run at once.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use online_recall::config::Address;
use online_recall::http;
use rustix::process::Signal;
use testing::kafka::wait_for;
use testing::random::Random;
use testing::seeds;

use super::input::Input;
use super::judge::Doubts;
use super::site::{Plan, Site, pause};

/// Where a kill may hit, in the order of an epoch. After a write of which nobody was told, and before it
/// was sent, is the same as within its call.
pub const POINTS: [&str; 14] = [
    "token-taken",
    "cut-sent",
    "share",
    "before-binding",
    "after-binding",
    "before-scores",
    "after-scores",
    "receipts-put",
    "doubts-read",
    "lists-put",
    "letters-written",
    "letters-kept",
    "before-mark",
    "after-mark",
];

/// Only what was killed at this point has not been there before.
const FIRST: &str = "ledger-begun";

#[test]
fn killed_at_every_point_and_again_in_recovery_by_any_number_of_workers() {
    let hit = Mutex::new(BTreeSet::new());
    let count = if testing::all() { 30 } else { 2 };
    seeds::each("live", count, |seed, oracle| {
        let input = Input::usual(seed, 1600, oracle);
        let site = Site::new(Plan::shared(4), input);
        let mut random = Random::new(seed);
        let mut flow = site.flow(seed, false);
        let mut doubts = BTreeSet::new();
        let mut points = POINTS.to_vec();
        random.shuffle(&mut points);
        if random.percent(50) {
            points.insert(0, FIRST);
        }
        for point in points {
            flow.some(100);
            let stop_at = format!("{point}:{}", 1 + random.below(2));
            let workers = 1 + random.below(3) as u32;
            let mut job = site.start_with(workers, Some(&stop_at), &[]);
            // What lies on no way of what there was to do is not reached: then it is idle.
            let ends = site.ends();
            let by_itself = wait_for("a kill", || match job.over() {
                Some(ended) => {
                    assert!(ended.killed(), "{stop_at}: {ended}");
                    Some(true)
                }
                None => site.progress(&ends).is_some_and(|it| it.is_done).then_some(false),
            });
            drop(job);
            if by_itself {
                hit.lock().unwrap().insert(point);
            }
            doubts.extend(site.under_way());
        }
        flow.rest();
        let mut job = site.start(1 + random.below(3) as u32);
        site.wait_until_done(&mut job);
        job.stop();
        site.must_be_right(oracle, &Doubts::Of(doubts));
    });
    let hit = hit.into_inner().unwrap();
    let missed: Vec<_> = POINTS.iter().filter(|point| !hit.contains(*point)).collect();
    assert!(missed.is_empty() || seeds::is_one(), "never killed at {missed:?}");
}

#[test]
fn what_was_bound_is_done_with_its_own_dataflows_where_the_next_start_has_others() {
    seeds::each("live", 1, |seed, oracle| {
        let site = Site::new(Plan::shared(2), Input::usual(seed, 600, oracle));
        site.flow(seed, false).rest();
        let mut job = site.start_with(2, Some("receipts-put:1"), &[]);
        let killed = wait_for("a kill", || job.over());
        assert!(killed.killed(), "{killed}");
        drop(job);
        assert!(site.bindings().iter().any(|binding| binding.settings.recall), "it is bound");
        let others = ["--set", "dataflows=[\"hot\",\"new\"]"];
        let mut job = site.start_with(1, None, &others);
        site.wait_until_done(&mut job);
        job.stop();
    });
}

#[test]
fn killed_at_random_times_and_many_times_in_quick_succession() {
    let under_way = Mutex::new(0);
    let count = if testing::all() { 40 } else { 2 };
    seeds::each("live", count, |seed, oracle| {
        let input = Input::usual(seed, 3000, oracle);
        let site = Site::new(Plan::shared(3), input);
        let mut random = Random::new(seed);
        let mut doubts = BTreeSet::new();
        std::thread::scope(|threads| {
            let mut flow = site.flow(seed, false);
            threads.spawn(move || flow.rest_slowly(20, Duration::from_millis(50)));
            for _ in 0..7 {
                let job = site.start(1 + random.below(3) as u32);
                // A start takes a fraction of a second: some are killed while they recover.
                let longest = *random.one_of(&[200, 1000, 2500]);
                pause(Duration::from_millis(random.below(longest) as u64));
                let (ended, epochs) = site.kill(job);
                assert!(ended.killed(), "{ended}");
                *under_way.lock().unwrap() += epochs.clone().count();
                doubts.extend(epochs);
            }
        });
        let mut job = site.start(2);
        site.wait_until_done(&mut job);
        job.stop();
        site.must_be_right(oracle, &Doubts::Of(doubts));
    });
    let under_way = under_way.into_inner().unwrap();
    // An epoch takes some hundredths of a second: a few kills may all fall between two of them.
    eprintln!("{under_way} epochs were under way when the job was killed");
    assert!(under_way > 0 || !testing::all(), "no kill hit an epoch that was under way");
}

#[test]
fn of_two_incarnations_the_older_ends_with_3_also_where_it_wakes_up_late_and_changes_nothing() {
    let mut oracle = testing::oracle::Oracle::start();
    let input = Input::usual(7, 5000, &mut oracle);
    let site = Site::new(Plan::shared(4), input);
    let mut flow = site.flow(7, false);

    // Both run while there is much to do, and are to answer at the same address.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let listen = ["--set", &format!("http.listen={address}")];
    flow.some(300);
    let mut older = site.start_with(2, None, &listen);
    site.wait_for_mark(&mut older, 2);
    let mut newer = site.start_with(1, None, &listen);
    flow.some(900);
    older.wait().with(3).says("fenced");
    site.wait_until_done(&mut newer);
    newer.says("answers over HTTP now");
    newer.stop();
    // Also before anything new is read, the mark is told.
    let mut newer = site.start_with(1, None, &listen);
    let there = Address { host: address.ip().to_string(), port: address.port() };
    let mark = format!("online_recall_epoch_mark {}\n", site.mark());
    wait_for("the mark", || http::ask(&there, "/metrics").ok()?.contains(&mark).then_some(()));
    site.wait_until_done(&mut newer);

    // The older one stands still in the middle of its work until the newer one has done it all.
    let older = newer;
    let doubts: BTreeSet<u64> = std::thread::scope(|threads| {
        threads.spawn(move || flow.rest_slowly(20, Duration::from_millis(15)));
        wait_for("an epoch under way", || {
            older.signal(Signal::STOP);
            let under_way = site.under_way();
            if under_way.is_empty() {
                older.signal(Signal::CONT);
                return None;
            }
            Some(under_way.collect())
        })
    });
    let mut newer = site.start(3);
    site.wait_until_done(&mut newer);
    site.must_be_right(&mut oracle, &Doubts::Of(doubts.clone()));
    older.signal(Signal::CONT);
    older.wait().with(3).says("fenced");
    site.must_be_right(&mut oracle, &Doubts::Of(doubts));
    newer.stop();
}
