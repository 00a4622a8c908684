//! The bytes of what we keep in Redis beside the scores.
//!
//! What people may want to read is text: tokens, dates, marks, offsets. Bindings are many, and packed.

use std::fmt;

use dataflows::{Article, Epoch};
use serde::{Deserialize, Serialize};

use crate::ledger::Binding;
use crate::source::Topic;

/// The version of all these bytes; the ledger names it.
pub(super) const FORMAT: &str = "1";

/// An incarnation: its number, and random bits that no other of that number has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The number: one above the last.
    pub number: u64,
    /// The random bits.
    pub bits: u128,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:032x}", self.number, self.bits)
    }
}

impl Token {
    pub(super) fn parse(text: &str) -> Option<Token> {
        let (number, bits) = text.split_once(' ')?;
        Some(Token { number: number.parse().ok()?, bits: u128::from_str_radix(bits, 16).ok()? })
    }
}

/// An epoch and its date T(e).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dated {
    /// The epoch.
    pub epoch: Epoch,
    /// T(e), in milliseconds since 1970.
    pub time: u64,
}

impl Dated {
    /// What a binding is dated.
    pub fn of(binding: &Binding) -> Dated {
        Dated { epoch: binding.epoch, time: binding.time }
    }

    pub(super) fn parse(text: &str) -> Option<Dated> {
        let (epoch, time) = text.split_once(' ')?;
        Some(Dated { epoch: Epoch(epoch.parse().ok()?), time: time.parse().ok()? })
    }
}

impl fmt::Display for Dated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.epoch, self.time)
    }
}

/// What stands beside a score key: the last epoch that was applied to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyMark {
    /// The epoch.
    pub last: Dated,
    /// Where it was applied in parts, and not all of them: the last article of those that were.
    pub through: Option<Article>,
}

impl KeyMark {
    /// The mark of an epoch that was wholly applied.
    pub fn whole(last: Dated) -> KeyMark {
        KeyMark { last, through: None }
    }

    pub(super) fn parse(text: &str) -> Option<KeyMark> {
        let mut words = text.splitn(3, ' ');
        let (epoch, time) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let through = words.next().map(str::parse).transpose().ok()?.map(Article);
        Some(KeyMark { last: Dated { epoch: Epoch(epoch), time }, through })
    }
}

impl fmt::Display for KeyMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.last.fmt(f)?;
        match self.through {
            Some(article) => write!(f, " {article}"),
            None => Ok(()),
        }
    }
}

/// A field of the hash that is a ledger.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// The incarnation that writes it.
    Token,
    /// The last binding, dated.
    Bound,
    /// The mark, dated.
    Mark,
    /// What all epochs up to the mark have read and done.
    Totals,
    /// How long the file of dead letters was at the mark.
    Letters,
    /// The version of all these bytes.
    Format,
    /// The binding of an epoch.
    Binding(Epoch),
    /// How far a partition had been read at the mark.
    Offset(Topic, &'a [u8]),
    /// The last epoch up to the mark that touched a score key.
    Key(&'a str),
}

impl<'a> Field<'a> {
    pub(super) fn name(&self) -> Vec<u8> {
        match self {
            Field::Token => b"token".to_vec(),
            Field::Bound => b"bound".to_vec(),
            Field::Mark => b"mark".to_vec(),
            Field::Totals => b"totals".to_vec(),
            Field::Letters => b"letters".to_vec(),
            Field::Format => b"format".to_vec(),
            Field::Binding(epoch) => format!("binding {epoch}").into_bytes(),
            Field::Offset(Topic::Clicks, name) => [b"clicks ", *name].concat(),
            Field::Offset(Topic::Articles, name) => [b"articles ", *name].concat(),
            Field::Key(key) => format!("key {key}").into_bytes(),
        }
    }

    pub(super) fn parse(name: &'a [u8]) -> Option<Field<'a>> {
        let Some(blank) = memchr::memchr(b' ', name) else {
            return Some(match name {
                b"token" => Field::Token,
                b"bound" => Field::Bound,
                b"mark" => Field::Mark,
                b"totals" => Field::Totals,
                b"letters" => Field::Letters,
                b"format" => Field::Format,
                _ => return None,
            });
        };
        let rest = &name[blank + 1..];
        let text = || std::str::from_utf8(rest).ok();
        match &name[..blank] {
            b"binding" => Some(Field::Binding(Epoch(text()?.parse().ok()?))),
            b"clicks" => Some(Field::Offset(Topic::Clicks, rest)),
            b"articles" => Some(Field::Offset(Topic::Articles, rest)),
            b"key" => Some(Field::Key(text()?)),
            _ => None,
        }
    }
}

/// The bytes of a binding.
pub(super) fn binding(binding: &Binding) -> Vec<u8> {
    postcard::to_stdvec(binding).expect("bindings hold nothing that postcard cannot encode")
}

/// A binding, if these are the bytes of one.
pub(super) fn to_binding(bytes: &[u8]) -> Option<Binding> {
    postcard::from_bytes(bytes).ok()
}

/// A value as text that people read.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what stands in a ledger has text for its keys")
}

pub(super) fn from_json<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

/// The text of what may be nothing.
pub(super) fn text(what: Option<impl ToString>) -> String {
    what.map(|what| what.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let token = Token { number: 7, bits: 0xabc };
        assert_eq!(token.to_string(), "7 00000000000000000000000000000abc");
        assert_eq!(Token::parse(&token.to_string()), Some(token));
        let last = Dated { epoch: Epoch(85), time: 1_600_000_000_001 };
        assert_eq!(Dated::parse(&last.to_string()), Some(last));
        for through in [None, Some(Article(-5)), Some(Article(0))] {
            let mark = KeyMark { last, through };
            assert_eq!(KeyMark::parse(&mark.to_string()), Some(mark));
        }
        for garbled in ["", "7", "7 x", "x 7", "7 8 x", "7 8 9 10"] {
            assert_eq!(KeyMark::parse(garbled), None, "{garbled}");
        }
    }

    #[test]
    fn a_field_is_known_by_its_name_whatever_the_bytes_in_it() {
        for field in [
            Field::Token,
            Field::Bound,
            Field::Mark,
            Field::Totals,
            Field::Letters,
            Field::Format,
            Field::Binding(Epoch(85)),
            Field::Offset(Topic::Clicks, b"t/0"),
            Field::Offset(Topic::Articles, b"\xff {} c "),
            Field::Key("ch:18:hot of mine"),
        ] {
            assert_eq!(Field::parse(&field.name()).as_ref(), Some(&field));
        }
        for unknown in [&b"tokens"[..], b"", b"binding x", b"x t/0", b"key \xff"] {
            assert_eq!(Field::parse(unknown), None);
        }
    }
}
