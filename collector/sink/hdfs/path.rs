//! Where an event goes: a folder and the beginning of a name, with Flume's escapes in both.
//!
//! `%{name}` is a header, empty where there is none; `%[localhost]` and its like are this machine; `%H` and its
//! like are the event's time. Of times the header `timestamp` decides, in milliseconds since 1970, or the clock. An
//! escape that nobody knows stands for nothing.
//!
//! Both are parsed once. What they come to is remembered for some events: those of the same time, as
//! finely as the escapes show it, and of the same headers have the same place.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::zone::{self, Rounding};
use crate::event::{Event, Text};
use crate::machine;

/// How many places are remembered.
const REMEMBERED: usize = 8;

/// The longest name of a file or folder that file systems take.
const LONGEST: usize = 255;

/// A text with escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    /// Letters behind a `%` that stand for nothing.
    pub unknown: Vec<char>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Header(String),
    Time(char),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("%[{0}] stands for nothing; there is %[localhost], %[IP] and %[FQDN]")]
pub struct UnknownHost(pub String);

impl Template {
    /// Parses a text.
    ///
    /// # Errors
    ///
    /// If `%[…]` holds another word than those that are known.
    pub fn parse(text: &str) -> Result<Template, UnknownHost> {
        let mut template = Template::default();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('%') {
            template.push(before);
            if let Some((name, after)) = within(behind, '{', '}', ".-") {
                template.parts.push(Part::Header(name.to_owned()));
                rest = after;
            } else if let Some((word, after)) = within(behind, '[', ']', "") {
                template.push(&machine::named(word).ok_or_else(|| UnknownHost(word.to_owned()))?);
                rest = after;
            } else if let Some(letter) = behind.chars().next().filter(|&c| is_word(c) || c == '%') {
                match letter {
                    '%' => template.push("%"),
                    field if zone::is_field(field) => template.parts.push(Part::Time(field)),
                    unknown => template.unknown.push(unknown),
                }
                rest = &behind[1..];
            } else {
                template.push("%");
                rest = behind;
            }
        }
        template.push(rest);
        Ok(template)
    }

    fn push(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }

    /// The letters of its times.
    pub fn times(&self) -> impl Iterator<Item = char> {
        self.parts.iter().filter_map(|part| match part {
            Part::Time(letter) => Some(*letter),
            _ => None,
        })
    }

    /// The names of its headers.
    fn headers(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Header(name) => Some(&**name),
            _ => None,
        })
    }

    /// What stands in it as it is.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(&**text),
            _ => None,
        })
    }

    fn write(&self, event: &Event, time: Option<&(jiff::Zoned, i64)>, out: &mut String) {
        for part in &self.parts {
            match (part, time) {
                (Part::Text(text), _) => out.push_str(text),
                (Part::Header(name), _) => {
                    out.push_str(event.headers.get(name).map_or("", |value| &**value));
                }
                (Part::Time(letter), Some((time, millis))) => {
                    zone::write(*letter, time, *millis, out);
                }
                (Part::Time(_), None) => {}
            }
        }
    }
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// What stands between two brackets, of words' letters and some more, and what comes behind.
fn within<'a>(text: &'a str, open: char, close: char, more: &str) -> Option<(&'a str, &'a str)> {
    let (name, after) = text.strip_prefix(open)?.split_once(close)?;
    let is_name = !name.is_empty() && name.chars().all(|c| is_word(c) || more.contains(c));
    is_name.then_some((name, after))
}

/// Which time counts, and how it is shown.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The zone of its fields.
    pub zone: TimeZone,
    /// What it is rounded down to.
    pub rounding: Option<Rounding>,
    /// Whether the time of writing counts, not the event's.
    pub is_local: bool,
}

/// A folder, and the beginning of the names in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The folder, with `/` at its end.
    pub folder: String,
    /// The beginning of a name.
    pub name: String,
}

/// Why an event has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nowhere {
    /// In a word.
    pub reason: &'static str,
    /// In full.
    pub text: String,
}

impl Nowhere {
    fn no_timestamp(text: impl Into<String>) -> Nowhere {
        Nowhere { reason: "no_timestamp", text: text.into() }
    }

    fn bad_path(text: impl Into<String>) -> Nowhere {
        Nowhere { reason: "bad_path", text: text.into() }
    }
}

/// The places of events.
#[derive(Debug)]
pub struct Places {
    folder: Template,
    name: Template,
    clock: Clock,
    /// How much longer the name of a file gets than the place's.
    affixes: usize,
    /// Whether a name may hold a colon: Hadoop's may not.
    takes_colons: bool,
    /// The headers that count.
    headers: Vec<String>,
    /// For how many milliseconds, at a multiple of it, a time is shown the same; none where no time is shown.
    grain: Option<i64>,
    remembered: Vec<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    grain: i64,
    values: Vec<Option<Text>>,
    place: Arc<Place>,
}

impl Places {
    /// Those of a folder and a name, each with escapes.
    pub fn new(
        folder: Template,
        name: Template,
        clock: Clock,
        affixes: usize,
        takes_colons: bool,
    ) -> Places {
        let mut headers: Vec<String> = Vec::new();
        for header in folder.headers().chain(name.headers()) {
            if !headers.iter().any(|known| known == header) {
                headers.push(header.to_owned());
            }
        }
        let grain = folder.times().chain(name.times()).map(|letter| match letter {
            't' => 1,
            's' | 'S' | 'c'
                if !matches!(clock.rounding, Some(Rounding::Minutes(_) | Rounding::Hours(_))) =>
            {
                1000
            }
            // No zone of our days is off by less than a minute.
            _ => 60_000,
        });
        let grain = grain.min();
        Places {
            folder,
            name,
            clock,
            affixes,
            takes_colons,
            headers,
            grain,
            remembered: Vec::new(),
        }
    }

    /// Whether the header `timestamp` is needed.
    pub fn needs_timestamp(&self) -> bool {
        self.grain.is_some() && !self.clock.is_local
    }

    /// The place of an event; `now` counts where the clock is local.
    ///
    /// # Errors
    ///
    /// If there can be none.
    pub fn of(&mut self, event: &Event, now: i64) -> Result<Arc<Place>, Nowhere> {
        let millis = match self.grain {
            None => 0,
            Some(_) if self.clock.is_local => now,
            Some(_) => timestamp(event)?,
        };
        let grain = millis.div_euclid(self.grain.unwrap_or(1));
        let is_same = |known: &Remembered| {
            let values = self.headers.iter().zip(&known.values);
            known.grain == grain
                && values.into_iter().all(|(name, value)| event.headers.get(name) == value.as_ref())
        };
        if let Some(place) = self.remembered.iter().position(is_same) {
            self.remembered.swap(0, place);
            return Ok(Arc::clone(&self.remembered[0].place));
        }
        let place = Arc::new(self.worked_out(event, millis)?);
        let values = self.headers.iter().map(|name| event.headers.get(name).cloned()).collect();
        self.remembered.truncate(REMEMBERED - 1);
        self.remembered.insert(0, Remembered { grain, values, place: Arc::clone(&place) });
        Ok(place)
    }

    fn worked_out(&self, event: &Event, millis: i64) -> Result<Place, Nowhere> {
        let time = match self.grain {
            None => None,
            Some(_) => {
                // Java rounds no such time down.
                let is_countable = millis > 0 || self.clock.rounding.is_none();
                let time = zone::at(millis, &self.clock.zone, self.clock.rounding);
                let time = time.filter(|_| is_countable).ok_or_else(|| {
                    Nowhere::no_timestamp(format!("no calendar has a timestamp of {millis}"))
                })?;
                Some((time, millis))
            }
        };
        let mut path = String::new();
        self.folder.write(event, time.as_ref(), &mut path);
        path.push('/');
        self.name.write(event, time.as_ref(), &mut path);
        self.judged(&path)
    }

    /// A path as Hadoop takes it: without empty and `.` folders. What leaves its folder by `..` is refused: a
    /// header would decide where we write.
    fn judged(&self, path: &str) -> Result<Place, Nowhere> {
        if path.contains('\0') || !self.takes_colons && path.contains(':') {
            return Err(Nowhere::bad_path(format!("no file can have the path {path:?}")));
        }
        let mut place = Place { folder: String::with_capacity(path.len()), name: String::new() };
        if path.starts_with('/') {
            place.folder.push('/');
        }
        // A name may hold folders, too.
        let (folders, name) = path.rsplit_once('/').expect("folder and name are joined by one");
        for step in folders.split('/') {
            match step {
                "" | "." => continue,
                ".." => return Err(Nowhere::bad_path(format!("{path} leaves its folder"))),
                _ if step.len() > LONGEST => {
                    return Err(Nowhere::bad_path(format!("{path} has too long a name in it")));
                }
                _ => place.folder.push_str(step),
            }
            place.folder.push('/');
        }
        if name.len() + self.affixes > LONGEST {
            return Err(Nowhere::bad_path(format!("the name of {path} is too long")));
        }
        place.name.push_str(name);
        Ok(place)
    }
}

/// The time that an event says it has.
fn timestamp(event: &Event) -> Result<i64, Nowhere> {
    let text = event
        .headers
        .get("timestamp")
        .ok_or_else(|| Nowhere::no_timestamp("the path needs the header timestamp"))?;
    text.parse()
        .map_err(|_| Nowhere::no_timestamp(format!("the header timestamp is no number: {text}")))
}

#[cfg(test)]
mod tests;
