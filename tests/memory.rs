//! Poison: what could exceed memory or depth, and what could pile up at one place (*bounded*).
//!
//! Catches a line, a nesting or a hot key that costs memory beyond the bound, or a wrong result; not
//! a slow one, which `./run.sh bench` would show.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use testing::exported::{Exported, totals_must_be};
use testing::oracle::Oracle;
use testing::random::Random;
use testing::{folder, program};

const GOOD: &str =
    r#"{"channelId":18,"param":{"action":"click","userId":"2","articleId":"18005"}}"#;

/// The most memory that a replay may take, in bytes.
const BOUND: u64 = 250_000_000;

fn replay(place: &Path, line: &str) -> Value {
    let summary =
        program::run_line(place, &format!("replay --json --store s {line}")).done().json();
    let peak = summary["peak_memory_bytes"].as_u64().unwrap();
    assert!(peak < BOUND, "{peak} bytes of memory for {line}");
    summary
}

/// Writes a good line, a line of 200 MB, and a good line.
fn endless_line(mut to: impl Write) {
    writeln!(to, "{GOOD}").unwrap();
    for _ in 0..200 {
        to.write_all(&[b'['; 1_000_000]).unwrap();
    }
    write!(to, "\n{GOOD}\n").unwrap();
}

#[test]
fn a_line_of_200_megabytes_is_a_dead_letter_in_bounded_memory() {
    let place = folder();
    endless_line(BufWriter::new(File::create(place.path().join("a.log")).unwrap()));
    let packed = File::create(place.path().join("b.log.gz")).unwrap();
    endless_line(GzEncoder::new(packed, Compression::fast()));
    let summary = replay(place.path(), "a.log b.log.gz -w 2");
    assert_eq!(summary["hits"], 4);
    assert_eq!(summary["dead_letters"]["too_long"], 2);
    let exported = Exported::of(&place.path().join("s"));
    let kept = "[".repeat(1024);
    let expected = format!("a.log:2\ttoo_long\t{kept}\nb.log.gz:2\ttoo_long\t{kept}\n");
    assert_eq!(exported.file("dead_letters.tsv"), expected.as_bytes());
    assert_eq!(replay(place.path(), "a.log b.log.gz -w 2")["records"], 0);
}

#[test]
fn the_deepest_nesting_that_fits_into_a_record_is_a_dead_letter() {
    let place = folder();
    let mut text = Vec::new();
    let mut records = Vec::new();
    for open in ["[", "{\"a\":", "[{\"a\":", "{\"channelId\":"] {
        records.push(open.repeat((1 << 20) / open.len()));
        records.push(format!("{{\"channelId\":{}", open.repeat((1 << 19) / open.len())));
    }
    records.push(format!("{{\"a\":{}1{}}}", "[".repeat(400_000), "]".repeat(400_000)));
    records.push(format!("{{\"channelId\":{}}}", "9".repeat(1_000_000)));
    for record in &records {
        text.extend(format!("{record}\n{GOOD}\n").into_bytes());
    }
    std::fs::write(place.path().join("a.log"), text).unwrap();
    let summary = replay(place.path(), "a.log -w 2");
    assert_eq!(summary["hits"], records.len());
    assert_eq!(summary["dead_letters"]["not_json"], records.len() - 1);
    assert_eq!(summary["dead_letters"]["bad_channel"], 1);
}

/// Clicks nine of ten of which are by one user in one channel on few articles.
fn hot_key(path: &Path, random: &mut Random, clicks: usize) {
    let mut to = BufWriter::new(File::create(path).unwrap());
    for _ in 0..clicks {
        let hot = random.percent(90);
        let (user, channel) = if hot { (7, 1) } else { (random.below(50_000), random.below(5)) };
        let article = if random.percent(90) { 5 } else { random.below(2_000) };
        let action = random.one_of(&["click", "collect", "share"]);
        let param = format!(r#"{{"action":"{action}","userId":"{user}","articleId":"{article}"}}"#);
        writeln!(to, r#"{{"channelId":{channel},"param":{param}}}"#).unwrap();
    }
    to.flush().unwrap();
}

#[test]
fn a_hot_user_and_a_hot_article_end_as_the_oracle_tells() {
    let (place, mut oracle, mut random) = (folder(), Oracle::start(), Random::new(9));
    let path = |name: &str| place.path().join(name);
    hot_key(&path("a.log"), &mut random, 150_000);
    let mut similar = BufWriter::new(File::create(path("similar.tsv")).unwrap());
    for article in 0..2_000 {
        for _ in 0..12 {
            let value = random.below(10_000);
            writeln!(similar, "{article}\t{}\t0.{value:04}", random.below(40_000)).unwrap();
        }
    }
    similar.into_inner().unwrap();
    let plan = serde_json::json!({
        "similar": ["similar.tsv"],
        "runs": [{ "at": "2019-04-11T00:00:00Z", "epoch_records": 2000, "clicks": [{ "file": "a.log" }] }],
    });
    std::fs::write(path("plan.json"), plan.to_string()).unwrap();
    oracle.judge(&path("plan.json"), &path("expected"));
    let line = "a.log --similar similar.tsv --epoch-records 2000 --at 2019-04-11T00:00:00Z -w 3";
    replay(place.path(), line);
    Exported::of(&path("s")).must_be(&Exported::read(&path("expected")), "hot keys");
    totals_must_be(&path("s"), &path("expected/totals.json"));
}

#[test]
fn a_gigabyte_of_garbage_is_kept_in_bounded_memory() {
    let place = folder();
    let packed = File::create(place.path().join("a.log.gz")).unwrap();
    let mut packed = GzEncoder::new(packed, Compression::fast());
    let line = [vec![b'x'; 500_000], b"\n".to_vec()].concat();
    (0..2000).for_each(|_| packed.write_all(&line).unwrap());
    packed.finish().unwrap();
    let summary = replay(place.path(), "a.log.gz --epoch-records 2");
    assert_eq!(summary["dead_letters"]["not_json"], 2000);
}
