//! A line of a file an event; a long one is several.
//!
//! A batch is cut out of a large block by the places of its newlines, judged as UTF-8 as a whole, and its
//! bodies are slices of it. Only what is in another charset, or is no letter, is decoded line by line.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::reading::{Bad, Reading};
use super::tracker::Place;
use crate::charset::{Charset, Faults, Order};
use crate::event::{Event, Headers};
use crate::keys::Keys;

const BLOCK: usize = 512 << 10;

/// A line that has no end within so many bytes is cut there, whatever its length may be.
const LONGEST: usize = 64 << 20;

/// The name of the longest line's key before there were deserializers; Flume obeys it before the new one.
const OLD: &str = "bufferMaxLineLength";

/// How lines become events.
#[derive(Clone, Debug)]
pub struct Settings {
    input: Charset,
    output: Charset,
    faults: Faults,
    /// In units of UTF-16.
    longest: usize,
}

impl Settings {
    /// Reads the keys of the source, and those below `deserializer.`.
    pub fn read(keys: &Keys<'_>, own: &Keys<'_>) -> Settings {
        let faults = keys.choice(
            "decodeErrorPolicy",
            "FAIL",
            &[("FAIL", Faults::Fail), ("REPLACE", Faults::Replace), ("IGNORE", Faults::Ignore)],
        );
        let input = Charset::read(keys, "inputCharset");
        let mut longest = own.count("maxLineLength", 2048);
        let old = if own.is_given("maxLineLength") {
            keys.text(OLD).inspect(|_| {
                own.doubtful("maxLineLength", format_args!("it does not count beside {OLD}"));
            })
        } else {
            keys.renamed(OLD, "deserializer.maxLineLength")
        };
        if let Some(old) = old {
            match old.parse() {
                Ok(number @ 1_usize..) => longest = number,
                _ => keys.wrong(OLD, &old, "a whole number from 1"),
            }
        }
        Settings { input, output: Charset::read(own, "outputCharset"), faults, longest }
    }
}

/// Makes events of lines.
#[derive(Debug)]
pub struct Lines {
    file: File,
    size: u64,
    settings: Settings,
    headers: Headers,
    block: Vec<u8>,
    /// How much of the block is read.
    begin: usize,
    /// Where the block's first byte stands in the file.
    at: u64,
    ends: Vec<usize>,
    /// The pieces of a line that is decoded, of which some are given, and how long it is in the file.
    pieces: VecDeque<Event>,
    given: u64,
    line: usize,
}

impl Lines {
    /// Reads a file from here.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn new(
        file: File,
        size: u64,
        place: Place,
        headers: Headers,
        settings: Settings,
    ) -> Result<Lines, Bad> {
        let mut lines = Lines {
            file,
            size,
            settings,
            headers,
            block: Vec::new(),
            begin: 0,
            at: place.offset,
            ends: Vec::new(),
            pieces: VecDeque::new(),
            given: 0,
            line: 0,
        };
        if lines.settings.input == Charset::Utf16(Order::Marked) {
            lines.judge_order()?;
        }
        for _ in 0..place.skip {
            lines.read(1)?;
        }
        Ok(lines)
    }

    /// Which byte comes first, as the file's first two say.
    fn judge_order(&mut self) -> Result<(), Bad> {
        let mut mark = [0; 2];
        if self.size >= 2 {
            self.file.read_exact_at(&mut mark, 0)?;
        }
        let order = if mark == [0xff, 0xfe] { Order::Little } else { Order::Big };
        self.settings.input = Charset::Utf16(order);
        if self.at == 0 && matches!(mark, [0xff, 0xfe] | [0xfe, 0xff]) {
            self.at = 2;
        }
        Ok(())
    }

    /// Reads on, behind what is not read yet; says whether there was more.
    fn fill(&mut self) -> Result<bool, Bad> {
        self.block.drain(..self.begin);
        self.at += self.begin as u64;
        self.begin = 0;
        let had = self.block.len();
        let from = self.at + had as u64;
        let more = (self.size - from.min(self.size)).min(BLOCK.max(had) as u64) as usize;
        self.block.resize(had + more, 0);
        self.file.read_exact_at(&mut self.block[had..], from)?;
        Ok(more > 0)
    }

    /// Finds the ends of the next lines, so many at most, each with its newline; says whether the last one
    /// has none, because the file has no more or the line is too long.
    fn find(&mut self, most: usize) -> Result<bool, Bad> {
        let enough = self.settings.longest.saturating_mul(4).clamp(BLOCK, LONGEST);
        loop {
            let fresh = &self.block[self.begin..];
            self.ends.clear();
            match self.settings.input {
                Charset::Utf16(order) => {
                    let newline = if order == Order::Little { [10, 0] } else { [0, 10] };
                    let units = fresh.chunks_exact(2).enumerate();
                    let ends = units.filter(|(_, unit)| *unit == newline).map(|(at, _)| at * 2 + 2);
                    self.ends.extend(ends.take(most));
                }
                _ => {
                    let newlines = memchr::memchr_iter(b'\n', fresh);
                    self.ends.extend(newlines.map(|at| at + 1).take(most));
                }
            }
            let long = fresh.len();
            if self.ends.len() < most && long < enough && self.fill()? {
                continue;
            }
            // Wherever the block ends: what is read again is cut at the same places.
            let begins = std::iter::once(0).chain(self.ends.iter().copied());
            let lengths = begins.zip(&self.ends).map(|(begin, end)| end - begin);
            let too_long = lengths.into_iter().position(|length| length > enough);
            if let Some(at) = too_long {
                self.ends.truncate(at);
            }
            let last = self.ends.last().copied().unwrap_or(0);
            // The rest is a line where the file ends, or where no line is short enough.
            let is_rest = too_long.is_none() && last < long && long < enough;
            if self.ends.len() < most && (is_rest || (last == 0 && long > 0)) {
                self.ends.push(long.min(enough));
                return Ok(true);
            }
            return Ok(false);
        }
    }

    /// Cuts lines that are UTF-8 and stay so; says how much of them was read.
    fn cut(&self, text: &str, all: &Bytes, has_open_end: bool, most: usize) -> (Vec<Event>, usize) {
        let longest = self.settings.longest;
        let mut events = Vec::with_capacity(self.ends.len());
        let mut begin = 0;
        let event = |from, to| Event { headers: self.headers.clone(), body: all.slice(from..to) };
        for (number, &end) in self.ends.iter().enumerate() {
            let is_open = has_open_end && number + 1 == self.ends.len();
            let end = end.min(text.len());
            let mut line_end = if is_open { end } else { end - 1 };
            // Not more letters than bytes.
            while line_end - begin > longest {
                let cut = prefix(&text[begin..line_end], longest);
                if begin + cut == line_end {
                    break;
                }
                if events.len() == most {
                    return (events, begin);
                }
                events.push(event(begin, begin + cut));
                begin += cut;
            }
            if events.len() == most {
                return (events, begin);
            }
            // An open end that is cut off by the block goes on, if it can.
            let goes_on = is_open && self.at + (self.begin + end) as u64 != self.size;
            if goes_on && !events.is_empty() {
                return (events, begin);
            }
            line_end = line_end.max(begin);
            events.push(event(begin, line_end));
            begin = end;
        }
        (events, begin)
    }

    /// How much of a line that is cut off ends with a whole letter, if that can be told.
    fn whole(&self, long: usize) -> usize {
        let line = &self.block[self.begin..self.begin + long];
        let is_whole =
            |less: &usize| self.settings.input.decode(&line[..long - less], Faults::Fail).is_ok();
        (0..4.min(long)).find(is_whole).map_or(long, |less| long - less)
    }

    /// Decodes the next line, which is so long with its newline, into pieces.
    fn decode(&mut self, long: usize, newline: usize) -> Result<(), Bad> {
        let Settings { input, output, faults, longest } = self.settings;
        let line = &self.block[self.begin..self.begin + long - newline];
        let at = self.at + self.begin as u64;
        let text = input
            .decode(line, faults)
            .map_err(|error| Bad::Undecodable { at: at + error.at as u64 })?;
        let mut rest = &*text;
        loop {
            let (piece, behind) = rest.split_at(prefix(rest, longest));
            let body = output.encode(piece).into();
            self.pieces.push_back(Event { headers: self.headers.clone(), body });
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        (self.line, self.given) = (long, 0);
        Ok(())
    }

    /// Gives pieces of the line that is decoded.
    fn give(&mut self, events: &mut Vec<Event>, most: usize) {
        while events.len() < most
            && let Some(piece) = self.pieces.pop_front()
        {
            events.push(piece);
            self.given += 1;
            if self.pieces.is_empty() {
                self.begin += self.line;
            }
        }
    }

    /// The next lines, if they are UTF-8 and stay so.
    fn slices(&mut self, has_open_end: bool, most: usize) -> Option<Vec<Event>> {
        if (self.settings.input, self.settings.output) != (Charset::Utf8, Charset::Utf8) {
            return None;
        }
        let end = *self.ends.last()?;
        let fresh = &self.block[self.begin..self.begin + end];
        let text = std::str::from_utf8(fresh).or_else(|error| {
            let is_last = self.at + (self.begin + end) as u64 == self.size;
            let valid = &fresh[..error.valid_up_to()];
            // A letter that the block cuts in two.
            if has_open_end && !is_last && error.error_len().is_none() && !valid.is_empty() {
                std::str::from_utf8(valid)
            } else {
                Err(error)
            }
        });
        let text = text.ok()?;
        let all = Bytes::copy_from_slice(text.as_bytes());
        let (events, read) = self.cut(text, &all, has_open_end, most);
        self.begin += read;
        Some(events)
    }
}

/// How many bytes of this text are so many units of UTF-16, at most; one letter at least.
fn prefix(text: &str, longest: usize) -> usize {
    let mut units = 0;
    for (at, letter) in text.char_indices() {
        units += letter.len_utf16();
        if units > longest && at > 0 {
            return at;
        }
    }
    text.len()
}

impl Reading for Lines {
    fn read(&mut self, most: usize) -> Result<Vec<Event>, Bad> {
        let mut events = Vec::new();
        self.give(&mut events, most);
        if !events.is_empty() {
            return Ok(events);
        }
        let has_open_end = self.find(most)?;
        if let Some(events) = self.slices(has_open_end, most) {
            return Ok(events);
        }
        let width = if self.settings.input.has_lines_of_bytes() { 1 } else { 2 };
        let (first, ends) = (self.begin, std::mem::take(&mut self.ends));
        for (number, end) in ends.iter().enumerate() {
            let is_open = has_open_end && number + 1 == ends.len();
            let mut long = first + end - self.begin;
            if is_open && self.at + (first + end) as u64 != self.size {
                long = self.whole(long);
            }
            match self.decode(long, if is_open { 0 } else { width }) {
                Ok(()) => self.give(&mut events, most),
                // What is well before it is put first.
                Err(_) if !events.is_empty() => break,
                Err(error) => return Err(error),
            }
            if events.len() == most {
                break;
            }
        }
        Ok(events)
    }

    fn place(&self) -> Place {
        let offset = self.at + self.begin as u64;
        Place { offset, skip: if self.pieces.is_empty() { 0 } else { self.given } }
    }

    fn has_ended(&self) -> bool {
        self.pieces.is_empty() && self.at + self.begin as u64 >= self.size
    }
}

#[cfg(test)]
mod tests;
