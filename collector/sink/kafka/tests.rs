//! Against a real broker. What these tests cannot catch is what several brokers do to each other.

mod numbered;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::message::{Headers as _, Message as _};
use testing::kafka::{Topics, wait_for};
use testing::random::Random;
use testing::servers::{self, Server};

use self::numbered::Numbered;
use super::*;
use crate::channel::Channel;
use crate::dead_letters::DeadLetters;
use crate::event::Event;
use crate::kafka::given;
use crate::sink::Sink as _;
use crate::stop::{Stop, chain};

fn sink(servers: &str, topic: &str, more: &[(&str, &str)]) -> Kafka {
    let mut keys = vec![("kafka.bootstrap.servers", servers), ("kafka.topic", topic)];
    keys.extend(more);
    let (sink, found) = given::keys("sinks.k1", &keys, Kafka::read);
    let mistakes: Vec<_> = found.iter().filter(|found| !found.contains("warning: ")).collect();
    assert!(mistakes.is_empty(), "{mistakes:?}");
    sink
}

fn tap(channel: &Arc<dyn Channel>, folder: &Path) -> Tap {
    let letters = DeadLetters::new(&folder.join("dead-letters.json"));
    Tap::new("k1", Arc::clone(channel), letters, Stop::default())
}

/// Delivers all that is in the channel.
fn deliver(sink: &mut Kafka, tap: &Tap) {
    sink.start(tap).unwrap();
    while !tap.channel().is_empty() {
        sink.turn(tap).unwrap();
    }
    assert!(sink.settle(tap).unwrap());
    sink.close(tap).unwrap();
}

fn event(body: &str, headers: &[(&str, &str)]) -> Event {
    let mut event = Event::new(body.to_owned());
    for (name, value) in headers {
        event.headers.set(*name, *value);
    }
    event
}

fn numbers(many: usize) -> Vec<Event> {
    (0..many).map(|number| Event::new(number.to_string())).collect()
}

fn letters(folder: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join("dead-letters.json")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn old_names_count_and_what_does_not_go_together_is_a_mistake() {
    let old = [
        ("brokerList", "h:1"),
        ("topic", "t"),
        ("kafka.batchSize", "7"),
        ("kafka.producer.requiredAcks", "1"),
    ];
    let (sink, found) = given::keys("sinks.k1", &old, Kafka::read);
    assert_eq!((sink.batch(), sink.settings.route.topic()), (7, Some("t")));
    let said = |name| sink.settings.properties.get(name);
    assert_eq!((said("bootstrap.servers"), said("acks")), (Some("h:1"), Some("1")));
    assert_eq!(said("enable.idempotence"), Some("false"));
    assert!(
        found.iter().all(|found| found.contains("warning: ")) && found.len() == 5,
        "{found:#?}"
    );
    let (sink, _) = given::keys("sinks.k1", &[("kafka.bootstrap.servers", "h:1")], Kafka::read);
    assert_eq!((sink.batch(), sink.settings.route.topic()), (100, Some("default-flume-topic")));
    assert_eq!(sink.settings.properties.get("enable.idempotence"), Some("true"));
    for (given, named) in [
        (
            &[("exactlyOnce", "true"), ("kafka.topic", "a-%{b}")][..],
            "exactlyOnce: it needs a kafka.topic",
        ),
        (
            &[("exactlyOnce", "true"), ("kafka.producer.acks", "1")],
            "exactlyOnce: it needs acks = all",
        ),
        (&[("kafka.producer.transactional.id", "x")], "need exactlyOnce = true"),
        (
            &[("kafka.producer.max.in.flight.requests.per.connection", "9")],
            "type: kafka's client refuses",
        ),
        (&[("kafka.topic", "a b")], "kafka.topic is a b"),
        (&[("kafka.topic", "a-%Y")], "%Y has no meaning"),
        (&[("defaultPartitionId", "-1")], "defaultPartitionId is -1"),
        (&[], "kafka.bootstrap.servers is missing"),
    ] {
        let servers = [("kafka.bootstrap.servers", "h:1")];
        let all: Vec<_> =
            servers.iter().filter(|_| !given.is_empty()).chain(given).copied().collect();
        let (_, found) = given::keys("sinks.k1", &all, Kafka::read);
        assert!(found.iter().any(|found| found.contains(named)), "{named}: {found:#?}");
    }
}

#[test]
fn headers_say_topic_partition_key_and_date() {
    let (servers, folder) = (servers::kafka().address(), testing::folder());
    let topics = Topics::make(&servers, 4, 1);
    let channel = given::channel(100);
    let own = [
        ("partitionIdHeader", "p"),
        ("timestampHeader", "t"),
        ("header.host", "from"),
        ("flumeBatchSize", "3"),
    ];
    let mut sink = sink(&servers, &topics.clicks, &own);
    given::put(
        &channel,
        vec![
            event("a", &[("key", "k"), ("t", "1000"), ("host", "h")]),
            event("b", &[("key", "k")]),
            event("c", &[("p", "2")]),
            event("d", &[("topic", &topics.articles), ("key", "k")]),
            event("e", &[("p", "x")]),
            event("f", &[("p", "9")]),
            event("g", &[("topic", "no/topic")]),
        ],
    );
    let tap = tap(&channel, folder.path());
    deliver(&mut sink, &tap);
    let mut found = BTreeMap::new();
    given::read(&servers, &topics.clicks, |message| {
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let header = message.headers().map(|headers| text(headers.get(0).value));
        let (key, date) = (text(message.key()), message.timestamp().to_millis());
        found.insert(text(message.payload()), (message.partition(), key, date, header));
    });
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    let (a, b, c) = (&found["a"], &found["b"], &found["c"]);
    // Where a producer in Java puts the key k, of four: (murmur2 & 0x7fffffff) % 4.
    let of_k = (murmur2(b"k") & 0x7fff_ffff) as i32 % 4;
    assert_eq!((a.0, b.0, c.0), (of_k, of_k, 2));
    assert_eq!((&*a.1, a.2, a.3.as_deref()), ("k", Some(1000), Some("h")));
    assert_eq!((&*c.1, &c.3), ("", &None));
    assert_eq!(given::values(&servers, &topics.articles), ["d"]);
    let reasons: Vec<_> = letters(folder.path())
        .iter()
        .map(|letter| (letter["body"].as_str().unwrap().to_owned(), letter["reason"].clone()))
        .collect();
    let expected = [("e", "bad_partition"), ("f", "bad_partition"), ("g", "bad_topic")];
    assert_eq!(reasons, expected.map(|(body, reason)| (body.to_owned(), reason.into())));
    assert_eq!(tap.counters().get(Count::EventDrainSuccessCount), 4);
}

#[test]
fn events_with_their_headers_are_flumes_datum() {
    let (servers, folder) = (servers::kafka().address(), testing::folder());
    let topics = Topics::make(&servers, 1, 1);
    let channel = given::channel(10);
    let sent = event("body", &[("a", "1"), ("b", "2")]);
    given::put(&channel, vec![sent.clone()]);
    let mut sink = sink(&servers, &topics.clicks, &[("useFlumeEventFormat", "true")]);
    deliver(&mut sink, &tap(&channel, folder.path()));
    given::read(&servers, &topics.clicks, |message| {
        assert_eq!(
            crate::avro::event::read(bytes::Bytes::copy_from_slice(message.payload().unwrap()))
                .as_ref(),
            Ok(&sent)
        );
    });
}

#[test]
fn a_topic_that_is_not_there_is_named_and_nothing_is_lost() {
    let (servers, folder) = (servers::kafka().address(), testing::folder());
    let channel = given::channel(10);
    given::put(&channel, numbers(3));
    let tap = tap(&channel, folder.path());
    let mut missing = sink(&servers, "no-such-topic", &[]);
    let error = chain(&*missing.start(&tap).unwrap_err());
    assert!(error.contains("has no topic no-such-topic: make it"), "{error}");
    let topics = Topics::make(&servers, 1, 1);
    let mut sink = sink(&servers, &topics.clicks, &[]);
    sink.start(&tap).unwrap();
    given::put(&channel, vec![event("x", &[("topic", "no-such-topic")])]);
    let error = loop {
        if let Err(error) = sink.turn(&tap) {
            break chain(&*error);
        }
    };
    assert!(error.contains("has no topic no-such-topic: make it"), "{error}");
    assert_eq!(channel.len(), given::drain(&channel).len());
}

#[test]
fn what_is_too_large_is_dead_and_its_company_is_not() {
    let (servers, folder) = (servers::kafka().address(), testing::folder());
    let one_at_a_time = ("kafka.producer.max.in.flight.requests.per.connection", "1");
    let once = ("exactlyOnce", "true");
    for more in [&[][..], &[once], &[once, one_at_a_time]] {
        let topics = Topics::make_with(&servers, 1, 1, &[("max.message.bytes", "20000")]);
        let mut events = numbers(200);
        for (nth, event) in events.iter_mut().enumerate() {
            let size = if [13, 14, 150].contains(&nth) { 30_000 } else { 1000 };
            event.body = format!("{:>size$}", nth).into();
        }
        // As large as no broker's answer is asked for.
        events[199].body = vec![b'x'; 17 << 20].into();
        let channel: Arc<dyn Channel> = if more.is_empty() {
            given::channel(1000)
        } else {
            Numbered::new(folder.path(), events.clone(), 1000)
        };
        if more.is_empty() {
            given::put(&channel, events);
        }
        let letters_before = letters(folder.path()).len();
        let topic = &topics.clicks;
        let tap = tap(&channel, folder.path());
        deliver(&mut sink(&servers, topic, more), &tap);
        let mut found: Vec<usize> = given::values(&servers, topic)
            .iter()
            .map(|value| value.trim().parse().unwrap())
            .collect();
        found.sort_unstable();
        let expected: Vec<_> = (0..199).filter(|nth| ![13, 14, 150].contains(nth)).collect();
        assert_eq!(found, expected);
        let letters = letters(folder.path());
        assert_eq!(letters.len() - letters_before, 4);
        assert!(letters.iter().all(|letter| letter["reason"] == "too_large"));
        assert_eq!(tap.dead(), [("too_large", 4)].into());
    }
}

/// Delivers as whoever runs it does: after a failure it starts again.
fn deliver_in_spite(sink: &mut Kafka, tap: &Tap, ends: impl Fn() -> bool) {
    while !ends() || !tap.channel().is_empty() {
        if sink.start(tap).is_ok() {
            while (!ends() || !tap.channel().is_empty()) && sink.turn(tap).is_ok() {}
        }
    }
    sink.close(tap).unwrap();
}

#[test]
fn a_broker_that_is_killed_and_comes_back_costs_nothing() {
    let (server, folder) = (Server::start("kafka", &[]), testing::folder());
    let servers = server.address();
    let topics = Topics::make(&servers, 2, 1);
    let (channel, is_back, is_fed) =
        (given::channel(2000), AtomicBool::new(false), AtomicBool::new(false));
    let more = [("flumeBatchSize", "50"), ("kafka.producer.reconnect.backoff.max.ms", "500")];
    let mut sink = sink(&servers, &topics.clicks, &more);
    let tap = tap(&channel, folder.path());
    let fed = std::thread::scope(|threads| {
        threads.spawn(|| deliver_in_spite(&mut sink, &tap, || is_fed.load(Ordering::Relaxed)));
        // There is always something to send, before, while and after the broker is away.
        let feeds = threads.spawn(|| {
            let mut fed = 0;
            while !is_back.load(Ordering::Relaxed) || fed < 20_000 {
                wait_for("room", || (channel.len() < 1900).then_some(()));
                given::put(
                    &channel,
                    (fed..fed + 100).map(|number| Event::new(number.to_string())).collect(),
                );
                fed += 100;
            }
            is_fed.store(true, Ordering::Relaxed);
            fed
        });
        wait_for("some events", || {
            (tap.counters().get(Count::EventDrainSuccessCount) > 2000).then_some(())
        });
        server.kill(&[]);
        server.restart(&[]);
        is_back.store(true, Ordering::Relaxed);
        feeds.join().unwrap()
    });
    let mut found: Vec<usize> = given::values(&servers, &topics.clicks)
        .iter()
        .map(|value| value.parse().unwrap())
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), fed);
}

#[test]
fn a_broker_that_is_killed_within_transactions_doubles_nothing() {
    const MANY: usize = 60_000;
    let (server, folder) = (Server::start("kafka", &[]), testing::folder());
    let servers = server.address();
    let topics = Topics::make(&servers, 1, 1);
    let channel: Arc<dyn Channel> = Numbered::new(folder.path(), numbers(MANY), 100);
    let more = [
        ("flumeBatchSize", "100"),
        ("exactlyOnce", "true"),
        ("kafka.producer.reconnect.backoff.max.ms", "500"),
    ];
    let mut sink = sink(&servers, &topics.clicks, &more);
    let tap = tap(&channel, folder.path());
    std::thread::scope(|threads| {
        let delivers = threads.spawn(|| deliver_in_spite(&mut sink, &tap, || true));
        wait_for("some events", || {
            (tap.counters().get(Count::EventDrainSuccessCount) > 2000).then_some(())
        });
        server.kill(&[]);
        assert!(!delivers.is_finished(), "the broker was killed too late");
        server.restart(&[]);
        delivers.join().unwrap();
    });
    let found: Vec<usize> = given::values(&servers, &topics.clicks)
        .iter()
        .map(|value| value.parse().unwrap())
        .collect();
    let distinct: std::collections::BTreeSet<_> = found.iter().collect();
    assert_eq!((distinct.len(), found.len()), (MANY, MANY));
}

#[test]
fn a_newer_client_of_the_same_transactions_shuts_the_older_out() {
    let (servers, folder) = (servers::kafka().address(), testing::folder());
    let topics = Topics::make(&servers, 1, 1);
    let channel: Arc<dyn Channel> = Numbered::new(folder.path(), numbers(20), 10);
    let tap = tap(&channel, folder.path());
    let more = [("exactlyOnce", "true"), ("flumeBatchSize", "5")];
    let (mut older, mut newer) =
        (sink(&servers, &topics.clicks, &more), sink(&servers, &topics.clicks, &more));
    older.start(&tap).unwrap();
    older.turn(&tap).unwrap();
    newer.start(&tap).unwrap();
    let error = chain(&*older.turn(&tap).unwrap_err());
    assert!(error.contains("has shut this one out"), "{error}");
    while !channel.is_empty() {
        newer.turn(&tap).unwrap();
    }
    let found: Vec<usize> = given::values(&servers, &topics.clicks)
        .iter()
        .map(|value| value.parse().unwrap())
        .collect();
    assert_eq!(found, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_position_of_another_channel_does_not_count() {
    let (servers, folder) = (servers::kafka().address(), testing::folder());
    let topics = Topics::make(&servers, 1, 1);
    let id = format!("mine-{}", topics.clicks);
    let more = [("exactlyOnce", "true"), ("kafka.producer.transactional.id", &*id)];
    for _ in 0..2 {
        let channel: Arc<dyn Channel> = Numbered::new(folder.path(), numbers(10), 10);
        deliver(&mut sink(&servers, &topics.clicks, &more), &tap(&channel, folder.path()));
        // Made anew, it numbers from 0 again.
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path()).unwrap();
    }
    assert_eq!(given::values(&servers, &topics.clicks).len(), 20);
}

const FOLDER: &str = "COLLECTOR_TEST_FOLDER";
const SERVERS: &str = "COLLECTOR_TEST_SERVERS";
const TOPIC: &str = "COLLECTOR_TEST_TOPIC";
const ALL: usize = 60_000;

/// What the test below kills: the sink, in a process of its own. Does nothing otherwise.
#[test]
fn child_that_sends() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (servers, topic) = (std::env::var(SERVERS).unwrap(), std::env::var(TOPIC).unwrap());
    let channel: Arc<dyn Channel> = Numbered::new(Path::new(&folder), numbers(ALL), 600);
    let more = [("exactlyOnce", "true"), ("flumeBatchSize", "200")];
    deliver(&mut sink(&servers, &topic, &more), &tap(&channel, Path::new(&folder)));
}

#[test]
fn a_process_that_is_killed_again_and_again_writes_every_event_once() {
    let (servers, folder) = (servers::kafka().address(), testing::folder());
    let topics = Topics::make(&servers, 1, 1);
    let start = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "sink::kafka::tests::child_that_sends"]);
        child.env(FOLDER, folder.path()).env(SERVERS, &servers).env(TOPIC, &topics.clicks);
        child.stdout(Stdio::null()).spawn().unwrap()
    };
    let kills = if testing::all() { 25 } else { 5 };
    let mut random = Random::new(std::process::id().into());
    let mut killed_early = 0;
    for _ in 0..kills {
        let mut child = start();
        let begun = given::end(&servers, &topics.clicks);
        let more = random.below(ALL / kills) as i64;
        wait_for("more events", || {
            let is_over = child.try_wait().unwrap().is_some();
            (is_over || given::end(&servers, &topics.clicks) > begun + more).then_some(())
        });
        killed_early += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed_early > 0, "no process was killed before its end");
    assert!(start().wait().unwrap().success());
    let mut found: Vec<usize> = given::values(&servers, &topics.clicks)
        .iter()
        .map(|value| value.parse().unwrap())
        .collect();
    let many = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!((found.len(), many), (ALL, ALL));
}

/// As Kafka's clients in Java hash keys.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ key.len() as u32;
    let chunks = key.chunks_exact(4);
    let rest = chunks.remainder();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    for (nth, &byte) in rest.iter().enumerate().rev() {
        h ^= u32::from(byte) << (8 * nth);
        if nth == 0 {
            h = h.wrapping_mul(M);
        }
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}
