//! `produce`: sends lines to a topic, each as a message.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use flate2::read::MultiGzDecoder;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use memchr::memmem::Finder;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
};
use serde::de::IgnoredAny;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::reach;
use super::topics::GROUP;
use crate::cli;
use crate::kafka::Code;
use crate::source::split_timestamp;

/// How much is read at once.
const BLOCK_BYTES: usize = 256 << 10;

/// How many blocks are read ahead.
const AHEAD: usize = 4;

/// How long is waited for room among the messages that are under way.
const PATIENCE: Duration = Duration::from_millis(10);

/// What a producer is unless the configuration says otherwise: large batches, and how large a message
/// may be is for the servers to say.
const SETTINGS: [(&str, &str); 4] = [
    ("linger.ms", "20"),
    ("queue.buffering.max.kbytes", "65536"),
    ("queue.buffering.max.messages", "200000"),
    ("message.max.bytes", "104857600"),
];

/// How long the servers may take to say what a topic is.
const ANSWER: Duration = Duration::from_secs(5);

/// Why lines could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is to be sent cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line has no key.
    #[error(
        "line {line} has no key: there is no {separator:?} in it; it and what follows are not sent"
    )]
    NoKey {
        /// The line, counted from 1 over all that was read.
        line: u64,
        /// What divides key and value.
        separator: String,
    },
    /// A line is no JSON.
    #[error("line {line} is no JSON document; it and what follows are not sent")]
    NotJson {
        /// The line, counted from 1 over all that was read.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A message was refused before it was sent.
    #[error("cannot send line {line}; what follows is not sent")]
    Send {
        /// The line, counted from 1 over all that was read.
        line: u64,
        /// Why.
        source: KafkaError,
    },
    /// Messages were refused, or nobody took them in time.
    #[error("{failed} messages were not written to {topic}, {delivered} were")]
    Undelivered {
        /// The topic.
        topic: String,
        /// How many were not.
        failed: u64,
        /// How many were.
        delivered: u64,
        /// What became of the first of them.
        source: KafkaError,
    },
    /// A signal ended it.
    #[error(
        "ended by signal {signal}; {delivered} messages are written, and what follows was not read"
    )]
    Interrupted {
        /// Which.
        signal: i32,
        /// How many messages were written.
        delivered: u64,
    },
    /// Signals could not be listened to, or a thread not be started.
    #[error("cannot begin to read")]
    Begin(#[source] io::Error),
}

pub(super) fn produce(args: &cli::Produce) -> Result<(), super::Error> {
    let begun = Instant::now();
    let (access, _) = reach(&args.brokers)?;
    // A producer makes a topic that is not there, where the servers let it, and says little where
    // nobody answers: so it is asked for first.
    access.consumer(GROUP)?.partitions(&args.topic)?;
    let access = match args.compression {
        Some(compression) => access.with("compression.type", compression.name()),
        None => access,
    };
    let delivered = Arc::new(Delivered::default());
    let producer: BaseProducer<_> = access.producer(&SETTINGS, Ear(Arc::clone(&delivered)))?;
    make_ready(&producer, &args.topic);
    let sending = Sending { producer, delivered, args, lines: 0 };
    let delivered = sending.run()?;
    let seconds = begun.elapsed().as_secs_f64();
    let rate = delivered as f64 / seconds;
    log::info!(
        "sent: topic={} messages={delivered} seconds={seconds:.1} rate={rate:.0}/s",
        args.topic
    );
    Ok(())
}

/// Lets the client find out at once what it would find out half a second later: an idempotent producer
/// asks for its id when it learns of topics from a server other than the first, which only leads there.
fn make_ready(producer: &BaseProducer<Ear>, topic: &str) {
    for _ in 0..2 {
        if let Err(error) = producer.client().fetch_metadata(Some(topic), ANSWER) {
            log::debug!("not ready yet: error={error}");
        }
    }
}

/// What has become of messages.
#[derive(Debug, Default)]
struct Delivered {
    written: AtomicU64,
    failed: AtomicU64,
    first: Mutex<Option<KafkaError>>,
}

struct Ear(Arc<Delivered>);

impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log::debug!("librdkafka says: level={level:?} facility={facility} message={message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::warn!("kafka does not answer: error={error} reason={reason}");
    }
}

impl ProducerContext<NoCustomPartitioner> for Ear {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.0.written.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => {
                let mut first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| error.clone());
                self.0.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

struct Sending<'a> {
    producer: BaseProducer<Ear>,
    delivered: Arc<Delivered>,
    args: &'a cli::Produce,
    /// How many lines were taken.
    lines: u64,
}

impl Sending<'_> {
    /// Sends everything, and waits until it is written. Returns how many messages are.
    fn run(mut self) -> Result<u64, Error> {
        let sent = self.send_all();
        // What was taken is written, however it goes on.
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(PATIENCE);
        }
        // The last reports may be still to be taken.
        self.producer.poll(Duration::ZERO);
        let delivered = self.delivered.written.load(Ordering::Relaxed);
        let failed = self.delivered.failed.load(Ordering::Relaxed);
        let first = self.delivered.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(source) = first {
            let topic = self.args.topic.clone();
            return Err(Error::Undelivered { topic, failed, delivered, source });
        }
        match sent? {
            Some(signal) => Err(Error::Interrupted { signal, delivered }),
            None => Ok(delivered),
        }
    }

    /// Sends everything, or until a signal comes.
    fn send_all(&mut self) -> Result<Option<i32>, Error> {
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::Begin)?;
        let (tell, caught) = bounded(1);
        std::thread::spawn(move || {
            let mut is_first = true;
            for signal in signals.forever() {
                if std::mem::take(&mut is_first) {
                    if tell.send(signal).is_err() {
                        log::debug!("a signal comes when all is taken: signal={signal}");
                    }
                // A second one does not wait for what was taken.
                } else if let Err(error) = emulate_default_handler(signal) {
                    log::warn!("cannot end by a signal: signal={signal} error={error}");
                }
            }
        });
        let (total, blocks) = read(self.args)?;
        let bar = progress(total);
        loop {
            let block = select! {
                recv(blocks) -> block => block,
                recv(caught) -> signal => return Ok(signal.ok()),
            };
            let Ok(block) = block else { break };
            let block = block?;
            for line in lines(&block) {
                self.lines += 1;
                if !self.send(line, || !caught.is_empty())? {
                    return Ok(caught.recv().ok());
                }
            }
            // Reports of what was delivered are taken as they come.
            self.producer.poll(Duration::ZERO);
            bar.inc(block.len() as u64);
            bar.set_message(format!("{} lines", HumanCount(self.lines)));
        }
        bar.finish_and_clear();
        Ok(None)
    }

    /// Sends a line, as soon as there is room for it; says whether it did, which it does not once it is to
    /// end.
    fn send(&self, line: &[u8], ends: impl Fn() -> bool) -> Result<bool, Error> {
        let number = self.lines;
        let (timestamp, value) = match self.args.file_names {
            Some(_) => (None, line),
            None => split_timestamp(line.strip_suffix(b"\r").unwrap_or(line)),
        };
        let (key, value) = match &self.args.key_separator {
            Some(separator) => {
                let at = Finder::new(separator).find(value).ok_or_else(|| {
                    let separator = separator.clone();
                    Error::NoKey { line: number, separator }
                })?;
                (Some(&value[..at]), &value[at + separator.len()..])
            }
            None => (None, value),
        };
        if self.args.json {
            let parsed = serde_json::from_slice::<IgnoredAny>(value);
            parsed.map_err(|source| Error::NotJson { line: number, source })?;
        }
        let mut record = BaseRecord::to(&self.args.topic).payload(value);
        record.key = key;
        record.timestamp = timestamp.and_then(|ms| i64::try_from(ms).ok());
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(true),
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) if ends() => {
                    return Ok(false);
                }
                // Not even an empty queue has room for it.
                Err((source @ KafkaError::MessageProduction(Code::QueueFull), _))
                    if self.producer.in_flight_count() == 0 =>
                {
                    return Err(Error::Send { line: number, source });
                }
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(PATIENCE);
                }
                Err((source, _)) => return Err(Error::Send { line: number, source }),
            }
        }
    }
}

/// Whole lines, as they were read; or why no more could be.
type Block = Result<Vec<u8>, Error>;

/// Starts to read: how many bytes there are, where that is known, and blocks of whole lines.
fn read(args: &cli::Produce) -> Result<(Option<u64>, Receiver<Block>), Error> {
    let (send, blocks) = bounded(AHEAD);
    let total;
    let body: Box<dyn FnOnce() + Send> = if let Some(folder) = &args.file_names {
        let names = file_names(folder)?;
        total = Some(names.len() as u64);
        Box::new(move || offer(&send, Ok(names)))
    } else if args.files.is_empty() {
        total = None;
        Box::new(move || blocks_of(Path::new("-"), io::stdin(), &send))
    } else {
        let mut opened = Vec::new();
        let mut bytes = Some(0);
        for path in &args.files {
            let failed = |source| Error::Read { path: path.clone(), source };
            let file = File::open(path).map_err(failed)?;
            let there = file.metadata().map_err(failed)?;
            let packed = path.extension().is_some_and(|kind| kind == "gz");
            bytes = bytes.filter(|_| !packed && there.is_file()).map(|sum| sum + there.len());
            opened.push((path.clone(), file, packed));
        }
        total = bytes;
        Box::new(move || {
            for (path, file, packed) in opened {
                match packed {
                    true => blocks_of(&path, MultiGzDecoder::new(io::BufReader::new(file)), &send),
                    false => blocks_of(&path, file, &send),
                }
            }
        })
    };
    // Nobody waits for it after a signal: it may be waiting for a pipe.
    std::thread::Builder::new().name("read".to_owned()).spawn(body).map_err(Error::Begin)?;
    Ok((total, blocks))
}

/// The names of the files in a directory, a line each, in order.
fn file_names(folder: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_file() {
            names.push(entry.file_name().into_encoded_bytes());
        }
    }
    names.sort();
    names.iter_mut().for_each(|name| name.push(b'\n'));
    Ok(names.concat())
}

/// Sends what it reads, cut behind newlines.
fn blocks_of(path: &Path, mut input: impl Read, blocks: &Sender<Block>) {
    let mut block = Vec::new();
    loop {
        let whole = block.len();
        block.resize(whole + BLOCK_BYTES, 0);
        match input.read(&mut block[whole..]) {
            Ok(0) => {
                block.truncate(whole);
                break;
            }
            Ok(read) => block.truncate(whole + read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => block.truncate(whole),
            Err(source) => {
                return offer(blocks, Err(Error::Read { path: path.to_owned(), source }));
            }
        }
        if let Some(end) = memchr::memrchr(b'\n', &block[whole..]) {
            let rest = block.split_off(whole + end + 1);
            offer(blocks, Ok(std::mem::replace(&mut block, rest)));
        }
    }
    if !block.is_empty() {
        offer(blocks, Ok(block));
    }
}

fn offer(blocks: &Sender<Block>, block: Block) {
    if blocks.send(block).is_err() {
        log::debug!("what was read is sent by nobody: sending has ended");
    }
}

/// The lines of a block, each without its newline.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(line)
    })
}

/// What a person who waits is shown; nothing where standard error is no terminal.
pub(super) fn progress(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:30} {percent:>3}%  {bytes}/{total_bytes}  {msg}  {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}  {msg}  {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_with_lines_however_they_are_read() {
        let text = b"a\nbc\n\nlast";
        for step in 1..=text.len() {
            struct Steps<'a>(&'a [u8], usize);
            impl Read for Steps<'_> {
                fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                    let step = self.1.min(self.0.len());
                    self.0.read(&mut to[..step])
                }
            }
            let (send, blocks) = crossbeam_channel::unbounded();
            blocks_of(Path::new("-"), Steps(text, step), &send);
            drop(send);
            let blocks: Vec<_> = blocks.iter().map(Result::unwrap).collect();
            let found: Vec<_> = blocks.iter().flat_map(|block| lines(block)).collect();
            assert_eq!(found, [&b"a"[..], b"bc", b"", b"last"], "{step}");
        }
    }
}
