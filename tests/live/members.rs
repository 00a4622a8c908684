//! What befalls one process of several, or all of them alike: clocks that are wrong, records that fall
//! unevenly, servers that are slower than what comes, orders to end that do not wait.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use online_recall::ledger;
use rustix::process::{Signal, kill_process};
use testing::kafka::wait_for;
use testing::oracle::Oracle;
use testing::proxy::{Fault, Proxy};

use super::input::Input;
use super::job::Job;
use super::judge::Doubts;
use super::site::{Plan, Servers, Site, pause};

/// What a process may have at most, in MB.
const MEMORY: u64 = 150;

const MINUTE: u64 = 60_000;

#[test]
fn records_that_fall_unevenly_hold_nobody_up() {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(16), Input::usual(81, 4000, &mut oracle).pressed(81));
    let mut job = site.launch(3, 1);
    // One partition of sixteen has all clicks: two processes of three read none.
    let mut flow = site.flow(81, false);
    flow.over(1);
    flow.some(1500);
    site.wait_until_done(&mut job);
    // Nobody clicks for a while; then all come at once, and everywhere.
    pause(Duration::from_secs(if testing::all() { 60 } else { 2 }));
    flow.over(16);
    flow.rest();
    site.wait_until_done(&mut job);
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::None);
}

#[test]
fn a_backlog_before_servers_that_are_slow_is_worked_off_in_bounded_memory() {
    let mut oracle = Oracle::start();
    let servers = Servers::shared();
    let proxies = [Proxy::before(&servers.redis, 82), Proxy::before(&servers.hbase, 82)];
    let mut plan = Plan::on(servers, 4);
    plan.told.redis = proxies[0].address();
    plan.told.hbase = proxies[1].address();
    plan.sets.push("epoch.records=400".to_owned());
    let site = Site::new(plan, Input::usual(82, 30_000, &mut oracle));
    let mut flow = site.flow(82, false);
    flow.some(25_000);
    let ends = site.ends();
    let mut job = site.launch(3, 1);
    site.wait_for_mark(&mut job, 3);
    for proxy in &proxies {
        proxy.fault(Fault::Delay(Duration::from_millis(200)));
    }
    site.wait_for_more(&mut job, 10);
    let progress = site.progress(&ends).unwrap();
    assert!(!progress.is_done, "it is slower than what comes");
    assert!(progress.bound - progress.mark <= 16, "what is slow holds back: {progress:?}");
    for proxy in &proxies {
        assert!(proxy.counts().delayed > 20, "they were slow");
        proxy.pass();
    }
    // Live again.
    flow.rest();
    site.wait_until_done(&mut job);
    let peak = job.peak_mb();
    assert!(peak < MEMORY, "{peak} MB");
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::None);
}

/// The library that lets a process see another time, of Debian's package `libfaketime`.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let mut libraries = folders.map(|it| it.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|it| it.exists()).expect("the package libfaketime is there: run.sh installs it")
}

#[test]
fn clocks_that_differ_and_jump_leave_epochs_in_order() {
    let library = faketime();
    let mut oracle = Oracle::start();
    let mut plan = Plan::shared(4);
    plan.sets.push("cluster.secret=of-the-test".to_owned());
    let site = Site::new(plan, Input::usual(83, 2500, &mut oracle));
    let mut flow = site.flow(83, false);
    // How much the clock of process 0 is ahead, in seconds.
    let file = site.folder().join("clock");
    let set = |seconds: i64| {
        let new = site.folder().join("clock-new");
        fs::write(&new, format!("{seconds:+}\n")).unwrap();
        fs::rename(new, &file).unwrap();
    };
    set(0);
    let clock = |variable, value| {
        [
            ("LD_PRELOAD", library.to_str().unwrap()),
            // What waits for a while is not to wait for another one.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_NO_CACHE", "1"),
            (variable, value),
        ]
    };
    let hosts = site.hosts(3);
    let mut jobs = [
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
        ("FAKETIME", "+3600"),
        ("FAKETIME", "-3600"),
    ]
    .into_iter()
    .enumerate()
    .map(|(index, (variable, value))| site.start_under(&hosts, index, &clock(variable, value)))
    .collect::<Vec<Job>>();
    // Less than the ten minutes for which bindings are kept: they are needed for the verdict.
    for seconds in [0, 300, -3600, 0, 420, 360, 420, 360, -60, 480] {
        set(seconds);
        flow.some(200);
        site.wait_for_more(&mut jobs[0], 3);
    }
    let last = site.bindings().last().unwrap().time;
    assert!(last > ledger::now() + 5 * MINUTE, "the clock of process 0 was ahead");
    flow.rest();
    site.wait_until_done(&mut jobs[0]);
    let mut jobs = jobs.into_iter();
    jobs.next().unwrap().stop();
    for job in jobs {
        job.wait().with(0);
    }
    // With the right clock again, which is behind.
    let mut job = site.launch(2, 1);
    site.wait_until_done(&mut job);
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::None);
}

#[test]
fn orders_to_end_that_do_not_wait_cost_nothing() {
    let mut oracle = Oracle::start();
    let mut plan = Plan::shared(4);
    plan.sets.push("cluster.restart_wait=1s".to_owned());
    let site = Site::new(plan, Input::usual(84, 4000, &mut oracle));
    let mut job = site.launch(3, 1);
    let mut doubts = BTreeSet::new();
    site.meanwhile(84, &mut job, |job| {
        // SIGTERM, and after so many milliseconds SIGKILL; a terminal that is closed.
        for order in [Some(0), Some(30), None, Some(100), Some(1000), None] {
            site.wait_for_more(job, 3);
            match order {
                Some(milliseconds) => {
                    job.signal(Signal::TERM);
                    pause(Duration::from_millis(milliseconds));
                    doubts.extend(site.under_way());
                    job.kill_if_it_runs();
                }
                None => job.signal(Signal::HUP),
            }
            wait_for("the end of the job", || job.over());
            doubts.extend(site.under_way());
            *job = site.launch(3, 1);
        }
        // One process of it.
        site.wait_for_more(job, 3);
        let one = wait_for("process 1", || job.launched().get(&1).copied());
        kill_process(one, Signal::HUP).unwrap();
        job.says("a process has ended: process=1 signal: 1");
        doubts.extend(site.under_way());
        site.wait_for_more(job, 3);
    });
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::Of(doubts));
}
