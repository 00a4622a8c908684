//! Formats of text that more than one room reads or writes: lists as in Python, escaped fields of tab
//! separated lines, integers in canonical form, seconds.

use std::fmt::Write;

use dataflows::{Article, Channel};

use crate::decode::ids;

/// Writes a list as Python's `repr` does: `[116644, 18577]`.
pub fn list(articles: &[Article]) -> String {
    let mut text = String::with_capacity(2 + articles.len() * 10);
    text.push('[');
    for (nth, article) in articles.iter().enumerate() {
        if nth > 0 {
            text.push_str(", ");
        }
        write!(text, "{article}").expect("a string takes all text");
    }
    text.push(']');
    text
}

/// Reads a list of articles as any writer of histories may have written it: decimal integers, plain
/// or in single or double quotes, mixed, with or without a trailing comma. `None` if it is none.
pub fn parse_list(text: &[u8]) -> Option<Vec<Article>> {
    let inner = blanks(text).strip_prefix(b"[")?.strip_suffix(b"]")?;
    let mut articles = Vec::new();
    let mut items = inner.split(|byte| *byte == b',').map(blanks).peekable();
    while let Some(item) = items.next() {
        if item.is_empty() {
            // Nothing between the brackets, or after a trailing comma.
            let allowed =
                items.peek().is_none() && (!articles.is_empty() || blanks(inner).is_empty());
            return allowed.then_some(articles);
        }
        let digits = match item {
            [b'\'', digits @ .., b'\''] | [b'"', digits @ .., b'"'] => digits,
            digits => digits,
        };
        articles.push(article(digits)?);
    }
    Some(articles)
}

/// Strips what Python's parser takes for blanks around a token on one line.
fn blanks(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// Reads an article's id: `0|-?[1-9][0-9]*` in the range of an `i64`.
pub fn article(text: &[u8]) -> Option<Article> {
    ids::article(text).and_then(ids::whole)
}

/// Reads a channel: `0|[1-9][0-9]*` up to 2147483647.
pub fn channel(text: &[u8]) -> Option<Channel> {
    ids::channel(text).and_then(ids::whole)
}

/// Reads the value of a neighbour: a finite number.
pub fn similar_value(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// Reads a timestamp in milliseconds: at most 15 digits.
#[inline]
pub fn milliseconds(text: &[u8]) -> Option<u64> {
    let digits = (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Writes milliseconds as seconds: at most three decimals, no zeros at the end.
pub fn seconds(milliseconds: u64) -> String {
    let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{rest:03}");
    text.trim_end_matches('0').to_owned()
}

/// Writes a number without a fraction where it has none, else with so many decimals at most and no
/// zeros at the end.
pub fn decimal(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Appends the bytes as a field of a tab separated line: tab, newline, carriage return and backslash
/// as `\t \n \r \\`, other control bytes and bytes that are not UTF-8 as `\xNN`, all else as it is.
pub fn escape(bytes: &[u8], line: &mut Vec<u8>) {
    for part in bytes.utf8_chunks() {
        for &byte in part.valid().as_bytes() {
            match byte {
                b'\t' => line.extend_from_slice(b"\\t"),
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                b'\\' => line.extend_from_slice(b"\\\\"),
                0x00..=0x1f | 0x7f => escape_hex(byte, line),
                _ => line.push(byte),
            }
        }
        part.invalid().iter().for_each(|byte| escape_hex(*byte, line));
    }
}

fn escape_hex(byte: u8, line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    line.extend_from_slice(b"\\x");
    line.extend([byte >> 4, byte & 15].map(|nibble| DIGITS[usize::from(nibble)]));
}

/// Reads an escaped field; `None` if a backslash begins no escape.
pub fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    loop {
        rest = match rest {
            [] => return Some(bytes),
            [b'\\', b't', rest @ ..] => push(&mut bytes, b'\t', rest),
            [b'\\', b'n', rest @ ..] => push(&mut bytes, b'\n', rest),
            [b'\\', b'r', rest @ ..] => push(&mut bytes, b'\r', rest),
            [b'\\', b'\\', rest @ ..] => push(&mut bytes, b'\\', rest),
            [b'\\', b'x', high, low, rest @ ..] => {
                let nibble = |digit: u8| char::from(digit).to_digit(16);
                let byte = nibble(*high)? * 16 + nibble(*low)?;
                push(&mut bytes, byte as u8, rest)
            }
            [b'\\', ..] => return None,
            [byte, rest @ ..] => push(&mut bytes, *byte, rest),
        };
    }
}

fn push<'a>(bytes: &mut Vec<u8>, byte: u8, rest: &'a [u8]) -> &'a [u8] {
    bytes.push(byte);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Option<Vec<i64>> {
        Some(parse_list(text.as_bytes())?.into_iter().map(|article| article.0).collect())
    }

    #[test]
    fn a_list_is_read_as_any_writer_wrote_it() {
        assert_eq!(ids("[141440,]"), Some(vec![141440]));
        assert_eq!(ids("[1, 2]"), Some(vec![1, 2]));
        assert_eq!(ids("[1,2]"), Some(vec![1, 2]));
        assert_eq!(ids("[]"), Some(vec![]));
        assert_eq!(ids(" [ ] "), Some(vec![]));
        assert_eq!(ids("['1', \"2\", -3 , ]"), Some(vec![1, 2, -3]));
    }

    #[test]
    fn what_is_no_list_is_not_read() {
        for text in
            ["", "1", "[", "[,]", "[1,,]", "[1 2]", "[1.0]", "[None]", "['1\"]", "[[1]]", "[' 1']"]
        {
            assert_eq!(ids(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_is_written_as_python_writes_it() {
        assert_eq!(list(&[]), "[]");
        assert_eq!(list(&[Article(116644), Article(-7)]), "[116644, -7]");
    }

    #[test]
    fn an_article_is_a_canonical_i64() {
        for text in ["0", "-1", "18005", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(article(text.as_bytes()).map(|id| id.0), text.parse().ok(), "{text}");
        }
        for text in
            ["", "-", "-0", "00", "007", "+1", " 1", "1 ", "1.0", "9223372036854775808", "a"]
        {
            assert_eq!(article(text.as_bytes()), None, "{text}");
        }
        assert_eq!(article(b"-9223372036854775809"), None);
        assert_eq!(article(b"99999999999999999999999"), None);
    }

    #[test]
    fn a_channel_is_a_canonical_i32_from_zero() {
        assert_eq!(channel(b"0"), Some(Channel(0)));
        assert_eq!(channel(b"2147483647"), Some(Channel(2147483647)));
        for text in ["", "-1", "01", "2147483648", "9999999999", "99999999999", "1 "] {
            assert_eq!(channel(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn seconds_have_no_zeros_at_the_end() {
        assert_eq!(seconds(1_600_000_000_000), "1600000000");
        assert_eq!(seconds(1_600_000_000_120), "1600000000.12");
        assert_eq!(seconds(5), "0.005");
    }

    #[test]
    fn escaping_gives_back_any_bytes() {
        let bytes: Vec<u8> = (0..=255).chain("ü\\x41\t".bytes()).collect();
        let mut field = Vec::new();
        escape(&bytes, &mut field);
        assert!(field.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f));
        assert!(std::str::from_utf8(&field).is_ok());
        assert_eq!(unescape(&field), Some(bytes));
        assert_eq!(unescape(b"\\q"), None);
        assert_eq!(unescape(b"\\x4"), None);
    }

    #[test]
    fn a_number_has_no_fraction_where_it_has_none_and_no_zeros_at_its_end() {
        for (number, decimals, text) in [
            (1_554_891_332.0, 3, "1554891332"),
            (1_554_891_332.5, 3, "1554891332.5"),
            (1_554_891_332.05, 3, "1554891332.05"),
            (7.1239, 3, "7.124"),
            (7.9999, 3, "8"),
            (100.0, 0, "100"),
            (-0.0001, 3, "0"),
        ] {
            assert_eq!(decimal(number, decimals), text);
        }
    }
}
