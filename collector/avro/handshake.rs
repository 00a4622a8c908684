//! Whether both sides of a connection mean the same protocol.
//!
//! The one that asks says first how it calls its protocol and the other's, and, if it likes, its own in full.
//! The one that answers says whether that will do:
//!
//! | match | it knows the asker's protocol | the asker knows its |
//! | --- | --- | --- |
//! | `BOTH` | yes | yes |
//! | `CLIENT` | yes | no: its text comes along |
//! | `NONE` | no: nothing is done, and the asker has to come again with the text | |

//!
//! Beside that, ours asks whether calls are answered in their order, by a name in the handshake's meta that
//! Flume passes over; ours says that they are. Flume's agents work on the calls of one connection with
//! several threads.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;

use super::datum::{Datum, Malformed, put_bytes, put_long};
use super::{HASH, Hash, PROTOCOL};

/// How many protocols of others are remembered by their hashes. They are all Flume's, of other versions;
/// more than these are no versions any more.
const REMEMBERED: usize = 64;

/// How long the text of a protocol may be: Flume's has some 500 bytes, and what is read of a text takes many
/// times its length.
const MOST_TEXT: usize = 64 << 10;

/// What ours asks for, and says.
const IN_ORDER: &[u8] = b"online-recall.in-order";

/// What the one that asks says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its own protocol.
    pub client: Hash,
    /// The same in full.
    pub text: Option<Bytes>,
    /// What it takes the other's to be.
    pub server: Hash,
    /// Whether it asks for calls to be answered in their order.
    pub in_order: bool,
}

/// How well both fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Each knows the other's.
    Both,
    /// The asker's is known.
    Client,
    /// The asker's is not.
    None,
}

/// What the one that answers says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// How well both fit.
    pub matched: Match,
    /// Its own protocol, where the asker has it not.
    pub text: Option<Bytes>,
    /// How it is called.
    pub hash: Option<Hash>,
    /// Whether calls are known to be answered in their order.
    pub in_order: bool,
}

impl Request {
    /// That of our own clients: the protocol in full, so that one answer is enough.
    pub fn of_ours() -> Request {
        let text = Some(Bytes::from_static(PROTOCOL.as_bytes()));
        Request { client: HASH, text, server: HASH, in_order: true }
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn read(datum: &mut Datum) -> Result<Request, Malformed> {
        let client = datum.hash()?;
        let text = optional(datum, Datum::shared)?;
        let server = datum.hash()?;
        let in_order = read_meta(datum)?;
        Ok(Request { client, text, server, in_order })
    }

    /// Writes it.
    pub fn put(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.client);
        put_optional(to, self.text.as_ref(), |to, text| put_bytes(to, text));
        to.extend_from_slice(&self.server);
        put_meta(to, self.in_order);
    }
}

impl Response {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn read(datum: &mut Datum) -> Result<Response, Malformed> {
        let matched = [Match::Both, Match::Client, Match::None][datum.choice("match", 3)?];
        let text = optional(datum, Datum::shared)?;
        let hash = optional(datum, Datum::hash)?;
        let in_order = read_meta(datum)?;
        Ok(Response { matched, text, hash, in_order })
    }

    /// Writes it.
    pub fn put(&self, to: &mut Vec<u8>) {
        put_long(to, self.matched as i64);
        put_optional(to, self.text.as_ref(), |to, text| put_bytes(to, text));
        put_optional(to, self.hash.as_ref(), |to, hash| to.extend_from_slice(hash));
        put_meta(to, self.in_order);
    }
}

fn optional<T>(
    datum: &mut Datum,
    read: impl FnOnce(&mut Datum) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    Ok(if datum.choice("branch of two", 2)? == 0 { None } else { Some(read(datum)?) })
}

fn put_optional<T>(to: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    put_long(to, value.is_some().into());
    if let Some(value) = value {
        put(to, value);
    }
}

/// Whether the meta, if there is any, has our name in it.
fn read_meta(datum: &mut Datum) -> Result<bool, Malformed> {
    let read = |datum: &mut Datum| {
        let mut in_order = false;
        loop {
            let many = datum.block(2)?;
            if many == 0 {
                return Ok(in_order);
            }
            for _ in 0..many {
                in_order |= datum.text()? == IN_ORDER;
                datum.text()?;
            }
        }
    };
    Ok(optional(datum, read)?.unwrap_or(false))
}

fn put_meta(to: &mut Vec<u8>, in_order: bool) {
    put_optional(to, in_order.then_some(&()), |to, ()| {
        put_long(to, 1);
        put_bytes(to, IN_ORDER);
        put_bytes(to, b"");
        put_long(to, 0);
    });
}

/// The protocols that are known to be Flume's.
#[derive(Debug, Default)]
pub struct Known(Mutex<BTreeSet<Hash>>);

impl Known {
    /// Answers a handshake.
    ///
    /// # Errors
    ///
    /// If the asker's protocol is another than Flume's.
    pub fn answer(&self, request: &Request) -> Result<Response, Malformed> {
        let mut others = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = request.client == HASH || others.contains(&request.client);
        // A text is judged even if its name is known: it is what the asker goes by.
        if let Some(text) = &request.text {
            judge(text)?;
            known = true;
            if request.client != HASH && others.len() < REMEMBERED {
                others.insert(request.client);
            }
        }
        let matched = match (known, request.server == HASH) {
            (false, _) => Match::None,
            (true, false) => Match::Client,
            (true, true) => Match::Both,
        };
        let is_told = matched != Match::Both;
        Ok(Response {
            matched,
            text: is_told.then(|| Bytes::from_static(PROTOCOL.as_bytes())),
            hash: is_told.then_some(HASH),
            in_order: request.in_order,
        })
    }
}

/// Judges whether this text is Flume's protocol, whatever else it says: an event is written as headers, then
/// body.
fn judge(text: &[u8]) -> Result<(), Malformed> {
    let other = |why: &str| Malformed::Protocol(why.to_owned());
    if text.len() > MOST_TEXT {
        return Err(other(&format!("it has more than {MOST_TEXT} bytes")));
    }
    let protocol: Value = serde_json::from_slice(text).map_err(|_| other("it is no JSON"))?;
    let messages = ["append", "appendBatch"].map(|name| &protocol["messages"][name]);
    if messages.iter().all(|message| message.is_null()) {
        return Err(other("it has neither append nor appendBatch"));
    }
    let mut types = protocol["types"].as_array().into_iter().flatten();
    let event = types.find(|named| {
        let name = named["name"].as_str().unwrap_or_default();
        name == "AvroFlumeEvent" || name.ends_with(".AvroFlumeEvent")
    });
    let Some(event) = event else { return Err(other("it has no AvroFlumeEvent")) };
    let fields: Vec<_> = event["fields"].as_array().into_iter().flatten().collect();
    let [headers, body] = fields[..] else {
        return Err(other("an event has other fields than headers and body"));
    };
    let is = |field: &Value, name: &str, kind: &str| {
        field["name"] == name && (field["type"] == kind || field["type"]["type"] == kind)
    };
    if is(headers, "headers", "map") && is(body, "body", "bytes") {
        Ok(())
    } else {
        Err(other("an event is not headers and body, in this order"))
    }
}
