//! `show job`: how far the job has got, and what it has counted; of the live job what it answers over HTTP
//! too, where it runs.

use comfy_table::Cell;
use indicatif::HumanCount;
use serde_json::{Map, Value, json};

use super::{lines, plain, right};
use crate::cli::ShowJob;
use crate::command::{Error, Place, Settled, date};
use crate::config::{self, Config};
use crate::decode::Reason;
use crate::ledger::Mark;
use crate::source::{Reached, Topic, files};
use crate::store::Store;
use crate::{http, kafka, live, metrics, redis};

pub(super) fn job(args: &ShowJob) -> Result<String, Error> {
    let settled = Settled::of(&args.view.outside)?;
    let told = match &settled.place {
        Place::Store(dir) => {
            let store = Store::open(dir)?;
            Told { mark: store.mark()?, read: Read::Files(store.positions()?), running: None }
        }
        Place::Servers(_) => of_ledger(&settled.config)?,
    };
    Ok(if args.view.json { told.document() } else { told.table() })
}

/// What is told of a job.
struct Told {
    mark: Mark,
    read: Read,
    /// Of the live job; nothing of one in a store.
    running: Option<Running>,
}

/// How far it has read.
enum Read {
    Files(Vec<(Topic, Vec<u8>, files::Position)>),
    Partitions(Reached),
}

/// The live job as it stands and runs.
struct Running {
    incarnation: u64,
    /// The last bound epoch.
    bound: u64,
    /// Its numbers, by name and labels; nothing where it does not answer.
    numbers: Option<Vec<(String, String)>>,
}

fn of_ledger(config: &Config) -> Result<Told, Error> {
    let Some(config::Outside::Servers { redis, .. }) = &config.outside else {
        unreachable!("live servers are Redis and perhaps HBase")
    };
    let name = config.job.as_str();
    let read = || -> Result<_, redis::Error> {
        let mut ledger = redis::Job::new(redis, name)?;
        let incarnation = ledger.look()?.map_or(0, |stands| stands.token.number);
        Ok((incarnation, ledger.read()?))
    };
    let (incarnation, rows) = read().map_err(live::Error::from)?;
    let Some(rows) = rows else {
        return Err(Error::Usage(format!("the job {name} has no ledger there: it has never run")));
    };
    let numbers = match http::ask(&config.listen, "/metrics") {
        Ok(text) => {
            let numbers = metrics::parse(&text);
            Some(numbers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        }
        Err(error) => {
            log::info!("the job does not answer: listen={} error={error}", config.listen);
            None
        }
    };
    let bound = rows.at.bound.epoch.0;
    let running = Some(Running { incarnation, bound, numbers });
    Ok(Told { mark: rows.mark(), read: Read::Partitions(rows.reached), running })
}

fn topic(topic: Topic) -> &'static str {
    match topic {
        Topic::Clicks => "clicks",
        Topic::Articles => "articles",
    }
}

impl Told {
    /// The outcomes of records: the name in documents, for people, and how many.
    fn outcomes(&self) -> [(&'static str, &'static str, u64); 4] {
        let totals = &self.mark.totals;
        [
            ("hit", "hits", totals.hits),
            ("other", "other events", totals.others),
            ("new_article", "new articles", totals.new_articles),
            ("dead_letter", "dead letters", totals.all_dead_letters()),
        ]
    }

    fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.mark.totals.dead_letters)
    }

    fn document(&self) -> String {
        let object = |all: &mut dyn Iterator<Item = (&str, u64)>| -> Value {
            all.map(|(name, count)| (name.to_owned(), json!(count))).collect::<Map<_, _>>().into()
        };
        let mut document = json!({
            "epoch_mark": self.mark.epoch.0,
            "timestamp": self.mark.time,
            "records_total": object(&mut self.outcomes().iter().map(|it| (it.0, it.2))),
            "dead_letters_total": object(&mut self.reasons().map(|it| (it.0.name(), it.1))),
            "recalls_total": self.mark.totals.recalls,
        });
        match &self.read {
            Read::Files(files) => {
                let file = |(of, path, position): &(Topic, Vec<u8>, files::Position)| {
                    let path = String::from_utf8_lossy(path);
                    json!({ "topic": topic(*of), "path": path, "lines": position.lines })
                };
                document["files"] = files.iter().map(file).collect();
            }
            Read::Partitions(reached) => {
                let partition = |((of, name), (offset, _)): (&(Topic, Vec<u8>), &(u64, _))| {
                    let (name, number) = match kafka::Partition::parse(name) {
                        Some(partition) => (partition.topic.to_string(), Some(partition.number)),
                        None => (String::from_utf8_lossy(name).into_owned(), None),
                    };
                    json!({ "of": topic(*of), "topic": name, "partition": number, "offset": offset })
                };
                document["partitions"] = reached.iter().map(partition).collect();
            }
        }
        if let Some(Running { incarnation, bound, numbers }) = &self.running {
            document["incarnation"] = json!(incarnation);
            document["epoch"] = json!(bound);
            document["numbers"] = match numbers {
                None => Value::Null,
                Some(numbers) => {
                    // What is no number yet is null.
                    let number = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
                    let numbers = numbers.iter().map(|(name, text)| (name.clone(), number(text)));
                    numbers.collect::<Map<_, _>>().into()
                }
            };
        }
        format!("{document}\n")
    }

    fn table(&self) -> String {
        let mut table = plain();
        let mut row = |name: String, value: Cell| {
            table.add_row([Cell::new(name), value]);
        };
        if let Some(Running { incarnation, bound, .. }) = &self.running {
            row("incarnation".to_owned(), right(incarnation));
            row("epochs bound".to_owned(), right(bound));
        }
        row("epochs done".to_owned(), right(self.mark.epoch));
        if self.mark.time > 0 {
            row("dated until".to_owned(), right(date(self.mark.time)));
        }
        row("records".to_owned(), right(HumanCount(self.mark.totals.records())));
        for (_, name, count) in self.outcomes() {
            row(format!("  {name}"), right(HumanCount(count)));
        }
        for (reason, count) in self.reasons().filter(|(_, count)| *count > 0) {
            row(format!("    {reason}"), right(HumanCount(count)));
        }
        row("lists recalled".to_owned(), right(HumanCount(self.mark.totals.recalls)));
        match &self.read {
            Read::Files(files) => {
                for (of, path, position) in files {
                    let lines = format!("{} lines", HumanCount(position.lines));
                    row(format!("{} {}", topic(*of), path.escape_ascii()), right(lines));
                }
            }
            Read::Partitions(reached) => {
                for ((_, name), (offset, _)) in reached {
                    row(name.escape_ascii().to_string(), right(offset));
                }
            }
        }
        match &self.running {
            None => {}
            Some(Running { numbers: None, .. }) => {
                row("it does not answer on http.listen".to_owned(), right(""));
            }
            Some(Running { numbers: Some(numbers), .. }) => {
                for (name, value) in numbers {
                    row(name.clone(), right(value));
                }
            }
        }
        lines(&table)
    }
}
