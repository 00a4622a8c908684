//! Dead letters in a topic: the key is the letter's place, the value its bytes, the header `reason` why it
//! is no event. At least once: one that may not have been taken is sent again.

use std::collections::BTreeSet;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::Error;
use crate::decode::KEPT_OF_TOO_LONG;
use crate::kafka::Access;
use crate::retry::{self, Ended, Peer, Stop};
use crate::sink::DeadLetter;

/// What the client does unless the configuration says otherwise.
const SETTINGS: [(&str, &str); 3] = [
    // So long a message may be under way before that is a failed attempt.
    ("message.timeout.ms", "10000"),
    // A record has up to 1 MiB; what the brokers take, they say themselves.
    ("message.max.bytes", "2097152"),
    // The epochs in flight hold the letters already.
    ("queue.buffering.max.kbytes", "16384"),
];

/// How long nothing may be told of messages before it is asked whether the job stops.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long the brokers may take to say what a topic is.
const ANSWER: Duration = Duration::from_secs(5);

/// The topic, and who sends to it.
pub(super) struct Topic {
    name: String,
    access: Access,
    /// Of the files, if there were such before: the mark goes on keeping it.
    length: u64,
    /// Made anew when the client has given up.
    sender: Option<(ThreadedProducer<Reports>, Receiver<Report>)>,
}

/// What became of a message: the number of its letter, and what it failed with.
type Report = (usize, Option<KafkaError>);

/// Passes on what became of messages.
struct Reports(Sender<Report>);

impl ClientContext for Reports {
    // Whoever waits logs once a minute what for; the client would at each of its own tries.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        log::debug!("producer of dead letters: {facility} {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::debug!("producer of dead letters: {error}: {reason}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, letter: usize) {
        let failure = result.as_ref().err().map(|(error, _)| error.clone());
        if self.0.send((letter, failure)).is_err() {
            log::debug!("nobody hears what became of a dead letter: the job is stopping");
        }
    }
}

/// How far an epoch's letters have come.
struct Sending<'a> {
    letters: &'a [DeadLetter],
    /// Those that are not acknowledged.
    open: BTreeSet<usize>,
    /// Those that the brokers refuse as a whole.
    cut: BTreeSet<usize>,
}

impl Topic {
    pub fn new(name: &str, access: &Access, length: u64) -> Result<Topic, Error> {
        let name = name.to_owned();
        if access.servers().is_empty() {
            return Err(Error::NoKafka { topic: name });
        }
        Ok(Topic { name, access: access.clone(), length, sender: None })
    }

    /// Waits for the brokers, and looks for the topic.
    pub fn make_ready(&mut self, stop: &Stop) -> Result<(), Ended<Error>> {
        // Asking changes nothing.
        let made = retry::persist(stop, Peer::Kafka, "the topic of dead letters", |_| {
            connect(&self.name, &self.access)
        })?;
        self.sender = Some(made);
        Ok(())
    }

    /// Sends letters, and waits until all are acknowledged.
    pub fn keep(&mut self, letters: &[DeadLetter], stop: &Stop) -> Result<u64, Ended<Error>> {
        if !letters.is_empty() {
            let (open, cut) = ((0..letters.len()).collect(), BTreeSet::new());
            let mut sending = Sending { letters, open, cut };
            // Sent again, a letter stands there twice, under the same key: that is what is promised.
            retry::persist(stop, Peer::Kafka, "dead letters", |_| self.send(&mut sending, stop))?;
        }
        Ok(self.length)
    }

    /// Sends all that is open, once; letters that are too large a second time, cut.
    fn send(&mut self, sending: &mut Sending<'_>, stop: &Stop) -> Result<(), Error> {
        let failed = |source| Error::Send { topic: self.name.clone(), source };
        let (producer, reports) = match &mut self.sender {
            Some(sender) => sender,
            none => none.insert(connect(&self.name, &self.access)?),
        };
        let mut unsent: Vec<usize> = sending.open.iter().rev().copied().collect();
        let mut under_way = 0_usize;
        let mut failure = None;
        while under_way > 0 || !unsent.is_empty() {
            while let Some(&letter) = unsent.last() {
                match producer.send(sending.record(&self.name, letter)) {
                    Ok(()) => under_way += 1,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                        if under_way > 0 =>
                    {
                        break;
                    }
                    Err((error, _)) => failure = Some(error),
                }
                unsent.pop();
            }
            if under_way == 0 {
                break;
            }
            match reports.recv_timeout(PATIENCE) {
                Ok((letter, None)) => {
                    under_way -= 1;
                    sending.open.remove(&letter);
                }
                Ok((letter, Some(error))) => {
                    under_way -= 1;
                    if is_too_large(&error) && sending.cut.insert(letter) {
                        sending.warn(&self.name, letter);
                        unsent.push(letter);
                    } else {
                        failure = Some(error);
                    }
                }
                Err(RecvTimeoutError::Timeout) if stop.is_stopped() => return Err(Error::Stopped),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the producer stands beside"),
            }
        }
        let Some(error) = failure else { return Ok(()) };
        let error = failed(error);
        if producer.client().fatal_error().is_some() {
            self.sender = None;
        }
        Err(error)
    }
}

impl Sending<'_> {
    fn record<'a>(&'a self, topic: &'a str, letter: usize) -> BaseRecord<'a, [u8], [u8], usize> {
        let DeadLetter { place, reason, bytes, .. } = &self.letters[letter];
        let header = Header { key: "reason", value: Some(reason.name()) };
        let mut headers = OwnedHeaders::new().insert(header);
        let mut payload = &bytes[..];
        if self.cut.contains(&letter) {
            let length = bytes.len().to_string();
            headers = headers.insert(Header { key: "length", value: Some(&length) });
            payload = &payload[..payload.len().min(KEPT_OF_TOO_LONG)];
        }
        BaseRecord::with_opaque_to(topic, letter).key(&place[..]).payload(payload).headers(headers)
    }

    fn warn(&self, topic: &str, letter: usize) {
        let letter = &self.letters[letter];
        let (place, length) = (String::from_utf8_lossy(&letter.place), letter.bytes.len());
        log::warn!(
            "the topic takes no dead letter of this size; its first bytes are kept: \
             topic={topic} place={place} length={length}"
        );
    }
}

/// Makes a producer that has seen the topic.
fn connect(
    topic: &str,
    access: &Access,
) -> Result<(ThreadedProducer<Reports>, Receiver<Report>), Error> {
    let failed = |source| Error::Send { topic: topic.to_owned(), source };
    let (sender, reports) = crossbeam_channel::unbounded();
    let producer: ThreadedProducer<Reports> = access.producer(&SETTINGS, Reports(sender))?;
    let seen = producer.client().fetch_metadata(Some(topic), ANSWER).map_err(failed)?;
    let error = seen.topics().iter().find(|it| it.name() == topic).and_then(|it| it.error());
    match error.map(RDKafkaErrorCode::from) {
        None => Ok((producer, reports)),
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition,
        ) => {
            let options = access.options().to_owned();
            Err(Error::NoTopic { topic: topic.to_owned(), options })
        }
        Some(code) => Err(failed(KafkaError::MetadataFetch(code))),
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}
