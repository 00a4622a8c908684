//! What networks do between the job and a server: replies are lost after the write, lines are cut, half
//! open, slow. Each fault is counted by the proxy that throws it.

use std::time::Duration;

use testing::oracle::Oracle;
use testing::proxy::{Counts, Fault, Proxy};
use testing::servers::Server;

use super::input::Input;
use super::judge::Doubts;
use super::site::{Plan, Servers, Site};

/// Throws a fault until so much of it has happened.
fn throw(proxy: &Proxy, fault: Fault, count: impl Fn(&Counts) -> u64, times: u64) {
    let before = count(&proxy.counts());
    proxy.fault(fault);
    proxy.until(|counts| count(counts) >= before + times);
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
    site.meanwhile(21, &mut job, |job| {
        let lose = |percent| Fault::LoseReplies { percent, to: None };
        throw(&proxy, lose(30), |it| it.lost, 20);
        proxy.pass();
        site.wait_for_more(job, 3);
        throw(&proxy, Fault::Delay(Duration::from_millis(150)), |it| it.delayed, 30);
        proxy.pass();
        site.wait_for_more(job, 3);
        // The line stands, and nothing comes back, until it is given up for another one.
        throw(&proxy, Fault::HoldReplies, |it| it.accepted, 1);
        proxy.cut();
        proxy.pass();
        site.wait_for_more(job, 3);
        // What was sent lands when it was given up.
        throw(&proxy, Fault::Hold, |it| it.accepted, 2);
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
    site.meanwhile(22, &mut job, |job| {
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
        throw(&proxy, Fault::HoldReplies, |it| it.accepted, 2);
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
fn a_signal_ends_a_job_whose_servers_have_never_answered() {
    let mut oracle = Oracle::start();
    let servers = Servers::shared();
    for nth in 0..3 {
        let proxy = Proxy::before("127.0.0.1:1", 25);
        proxy.fault(Fault::Refuse);
        let mut plan = Plan::on(servers.clone(), 1);
        let Servers { kafka, redis, hbase } = &mut plan.told;
        *[kafka, redis, hbase][nth] = proxy.address();
        let site = Site::without_tables(plan, Input::usual(25, 10, &mut oracle));
        if nth < 2 {
            site.make_tables();
        }
        let mut job = site.start(2);
        job.says("waiting for");
        proxy.until(|counts| counts.refused > 2);
        assert!(job.over().is_none());
        job.stop();
    }
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
    site.meanwhile(23, &mut job, |_| {
        // A call that is given up leaves its connection behind: new ones come.
        throw(&proxy, Fault::Hold, |it| it.accepted, 3);
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
    site.meanwhile(24, &mut job, |job| {
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
