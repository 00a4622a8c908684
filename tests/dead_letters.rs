//! Every reason for a dead letter, end to end: the record's place, reason and bytes in the export, and
//! the counts; the records around it count as if it were not there (*nothing-lost*).
//!
//! The expected lines are written out. Every other shape of record is for `tests/decode.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::collections::BTreeMap;

use testing::exported::Exported;
use testing::{folder, program};

const GOOD: &[u8] =
    br#"{"channelId":18,"param":{"action":"click","userId":"2","articleId":"18005"}}"#;

/// A click with this user, JSON text, and this article.
fn click(user: &str, article: &str) -> String {
    format!(
        r#"{{"channelId":1,"param":{{"action":"share","userId":{user},"articleId":{article}}}}}"#
    )
}

#[test]
fn every_reason_is_kept_with_place_and_bytes_and_counted() {
    let limit = 1 << 20;
    let long_user = format!("\"{}\"", "x".repeat(257));
    // Reason, record, and the bytes as they stand in the export, where they differ.
    let clicks: Vec<(&str, Vec<u8>, Option<String>)> = vec![
        ("too_long", vec![b'a'; limit + 1], Some("a".repeat(1024))),
        ("too_long", b"\xff\t".repeat(limit), Some(r"\xff\t".repeat(512))),
        ("empty", b"".to_vec(), None),
        ("empty", b" \t ".to_vec(), Some(r" \t ".to_owned())),
        ("empty", vec![b' '; limit], Some(" ".repeat(limit))),
        (
            "not_utf8",
            b"{\"a\":\"\xc0\xaf\\\x00\"}".to_vec(),
            Some(r#"{"a":"\xc0\xaf\\\x00"}"#.to_owned()),
        ),
        ("not_json", b"hello".to_vec(), None),
        ("not_json", [GOOD, GOOD].concat(), None),
        ("not_json", b"\xef\xbb\xbf{}".to_vec(), None),
        ("no_channel", b"{}\r".to_vec(), None),
        ("not_json", br#"{"channelId":NaN}"#.to_vec(), None),
        ("no_channel", b"{}".to_vec(), None),
        ("bad_channel", br#"{"channelId":-1}"#.to_vec(), None),
        ("bad_channel", br#"{"channelId":null,"param":{"action":"read"}}"#.to_vec(), None),
        ("bad_channel", br#"{"channelId":2147483648}"#.to_vec(), None),
        ("no_action", br#"{"channelId":0}"#.to_vec(), None),
        ("no_action", br#"{"channelId":0,"param":{"action":7}}"#.to_vec(), None),
        (
            "no_user",
            br#"{"channelId":0,"param":{"action":"click","articleId":"5"}}"#.to_vec(),
            None,
        ),
        ("bad_user", click(r#""""#, "5").into_bytes(), None),
        ("bad_user", click(&long_user, "5").into_bytes(), None),
        ("bad_user", click(r#""\ud800""#, "5").into_bytes(), Some(click(r#""\\ud800""#, "5"))),
        (
            "no_article",
            br#"{"channelId":0,"param":{"action":"click","userId":"5"}}"#.to_vec(),
            None,
        ),
        ("bad_article", click("7", r#""[1, 2]""#).into_bytes(), None),
        ("bad_article", click("7", "9223372036854775808").into_bytes(), None),
    ];
    let articles: Vec<(&str, Vec<u8>, Option<String>)> = vec![
        ("bad_new_article", b"18".to_vec(), None),
        ("bad_new_article", b"18,1,2".to_vec(), None),
        ("bad_new_article", b"18;\x7f".to_vec(), Some(r"18;\x7f".to_owned())),
        ("empty", b"\t".to_vec(), Some(r"\t".to_owned())),
        ("not_utf8", b"18,\xe7\x94".to_vec(), Some(r"18,\xe7\x94".to_owned())),
        ("too_long", vec![b'1'; limit + 1], Some("1".repeat(1024))),
    ];

    let place = folder();
    let mut expected = Vec::new();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (file, good, letters) in
        [("c\tlicks.log", GOOD, clicks), ("articles.log", b"18,5", articles)]
    {
        let mut text = Vec::new();
        for (number, (reason, record, shown)) in letters.into_iter().enumerate() {
            // A good record stands before each; half of the bad ones have a timestamp before them.
            let stamp: &[u8] = if number % 2 == 1 { b"CreateTime:1554945332001\t" } else { b"" };
            text.extend([good, b"\r\n", stamp, &record, b"\n"].concat());
            // The carriage return before the newline belongs to it.
            let record = record.strip_suffix(b"\r").unwrap_or(&record);
            let shown = shown.unwrap_or_else(|| String::from_utf8(record.to_vec()).unwrap());
            let file = file.replace('\t', r"\t");
            expected.push(format!("{file}:{}\t{reason}\t{shown}\n", 2 * number + 2));
            *counts.entry(reason).or_default() += 1;
        }
        std::fs::write(place.path().join(file), text).unwrap();
    }
    expected.sort();

    let args = ["replay", "c\tlicks.log", "--articles", "articles.log", "--store", "s", "-w", "2"];
    let more = ["--epoch-records", "5", "--json"];
    let summary = program::run(place.path(), args.iter().chain(&more)).done().json();
    let exported = Exported::of(&place.path().join("s"));
    let found = std::str::from_utf8(exported.file("dead_letters.tsv")).unwrap();
    for (found, expected) in found.split_inclusive('\n').zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), expected.len());
    for (reason, count) in summary["dead_letters"].as_object().unwrap() {
        assert_eq!(*count, counts.get(&**reason).copied().unwrap_or(0), "{reason}");
        assert!(*count != 0, "{reason} has no case here");
    }
    // All others are unaffected.
    assert_eq!(summary["hits"], 24);
    assert_eq!(exported.file("hot.tsv"), b"18\t18005\t24\n");
    assert_eq!(summary["new_articles"], 6);
    assert!(exported.file("new.tsv").starts_with(b"18\t5\t"));
}

#[test]
fn a_file_that_takes_the_path_of_a_renamed_one_overwrites_none_of_its_dead_letters() {
    let place = folder();
    let [log, renamed] = ["clicks.log", "clicks.log.1"].map(|name| place.path().join(name));
    let replay = |args: &[&str]| {
        let args = ["replay", "--store", "s"].iter().chain(args);
        program::run(place.path(), args).done();
    };
    std::fs::write(&log, "zwei\nbad\n").unwrap();
    replay(&["clicks.log"]);
    std::fs::rename(&log, &renamed).unwrap();
    std::fs::write(&renamed, "zwei\nbad\nmore\n").unwrap();
    replay(&["clicks.log.1"]);
    std::fs::write(&log, "eins\nbad\n").unwrap();
    replay(&["clicks.log"]);
    let exported = Exported::of(&place.path().join("s"));
    let expected = "clicks.log.1:3\tnot_json\tmore\n\
                    clicks.log:1\tnot_json\teins\nclicks.log:1\tnot_json\tzwei\n\
                    clicks.log:2\tnot_json\tbad\nclicks.log:2\tnot_json\tbad\n";
    assert_eq!(std::str::from_utf8(exported.file("dead_letters.tsv")).unwrap(), expected);
}

#[test]
fn a_file_that_is_read_as_both_topics_has_dead_letters_as_both() {
    let place = folder();
    std::fs::write(place.path().join("f"), b"\n\xff\n").unwrap();
    let line = "replay f --articles f --store s --json";
    let summary = program::run_line(place.path(), line).done().json();
    let exported = Exported::of(&place.path().join("s"));
    let expected = "f:1\tempty\t\nf:1\tempty\t\nf:2\tnot_utf8\t\\xff\nf:2\tnot_utf8\t\\xff\n";
    assert_eq!(std::str::from_utf8(exported.file("dead_letters.tsv")).unwrap(), expected);
    assert_eq!(summary["dead_letters"]["empty"], 2);
}
