//! The fast path: clicks in the shape in which the site's producers write them.
//!
//! ```text
//! {"actionTime":"…","readTime":"…","channelId":N,"param":{"action": "…", "userId": "…", "articleId": "…", "algorithmCombine": "…"}}
//! ```
//!
//! N is a channel and `…` a string of plain bytes: ASCII without control bytes and without backslash,
//! so that it ends at the next quote and says what its bytes are. Nothing is taken for granted: a
//! record of this shape is one JSON object in which no key stands twice. A record that differs in one
//! byte is not judged here.
//!
//! The code is plain steps, not a table of them: so each comparison is one with a constant.

use dataflows::{Action, User};

use super::{Click, MAX_RECORD, ids};

/// A one in every byte of a word.
const ONES: u64 = u64::MAX / 255;
/// The highest bit of every byte of a word.
const HIGHEST: u64 = ONES << 7;

/// Decodes a click of the usual shape that is no bad record; `None` for every other record.
pub(super) fn click(record: &[u8]) -> Option<Option<Click>> {
    if record.len() > MAX_RECORD || !is_plain(record) {
        return None;
    }
    let rest = after(br#"{"actionTime":""#, record)?;
    let rest = after_string_of::<19>(rest)?;
    let rest = after(br#","readTime":""#, rest)?;
    let rest = after_string_of::<0>(rest)?;
    let rest = after(br#","channelId":"#, rest)?;
    let (channel, rest) = ids::channel(rest)?;
    let rest = after(br#","param":{"action": ""#, rest)?;
    let (action, rest) = action(rest)?;
    let rest = after(br#", "userId": ""#, rest)?;
    let (event, rest) = match action {
        Some(action) => {
            let (user, rest) = user(rest)?;
            let rest = after(br#", "articleId": ""#, rest)?;
            let (article, rest) = ids::article(rest)?;
            (Some(Click { user, channel, article, action }), after(br#"""#, rest)?)
        }
        // Nobody reads whose exposure it is, and of what.
        None => {
            let (_, rest) = string(rest)?;
            let rest = after(br#", "articleId": ""#, rest)?;
            (None, string(rest)?.1)
        }
    };
    let rest = after(br#", "algorithmCombine": ""#, rest)?;
    let last = rest.strip_suffix(br#""}}"#)?;
    (!has_quote(last)).then_some(event)
}

/// Tells whether every byte is ASCII, no control byte and no backslash; a text of less than a word
/// is not told.
fn is_plain(text: &[u8]) -> bool {
    // The lowest byte of a word that is not plain sets its highest bit; where all are plain, none
    // does. Which one it is does not matter, so the compiler takes several words at a time.
    let others = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let backslashes = word ^ (ONES * u64::from(b'\\'));
        word | word.wrapping_sub(ONES * 0x20) | backslashes.wrapping_sub(ONES)
    };
    let Some(last) = text.last_chunk() else { return false };
    let words = text.as_chunks().0;
    words.iter().fold(others(last), |any, word| any | others(word)) & HIGHEST == 0
}

/// Returns what stands after `fixed`, if `text` begins with it.
#[inline(always)]
fn after<'a, const N: usize>(fixed: &[u8; N], text: &'a [u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_first_chunk()?;
    (start == fixed).then_some(rest)
}

/// Splits at the quote that ends a string, and passes over it.
///
/// It is looked for by words; a string behind which less than a word stands is not found.
#[inline(always)]
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while let Some(word) = text.get(at..)?.first_chunk() {
        let others = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'"'));
        // The lowest bit is that of the first quote: only bytes above a quote can be mistaken.
        let quotes = others.wrapping_sub(ONES) & !others & HIGHEST;
        if quotes != 0 {
            let (string, rest) =
                text.split_at_checked(at + quotes.trailing_zeros() as usize / 8)?;
            return Some((string, rest.get(1..)?));
        }
        at += 8;
    }
    None
}

/// Passes over a string that is `N` bytes long more often than not.
///
/// The processor runs ahead of a guess that is mostly right, but has to wait for a search.
#[inline(always)]
fn after_string_of<const N: usize>(text: &[u8]) -> Option<&[u8]> {
    match text.split_first_chunk::<N>() {
        Some((string, [b'"', rest @ ..])) if !has_quote(string) => Some(rest),
        _ => string(text).map(|(_, rest)| rest),
    }
}

/// Looks at every byte, with no way out before the end: that is one comparison of vectors.
#[inline(always)]
fn has_quote(text: &[u8]) -> bool {
    text.iter().fold(false, |any, &byte| any | (byte == b'"'))
}

/// Splits behind the quote that ends an action: that of a hit, or `None` for any other word.
///
/// The site's words are compared, the most frequent first: again a guess in place of a search.
#[inline(always)]
fn action(text: &[u8]) -> Option<(Option<Action>, &[u8])> {
    if let Some(rest) = after(br#"exposure""#, text) {
        Some((None, rest))
    } else if let Some(rest) = after(br#"click""#, text) {
        Some((Some(Action::Click), rest))
    } else if let Some(rest) = after(br#"read""#, text) {
        Some((None, rest))
    } else if let Some(rest) = after(br#"collect""#, text) {
        Some((Some(Action::Collect), rest))
    } else if let Some(rest) = after(br#"share""#, text) {
        Some((Some(Action::Share), rest))
    } else {
        string(text).map(|(_, rest)| (None, rest))
    }
}

/// Splits behind the quote that ends a user's id.
#[inline(always)]
fn user(text: &[u8]) -> Option<(User, &[u8])> {
    if let Some((number, [b'"', rest @ ..])) = ids::decimal(text) {
        return Some((User::from_decimal(number), rest));
    }
    let (user, rest) = string(text)?;
    Some((ids::user(user)?, rest))
}
