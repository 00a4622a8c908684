//! How threads are told to end, and how an error is said with its causes.

use std::error::Error;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Says to all who hold it that they end: whoever waits, stops waiting. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Ends every wait, now and later.
    pub fn stop(&self) {
        *self.lock() = true;
        self.0.1.notify_all();
    }

    /// Whether it was said.
    pub fn is_stopped(&self) -> bool {
        *self.lock()
    }

    /// Waits so long, or until it is said; says whether it is.
    pub fn wait(&self, patience: Duration) -> bool {
        let waited = self.0.1.wait_timeout_while(self.lock(), patience, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A flag is always whole.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with all its causes.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
