//! `topics`, `produce` and `consume` on a real broker, beside Kafka's own tools.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rdkafka::consumer::Consumer;
use serde_json::json;
use testing::kafka::{LONG, Topics, wait_for};
use testing::place::{CLICK, Place};
use testing::program::{self, Outcome};
use testing::proxy::{Fault, Proxy};
use testing::servers::{self, Server};

/// A place with the topics of a test, on the broker that all tests share.
struct Tools {
    place: Place,
    topics: Topics,
}

impl Tools {
    fn make(clicks: i32) -> Tools {
        let topics = Topics::make(&servers::kafka().address(), clicks, 1);
        Tools { place: Place::empty(), topics }
    }

    /// Runs the program with these arguments, in which `T` is the topic of clicks.
    #[track_caller]
    fn run(&self, line: &str) -> Outcome {
        self.place.run(&self.line(line))
    }

    fn line(&self, line: &str) -> String {
        let words =
            line.split(' ').map(|word| if word == "T" { &self.topics.clicks } else { word });
        let words: Vec<_> = words.collect();
        format!("{} --bootstrap-server {}", words.join(" "), self.topics.servers)
    }

    #[track_caller]
    fn run_with_input(&self, line: &str, input: &[u8]) -> Outcome {
        let line = self.line(line);
        let command = program::command(self.place.folder(), line.split(' '));
        program::end_with_input(command, input)
    }
}

// topics -------------------------------------------------------------------------------------------

#[test]
fn a_topic_is_made_listed_described_and_deleted() {
    let mut tools = Tools::make(1);
    tools.topics.clicks.push_str("-made");
    let name = tools.topics.clicks.clone();
    let made = "topics create T --partitions 3 --replication-factor 1 --setting retention.ms=86400000 \
                --setting max.message.bytes=2000000";
    assert_eq!(tools.run(made).done().text(), format!("made topic {name}\n"));
    tools.run(made).refused(1, &[&name, "TopicAlreadyExists"]);
    let listed = tools.run("topics list --json").done().json();
    let row = json!({ "topic": name, "partitions": 3, "replicas": 1 });
    assert!(listed.as_array().unwrap().contains(&row), "{listed}");
    assert!(tools.run("topics list").done().text().contains(&name));

    tools.run_with_input("produce T", b"a\nb\n").done();
    let described = tools.run("topics describe T --json").done().json();
    assert_eq!(described["topic"], name);
    let settings = json!({ "max.message.bytes": "2000000", "retention.ms": "86400000" });
    assert_eq!(described["settings"], settings);
    let partitions = described["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 3);
    let ends = partitions.iter().map(|partition| partition["end"].as_u64().unwrap());
    assert_eq!(ends.sum::<u64>(), 2);
    let first = json!({
        "partition": 0, "leader": 1, "replicas": [1], "in_sync": [1], "earliest": 0,
        "end": partitions[0]["end"],
    });
    assert_eq!(partitions[0], first);
    let text = tools.run("topics describe T").done();
    assert!(text.text().contains("retention.ms") && text.text().contains("86400000"), "{text:#?}");

    assert_eq!(tools.run("topics delete T").done().text(), format!("deleted topic {name}\n"));
    for line in ["topics delete T", "topics describe T", "produce T", "consume T"] {
        tools.run(line).refused(1, &["no topic", &name, "online-recall topics create"]);
    }
}

#[test]
fn a_configuration_names_servers_and_topics() {
    let tools = Tools::make(1);
    let Topics { servers, clicks, articles, .. } = &tools.topics;
    tools.place.write(
        "job.toml",
        format!(
            "[kafka]\nclicks = \"{clicks}-job\"\narticles = \"{articles}-job\"\n\
             [kafka.properties]\n\"bootstrap.servers\" = \"{servers}\"\n"
        ),
    );
    let made = tools.place.run("topics create --partitions 2 --config job.toml").done();
    assert_eq!(made.text(), format!("made topic {clicks}-job\nmade topic {articles}-job\n"));
    let described = tools.place.run("topics describe --config job.toml --json").done().json();
    assert_eq!(described[1]["topic"], format!("{articles}-job"));
    tools
        .place
        .run("topics list --config job.toml --set kafka.click=x")
        .refused(2, &["kafka.click"]);
}

#[test]
fn wrong_usage_of_the_tools_ends_with_2_and_a_broker_that_is_away_with_1() {
    let place = Place::empty();
    place.write("bad.properties", "security.protocol=SSL\nssl.truststore.location=/ca.jks\n");
    place.write("odd.properties", "sasl.kerberos.service.name=kafka\n");
    for (line, said) in [
        ("topics", "Usage"),
        ("topics list", "--bootstrap-server"),
        ("topics create --bootstrap-server 127.0.0.1:1", "TOPIC"),
        ("topics create t --partitions 0 --bootstrap-server 127.0.0.1:1", "0"),
        ("topics create t --setting a --bootstrap-server 127.0.0.1:1", "NAME=VALUE"),
        ("produce --bootstrap-server 127.0.0.1:1", "TOPIC"),
        ("produce t --compression rar --bootstrap-server 127.0.0.1:1", "rar"),
        ("produce t f --file-names . --bootstrap-server 127.0.0.1:1", "--file-names"),
        (
            "consume t --offset 1 --from-beginning --bootstrap-server 127.0.0.1:1",
            "--from-beginning",
        ),
        ("consume t --since now --bootstrap-server 127.0.0.1:1", "--since"),
        ("consume t --json --bootstrap-server 127.0.0.1:1", "--lag"),
        ("consume t --config gone.toml --bootstrap-server 127.0.0.1:1", "--config"),
        ("consume t --config gone.toml", "gone.toml"),
        (
            "consume t --bootstrap-server 127.0.0.1:1 --command-config bad.properties",
            "ssl.truststore.type",
        ),
        (
            "consume t --bootstrap-server 127.0.0.1:1 --command-config odd.properties",
            "sasl.kerberos.service.name",
        ),
        ("consume t --bootstrap-server 127.0.0.1:1 --command-config gone", "gone"),
    ] {
        place.run(line).refused(2, &[said]);
    }
    for line in ["topics list", "topics create t", "produce t", "consume t --max 1"] {
        let line = format!("{line} --bootstrap-server 127.0.0.1:1");
        place.run(&line).refused(1, &["127.0.0.1:1", "refused"]);
    }
}

// produce and consume ------------------------------------------------------------------------------

#[test]
fn what_consume_prints_kafkas_console_consumer_prints_and_produce_and_replay_read() {
    let tools = Tools::make(1);
    let lines = [
        format!("CreateTime:1554891332000\t{CLICK}\r"),
        "CreateTime:7\ta\tb".to_owned(),
        "CreateTime:8\t".to_owned(),
        "CreateTime:9\tü € 𝄞".to_owned(),
    ];
    tools.place.write("sent.log", lines.join("\n"));
    tools.run("produce T sent.log").done();
    let printed = tools.run("consume T --from-beginning --timestamps --max 4").done();
    assert_eq!(printed.text(), lines.join("\n").replace('\r', "") + "\n");
    let theirs = servers::kafka().tool(&[
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "--bootstrap-server",
        &tools.topics.servers,
        "--topic",
        &tools.topics.clicks,
        "--from-beginning",
        "--max-messages",
        "4",
        "--property",
        "print.timestamp=true",
    ]);
    assert_eq!(printed.text(), theirs);

    tools.place.write("day.log", &printed.printed);
    tools.run("produce T day.log").done();
    let again = tools.run("consume T --offset 4 --timestamps --max 4").done();
    assert_eq!(again.printed, printed.printed);
    let replayed = tools.place.run("replay day.log --store s --json").done().json();
    assert_eq!((&replayed["hits"], &replayed["dead_letters"]["empty"]), (&json!(1), &json!(1)));
    assert_eq!(replayed["dead_letters"]["not_json"], 2);
}

#[test]
fn a_consumer_begins_where_it_is_told() {
    let tools = Tools::make(2);
    let producer = tools.topics.producer(&[]);
    for number in 0..10_i32 {
        let (value, date) = (number.to_string(), Some(1_000 * i64::from(number + 1)));
        producer.send(&tools.topics.clicks, number % 2, Some(value.as_bytes()), date);
    }
    producer.flush();
    let sorted = |line: &str| {
        let outcome = tools.run(line).done();
        let mut lines: Vec<_> = outcome.text().lines().map(str::to_owned).collect();
        lines.sort();
        lines.join(" ")
    };
    assert_eq!(sorted("consume T --from-beginning --max 10"), "0 1 2 3 4 5 6 7 8 9");
    assert_eq!(sorted("consume T --from-beginning --partition 1 --max 5"), "1 3 5 7 9");
    assert_eq!(sorted("consume T --offset 4 --max 2"), "8 9");
    assert_eq!(sorted("consume T --since 1970-01-01T00:00:07.5Z --max 3"), "7 8 9");
    let line = "consume T --since 1970-01-01T00:00:07.5Z --partition 0 --max 1";
    assert_eq!(sorted(line), "8");
    let stamped = tools.run("consume T --offset 4 --partition 1 --timestamps --max 1").done();
    assert_eq!(stamped.text(), "CreateTime:10000\t9\n");
    tools.run("consume T --offset 6").refused(1, &["no offset 6", "0", "5"]);
    tools.run("consume T --partition 2").refused(1, &["partition 2", "only 2"]);
}

#[test]
fn a_consumer_ends_cleanly_by_a_signal_or_when_nobody_reads() {
    let tools = Tools::make(1);
    for signal in ["INT", "TERM", "none"] {
        let line = tools.line("consume T");
        let mut child = program::command(tools.place.folder(), line.split(' ')).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        // It begins with the next message: one is sent until it has begun.
        let producer = tools.topics.producer(&[]);
        let mut first = [0; 1];
        std::thread::scope(|threads| {
            let read = threads.spawn(|| out.read_exact(&mut first).unwrap());
            wait_for("a message", || {
                producer.send(&tools.topics.clicks, 0, Some(b"m"), None);
                producer.flush();
                read.is_finished().then_some(())
            });
        });
        assert_eq!(&first, b"m");
        if signal == "none" {
            drop(out);
            // What is printed next finds nobody.
            producer.send(&tools.topics.clicks, 0, Some(b"m"), None);
            producer.flush();
        } else {
            let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
            let signal = match signal {
                "INT" => rustix::process::Signal::INT,
                _ => rustix::process::Signal::TERM,
            };
            rustix::process::kill_process(pid, signal).unwrap();
        }
        let outcome = program::outcome_of(child, line).done();
        assert_eq!(outcome.log, "");
    }
}

#[test]
fn a_producer_whose_servers_stand_still_waits_after_a_signal_and_not_after_a_second_one() {
    let waits = |child: &mut std::process::Child| {
        // Had it not waited, it would be gone by then.
        std::thread::park_timeout(std::time::Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "it does not wait");
    };
    let proxy = Proxy::start(0);
    let server = Server::start("kafka", &[("PROXY", &proxy.port().to_string())]);
    proxy.lead_to(&format!("127.0.0.1:{}", server.port() + 3));
    let topics = Topics::make(&server.address(), 1, 1);
    let member = topics.member("whoever-looks");
    let place = Place::empty();
    let args = ["produce", &*topics.clicks, "--bootstrap-server", &proxy.address()];
    let begin = |number| {
        let mut command = program::command(place.folder(), args);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut lines = child.stdin.take().unwrap();
        lines.write_all(b"first\n").unwrap();
        wait_for("the first line", || {
            let (_, end) = member.fetch_watermarks(&topics.clicks, 0, LONG).unwrap();
            (end == number).then_some(())
        });
        (child, lines)
    };
    let terminate = |child: &std::process::Child| {
        let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    };
    // All is taken, and not all is written.
    let (mut child, mut lines) = begin(1);
    let held = proxy.counts().held;
    proxy.fault(Fault::Hold);
    lines.write_all(b"second\n").unwrap();
    drop(lines);
    proxy.until(|counts| counts.held > held);
    terminate(&child);
    waits(&mut child);
    proxy.pass();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (_, end) = member.fetch_watermarks(&topics.clicks, 0, LONG).unwrap();
    assert_eq!(end, 2);

    let (mut child, mut lines) = begin(3);
    let held = proxy.counts().held;
    proxy.fault(Fault::Hold);
    std::thread::scope(|threads| {
        // More than there is room for: it fails when nobody reads any more.
        threads.spawn(move || {
            let line = [&[b'x'; 9999][..], b"\n"].concat();
            while lines.write_all(&line).is_ok() {}
        });
        proxy.until(|counts| counts.held > held);
        terminate(&child);
        waits(&mut child);
        terminate(&child);
        let ended = wait_for("its end", || child.try_wait().unwrap());
        assert_eq!(ended.signal(), Some(15), "{ended}");
    });
}

#[test]
fn keys_go_where_a_producer_in_java_sends_them() {
    let tools = Tools::make(7);
    let keys: Vec<_> = (0..200).map(|number| format!("user-{number}-é")).collect();
    let lines: String = keys.iter().map(|key| format!("{key}::{key}::x\n")).collect();
    tools.run_with_input("produce T --key-separator ::", lines.as_bytes()).done();
    let mut found = BTreeMap::new();
    for partition in 0..7 {
        let described = tools.run("topics describe T --json").done().json();
        let count = described["partitions"][partition]["end"].as_u64().unwrap();
        if count > 0 {
            let line = format!("consume T --from-beginning --partition {partition} --max {count}");
            let printed = tools.run(&line).done();
            found.extend(printed.text().lines().map(|it| (it.to_owned(), partition as u32)));
        }
    }
    let expected: BTreeMap<_, _> = keys
        .iter()
        .map(|key| (format!("{key}::x"), (murmur2(key.as_bytes()) & 0x7fff_ffff) % 7))
        .collect();
    assert_eq!(found, expected);
}

/// The hash of a key as Kafka's producer in Java has it.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().unwrap()).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (nth, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * nth);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[test]
fn a_line_that_is_not_as_it_should_be_ends_sending_with_its_number() {
    let tools = Tools::make(1);
    let json = b"{\"a\":1}\nCreateTime:5\t[]\nno json\n{}\n";
    tools.run_with_input("produce T --json", json).refused(1, &["line 3", "JSON"]);
    let keys = b"k:v\nk\n";
    tools.run_with_input("produce T --key-separator :", keys).refused(1, &["line 2", "\":\""]);
    let sent = tools.run("consume T --from-beginning --max 3").done();
    assert_eq!(sent.text(), "{\"a\":1}\n[]\nv\n", "what stood before is sent");
    tools.run("produce T gone.log").refused(1, &["gone.log"]);
}

#[test]
fn files_packed_or_not_and_file_names_are_sent_with_any_compression() {
    let tools = Tools::make(1);
    let many: String = (0..20_000).map(|number| format!("{number} {CLICK}\n")).collect();
    tools.place.write("many.log", &many);
    let packed = std::process::Command::new("gzip")
        .args(["-k", "many.log"])
        .current_dir(tools.place.folder())
        .status();
    assert!(packed.unwrap().success());
    for kind in ["none", "gzip", "snappy", "lz4", "zstd"] {
        tools.run(&format!("produce T many.log.gz --compression {kind}")).done();
    }
    tools.run("produce T many.log many.log.gz").done();
    let printed = tools.run("consume T --from-beginning --max 140000").done();
    assert!(printed.text() == many.repeat(7), "all lines, in order");

    tools.place.write("in/b.jpg", "");
    tools.place.write("in/a\r", "");
    tools.place.write("in/CreateTime:1\tc", "");
    tools.place.write("in/below/d", "");
    tools.run("produce T --file-names in").done();
    let printed = tools.run("consume T --offset 140000 --max 3").done();
    assert_eq!(printed.text(), "CreateTime:1\tc\na\r\nb.jpg\n");
}

#[test]
fn the_lag_of_a_group_is_what_it_has_not_committed() {
    use rdkafka::consumer::{CommitMode, Consumer};
    let tools = Tools::make(2);
    tools.run_with_input("produce T", b"a\nb\nc\n").done();
    let group = tools.topics.clicks.clone();
    let line = format!("consume T --lag {group} --json");
    let lag = |committed: Option<u64>| {
        let found = tools.run(&line).done().json();
        let of = |n: usize| (found[n]["committed"].as_u64(), found[n]["lag"].as_u64());
        assert_eq!(of(0).0, committed);
        assert_eq!(of(1), (None, None));
        let end = found[0]["end"].as_u64().unwrap();
        assert_eq!(of(0).1, committed.map(|committed| end - committed));
    };
    lag(None);
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(&group, 0, rdkafka::Offset::Offset(0)).unwrap();
    tools.topics.member(&group).commit(&list, CommitMode::Sync).unwrap();
    lag(Some(0));
    let text = tools.run(&format!("consume T --lag {group}")).done();
    assert!(text.text().contains("lag of group") && text.text().contains("committed"), "{text:#?}");
}

#[test]
fn a_file_of_properties_as_kafkas_tools_take_it_opens_a_broker_with_tls_and_a_password() {
    let broker = Server::start("kafka", &[("TLS", "1")]);
    let place = Place::empty();
    let authority = broker.data().join("tls/ca.pem");
    let properties = |password: &str| {
        format!(
            "# as for kafka-topics.sh\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n\
             sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  \
             username=\"alice\" password=\"{password}\";\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\nrequest.timeout.ms=20000\n",
            authority.display()
        )
    };
    place.write("good.properties", properties("alice-secret"));
    place.write("bad.properties", properties("guess"));
    let tls = format!("--bootstrap-server 127.0.0.1:{} --command-config", broker.port() + 2);
    place.run(&format!("topics create t --partitions 1 {tls} good.properties")).done();
    place.write("a.log", "a\nb\n");
    place.run(&format!("produce t a.log {tls} good.properties")).done();
    let printed = place.run(&format!("consume t --from-beginning --max 2 {tls} good.properties"));
    assert_eq!(printed.done().text(), "a\nb\n");
    let refused = place.run(&format!("consume t --max 1 {tls} bad.properties"));
    let refused = refused.refused(1, &["uthentication"]);
    assert!(!refused.log.contains("guess"), "{refused:#?}");
    // The command that mends it is one that works as it stands.
    let missing = place.run(&format!("consume gone --max 1 {tls} good.properties"));
    missing.refused(1, &[&format!("topics create gone --partitions 4 {tls} good.properties")]);
    // Kafka's own tools read the same file.
    let servers = format!("127.0.0.1:{}", broker.port() + 2);
    let path = place.path("good.properties");
    let listed = broker.tool(&[
        "org.apache.kafka.tools.TopicCommand",
        "--bootstrap-server",
        &servers,
        "--command-config",
        path.to_str().unwrap(),
        "--list",
    ]);
    assert!(listed.lines().any(|line| line == "t"), "{listed}");
}

#[test]
fn the_tools_have_help_with_examples() {
    let place = Place::empty();
    for command in
        ["topics create", "topics list", "topics describe", "topics delete", "produce", "consume"]
    {
        let help = place.run(&format!("{command} --help")).done();
        let (_, after) = help.text().split_once("Example").expect("examples");
        assert!(after.contains(&format!("online-recall {command}")), "{help:#?}");
    }
}

#[test]
fn a_broker_killed_while_lines_are_sent_costs_none_and_none_twice() {
    let broker = Server::start("kafka", &[]);
    let topics = Topics::make(&broker.address(), 3, 1);
    let place = Place::empty();
    let line = format!("produce {} --bootstrap-server {}", topics.clicks, topics.servers);
    let mut command = program::command(place.folder(), line.split(' '));
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut send = |from: u32, to: u32| {
        use std::io::Write;
        let lines: String = (from..to).map(|number| format!("{number}\n")).collect();
        stdin.write_all(lines.as_bytes()).unwrap();
    };
    let written = |least: u64| {
        wait_for("messages", || {
            let line = format!("topics describe {} --json", topics.clicks);
            let found = place.run(&format!("{line} --bootstrap-server {}", topics.servers));
            let found = found.done().json();
            let partitions = found["partitions"].as_array().unwrap().iter();
            let sum: u64 = partitions.map(|one| one["end"].as_u64().unwrap()).sum();
            (sum >= least).then_some(())
        });
    };
    send(0, 50_000);
    written(10_000);
    broker.kill(&[]);
    send(50_000, 60_000);
    broker.restart(&[]);
    send(60_000, 100_000);
    drop(stdin);
    program::outcome_of(child, line).done();
    let line = format!("consume {} --from-beginning --max 100000", topics.clicks);
    let printed = place.run(&format!("{line} --bootstrap-server {}", topics.servers)).done();
    let mut numbers: Vec<u32> = printed.text().lines().map(|it| it.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..100_000), "each once");
    written(100_000);
}
