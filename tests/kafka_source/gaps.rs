//! Records that are needed are gone, or their topic was made anew: an error that says so, or passed over.

use dataflows::Epoch;
use online_recall::metrics;
use online_recall::source::kafka::Error;
use testing::kafka::Topics;

use super::reading::{Read, Run, settled};
use super::topics;

/// Fills the first partition of clicks.
fn fill(topics: &Topics, text: &str, count: i32) {
    fill_all(topics, text, 1, count);
}

/// Fills so many partitions of clicks in turn.
fn fill_all(topics: &Topics, text: &str, partitions: i32, count: i32) {
    let producer = topics.producer(&[]);
    for number in 0..count {
        let value = format!("{text} {number}");
        let partition = number % partitions;
        producer.send(&topics.clicks, partition, Some(value.as_bytes()), Some(number.into()));
    }
    producer.flush();
}

#[test]
fn records_that_are_gone_are_an_error_with_all_offsets_or_passed_over_and_counted() {
    let topics = topics(1, 1);
    let producer = topics.producer(&[]);
    for number in 0..100 {
        producer.send(&topics.clicks, 0, Some(number.to_string().as_bytes()), None);
    }
    producer.flush();
    // Only what is full is closed.
    let config = settled(&topics, &["epoch.records=10", "epoch.interval=1h"]);
    let begun = config.reached();
    let run = Run::start_at(&config, &begun, &[], Epoch(0));
    let first = run.read(100);
    run.feed.finish();
    let first = run.finish(first);
    let bindings = first.bindings();
    topics.delete_records(0, 25);
    let error = config.open(&begun, &[]).map(drop).unwrap_err();
    assert!(matches!(error, Error::Gap { wanted: 0, earliest: 25, .. }), "{error:?}");
    for said in [&*topics.clicks, "partition 0", "offset 0", "is 25", "on_gap"] {
        assert!(error.to_string().contains(said), "{said}: {error}");
    }

    let config = settled(&topics, &["epoch.records=10", "kafka.on_gap=skip"]);
    // Bound epochs are what is left of them; the one in the middle of the gap has half its records.
    let run = Run::start_at(&config, &begun, &bindings, Epoch(0));
    let read = run.read(75);
    run.feed.finish();
    let read = run.finish(read);
    let sizes: Vec<_> = read.epochs.values().map(|it| it.records.len()).collect();
    assert_eq!(sizes, [0, 0, 5, 10, 10, 10, 10, 10, 10, 10]);
    let counted = format!("gap_records_total{{topic=\"{}\",partition=\"0\"}} 25", topics.clicks);
    assert!(metrics::text().contains(&counted), "{}", metrics::text());
    // Where nothing was bound, the next range spans the gap.
    let run = Run::start_at(&config, &begun, &[], Epoch(0));
    let read = run.read(75);
    run.feed.finish();
    let read = run.finish(read);
    let range = &read.epochs[&1].ranges[0];
    // A tick may have closed it before it was full.
    assert!(range.from == 0 && (26..=35).contains(&range.to), "{range:?}");
}

#[test]
fn a_topic_that_was_made_anew_is_told_from_the_one_that_was_read() {
    let topics = topics(1, 1);
    fill(&topics, "old", 10);
    let config = settled(&topics, &[]);
    let run = Run::start(&config);
    let read = run.read(10);
    run.feed.finish();
    let read = run.finish(read);
    let reached = read.reached(&config.reached());
    config.open(&reached, &[]).unwrap();

    topics.make_anew(1);
    fill(&topics, "new", 5);
    let error = config.open(&reached, &[]).map(drop).unwrap_err();
    assert!(matches!(error, Error::Shrunk { wanted: 10, earliest: 0, end: 5, .. }), "{error:?}");
    // Bound epochs that end behind the end are not waited for, also where nothing was marked.
    let bindings = read.bindings();
    let run = Run::start_at(&config, &config.reached(), &bindings, Epoch(0));
    let error = run.end().unwrap_err();
    assert!(
        matches!(error, Error::Shrunk { wanted: 10, end: 5, .. } | Error::Anew { .. }),
        "{error:?}"
    );
    fill(&topics, "more", 15);
    let error = config.open(&reached, &[]).map(drop).unwrap_err();
    assert!(matches!(error, Error::Anew { wanted: 10, earliest: 0, .. }), "{error:?}");
    for said in [&*topics.clicks, "partition 0", "offset 10", "earliest offset is 0", "on_gap"] {
        assert!(error.to_string().contains(said), "{said}: {error}");
    }
    // Bound epochs of it are none of the new one's.
    let run = Run::start_at(&config, &config.reached(), &bindings, Epoch(0));
    assert!(matches!(run.end().unwrap_err(), Error::Anew { .. }));

    let config = settled(&topics, &["kafka.on_gap=skip"]);
    let run = Run::start_at(&config, &reached, &[], Epoch(0));
    let read = run.read(20);
    run.feed.finish();
    let values: Vec<_> = run.finish(read).records().map(|it| it.bytes).collect();
    assert_eq!(values[0], b"new 0", "a new topic is read from its beginning");
}

#[test]
fn epochs_that_are_bound_around_a_topic_made_anew_are_read_each_from_its_own() {
    let topics = topics(1, 1);
    fill(&topics, "old", 30);
    let config = settled(&topics, &["epoch.records=10", "epoch.interval=1h"]);
    let begun = config.reached();
    let run = Run::start(&config);
    let read = run.read(30);
    run.feed.finish();
    let old = run.finish(read);
    let done = old.reached(&begun);

    topics.make_anew(1);
    fill(&topics, "new", 20);
    let skips = settled(&topics, &["epoch.records=10", "epoch.interval=1h", "kafka.on_gap=skip"]);
    let run = Run::start_at(&skips, &done, &[], Epoch(3));
    let read = run.read(20);
    run.feed.finish();
    let new = run.finish(read);
    fill(&topics, "newest", 10);

    // Only the new ones are bound: nothing that is needed is gone.
    let run = Run::start_at(&config, &done, &new.bindings(), Epoch(3));
    let read = run.read(30);
    run.feed.finish();
    let read = run.finish(read);
    for (epoch, found) in &new.epochs {
        assert_eq!(read.epochs[epoch].sorted(), found.sorted(), "{epoch}");
    }
    let values: Vec<_> = read.epochs[&6].records.iter().map(|it| it.bytes.clone()).collect();
    assert_eq!(values.first().unwrap(), b"newest 0");

    // The old ones are bound too, and gone.
    let marked = Read { epochs: old.epochs.clone().into_iter().take(1).collect() };
    let all = [&old.bindings()[1..], &new.bindings()].concat();
    let run = Run::start_at(&skips, &marked.reached(&begun), &all, Epoch(1));
    let read = run.read(30);
    run.feed.finish();
    let read = run.finish(read);
    let sizes: Vec<_> = read.epochs.values().map(|it| it.records.len()).collect();
    assert_eq!(sizes, [0, 0, 10, 10, 10]);
    for (epoch, found) in &new.epochs {
        assert_eq!(read.epochs[epoch].sorted(), found.sorted(), "{epoch}");
    }
}

#[test]
fn a_topic_that_is_made_anew_while_it_is_read_stops_the_job_and_the_next_start() {
    let topics = topics(1, 1);
    let send = |count: i32| {
        let producer = topics.producer(&[]);
        (0..count).for_each(|_| producer.send(&topics.clicks, 0, Some(b"a"), Some(1)));
        producer.flush();
    };
    send(10);
    let config = settled(&topics, &[]);
    // The new one has fewer records, or more, which are the same to the bit: it is another all the same.
    for count in [3, 50] {
        let run = Run::start(&config);
        let before = run.read(1);
        topics.make_anew(1);
        send(count);
        let seen = run.seen();
        let error = run.end().unwrap_err();
        let told = matches!(error, Error::Shrunk { .. } | Error::Anew { .. } | Error::Kafka(_));
        assert!(told, "{error:?}");
        let reached = before.reached(&config.reached());
        let error = config.open(&reached, &[]).map(drop).unwrap_err();
        assert!(matches!(error, Error::Shrunk { .. } | Error::Anew { .. }), "{error:?}");
        // What was read of the new one before it was known to be another is of no use either.
        let reached = seen().reached(&config.reached());
        let error = config.open(&reached, &[]).map(drop).unwrap_err();
        assert!(matches!(error, Error::Shrunk { .. } | Error::Anew { .. }), "{error:?}");
    }
}

#[test]
fn a_topic_made_anew_with_fewer_partitions_is_an_error_or_passed_over_also_where_it_was_bound() {
    let topics = topics(3, 1);
    fill_all(&topics, "old", 3, 30);
    let config = settled(&topics, &["epoch.records=12"]);
    let begun = config.reached();
    let run = Run::start_at(&config, &begun, &[], Epoch(0));
    let first = run.read(30);
    run.feed.finish();
    let first = run.finish(first);
    // The first epoch is done; the others are bound.
    let bindings = first.bindings();
    let mut marked = first.clone();
    marked.epochs.retain(|epoch, _| *epoch == 1);
    let reached = marked.reached(&begun);

    topics.make_anew(1);
    fill(&topics, "new", 30);
    let error = config.open(&reached, &bindings[1..]).map(drop).unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error:?}");
    let config = settled(&topics, &["epoch.records=12", "kafka.on_gap=skip"]);
    let run = Run::start_at(&config, &reached, &bindings[1..], Epoch(1));
    let read = run.read(30);
    run.feed.finish();
    let read = run.finish(read);
    for binding in &bindings[1..] {
        let again = &read.epochs[&binding.epoch.0];
        assert_eq!(again.ranges, binding.ranges);
        assert!(again.records.is_empty(), "what was bound is gone");
    }
    let values: Vec<_> = read.records().map(|it| it.bytes).collect();
    assert_eq!(values.first().unwrap(), b"new 0");
}

#[test]
fn a_partition_that_is_gone_is_gone_for_all_that_is_bound_of_it() {
    let topics = topics(2, 1);
    fill_all(&topics, "old", 2, 20);
    let config = settled(&topics, &["kafka.on_gap=skip"]);
    let begun = config.reached();
    let run = Run::start(&config);
    let read = run.read(20);
    run.feed.finish();
    let old = run.finish(read);
    let last = *old.epochs.keys().last().unwrap();
    topics.make_anew(2);
    fill_all(&topics, "new", 2, 6);
    let run = Run::start_at(&config, &old.reached(&begun), &[], Epoch(last));
    let read = run.read(6);
    run.feed.finish();
    let new = run.finish(read);

    // Both are bound, and the second partition is in neither topic's successor.
    topics.make_anew(1);
    fill(&topics, "newest", 8);
    let bindings = [old.bindings(), new.bindings()].concat();
    let run = Run::start_at(&config, &begun, &bindings, Epoch(0));
    let read = run.read(8);
    run.feed.finish();
    let values: Vec<_> = run.finish(read).records().map(|it| it.bytes).collect();
    let expected: Vec<_> = (0..8).map(|nth| format!("newest {nth}").into_bytes()).collect();
    assert_eq!(values, expected);
}
