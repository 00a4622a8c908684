//! `consume`: prints the messages of a topic, each as a line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comfy_table::Cell;
use rdkafka::message::Timestamp;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::reach;
use super::show::{document, right, table, titled};
use super::topics::GROUP;
use crate::cli;
use crate::kafka::{Access, At, Code, Consumer, Partition, What};

/// How long nothing may come before it is asked whether to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// How many messages are taken at once.
const TAKEN: usize = 1024;

/// How many bytes are printed at once.
const PRINTED: usize = 64 << 10;

/// Why messages could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such partition.
    #[error("topic {topic} has no partition {partition}, only {partitions} from 0 on")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How many it has.
        partitions: usize,
    },
    /// There is no such offset.
    #[error("{partition} has no offset {offset}: it has those from {earliest} to before {end}")]
    NoOffset {
        /// Where.
        partition: Partition,
        /// The offset.
        offset: u64,
        /// The first that is there.
        earliest: u64,
        /// The one after the last.
        end: u64,
    },
    /// A partition cannot be read on.
    #[error("cannot read {partition} of {topic} at offset {offset}: {code}")]
    Read {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// Why.
        code: Code,
    },
    /// Signals could not be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
}

pub(super) fn consume(args: &cli::Consume) -> Result<String, super::Error> {
    let (access, _) = reach(&args.brokers)?;
    let ask = access.consumer(args.lag.as_deref().unwrap_or(GROUP))?;
    let mut partitions = ask.partitions(&args.topic)?;
    for number in &args.partition {
        if !partitions.iter().any(|there| there.number == *number) {
            let (topic, partitions) = (args.topic.clone(), partitions.len());
            return Err(Error::NoPartition { topic, partition: *number, partitions }.into());
        }
    }
    if !args.partition.is_empty() {
        partitions.retain(|there| args.partition.contains(&there.number));
    }
    match args.lag {
        Some(_) => lag(args, &ask, &partitions),
        None => {
            let offsets = offsets(args, &ask, &partitions)?;
            print(args, &access, &offsets).map(|()| String::new())
        }
    }
}

/// Where each partition is read from.
fn offsets(
    args: &cli::Consume,
    ask: &Consumer,
    partitions: &[Partition],
) -> Result<BTreeMap<Partition, u64>, super::Error> {
    let at = match (args.from_beginning, args.since) {
        (true, _) => At::Beginning,
        (_, Some(time)) => At::Time(time.as_millisecond().max(0)),
        _ => At::End,
    };
    let Some(offset) = args.offset else { return Ok(ask.offsets(at, partitions)?) };
    let earliest = ask.offsets(At::Beginning, partitions)?;
    let ends = ask.offsets(At::End, partitions)?;
    for (partition, end) in ends {
        let earliest = earliest[&partition];
        if !(earliest..=end).contains(&offset) {
            return Err(Error::NoOffset { partition, offset, earliest, end }.into());
        }
    }
    Ok(partitions.iter().map(|partition| (partition.clone(), offset)).collect())
}

fn print(
    args: &cli::Consume,
    access: &Access,
    offsets: &BTreeMap<Partition, u64>,
) -> Result<(), super::Error> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        let listened = signal_hook::flag::register(signal, Arc::clone(&ended));
        listened.map_err(Error::Signals)?;
    }
    let mut messages = access.messages(GROUP)?;
    messages.read(offsets.iter().map(|(partition, offset)| (partition, *offset)))?;
    let mut left = args.max.map_or(u64::MAX, u64::from);
    let mut lines = Vec::with_capacity(2 * PRINTED);
    let mut out = io::stdout().lock();
    while left > 0 && !ended.load(Ordering::Relaxed) {
        let mut failed = None;
        let most = usize::try_from(left).unwrap_or(TAKEN).min(TAKEN);
        let found = messages.poll(PATIENCE, most, |found| match found.what {
            What::Record { timestamp, value } => {
                if args.timestamps {
                    stamp(timestamp, &mut lines);
                }
                lines.extend_from_slice(value.unwrap_or_default());
                lines.push(b'\n');
                left -= 1;
            }
            What::End => {}
            What::Failed(code) => failed = Some((found.partition, found.offset, code)),
        });
        // Printed by the block while there is more, and at once where there is not.
        if lines.len() >= PRINTED || found < most || left == 0 {
            match out.write_all(&lines).and_then(|()| out.flush()) {
                Ok(()) => lines.clear(),
                // Whoever reads has had enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(super::Error::Print(error)),
            }
        }
        match failed {
            Some((partition, offset, code)) if !passes(code) => {
                let topic = args.topic.clone();
                return Err(Error::Read { topic, partition, offset, code }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the client goes on by itself after a failure.
fn passes(code: Code) -> bool {
    !matches!(
        code,
        Code::AutoOffsetReset
            | Code::OffsetOutOfRange
            | Code::UnknownTopicOrPartition
            | Code::TopicAuthorizationFailed
            | Code::BadCompression
            | Code::UnsupportedCompressionType
            | Code::Fatal
    )
}

/// Writes a timestamp as Kafka's console consumer does.
fn stamp(timestamp: Timestamp, line: &mut Vec<u8>) {
    let written = match timestamp {
        Timestamp::CreateTime(ms) => write!(line, "CreateTime:{ms}\t"),
        Timestamp::LogAppendTime(ms) => write!(line, "LogAppendTime:{ms}\t"),
        Timestamp::NotAvailable => write!(line, "NO_TIMESTAMP\t"),
    };
    written.expect("a vector takes all bytes");
}

fn lag(
    args: &cli::Consume,
    ask: &Consumer,
    partitions: &[Partition],
) -> Result<String, super::Error> {
    let committed = ask.committed_of(partitions)?;
    let ends = ask.offsets(At::End, partitions)?;
    let rows = ends.iter().map(|(partition, end)| {
        let committed = committed.get(partition).copied();
        (partition, committed, *end, committed.map(|committed| end.saturating_sub(committed)))
    });
    if args.json {
        return Ok(document(rows.map(|(partition, committed, end, lag)| {
            json!({
                "topic": &*partition.topic,
                "partition": partition.number,
                "committed": committed,
                "end": end,
                "lag": lag,
            })
        })));
    }
    let mut lines = table(["partition", "committed", "end", "lag"]);
    let known = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    for (partition, committed, end, lag) in rows {
        let (committed, lag) = (known(committed), known(lag));
        lines.add_row([Cell::new(partition), right(committed), right(end), right(lag)]);
    }
    let group = args.lag.as_deref().unwrap_or_default();
    Ok(titled(&format!("lag of group {group}"), ends.len(), usize::MAX, &lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_printed_as_replay_and_produce_read_them() {
        for (timestamp, printed) in [
            (Timestamp::CreateTime(1_554_891_332_000), "CreateTime:1554891332000\t"),
            (Timestamp::LogAppendTime(7), "LogAppendTime:7\t"),
            (Timestamp::NotAvailable, "NO_TIMESTAMP\t"),
        ] {
            let mut line = Vec::new();
            stamp(timestamp, &mut line);
            assert_eq!(line, printed.as_bytes());
            let (read, rest) = crate::source::split_timestamp(&line);
            assert_eq!(read, timestamp.to_millis().map(i64::unsigned_abs));
            assert!(rest.is_empty());
        }
    }
}
