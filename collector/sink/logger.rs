//! Writes the beginning of every event into the log, as Flume does: to see what comes.

use std::fmt::Write;

use super::{Failure, Tap, Turn};
use crate::event::Event;
use crate::keys::Keys;

/// Logs what it takes.
#[derive(Debug)]
pub struct Logger {
    /// How many bytes of a body are shown.
    most: usize,
}

impl Logger {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Logger {
        Logger { most: keys.number("maxBytesToLog", 16, "a whole number from 0", |_| true) }
    }

    /// Headers, the body's bytes in hexadecimal, and what of them is printable ASCII.
    fn line(&self, event: &Event) -> String {
        let headers: Vec<_> =
            event.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let shown = &event.body[..event.body.len().min(self.most)];
        let mut line = format!("Event: {{ headers:{{{}}} body:", headers.join(", "));
        for byte in shown {
            write!(line, " {byte:02X}").expect("a string takes it");
        }
        let printable = |&byte: &u8| if (0x20..0x7f).contains(&byte) { byte as char } else { '.' };
        line.push(' ');
        line.extend(shown.iter().map(printable));
        line + " }"
    }
}

impl super::Sink for Logger {
    fn batch(&self) -> usize {
        1
    }

    fn turn(&mut self, tap: &Tap) -> Result<Turn, Failure> {
        let taken = tap.take(1)?;
        let [event] = taken.events() else { return Ok(Turn::Idle) };
        log::info!("{}", self.line(event));
        tap.commit(taken, Vec::new())?;
        Ok(Turn::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_body_is_shown_as_bytes_and_as_text() {
        let mut event = Event::new("hello\tworld");
        event.headers.set("host", "a");
        event.headers.set("b", "");
        let line = Logger { most: 7 }.line(&event);
        assert_eq!(line, "Event: { headers:{host=a, b=} body: 68 65 6C 6C 6F 09 77 hello.w }");
    }
}
