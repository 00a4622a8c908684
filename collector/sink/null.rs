//! Takes everything and keeps nothing.

use super::{Failure, Tap, Turn};
use crate::keys::Keys;

/// Forgets what it takes.
#[derive(Debug)]
pub struct Null {
    batch: usize,
}

impl Null {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Null {
        Null { batch: keys.count("batchSize", 100) }
    }
}

impl super::Sink for Null {
    fn batch(&self) -> usize {
        self.batch
    }

    fn turn(&mut self, tap: &Tap) -> Result<Turn, Failure> {
        let taken = tap.take(self.batch)?;
        if taken.events().is_empty() {
            return Ok(Turn::Idle);
        }
        tap.commit(taken, Vec::new())?;
        Ok(Turn::Ready)
    }
}
