//! Kafka into the embedded store: the live job, with binding, effects and mark in one transaction.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command};

use online_recall::ledger::now;
use online_recall::source::split_timestamp;
use serde_json::{Value, json};
use testing::kafka::{Topics, wait_for};
use testing::place::{CLICK, Place};
use testing::program::{self, Outcome, STOP_AT};
use testing::servers::kafka;

use super::site::{generate, recalled};

/// Settings of topics: records of any date come in, and stay.
const SETTINGS: [(&str, &str); 3] = [
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("retention.ms", "-1"),
];

/// How many partitions the topic of clicks has.
const PARTITIONS: i32 = 3;

/// Topics, and a folder with the configuration of a job that reads them into the store `s`.
struct Site {
    place: Place,
    topics: Topics,
    name: &'static str,
    /// Where each line that was produced stands in the topics, by its place in the files.
    places: BTreeMap<String, String>,
    /// How many records each partition of clicks has.
    clicks: [i64; PARTITIONS as usize],
    articles: i64,
}

impl Site {
    fn new(name: &'static str, more: &str) -> Site {
        let topics = Topics::make_with(&kafka().address(), PARTITIONS, 1, &SETTINGS);
        let place = Place::empty();
        let text = format!(
            "job = '{name}'\n[kafka]\nclicks = '{}'\narticles = '{}'\n{more}\
             [kafka.properties]\n'bootstrap.servers' = '{}'\n[store]\npath = 's'\n\
             [epoch]\ninterval = '10ms'\nrecords = 40\n[http]\nlisten = '127.0.0.1:0'\n",
            topics.clicks, topics.articles, topics.servers
        );
        place.write("job.toml", text);
        Site { place, topics, name, places: BTreeMap::new(), clicks: [0; 3], articles: 0 }
    }

    /// Sends the lines of files to the topics, from these lines on: each user's to one partition.
    fn produce(&mut self, clicks: &[u8], articles: &[u8]) {
        let producer = self.topics.producer(&[]);
        let first = self.clicks.iter().sum::<i64>() + 1;
        for (line, number) in lines(clicks).zip(first..) {
            let (date, bytes) = split_timestamp(line);
            let partition = partition_of_user(bytes);
            producer.send(&self.topics.clicks, partition, Some(bytes), date.map(|it| it as i64));
            let offset = &mut self.clicks[partition as usize];
            let place = format!("{}/{partition}/{offset}", self.topics.clicks);
            self.places.insert(format!("clicks.log:{number}"), place);
            *offset += 1;
        }
        for line in lines(articles) {
            let (date, bytes) = split_timestamp(line);
            producer.send(&self.topics.articles, 0, Some(bytes), date.map(|it| it as i64));
            let place = format!("{}/0/{}", self.topics.articles, self.articles);
            self.articles += 1;
            self.places.insert(format!("articles.log:{}", self.articles), place);
        }
        producer.flush();
    }

    fn start(&self, workers: u16, stop_at: Option<&str>) -> (Child, String) {
        let line = format!("run --config job.toml -w {workers}");
        let mut command = program::command(self.place.folder(), line.split_ascii_whitespace());
        if let Some(stop_at) = stop_at {
            command.env(STOP_AT, stop_at);
        }
        let shown = format!("{command:?}");
        (command.spawn().unwrap(), shown)
    }

    /// Runs the job until it kills itself at a point.
    #[track_caller]
    fn killed(&self, workers: u16, stop_at: &str) {
        let (child, shown) = self.start(workers, Some(stop_at));
        let outcome = program::outcome_of(child, shown);
        assert!(outcome.killed(), "{stop_at} was not reached: {outcome:#?}");
    }

    /// Runs the job until all clicks are done, as it tells the group; ends it by a signal.
    #[track_caller]
    fn finish(&self, workers: u16) -> Outcome {
        let (child, shown) = self.start(workers, None);
        wait_for("the last click", || {
            let all = self.topics.committed(self.name, PARTITIONS);
            (all == self.clicks).then_some(())
        });
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        program::outcome_of(child, shown).done()
    }

    fn job(&self) -> Value {
        self.place.run("show job --config job.toml --json").done().json()
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').filter(move |_| !text.is_empty());
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn partition_of_user(click: &[u8]) -> i32 {
    let click: Value = serde_json::from_slice(click).unwrap_or(Value::Null);
    let user = click["param"]["userId"].to_string();
    let user = user.trim_matches('"');
    user.bytes().fold(7, |sum: i32, byte| (sum * 31 + i32::from(byte)) % 1009) % PARTITIONS
}

#[test]
fn kafka_into_a_store_leaves_what_a_replay_does_through_kills_and_other_numbers_of_workers() {
    let mut site = Site::new("into-store", "");
    generate(&site.place, 7, 1500);
    // Every third version of a history is too old to count.
    let history = fs::read_to_string(site.place.path("history.tsv")).unwrap();
    let old = now() - 91 * 24 * 3_600_000;
    let aged = history.lines().enumerate().map(|(nth, line)| {
        let fields: Vec<_> = line.split('\t').collect();
        let at = if nth % 3 == 0 { (old + nth as u64).to_string() } else { fields[2].to_owned() };
        format!("{}\t{}\t{at}\t{}\n", fields[0], fields[1], fields[3])
    });
    site.place.write("history.tsv", aged.collect::<String>());
    for place in ["--config job.toml", "--store expected-store"] {
        let load = "tables load --similar similar.tsv --history history.tsv";
        site.place.run(&format!("{load} {place}")).done();
    }
    let read = |name: &str| fs::read(site.place.path(name)).unwrap();
    let (clicks, articles) = (read("clicks.log"), read("articles.log"));
    let half: usize =
        clicks.split_inclusive(|byte| *byte == b'\n').take(800).map(<[u8]>::len).sum();
    site.produce(&clicks[..half], &articles);
    for (stop_at, workers) in [
        ("before-commit:1", 1),
        ("after-commit:3", 2),
        ("share:9", 3),
        ("cut-sent:5", 1),
        ("before-commit:6", 3),
    ] {
        site.killed(workers, stop_at);
    }
    let job = site.job();
    assert!(job["epoch_mark"].as_u64() >= Some(3), "{job}");
    site.produce(&clicks[half..], b"");
    site.finish(2);

    let job = site.job();
    let partition = |topic, name: &str, number, offset: i64| json!({ "topic": topic, "partition": format!("{name}/{number}"), "offset": offset });
    let clicks = (0..).zip(site.clicks);
    let clicks =
        clicks.map(|(number, offset)| partition("clicks", &site.topics.clicks, number, offset));
    let articles = partition("articles", &site.topics.articles, 0, site.articles);
    let partitions: Vec<_> = clicks.chain([articles]).collect();
    assert_eq!(job["partitions"], json!(partitions));
    assert_eq!(job["files"], json!([]));
    let outcomes = job["records_total"].as_object().unwrap();
    let records: u64 = outcomes.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(records as i64, site.clicks.iter().sum::<i64>() + site.articles);
    let table = site.place.run("show job --config job.toml").done();
    assert!(table.text().contains(&format!("clicks {}/2", site.topics.clicks)), "{table:#?}");

    let line = "replay clicks.log --articles articles.log --store expected-store";
    site.place.run(line).done();
    site.place.run("export --store expected-store --out expected").done();
    site.place.run("export --config job.toml --out out").done();
    let read = |name: &str| fs::read(site.place.path(name)).unwrap();
    for name in ["hot.tsv", "new.tsv", "similar.tsv"] {
        assert!(read(&format!("out/{name}")) == read(&format!("expected/{name}")), "{name}");
    }
    for name in ["cb_recall.tsv", "history_recall.tsv"] {
        let [is, expected] = ["out", "expected"].map(|of| recalled(&read(&format!("{of}/{name}"))));
        assert!(is == expected && !is.is_empty(), "{name}");
    }
    let letters = String::from_utf8(read("expected/dead_letters.tsv")).unwrap();
    let mut letters: Vec<_> = letters
        .lines()
        .map(|line| {
            let (place, rest) = line.split_once('\t').unwrap();
            format!("{}\t{rest}", site.places[place])
        })
        .collect();
    letters.sort();
    assert!(!letters.is_empty());
    let is = String::from_utf8(read("out/dead_letters.tsv")).unwrap();
    assert_eq!(is.lines().collect::<Vec<_>>(), letters);
}

#[test]
fn a_store_that_files_were_replayed_into_begins_in_kafka_where_the_configuration_says() {
    let mut site = Site::new("after-replay", "start = '2019-04-10T12:00:00Z'\n");
    site.place.write("old.log", format!("{CLICK}\n"));
    site.place.run("replay old.log --config job.toml").done();
    let [before, after] = ["2019-04-10T11:00:00Z", "2019-04-10T13:00:00Z"]
        .map(|date| date.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let line = |date: i64| format!("CreateTime:{date}\t{CLICK}\n");
    site.produce((line(before).repeat(5) + &line(after).repeat(2)).as_bytes(), b"");
    // Nothing is told of partitions that nothing was read of.
    let read = partition_of_user(CLICK.as_bytes());
    site.clicks = [0, 1, 2].map(|number| if number == read { 7 } else { -1 });
    site.finish(1);
    let job = site.job();
    assert_eq!(job["records_total"]["hit"], 3, "{job}");
    assert_eq!(job["files"], json!([{ "topic": "clicks", "path": "old.log", "lines": 1 }]));
    // What is about Redis is refused.
    let refused = site.place.run("run --config job.toml --reset");
    refused.refused(2, &["--reset and --after-loss are about Redis"]);
}
