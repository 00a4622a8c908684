//! Random stories: a site's log files, which grow, are renamed and packed between runs, and the runs
//! that read them; for the program a sequence of commands, for the oracle a plan.
//!
//! A log is what stands in one file in the end. Every run sees a beginning of it, cut after some line,
//! perhaps without that line's newline, under the name that it has then.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::oracle::Oracle;
use crate::random::Random;

/// Names of files, in an order that is not theirs; the sorted order of bytes differs from that of
/// letters, of components, and with the names' ends.
const NAMES: [&str; 16] = [
    "b.log",
    "a.log",
    "Z.log",
    "10.log",
    "9.log",
    "sub/deep.log",
    "sub.log",
    "sub-a.log",
    "é.log",
    "tab\there.log",
    "back\\slash.log",
    "[x].log",
    "with space.log",
    "用户.log",
    "plain",
    "a.log.1",
];

/// When runs may be, in order.
const TIMES: [&str; 5] = [
    "2019-04-11T00:00:00Z",
    "2019-04-11T09:00:00+08:00",
    "2019-04-11T09:00:00.5Z",
    "2019-07-11T12:00:00Z",
    "2020-02-29T00:00:00Z",
];

/// What is compared of the head of a file that was renamed.
const HEAD: usize = 4096;

/// A story. Its files stand nowhere yet.
pub struct Story {
    tables: Vec<Table>,
    settings: Vec<String>,
    plan: Value,
    runs: Vec<Run>,
    /// The logs as they are in the end.
    logs: Vec<Log>,
    /// Every path that any log has had, without `.gz`.
    paths: HashSet<String>,
}

/// A file of a table, and the option that loads it.
struct Table {
    option: &'static str,
    text: Vec<u8>,
    /// Loaded by the first replay, not by `tables load`.
    by_replay: bool,
}

struct Log {
    clicks: bool,
    lines: Vec<Vec<u8>>,
    name: Option<String>,
    /// How many lines the run of now sees; how many, and how many bytes, were read.
    seen: usize,
    read: usize,
    read_bytes: usize,
}

struct Run {
    /// What happens to files before it.
    changes: Vec<Change>,
    args: Vec<String>,
}

enum Change {
    Write(String, Vec<u8>),
    Remove(String),
}

impl Story {
    /// The story of a seed, made of what the generator writes.
    pub fn new(seed: u64, oracle: &mut Oracle) -> Story {
        let mut random = Random::new(seed);
        let raw = crate::folder();
        let clicks = 20 + random.below(400);
        let (users, articles) = (2 + random.below(19), 11 + random.below(30));
        let channels = 1 + random.below(5);
        let oversized = if random.percent(8) { " --oversized" } else { "" };
        let options = format!(
            "--nasty --seed {seed} --clicks {clicks} --users {users} --articles {articles} \
             --channels {channels}{oversized}"
        );
        oracle.generate(raw.path(), &options);
        let plan: Value = serde_json::from_slice(&read(&raw.path().join("plan.json"))).unwrap();
        let mut story = Story {
            tables: tables(&mut random, raw.path()),
            settings: Vec::new(),
            plan: json!({ "runs": [], "settings": {} }),
            runs: Vec::new(),
            logs: Vec::new(),
            paths: HashSet::new(),
        };
        for (clicks, topic) in [(true, "clicks"), (false, "articles")] {
            for piece in plan["runs"][0][topic].as_array().unwrap() {
                let text = read(&raw.path().join(piece["file"].as_str().unwrap()));
                let lines = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec);
                let lines = lines.collect();
                story.logs.push(Log { clicks, lines, name: None, seen: 0, read: 0, read_bytes: 0 });
            }
        }
        story.set(&mut random);
        let runs = 1 + random.below(4);
        let mut time = 0;
        for run in 0..runs {
            time = (time + *random.one_of(&[0, 0, 1, 1, 2])).min(TIMES.len() - 1);
            story.add_run(&mut random, TIMES[time], run + 1 == runs);
        }
        story
    }

    /// Chooses settings.
    fn set(&mut self, random: &mut Random) {
        let settings = self.plan["settings"].as_object_mut().unwrap();
        if random.percent(40) {
            let neighbours = 1 + random.below(30);
            settings.insert("neighbours".to_owned(), json!(neighbours));
            self.settings.push(format!("recall.neighbours={neighbours}"));
        }
        if random.percent(40) {
            settings.insert("order".to_owned(), json!("ascending"));
            self.settings.push("recall.order=ascending".to_owned());
        }
        if random.percent(40) {
            let mut weights = serde_json::Map::new();
            for action in ["click", "collect", "share"] {
                if random.percent(70) {
                    let weight = *random.one_of(&[0, 1, 2, 7, 1_000_000]);
                    weights.insert(action.to_owned(), json!(weight));
                    self.settings.push(format!("hot.weights.{action}={weight}"));
                }
            }
            settings.insert("weights".to_owned(), weights.into());
        }
        if random.percent(25) {
            let mut dataflows = ["hot", "new", "recall"];
            random.shuffle(&mut dataflows);
            let dataflows = &dataflows[..1 + random.below(3)];
            settings.insert("dataflows".to_owned(), json!(dataflows));
            self.settings.push(format!("dataflows={dataflows:?}"));
        }
    }

    fn add_run(&mut self, random: &mut Random, at: &str, last: bool) {
        let mut changes = Vec::new();
        for log in 0..self.logs.len() {
            if self.logs[log].name.is_none() && !last && random.percent(30) {
                continue;
            }
            self.rename(random, log, &mut changes);
            let log = &mut self.logs[log];
            let more = log.lines.len() - log.seen;
            log.seen += if last || random.percent(20) { more } else { random.below(more + 1) };
            let mut text = log.lines[..log.seen].concat();
            // The last line may still lack its newline; a bare newline is a line only with it.
            let is_line = log.seen > 0 && log.lines[log.seen - 1].len() > 1;
            if is_line && log.read < log.seen && text.ends_with(b"\n") && random.percent(30) {
                text.pop();
            }
            let name = log.name.clone().unwrap();
            let packed = name.ends_with(".gz");
            changes.push(Change::Write(name, if packed { pack(random, &text) } else { text }));
        }
        let size = *random.one_of(&[1, 2, 3, 7, 10, 100, 10_000]);
        let mut run = json!({ "at": at, "epoch_records": size });
        let mut args = vec![format!("--at={at}"), format!("--epoch-records={size}")];
        for (clicks, topic) in [(true, "clicks"), (false, "articles")] {
            let (given, logs) = self.choose(random, clicks);
            for argument in given {
                if clicks {
                    args.push(argument);
                } else {
                    args.extend(["--articles".to_owned(), argument]);
                }
            }
            let pieces = logs.into_iter().filter_map(|log| self.take(log)).collect::<Vec<_>>();
            run[topic] = pieces.into();
        }
        for setting in &self.settings {
            args.extend(["--set".to_owned(), setting.clone()]);
        }
        self.plan["runs"].as_array_mut().unwrap().push(run);
        self.runs.push(Run { changes, args });
    }

    /// Gives a log its first name, or perhaps another one.
    fn rename(&mut self, random: &mut Random, log: usize, changes: &mut Vec<Change>) {
        let it = &self.logs[log];
        if let Some(name) = &it.name {
            // What is not surely itself by its beginning keeps its name: it would be a new file.
            let text = it.lines.concat();
            let head = &text[..it.read_bytes.min(HEAD)];
            let alike = self.logs.iter().enumerate().any(|(other, its)| {
                other != log && its.clicks == it.clicks && its.lines.concat().starts_with(head)
            });
            if !random.percent(30) || alike {
                return;
            }
            changes.push(Change::Remove(name.clone()));
        }
        let folder = if it.clicks { "clicks" } else { "articles" };
        // A path that was known once stays that file's, whatever its packing.
        let mut path = format!("{folder}/{}", random.one_of(&NAMES));
        while !self.paths.insert(path.clone()) {
            path = format!("{folder}/{}{}", random.below(100), random.one_of(&NAMES));
        }
        let name = path + *random.one_of(&["", "", ".gz"]);
        self.logs[log].name = Some(name);
    }

    /// Chooses how the files of a topic are given, and tells in which order they are read.
    fn choose(&self, random: &mut Random, clicks: bool) -> (Vec<String>, Vec<usize>) {
        let name = |log: &usize| self.logs[*log].name.clone().unwrap();
        let mut logs: Vec<usize> = (0..self.logs.len())
            .filter(|log| self.logs[*log].clicks == clicks && self.logs[*log].name.is_some())
            .collect();
        let folder = if clicks { "clicks" } else { "articles" };
        logs.sort_by_key(name);
        match random.below(4) {
            0 if !logs.is_empty() => (vec![folder.to_owned()], logs),
            1 if logs.iter().any(|log| matched(folder, &name(log))) => {
                logs.retain(|log| matched(folder, &name(log)));
                (vec![format!("{folder}/*.log*")], logs)
            }
            _ => {
                random.shuffle(&mut logs);
                logs.retain(|_| random.percent(85));
                (logs.iter().map(name).collect(), logs)
            }
        }
    }

    /// Takes what a log has beyond what was read: a piece of the plan.
    fn take(&mut self, log: usize) -> Option<Value> {
        let it = &mut self.logs[log];
        let from = it.read + 1;
        it.read = it.seen;
        it.read_bytes = it.lines[..it.seen].concat().len();
        (from <= it.seen).then(|| {
            json!({
                "file": format!("logs/{log}"), "place": it.name,
                "from_line": from, "to_line": it.seen,
            })
        })
    }

    /// Lets the oracle tell the story: writes what must stand in the end into `out`.
    pub fn judge(&self, oracle: &mut Oracle, out: &Path) {
        let folder = crate::folder();
        fs::create_dir(folder.path().join("logs")).unwrap();
        for (number, log) in self.logs.iter().enumerate() {
            fs::write(folder.path().join(format!("logs/{number}")), log.lines.concat()).unwrap();
        }
        let mut plan = self.plan.clone();
        for (table, option) in [("similar", "--similar"), ("history", "--history")] {
            let files = self.tables.iter().enumerate().filter(|(_, table)| table.option == option);
            let names = files.map(|(number, table)| {
                let name = format!("table-{number}");
                fs::write(folder.path().join(&name), &table.text).unwrap();
                name
            });
            plan[table] = names.collect();
        }
        let file = folder.path().join("plan.json");
        fs::write(&file, plan.to_string()).unwrap();
        oracle.judge(&file, out);
    }

    /// Plays the story in an empty directory, whose store is then `store`. Each command, to which no
    /// more is to be added than `-w`, is run by `run`.
    pub fn play(&self, folder: &Path, mut run: impl FnMut(&[OsString])) {
        let mut first = Vec::new();
        for (number, table) in self.tables.iter().enumerate() {
            let name = format!("table-{number}");
            fs::write(folder.join(&name), &table.text).unwrap();
            if table.by_replay {
                first = vec![OsString::from(table.option), name.into()];
            } else {
                run(&["tables", "load", "--store", "store", table.option, &name].map(Into::into));
            }
        }
        for step in &self.runs {
            for change in &step.changes {
                change.make(folder);
            }
            run(&self.replay(step, std::mem::take(&mut first)));
        }
    }

    /// The last command of the story.
    pub fn last(&self) -> Vec<OsString> {
        self.replay(self.runs.last().unwrap(), Vec::new())
    }

    fn replay(&self, run: &Run, first: Vec<OsString>) -> Vec<OsString> {
        let args = ["replay", "--json", "--store", "store"].map(OsString::from).into_iter();
        args.chain(first).chain(run.args.iter().map(OsString::from)).collect()
    }
}

impl Change {
    fn make(&self, folder: &Path) {
        match self {
            Change::Write(name, bytes) => {
                let path = folder.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            Change::Remove(name) => {
                let path = folder.join(name);
                if path.exists() {
                    fs::remove_file(path).unwrap();
                }
            }
        }
    }
}

/// Whether `folder/*.log*` matches a name.
fn matched(folder: &str, name: &str) -> bool {
    let name = name.strip_prefix(folder).unwrap();
    name.contains(".log") && !name[1..].contains('/')
}

/// Divides the tables into files, whose lines are in any order.
fn tables(random: &mut Random, raw: &Path) -> Vec<Table> {
    let mut tables = Vec::new();
    for (option, name) in [("--history", "history.tsv"), ("--similar", "similar.tsv")] {
        let text = read(&raw.join(name));
        let mut lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
        random.shuffle(&mut lines);
        let cut = if random.percent(50) { random.below(lines.len() + 1) } else { 0 };
        let (first, second) = lines.split_at(cut);
        for lines in [first, second] {
            if !lines.is_empty() {
                tables.push(Table { option, text: lines.concat(), by_replay: false });
            }
        }
    }
    if let Some(last) = tables.last_mut().filter(|last| last.option == "--similar") {
        last.by_replay = random.percent(50);
    }
    tables
}

/// Packs a text, as one member or as two.
fn pack(random: &mut Random, text: &[u8]) -> Vec<u8> {
    let cut = if random.percent(50) { random.below(text.len() + 1) } else { 0 };
    let (first, second) = text.split_at(cut);
    let mut packed = Vec::new();
    for member in [first, second] {
        let mut encoder = GzEncoder::new(&mut packed, Compression::fast());
        encoder.write_all(member).unwrap();
        encoder.finish().unwrap();
    }
    packed
}

/// Reads a file, through `.gz`.
fn read(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut text = Vec::new();
    MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    text
}
