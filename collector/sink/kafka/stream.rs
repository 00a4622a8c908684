//! Batches on their way, several at once: committed in their order, as they are written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rdkafka::producer::{Producer as _, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::error::{Verdict, judge};
use super::route::Route;
use super::writer::{Handed, Place, Report, Writer};
use super::{Error, Failure, Settings, Tap, Turn};
use crate::sink::{Dead, Taken};

/// How many batches are on their way at most, and how many events of them before another is taken.
const MOST: (usize, usize) = (256, 20_000);

/// How long is waited for a report: the shortest, and the longest where none comes.
const WAITS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A batch on its way.
struct Flight {
    taken: Taken,
    /// How many of its events are handed over, or dead.
    sent: usize,
    /// How many of those are not reported.
    open: usize,
    dead: Vec<Dead>,
    /// Those that were refused with their company.
    suspects: Vec<(usize, &'static str)>,
    /// One that was refused, for now.
    failed: Option<(usize, Code)>,
}

impl Flight {
    fn is_done(&self) -> bool {
        self.open == 0 && (self.sent == self.taken.events().len() || self.failed.is_some())
    }
}

/// Batches on their way to Kafka.
pub(super) struct Stream {
    writer: Writer,
    flights: VecDeque<Flight>,
    /// The number of the first of them.
    first: u32,
    /// How many events they have.
    events: usize,
    heard: Instant,
    room: Vec<u8>,
}

impl Stream {
    /// Reaches Kafka.
    pub fn start(settings: &Settings, tap: &Tap) -> Result<Stream, Error> {
        let mut writer = Writer::new(&format!("sink {}", tap.name()), &settings.properties)?;
        writer.reach(settings.route.topic())?;
        Ok(Stream {
            writer,
            flights: VecDeque::new(),
            first: 0,
            events: 0,
            heard: Instant::now(),
            room: Vec::new(),
        })
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Takes and sends the next batch, if there is room; commits what is written.
    pub fn turn(&mut self, settings: &Settings, tap: &Tap) -> Result<Turn, Failure> {
        let sends =
            self.flights.back().is_some_and(|flight| flight.sent < flight.taken.events().len());
        if !sends && self.flights.len() < MOST.0 && self.events < MOST.1.max(settings.batch) {
            // What is on its way is in the channel too; only a take that finds something is one.
            if self.flights.is_empty() {
                self.push(tap.take(settings.batch)?);
            } else if tap.channel().len() > self.events {
                self.push(tap.take_within(settings.batch, Duration::ZERO)?);
            }
        }
        if self.flights.is_empty() {
            return Ok(Turn::Idle);
        }
        let handed = self.hand_over(&settings.route, tap)?;
        self.settle(settings, tap, handed == 0)?;
        Ok(Turn::Ready)
    }

    /// Hands on what was taken, and commits what is written; may wait a moment for reports.
    pub fn settle(&mut self, settings: &Settings, tap: &Tap, waits: bool) -> Result<(), Failure> {
        let patience = (self.heard.elapsed() / 8).clamp(WAITS.0, WAITS.1);
        let reports = self.writer.reports(if waits { patience } else { Duration::ZERO });
        if !reports.is_empty() {
            self.heard = Instant::now();
        }
        for report in reports {
            note(&mut self.flights, self.first, &settings.route, report);
        }
        while self.flights.front().is_some_and(Flight::is_done) {
            let mut flight = self.flights.pop_front().expect("there is a first");
            if let Some((place, code)) = flight.failed {
                let topic = topic_of(&settings.route, &flight.taken, place);
                let error = self.writer.not_taken(&topic, code);
                self.flights.push_front(flight);
                return Err(error.into());
            }
            if !flight.suspects.is_empty() {
                let resolved = self.resolve(settings, tap, &mut flight);
                if let Err(error) = resolved {
                    self.flights.push_front(flight);
                    return Err(error.into());
                }
            }
            self.first = self.first.wrapping_add(1);
            self.events -= flight.taken.events().len();
            tap.commit(flight.taken, flight.dead)?;
        }
        Ok(())
    }

    /// Hands over what is left of what was taken.
    pub fn hand_over(&mut self, route: &Route, tap: &Tap) -> Result<usize, Failure> {
        let batch = self.first.wrapping_add(self.flights.len() as u32).wrapping_sub(1);
        let Some(flight) = self.flights.back_mut() else { return Ok(0) };
        if flight.failed.is_some() {
            return Ok(0);
        }
        let before = flight.sent;
        for (place, event) in flight.taken.events().iter().enumerate().skip(flight.sent) {
            let message = match route.message(event, &mut self.room) {
                Ok(message) => message,
                Err((reason, text)) => {
                    flight.dead.push(Dead { place, reason, text });
                    flight.sent += 1;
                    continue;
                }
            };
            self.writer.see(&message.topic, tap.stop())?;
            match self.writer.hand(&message, Place { batch, place: place as u32 }) {
                Handed::Over => flight.open += 1,
                Handed::Full => break,
                Handed::Dead(reason, code) => {
                    flight.dead.push(Dead { place, reason, text: text_of(code, &message.topic) });
                }
                Handed::Refused(code) => {
                    return Err(self.writer.not_taken(&message.topic, code).into());
                }
            }
            flight.sent += 1;
        }
        Ok(flight.sent - before)
    }

    fn push(&mut self, taken: Taken) {
        if taken.events().is_empty() {
            return;
        }
        self.events += taken.events().len();
        self.flights.push_back(Flight {
            taken,
            sent: 0,
            open: 0,
            dead: Vec::new(),
            suspects: Vec::new(),
            failed: None,
        });
    }

    /// Sends again, each by itself, what was refused with its company: what is refused again is dead.
    fn resolve(
        &mut self,
        settings: &Settings,
        tap: &Tap,
        flight: &mut Flight,
    ) -> Result<(), Error> {
        let mut alone = Writer::new(&format!("sink {}", tap.name()), &settings.one_by_one())?;
        let mut waiting = 0;
        let mut suspects = flight.suspects.iter().peekable();
        let mut refused = Vec::new();
        while waiting > 0 || suspects.peek().is_some() {
            while let Some(&&(place, _)) = suspects.peek() {
                let event = &flight.taken.events()[place];
                let message = settings.route.message(event, &mut self.room);
                let message = message.expect("it was one before");
                match alone.hand(&message, Place { batch: 0, place: place as u32 }) {
                    Handed::Over => waiting += 1,
                    Handed::Full => break,
                    Handed::Dead(reason, code) => refused.push((place, reason, code)),
                    Handed::Refused(code) => return Err(alone.not_taken(&message.topic, code)),
                }
                suspects.next();
            }
            for &(Place { place, .. }, failure) in alone.reports(WAITS.0) {
                waiting -= 1;
                let place = place as usize;
                let Some(code) = failure else { continue };
                match judge(code, false) {
                    Verdict::Dead(reason) | Verdict::Suspect(reason) => {
                        refused.push((place, reason, code))
                    }
                    Verdict::Fails => {
                        let topic = topic_of(&settings.route, &flight.taken, place);
                        return Err(self.writer.not_taken(&topic, code));
                    }
                }
            }
        }
        if refused.len() < flight.suspects.len() {
            self.writer.ear().warn(
                "the topic takes no more than batches of a size that is smaller than the client's, which \
                 sends those again, event by event: kafka.producer.batch.size should be below the topic's \
                 max.message.bytes",
            );
        }
        for (place, reason, code) in refused {
            let topic = topic_of(&settings.route, &flight.taken, place);
            flight.dead.push(Dead { place, reason, text: text_of(code, &topic) });
        }
        Ok(())
    }
}

impl Drop for Stream {
    /// What is not sent is not sent; the last goes back first, so that they lie in the channel as before.
    fn drop(&mut self) {
        self.writer.client().purge(PurgeConfig::default().queue().inflight());
        while self.flights.pop_back().is_some() {}
    }
}

/// Notes what has become of a message.
fn note(flights: &mut VecDeque<Flight>, first: u32, route: &Route, report: &Report) {
    let (Place { batch, place }, failure) = *report;
    let flight = flights.get_mut(batch.wrapping_sub(first) as usize);
    let flight = flight.expect("a batch waits for all its reports");
    let place = place as usize;
    flight.open -= 1;
    let Some(code) = failure else { return };
    let mut room = Vec::new();
    let message = route.message(&flight.taken.events()[place], &mut room);
    let message = message.expect("it was one before");
    match judge(code, message.asks) {
        Verdict::Dead(reason) => {
            flight.dead.push(Dead { place, reason, text: text_of(code, &message.topic) });
        }
        Verdict::Suspect(reason) => flight.suspects.push((place, reason)),
        Verdict::Fails => flight.failed = Some((place, code)),
    }
}

fn topic_of(route: &Route, taken: &Taken, place: usize) -> String {
    let mut room = Vec::new();
    let message = route.message(&taken.events()[place], &mut room);
    message.map_or_else(|_| String::new(), |message| message.topic.into_owned())
}

/// Why an event is dead, in full.
pub(super) fn text_of(code: Code, topic: &str) -> String {
    format!("topic {topic} does not take it: {code}")
}
