//! The broker is away, dies, or stands still while topics are read: every record is read once all the
//! same. Each test sees that the fault has happened.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use online_recall::ledger::now;
use testing::kafka::{Topics, wait_for};
use testing::servers::Server;

use crate::reading::{Read, Run, settled};

/// Values that were read, each once.
#[track_caller]
fn numbers(read: &Read) -> BTreeSet<usize> {
    let all: Vec<usize> =
        read.records().map(|it| String::from_utf8(it.bytes).unwrap().parse().unwrap()).collect();
    let set: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(set.len(), all.len(), "a record was read twice");
    set
}

#[test]
fn a_broker_that_is_not_there_yet_is_waited_for_also_over_tls_with_a_password() {
    let broker = Server::start("kafka", &[("TLS", "1")]);
    let topics = Topics::make(&broker.address(), 2, 1);
    let producer = topics.producer(&[]);
    (0..100).for_each(|n: i32| {
        producer.send(&topics.clicks, n % 2, Some(n.to_string().as_bytes()), None);
    });
    producer.flush();
    broker.kill(&[]);

    let servers = format!("127.0.0.1:{}", broker.port() + 2);
    let authority = broker.data().join("tls/ca.pem");
    let sets = [
        format!("kafka.properties.\"bootstrap.servers\"={servers}"),
        "kafka.properties.\"security.protocol\"=SASL_SSL".to_owned(),
        "kafka.properties.\"sasl.mechanism\"=SCRAM-SHA-256".to_owned(),
        "kafka.properties.\"sasl.username\"=alice".to_owned(),
        "kafka.properties.\"sasl.password\"=alice-secret".to_owned(),
        format!("kafka.properties.\"ssl.ca.location\"={}", authority.display()),
    ];
    let config = settled(&topics, &sets.each_ref().map(String::as_str));
    std::thread::scope(|threads| {
        let begins = threads.spawn(|| Run::start(&config));
        // It is not there: whoever begins waits, and does not fail.
        std::thread::park_timeout(std::time::Duration::from_secs(6));
        assert!(!begins.is_finished());
        broker.restart(&[]);
        let run = begins.join().unwrap();
        let read = run.read(100);
        run.feed.finish();
        assert_eq!(numbers(&run.finish(read)), (0..100).collect());
    });
}

#[test]
fn a_broker_that_dies_or_stands_still_costs_no_record_and_none_twice() {
    let broker = Server::start("kafka", &[]);
    let topics = Topics::make(&broker.address(), 3, 1);
    let run = Run::start(&settled(&topics, &["epoch.records=500", "epoch.interval=20ms"]));
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        // It sends all the while, and again what the broker has not confirmed.
        let sending = threads.spawn(|| {
            let producer = topics.producer(&[("enable.idempotence", "true")]);
            let mut sent = 0;
            while !ended.load(Ordering::Relaxed) {
                let value = sent.to_string();
                producer.send(&topics.clicks, sent % 3, Some(value.as_bytes()), None);
                sent += 1;
                producer.client.poll(std::time::Duration::from_millis(1));
            }
            producer.flush();
            sent
        });
        run.read(1000);
        for fault in ["kill", "stop", "stand still"] {
            match fault {
                "kill" => broker.kill(&[]),
                "stop" => broker.stop(&[]),
                _ => broker.stand_still("broker"),
            }
            // Nothing comes any more, and nobody says that all is well.
            let begun = now();
            wait_for("a broker that is away", || {
                let fresh = run.feed.freshness().unwrap_or(0);
                (now() > begun.max(fresh) + 4_000).then_some(())
            });
            match fault {
                "stand still" => broker.go_on("broker"),
                _ => broker.restart(&[]),
            }
            run.wait_until_fresh();
            let before = run.read(0).records().count() as u64;
            run.read(before + 300);
        }
        ended.store(true, Ordering::Relaxed);
        let sent = usize::try_from(sending.join().unwrap()).unwrap();
        let read = run.read(sent as u64);
        run.feed.finish();
        assert_eq!(numbers(&run.finish(read)), (0..sent).collect());
    });
}

#[test]
fn a_source_ends_though_its_broker_is_away() {
    let broker = Server::start("kafka", &[]);
    let topics = Topics::make(&broker.address(), 2, 1);
    let run = Run::start(&settled(&topics, &[]));
    let producer = topics.producer(&[]);
    producer.send(&topics.clicks, 0, Some(b"0"), None);
    producer.flush();
    run.read(1);
    run.tell_group();
    broker.stand_still("broker");
    run.feed.finish();
    assert_eq!(numbers(&run.end().unwrap()), BTreeSet::from([0]));
    broker.go_on("broker");
}
