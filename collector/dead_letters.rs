//! What a sink can never take is kept: a line of JSON an event, with its time and reason.
//!
//! A letter is on the disk before its event is forgotten; a crash between the two may keep it twice.
//! A line has `time` (RFC 3339), `reason` (a word), `text`, `headers`, and the body as `body` where it is
//! UTF-8, else as `body_hex`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::event::Event;
use crate::sink::Dead;

/// A file of dead letters; it is made when there is one.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    path: PathBuf,
}

/// Why a dead letter is not kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep a dead letter in {}", path.display())]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

impl DeadLetters {
    /// Those that stand in this file.
    pub fn new(path: &Path) -> DeadLetters {
        DeadLetters { path: path.to_owned() }
    }

    /// Where they stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps these events of a batch.
    ///
    /// # Errors
    ///
    /// If they cannot be written to the disk.
    pub fn keep(&self, events: &[Event], dead: &[Dead]) -> Result<(), Error> {
        let mut lines = String::new();
        for letter in dead {
            let event = &events[letter.place];
            let headers = event.headers.iter();
            let headers: Map<String, Value> =
                headers.map(|(name, value)| (name.to_string(), Value::from(&**value))).collect();
            let mut line = json!({
                "time": format!("{:.3}", jiff::Timestamp::now()),
                "reason": letter.reason,
                "text": letter.text,
                "headers": headers,
            });
            match std::str::from_utf8(&event.body) {
                Ok(body) => line["body"] = body.into(),
                Err(_) => {
                    let hex: String = event.body.iter().map(|byte| format!("{byte:02x}")).collect();
                    line["body_hex"] = hex.into();
                }
            }
            lines += &line.to_string();
            lines.push('\n');
        }
        self.append(lines.as_bytes()).map_err(|source| Error { path: self.path.clone(), source })
    }

    fn append(&self, lines: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file: File = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(lines)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_a_line_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(&folder.path().join("a/dead-letters.json"));
        let mut events = [Event::new("a\nb"), Event::new("fine"), Event::new(&b"\xff\x00"[..])];
        events[0].headers.set("host", "h");
        let dead = |place| Dead { place, reason: "no_header", text: "no header x".to_owned() };
        letters.keep(&events, &[dead(0), dead(2)]).unwrap();
        let text = std::fs::read_to_string(letters.path()).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["body"], &lines[0]["headers"]),
            (&json!("a\nb"), &json!({"host": "h"}))
        );
        assert_eq!(
            (&lines[1]["body_hex"], &lines[1]["reason"]),
            (&json!("ff00"), &json!("no_header"))
        );
    }
}
