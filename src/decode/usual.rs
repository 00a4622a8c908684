//! The fast path: clicks in the shape in which the site's producers write them.
//!
//! ```text
//! {"actionTime":"…","readTime":"…","channelId":N,"param":{"action": "…", "userId": "…", "articleId": "…", "algorithmCombine": "…"}}
//! ```
//!
//! `…` is plain: printable ASCII without quote and backslash, so that a string is what its bytes are;
//! N is a channel. No byte is taken for granted: a record of this shape is a JSON object in which no
//! key stands twice, and whatever differs by a byte is not judged here.

use std::array;

use dataflows::{Action, User};

use super::{Click, MAX_RECORD, ids};

/// Decodes a click of the usual shape that is no bad record; `None` for all others.
pub(super) fn click(record: &[u8]) -> Option<Option<Click>> {
    if record.len() > MAX_RECORD {
        return None;
    }
    let rest = record.strip_prefix(br#"{"actionTime":""#)?;
    let (_, rest) = string(rest)?;
    let rest = rest.strip_prefix(br#","readTime":""#)?;
    let (_, rest) = string(rest)?;
    let rest = rest.strip_prefix(br#","channelId":"#)?;
    let (channel, rest) = ids::channel(rest)?;
    let rest = rest.strip_prefix(br#","param":{"action": ""#)?;
    let (action, rest) = string(rest)?;
    let rest = rest.strip_prefix(br#", "userId": ""#)?;
    let action = match action {
        b"click" => Some(Action::Click),
        b"collect" => Some(Action::Collect),
        b"share" => Some(Action::Share),
        _ => None,
    };
    let (event, rest) = match action {
        Some(action) => {
            let (user, rest) = user(rest)?;
            let rest = rest.strip_prefix(br#", "articleId": ""#)?;
            let (article, rest) = ids::article(rest)?;
            (Some(Click { user, channel, article, action }), rest.strip_prefix(b"\"")?)
        }
        None => {
            let (_, rest) = string(rest)?;
            let rest = rest.strip_prefix(br#", "articleId": ""#)?;
            let (_, rest) = string(rest)?;
            (None, rest)
        }
    };
    let rest = rest.strip_prefix(br#", "algorithmCombine": ""#)?;
    let last = rest.strip_suffix(br#""}}"#)?;
    last.iter().all(|&byte| is_plain(byte)).then_some(event)
}

/// Splits behind the quote that ends a user's id.
#[inline(always)]
fn user(text: &[u8]) -> Option<(User, &[u8])> {
    match ids::decimal(text) {
        Some((number, [b'"', rest @ ..])) => Some((User::from_decimal(number), rest)),
        _ => {
            let (user, rest) = string(text)?;
            Some((ids::user(user)?, rest))
        }
    }
}

/// Splits behind the quote that ends a string, if the string is plain.
///
/// A byte at a time would take three times as long; the search is written so that the compiler makes
/// a few vector instructions of each block.
#[inline(always)]
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const BLOCK: usize = 16;
    for (at, block) in text.as_chunks::<BLOCK>().0.iter().enumerate() {
        let other = u128::from_le_bytes(array::from_fn(|i| if is_plain(block[i]) { 0 } else { 255 }));
        if other != 0 {
            let (string, rest) = text.split_at_checked(at * BLOCK + other.trailing_zeros() as usize / 8)?;
            return Some((string, rest.strip_prefix(b"\"")?));
        }
    }
    None
}

fn is_plain(byte: u8) -> bool {
    byte.cast_signed() >= 0x20 && byte != b'"' && byte != b'\\'
}
