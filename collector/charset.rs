//! Charsets by Java's names: which bytes are which letters.

use std::borrow::Cow;

use encoding_rs::{DecoderResult, EncoderResult, Encoding};

use crate::keys::Keys;

/// A charset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8.
    Utf8,
    /// Only bytes below 128 are letters.
    Ascii,
    /// Every byte is the letter of its number.
    Latin1,
    /// Two bytes a unit, in this order.
    Utf16(Order),
    /// Any other.
    Other(&'static Encoding),
}

/// Which byte of two comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The upper one.
    Big,
    /// The lower one.
    Little,
    /// A mark at the beginning says it; without one it is the upper one.
    Marked,
}

/// What becomes of bytes that are no letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// Nothing is decoded.
    Fail,
    /// U+FFFD stands for them.
    Replace,
    /// They are left out.
    Ignore,
}

/// Bytes that are no letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} is no letter of the charset")]
pub struct Undecodable {
    /// Where they stand.
    pub at: usize,
}

impl Charset {
    /// The charset that Java knows by this name.
    pub fn of(name: &str) -> Option<Charset> {
        let lower = name.trim().to_ascii_lowercase();
        Some(match &*lower {
            "utf-8" | "utf8" => Charset::Utf8,
            "us-ascii" | "ascii" | "iso646-us" | "ansi_x3.4-1968" => Charset::Ascii,
            "iso-8859-1" | "iso8859-1" | "iso8859_1" | "latin1" | "8859_1" | "l1" | "cp819" => {
                Charset::Latin1
            }
            "utf-16" | "utf16" | "utf_16" => Charset::Utf16(Order::Marked),
            "utf-16be" | "utf_16be" | "unicodebigunmarked" => Charset::Utf16(Order::Big),
            "utf-16le" | "utf_16le" | "unicodelittleunmarked" => Charset::Utf16(Order::Little),
            _ => {
                let label = match &*lower {
                    "ms932" | "cp932" => "shift_jis".to_owned(),
                    "ms936" | "cp936" | "euc_cn" => "gbk".to_owned(),
                    "ms949" | "x-windows-949" => "euc-kr".to_owned(),
                    "ms950" | "cp950" | "big5_hkscs" => "big5".to_owned(),
                    "tis620" => "tis-620".to_owned(),
                    other => match other.strip_prefix("cp125") {
                        Some(page) => format!("windows-125{page}"),
                        None => other.to_owned(),
                    },
                };
                let encoding = Encoding::for_label(label.as_bytes())
                    .or_else(|| Encoding::for_label(label.replace('_', "-").as_bytes()))?;
                // What browsers take these names for is not what Java does.
                if encoding == encoding_rs::REPLACEMENT || encoding == encoding_rs::UTF_8 {
                    return None;
                }
                Charset::Other(encoding)
            }
        })
    }

    /// Reads a key that names one.
    pub fn read(keys: &Keys<'_>, key: &str) -> Charset {
        let name = keys.text_or(key, "UTF-8");
        Charset::of(&name).unwrap_or_else(|| {
            keys.wrong(key, &name, "a charset, as UTF-8, ISO-8859-1, GBK or UTF-16LE");
            Charset::Utf8
        })
    }

    /// Whether the byte 10 is the end of a line, wherever it stands.
    pub fn has_lines_of_bytes(self) -> bool {
        !matches!(self, Charset::Utf16(_))
    }

    /// The letters of these bytes.
    ///
    /// # Errors
    ///
    /// If some are none, where that is a failure.
    pub fn decode(self, bytes: &[u8], faults: Faults) -> Result<Cow<'_, str>, Undecodable> {
        match self {
            Charset::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Borrowed(text)),
                Err(error) if faults == Faults::Fail => {
                    Err(Undecodable { at: error.valid_up_to() })
                }
                Err(_) => Ok(Cow::Owned(mended(bytes, faults))),
            },
            Charset::Ascii => {
                by_byte(bytes, |byte| byte.is_ascii().then(|| char::from(byte)), faults)
                    .map(Cow::Owned)
            }
            Charset::Latin1 => {
                by_byte(bytes, |byte| Some(char::from(byte)), faults).map(Cow::Owned)
            }
            Charset::Utf16(order) => {
                let (order, bytes) = match (order, bytes) {
                    (Order::Marked, [0xfe, 0xff, rest @ ..]) => (Order::Big, rest),
                    (Order::Marked, [0xff, 0xfe, rest @ ..]) => (Order::Little, rest),
                    (order, bytes) => (order, bytes),
                };
                let encoding = if order == Order::Little {
                    encoding_rs::UTF_16LE
                } else {
                    encoding_rs::UTF_16BE
                };
                decoded(encoding, bytes, faults).map(Cow::Owned)
            }
            Charset::Other(encoding) => decoded(encoding, bytes, faults).map(Cow::Owned),
        }
    }

    /// The bytes of these letters; a question mark stands for one that has none.
    pub fn encode(self, text: &str) -> Vec<u8> {
        let narrow = |most: u32| {
            let byte = |letter: char| {
                u8::try_from(u32::from(letter)).ok().filter(|byte| u32::from(*byte) <= most)
            };
            text.chars().map(|letter| byte(letter).unwrap_or(b'?')).collect()
        };
        match self {
            Charset::Utf8 => text.as_bytes().to_owned(),
            Charset::Ascii => narrow(127),
            Charset::Latin1 => narrow(255),
            Charset::Utf16(Order::Little) => {
                text.encode_utf16().flat_map(u16::to_le_bytes).collect()
            }
            Charset::Utf16(Order::Big) => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            // As Java does: with a mark, the upper byte first.
            Charset::Utf16(Order::Marked) => {
                let units = std::iter::once(0xfeff).chain(text.encode_utf16());
                units.flat_map(u16::to_be_bytes).collect()
            }
            Charset::Other(encoding) => encoded(encoding, text),
        }
    }
}

/// The letters of bytes that should be UTF-8, as Java's `new String` has them: U+FFFD stands for what is none.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    Charset::Utf8.decode(bytes, Faults::Replace).expect("nothing fails where it is replaced")
}

/// The letters of UTF-8 with faults in it. To Java half a pair of UTF-16, written as a letter of three bytes,
/// is one fault; to others it is three.
fn mended(bytes: &[u8], faults: Faults) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    let mut rest = bytes;
    while let Some(chunk) = rest.utf8_chunks().next() {
        text.push_str(chunk.valid());
        let fault = &rest[chunk.valid().len()..];
        let long = match fault {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
            [0xed, 0xa0..=0xbf, ..] => 2,
            _ => chunk.invalid().len(),
        };
        if long > 0 && faults == Faults::Replace {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        rest = &fault[long..];
    }
    text
}

fn by_byte(
    bytes: &[u8],
    letter: impl Fn(u8) -> Option<char>,
    faults: Faults,
) -> Result<String, Undecodable> {
    let mut text = String::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        match (letter(*byte), faults) {
            (Some(letter), _) => text.push(letter),
            (None, Faults::Fail) => return Err(Undecodable { at }),
            (None, Faults::Replace) => text.push(char::REPLACEMENT_CHARACTER),
            (None, Faults::Ignore) => {}
        }
    }
    Ok(text)
}

fn decoded(
    encoding: &'static Encoding,
    bytes: &[u8],
    faults: Faults,
) -> Result<String, Undecodable> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(bytes.len() * 2 + 16);
    let mut at = 0;
    loop {
        let (result, read) =
            decoder.decode_to_string_without_replacement(&bytes[at..], &mut text, true);
        at += read;
        match result {
            DecoderResult::InputEmpty => return Ok(text),
            DecoderResult::OutputFull => text.reserve(bytes.len() - at + 64),
            DecoderResult::Malformed(long, beyond) => match faults {
                Faults::Fail => {
                    let at = at.saturating_sub(usize::from(long) + usize::from(beyond));
                    return Err(Undecodable { at });
                }
                Faults::Replace => text.push(char::REPLACEMENT_CHARACTER),
                Faults::Ignore => {}
            },
        }
    }
}

fn encoded(encoding: &'static Encoding, text: &str) -> Vec<u8> {
    let mut encoder = encoding.new_encoder();
    let mut bytes = Vec::with_capacity(text.len() * 2 + 16);
    let mut at = 0;
    loop {
        let (result, read) =
            encoder.encode_from_utf8_to_vec_without_replacement(&text[at..], &mut bytes, true);
        at += read;
        match result {
            EncoderResult::InputEmpty => return bytes,
            EncoderResult::OutputFull => bytes.reserve((text.len() - at) * 2 + 64),
            EncoderResult::Unmappable(_) => bytes.push(b'?'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(name: &str, bytes: &[u8], faults: Faults) -> Result<String, Undecodable> {
        Charset::of(name).unwrap().decode(bytes, faults).map(Cow::into_owned)
    }

    #[test]
    fn javas_names_are_known() {
        assert_eq!(decoded("UTF8", "ü".as_bytes(), Faults::Fail).unwrap(), "ü");
        assert_eq!(decoded("ISO8859_1", b"\xfc\x80", Faults::Fail).unwrap(), "ü\u{80}");
        assert_eq!(decoded("Cp1252", b"\x80", Faults::Fail).unwrap(), "€");
        assert_eq!(decoded("GBK", b"\xc4\xe3", Faults::Fail).unwrap(), "你");
        assert_eq!(decoded("UTF-16", b"\xff\xfea\0", Faults::Fail).unwrap(), "a");
        assert_eq!(decoded("UTF-16", b"\0a", Faults::Fail).unwrap(), "a");
        assert_eq!(decoded("EUC_JP", b"\xa4\xa2", Faults::Fail).unwrap(), "あ");
        for unknown in ["nosuch", "hz-gb-2312", ""] {
            assert_eq!(Charset::of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn bytes_that_are_no_letter_fail_or_are_replaced_or_left_out() {
        for name in ["UTF-8", "US-ASCII", "GBK"] {
            assert_eq!(
                decoded(name, b"ab\xff", Faults::Fail),
                Err(Undecodable { at: 2 }),
                "{name}"
            );
            assert_eq!(
                decoded(name, b"a\xff\nb", Faults::Replace).unwrap(),
                "a\u{fffd}\nb",
                "{name}"
            );
            assert_eq!(decoded(name, b"a\xff\nb", Faults::Ignore).unwrap(), "a\nb", "{name}");
        }
    }

    /// As Flume 1.11 on Java 17 reads them.
    #[test]
    fn faults_of_utf8_are_cut_as_java_cuts_them() {
        let cases: [(&[u8], &str); 10] = [
            (b"half \xed\xa0\x80.", "half *."),
            (b"both \xed\xa0\xbd\xed\xb8\x80.", "both **."),
            (b"cut \xed\xa0.", "cut *."),
            (b"cut \xed\xa0", "cut *"),
            (b"overlong \xc0\xaf\xe0\x80\xaf", "overlong *****"),
            (b"overlong \xf0\x80\x80\x80", "overlong ****"),
            (b"too high \xf4\x90\x80\x80", "too high ****"),
            (b"three of four \xf0\x9d\x84.", "three of four *."),
            (b"two of three \xe2\x82\xe2\x82\xac", "two of three *\u{20ac}"),
            (b"lone \xff\x80", "lone **"),
        ];
        for (bytes, expected) in cases {
            let replaced = expected.replace('*', "\u{fffd}");
            assert_eq!(text(bytes), replaced);
            let ignored = Charset::Utf8.decode(bytes, Faults::Ignore).unwrap();
            assert_eq!(ignored, expected.replace('*', ""));
        }
    }

    #[test]
    fn a_letter_that_a_charset_has_not_is_a_question_mark() {
        let encode = |name: &str, text: &str| Charset::of(name).unwrap().encode(text);
        assert_eq!(encode("US-ASCII", "aü你"), b"a??");
        assert_eq!(encode("ISO-8859-1", "aü你"), b"a\xfc?");
        assert_eq!(encode("GBK", "a你\u{1f600}"), b"a\xc4\xe3?");
        assert_eq!(encode("UTF-16", "a"), b"\xfe\xff\0a");
        assert_eq!(encode("UTF-16LE", "a"), b"a\0");
    }
}
