//! A site on live servers: tables, keys and a job of a test's own, and what must come of log files.

use std::collections::BTreeMap;
use std::fs;

use online_recall::ledger::now;
use serde_json::Value;
use testing::oracle::Oracle;
use testing::place::{CLICK, Place};
use testing::program::{self, Outcome, STOP_AT};
use testing::servers::{hbase, redis};

/// A folder with a configuration of live servers, `job.toml`.
pub struct Site {
    pub place: Place,
    pub name: String,
}

impl Site {
    /// A job that only counts.
    pub fn counting(name: &str) -> Site {
        Site::counting_on(&redis().address(), name)
    }

    /// The same, in this Redis.
    pub fn counting_on(redis: &str, name: &str) -> Site {
        Site::configured(name, redis, "dataflows = [\"hot\", \"new\"]\n", "")
    }

    /// A job that recalls, too: tables of its own, in an HBase that the tests share, with the
    /// neighbours and histories of the folder in them.
    pub fn recalling(name: &str) -> Site {
        let table = |kind: &str| format!("{kind} = \"{name}_{kind}\"");
        let tables = ["similar", "cb_recall", "history_recall"].map(table).join(", ");
        let servers =
            format!("[hbase]\nthrift = [\"{}\"]\ntables = {{ {tables} }}\n", hbase().address());
        let site = Site::configured(name, &redis().address(), "", &servers);
        site.place.run("tables create --config job.toml").done();
        site
    }

    fn configured(name: &str, redis: &str, head: &str, servers: &str) -> Site {
        let place = Place::empty();
        let text = format!(
            "job = \"{name}\"\n{head}{servers}[redis]\nurl = \"redis://{redis}/3\"\n\
             hot = \"{name}:{{channel}}:hot\"\nnew = \"{name}:{{channel}}:new\"\n"
        );
        place.write("job.toml", text);
        Site { place, name: name.to_owned() }
    }

    /// A connection of the test's own to the Redis that the tests share.
    pub fn redis(&self) -> redis::Connection {
        let url = format!("redis://{}/3", redis().address());
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }

    /// Replays into the live servers: the arguments of a line, and where to be killed, if anywhere.
    pub fn replay(&self, line: &str, stop_at: Option<&str>) -> Outcome {
        let line = format!("replay {line} --config job.toml");
        let mut command = program::command(self.place.folder(), line.split_ascii_whitespace());
        if let Some(stop_at) = stop_at {
            command.env(STOP_AT, stop_at);
        }
        program::end(command)
    }

    /// The same, and requires that it was killed there.
    #[track_caller]
    pub fn killed(&self, line: &str, stop_at: &str) {
        let outcome = self.replay(line, Some(stop_at));
        assert!(outcome.killed(), "{stop_at} was not reached: {outcome:#?}");
    }

    /// What `show job` says of the ledger of the replays.
    #[track_caller]
    pub fn ledger(&self) -> Value {
        let line = format!("show job --json --config job.toml --set job={}.replay", self.name);
        self.place.run(&line).done().json()
    }

    /// What stands in the live servers.
    #[track_caller]
    pub fn export(&self) -> BTreeMap<String, Vec<u8>> {
        self.place.run("export --config job.toml --out out").done();
        read(&self.place, "out")
    }

    /// Requires that what stands is what a replay of these into a new store leaves.
    #[track_caller]
    pub fn must_be(&self, replays: &[&str], what: &str) {
        let store = self.place.path("expected-store");
        if store.exists() {
            fs::remove_dir_all(&store).unwrap();
        }
        let into = "--config store.toml --store expected-store";
        let counts = fs::read_to_string(self.place.path("job.toml")).unwrap();
        let dataflows = counts.lines().filter(|line| line.starts_with("dataflows"));
        self.place.write("store.toml", dataflows.collect::<String>());
        if self.place.path("history.tsv").exists() {
            let line = "tables load --similar similar.tsv --history history.tsv";
            self.place.run(&format!("{line} {into}")).done();
        }
        for replay in replays {
            self.place.run(&format!("replay {replay} {into}")).done();
        }
        self.place.run("export --store expected-store --out expected").done();
        let (mut is, mut expected) = (self.export(), read(&self.place, "expected"));
        for all in [&mut is, &mut expected] {
            // Both are dated by the clock: lists are compared by user and channel, in order.
            for name in ["cb_recall.tsv", "history_recall.tsv"] {
                all.entry(name.to_owned()).and_modify(|text| *text = recalled(text));
            }
        }
        for (name, is) in is {
            let (is, expected) = (lines(&is), lines(&expected[&name]));
            let first = is.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            let differ = (is.get(first), expected.get(first));
            assert_eq!(differ, (None, None), "{what}: {name}: line {first} is, and must be");
        }
    }
}

fn lines(text: &[u8]) -> Vec<String> {
    text.split(|byte| *byte == b'\n').map(|line| line.escape_ascii().to_string()).collect()
}

fn read(place: &Place, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(place.path(folder)).unwrap().map(Result::unwrap);
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

/// The versions of each cell in the order of their dates, as one list, without the dates.
pub fn recalled(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let mut versions: Vec<_> =
        text.lines().map(|line| line.split('\t').collect::<Vec<_>>()).collect();
    versions.sort_by_key(|fields| fields[2].parse::<u64>().unwrap());
    let mut cells: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for fields in &versions {
        let all = cells.entry((fields[0], fields[1])).or_default();
        *all += &format!("{} ", fields[3].trim_matches(['[', ']']).replace(',', ""));
    }
    let lines = cells.iter().map(|((user, channel), list)| format!("{user}\t{channel}\t{list}\n"));
    lines.collect::<String>().into_bytes()
}

/// Writes logs and tables: `clicks.log`, `articles.log` in which every line carries its timestamp, and
/// tables whose histories count today.
pub fn generate(place: &Place, seed: u64, clicks: usize) {
    let options = format!(
        "--seed {seed} --clicks {clicks} --users 60 --articles 90 --channels 4 --garbage 0.1"
    );
    Oracle::start().generate(place.folder(), &options);
    fs::rename(place.path("userClick.log"), place.path("clicks.log")).unwrap();
    let articles = fs::read(place.path("new-article.log")).unwrap();
    let stamped = articles.split_inclusive(|byte| *byte == b'\n').enumerate().map(|(nth, line)| {
        let line = line.strip_prefix(b"NO_TIMESTAMP\t").unwrap_or(line);
        match line.starts_with(b"CreateTime:") || line.starts_with(b"LogAppendTime:") {
            true => line.to_vec(),
            false => {
                [format!("CreateTime:{}\t", 1_554_900_000_000 + nth).as_bytes(), line].concat()
            }
        }
    });
    place.write("articles.log", stamped.collect::<Vec<_>>().concat());
    let history = String::from_utf8(fs::read(place.path("history.tsv")).unwrap()).unwrap();
    let begun = now() - 1_000_000_000;
    let dated = history.lines().enumerate().map(|(nth, line)| {
        let fields: Vec<_> = line.split('\t').collect();
        format!("{}\t{}\t{}\t{}\n", fields[0], fields[1], begun + nth as u64, fields[3])
    });
    place.write("history.tsv", dated.collect::<String>());
}

/// So many lines from the `first` on: clicks on some articles, and every seventh no record.
pub fn clicks(first: usize, count: usize) -> String {
    let line = |nth: usize| match nth % 7 {
        0 => format!("garbage {nth}\n"),
        _ => CLICK.replace("18005", &(nth % 5).to_string()) + "\n",
    };
    (first..first + count).map(line).collect()
}
