//! Calls and their answers.

use super::datum::{Datum, Malformed, put_bytes, put_long};
use super::event::{self, Reading};
use super::frame::Held;
use crate::event::Event;

/// What a peer asks for.
#[derive(Debug, PartialEq)]
pub enum Call {
    /// Nothing: it wants the handshake alone.
    Ping,
    /// To take an event.
    Append(Event),
    /// To take events, all or none.
    AppendBatch(Vec<Event>),
    /// Something that Flume has not.
    Unknown(String),
}

/// How an event or a batch has fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was taken.
    Ok,
    /// It was not.
    Failed,
    /// Nobody says so.
    Unknown,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was made.
    Status(Status),
    /// It has failed, with these words.
    Error(String),
}

impl Call {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// If there is none, or it would take too much memory.
    pub fn read(datum: &mut Datum, held: &mut Held) -> Result<Call, Malformed> {
        datum.skip_map()?;
        let call = match datum.text()? {
            b"" => Call::Ping,
            b"append" => Call::Append(Reading::default().event(datum, held)?),
            b"appendBatch" => Call::AppendBatch(Reading::default().events(datum, held)?),
            // What is behind the name only its owner can read.
            name => return Ok(Call::Unknown(shortened(name))),
        };
        datum.end()?;
        Ok(call)
    }

    /// Writes the one that asks for nothing.
    pub fn put_ping(to: &mut Vec<u8>) {
        put_long(to, 0);
        put_bytes(to, b"");
    }

    /// Writes the one that brings a batch.
    pub fn put_append_batch(to: &mut Vec<u8>, events: &[Event]) {
        put_long(to, 0);
        put_bytes(to, b"appendBatch");
        if !events.is_empty() {
            put_long(to, events.len() as i64);
            for event in events {
                event::put(to, event);
            }
        }
        put_long(to, 0);
    }

    /// Writes the one that brings an event.
    pub fn put_append(to: &mut Vec<u8>, event: &Event) {
        put_long(to, 0);
        put_bytes(to, b"append");
        event::put(to, event);
    }
}

/// As much of a name as a log should show.
fn shortened(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(100)]).into_owned()
}

impl Answer {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn read(datum: &mut Datum) -> Result<Answer, Malformed> {
        datum.skip_map()?;
        if !datum.boolean()? {
            let status = datum.choice("status", 3)?;
            return Ok(Answer::Status([Status::Ok, Status::Failed, Status::Unknown][status]));
        }
        // Flume declares no errors of its own: any other branch has a record that nobody here knows.
        match datum.choice("error", 1) {
            Ok(_) => Ok(Answer::Error(String::from_utf8_lossy(datum.text()?).into_owned())),
            Err(Malformed::Choice { number, .. }) => {
                Ok(Answer::Error(format!("an error of the kind {number}")))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes it.
    pub fn put(&self, to: &mut Vec<u8>) {
        put_long(to, 0);
        match self {
            Answer::Status(status) => {
                to.push(0);
                put_long(to, *status as i64);
            }
            Answer::Error(text) => {
                to.push(1);
                put_long(to, 0);
                put_bytes(to, text.as_bytes());
            }
        }
    }
}
