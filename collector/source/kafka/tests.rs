//! Against a real broker.

use std::sync::Arc;

use rdkafka::producer::{BaseRecord, Producer as _};
use testing::kafka::{LONG, Topics as Made, wait_for};
use testing::servers;

use super::*;
use crate::channel::Channel;
use crate::counters::Source as Count;
use crate::event::Event;
use crate::kafka::given;
use crate::selector::{Channels, Selector};
use crate::source::Source as _;

fn source(servers: &str, topic: &str, more: &[(&str, &str)]) -> Kafka {
    let mut keys = vec![
        ("kafka.bootstrap.servers", servers),
        ("kafka.consumer.auto.offset.reset", "earliest"),
        ("batchDurationMillis", "50"),
    ];
    if !more.iter().any(|(key, _)| *key == "kafka.topics.regex") {
        keys.push(("kafka.topics", topic));
    }
    keys.extend(more);
    let (source, found) = given::keys("sources.r1", &keys, Kafka::read);
    assert!(found.is_empty(), "{found:?}");
    source
}

fn inlet(channel: &Arc<dyn Channel>) -> Inlet {
    let to = Channels { required: vec![0], optional: Vec::new() };
    Inlet::new("r1", Vec::new(), Selector::Replicating { to }, vec![Arc::clone(channel)])
}

/// Tells sources to stop, also where a test fails: else they would be waited for.
struct Stops(Stop);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Runs a source until this is there.
fn run<T>(mut source: Kafka, inlet: &Inlet, what: &str, look: impl FnMut() -> Option<T>) -> T {
    let stop = Stop::default();
    std::thread::scope(|threads| {
        let (own, inlet) = (stop.clone(), &inlet);
        let runs =
            threads.spawn(move || source.run(inlet, &own).map_err(|error| error.to_string()));
        let stops = Stops(stop);
        let found = wait_for(what, look);
        drop(stops);
        runs.join().unwrap().unwrap();
        found
    })
}

fn send(topics: &Made, topic: &str, numbers: std::ops::Range<i64>) {
    let sender = topics.producer(&[]);
    for number in numbers {
        sender.send(topic, 0, Some(number.to_string().as_bytes()), Some(1000 + number));
    }
    sender.flush();
}

fn bodies(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| str::from_utf8(&event.body).unwrap().parse().unwrap()).collect()
}

fn headers(event: &Event) -> Vec<(&str, &str)> {
    event.headers.iter().map(|(name, value)| (&**name, &**value)).collect()
}

#[test]
fn keys_are_flumes() {
    let read = |given: &[(&str, &str)]| given::keys("sources.r1", given, Kafka::read);
    let servers = ("kafka.bootstrap.servers", "h:1");
    let (source, found) =
        read(&[servers, ("topic", "a , b"), ("groupId", "g"), ("zookeeperConnect", "z:1")]);
    let Topics::Named(names) = &source.topics else { panic!("{source:?}") };
    assert_eq!(*names, ["a", "b"]);
    assert_eq!(source.properties.get("group.id"), Some("g"));
    assert!(found.iter().all(|found| found.contains("warning: ")), "{found:#?}");
    let (source, _) = read(&[servers, ("kafka.topics", "a")]);
    assert_eq!((source.batch, source.duration), (1000, Duration::from_secs(1)));
    assert_eq!(source.properties.get("group.id"), Some("flume"));
    for (given, named) in [
        (&[servers][..], "kafka.topics is missing"),
        (
            &[("zookeeperConnect", "z:1"), ("topic", "a")],
            "zookeeperConnect is not supported; name the brokers",
        ),
        (&[servers, ("kafka.topics.regex", r"a\G")], r"\G is not supported"),
        (
            &[servers, ("kafka.topics", "a"), ("kafka.consumer.auto.offset.reset", "never")],
            "earliest, latest",
        ),
    ] {
        let (_, found) = read(given);
        assert!(found.iter().any(|found| found.contains(named)), "{named}: {found:#?}");
    }
}

#[test]
fn a_source_that_starts_again_goes_on_behind_what_the_channel_has() {
    let servers = servers::kafka().address();
    let topics = Made::make(&servers, 1, 1);
    let group = ("kafka.consumer.group.id", &*topics.clicks);
    send(&topics, &topics.clicks, 0..3000);
    // The channel takes 2,000, and then no more: so much is committed, and not what was read beyond.
    let channel = given::channel(2000);
    let inlet = inlet(&channel);
    run(
        source(&servers, &topics.clicks, &[group, ("batchSize", "100")]),
        &inlet,
        "a full channel",
        || (channel.len() == 2000).then_some(()),
    );
    assert_eq!(topics.committed(group.1, 1), [2000]);
    let first = given::drain(&channel);
    assert_eq!(bodies(&first), (0..2000).collect::<Vec<_>>());
    run(source(&servers, &topics.clicks, &[group]), &inlet, "the rest", || {
        (channel.len() == 1000).then_some(())
    });
    assert_eq!(bodies(&given::drain(&channel)), (2000..3000).collect::<Vec<_>>());
    assert_eq!(topics.committed(group.1, 1), [3000]);
    let expected =
        [("timestamp", "1007"), ("topic", &*topics.clicks), ("partition", "0"), ("offset", "7")];
    assert_eq!(headers(&first[7]), expected);
}

#[test]
fn a_source_goes_on_when_a_full_channel_has_room_again() {
    let servers = servers::kafka().address();
    let topics = Made::make(&servers, 1, 1);
    let group = ("kafka.consumer.group.id", &*topics.clicks);
    send(&topics, &topics.clicks, 0..1000);
    let channel = given::channel(300);
    let inlet = inlet(&channel);
    let mut found = Vec::new();
    run(
        source(&servers, &topics.clicks, &[group, ("batchSize", "100")]),
        &inlet,
        "all events",
        || {
            // It is emptied only when it was full: the source has waited.
            if channel.len() == 300 || found.len() >= 900 {
                found.extend(bodies(&given::drain(&channel)));
            }
            (found.len() >= 1000).then_some(())
        },
    );
    assert_eq!(found, (0..1000).collect::<Vec<_>>());
}

#[test]
fn keys_headers_and_flumes_datum_come_along_and_what_is_none_is_passed_over() {
    let servers = servers::kafka().address();
    let topics = Made::make(&servers, 1, 1);
    let mut sent = Event::new("body");
    sent.headers.set("timestamp", "5");
    sent.headers.set("host", "h");
    let mut value = Vec::new();
    crate::avro::event::put(&mut value, &sent);
    let sender = topics.producer(&[]);
    let more = rdkafka::message::OwnedHeaders::new()
        .insert(rdkafka::message::Header { key: "from", value: Some("x") });
    let record =
        BaseRecord::<[u8], [u8]>::to(&topics.clicks).payload(&value).key(b"k").headers(more);
    sender.client.send(record).map_err(|(error, _)| error).unwrap();
    sender.client.flush(LONG).unwrap();
    sender.send(&topics.clicks, 0, Some(b"\xff"), None);
    sender.send(&topics.clicks, 0, None, None);
    sender.flush();
    let channel = given::channel(100);
    let inlet = inlet(&channel);
    let more = [
        ("kafka.consumer.group.id", &*topics.clicks),
        ("useFlumeEventFormat", "true"),
        ("setTopicHeader", "false"),
        ("header.origin", "from"),
    ];
    run(source(&servers, &topics.clicks, &more), &inlet, "the offsets", || {
        (topics.committed(&topics.clicks, 1) == [3]).then_some(())
    });
    let events = given::drain(&channel);
    let expected = [
        ("timestamp", "5"),
        ("host", "h"),
        ("origin", "x"),
        ("partition", "0"),
        ("offset", "0"),
        ("key", "k"),
    ];
    assert_eq!((headers(&events[0]), &events[0].body[..]), (expected.to_vec(), &b"body"[..]));
    assert_eq!((events.len(), inlet.counters().get(Count::EventReadFail)), (1, 2));
}

#[test]
fn topics_that_match_are_read_by_two_members_together() {
    let servers = servers::kafka().address();
    let topics = Made::make(&servers, 1, 1);
    let mark = topics.clicks.strip_prefix("clicks").unwrap();
    let pattern = format!("(clicks|articles){mark}");
    let more = [
        ("kafka.consumer.group.id", &*topics.clicks),
        ("kafka.topics.regex", &*pattern),
        // The default would give both topics' only partition to one of them.
        (
            "kafka.consumer.partition.assignment.strategy",
            "org.apache.kafka.clients.consumer.RoundRobinAssignor",
        ),
    ];
    let (one, other) = (given::channel(10_000), given::channel(10_000));
    let (into_one, into_other) = (inlet(&one), inlet(&other));
    let mut first = source(&servers, "", &more);
    let stop = Stop::default();
    std::thread::scope(|threads| {
        let (own, into_one) = (stop.clone(), &into_one);
        let runs =
            threads.spawn(move || first.run(into_one, &own).map_err(|error| error.to_string()));
        let stops = Stops(stop);
        send(&topics, &topics.clicks, 0..500);
        wait_for("what one member reads", || (one.len() == 500).then_some(()));
        let mut sent = 500;
        // The second gets one of the two topics; until it has, both come to the first.
        run(source(&servers, "", &more), &into_other, "what the other member reads", || {
            for topic in [&topics.clicks, &topics.articles] {
                send(&topics, topic, sent..sent + 1);
            }
            sent += 1;
            (!other.is_empty()).then_some(())
        });
        wait_for("what is left", || {
            let mut all = bodies(&snapshot(&one));
            all.extend(bodies(&snapshot(&other)));
            all.sort_unstable();
            all.dedup();
            (all.len() as i64 == sent).then_some(())
        });
        drop(stops);
        runs.join().unwrap().unwrap();
    });
}

/// What is in a channel, which stays there.
fn snapshot(channel: &Arc<dyn Channel>) -> Vec<Event> {
    Arc::clone(channel).take(usize::MAX, Duration::ZERO).unwrap().events().to_vec()
}

#[test]
fn sink_and_source_know_a_broker_that_asks_who_they_are() {
    let (server, folder) = (servers::Server::start("kafka", &[("TLS", "1")]), testing::folder());
    let topics = Made::make(&server.address(), 1, 1);
    let secure = format!("127.0.0.1:{}", server.port() + 2);
    let trusted = server.data().join("tls/ca.pem");
    let login = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" \
                 password=\"alice-secret\";";
    let security = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.jaas.config", login),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", trusted.to_str().unwrap()),
        ("ssl.endpoint.identification.algorithm", "HTTPS"),
    ];
    let named = |prefix: &str| security.map(|(name, value)| (format!("{prefix}.{name}"), value));
    let (channel, next) = (given::channel(10), given::channel(10));
    given::put(&channel, vec![Event::new("hello")]);
    let keys = named("kafka.producer");
    let mut keys: Vec<_> = keys.iter().map(|(key, value)| (&**key, *value)).collect();
    keys.extend([("kafka.bootstrap.servers", &*secure), ("kafka.topic", &*topics.clicks)]);
    let (mut sink, found) = given::keys("sinks.k1", &keys, crate::sink::kafka::Kafka::read);
    assert!(found.iter().all(|found| found.contains("warning: ")), "{found:?}");
    let letters = crate::dead_letters::DeadLetters::new(&folder.path().join("dead"));
    let tap = crate::sink::Tap::new("k1", channel, letters, Stop::default());
    crate::sink::Sink::start(&mut sink, &tap).unwrap();
    while !tap.channel().is_empty() {
        crate::sink::Sink::turn(&mut sink, &tap).unwrap();
    }
    let keys = named("kafka.consumer");
    let mut keys: Vec<_> = keys.iter().map(|(key, value)| (&**key, *value)).collect();
    keys.push(("kafka.consumer.group.id", &topics.clicks));
    let source = source(&secure, &topics.clicks, &keys);
    run(source, &inlet(&next), "an event", || (next.len() == 1).then_some(()));
    assert_eq!(given::drain(&next)[0].body, "hello");
}
