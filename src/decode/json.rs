//! The full path: JSON of any shape.
//!
//! serde_json holds the grammar; every key and value is taken from it as the text that stands in the
//! record ([`RawValue`]), for the rules are about that text: `1.0` is no channel, a lone surrogate
//! matters only where it is read, and numbers have any size.

use std::borrow::Cow;
use std::fmt;

use dataflows::{Action, User};
use serde::de::{MapAccess, Visitor};
use serde::Deserializer;
use serde_json::value::RawValue;

use super::{Click, Reason, ids};

/// How many objects and arrays may stand in each other, the record's own object among them.
const MAX_DEPTH: usize = 128;

/// Decodes a record of the topic of clicks that is neither too long nor empty.
pub(super) fn click(record: &str) -> Result<Option<Click>, Reason> {
    // serde_json counts levels otherwise, and none at all in what it takes as text.
    if is_too_deep(record.as_bytes()) {
        return Err(Reason::NotJson);
    }
    let [channel, param] =
        fields(record, ["channelId", "param"]).map_err(|_| Reason::NotJson)?;
    let channel = channel.ok_or(Reason::NoChannel)?;
    let channel = content(channel)
        .and_then(|text| ids::channel(text.as_bytes()).and_then(ids::whole))
        .ok_or(Reason::BadChannel)?;

    // That param is well-formed is known: it is no object if its fields cannot be had.
    let [action, user, article] = param
        .and_then(|param| fields(param, ["action", "userId", "articleId"]).ok())
        .ok_or(Reason::NoAction)?;
    let action = action.filter(|action| is_string(action)).ok_or(Reason::NoAction)?;
    let action = match content(action).as_deref() {
        Some("click") => Action::Click,
        Some("collect") => Action::Collect,
        Some("share") => Action::Share,
        _ => return Ok(None),
    };

    let user = user.ok_or(Reason::NoUser)?;
    let user = if is_string(user) {
        content(user).and_then(|text| ids::user(text.as_bytes()))
    } else {
        ids::decimal(user.as_bytes()).and_then(ids::whole).map(User::from_decimal)
    }
    .ok_or(Reason::BadUser)?;
    let article = article.ok_or(Reason::NoArticle)?;
    let article = content(article)
        .and_then(|text| ids::article(text.as_bytes()).and_then(ids::whole))
        .ok_or(Reason::BadArticle)?;
    Ok(Some(Click { user, channel, article, action }))
}

/// Finds the fields of the object that `text` is, each as the text of its value, the last of each
/// name; an error if it is not exactly one object.
fn fields<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
) -> serde_json::Result<[Option<&'a str>; N]> {
    let mut json = serde_json::Deserializer::from_str(text);
    let found = json.deserialize_map(Fields { names })?;
    json.end()?;
    Ok(found)
}

struct Fields<'n, const N: usize> {
    names: [&'n str; N],
}

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = [None; N];
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let name = content(name.get());
            if let Some(at) = self.names.iter().position(|known| name.as_deref() == Some(known)) {
                found[at] = Some(value.get());
            }
        }
        Ok(found)
    }
}

/// The content of a string, without its quotes and escapes, or any other value as it stands; `None`
/// for a string with a lone surrogate, which no text can hold.
fn content(value: &str) -> Option<Cow<'_, str>> {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(string) if !string.contains('\\') => Some(Cow::Borrowed(string)),
        // That the string is well-formed is known: a lone surrogate is all that can be wrong.
        Some(_) => serde_json::from_str(value).ok().map(Cow::Owned),
        None => Some(Cow::Borrowed(value)),
    }
}

fn is_string(value: &str) -> bool {
    value.starts_with('"')
}

/// Tells whether objects and arrays stand more than [`MAX_DEPTH`] deep in each other, if `text` is
/// well-formed; if it is not, any answer will do.
fn is_too_deep(text: &[u8]) -> bool {
    let opens = |byte: &u8| matches!(byte, b'{' | b'[');
    if text.iter().filter(|byte| opens(byte)).count() <= MAX_DEPTH {
        return false;
    }
    let mut depth = 0usize;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Passes over the rest of a string, its closing quote included.
fn skip_string<'a>(bytes: &mut impl Iterator<Item = &'a u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}
