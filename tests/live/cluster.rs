//! The job in several processes: the same results, also where one of them dies, stands still, or is another
//! number of processes the next time.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use testing::kafka::wait_for;
use testing::oracle::Oracle;
use testing::random::Random;
use testing::seeds;

use super::input::Input;
use super::job::Job;
use super::judge::Doubts;
use super::kills;
use super::site::{Plan, Site, pause};

#[test]
fn several_processes_end_as_the_oracle_tells_whatever_their_number() {
    let mut oracle = Oracle::start();
    for (seed, (processes, workers)) in (71..).zip([(2, 2), (4, 1), (3, 1)]) {
        let site = Site::new(Plan::shared(5), Input::nasty(seed, 1500, &mut oracle));
        let mut flow = site.flow(seed, false);
        let mut job = site.launch(processes, workers);
        flow.some(500);
        site.wait_until_done(&mut job);
        flow.rest();
        site.wait_until_done(&mut job);
        job.stop();
        site.must_be_right(&mut oracle, &Doubts::None);
    }
}

#[test]
fn whatever_process_is_killed_or_stands_still_all_start_again_and_no_effect_is_lost_or_doubled() {
    let mut oracle = Oracle::start();
    let mut plan = Plan::shared(4);
    plan.sets.push("cluster.silence=2s".to_owned());
    let site = Site::new(plan, Input::usual(74, 6000, &mut oracle));
    let mut job = site.launch(3, 1);
    let mut doubts = BTreeSet::new();
    let all = |job: &Job| {
        wait_for("all processes", || {
            let launched = job.launched();
            (launched.len() == 3).then_some(launched)
        })
    };
    site.meanwhile(74, &mut job, |job| {
        let faults = [
            (0, Signal::KILL),
            // As a panic ends it.
            (1, Signal::ABORT),
            (2, Signal::STOP),
            (0, Signal::STOP),
            (2, Signal::KILL),
        ];
        for (index, signal) in faults.into_iter().cycle().take(if testing::all() { 20 } else { 5 })
        {
            let before = all(job);
            site.wait_for_more(job, 3);
            kill_process(before[&index], signal).unwrap();
            wait_for("the end of all processes", || {
                doubts.extend(site.under_way());
                let now = job.launched();
                before.values().all(|pid| !now.values().any(|it| it == pid)).then_some(())
            });
        }
        site.wait_for_more(job, 3);
    });
    // Where one is asked to end, all do.
    kill_process(all(&job)[&2], Signal::TERM).unwrap();
    let ended = job.wait().with(0);
    for what in ["process 0 is lost", "process 1 is lost", "process 2 is lost"] {
        assert!(ended.log.contains(what), "{what}: {ended}");
    }
    site.must_be_right(&mut oracle, &Doubts::Of(doubts));
}

#[test]
fn where_one_is_asked_to_end_all_do_though_they_have_not_joined() {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(4), Input::usual(76, 10, &mut oracle));
    // Some are hit before they listen to signals, some while they wait for each other, some at work.
    for (nth, late) in [0, 5, 20, 60, 150, 400].into_iter().enumerate() {
        let job = site.launch(3, 1);
        let all = wait_for("all processes", || {
            let launched = job.launched();
            (launched.len() == 3).then_some(launched)
        });
        pause(Duration::from_millis(late));
        kill_process(all[&(nth % 3)], Signal::TERM).unwrap();
        job.wait().with(0);
    }
}

#[test]
fn killed_at_every_point_of_any_process_and_started_again_in_other_numbers() {
    let hit = Mutex::new(BTreeSet::new());
    let count = if testing::all() { 20 } else { 1 };
    seeds::each("live", count, |seed, oracle| {
        let site = Site::new(Plan::shared(5), Input::usual(seed, 1600, oracle));
        let mut random = Random::new(seed);
        let mut flow = site.flow(seed, false);
        let mut doubts = BTreeSet::new();
        let mut points = kills::POINTS.to_vec();
        random.shuffle(&mut points);
        for point in points {
            flow.some(100);
            let stop_at = format!("{point}:{}", 1 + random.below(2));
            let (processes, workers) = *random.one_of(&[(2, 1), (2, 2), (3, 1), (4, 1)]);
            let job = site.launch_with(processes, workers, Some(&stop_at));
            let ends = site.ends();
            let by_itself = wait_for("a kill", || {
                if job.log().contains("a process has ended") {
                    return Some(true);
                }
                site.progress(&ends).is_some_and(|it| it.is_done).then_some(false)
            });
            drop(job.kill());
            if by_itself {
                hit.lock().unwrap().insert(point);
            }
            doubts.extend(site.under_way());
        }
        flow.rest();
        // Also in one process again.
        let mut job = site.start(1 + random.below(3) as u32);
        site.wait_until_done(&mut job);
        job.stop();
        site.must_be_right(oracle, &Doubts::Of(doubts));
    });
    let hit = hit.into_inner().unwrap();
    let missed: Vec<_> = kills::POINTS.iter().filter(|point| !hit.contains(*point)).collect();
    assert!(missed.is_empty() || seeds::is_one() || !testing::all(), "never killed at {missed:?}");
    assert!(hit.len() > 6, "killed at {hit:?} only");
}

#[test]
fn one_that_wakes_up_when_the_next_incarnation_runs_ends_and_changes_nothing() {
    let mut oracle = Oracle::start();
    let mut plan = Plan::shared(4);
    plan.sets.extend(["cluster.silence=2s", "cluster.secret=of-the-test"].map(str::to_owned));
    let site = Site::new(plan, Input::usual(75, 3000, &mut oracle));
    let mut flow = site.flow(75, false);
    let mut doubts = BTreeSet::new();
    for sleeps in [0, 1] {
        let hosts = site.hosts(2);
        let mut jobs = [site.start_in(&hosts, 0), site.start_in(&hosts, 1)];
        flow.some_marked(400, &mut jobs[0], 3);
        flow.some(200);
        jobs[sleeps].signal(Signal::STOP);
        let [first, second] = jobs;
        let (sleeper, other) = if sleeps == 0 { (first, second) } else { (second, first) };
        let ended = other.wait().with(1);
        ended.says(&format!("process {sleeps} is lost"));
        doubts.extend(site.under_way());
        let hosts = site.hosts(2);
        let mut jobs = [site.start_in(&hosts, 0), site.start_in(&hosts, 1)];
        flow.some_marked(200, &mut jobs[0], 3);
        sleeper.signal(Signal::CONT);
        let woken = sleeper.wait();
        assert!([Some(1), Some(3)].contains(&woken.status.code()), "{woken}");
        site.wait_until_done(&mut jobs[0]);
        let [first, second] = jobs;
        // Where one is asked to end, all do.
        second.stop();
        first.wait().with(0);
    }
    flow.rest();
    let mut job = site.launch(2, 2);
    site.wait_until_done(&mut job);
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::Of(doubts));
}

#[test]
fn while_one_stands_still_the_others_wait_in_bounded_memory_and_go_on_with_it() {
    let mut oracle = Oracle::start();
    let mut plan = Plan::shared(4);
    plan.sets.extend(["cluster.silence=5m", "cluster.secret=of-the-test"].map(str::to_owned));
    let site = Site::new(plan, Input::usual(76, 20_000, &mut oracle));
    let mut flow = site.flow(76, false);
    let hosts = site.hosts(3);
    let mut jobs = [0, 1, 2].map(|index| site.start_in(&hosts, index));
    flow.some_marked(1000, &mut jobs[0], 3);
    jobs[2].signal(Signal::STOP);
    flow.rest();
    pause(Duration::from_secs(if testing::all() { 60 } else { 6 }));
    let standing = site.mark();
    pause(Duration::from_secs(1));
    assert_eq!(site.mark(), standing, "nothing is marked without it");
    for job in &mut jobs[..2] {
        assert!(job.over().is_none(), "they wait");
    }
    let peaks = jobs.each_ref().map(Job::peak_mb);
    assert!(peaks.iter().all(|peak| *peak < 150), "{peaks:?} MB");
    // Then it is only slow: it runs for a tenth of the time.
    for _ in 0..if testing::all() { 300 } else { 30 } {
        jobs[2].signal(Signal::CONT);
        pause(Duration::from_millis(10));
        jobs[2].signal(Signal::STOP);
        pause(Duration::from_millis(90));
    }
    jobs[2].signal(Signal::CONT);
    site.wait_until_done(&mut jobs[0]);
    let peaks = jobs.each_ref().map(Job::peak_mb);
    assert!(peaks.iter().all(|peak| *peak < 150), "{peaks:?} MB");
    let [first, second, third] = jobs;
    first.stop();
    second.wait().with(0);
    third.wait().with(0);
    site.must_be_right(&mut oracle, &Doubts::None);
}
