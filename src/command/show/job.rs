//! `show job`: how far a job has got, and what it has counted; of the live job what it answers over HTTP
//! too, while it runs.

use indicatif::HumanCount;
use serde_json::{Map, Value, json};

use super::{lines, plain, right};
use crate::cli::ShowJob;
use crate::command::{Error, Place, Servers, Settled, date};
use crate::config::Config;
use crate::decode::Reason;
use crate::ledger::{self, Mark};
use crate::source::{Position, Reached, Topic};
use crate::store::Store;
use crate::{http, metrics, redis};
use comfy_table::Cell;

/// How a job stands.
struct Stands {
    mark: Mark,
    /// How far everything had been read at the mark.
    reached: Reached,
    live: Option<Live>,
}

/// What is known of a job on live servers beside that.
struct Live {
    /// The number of the last start; none before the first.
    incarnation: Option<u64>,
    /// Whether it has given a sign of life a few seconds ago.
    running: bool,
    /// The last epoch that is bound.
    bound: u64,
    /// The time up to which all is visible, in milliseconds since 1970, where that was ever said.
    freshness: Option<u64>,
    /// Its numbers, by name and labels; nothing where it does not answer.
    numbers: Option<Vec<(String, String)>>,
}

impl Stands {
    fn in_store(store: &Store) -> Result<Stands, Error> {
        let mut reached = store.reached()?;
        reached.extend(store.positions()?.into_iter().map(|(topic, path, position)| {
            ((topic, path), (position.lines + 1, Position::File(position)))
        }));
        Ok(Stands { mark: store.mark()?, reached, live: None })
    }

    fn in_redis(servers: &Servers, config: &Config) -> Result<Stands, Error> {
        let name = config.job.as_str();
        let mut job = redis::Job::new(&servers.redis, name)?;
        let incarnation = job.look()?.map(|stands| stands.token.number);
        let rows = job.read()?.unwrap_or_default();
        let live = Live {
            incarnation,
            running: job.is_running()?,
            bound: rows.at.bound.epoch.0,
            freshness: job.freshness()?,
            numbers: numbers(config),
        };
        Ok(Stands { mark: rows.mark(), reached: rows.reached, live: Some(live) })
    }

    /// The name of each outcome in documents, and for people; and how often it was.
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
        let (mut files, mut partitions) = (Vec::new(), Vec::new());
        for ((of, name), (next, position)) in &self.reached {
            let (topic, name) = (topic(*of), String::from_utf8_lossy(name));
            match position {
                Position::File(position) => {
                    files.push(json!({ "topic": topic, "path": name, "lines": position.lines }));
                }
                Position::Topic(_) => {
                    partitions.push(json!({ "topic": topic, "partition": name, "offset": next }));
                }
            }
        }
        let count = |(name, _, count): (&str, _, u64)| (name.to_owned(), json!(count));
        let outcomes: Map<_, _> = self.outcomes().into_iter().map(count).collect();
        let reasons = self.reasons().map(|(reason, n)| (reason.name().to_owned(), json!(n)));
        let mut document = json!({
            "epoch_mark": self.mark.epoch.0,
            "timestamp": self.mark.time,
            "records_total": outcomes,
            "dead_letters_total": reasons.collect::<Map<_, _>>(),
            "recalls_total": self.mark.totals.recalls,
            "files": files,
            "partitions": partitions,
        });
        if let (Some(live), Value::Object(document)) = (&self.live, &mut document) {
            let Live { incarnation, running, bound, freshness, numbers } = live;
            document.insert("epoch".to_owned(), json!(bound));
            let in_flight = bound.saturating_sub(self.mark.epoch.0);
            document.insert("epoch_in_flight".to_owned(), json!(in_flight));
            document.insert("incarnation".to_owned(), json!(incarnation));
            document.insert("running".to_owned(), json!(running));
            document.insert("freshness".to_owned(), json!(freshness));
            document.insert("freshness_seconds".to_owned(), json!(freshness.map(age)));
            let numbers = numbers.as_ref().map(|numbers| -> Map<_, _> {
                // What is no number yet is null.
                let number = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
                numbers.iter().map(|(name, text)| (name.clone(), number(text))).collect()
            });
            document.insert("numbers".to_owned(), json!(numbers));
        }
        format!("{document}\n")
    }

    fn table(&self) -> String {
        let mut table = plain();
        let mut row = |name: String, value: String| {
            table.add_row([Cell::new(name), right(value)]);
        };
        if let Some(Live { incarnation, running, .. }) = &self.live {
            let number = incarnation.map_or("never".to_owned(), |number| number.to_string());
            row("started".into(), number + if *running { " (running)" } else { "" });
        }
        row("epochs done".into(), self.mark.epoch.to_string());
        if let Some(Live { bound, freshness, .. }) = &self.live {
            row("epochs bound".into(), bound.to_string());
            if let Some(time) = freshness {
                row("visible until".into(), date(*time));
            }
        }
        if self.mark.time > 0 {
            row("dated until".into(), date(self.mark.time));
        }
        row("records".into(), HumanCount(self.mark.totals.records()).to_string());
        for (_, name, count) in self.outcomes() {
            row(format!("  {name}"), HumanCount(count).to_string());
        }
        for (reason, count) in self.reasons().filter(|(_, count)| *count > 0) {
            row(format!("    {reason}"), HumanCount(count).to_string());
        }
        row("lists recalled".into(), HumanCount(self.mark.totals.recalls).to_string());
        for ((of, name), (next, position)) in &self.reached {
            let read = match position {
                Position::File(position) => format!("{} lines", HumanCount(position.lines)),
                Position::Topic(_) => format!("offset {}", HumanCount(*next)),
            };
            row(format!("{} {}", topic(*of), name.escape_ascii()), read);
        }
        for (name, value) in self.live.iter().flat_map(|live| &live.numbers).flatten() {
            row(name.clone(), value.clone());
        }
        lines(&table)
    }
}

/// Prints how a job stands.
pub(super) fn job(args: &ShowJob) -> Result<String, Error> {
    let settled = Settled::of(&args.view.outside)?;
    let stands = match &settled.place {
        Place::Store(dir) => Stands::in_store(&Store::open(dir)?)?,
        Place::Servers(servers) => Stands::in_redis(servers, &settled.config)?,
    };
    Ok(if args.view.json { stands.document() } else { stands.table() })
}

/// What the job answers over HTTP, if it does.
fn numbers(config: &Config) -> Option<Vec<(String, String)>> {
    match http::ask(&config.listen, "/metrics") {
        Ok(text) => {
            let numbers = metrics::parse(&text);
            Some(numbers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        }
        Err(error) => {
            log::debug!("the job does not answer: listen={} error={error}", config.listen);
            None
        }
    }
}

/// Seconds since a time in milliseconds since 1970.
fn age(time: u64) -> f64 {
    ledger::now().saturating_sub(time) as f64 / 1000.0
}

fn topic(topic: Topic) -> &'static str {
    match topic {
        Topic::Clicks => "clicks",
        Topic::Articles => "articles",
    }
}
