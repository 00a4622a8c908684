//! An array of events in JSON, as Flume's `JSONHandler` takes it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Bad, Posted};
use crate::charset::{Charset, Faults, Order};
use crate::event::{Event, Text};

/// An object; of a name that stands twice the last value counts.
type Object<'j> = BTreeMap<String, &'j RawValue>;

/// The charset of a body: what it is decoded by, and what the events' bodies are encoded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letters {
    Utf8,
    Utf16,
    Utf32,
}

/// The events of what was posted.
pub fn events(posted: &Posted) -> Result<Vec<Event>, Bad> {
    let letters = letters(posted.content_type.as_deref().unwrap_or_default())?;
    let text = letters.decode(&posted.body)?;
    let raw: Vec<Object<'_>> = serde_json::from_str(&text)?;
    raw.iter().map(|raw| event(raw, letters)).collect()
}

fn event(raw: &Object<'_>, letters: Letters) -> Result<Event, Bad> {
    let headers = raw.get("headers").map(|headers| serde_json::from_str(headers.get()));
    let Pairs(headers) = headers.transpose()?.flatten().unwrap_or_default();
    let texts = headers.into_iter().filter_map(|(name, value)| {
        plain(value).transpose().map(|value| Ok((Text::from(name), Text::from(value?))))
    });
    let headers = texts.collect::<Result<_, Bad>>()?;
    let body = raw.get("body").map_or(Ok(None), |body| plain(body))?.unwrap_or_default();
    Ok(Event { headers, body: letters.encode(body).into() })
}

/// Headers: an object, or, as in Flume, an array of pairs (PHP writes an empty one where there are none); none
/// stands twice.
#[derive(Debug, Default)]
struct Pairs<'j>(BTreeMap<String, &'j RawValue>);

impl<'j> Pairs<'j> {
    fn add<E: Error>(&mut self, (name, value): (String, &'j RawValue)) -> Result<(), E> {
        match self.0.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(E::custom("a header stands twice")),
        }
    }
}

impl<'j> Deserialize<'j> for Pairs<'j> {
    fn deserialize<D: Deserializer<'j>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Pairs::default())
    }
}

impl<'j> Visitor<'j> for Pairs<'j> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("headers")
    }

    fn visit_map<M: MapAccess<'j>>(mut self, mut map: M) -> Result<Self, M::Error> {
        while let Some(pair) = map.next_entry()? {
            self.add(pair)?;
        }
        Ok(self)
    }

    fn visit_seq<S: SeqAccess<'j>>(mut self, mut seq: S) -> Result<Self, S::Error> {
        while let Some(pair) = seq.next_element()? {
            self.add(pair)?;
        }
        Ok(self)
    }
}

/// A value that stands for a text; as in Flume, a number, as it is written, or a yes or no does, too.
fn plain(value: &RawValue) -> Result<Option<String>, Bad> {
    match value.get().as_bytes() {
        b"null" => Ok(None),
        [b'"', ..] => Ok(Some(serde_json::from_str(value.get())?)),
        [b'[' | b'{', ..] => Err(serde_json::Error::custom("a header or body is no text").into()),
        _ => Ok(Some(value.get().to_owned())),
    }
}

/// The charset that a content type names.
fn letters(content_type: &str) -> Result<Letters, Bad> {
    let parts = content_type.split(';').skip(1).map(str::trim);
    let charset = parts.filter_map(|part| part.split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    match charset.map(str::to_ascii_lowercase).as_deref() {
        None | Some("utf-8") => Ok(Letters::Utf8),
        Some("utf-16") => Ok(Letters::Utf16),
        Some("utf-32") => Ok(Letters::Utf32),
        Some(other) => Err(Bad::Charset(other.to_owned())),
    }
}

impl Letters {
    fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, Bad> {
        match self {
            Letters::Utf8 => Charset::Utf8.decode(bytes, Faults::Fail).map_err(|_| Bad::Letters),
            Letters::Utf16 => {
                Charset::Utf16(Order::Marked).decode(bytes, Faults::Fail).map_err(|_| Bad::Letters)
            }
            Letters::Utf32 => {
                let (units, rest) = bytes.as_chunks::<4>();
                let is_little = units.first() == Some(&[0xff, 0xfe, 0, 0]);
                let unit = |unit: &[u8; 4]| {
                    let number = if is_little {
                        u32::from_le_bytes(*unit)
                    } else {
                        u32::from_be_bytes(*unit)
                    };
                    char::from_u32(number)
                };
                let text: Option<String> = units.iter().map(unit).collect();
                let text = text.filter(|_| rest.is_empty()).ok_or(Bad::Letters)?;
                Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned).into())
            }
        }
    }

    /// As Java does.
    fn encode(self, text: String) -> Vec<u8> {
        match self {
            Letters::Utf8 => text.into_bytes(),
            Letters::Utf16 => Charset::Utf16(Order::Marked).encode(&text),
            Letters::Utf32 => {
                text.chars().flat_map(|letter| u32::from(letter).to_be_bytes()).collect()
            }
        }
    }
}
