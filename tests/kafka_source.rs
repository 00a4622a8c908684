//! Topics become epochs, on a real broker: what is read, what is read again, and what is refused.
//!
//! The tests drive the source as the job does, by the feed alone; what becomes of epochs is not theirs.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic is a test's verdict, and what is printed is its report"
)]

#[path = "kafka_source/faults.rs"]
mod faults;
#[path = "kafka_source/gaps.rs"]
mod gaps;
#[path = "kafka_source/reading.rs"]
mod reading;

use std::collections::{BTreeMap, BTreeSet};

use dataflows::Epoch;
use online_recall::decode::MAX_RECORD;
use online_recall::metrics;
use online_recall::source::{Position, Topic};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use reading::{Run, settled, wait_for_lag};
use testing::kafka::{LONG, SHORT, Topics, wait_for};
use testing::servers;

/// Topics of a test's own, on the broker that all tests share.
fn topics(clicks: i32, articles: i32) -> Topics {
    Topics::make(&servers::kafka().address(), clicks, articles)
}

#[test]
fn every_record_of_every_partition_is_read_once_with_its_place_date_and_bytes() {
    let topics = topics(4, 2);
    let mut sent = Vec::new();
    for (nth, packed) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let producer = topics.producer(&[("compression.type", packed)]);
        for number in 0..400 {
            let (partition, date) = (number % 4, 1_000 + i64::from(number));
            let value = format!("{packed} {number}");
            producer.send(&topics.clicks, partition, Some(value.as_bytes()), Some(date));
            let place =
                format!("{}/{partition}/{}", topics.clicks, nth * 100 + number as usize / 4);
            sent.push((place, Some(date as u64), value.into_bytes()));
        }
        producer.send(&topics.articles, 1, None, Some(5));
        sent.push((format!("{}/1/{nth}", topics.articles), Some(5), Vec::new()));
        producer.flush();
    }
    // Five epochs, which end by their number of records alone.
    let run = Run::start(&settled(&topics, &["epoch.records=401", "epoch.interval=1h"]));
    let read = run.read(2005);
    run.feed.finish();
    let read = run.finish(read);

    let mut found: Vec<_> = read.records().map(|it| (it.place, it.timestamp, it.bytes)).collect();
    found.sort();
    sent.sort();
    assert_eq!(found, sent);
    let sizes: Vec<_> = read.epochs.values().map(|epoch| epoch.records.len()).collect();
    assert_eq!(sizes, [401; 5]);
    let mut reached = BTreeMap::new();
    for (epoch, found) in &read.epochs {
        assert!(!found.ranges.is_empty(), "{epoch}");
        for range in &found.ranges {
            let before = reached.insert(range.partition.clone(), range.to).unwrap_or(0);
            assert_eq!(range.from, before, "{epoch}");
        }
    }
}

#[test]
fn epochs_end_at_ticks_and_an_epoch_without_a_record_is_none() {
    let topics = topics(1, 1);
    let run = Run::start(&settled(&topics, &["epoch.interval=30ms"]));
    let producer = topics.producer(&[]);
    for number in 1..=3 {
        producer.send(&topics.clicks, 0, Some(b"a"), None);
        producer.flush();
        // It is closed by time alone; and numbered without a gap, however long nothing came.
        let read = run.read(number);
        assert_eq!(
            read.epochs.keys().copied().collect::<Vec<_>>(),
            (1..=number).collect::<Vec<_>>()
        );
        run.wait_until_fresh();
    }
    run.feed.finish();
    let read = run.end().unwrap();
    assert_eq!(read.epochs.len(), 3);
}

#[test]
fn what_is_bound_is_read_again_exactly_and_then_it_goes_on() {
    let topics = topics(3, 1);
    let producer = topics.producer(&[]);
    let send = |from: i32, to: i32| {
        for number in from..to {
            let value = number.to_string();
            producer.send(&topics.clicks, number % 3, Some(value.as_bytes()), Some(number.into()));
        }
        producer.send(&topics.articles, 0, Some(b"18,1"), None);
        producer.flush();
    };
    send(0, 1000);
    let config = settled(&topics, &["epoch.records=90"]);
    let begun = config.reached();
    let run = Run::start_at(&config, &begun, &[], Epoch(0));
    let first = run.read(1001);
    run.feed.finish();
    let first = run.finish(first);
    let bindings = first.bindings();
    assert!(bindings.len() >= 11);

    // More has come since, and epochs would be others now.
    send(1000, 1500);
    let config = settled(&topics, &["epoch.records=1000"]);
    for marked in [0, 4, bindings.len()] {
        let mut reached = begun.clone();
        for range in bindings[..marked].iter().flat_map(|binding| &binding.ranges) {
            let of = (range.topic, range.partition.clone());
            reached.insert(of, (range.to, range.position.clone()));
        }
        let mark = Epoch(marked as u64);
        let run = Run::start_at(&config, &reached, &bindings[marked..], mark);
        let before: usize = first.epochs.values().take(marked).map(|it| it.records.len()).sum();
        let again = run.read(1502 - before as u64);
        run.feed.finish();
        let again = run.finish(again);
        for (epoch, first) in first.epochs.iter().skip(marked) {
            assert_eq!(again.epochs[epoch].ranges, first.ranges, "{epoch}");
            assert_eq!(again.epochs[epoch].sorted(), first.sorted(), "{epoch}");
        }
        let later = again.epochs.iter().filter(|(epoch, _)| **epoch > bindings.len() as u64);
        assert_eq!(later.map(|(_, it)| it.records.len()).sum::<usize>(), 501);
    }
}

#[test]
fn what_a_transaction_has_not_committed_is_not_read() {
    let topics = topics(1, 1);
    let producer = topics.producer(&[("transactional.id", &topics.clicks)]);
    producer.client.init_transactions(LONG).unwrap();
    for (commit, value) in [(true, "a"), (false, "b"), (false, "c"), (true, "d"), (false, "e")] {
        producer.client.begin_transaction().unwrap();
        producer.send(&topics.clicks, 0, Some(value.as_bytes()), None);
        producer.flush();
        if commit {
            producer.client.commit_transaction(LONG).unwrap();
        } else {
            producer.client.abort_transaction(LONG).unwrap();
        }
    }
    let config = settled(&topics, &[]);
    let begun = config.reached();
    let run = Run::start_at(&config, &begun, &[], Epoch(0));
    let read = run.read(2);
    // What stands behind the last record is passed too: nothing is left to be read.
    run.wait_until_fresh();
    wait_for_lag(&topics, 0, 0);
    run.feed.finish();
    let read = run.finish(read);
    let values: Vec<_> = read.records().map(|it| it.bytes).collect();
    assert_eq!(values, [b"a", b"d"]);
    // Offsets: a, its end, b, its end, c, its end, d.
    let ranges: Vec<_> = read.epochs.values().flat_map(|it| &it.ranges).collect();
    assert_eq!((ranges[0].from, ranges.last().unwrap().to), (0, 7));

    // Read again, the range is whole though its end is no record's.
    let bindings = read.bindings();
    let run = Run::start_at(&config, &begun, &bindings, Epoch(0));
    let again = run.read(2);
    run.feed.finish();
    let again = run.finish(again);
    assert_eq!(again.epochs.len(), read.epochs.len());
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let topics = topics(1, 1);
    let run = Run::start(&settled(&topics, &["kafka.start=latest"]));
    topics.grow(3);
    let producer = topics.producer(&[]);
    for partition in [2, 1, 0] {
        producer.send(&topics.clicks, partition, Some(b"a"), None);
    }
    producer.flush();
    let read = run.read(3);
    run.feed.finish();
    let read = run.finish(read);
    let mut places: Vec<_> = read.records().map(|it| it.place).collect();
    places.sort();
    assert_eq!(places, [0, 1, 2].map(|number| format!("{}/{number}/0", topics.clicks)));
    // Whenever a partition is found, its rank among the others is the same.
    let ranks = read.records().map(|it| it.ordinal).collect::<BTreeSet<_>>();
    assert_eq!(ranks.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_start_is_where_it_is_said_to_be() {
    let topics = topics(2, 1);
    let producer = topics.producer(&[]);
    for number in 0..10 {
        producer.send(&topics.clicks, 0, Some(b"a"), Some(1_000 * (number + 1)));
    }
    producer.flush();
    for (start, offset) in [
        ("earliest", 0),
        ("latest", 10),
        ("1970-01-01T00:00:03.5Z", 3),
        ("2100-01-01T00:00:00Z", 10),
        ("job:other", 0),
    ] {
        let reached = settled(&topics, &[&format!("kafka.start={start}")]).reached();
        assert_eq!(reached.len(), 3);
        assert!(reached.values().all(|(_, position)| *position == Position::Topic(0)));
        let clicks = (Topic::Clicks, format!("{}/0", topics.clicks).into_bytes());
        assert_eq!(reached[&clicks].0, offset, "{start}");
    }
}

#[test]
fn a_topic_that_there_is_not_is_an_error_that_names_the_command_which_makes_it() {
    let mut topics = topics(1, 1);
    topics.clicks.push_str("-missing");
    let error = settled(&topics, &[]).start().unwrap_err().to_string();
    let command = format!("online-recall topics create {}", topics.clicks);
    assert!(error.contains(&command), "{error}");
}

#[test]
fn an_epoch_of_large_records_is_closed_before_it_is_too_large() {
    let topics =
        Topics::make_with(&servers::kafka().address(), 1, 1, &[("max.message.bytes", "2000000")]);
    let producer = topics.producer(&[("message.max.bytes", "2000000")]);
    let large = vec![b'x'; 1 << 20];
    (0..60).for_each(|_| producer.send(&topics.clicks, 0, Some(&large), None));
    producer.flush();
    let run = Run::start(&settled(&topics, &["epoch.interval=1h", "epoch.records=1000000"]));
    let read = run.read(17);
    run.feed.finish();
    run.end().unwrap();
    let sizes: Vec<_> = read.epochs.values().map(|it| it.records.len()).collect();
    assert!(sizes.iter().all(|size| (16..60).contains(size)), "{sizes:?}");
}

#[test]
fn one_busy_partition_among_idle_ones_keeps_nothing_stale() {
    let topics = topics(16, 1);
    let run = Run::start(&settled(&topics, &["epoch.interval=10ms"]));
    let producer = topics.producer(&[]);
    let fresh = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !fresh.load(std::sync::atomic::Ordering::Relaxed) {
                // One after another: never more than can be read.
                producer.send(&topics.clicks, 5, Some(b"a"), None);
                producer.flush();
            }
        });
        run.read(100);
        // It is fresh again and again, though a record is always under way.
        (0..3).for_each(|_| run.wait_until_fresh());
        fresh.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    producer.flush();
    run.feed.finish();
    run.end().unwrap();
}

#[test]
fn other_members_of_the_group_and_moved_offsets_change_nothing() {
    let topics = topics(2, 1);
    let producer = topics.producer(&[]);
    let send = |count: i32| {
        (0..count).for_each(|n| producer.send(&topics.clicks, n % 2, Some(b"a"), None));
        producer.flush();
    };
    send(100);
    let group = format!("kafka.properties.\"group.id\"={}", topics.clicks);
    let config = settled(&topics, &[&group]);
    let committed = |offsets: [i64; 2]| {
        let found = || (topics.committed(&topics.clicks, 2) == offsets).then_some(());
        wait_for("the group's offsets", found);
    };
    let run = Run::start(&config);
    run.read(100);
    run.tell_group();
    committed([50, 50]);

    // Another member takes all partitions, reads them, and sets the offsets back.
    let other = topics.member(&topics.clicks);
    other.subscribe(&[&topics.clicks]).unwrap();
    send(100);
    wait_for("the other member's record", || other.poll(SHORT).and_then(Result::ok).map(drop));
    let mut back = TopicPartitionList::new();
    for number in 0..2 {
        let offset = Offset::Offset(3);
        back.add_partition_offset(&topics.clicks, number, offset).unwrap();
    }
    other.commit(&back, CommitMode::Sync).unwrap();
    drop(back);
    committed([3, 3]);
    let read = run.read(200);
    run.tell_group();
    run.feed.finish();
    let read = run.finish(read);
    let offsets = read.records().map(|it| it.place).collect::<BTreeSet<_>>();
    assert_eq!((read.records().count(), offsets.len()), (200, 200), "each once");
    assert_eq!(read.reached(&config.reached()).len(), 3);
}

#[test]
fn a_message_of_ten_megabytes_is_cut_and_those_around_it_are_whole() {
    let topics =
        Topics::make_with(&servers::kafka().address(), 1, 1, &[("max.message.bytes", "12000000")]);
    let producer = topics.producer(&[("message.max.bytes", "12000000")]);
    let long = vec![b'x'; 10_000_000];
    for value in [&b"a"[..], &long, b"b", &long[..MAX_RECORD], b"c"] {
        producer.send(&topics.clicks, 0, Some(value), None);
    }
    producer.flush();
    let run = Run::start(&settled(&topics, &[]));
    let read = run.read(5);
    run.feed.finish();
    let read = run.finish(read);
    let lengths: Vec<_> = read.records().map(|it| it.bytes.len()).collect();
    assert_eq!(lengths, [1, MAX_RECORD + 1, 1, MAX_RECORD, 1]);
}

#[test]
fn while_no_epoch_may_be_begun_the_open_one_grows_to_its_bound_and_no_further() {
    let topics = topics(1, 1);
    let producer = topics.producer(&[]);
    let send = |count: i32| {
        (0..count).for_each(|_| producer.send(&topics.clicks, 0, Some(b"a"), None));
        producer.flush();
    };
    let sets = ["epoch.records=50", "epoch.in_flight=2", "epoch.interval=10ms"];
    let run = Run::start_unmarked(&settled(&topics, &sets));
    // Two epochs are in flight, and nobody marks them.
    for number in 1..=2 {
        send(1);
        run.read(number);
    }
    send(500);
    wait_for_lag(&topics, 0, 450);
    assert_eq!(run.read(2).epochs.len(), 2, "no third one is begun");
    run.mark(Epoch(1));
    let read = run.read(52);
    assert_eq!(read.epochs[&3].records.len(), 50, "it has grown over many ticks");
    let mut marked = 1;
    let read = wait_for("the rest", || {
        marked += 1;
        run.mark(Epoch(marked));
        Some(run.read(0)).filter(|read| read.records().count() == 502)
    });
    run.feed.finish();
    let read = run.finish(read);
    assert!(read.epochs.values().all(|it| it.records.len() <= 50));
}

#[test]
fn of_a_topic_that_is_not_read_any_more_only_what_was_bound_is_read() {
    let (old, new) = (topics(1, 1), topics(1, 1));
    let fill = |topics: &Topics, value: &str, count: i64| {
        let producer = topics.producer(&[]);
        for number in 0..count {
            producer.send(&topics.clicks, 0, Some(value.as_bytes()), Some(number));
        }
        producer.flush();
    };
    fill(&old, "bound", 10);
    let run = Run::start(&settled(&old, &[]));
    let read = run.read(10);
    run.feed.finish();
    let read = run.finish(read);
    let bindings = read.bindings();

    fill(&old, "late", 10);
    fill(&new, "new", 5);
    let config = settled(&new, &[]);
    let run = Run::start_at(&config, &config.reached(), &bindings, Epoch(0));
    run.read(15);
    let lag =
        |topics: &Topics| format!("lag_records{{topic=\"{}\",partition=\"0\"}}", topics.clicks);
    wait_for("a look at the new one", || metrics::text().contains(&lag(&new)).then_some(()));
    // Nobody asks for it any more: it may be deleted.
    wait_for("the old one to be left", || (!metrics::text().contains(&lag(&old))).then_some(()));
    fill(&new, "new", 5);
    let read = run.read(20);
    run.feed.finish();
    let mut counts = BTreeMap::new();
    for record in run.finish(read).records() {
        *counts.entry(String::from_utf8(record.bytes).unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("bound".to_owned(), 10), ("new".to_owned(), 10)]));
}

#[test]
fn freshness_moves_on_while_there_is_always_more_to_read() {
    let topics = topics(1, 1);
    let producer = topics.producer(&[]);
    producer.send(&topics.articles, 0, Some(b"18,1"), Some(9_000));
    for date in 1_000..5_000 {
        producer.send(&topics.clicks, 0, Some(b"a"), Some(date));
    }
    producer.flush();
    let sets = ["epoch.interval=1h", "epoch.records=10", "epoch.in_flight=2"];
    let run = Run::start_unmarked(&settled(&topics, &sets));
    // Epoch after epoch is marked, and no more than the next two are read.
    let told = (1..=100).find_map(|epoch| {
        run.read(10 * epoch);
        run.mark(Epoch(epoch));
        run.feed.freshness()
    });
    assert!(told.is_some_and(|time| (1_000..3_000).contains(&time)), "{told:?}");
    run.feed.finish();
    run.end().unwrap();
}

#[test]
fn all_is_fresh_that_is_marked_up_to_now_where_nothing_is_left() {
    let topics = topics(2, 1);
    let producer = topics.producer(&[]);
    producer.send(&topics.clicks, 0, Some(b"a"), Some(1_000));
    producer.flush();
    let before = online_recall::ledger::now();
    let run = Run::start_unmarked(&settled(&topics, &["epoch.interval=10ms"]));
    run.read(1);
    assert!(run.feed.freshness().is_none_or(|time| time < before), "epoch 1 is not marked");
    run.mark(Epoch(1));
    // One partition never had a record, the other none of late: both are as fresh as now is.
    run.wait_until_fresh();
    run.feed.finish();
    run.end().unwrap();
}
