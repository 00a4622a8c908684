//! Events as they travel: a map of headers, and a body.
//!
//! Bodies share the bytes of the frame. Headers share the texts of the event before, where they are equal,
//! which they mostly are.

use bytes::Bytes;

use super::datum::{Datum, Malformed, put_bytes, put_long};
use super::frame::{Allowance, Held};
use crate::event::{Event, Headers, Text};

/// How many headers an event may have. Each is looked for among the others: so many that this takes long
/// are an attack.
const MOST_HEADERS: usize = 1000;

/// What an event takes beside its bytes, and a header with its two texts: about so much memory.
const EVENT_BYTES: usize = size_of::<Event>();
const HEADER_BYTES: usize = 96;

/// Reads events one after another.
#[derive(Debug, Default)]
pub struct Reading {
    /// The headers of the event before, as they stood there, and read.
    encoded: Bytes,
    headers: Headers,
    /// Its names and values, by their places.
    texts: Vec<(Text, Text)>,
}

impl Reading {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// If there is none, or it would take too much memory.
    pub fn event(&mut self, datum: &mut Datum, held: &mut Held) -> Result<Event, Malformed> {
        held.grow(EVENT_BYTES)?;
        let begin = datum.at();
        let headers = if !self.encoded.is_empty() && datum.rest().starts_with(&self.encoded) {
            datum.skip(self.encoded.len())?;
            held.grow(size_of::<(Text, Text)>() * self.headers.len())?;
            self.headers.clone()
        } else {
            self.headers = self.read_headers(datum, held)?;
            self.encoded = datum.since(begin);
            self.headers.clone()
        };
        Ok(Event { headers, body: datum.shared()? })
    }

    /// Reads an array of events.
    ///
    /// # Errors
    ///
    /// If there is none, or it would take too much memory.
    pub fn events(&mut self, datum: &mut Datum, held: &mut Held) -> Result<Vec<Event>, Malformed> {
        let mut events = Vec::new();
        loop {
            let many = datum.block(2)?;
            if many == 0 {
                return Ok(events);
            }
            // No more at once than a batch of a usual size: the rest as it comes, and is allowed.
            events.reserve(many.min(10_000));
            for _ in 0..many {
                events.push(self.event(datum, held)?);
            }
        }
    }

    fn read_headers(&mut self, datum: &mut Datum, held: &mut Held) -> Result<Headers, Malformed> {
        let mut headers = Headers::default();
        let mut place = 0;
        loop {
            let many = datum.block(2)?;
            if many == 0 {
                return Ok(headers);
            }
            if place + many > MOST_HEADERS {
                return Err(Malformed::Headers(place + many));
            }
            for _ in 0..many {
                let begin = datum.at();
                let before = self.texts.get(place);
                let name = text(datum.text()?, before.map(|(name, _)| name));
                let value = text(datum.text()?, before.map(|(_, value)| value));
                held.grow(HEADER_BYTES + datum.at() - begin)?;
                let both = (name.clone(), value.clone());
                match self.texts.get_mut(place) {
                    Some(before) => *before = both,
                    None => self.texts.push(both),
                }
                headers.set(name, value);
                place += 1;
            }
        }
    }
}

/// The text of these bytes: that of the event before, if it is the same. What is not UTF-8 is replaced, as
/// Java does.
fn text(bytes: &[u8], before: Option<&Text>) -> Text {
    match before {
        Some(before) if before.as_bytes() == bytes => before.clone(),
        _ => String::from_utf8_lossy(bytes).into(),
    }
}

/// Reads an event that stands alone, as in a message of Kafka's. As in Java's reader, what stands behind it
/// does not count.
///
/// # Errors
///
/// If there is none.
pub fn read(bytes: Bytes) -> Result<Event, Malformed> {
    let mut held = Allowance::new(bytes.len().saturating_mul(MOST_HEADERS)).hold();
    Reading::default().event(&mut Datum::new(bytes), &mut held)
}

/// Writes an event.
pub fn put(to: &mut Vec<u8>, event: &Event) {
    if !event.headers.is_empty() {
        put_long(to, event.headers.len() as i64);
        for (name, value) in event.headers.iter() {
            put_bytes(to, name.as_bytes());
            put_bytes(to, value.as_bytes());
        }
    }
    put_long(to, 0);
    put_bytes(to, &event.body);
}
