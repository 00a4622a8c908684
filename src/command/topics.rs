//! `topics`: makes, lists, describes and deletes topics of Kafka.

use std::time::{Duration, Instant};

use comfy_table::Cell;
use rdkafka::admin::{
    AdminOptions, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::error::KafkaError;
use serde_json::{Value, json};

use super::reach;
use super::show::{document, lines, right, table, titled};
use crate::cli::{Brokers, CreateTopic, DeleteTopic, DescribeTopic, Topics};
use crate::kafka::{self, Access, At, Code, Consumer, Partition};
use crate::retry::Stop;

/// How long the servers may take to do it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The group that the tools name where the library wants one; they never commit anything to it.
pub(super) const GROUP: &str = "online-recall-tools";

/// Why a topic could not be made or deleted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The servers refuse.
    #[error("cannot {attempt} topic {topic}: {code}")]
    Refused {
        /// What was attempted.
        attempt: &'static str,
        /// The topic.
        topic: String,
        /// Why.
        code: Code,
    },
    /// The servers could not be asked.
    #[error("cannot {attempt}")]
    Asked {
        /// What was attempted.
        attempt: &'static str,
        /// Why.
        source: KafkaError,
    },
    /// What was done is not seen by all.
    #[error("topic {0} is not yet {1} everywhere; look again by `topics list`")]
    Slow(String, &'static str),
    /// The answer could not be waited for.
    #[error("cannot wait for the servers")]
    Wait(#[source] std::io::Error),
}

pub(super) fn topics(command: &Topics) -> Result<String, super::Error> {
    match command {
        Topics::Create(args) => create(args),
        Topics::List(args) => list(&args.brokers, args.json),
        Topics::Describe(args) => describe(args),
        Topics::Delete(args) => delete(args),
    }
}

fn create(args: &CreateTopic) -> Result<String, super::Error> {
    let (access, of_job) = reach(&args.brokers)?;
    let names = args.topic.as_ref().map_or(of_job, |topic| vec![topic.clone()]);
    // What is not said, the servers decide.
    let (partitions, replicas) =
        (args.partitions.unwrap_or(-1), args.replication_factor.unwrap_or(-1));
    let mut settings = Vec::new();
    for setting in &args.setting {
        let parts = setting.split_once('=');
        settings.push(parts.ok_or_else(|| {
            super::Error::Usage(format!("--setting must be NAME=VALUE, not `{setting}`"))
        })?);
    }
    let new: Vec<_> = names
        .iter()
        .map(|name| NewTopic {
            name,
            num_partitions: partitions,
            replication: TopicReplication::Fixed(replicas),
            config: settings.clone(),
        })
        .collect();
    // Asked first: a client that makes topics says less of why nobody answers.
    let ask = access.consumer(GROUP)?;
    ask.topics(|_| ())?;
    let admin = access.admin()?;
    done("make", wait(admin.create_topics(&new, &options()))?)?;
    for name in &names {
        wait_until(name, "there", || match ask.partitions(name) {
            Err(kafka::Error::NoTopic { .. }) => Ok(false),
            there => there.map(|_| true),
        })?;
    }
    Ok(names.iter().map(|name| format!("made topic {name}\n")).collect())
}

fn delete(args: &DeleteTopic) -> Result<String, super::Error> {
    let (access, _) = reach(&args.brokers)?;
    let ask = access.consumer(GROUP)?;
    ask.partitions(&args.topic)?;
    let admin = access.admin()?;
    done("delete", wait(admin.delete_topics(&[&args.topic], &options()))?)?;
    wait_until(&args.topic, "gone", || match ask.partitions(&args.topic) {
        Err(kafka::Error::NoTopic { .. }) => Ok(true),
        there => there.map(|_| false),
    })?;
    Ok(format!("deleted topic {}\n", args.topic))
}

fn list(brokers: &Brokers, json: bool) -> Result<String, super::Error> {
    let (access, _) = reach(brokers)?;
    let mut topics = access.consumer(GROUP)?.topics(|topic| {
        let replicas = topic.partitions().iter().map(|one| one.replicas().len()).max();
        (topic.name().to_owned(), topic.partitions().len(), replicas.unwrap_or(0))
    })?;
    topics.sort();
    if json {
        return Ok(document(topics.iter().map(|(topic, partitions, replicas)| {
            json!({ "topic": topic, "partitions": partitions, "replicas": replicas })
        })));
    }
    let mut rows = table(["topic", "partitions", "replicas"]);
    for (topic, partitions, replicas) in &topics {
        rows.add_row([Cell::new(topic), right(partitions), right(replicas)]);
    }
    Ok(titled("topics", topics.len(), usize::MAX, &rows))
}

/// A partition as it is described.
struct Described {
    partition: i32,
    leader: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    earliest: u64,
    end: u64,
}

fn describe(args: &DescribeTopic) -> Result<String, super::Error> {
    let (access, of_job) = reach(&args.brokers)?;
    let names = args.topic.as_ref().map_or(of_job, |topic| vec![topic.clone()]);
    let ask = access.consumer(GROUP)?;
    let mut documents = Vec::new();
    let mut text = String::new();
    for name in names {
        let partitions = described(&ask, &name)?;
        let settings = settings(&access, &name)?;
        if args.json {
            documents.push(as_document(&name, &partitions, &settings));
            continue;
        }
        let mut rows = table(["partition", "leader", "replicas", "in sync", "earliest", "end"]);
        for one in &partitions {
            rows.add_row([
                right(one.partition),
                right(one.leader),
                Cell::new(joined(&one.replicas)),
                Cell::new(joined(&one.in_sync)),
                right(one.earliest),
                right(one.end),
            ]);
        }
        text += &titled(&format!("partitions of {name}"), partitions.len(), usize::MAX, &rows);
        if !settings.is_empty() {
            let mut rows = table(["setting", "value"]);
            for (setting, value) in &settings {
                rows.add_row([setting, value]);
            }
            text += &lines(&rows);
        }
    }
    match (args.json, &args.topic) {
        (true, Some(_)) => Ok(documents.into_iter().map(|it| format!("{it}\n")).collect()),
        (true, None) => Ok(document(documents.into_iter())),
        (false, _) => Ok(text),
    }
}

fn described(ask: &Consumer, topic: &str) -> Result<Vec<Described>, super::Error> {
    let there = ask.partitions(topic)?;
    let earliest = ask.offsets(At::Beginning, &there)?;
    let end = ask.offsets(At::End, &there)?;
    let found = ask.topics(|found| {
        if found.name() != topic {
            return Vec::new();
        }
        let partitions = found.partitions().iter().map(|one| {
            let partition = Partition { topic: topic.into(), number: one.id() };
            Described {
                partition: one.id(),
                leader: one.leader(),
                replicas: one.replicas().to_vec(),
                in_sync: one.isr().to_vec(),
                earliest: earliest.get(&partition).copied().unwrap_or(0),
                end: end.get(&partition).copied().unwrap_or(0),
            }
        });
        partitions.collect()
    })?;
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    found.sort_by_key(|one| one.partition);
    Ok(found)
}

/// The settings of a topic that are not the servers' own, in order.
fn settings(access: &Access, topic: &str) -> Result<Vec<(String, String)>, super::Error> {
    let admin = access.admin()?;
    let asked = [ResourceSpecifier::Topic(topic)];
    let answers = wait(admin.describe_configs(&asked, &options()))?;
    let mut settings = Vec::new();
    for answer in answers {
        let refused = |code| {
            let topic = topic.to_owned();
            Error::Refused { attempt: "read the settings of", topic, code }
        };
        let entries = answer.map_err(refused)?.entries.into_iter();
        let own = entries.filter(|entry| entry.source == ConfigSource::DynamicTopic);
        settings.extend(own.map(|entry| (entry.name, entry.value.unwrap_or_default())));
    }
    settings.sort();
    Ok(settings)
}

fn as_document(topic: &str, partitions: &[Described], settings: &[(String, String)]) -> Value {
    let partitions: Vec<_> = partitions
        .iter()
        .map(|one| {
            json!({
                "partition": one.partition,
                "leader": one.leader,
                "replicas": one.replicas,
                "in_sync": one.in_sync,
                "earliest": one.earliest,
                "end": one.end,
            })
        })
        .collect();
    let settings: serde_json::Map<_, _> =
        settings.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({ "topic": topic, "partitions": partitions, "settings": settings })
}

fn joined(numbers: &[i32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// Waits for what the servers answer.
fn wait<T>(answer: impl Future<Output = Result<T, KafkaError>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Error::Wait)?;
    let attempt = "ask the servers about topics";
    runtime.block_on(answer).map_err(|source| Error::Asked { attempt, source })
}

fn done(attempt: &'static str, results: Vec<TopicResult>) -> Result<(), Error> {
    results.into_iter().try_for_each(|result| match result {
        Ok(_) => Ok(()),
        Err((topic, code)) => Err(Error::Refused { attempt, topic, code }),
    })
}

/// Waits until all servers have heard of it, so that the next command finds it so.
fn wait_until(
    topic: &str,
    what: &'static str,
    mut is_so: impl FnMut() -> Result<bool, kafka::Error>,
) -> Result<(), super::Error> {
    let begun = Instant::now();
    while !is_so()? {
        if begun.elapsed() > PATIENCE {
            return Err(Error::Slow(topic.to_owned(), what).into());
        }
        Stop::default().wait(Duration::from_millis(50));
    }
    Ok(())
}
