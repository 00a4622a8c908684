//! What a peer sends, made of what the fuzzer says.
//!
//! ```text
//! how:1 cuts:1 │ the bytes of the connection
//!              │ payload "|frame|" payload "|frame|" …    put into frames, each in pieces
//! ```
//!
//! In a payload, what stands between `|swell|` and `|flat|` comes many times.

use std::io::Write;

use crate::avro::handshake::{Match, Request, Response};

/// Who reads it.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Server,
    Client,
}

#[derive(Debug)]
pub struct Input {
    pub side: Side,
    pub is_deflated: bool,
    /// How the bytes are cut.
    pub cuts: u8,
    /// How many calls the asking side has made.
    pub asked: u8,
    /// The bytes.
    pub wire: Vec<u8>,
}

/// How often what swells comes.
const SWOLLEN: usize = 500;

/// How many bytes may be sent.
const LONG: usize = 512 << 10;

impl Input {
    pub fn read(bytes: &[u8]) -> Option<Input> {
        let (&[how, cuts], bytes) = bytes.split_first_chunk()?;
        let is = |bit: u8| how & (1 << bit) != 0;
        let side = if is(0) { Side::Client } else { Side::Server };
        let (is_deflated, is_framed, is_met) = (is(1), is(2), is(3));
        let mut wire = if is_framed { framed(bytes, side, is_met, cuts) } else { bytes.to_vec() };
        // What stands there may be compressed, or is none of it.
        if is_deflated && (is_framed || is(4)) {
            let mut deflated =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            deflated.write_all(&wire).expect("a vector takes all");
            wire = deflated.finish().expect("a vector takes all");
        }
        Some(Input { side, is_deflated, cuts, asked: how >> 5, wire })
    }
}

/// Payloads become frames, with numbers from 0 on.
fn framed(bytes: &[u8], side: Side, is_met: bool, cuts: u8) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut met = Vec::new();
    if is_met {
        match side {
            Side::Server => Request::of_ours().put(&mut met),
            Side::Client => {
                Response { matched: Match::Both, text: None, hash: None, in_order: true }
                    .put(&mut met);
                met = [met, Vec::new()].concat();
            }
        }
    }
    let mut serial = 0;
    for payload in split(bytes, b"|frame|") {
        let mut whole = std::mem::take(&mut met);
        if serial == 0 && is_met && matches!(side, Side::Client) {
            put(&mut wire, &whole, serial, cuts);
            whole.clear();
            serial += 1;
        }
        let mut parts = split(payload, b"|swell|");
        whole.extend_from_slice(parts.remove(0));
        for part in parts {
            let mut parts = split(part, b"|flat|").into_iter();
            let swells = parts.next().expect("there is one part at least");
            for _ in 0..SWOLLEN {
                if whole.len() + wire.len() < LONG {
                    whole.extend_from_slice(swells);
                }
            }
            parts.for_each(|flat| whole.extend_from_slice(flat));
        }
        put(&mut wire, &whole, serial, cuts);
        serial += 1;
    }
    wire
}

/// A frame, in pieces of a size.
fn put(wire: &mut Vec<u8>, payload: &[u8], serial: i32, cuts: u8) {
    let size = match cuts & 3 {
        0 => payload.len(),
        1 => 1 + payload.len() / 2,
        2 => 1 + usize::from(cuts >> 2),
        _ => 1 << 10,
    };
    // Many pieces take long, and show no more than some.
    let size = size.max(payload.len() / 100).max(1);
    let many = u32::try_from(payload.len().div_ceil(size)).expect("it is short");
    wire.extend_from_slice(&serial.to_be_bytes());
    wire.extend_from_slice(&many.to_be_bytes());
    for piece in payload.chunks(size) {
        wire.extend_from_slice(&u32::try_from(piece.len()).expect("it is short").to_be_bytes());
        wire.extend_from_slice(piece);
    }
}

fn split<'a>(mut bytes: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = bytes.windows(by.len()).position(|window| window == by) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + by.len()..];
    }
    parts.push(bytes);
    parts
}
