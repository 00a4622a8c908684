//! What befalls one process of several, or all of them alike: clocks that are wrong, records that fall
//! unevenly, servers that are slower than what comes, orders to end that do not wait.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use online_recall::ledger;
use rustix::process::{Pid, Signal, kill_process};
use testing::clock::Clock;
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
    plan.sets.extend(["epoch.records=400", "epoch.in_flight=4"].map(str::to_owned));
    let site = Site::new(plan, Input::usual(82, 30_000, &mut oracle));
    let mut flow = site.flow(82, false);
    flow.some(25_000);
    let ends = site.ends();
    for proxy in &proxies {
        proxy.fault(Fault::Delay(Duration::from_millis(200)));
    }
    let mut job = site.launch(3, 1);
    site.wait_for_more(&mut job, 10);
    let progress = site.progress(&ends).unwrap();
    assert!(!progress.is_done, "it is slower than what comes");
    assert!(progress.bound - progress.mark <= 4, "what is slow holds back: {progress:?}");
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

#[test]
fn clocks_that_differ_and_jump_leave_epochs_in_order() {
    let mut oracle = Oracle::start();
    let mut plan = Plan::shared(4);
    plan.sets.push("cluster.secret=of-the-test".to_owned());
    let site = Site::new(plan, Input::usual(83, 2500, &mut oracle));
    let mut flow = site.flow(83, false);
    let clocks = [0, 1, 2].map(|_| Clock::new());
    clocks[1].be_ahead(3600);
    clocks[2].be_ahead(-3600);
    let hosts = site.hosts(3);
    let mut jobs =
        [0, 1, 2].map(|index| site.start_under(&hosts, index, &clocks[index].variables()));
    // Less than the ten minutes for which bindings are kept: they are needed for the verdict.
    let mut last = 0;
    for seconds in [0, 240, -3600, 0, 300, 270, 330, -60, 360] {
        site.wait_until_done(&mut jobs[0]);
        clocks[0].be_ahead(seconds);
        let there = ledger::now().saturating_add_signed(1000 * seconds);
        flow.some_marked(200, &mut jobs[0], 3);
        let dated = site.bindings().last().unwrap().time;
        // The clock's time, or where it is behind the next after the last one.
        assert!(dated > last && dated >= there, "{seconds}: {dated}, after {last}, at {there}");
        last = dated;
    }
    site.wait_until_done(&mut jobs[0]);
    let [first, second, third] = jobs;
    first.stop();
    second.wait().with(0);
    third.wait().with(0);
    // With the right clock again, which is behind.
    let mut job = site.launch(2, 1);
    flow.some_marked(200, &mut job, 3);
    let dated = site.bindings().last().unwrap().time;
    assert!(dated > last && dated < last + MINUTE, "{dated}, after {last}");
    flow.rest();
    site.wait_until_done(&mut job);
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::None);
}

/// Whether a process runs: one that nobody has waited for has no command line any more.
/// Nobody is connected with it yet who would miss it.
#[test]
fn one_that_stands_still_before_it_has_joined_is_missed_all_the_same() {
    let mut oracle = Oracle::start();
    for (index, says) in [(2, "process 2 does not keep up: it did not join"), (0, "process 0")] {
        let site = Site::new(Plan::shared(2), Input::usual(85, 50, &mut oracle));
        let mut job = loop {
            let job = site.launch(3, 1);
            let pid = wait_for("the process", || job.launched().get(&index).copied());
            kill_process(pid, Signal::STOP).unwrap();
            // Another one may have been quicker than this test.
            if !job.log().contains("joined: process=") {
                break job;
            }
            job.kill();
        };
        job.says(says);
        job.says("starting all processes again");
        site.flow(85, false).rest();
        site.wait_until_done(&mut job);
        job.stop();
        site.must_be_right(&mut oracle, &Doubts::None);
    }
}

/// When a process began, if it runs: its number may soon be another's, or that of a thread.
fn began(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // Behind the name, which may hold anything, come the state and, twenty fields on, the time.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

#[test]
fn orders_to_end_that_do_not_wait_cost_nothing() {
    let mut oracle = Oracle::start();
    let mut plan = Plan::shared(4);
    plan.sets.push("cluster.restart_wait=1s".to_owned());
    let site = Site::new(plan, Input::usual(84, 4000, &mut oracle));
    let mut job = site.launch(3, 1);
    let mut doubts = BTreeSet::new();
    // Until all of these are gone, whatever they did last is in doubt.
    let gone = |before: &[(Pid, Option<String>)], doubts: &mut BTreeSet<u64>| {
        wait_for("the end of all processes", || {
            doubts.extend(site.under_way());
            let is_gone =
                |(pid, then): &(Pid, Option<String>)| then.is_none() || began(*pid) != *then;
            before.iter().all(is_gone).then_some(())
        });
    };
    let all = |job: &Job| -> Vec<_> {
        job.launched().into_values().map(|pid| (pid, began(pid))).collect()
    };
    site.meanwhile(84, &mut job, |job| {
        // SIGTERM, and after so many milliseconds SIGKILL; a terminal that is closed.
        for order in [Some(0), Some(30), None, Some(100), Some(1000), None] {
            site.wait_for_more(job, 3);
            let before = all(job);
            match order {
                Some(milliseconds) => {
                    job.signal(Signal::TERM);
                    pause(Duration::from_millis(milliseconds));
                    job.kill_if_it_runs();
                }
                None => job.signal(Signal::HUP),
            }
            gone(&before, &mut doubts);
            wait_for("the end of the job", || job.over());
            *job = site.launch(3, 1);
        }
        // One process of it.
        site.wait_for_more(job, 3);
        let (before, launched) = (all(job), job.launched());
        kill_process(launched[&1], Signal::HUP).unwrap();
        gone(&before, &mut doubts);
        job.says("process 1 is lost");
        site.wait_for_more(job, 3);
    });
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::Of(doubts));
}
