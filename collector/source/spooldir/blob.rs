//! A file an event, or several if it is long.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::reading::{Bad, Reading};
use super::tracker::Place;
use crate::event::{Event, Headers};

/// How many bytes are read at once, if one event is not more.
const AT_ONCE: u64 = 64 << 20;

/// Makes events of whole files.
#[derive(Debug)]
pub struct Blob {
    file: File,
    size: u64,
    offset: u64,
    headers: Headers,
    most: u64,
}

impl Blob {
    /// Reads a file from here, so many bytes an event at most.
    pub fn new(file: File, size: u64, place: Place, headers: Headers, most: u64) -> Blob {
        Blob { file, size, offset: place.offset, headers, most }
    }
}

impl Reading for Blob {
    fn read(&mut self, most: usize) -> Result<Vec<Event>, Bad> {
        let mut events = Vec::new();
        let begin = self.offset;
        while self.offset < self.size && events.len() < most && self.offset - begin < AT_ONCE {
            let mut body = vec![0; self.most.min(self.size - self.offset) as usize];
            self.file.read_exact_at(&mut body, self.offset)?;
            self.offset += body.len() as u64;
            events.push(Event { headers: self.headers.clone(), body: body.into() });
        }
        Ok(events)
    }

    fn place(&self) -> Place {
        Place { offset: self.offset, skip: 0 }
    }

    fn has_ended(&self) -> bool {
        self.offset >= self.size
    }
}
