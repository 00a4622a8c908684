//! What networks do between the processes of a cluster: lines that are slow, that break, that carry nothing in
//! one direction or hold everything.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use testing::oracle::Oracle;
use testing::proxy::{Fault, Proxy};

use super::input::Input;
use super::job::Job;
use super::judge::Doubts;
use super::site::{Plan, Site};

/// Set where a test runs in a network of its own.
const APART: &str = "ONLINE_RECALL_TEST_APART";

/// Runs this test, the one of that name, again in a network of its own, which it may cut: as root, on Linux.
#[track_caller]
fn apart(test: &str, run: impl FnOnce()) {
    if std::env::var_os(APART).is_some() {
        return run();
    }
    let probe = Command::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!(
            "SKIPPED: lines cannot be cut here, since a network namespace needs root, and ip"
        );
        return;
    }
    let here = std::env::current_exe().unwrap();
    let ran = Command::new("unshare")
        .args(["-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(here)
        .args(["--exact", test, "--nocapture"])
        .env(APART, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    said.lines().filter(|line| line.starts_with("SKIPPED")).for_each(|line| eprintln!("{line}"));
}

fn ip(line: &str) {
    let ran = Command::new("ip").args(line.split_ascii_whitespace()).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

/// Nothing gets to this address any more; what is sent from there does.
fn cut(address: &str) {
    ip(&format!("rule add pref 5 to {address} lookup 100"));
}

fn mend() {
    ip("rule del pref 5");
}

#[test]
fn a_line_between_processes_that_is_cut_in_one_direction_ends_all_and_costs_nothing() {
    let name =
        "wires::a_line_between_processes_that_is_cut_in_one_direction_ends_all_and_costs_nothing";
    apart(name, || {
        // The routes of the machine's own addresses come first, unless they are told not to.
        ip("rule add pref 10 lookup local");
        ip("rule del pref 0");
        ip("route add blackhole default table 100");
        let mut oracle = Oracle::start();
        let mut plan = Plan::shared(4);
        plan.sets.extend(["cluster.silence=2s", "cluster.secret=of-the-test"].map(str::to_owned));
        let site = Site::new(plan, Input::usual(77, 2000, &mut oracle));
        let mut flow = site.flow(77, false);
        let mut doubts = BTreeSet::new();
        let all = ["127.0.1.1", "127.0.1.2", "127.0.1.3"];
        // What members say to process 0; what process 2 sends to process 1.
        for address in &all[..2] {
            let hosts = site.hosts_at(&all);
            let mut jobs = [0, 1, 2].map(|index| site.start_in(&hosts, index));
            flow.some_marked(300, &mut jobs[0], 3);
            cut(address);
            flow.some(300);
            let ended = jobs.map(|job| job.wait().with(1));
            assert!(
                ended.iter().any(|it| {
                    it.log.contains("is lost: nothing was heard of it")
                        || it.log.contains("error: the connection to process")
                }),
                "{ended:?}"
            );
            doubts.extend(site.under_way());
            mend();
        }
        flow.rest();
        let mut job = site.launch(2, 1);
        site.wait_until_done(&mut job);
        job.stop();
        site.must_be_right(&mut oracle, &Doubts::Of(doubts));
    });
}

/// Lets five of a hundred packets be lost on their way to any address of this machine; says why, where the
/// system has no means for it.
fn lose_packets() -> Result<(), String> {
    let rules = "add table inet lossy; \
                 add chain inet lossy in { type filter hook input priority 0; }; \
                 add rule inet lossy in meta l4proto tcp numgen random mod 100 < 5 counter drop";
    let ran = Command::new("nft").arg(rules).output().map_err(|error| format!("nft: {error}"))?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    // What a kernel says that was built without.
    let lacks = ["not supported", "No such file"].iter().any(|lack| said.contains(lack));
    assert!(ran.status.success() || lacks, "{said}");
    if ran.status.success() { Ok(()) } else { Err(said) }
}

/// How many were lost.
fn lost_packets() -> u64 {
    let listed =
        Command::new("nft").args(["list", "chain", "inet", "lossy", "in"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let (_, counted) = listed.split_once("packets ").unwrap();
    counted.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn of_packets_that_are_lost_between_all_processes_and_servers_no_record_is() {
    let name = "wires::of_packets_that_are_lost_between_all_processes_and_servers_no_record_is";
    apart(name, || {
        let mut oracle = Oracle::start();
        let mut plan = Plan::shared(4);
        plan.sets.push("cluster.secret=of-the-test".to_owned());
        let site = Site::new(plan, Input::usual(80, 2000, &mut oracle));
        let mut flow = site.flow(80, false);
        let hosts = site.hosts(3);
        let mut jobs = [0, 1, 2].map(|index| site.start_in(&hosts, index));
        flow.some_marked(300, &mut jobs[0], 3);
        if let Err(why) = lose_packets() {
            eprintln!("SKIPPED: packets cannot be lost here: {why}");
            return;
        }
        flow.some_marked(300, &mut jobs[0], 5);
        flow.rest();
        site.wait_until_done(&mut jobs[0]);
        assert!(lost_packets() > 100, "they were lost");
        let [first, second, third] = jobs;
        first.stop();
        second.wait().with(0);
        third.wait().with(0);
        site.must_be_right(&mut oracle, &Doubts::Any);
    });
}

/// Three processes, of which process 1 reaches process 0, and process 2 process 1, by way of these.
fn started_behind(site: &Site, proxies: [&Proxy; 2]) -> [Job; 3] {
    let hosts = site.hosts(3);
    let to: Vec<_> = hosts.addresses().iter().map(ToString::to_string).collect();
    proxies[0].lead_to(&to[0]);
    proxies[1].lead_to(&to[1]);
    let of_first = hosts.with(site, &[&proxies[0].address(), &to[1], &to[2]]);
    let of_second = hosts.with(site, &[&to[0], &proxies[1].address(), &to[2]]);
    [site.start_in(&hosts, 0), site.start_in(&of_first, 1), site.start_in(&of_second, 2)]
}

#[test]
fn lines_between_processes_that_are_slow_change_nothing_and_those_that_break_end_all() {
    let mut oracle = Oracle::start();
    let mut plan = Plan::shared(4);
    plan.sets.extend(["cluster.silence=2s", "cluster.secret=of-the-test"].map(str::to_owned));
    let site = Site::new(plan, Input::usual(78, 2500, &mut oracle));
    let mut flow = site.flow(78, false);
    let mut doubts = BTreeSet::new();
    let proxies = [Proxy::start(78), Proxy::start(79)];
    let throw = |fault: &Fault| proxies.iter().for_each(|proxy| proxy.fault(fault.clone()));

    // 1. Slow ones.
    let mut jobs = started_behind(&site, proxies.each_ref());
    flow.some_marked(300, &mut jobs[0], 3);
    throw(&Fault::Delay(Duration::from_millis(200)));
    flow.some(300);
    site.wait_until_done(&mut jobs[0]);
    assert!(proxies.iter().all(|proxy| proxy.counts().delayed > 0), "they were slow");
    throw(&Fault::None);

    // 2. One that breaks between two members, of which process 0 hears by these.
    flow.some_marked(300, &mut jobs[0], 3);
    proxies[1].cut();
    let ended = jobs.map(|job| job.wait().with(1));
    assert!(ended[0].log.contains("is lost"), "{ended:?}");
    doubts.extend(site.under_way());

    // 3. One on which nothing comes back, from process 0.
    let mut jobs = started_behind(&site, proxies.each_ref());
    flow.some_marked(300, &mut jobs[0], 3);
    proxies[0].fault(Fault::HoldReplies);
    let ended = jobs.map(|job| job.wait().with(1));
    assert!(ended[1].log.contains("process 0 is lost: nothing was heard of it"), "{ended:?}");
    doubts.extend(site.under_way());
    proxies[0].cut();
    throw(&Fault::None);

    flow.rest();
    let mut job = site.launch(3, 1);
    site.wait_until_done(&mut job);
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::Of(doubts));
}
