//! Counts: a source for trying things out.

use bytes::Bytes;

use super::{Failure, Inlet, Stopped};
use crate::event::Event;
use crate::keys::Keys;
use crate::stop::Stop;

/// Makes events whose bodies are 0, 1, 2 …
#[derive(Debug)]
pub struct Seq {
    batch: usize,
    total: u64,
    next: u64,
}

impl Seq {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Seq {
        let batch = keys.count("batchSize", 1);
        let most = i64::MAX as u64;
        let total = keys.number("totalEvents", most, "a whole number from 1", |total| total >= 1);
        Seq { batch, total, next: 0 }
    }
}

impl super::Source for Seq {
    fn batch(&self) -> usize {
        self.batch
    }

    fn run(&mut self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        while self.next < self.total {
            let end = self.total.min(self.next + self.batch as u64);
            let events = (self.next..end).map(|number| Event::new(Bytes::from(number.to_string())));
            if let Err(Stopped) = inlet.persist(events.collect(), stop) {
                return Ok(());
            }
            self.next = end;
        }
        Ok(())
    }

    fn loses(&self) -> Option<&'static str> {
        Some("it counts from 0 again")
    }
}
