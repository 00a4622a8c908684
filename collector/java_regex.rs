//! Java's regular expressions: they find what Java's find, or are refused by the name of what is not
//! understood; none is read silently as something else.
//!
//! A pattern is translated, construct by construct. What is regular is found in linear time. What
//! is not (looking around, back references, possessive and atomic groups) is found by trying, with a bound on
//! the tries. `$`, `\Z` and `\b` are regular only for texts that do not end with a line terminator, or are
//! ASCII: almost all; for others the pattern exists a second time.
//!
//! As in Java 8 to 17: `\d \w \s` and `(?i)` are ASCII's, `.` stops at Unicode's line terminators, `\b` knows
//! all letters.

mod class;
mod reader;
mod replacement;
mod translate;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::replacement::Replacement;
use self::translate::{Needs, Translated};

/// What a pattern cannot be used for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no pattern in Java either.
    #[error("{what}, at character {at} of the pattern")]
    Syntax {
        /// What is wrong.
        what: &'static str,
        /// Where, from 1.
        at: usize,
    },
    /// It is one, and a part of it is not understood here.
    #[error("{what} is not supported, at character {at} of the pattern")]
    Unsupported {
        /// The construct.
        what: String,
        /// Where, from 1.
        at: usize,
    },
    /// The whole is too large, or otherwise more than can be done.
    #[error("the pattern cannot be used: {0}")]
    Whole(String),
    /// A replacement is none.
    #[error("{0}, in the replacement")]
    Replacement(String),
}

/// A pattern.
#[derive(Debug)]
pub struct JavaRegex {
    pattern: String,
    names: Vec<(String, usize)>,
    groups: usize,
    part: Engines,
    whole: Engines,
    /// Whether it was said that a text takes too many tries.
    said: AtomicBool,
}

/// A pattern for texts of two kinds.
#[derive(Debug)]
struct Engines {
    /// For texts that are as it needs.
    fast: Option<(regex::Regex, Needs)>,
    /// For all others; none where nothing is needed.
    exact: Option<fancy_regex::Regex>,
}

/// A match and its groups: where each stands, if it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captures<'t> {
    text: &'t str,
    groups: Vec<Option<Range<usize>>>,
}

impl<'t> Captures<'t> {
    /// What a group has matched; group 0 is all.
    pub fn get(&self, group: usize) -> Option<&'t str> {
        Some(&self.text[self.groups.get(group)?.clone()?])
    }

    /// Where all of it stands.
    pub fn range(&self) -> Range<usize> {
        self.groups[0].clone().expect("a match has a place")
    }
}

impl fmt::Display for JavaRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

impl Engines {
    fn new(translated: &Translated, whole: bool) -> Result<Engines, Error> {
        let framed = |pattern: &str| {
            if whole { format!(r"\A(?:{pattern})\z") } else { pattern.to_owned() }
        };
        let fast = match &translated.fast {
            Some(pattern) => {
                let regex = regex::Regex::new(&framed(pattern));
                Some((regex.map_err(|error| Error::Whole(last_line(&error)))?, translated.needs))
            }
            None => None,
        };
        let exact = if fast.is_some() && translated.needs.is_nothing() {
            None
        } else {
            let regex = fancy_regex::Regex::new(&framed(&translated.exact));
            Some(regex.map_err(|error| Error::Whole(last_line(&error)))?)
        };
        Ok(Engines { fast, exact })
    }

    fn fast_for(&self, text: &str) -> Option<&regex::Regex> {
        self.fast.as_ref().filter(|(_, needs)| needs.are_met_by(text)).map(|(regex, _)| regex)
    }

    fn exact(&self) -> &fancy_regex::Regex {
        self.exact.as_ref().expect("what needs something is there a second time")
    }

    fn is_match(&self, text: &str) -> Result<bool, String> {
        match self.fast_for(text) {
            Some(regex) => Ok(regex.is_match(text)),
            None => self.exact().is_match(text).map_err(|error| error.to_string()),
        }
    }

    fn captures<'t>(&self, text: &'t str, from: usize) -> Result<Option<Captures<'t>>, String> {
        let groups: Option<Vec<_>> = match self.fast_for(text) {
            Some(regex) => regex
                .captures_at(text, from)
                .map(|found| found.iter().map(|group| group.map(|group| group.range())).collect()),
            None => {
                let found = self.exact().captures_from_pos(text, from);
                found.map_err(|error| error.to_string())?.map(|found| {
                    found.iter().map(|group| group.map(|group| group.range())).collect()
                })
            }
        };
        Ok(groups.map(|groups| Captures { text, groups }))
    }
}

/// What an engine says of a pattern in the last of its lines.
fn last_line(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl JavaRegex {
    /// Understands a pattern.
    ///
    /// # Errors
    ///
    /// If it is none, or a part of it is not understood.
    pub fn parse(pattern: &str) -> Result<JavaRegex, Error> {
        let translated = translate::translate(pattern)?;
        let part = Engines::new(&translated, false)?;
        let whole = Engines::new(&translated, true)?;
        let Translated { names, groups, .. } = translated;
        let (pattern, said) = (pattern.to_owned(), AtomicBool::new(false));
        Ok(JavaRegex { pattern, names, groups, part, whole, said })
    }

    /// How many groups it has.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The number of a group with a name.
    pub fn group(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, group)| *group)
    }

    /// Whether it stands somewhere in the text: Java's `find`.
    pub fn find(&self, text: &str) -> bool {
        self.done(self.part.is_match(text)).unwrap_or(false)
    }

    /// Whether it is the text: Java's `matches`.
    pub fn matches(&self, text: &str) -> bool {
        self.done(self.whole.is_match(text)).unwrap_or(false)
    }

    /// The first place where it stands, from an index on, with its groups.
    pub fn captures<'t>(&self, text: &'t str, from: usize) -> Option<Captures<'t>> {
        self.done(self.part.captures(text, from)).flatten()
    }

    /// The text as a whole, with its groups, if it is it.
    pub fn captures_whole<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.done(self.whole.captures(text, 0)).flatten()
    }

    /// The text with each match replaced; none where there is no match.
    pub fn replace_all(&self, text: &str, by: &Replacement) -> Option<String> {
        let (mut replaced, mut kept, mut from) = (None::<String>, 0, 0);
        while let Some(found) = self.captures(text, from) {
            let Range { start, end } = found.range();
            let to = replaced.get_or_insert_with(|| String::with_capacity(text.len()));
            *to += &text[kept..start];
            by.write(&found, to);
            kept = end;
            // As in Java, an empty match may stand right behind another match.
            from = end;
            if start == end {
                match text[end..].chars().next() {
                    Some(next) => from += next.len_utf8(),
                    None => break,
                }
            }
        }
        replaced.map(|replaced| replaced + &text[kept..])
    }

    /// The pieces of a text between matches, as Java's `split` gives them: an empty one in front only where a
    /// match of some length stands there, none at the end.
    pub fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let (mut pieces, mut kept, mut from) = (Vec::new(), 0, 0);
        while let Some(found) = self.captures(text, from) {
            let Range { start, end } = found.range();
            if end > 0 {
                pieces.push(&text[kept..start]);
                kept = end;
            }
            from = end;
            if start == end {
                match text[end..].chars().next() {
                    Some(next) => from += next.len_utf8(),
                    None => break,
                }
            }
        }
        if pieces.is_empty() {
            return vec![text];
        }
        pieces.push(&text[kept..]);
        while pieces.last().is_some_and(|piece| piece.is_empty()) {
            pieces.pop();
        }
        pieces
    }

    /// A text that takes too many tries counts as one without a match; that is said once.
    fn done<T>(&self, found: Result<T, String>) -> Option<T> {
        found
            .inspect_err(|error| {
                if !self.said.swap(true, Ordering::Relaxed) {
                    log::warn!(
                        "the pattern {} takes too long for a text, which counts as one without a match: \
                         error={error}",
                        self.pattern
                    );
                }
            })
            .ok()
    }
}

#[cfg(test)]
mod tests;
