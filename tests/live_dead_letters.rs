//! Dead letters of the live job, in files and in a topic of a real broker: what is told is there, and
//! where it cannot be kept now, nothing is told until it can.
//!
//! What a start makes of the files of former ones is tested beside the code.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a panic is a test's verdict"
)]

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use dataflows::Epoch;
use online_recall::config;
use online_recall::decode::Reason;
use online_recall::kafka::Access;
use online_recall::ledger::{Binding, Fence};
use online_recall::outside::Told;
use online_recall::retry::Stop;
use online_recall::sink::dead_letters::Start;
use online_recall::sink::{DeadLetter, DeadLetters};
use online_recall::source::Topic;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use testing::disk::Disk;
use testing::folder;
use testing::kafka::LONG;
use testing::proxy::{Fault, Proxy};
use testing::servers::{self, Server};

fn letter(place: &str, bytes: &[u8]) -> DeadLetter {
    let (place, bytes) = (place.as_bytes().to_vec(), bytes.to_owned());
    DeadLetter { place, topic: Topic::Clicks, reason: Reason::NotJson, bytes }
}

fn binding(epoch: u64) -> Arc<Binding> {
    Arc::new(Binding {
        epoch: Epoch(epoch),
        time: epoch,
        settings: Arc::default(),
        names: Arc::default(),
        ranges: Vec::new(),
    })
}

/// Dead letters being kept, and what is told of them.
struct Kept {
    letters: DeadLetters,
    told: Receiver<Told>,
    stop: Stop,
}

impl Kept {
    fn begin(place: &config::DeadLetters, servers: &str) -> Kept {
        Kept::begin_behind(None, place, servers)
    }

    fn begin_behind(
        fence: Option<&Arc<Fence>>,
        place: &config::DeadLetters,
        servers: &str,
    ) -> Kept {
        let (tell, told) = crossbeam_channel::unbounded();
        let stop = Stop::default();
        let start = Start { job: "recall", incarnation: 1, length: 7, fence };
        let kafka = Access::to(servers, None).unwrap();
        let letters = DeadLetters::new(place, start, &kafka, tell, stop.clone()).unwrap();
        Kept { letters, told, stop }
    }

    fn keep(&self, epoch: u64, letters: &[DeadLetter]) {
        self.letters.keep(&binding(epoch), letters.to_vec());
    }

    /// The length that is told of this epoch, the next.
    fn heard(&self, epoch: u64) -> u64 {
        match self.told.recv_timeout(LONG).unwrap() {
            Told::Kept(Epoch(kept), length) if kept == epoch => length,
            told => panic!("{told:?}"),
        }
    }
}

#[test]
fn on_a_full_disk_epochs_wait_and_nothing_half_written_is_left() {
    let place = folder();
    let Some(disk) = Disk::mount(&place.path().join("disk"), "512k") else { return };
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![0; 256 << 10]).unwrap();
    let path = disk.path().join("letters");
    let kept =
        Kept::begin(&config::DeadLetters::Folder(path.to_str().unwrap().to_owned().into()), "");
    kept.keep(1, &[letter("t/0/1", b"small")]);
    let first = kept.heard(1);
    let large: Vec<_> = (0..3).map(|n| letter(&format!("t/0/{n}"), &[b'x'; 120 << 10])).collect();
    kept.keep(2, &large);
    kept.keep(3, &[]);
    // Two of three find room. It fails, and is logged the second time it does.
    let file = path.join("recall.000001.7.tsv");
    let failures = || {
        let text = online_recall::metrics::text();
        let line = text.lines().find(|line| line.contains(r#"retries_total{peer="disk"}"#));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    };
    while failures() < 3 {
        std::thread::yield_now();
    }
    assert!(kept.told.is_empty(), "nothing is told of what is not kept");
    fs::remove_file(&filler).unwrap();
    let second = kept.heard(2);
    assert_eq!((kept.heard(3), 7 + fs::metadata(&file).unwrap().len()), (second, second));
    assert_eq!(second, first + 3 * (5 + 10 + (120 << 10) + 1));
    let lines = fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count(), 4, "what failed attempts have left is cut off");
    drop(kept);
}

#[test]
fn nothing_is_written_before_it_is_confirmed_that_this_process_may() {
    let place = folder();
    let fence = Arc::new(Fence::default());
    let to = config::DeadLetters::Folder(place.path().to_str().unwrap().to_owned().into());
    let kept = Kept::begin_behind(Some(&fence), &to, "");
    // One without letters writes nothing.
    kept.keep(1, &[]);
    kept.heard(1);
    kept.keep(2, &[letter("t/0/1", b"x")]);
    let early = kept.told.recv_timeout(Duration::from_millis(300));
    assert!(early.is_err(), "{early:?}");
    let written = || fs::read_dir(place.path()).unwrap().map(|it| it.unwrap().metadata().unwrap());
    assert_eq!(written().map(|it| it.len()).sum::<u64>(), 0);
    fence.confirm(Instant::now());
    assert!(kept.heard(2) > 7);
}

fn topic(kafka: &ClientConfig, name: &str) {
    let admin: AdminClient<DefaultClientContext> = kafka.create().unwrap();
    let topic = NewTopic::new(name, 2, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = runtime.block_on(admin.create_topics(&[topic], &AdminOptions::new())).unwrap();
    assert_eq!(made, [Ok(name.to_owned())]);
}

/// Key, value, reason and former length of a message.
type Sent = (String, Vec<u8>, String, Option<String>);

/// Reads until so many letters have been seen, each once or more; sorted.
fn read(kafka: &ClientConfig, topic: &str, count: usize) -> Vec<Sent> {
    let consumer: BaseConsumer = kafka.clone().set("group.id", "a test").create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..2 {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut found: BTreeSet<Sent> = BTreeSet::new();
    while found.len() < count {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
        let header = |name| {
            let header = message.headers().unwrap().iter().find(|header| header.key == name);
            header.map(|header| text(header.value.unwrap()))
        };
        let value = message.payload().unwrap_or_default().to_owned();
        found.insert((
            text(message.key().unwrap()),
            value,
            header("reason").unwrap(),
            header("length"),
        ));
    }
    found.into_iter().collect()
}

fn to_topic(name: &str) -> config::DeadLetters {
    config::DeadLetters::Topic(name.to_owned().into())
}

#[test]
fn letters_in_a_topic_have_their_place_as_key_and_what_is_too_large_is_cut() {
    let mut kafka = ClientConfig::new();
    kafka.set("bootstrap.servers", servers::kafka().address());
    topic(&kafka, "letters");
    let kept = Kept::begin(&to_topic("letters"), kafka.get("bootstrap.servers").unwrap());
    kept.keep(1, &[]);
    // The broker takes no message of more than 1 MiB with all that is around it.
    let long = vec![b'x'; 1 << 20];
    kept.keep(2, &[letter("t/0/1", b"a\tb\xff"), letter("t/0/2", &long), letter("t/0/3", b"")]);
    assert_eq!([kept.heard(1), kept.heard(2)], [7, 7]);
    let sent = |place: &str, bytes: &[u8], length: Option<&str>| {
        (place.to_owned(), bytes.to_owned(), "not_json".to_owned(), length.map(str::to_owned))
    };
    let expected = [
        sent("t/0/1", b"a\tb\xff", None),
        sent("t/0/2", &long[..1024], Some("1048576")),
        sent("t/0/3", b"", None),
    ];
    assert_eq!(read(&kafka, "letters", 3), expected);
}

#[test]
fn a_topic_that_is_not_there_is_a_clear_error_with_the_command_that_makes_it() {
    // It does not take a letter to find out.
    let kept = Kept::begin(&to_topic("nowhere"), &servers::kafka().address());
    let Told::Failed(error) = kept.told.recv_timeout(LONG).unwrap() else {
        panic!("it cannot be kept")
    };
    assert!(error.to_string().contains("topics create nowhere"), "{error}");
}

#[test]
fn while_the_brokers_are_away_epochs_wait_and_then_every_letter_is_there() {
    let proxy = Proxy::start(0);
    let server = Server::start("kafka", &[("PROXY", &proxy.port().to_string())]);
    proxy.lead_to(&format!("127.0.0.1:{}", server.port() + 3));
    let mut direct = ClientConfig::new();
    direct.set("bootstrap.servers", server.address());
    topic(&direct, "letters");
    let kept = Kept::begin(&to_topic("letters"), &proxy.address());
    kept.keep(1, &[letter("t/0/1", b"a")]);
    kept.heard(1);

    // Cut off: it is asked for in vain again and again.
    proxy.fault(Fault::Refuse);
    proxy.cut();
    kept.keep(2, &[letter("t/0/2", b"b")]);
    kept.keep(3, &[letter("t/0/3", b"c")]);
    proxy.until(|counts| counts.cut > 0 && counts.refused >= 3);
    assert!(kept.told.is_empty());
    proxy.pass();
    kept.heard(2);
    kept.heard(3);

    // Taken by the broker, and never acknowledged: it is sent again.
    let before = proxy.counts();
    proxy.fault(Fault::lose_replies_to(b"t/0/4"));
    kept.keep(4, &[letter("t/0/4", b"d")]);
    proxy.until(|counts| counts.lost > before.lost);
    proxy.pass();
    kept.heard(4);

    // A broker that dies and comes back.
    server.kill(&[]);
    kept.keep(5, &[letter("t/0/5", b"e")]);
    server.restart(&[]);
    kept.heard(5);
    let keys: Vec<_> = read(&direct, "letters", 5).into_iter().map(|sent| sent.0).collect();
    assert_eq!(keys, ["t/0/1", "t/0/2", "t/0/3", "t/0/4", "t/0/5"]);
}

#[test]
fn a_job_that_stops_does_not_wait_for_brokers_that_are_away() {
    let proxy = Proxy::start(0);
    let kept = Kept::begin(&to_topic("letters"), &proxy.address());
    kept.keep(1, &[letter("t/0/1", b"a")]);
    proxy.until(|counts| counts.unanswered > 0);
    kept.stop.stop();
    assert!(matches!(kept.told.recv_timeout(LONG).unwrap(), Told::Stopped));
}
