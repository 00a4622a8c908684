//! Replaces what is found in bodies.

use std::borrow::Cow;

use crate::charset;
use crate::event::Event;
use crate::java_regex::{JavaRegex, Replacement};
use crate::keys::Keys;

/// Replaces every match of a pattern.
#[derive(Debug)]
pub struct SearchReplace {
    /// None where it could not be read: then the source is not started.
    regex: Option<(JavaRegex, Replacement)>,
    charset: Charset,
}

/// How a body is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    Utf8,
    /// The first so many characters of Unicode, a byte each.
    Bytes(u8),
    Other(&'static encoding_rs::Encoding),
}

impl Charset {
    fn of(name: &str) -> Option<Charset> {
        Some(match &*name.to_ascii_lowercase() {
            "utf-8" | "utf8" => Charset::Utf8,
            "us-ascii" | "ascii" => Charset::Bytes(0x7f),
            "iso-8859-1" | "iso8859_1" | "iso8859-1" | "latin1" => Charset::Bytes(0xff),
            // What Java calls so has a mark in front, and encoders here write none of them.
            other if other.starts_with("utf-16") || other.starts_with("utf-32") => return None,
            other => {
                Charset::Other(encoding_rs::Encoding::for_label_no_replacement(other.as_bytes())?)
            }
        })
    }

    fn decode(self, body: &[u8]) -> Cow<'_, str> {
        match self {
            Charset::Utf8 => charset::text(body),
            Charset::Bytes(last) => {
                let character = |&byte: &u8| if byte <= last { byte as char } else { '\u{fffd}' };
                body.iter().map(character).collect()
            }
            Charset::Other(encoding) => encoding.decode_without_bom_handling(body).0,
        }
    }

    /// What cannot be written becomes a question mark, as in Java.
    fn encode(self, text: String) -> Vec<u8> {
        match self {
            Charset::Utf8 => text.into_bytes(),
            Charset::Bytes(last) => {
                let byte =
                    |character: char| u8::try_from(character).ok().filter(|byte| *byte <= last);
                text.chars().map(|character| byte(character).unwrap_or(b'?')).collect()
            }
            Charset::Other(encoding) => {
                let (mut encoder, mut body) = (encoding.new_encoder(), Vec::new());
                let mut rest = &*text;
                loop {
                    let room = encoder.max_buffer_length_from_utf8_without_replacement(rest.len());
                    body.reserve(room.expect("a body is no such long"));
                    let (result, read) =
                        encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut body, true);
                    rest = &rest[read..];
                    match result {
                        encoding_rs::EncoderResult::InputEmpty => return body,
                        encoding_rs::EncoderResult::OutputFull => {}
                        encoding_rs::EncoderResult::Unmappable(_) => body.push(b'?'),
                    }
                }
            }
        }
    }
}

impl SearchReplace {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> SearchReplace {
        let pattern = keys.required("searchPattern");
        let by = keys.text_or_empty("replaceString");
        let regex = super::pattern(keys, "searchPattern", &pattern).and_then(|regex| {
            match Replacement::parse(&by, &regex) {
                Ok(by) => Some((regex, by)),
                Err(error) => {
                    keys.mistaken("replaceString", error);
                    None
                }
            }
        });
        let name = keys.text_or("charset", "UTF-8");
        let charset = Charset::of(&name).unwrap_or_else(|| {
            keys.wrong("charset", &name, "UTF-8, ISO-8859-1, GBK and other charsets of bytes");
            Charset::Utf8
        });
        SearchReplace { regex, charset }
    }
}

impl super::Interceptor for SearchReplace {
    fn intercept(&self, event: &mut Event) -> bool {
        let Some((regex, by)) = &self.regex else { return true };
        let text = self.charset.decode(&event.body);
        if let Some(replaced) = regex.replace_all(&text, by) {
            event.body = self.charset.encode(replaced).into();
        } else if self.charset != Charset::Utf8 || matches!(text, Cow::Owned(_)) {
            // As in Java, what cannot be read does not stay as it is.
            event.body = self.charset.encode(text.into_owned()).into();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::Interceptor;
    use super::*;

    fn replaced(charset: &str, pattern: &str, by: &str, body: &[u8]) -> Vec<u8> {
        let regex = JavaRegex::parse(pattern).unwrap();
        let by = Replacement::parse(by, &regex).unwrap();
        let charset = Charset::of(charset).unwrap();
        let mut event = Event::new(body.to_vec());
        SearchReplace { regex: Some((regex, by)), charset }.intercept(&mut event);
        event.body.to_vec()
    }

    #[test]
    fn a_body_is_read_and_written_in_its_charset() {
        assert_eq!(replaced("UTF-8", "(b+)", "<$1>", b"abba"), b"a<bb>a");
        assert_eq!(replaced("UTF-8", "x", "y", b"a\xffb"), "a\u{fffd}b".as_bytes());
        assert_eq!(replaced("ISO-8859-1", "\u{e9}", "e", b"\xe9\x80"), b"e\x80");
        assert_eq!(replaced("US-ASCII", "b", "\u{e9}", b"a\xffb"), b"a??");
        // 中 is D6 D0 in GBK; a smile has no bytes there.
        assert_eq!(replaced("GBK", "\u{4e2d}", "a", b"\xd6\xd0b"), b"ab");
        assert_eq!(replaced("GBK", "b", "\u{1f600}\u{4e2d}", b"b"), b"?\xd6\xd0");
        assert_eq!(Charset::of("UTF-16"), None);
        assert_eq!(Charset::of("nosuch"), None);
    }
}
