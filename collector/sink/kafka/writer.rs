//! A producer whose reports are taken by the batch.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::error::{Error, Verdict, judge};
use super::route::Message;
use crate::kafka::client::Properties;
use crate::kafka::ear::Ear;
use crate::stop::Stop;

/// How long brokers may take to say what a topic is.
const ANSWER: Duration = Duration::from_secs(10);

/// How often, and how long apart, a topic is asked for that the brokers may make because it was asked for.
const MADE: (usize, Duration) = (20, Duration::from_millis(100));

/// How many topics are remembered as being there.
const REMEMBERED: usize = 10_000;

/// Where a message stands: the number of its batch, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub batch: u32,
    pub place: u32,
}

impl Place {
    fn opaque(self) -> usize {
        (self.batch as usize) << 32 | self.place as usize
    }

    fn of(opaque: usize) -> Place {
        Place { batch: (opaque >> 32) as u32, place: opaque as u32 }
    }
}

/// What has become of a message: none where it was written.
pub(super) type Report = (Place, Option<Code>);

/// Keeps what became of messages, until it is taken.
pub(super) struct Reports {
    ear: Ear,
    done: Mutex<Vec<Report>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.ear.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.ear.error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let failure = result.as_ref().err().map(|(error, _)| code_of(error));
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push((Place::of(opaque), failure));
    }
}

/// What became of handing a message over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// It is on its way.
    Over,
    /// There is no room for it now.
    Full,
    /// It never will be.
    Dead(&'static str, Code),
    /// It was refused, for now.
    Refused(Code),
}

/// Writes messages.
pub(super) struct Writer {
    producer: BaseProducer<Reports>,
    servers: String,
    /// Topics that are there.
    known: HashSet<String>,
    /// The one that was asked for last.
    last: String,
    /// The most bytes of a message that ever have room.
    most: usize,
    spare: Vec<Report>,
}

impl Writer {
    /// Makes a producer; nothing is asked of a broker yet.
    pub fn new(owner: &str, properties: &Properties) -> Result<Writer, Error> {
        let context = Reports { ear: Ear::new(owner), done: Mutex::default() };
        let producer: BaseProducer<_> = properties
            .config()
            .create_with_context(context)
            .map_err(|error| Error::Configuration(error.into()))?;
        let number = |name, default: usize| {
            properties.get(name).and_then(|n| n.parse().ok()).unwrap_or(default)
        };
        let room = number("queue.buffering.max.kbytes", 1 << 20).saturating_mul(1024);
        let most = number("message.max.bytes", 1_000_000).min(room);
        let servers = properties.servers().to_owned();
        Ok(Writer {
            producer,
            servers,
            known: HashSet::new(),
            last: String::new(),
            most,
            spare: Vec::new(),
        })
    }

    /// The client itself.
    pub fn client(&self) -> &BaseProducer<Reports> {
        &self.producer
    }

    /// What the client has said of late.
    pub fn heard(&self) -> Option<String> {
        self.ear().last()
    }

    /// What the client says by itself.
    pub fn ear(&self) -> &Ear {
        &self.producer.client().context().ear
    }

    /// Nobody answered.
    pub fn away(&self, attempt: &str, source: KafkaError) -> Error {
        let (attempt, servers) = (attempt.to_owned(), self.servers.clone());
        Error::Away { attempt, servers, heard: self.heard(), source: source.into() }
    }

    /// Sees that brokers answer; and, where it is named, that there is this topic.
    pub fn reach(&mut self, topic: Option<&str>) -> Result<(), Error> {
        if let Some(topic) = topic {
            self.see(topic, &Stop::default())?;
        }
        // Asked twice, an idempotent producer has its id at once; it would ask for it half a second later.
        let asked = self.producer.client().fetch_metadata(topic, ANSWER);
        asked.map(drop).map_err(|error| self.away("reach kafka", error))
    }

    /// Sees that there is this topic: a message to one that is not there would wait for long.
    pub fn see(&mut self, topic: &str, stop: &Stop) -> Result<(), Error> {
        if self.last == topic {
            return Ok(());
        }
        if self.known.contains(topic) {
            topic.clone_into(&mut self.last);
            return Ok(());
        }
        for asked in 0..MADE.0 {
            let answer = self.producer.client().fetch_metadata(Some(topic), ANSWER);
            let answer = answer.map_err(|error| self.away("ask for a topic", error))?;
            let found = answer.topics().iter().find(|found| found.name() == topic);
            match found.map(|found| found.error().map(Code::from)) {
                Some(None) => {
                    if self.known.len() >= REMEMBERED {
                        self.known.clear();
                    }
                    self.known.insert(topic.to_owned());
                    return Ok(());
                }
                Some(Some(Code::UnknownTopicOrPartition | Code::LeaderNotAvailable)) | None => {
                    if asked + 1 < MADE.0 && stop.wait(MADE.1) {
                        break;
                    }
                }
                Some(Some(code)) => return Err(self.not_taken(topic, code)),
            }
        }
        Err(Error::NoTopic { topic: topic.to_owned(), servers: self.servers.clone() })
    }

    /// A message was refused, and may be taken later.
    pub fn not_taken(&self, topic: &str, code: Code) -> Error {
        if matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition) {
            return Error::NoTopic { topic: topic.to_owned(), servers: self.servers.clone() };
        }
        Error::NotTaken { topic: topic.to_owned(), code, heard: self.heard() }
    }

    /// Hands a message over.
    pub fn hand(&self, message: &Message<'_>, place: Place) -> Handed {
        if message.value.len() + message.key.map_or(0, str::len) > self.most {
            return Handed::Dead("too_large", Code::MessageSizeTooLarge);
        }
        let record = BaseRecord::<str, [u8], usize> {
            topic: &message.topic,
            partition: message.partition,
            payload: Some(message.value),
            key: message.key,
            timestamp: message.timestamp,
            headers: message.headers.clone(),
            delivery_opaque: place.opaque(),
        };
        let Err((error, _)) = self.producer.send(record) else { return Handed::Over };
        match code_of(&error) {
            Code::QueueFull => Handed::Full,
            code => match judge(code, message.asks) {
                Verdict::Dead(reason) | Verdict::Suspect(reason) => Handed::Dead(reason, code),
                Verdict::Fails => Handed::Refused(code),
            },
        }
    }

    /// Takes what has become of messages; waits so long for it.
    pub fn reports(&mut self, patience: Duration) -> &[Report] {
        self.spare.clear();
        // A poll of no time serves one event of many messages; one that waits serves all, but to its end.
        loop {
            let before = self.spare.len();
            self.producer.poll(Duration::ZERO);
            self.take_done();
            if self.spare.len() == before {
                break;
            }
        }
        if self.spare.is_empty() && !patience.is_zero() {
            self.producer.poll(patience);
            self.take_done();
        }
        &self.spare
    }

    fn take_done(&mut self) {
        let done = &self.producer.client().context().done;
        self.spare.append(&mut done.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Fail)
}
