//! Exactly once: what is taken is a transaction of Kafka's, and the channel's position travels in it.
//!
//! ```text
//!   begin ─▶ events ─▶ position, as an offset of a group ─▶ commit          the channel forgets them
//!                                                             │                       │
//!      a kill before: Kafka drops the events, they are taken again                    │
//!      a kill between: the next start reads the position, and the channel forgets ────┘
//! ```
//!
//! The position is the offset that a group has committed for partition 0 of the sink's topic, and beside it
//! stands the channel that it is of; the group is named as the transactions are. To begin, a client shuts out every older one of the same name, and ends
//! what that has left open: so the position that is read then is the last. A reader with
//! `isolation.level=read_committed` sees each event once.
//!
//! Brokers forget a group's offset after a week without commits (`offsets.retention.minutes`): a process that
//! is killed between the two commits, and started again only then, doubles what was in its last transaction.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{Producer as _, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::error::{Verdict, judge};
use super::stream::text_of;
use super::writer::{Handed, Place, Writer};
use super::{Error, Failure, Settings, Tap, Turn};
use crate::kafka::client::Properties;
use crate::sink::{Dead, Taken};

/// How many events a transaction has at most, unless one batch is more.
const MOST: usize = 10_000;

/// How long brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How much longer than a message may be on its way nothing may be reported.
const GRACE: Duration = Duration::from_secs(10);

/// How long is waited for reports.
const WAIT: Duration = Duration::from_millis(1);

/// Transactions under way.
pub(super) struct Once {
    writer: Writer,
    /// Names the group whose offset is the position, and reads that.
    group: Option<BaseConsumer>,
    /// Whether the writer sends every message by itself.
    is_careful: bool,
    /// The topic that carries the position.
    topic: String,
    id: String,
    /// The number of the next batch that is sent, or sent again.
    next_batch: u32,
    /// The channel that the positions are of.
    identity: String,
    /// How long no message may be reported before a transaction counts as failed.
    silence: Duration,
    room: Vec<u8>,
}

/// What a try has come to.
enum Tried {
    /// All is written, or dead.
    Well,
    /// More are dead than was known.
    MoreDead,
    /// Some are refused with their company.
    Suspects,
}

impl Once {
    /// Shuts out every older client, and lets the channel forget what Kafka has.
    pub fn start(settings: &Settings, tap: &Tap) -> Result<Once, Failure> {
        let identity = tap.channel().identity().ok_or(Error::NoPositions)?.to_owned();
        let id = settings.transactional_id(tap.name(), &identity);
        let topic = settings.route.topic().ok_or(Error::NoPositions)?.to_owned();
        let mut once = Once {
            writer: writer(settings, tap, &id, false)?,
            group: Some(group(settings, &id)?),
            is_careful: false,
            topic,
            id,
            next_batch: 0,
            identity,
            silence: settings.delivery_timeout() + GRACE,
            room: Vec::new(),
        };
        if let Some(position) = once.committed()? {
            tap.channel().forget_below(position)?;
        }
        Ok(once)
    }

    /// The position that stands in Kafka.
    fn committed(&mut self) -> Result<Option<u64>, Error> {
        let group = self.group.as_ref().expect("it is there until the end");
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.topic, 0);
        let found = group.committed_offsets(asked, ANSWER);
        let found = found.map_err(|error| self.writer.away("read the position", error))?;
        let element = &found.elements()[0];
        element.error().map_err(|error| self.writer.away("read the position", error))?;
        match element.offset() {
            Offset::Invalid => Ok(None),
            _ if element.metadata() != self.identity => {
                log::warn!(
                    "the position that kafka has for {} is of another channel, which was here before: it does \
                     not count",
                    self.id
                );
                Ok(None)
            }
            Offset::Offset(position) if position >= 0 => Ok(Some(position.cast_unsigned())),
            other => Err(Error::Position {
                group: self.id.clone(),
                topic: self.topic.clone(),
                found: format!("{other:?}"),
            }),
        }
    }

    /// Delivers what is there in one transaction.
    pub fn turn(&mut self, settings: &Settings, tap: &Tap) -> Result<Turn, Failure> {
        if self.is_careful {
            self.writer = writer(settings, tap, &self.id, false)?;
            self.is_careful = false;
        }
        if self.next_batch > u32::MAX / 2 {
            self.next_batch = 0;
        }
        let mut batches = Batches::default();
        batches.push(tap.take(settings.batch)?);
        if batches.all.is_empty() {
            return Ok(Turn::Idle);
        }
        while batches.events + settings.batch <= MOST && tap.channel().len() > batches.events {
            if !batches.push(tap.take_within(settings.batch, Duration::ZERO)?) {
                break;
            }
        }
        let last = batches.all.last().and_then(|(taken, _)| taken.end());
        let position = last.ok_or(Error::NoPositions)?;
        loop {
            let begun = self.writer.client().begin_transaction();
            begun.map_err(|error| self.failed("begin a transaction", error))?;
            match self.send(settings, tap, &mut batches)? {
                Tried::Well => break,
                Tried::MoreDead => {}
                Tried::Suspects => self.is_careful = true,
            }
            self.abort()?;
            // The numbers of what a broker has refused are used up: the library leaves them out after an abort,
            // and what follows would be refused for the gap. A new client begins to number anew.
            self.writer = writer(settings, tap, &self.id, self.is_careful)?;
        }
        // Once the position stands in Kafka, nobody looks at these events again.
        for (taken, dead) in &batches.all {
            tap.keep(taken, dead)?;
        }
        self.commit(position)?;
        for (taken, dead) in batches.all.drain(..) {
            tap.forget(taken, dead)?;
        }
        Ok(Turn::Ready)
    }

    /// Sends all that is not known to be dead, and waits for every report.
    fn send(
        &mut self,
        settings: &Settings,
        tap: &Tap,
        batches: &mut Batches,
    ) -> Result<Tried, Failure> {
        // Reports of what was purged with a try before may come late: they are of batches below the first.
        let first = self.next_batch;
        self.next_batch += batches.all.len() as u32;
        let (mut open, mut heard) = (0usize, Instant::now());
        let mut next = (0, 0);
        // Whether the client has given up what it had: why, another message says, or will.
        let mut is_purged = false;
        loop {
            let mut is_full = false;
            while let Some((taken, dead)) = batches.all.get_mut(next.0)
                && !is_full
                && !is_purged
            {
                let Some(event) = taken.events().get(next.1) else {
                    next = (next.0 + 1, 0);
                    continue;
                };
                let place = next.1;
                if !dead.iter().any(|dead| dead.place == place) {
                    let message = match settings.route.message(event, &mut self.room) {
                        Ok(message) => message,
                        Err((reason, text)) => {
                            dead.push(Dead { place, reason, text });
                            continue;
                        }
                    };
                    self.writer.see(&message.topic, tap.stop())?;
                    let sent = Place { batch: first + next.0 as u32, place: place as u32 };
                    match self.writer.hand(&message, sent) {
                        Handed::Over => open += 1,
                        Handed::Full => {
                            is_full = true;
                            continue;
                        }
                        Handed::Dead(reason, code) => {
                            dead.push(Dead { place, reason, text: text_of(code, &message.topic) });
                        }
                        Handed::Refused(code) => {
                            let topic = message.topic.into_owned();
                            return Err(self.not_taken(&topic, code).into());
                        }
                    }
                }
                next.1 += 1;
            }
            if open == 0 && is_purged {
                return Err(self.not_taken(&self.topic, Code::PurgeQueue).into());
            }
            if open == 0 && !is_full {
                return Ok(Tried::Well);
            }
            let reports = self.writer.reports(WAIT).to_vec();
            if reports.is_empty() && heard.elapsed() > self.silence {
                let error = KafkaError::MessageProduction(Code::MessageTimedOut);
                return Err(self.writer.away("write events", error).into());
            }
            for (Place { batch, place }, failure) in reports {
                let Some(batch) = batch.checked_sub(first) else { continue };
                heard = Instant::now();
                open -= 1;
                let Some(code) = failure else { continue };
                if matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
                    is_purged = true;
                    continue;
                }
                // The first that fails spoils the transaction; what the others say comes of that.
                let (taken, dead) = &mut batches.all[batch as usize];
                let (place, mut room) = (place as usize, Vec::new());
                let message = settings.route.message(&taken.events()[place], &mut room);
                let message = message.expect("it was one before");
                return match judge(code, message.asks) {
                    Verdict::Suspect(_) if !self.is_careful => Ok(Tried::Suspects),
                    Verdict::Dead(reason) | Verdict::Suspect(reason) => {
                        dead.push(Dead { place, reason, text: text_of(code, &message.topic) });
                        Ok(Tried::MoreDead)
                    }
                    Verdict::Fails => Err(self.not_taken(&message.topic, code).into()),
                };
            }
        }
    }

    /// Commits what was sent, together with the position behind it.
    fn commit(&mut self, position: u64) -> Result<(), Error> {
        let group = self.group.as_ref().expect("it is there until the end");
        let group = group.group_metadata().expect("a consumer with a group has one");
        let mut offsets = TopicPartitionList::new();
        let position = i64::try_from(position).expect("a channel numbers no such many events");
        let mut offset = offsets.add_partition(&self.topic, 0);
        let set = offset.set_offset(Offset::Offset(position));
        set.map_err(|error| self.failed("name the position", error))?;
        offset.set_metadata(&self.identity);
        self.again("send the position", |client| {
            client.send_offsets_to_transaction(&offsets, &group, ANSWER)
        })?;
        self.again("commit a transaction", |client| client.commit_transaction(ANSWER))
    }

    fn abort(&mut self) -> Result<(), Error> {
        // The library cannot abort with reports open. What is not sent is not sent; what is under way is waited
        // for, and where it was to be sent again it is not.
        let begun = Instant::now();
        while self.writer.client().in_flight_count() > 0 && begun.elapsed() < ANSWER {
            self.writer.client().purge(PurgeConfig::default().queue());
            self.writer.reports(WAIT);
        }
        self.again("abort a transaction", |client| client.abort_transaction(ANSWER))
    }

    /// Tries once more where the library says that this is safe.
    fn again(
        &self,
        attempt: &str,
        mut work: impl FnMut(&super::Client) -> Result<(), KafkaError>,
    ) -> Result<(), Error> {
        let done = match work(self.writer.client()) {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                work(self.writer.client())
            }
            done => done,
        };
        done.map_err(|error| self.failed(attempt, error))
    }

    fn failed(&self, attempt: &str, error: KafkaError) -> Error {
        if self.is_shut_out(Some(&error)) {
            return Error::ShutOut { id: self.id.clone() };
        }
        self.writer.away(attempt, error)
    }

    fn not_taken(&self, topic: &str, code: Code) -> Error {
        if self.is_shut_out(None) {
            return Error::ShutOut { id: self.id.clone() };
        }
        self.writer.not_taken(topic, code)
    }

    /// Whether a newer client of the same transactions has come.
    fn is_shut_out(&self, error: Option<&KafkaError>) -> bool {
        let codes = [Code::ProducerFenced, Code::Fenced, Code::InvalidProducerEpoch];
        let fatal = self.writer.client().client().fatal_error().map(|(code, _)| code);
        let code = error.and_then(KafkaError::rdkafka_error_code);
        [fatal, code].into_iter().flatten().any(|code| codes.contains(&code))
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            crate::kafka::end(move || drop(group));
        }
    }
}

/// What one transaction carries, with what of it is dead. The last goes back first.
#[derive(Default)]
struct Batches {
    all: Vec<(Taken, Vec<Dead>)>,
    events: usize,
}

impl Batches {
    /// Adds a batch; says whether there is one.
    fn push(&mut self, taken: Taken) -> bool {
        let many = taken.events().len();
        if many > 0 {
            self.events += many;
            self.all.push((taken, Vec::new()));
        }
        many > 0
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        while self.all.pop().is_some() {}
    }
}

/// Makes a producer of transactions, which shuts out those before it.
fn writer(settings: &Settings, tap: &Tap, id: &str, is_careful: bool) -> Result<Writer, Error> {
    let mut properties =
        if is_careful { settings.one_by_one() } else { settings.properties.clone() };
    properties.set("transactional.id", id);
    let mut writer = Writer::new(&format!("sink {}", tap.name()), &properties)?;
    writer.reach(settings.route.topic())?;
    let begun = writer.client().init_transactions(ANSWER);
    begun.map_err(|error| writer.away("begin with transactions", error))?;
    Ok(writer)
}

/// Makes a consumer that reads nothing but its group's offset.
fn group(settings: &Settings, id: &str) -> Result<BaseConsumer, Error> {
    let mut properties = Properties::default();
    for (name, value) in settings.properties.of_connection() {
        properties.set(name, value);
    }
    properties.set("group.id", id);
    properties.set("isolation.level", "read_committed");
    properties.set("enable.auto.commit", "false");
    properties.config().create().map_err(|error| Error::Configuration(error.into()))
}
