//! The job in several processes: the same results, also where one of them dies, stands still, or is another
//! number of processes the next time.

use std::collections::BTreeSet;

use rustix::process::{Signal, kill_process};
use testing::kafka::wait_for;
use testing::oracle::Oracle;

use super::input::Input;
use super::job::Job;
use super::judge::Doubts;
use super::site::{Plan, Site};

#[test]
fn several_processes_end_as_the_oracle_tells_whatever_their_number() {
    let mut oracle = Oracle::start();
    for (seed, (processes, workers)) in (71..).zip([(2, 2), (4, 1), (3, 1)]) {
        let site = Site::new(Plan::shared(5), Input::nasty(seed, 1500, &mut oracle));
        let mut flow = site.flow(seed, false);
        let mut job = site.launch(processes, workers, &[]);
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
    let mut job = site.launch(3, 1, &[]);
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
            (1, Signal::KILL),
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
