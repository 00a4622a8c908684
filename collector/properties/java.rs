//! `java.util.Properties.load`: comments, separators, lines that go on, escapes.

use super::Property;

/// An escape that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} has a \\u without four hexadecimal digits, or half of a character")]
pub struct Malformed {
    /// The line on which its property begins.
    pub line: usize,
}

/// Every property of a text, in order; one that stands there twice comes twice.
///
/// # Errors
///
/// If an escape is none.
pub fn load(text: &str) -> Result<Vec<Property>, Malformed> {
    let mut all = Vec::new();
    let mut lines = Lines { rest: Some(text), number: 0 };
    // What a line says, put together where it goes on.
    let mut said = String::new();
    while let Some(mut natural) = lines.next() {
        let line = lines.number;
        if natural.is_empty() || natural.starts_with(['#', '!']) {
            continue;
        }
        said.clear();
        while let Some(goes_on) = going_on(natural) {
            said.push_str(goes_on);
            natural = lines.next().unwrap_or_default();
        }
        said.push_str(natural);
        if said.is_empty() {
            continue;
        }
        let (key, value) = split(&said);
        let unescaped = |text| unescaped(text).ok_or(Malformed { line });
        all.push(Property { key: unescaped(key)?, value: unescaped(value)?, line });
    }
    Ok(all)
}

/// The lines as they stand there, without the blanks before them.
struct Lines<'a> {
    rest: Option<&'a str>,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        self.number += 1;
        let line = match rest.split_once(['\n', '\r']) {
            None => {
                self.rest = None;
                rest
            }
            Some((line, behind)) => {
                let is_return = rest.as_bytes()[line.len()] == b'\r';
                self.rest = Some(behind.strip_prefix('\n').filter(|_| is_return).unwrap_or(behind));
                line
            }
        };
        Some(line.trim_start_matches(is_blank))
    }
}

fn is_blank(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\x0c')
}

/// What a line says that goes on with the next: one that ends in a backslash which is not escaped.
fn going_on(line: &str) -> Option<&str> {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    (backslashes % 2 == 1).then(|| &line[..line.len() - 1])
}

/// Key and value, as they are written: a sign or blanks, or both, stand between.
fn split(line: &str) -> (&str, &str) {
    let mut chars = line.char_indices();
    let mut end = line.len();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            '=' | ':' => {
                end = at;
                break;
            }
            _ if is_blank(char) => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    match rest.strip_prefix(['=', ':']) {
        Some(value) => (key, value.trim_start_matches(is_blank)),
        None => (key, rest),
    }
}

/// A text without its escapes; none if one of them is none.
fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut chars = behind.chars();
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0c'),
            Some('u') => {
                let (first, behind) = digits(chars.as_str())?;
                // A character beyond the first 65,536 is written as two halves.
                let second = || digits(behind.strip_prefix("\\u")?);
                let (char, behind) = match char::from_u32(first.into()) {
                    Some(char) => (char, behind),
                    None => {
                        let (second, behind) = second()?;
                        (char::decode_utf16([first, second]).next()?.ok()?, behind)
                    }
                };
                plain.push(char);
                rest = behind;
                continue;
            }
            Some(char) => plain.push(char),
            None => {}
        }
        rest = chars.as_str();
    }
    plain.push_str(rest);
    Some(plain)
}

/// Four hexadecimal digits, and what stands behind them.
fn digits(text: &str) -> Option<(u16, &str)> {
    let (digits, behind) = text.split_at_checked(4)?;
    // A sign would be a number's.
    let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    Some((u16::from_str_radix(digits, 16).ok().filter(|_| is_number)?, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, usize)> {
        load(text).unwrap().into_iter().map(|one| (one.key, one.value, one.line)).collect()
    }

    #[test]
    fn what_java_reads_of_odd_files_is_read() {
        type Case = (&'static str, &'static [(&'static str, &'static str, usize)]);
        let all: [Case; 10] = [
            ("a = 1\nb = 2\\", &[("a", "1", 1), ("b", "2", 2)]),
            ("# C:\\users\n!\\u\na=1", &[("a", "1", 3)]),
            ("# goes on \\\na=1", &[("a", "1", 2)]),
            ("a=\\\n# x\nb", &[("a", "# x", 1), ("b", "", 3)]),
            ("a=\\\n\nb", &[("a", "", 1), ("b", "", 3)]),
            ("\\\n#a", &[("#a", "", 1)]),
            (
                "a=1\rb=2\r\nc=3\n\rd=4",
                &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3), ("d", "4", 5)],
            ),
            ("a=x\\\n \u{a0}y", &[("a", "x\u{a0}y", 1)]),
            ("a=\\ud83d\\ude00", &[("a", "\u{1f600}", 1)]),
            ("=x\n: \na\\=\\\\=b\\", &[("", "x", 1), ("", "", 2), ("a=\\", "b", 3)]),
        ];
        for (text, expected) in all {
            let expected = expected.iter().map(|(k, v, line)| ((*k).into(), (*v).into(), *line));
            assert_eq!(read(text), expected.collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn an_escape_that_is_none_is_told_with_the_line_of_its_property() {
        for escape in
            ["\\u12", "\\u+123", "\\u12g4", "\\u1é", "\\ud83d", "\\ud83d\\u0041", "\\ude00"]
        {
            let text = format!("a = 1\n\nb = \\\n{escape}");
            assert_eq!(load(&text), Err(Malformed { line: 3 }), "{escape}");
        }
    }
}
