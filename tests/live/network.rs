//! What networks do between the job and a server: replies are lost after the write, lines are cut, half
//! open, slow. Each fault is counted by the proxy that throws it.

use std::time::Duration;

use testing::oracle::Oracle;
use testing::proxy::{Counts, Fault, Proxy};
use testing::servers::Server;

use super::input::Input;
use super::job::Job;
use super::judge::Doubts;
use super::site::{Plan, Servers, Site, pause};

/// Throws a fault until so much of it has happened.
fn throw(proxy: &Proxy, fault: Fault, count: impl Fn(&Counts) -> u64, times: u64) {
    let before = count(&proxy.counts());
    proxy.fault(fault);
    proxy.until(|counts| count(counts) >= before + times);
}

/// Lets the job work on what comes by and by, while this befalls it; then on the rest.
fn meanwhile(site: &Site, seed: u64, job: &mut Job, befalls: impl FnOnce(&mut Job)) {
    let mut flow = site.flow(seed, false);
    std::thread::scope(|threads| {
        threads.spawn(move || flow.rest_slowly(20, Duration::from_millis(60)));
        site.wait_for_mark(job, 3);
        befalls(job);
    });
    site.wait_until_done(job);
}

#[test]
fn replies_of_redis_that_are_lost_and_lines_to_it_that_break_cost_and_double_nothing() {
    let mut oracle = Oracle::start();
    let servers = Servers::shared();
    let proxy = Proxy::before(&servers.redis, 21);
    let mut plan = Plan::on(servers, 3);
    plan.told.redis = proxy.address();
    let site = Site::new(plan, Input::usual(21, 5000, &mut oracle));
    let mut job = site.start(2);
    meanwhile(&site, 21, &mut job, |job| {
        let lose = |percent| Fault::LoseReplies { percent, to: None };
        throw(&proxy, lose(30), |it| it.lost, 20);
        proxy.pass();
        site.wait_for_more(job, 3);
        throw(&proxy, Fault::Delay(Duration::from_millis(150)), |it| it.delayed, 30);
        proxy.pass();
        site.wait_for_more(job, 3);
        // The line stands, and nothing comes back; then it is reset.
        throw(&proxy, Fault::HoldReplies, |it| it.held, 1);
        proxy.cut();
        proxy.pass();
        site.wait_for_more(job, 3);
        // What was sent lands when it was given up long ago.
        throw(&proxy, Fault::Hold, |it| it.held, 3);
        proxy.pass();
        site.wait_for_more(job, 3);
        proxy.fault(Fault::Refuse);
        proxy.cut();
        throw(&proxy, Fault::Refuse, |it| it.refused, 3);
        proxy.pass();
    });
    site.must_be_right(&mut oracle, &Doubts::None);
    job.stop();
}

#[test]
fn replies_of_hbase_that_are_lost_and_lines_to_it_that_break_cost_and_double_nothing() {
    let mut oracle = Oracle::start();
    let servers = Servers::shared();
    let proxy = Proxy::before(&servers.hbase, 22);
    let mut plan = Plan::on(servers, 3);
    plan.told.hbase = proxy.address();
    let site = Site::new(plan, Input::usual(22, 5000, &mut oracle));
    let mut job = site.start(2);
    meanwhile(&site, 22, &mut job, |job| {
        let lose = |percent| Fault::LoseReplies { percent, to: None };
        throw(&proxy, lose(30), |it| it.lost, 20);
        proxy.pass();
        site.wait_for_more(job, 3);
        let mutations = Fault::lose_replies_to(b"mutateRow");
        throw(&proxy, mutations, |it| it.lost, 5);
        proxy.pass();
        site.wait_for_more(job, 3);
        throw(&proxy, Fault::Delay(Duration::from_millis(200)), |it| it.delayed, 30);
        proxy.pass();
        site.wait_for_more(job, 3);
        // What was asked for happens, and is given up before anybody hears of it.
        throw(&proxy, Fault::HoldReplies, |it| it.held, 4);
        proxy.pass();
        site.wait_for_more(job, 3);
        proxy.fault(Fault::Refuse);
        proxy.cut();
        throw(&proxy, Fault::Refuse, |it| it.refused, 3);
        proxy.pass();
    });
    site.must_be_right(&mut oracle, &Doubts::None);
    job.stop();
}

#[test]
fn calls_to_hbase_that_land_after_they_were_given_up_lose_nothing() {
    let mut oracle = Oracle::start();
    let servers = Servers::shared();
    let proxy = Proxy::before(&servers.hbase, 23);
    let mut plan = Plan::on(servers, 3);
    plan.told.hbase = proxy.address();
    let site = Site::new(plan, Input::usual(23, 2000, &mut oracle));
    let mut job = site.start(2);
    meanwhile(&site, 23, &mut job, |_| {
        proxy.fault(Fault::Hold);
        // By then every thread waits. A call that is given up leaves its connection behind: new ones come.
        pause(Duration::from_secs(5));
        throw(&proxy, Fault::Hold, |it| it.accepted, 2);
        proxy.pass();
    });
    site.must_be_right(&mut oracle, &Doubts::Any);
    job.stop();
}

#[test]
fn lines_to_the_broker_that_break_or_are_slow_cost_and_double_nothing() {
    let mut oracle = Oracle::start();
    let proxy = Proxy::start(24);
    let port = proxy.port().to_string();
    let kafka = Server::start("kafka", &[("PROXY", &port)]);
    proxy.lead_to(&format!("127.0.0.1:{}", kafka.port() + 3));
    let servers = Servers { kafka: kafka.address(), ..Servers::shared() };
    let mut plan = Plan::on(servers, 3);
    plan.told.kafka = proxy.address();
    let site = Site::new(plan, Input::usual(24, 5000, &mut oracle));
    let mut job = site.start(2);
    meanwhile(&site, 24, &mut job, |job| {
        let lose = |percent| Fault::LoseReplies { percent, to: None };
        throw(&proxy, lose(20), |it| it.lost, 10);
        proxy.pass();
        site.wait_for_more(job, 3);
        throw(&proxy, Fault::Delay(Duration::from_millis(200)), |it| it.delayed, 30);
        proxy.pass();
        site.wait_for_more(job, 3);
        throw(&proxy, Fault::HoldReplies, |it| it.held, 1);
        proxy.cut();
        proxy.pass();
        site.wait_for_more(job, 3);
        proxy.fault(Fault::Refuse);
        proxy.cut();
        throw(&proxy, Fault::Refuse, |it| it.refused, 2);
        proxy.pass();
    });
    site.must_be_right(&mut oracle, &Doubts::None);
    job.stop();
}
