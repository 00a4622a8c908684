//! Servers die, stand still and come back; Redis comes back as it was before, or with nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use testing::kafka::wait_for;
use testing::oracle::Oracle;
use testing::servers::Server;

use super::input::Input;
use super::judge::Doubts;
use super::site::{Plan, Servers, Site, pause};
use super::topics;

/// How long a server is away: some seconds, or a minute. Nothing is judged by it.
fn away(seconds: u64) {
    pause(Duration::from_secs(if testing::all() { 60 } else { seconds }));
}

#[test]
fn a_redis_that_dies_or_stands_still_costs_nothing_and_doubles_nothing() {
    let mut oracle = Oracle::start();
    let redis = Server::start("redis", &[]);
    let servers = Servers { redis: redis.address(), ..Servers::shared() };
    let site = Site::new(Plan::on(servers, 3), Input::usual(11, 4000, &mut oracle));
    let mut job = site.start(2);
    site.meanwhile(11, &mut job, |job| {
        redis.kill(&[]);
        job.says("waiting for redis");
        away(1);
        redis.restart(&[]);
        job.says("redis is back");
        site.wait_for_more(job, 3);
        redis.stand_still("redis");
        away(3);
        let none: Option<String> = site.ask(&redis::cmd("PING"));
        assert_eq!(none, None, "it stands still");
        redis.go_on("redis");
        site.wait_for_more(job, 3);
        redis.stop(&[]);
        away(1);
        redis.restart(&[]);
    });
    site.must_be_right(&mut oracle, &Doubts::None);
    job.stop();
}

#[test]
fn a_broker_that_dies_or_stands_still_costs_nothing_and_doubles_nothing() {
    let mut oracle = Oracle::start();
    let kafka = Server::start("kafka", &[]);
    let servers = Servers { kafka: kafka.address(), ..Servers::shared() };
    let site = Site::new(Plan::on(servers, 3), Input::usual(12, 4000, &mut oracle));
    let mut job = site.start(2);
    let mut doubts = BTreeSet::new();
    site.meanwhile(12, &mut job, |job| {
        kafka.kill(&[]);
        away(1);
        let standing = site.mark();
        assert!(job.over().is_none());
        kafka.restart(&[]);
        site.wait_for_more(job, 3);
        assert!(site.mark() > standing);
        kafka.stand_still("broker");
        away(4);
        kafka.go_on("broker");
        site.wait_for_more(job, 3);
        // The job dies while its broker is away, and starts before it is back.
        kafka.kill(&[]);
        job.signal(Signal::KILL);
        wait_for("the end of the job", || job.over());
        doubts.extend(site.under_way());
        *job = site.start(3);
        away(1);
        kafka.restart(&[]);
    });
    site.must_be_right(&mut oracle, &Doubts::Of(doubts));
    job.stop();
}

#[test]
fn an_hbase_of_which_a_part_dies_or_stands_still_costs_nothing() {
    let mut oracle = Oracle::start();
    let hbase = Server::start("hbase", &[]);
    let servers = Servers { hbase: hbase.address(), ..Servers::shared() };
    let site = Site::new(Plan::on(servers, 3), Input::usual(13, 6000, &mut oracle));
    let mut job = site.start(2);
    site.meanwhile(13, &mut job, |job| {
        hbase.kill(&["thrift"]);
        job.says("waiting for hbase");
        away(1);
        hbase.restart(&["thrift"]);
        site.wait_for_more(job, 3);
        hbase.kill(&["hbase"]);
        away(2);
        hbase.restart(&["hbase"]);
        site.wait_for_more(job, 3);
        // Longer than a first attempt is waited for.
        hbase.stand_still("thrift");
        pause(Duration::from_secs(12));
        hbase.go_on("thrift");
    });
    site.must_be_right(&mut oracle, &Doubts::Any);
    job.stop();
}

#[test]
fn leaders_that_move_from_broker_to_broker_cost_nothing_and_double_nothing() {
    let mut oracle = Oracle::start();
    let kafka = Server::start("kafka", &[("BROKERS", "2")]);
    let both = format!("{},127.0.0.1:{}", kafka.address(), kafka.port() + 4);
    let mut plan = Plan::on(Servers { kafka: both, ..Servers::shared() }, 4);
    plan.replicas = 2;
    let site = Site::new(plan, Input::usual(18, 5000, &mut oracle));
    let member = site.topics.member("whoever-looks");
    let led = || topics::led_by(&member, &site.topics.clicks, 2);
    let mut job = site.start(2);
    site.meanwhile(18, &mut job, |job| {
        for end in [Server::stop, Server::kill] {
            wait_for("leaders that are preferred", || {
                kafka.tool(&[
                    "org.apache.kafka.tools.LeaderElectionCommand",
                    "--bootstrap-server",
                    &kafka.address(),
                    "--election-type",
                    "preferred",
                    "--all-topic-partitions",
                ]);
                (led() > 0).then_some(())
            });
            site.wait_for_more(job, 3);
            end(&kafka, &["broker-2"]);
            wait_for("another leader", || (led() == 0).then_some(()));
            site.wait_for_more(job, 3);
            kafka.restart(&["broker-2"]);
            site.wait_for_more(job, 3);
        }
    });
    site.must_be_right(&mut oracle, &Doubts::None);
    job.stop();
}

#[test]
fn regions_that_split_and_move_and_a_region_server_that_dies_cost_nothing() {
    let mut oracle = Oracle::start();
    let hbase = Server::start("hbase", &[("REGION_SERVERS", "2")]);
    let servers = Servers { hbase: hbase.address(), ..Servers::shared() };
    let site = Site::new(Plan::on(servers, 3), Input::usual(19, 6000, &mut oracle));
    let tables = [("c", "recall:user:"), ("h", "reco:his:")];
    let mut job = site.start(2);
    site.meanwhile(19, &mut job, |job| {
        std::thread::scope(|threads| {
            for (table, rows) in tables {
                let table = format!("{}-{table}", site.name);
                let (first, last) = (format!("{rows}0"), format!("{rows}9"));
                let hbase = &hbase;
                threads.spawn(move || {
                    let splitter = "org.apache.hadoop.hbase.util.RegionSplitter";
                    let between = ["--firstrow", &first, "--lastrow", &last];
                    let split = [splitter, "-r", "-o", "2", "--risky"].into_iter().chain(between);
                    hbase.tool(&split.chain([&*table, "UniformSplit"]).collect::<Vec<_>>());
                });
            }
        });
        site.wait_for_more(job, 3);
        // All regions go to the first region server, then to the other one, which then dies.
        for nth in [4, 3] {
            let from = format!("localhost:{}", hbase.port() + nth);
            let list = hbase.data().join("moved").display().to_string();
            let mover = "org.apache.hadoop.hbase.util.RegionMover";
            hbase.tool(&[mover, "-m", "4", "-r", &from, "-o", "unload", "-f", &list, "-n"]);
            site.wait_for_more(job, 3);
        }
        hbase.kill(&["region-2"]);
        away(1);
        hbase.restart(&["region-2"]);
        site.wait_for_more(job, 3);
    });
    site.must_be_right(&mut oracle, &Doubts::Any);
    job.stop();
    let log = std::fs::read_to_string(hbase.data().join("hbase.log")).unwrap();
    let succeeded = |what: &str| {
        let of_it =
            log.lines().filter(|line| line.contains("state=SUCCESS") && line.contains(what));
        of_it.count()
    };
    for (table, _) in tables {
        let split = format!("SplitTableRegionProcedure table={}-{table},", site.name);
        assert_eq!(succeeded(&split), 1, "it has split");
        let moved = format!("TransitRegionStateProcedure table={}-{table}, ", site.name);
        let moved = log.lines().filter(|it| it.contains(&moved) && it.contains("REOPEN/MOVE"));
        assert!(moved.count() >= 2, "both halves have moved");
    }
    assert_eq!(succeeded("ServerCrashProcedure localhost"), 1, "one died");
}

/// Where Redis keeps its data.
fn kept(redis: &Server) -> std::path::PathBuf {
    redis.data().join("redis/appendonlydir")
}

fn put_back(redis: &Server, older: &Path) {
    redis.kill(&[]);
    std::fs::remove_dir_all(kept(redis)).unwrap();
    testing::copy(older, &kept(redis));
    redis.restart(&[]);
}

#[test]
fn a_redis_that_comes_back_as_it_was_before_is_brought_up_to_date_by_the_running_job() {
    let mut oracle = Oracle::start();
    let redis = Server::start("redis", &[]);
    // Also where the job dies when it has just written back what was lost.
    for (seed, stop_at) in [(14, None), (17, Some("written-back:1"))] {
        let servers = Servers { redis: redis.address(), ..Servers::shared() };
        let site = Site::new(Plan::on(servers, 3), Input::usual(seed, 2000, &mut oracle));
        let mut flow = site.flow(seed, false);
        let mut job = site.start_with(2, stop_at, &[]);
        flow.some(500);
        site.wait_until_done(&mut job);
        let older = testing::folder();
        redis.stop(&[]);
        testing::copy(&kept(&redis), older.path());
        redis.restart(&[]);
        flow.some(800);
        site.wait_until_done(&mut job);
        let done = site.mark();
        flow.some(300);
        put_back(&redis, older.path());
        flow.rest();
        if stop_at.is_some() {
            let ended = job.wait();
            assert!(ended.killed(), "{ended}");
            job = site.start(1);
        } else {
            job.says("redis went back");
        }
        site.wait_until_done(&mut job);
        assert!(site.mark() > done, "nothing of what was done is bound otherwise");
        // What was under way then may land late.
        let doubts = (done + 1..done + 1000).collect();
        site.must_be_right(&mut oracle, &Doubts::Of(doubts));
        job.stop();
    }
}

#[test]
fn a_start_goes_on_from_a_redis_as_it_was_before_and_recalls_nothing_twice() {
    let mut oracle = Oracle::start();
    let redis = Server::start("redis", &[]);
    let servers = Servers { redis: redis.address(), ..Servers::shared() };
    let site = Site::new(Plan::on(servers, 3), Input::usual(15, 1600, &mut oracle));
    let mut flow = site.flow(15, false);
    let mut job = site.start(2);
    flow.some(500);
    site.wait_until_done(&mut job);
    let older = testing::folder();
    redis.stop(&[]);
    testing::copy(&kept(&redis), older.path());
    redis.restart(&[]);
    flow.some(600);
    site.wait_until_done(&mut job);
    job.stop();
    let former = site.bindings();
    put_back(&redis, older.path());
    assert!(site.mark() < former.len() as u64, "it went back");
    let mut job = site.start(1);
    flow.rest();
    site.wait_until_done(&mut job);
    site.must_be_right_after(&mut oracle, former, &Doubts::None);
    job.stop();
}

#[test]
fn a_redis_that_has_lost_everything_is_filled_again_and_history_keeps_recalls_single() {
    let mut oracle = Oracle::start();
    let redis = Server::start("redis", &[]);
    let servers = Servers { redis: redis.address(), ..Servers::shared() };
    let site = Site::new(Plan::on(servers, 3), Input::usual(16, 1600, &mut oracle));
    let mut flow = site.flow(16, false);
    let mut job = site.start(2);
    flow.some(900);
    site.wait_until_done(&mut job);
    let former = site.bindings();
    let _: String = site.ask(&redis::cmd("FLUSHALL")).unwrap();
    job.says("redis has lost everything");
    flow.rest();
    site.wait_until_done(&mut job);
    site.must_be_right_after(&mut oracle, former.clone(), &Doubts::None);
    // The same where nobody runs meanwhile.
    job.stop();
    let mut all = former;
    all.extend(site.bindings());
    let _: String = site.ask(&redis::cmd("FLUSHALL")).unwrap();
    let mut job = site.start(3);
    site.wait_until_done(&mut job);
    site.must_be_right_after(&mut oracle, all, &Doubts::None);
    job.stop();
}
