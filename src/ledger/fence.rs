//! What keeps a process that was given up from writing where no token is asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::retry::Stop;
use crate::source::Stopped;

/// How long a confirmation counts, from the asking on.
const COUNTS: Duration = Duration::from_secs(5);

/// How long somebody waits before the next look: until the ledger answers, nobody is in a hurry.
const PATIENCE: Duration = Duration::from_millis(20);

/// When the ledger last said that the token of this process stands: no newer incarnation had begun.
#[derive(Debug, Default)]
pub struct Fence(Mutex<Option<Instant>>);

impl Fence {
    /// Notes that the token was found to stand, by a question that was `asked` then.
    pub fn confirm(&self, asked: Instant) {
        let mut last = self.lock();
        *last = (*last).max(Some(asked));
    }

    /// Waits until the token has been confirmed lately: only then may anything be sent.
    ///
    /// # Errors
    ///
    /// If the job stops.
    pub fn pass(&self, stop: &Stop) -> Result<(), Stopped> {
        while !self.lock().is_some_and(|asked| asked.elapsed() < COUNTS) {
            if stop.wait(PATIENCE) {
                return Err(Stopped);
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        // A moment is always whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_recent_confirmation_lets_pass() {
        let (fence, stop) = (Fence::default(), Stop::default());
        let now = Instant::now();
        fence.confirm(now);
        fence.confirm(now - COUNTS);
        assert_eq!(fence.pass(&stop), Ok(()));
        stop.stop();
        assert_eq!(Fence::default().pass(&stop), Err(Stopped));
    }
}
