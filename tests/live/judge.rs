//! The verdict: what stands outside must be what the oracle makes of the epochs as they were bound.
//!
//! Each binding becomes a run of one epoch, whose files hold its records in the order of topic, partition
//! and offset, and whose time makes the oracle date the epoch as the binding does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use online_recall::decode::Reason;
use online_recall::ledger::Binding;
use online_recall::redis::Rows;
use online_recall::source::Topic;
use serde_json::{Value, json};
use testing::exported::Exported;
use testing::oracle::Oracle;

use super::site::Site;
use super::topics::{self, Left};

/// Where a list may stand in a mailbox twice: where it was in doubt whether it had been put.
#[derive(Clone, Debug)]
pub enum Doubts {
    /// Nowhere.
    None,
    /// In these epochs.
    Of(BTreeSet<u64>),
    /// In any: a server was away, and a call that was given up may have landed later.
    Any,
}

/// All records of a site's topics, clicks first.
struct Records([Vec<Left>; 2]);

impl Records {
    fn of(site: &Site) -> Records {
        let topics = [&site.topics.clicks, &site.topics.articles];
        Records(topics.map(|topic| topics::records(&site.topics, topic)))
    }

    fn partition(&self, topic: Topic, partition: usize) -> &Left {
        &self.0[usize::from(topic == Topic::Articles)][partition]
    }
}

/// What must stand, as the oracle says.
struct Expected {
    files: Exported,
    totals: Value,
    /// The epochs, by their dates.
    epochs: BTreeMap<u64, u64>,
}

impl Expected {
    /// Scores: channel, article and score, as a line.
    fn scores(&self, file: &str) -> Vec<String> {
        let line = |row: Vec<&str>| {
            let score: f64 = row[2].parse().unwrap();
            format!("{} {} {score}", row[0], row[1])
        };
        self.files.rows(file).into_iter().map(line).collect()
    }
}

/// A list of a mailbox: user, as it is escaped, and channel; date; list.
pub type Mail = ((String, String), u64, String);

impl Site {
    /// Requires that everything outside is what comes of the epochs that the ledger has bound, and that
    /// they are all records that were produced.
    #[track_caller]
    pub fn must_be_right(&self, oracle: &mut Oracle, doubts: &Doubts) {
        self.judge(oracle, Vec::new(), doubts, Vec::new());
    }

    /// The same where a reader has taken lists out of mailboxes.
    #[track_caller]
    pub fn must_be_right_with(&self, oracle: &mut Oracle, doubts: &Doubts, taken: Vec<Mail>) {
        self.judge(oracle, Vec::new(), doubts, taken);
    }

    /// The same where Redis has lost epochs that were done, and HBase has what came of them: the scores
    /// are those of what is bound now.
    #[track_caller]
    pub fn must_be_right_after(&self, oracle: &mut Oracle, lost: Vec<Binding>, doubts: &Doubts) {
        self.judge(oracle, lost, doubts, Vec::new());
    }

    #[track_caller]
    fn judge(
        &self,
        oracle: &mut Oracle,
        mut lost: Vec<Binding>,
        doubts: &Doubts,
        taken: Vec<Mail>,
    ) {
        let (records, ledger) = (Records::of(self), self.ledger());
        let bindings: Vec<_> = ledger.bindings.values().cloned().collect();
        must_be_contiguous(&bindings, &records);
        let expected = self.expected(oracle, &bindings, &records);
        self.scores_must_be(&expected);
        self.letters_must_be(&expected, &ledger);
        totals_must_be(&ledger, &expected);
        let dates: BTreeSet<_> = bindings.iter().map(|binding| binding.time).collect();
        let recalled = if lost.is_empty() {
            expected
        } else {
            let known: BTreeSet<_> = lost.iter().map(|binding| binding.time).collect();
            lost.extend(bindings.into_iter().filter(|binding| !known.contains(&binding.time)));
            lost.sort_by_key(|binding| binding.time);
            self.expected(oracle, &lost, &records)
        };
        // What was recalled before the loss is not recalled again.
        let lists = recalled.files.rows("cb_recall.tsv").into_iter().map(|row| mail(&row));
        let of_these = lists.filter(|(_, date, _)| dates.contains(date)).count();
        assert_eq!(ledger.totals.recalls, of_these as u64, "lists that were recalled");
        self.recalls_must_be(&recalled, doubts, taken);
    }

    /// What these epochs add to hot scores: channel, article and score, as a line.
    pub fn hot_of(&self, oracle: &mut Oracle, bindings: &[Binding]) -> Vec<String> {
        self.expected(oracle, bindings, &Records::of(self)).scores("hot.tsv")
    }

    /// What comes of these epochs, one after the other.
    fn expected(&self, oracle: &mut Oracle, bindings: &[Binding], records: &Records) -> Expected {
        let folder = testing::folder();
        let (mut runs, mut epochs) = (Vec::new(), BTreeMap::new());
        for (nth, binding) in (1..).zip(bindings) {
            let mut pieces: [BTreeMap<usize, Value>; 2] = Default::default();
            for range in &binding.ranges {
                let (topic, partition) = split(&range.partition);
                let stand = records.partition(range.topic, partition);
                let mut text = Vec::new();
                for record in stand.range(range.from, range.to) {
                    text.extend(format!("CreateTime:{}\t", record.timestamp).into_bytes());
                    text.extend(&record.bytes);
                    // A record may itself end as a line may.
                    text.extend(b"\r\n");
                }
                let file = format!("{nth}-{topic}-{partition}");
                fs::write(folder.path().join(&file), text).unwrap();
                // From this name and a line's number a place can be told.
                let place = format!("{topic}/{partition}/{}", range.from);
                let piece = json!({ "file": file, "place": place });
                pieces[usize::from(range.topic == Topic::Articles)].insert(partition, piece);
            }
            let [clicks, articles] = pieces.map(|it| it.into_values().collect::<Vec<_>>());
            let at = jiff::Timestamp::from_millisecond((binding.time - nth) as i64).unwrap();
            runs.push(json!({
                "at": at.to_string(), "epoch_records": 1_000_000_000,
                "clicks": clicks, "articles": articles,
            }));
            epochs.insert(binding.time, binding.epoch.0);
        }
        for (name, text) in
            [("similar.tsv", &self.input.similar), ("history.tsv", &self.input.history)]
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let plan = json!({
            "similar": ["similar.tsv"], "history": ["history.tsv"],
            "settings": self.settings, "runs": runs,
        });
        fs::write(folder.path().join("plan.json"), plan.to_string()).unwrap();
        let out = folder.path().join("out");
        oracle.judge(&folder.path().join("plan.json"), &out);
        let totals = serde_json::from_slice(&fs::read(out.join("totals.json")).unwrap()).unwrap();
        Expected { files: Exported::read(&out), totals, epochs }
    }

    /// Compares the sorted sets.
    #[track_caller]
    fn scores_must_be(&self, expected: &Expected) {
        for (kind, file) in [("hot", "hot.tsv"), ("new", "new.tsv")] {
            must_equal(kind, self.scores(kind), expected.scores(file));
        }
    }

    /// The scores of all channels: channel, article and score, as a line.
    pub fn scores(&self, kind: &str) -> Vec<String> {
        let mut all = Vec::new();
        let pattern = format!("{}:*:{kind}", self.name);
        let keys: Vec<String> = self.ask(redis::cmd("KEYS").arg(pattern)).unwrap();
        for key in keys {
            let channel = key.split(':').nth(1).unwrap();
            let scores: Vec<(String, f64)> =
                self.ask(redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).arg("WITHSCORES")).unwrap();
            all.extend(scores.into_iter().map(|(a, score)| format!("{channel} {a} {score}")));
        }
        all
    }

    /// Compares the dead letters; of files also their length with that in the ledger.
    #[track_caller]
    fn letters_must_be(&self, expected: &Expected, ledger: &Rows) {
        let letters = match &self.letters {
            Some(topic) => topics::letters(&self.topics, topic),
            None => self.letters_in_files(),
        };
        let expected = expected.files.rows("dead_letters.tsv").into_iter().map(|row| {
            // The oracle names the first offset and a line: topic/partition/FROM:LINE.
            let (place, line) = row[0].rsplit_once(':').unwrap();
            let (partition, from) = place.rsplit_once('/').unwrap();
            let offset = from.parse::<u64>().unwrap() + line.parse::<u64>().unwrap() - 1;
            format!("{partition}/{offset}\t{}\t{}", row[1], row[2])
        });
        let length: usize = letters.iter().map(|letter| letter.len() + 1).sum();
        must_equal("dead letters", letters, expected.collect());
        if self.letters.is_none() {
            assert_eq!(ledger.letters, length as u64, "the mark keeps their length");
        }
    }

    fn letters_in_files(&self) -> Vec<String> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.folder().join("dead-letters")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "tsv") {
                let text = String::from_utf8(fs::read(path).unwrap()).unwrap();
                assert!(text.is_empty() || text.ends_with('\n'), "a letter is cut");
                all.extend(text.lines().map(str::to_owned));
            }
        }
        all
    }

    /// What stands in all mailboxes.
    pub fn mailboxes(&self) -> Vec<String> {
        let [mailed] = self.exported(["cb_recall.tsv"]);
        mailed
    }

    /// The lines of these files of an export.
    fn exported<const N: usize>(&self, files: [&str; N]) -> [Vec<String>; N] {
        let out = testing::folder();
        self.run(&format!("export --config job.toml --out {}", out.path().display())).done();
        files.map(|file| {
            let text = fs::read_to_string(out.path().join(file)).unwrap();
            text.lines().map(str::to_owned).collect()
        })
    }

    /// Compares histories and mailboxes; `taken` are lists that a reader has taken.
    #[track_caller]
    fn recalls_must_be(&self, expected: &Expected, doubts: &Doubts, taken: Vec<Mail>) {
        let [history, standing] = self.exported(["history_recall.tsv", "cb_recall.tsv"]);
        let histories = expected.files.file("history_recall.tsv");
        let histories = std::str::from_utf8(histories).unwrap().lines().map(str::to_owned);
        must_equal("history", history, histories.collect());

        let standing = standing.iter().map(|line| mail(&line.split('\t').collect::<Vec<_>>()));
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (cell, date, list) in taken.into_iter().chain(standing) {
            found.entry(cell).or_default().push((date, list));
        }
        let mut mailed: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in expected.files.rows("cb_recall.tsv") {
            let (cell, date, list) = mail(&row);
            mailed.entry(cell).or_default().push((date, list));
        }
        for cell in found.keys().chain(mailed.keys()).collect::<BTreeSet<_>>() {
            let mut mailed = mailed.get(cell).cloned().unwrap_or_default();
            mailed.sort();
            let mut found = found.get(cell).cloned().unwrap_or_default();
            found.sort();
            // In the order in which they came first.
            let mut firsts: Vec<&str> = Vec::new();
            for (_, list) in &found {
                if !firsts.contains(&list.as_str()) {
                    firsts.push(list);
                }
            }
            let wanted: Vec<&str> = mailed.iter().map(|(_, list)| list.as_str()).collect();
            assert_eq!(firsts, wanted, "the mailbox of {cell:?}: {found:?}, of {mailed:?}");
            for (date, list) in &mailed {
                let epoch = expected.epochs[date];
                let times = found.iter().filter(|(_, it)| it == list).count();
                let in_doubt = match doubts {
                    Doubts::None => false,
                    Doubts::Of(epochs) => epochs.contains(&epoch),
                    Doubts::Any => true,
                };
                assert!(
                    times == 1 || (times == 2 && in_doubt),
                    "{cell:?} has {list} of epoch {epoch} {times} times: {found:?}; {doubts:?}"
                );
            }
        }
    }
}

fn mail(row: &[&str]) -> Mail {
    ((row[0].to_owned(), row[1].to_owned()), row[2].parse().unwrap(), row[3].to_owned())
}

/// Of `topic/partition`.
fn split(name: &[u8]) -> (&str, usize) {
    let (topic, partition) = std::str::from_utf8(name).unwrap().rsplit_once('/').unwrap();
    (topic, partition.parse().unwrap())
}

/// Requires that the epochs follow each other, in numbers, in dates and in every partition, and that every
/// record is in exactly one.
#[track_caller]
fn must_be_contiguous(bindings: &[Binding], records: &Records) {
    let mut next: BTreeMap<(Topic, usize), u64> = BTreeMap::new();
    let mut before: Option<&Binding> = None;
    for binding in bindings {
        let (epoch, time) = before.map_or((0, 0), |before| (before.epoch.0, before.time));
        assert_eq!(binding.epoch.0, epoch + 1, "no epoch is missing");
        assert!(binding.time > time, "dates grow: {binding:?} after {before:?}");
        assert!(!binding.ranges.is_empty(), "an epoch has records: {binding:?}");
        for range in &binding.ranges {
            let (_, partition) = split(&range.partition);
            let next = next.entry((range.topic, partition)).or_default();
            assert_eq!(range.from, *next, "no gap, no overlap: {binding:?}");
            assert!(range.to > range.from, "a range has records: {binding:?}");
            *next = range.to;
        }
        before = Some(binding);
    }
    for (topic, partitions) in [Topic::Clicks, Topic::Articles].into_iter().zip(&records.0) {
        for (partition, records) in partitions.iter().enumerate() {
            let bound = next.get(&(topic, partition)).copied().unwrap_or(0);
            assert_eq!(bound, records.end(), "{topic:?}/{partition} is bound to its end");
        }
    }
}

/// Requires that the ledger's totals are what the oracle counted, but for the lists.
#[track_caller]
fn totals_must_be(ledger: &Rows, expected: &Expected) {
    let (totals, expected) = (&ledger.totals, &expected.totals);
    assert_eq!(json!(totals.hits), expected["hits"]);
    assert_eq!(json!(totals.others), expected["others"]);
    assert_eq!(json!(totals.new_articles), expected["new_articles"]);
    let letters: serde_json::Map<_, _> = Reason::ALL
        .iter()
        .zip(totals.dead_letters)
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.name().to_owned(), json!(count)))
        .collect();
    assert_eq!(Value::Object(letters), expected["dead_letters"]);
    let read: u64 =
        expected["records"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(totals.records(), read, "nothing is lost");
}

#[track_caller]
fn must_equal(what: &str, mut found: Vec<String>, mut expected: Vec<String>) {
    if found.len() == expected.len() {
        found.sort();
        expected.sort();
        if found == expected {
            return;
        }
    }
    let less = |from: &[String], taken: &[String]| -> (usize, String) {
        let mut left: BTreeMap<&str, i64> = BTreeMap::new();
        from.iter().for_each(|line| *left.entry(line).or_default() += 1);
        taken.iter().for_each(|line| *left.entry(line).or_default() -= 1);
        let left: Vec<_> = left.into_iter().filter(|(_, count)| *count > 0).collect();
        let shown: String =
            left.iter().take(5).map(|(it, n)| format!("\n  {n} × {it:.200}")).collect();
        (left.len(), shown)
    };
    let (missing, too_much) = (less(&expected, &found), less(&found, &expected));
    panic!(
        "{what}: of {} lines {} are missing:{}\n{} should not be there:{}",
        expected.len(),
        missing.0,
        missing.1,
        too_much.0,
        too_much.1
    );
}
