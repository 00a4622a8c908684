//! Whether the job is well, and whether it works already.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a job says of itself. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    has_ledger: bool,
    has_table: bool,
    failure: Option<String>,
}

/// Why a job is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// It has not taken the ledger.
    Ledger,
    /// It has not read the table of similar articles to its end once.
    Table,
    /// It has failed.
    Failed(String),
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unready::Ledger => f.write_str("waiting for the ledger"),
            Unready::Table => f.write_str("waiting for the table of similar articles"),
            Unready::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl Health {
    /// Notes that the job begins anew: what was said before counts no more.
    pub fn begin(&self) {
        *self.state() = State::default();
    }

    /// Notes that the ledger was taken: this incarnation is the newest.
    pub fn ledger_taken(&self) {
        self.state().has_ledger = true;
    }

    /// Notes that the table of similar articles was read to its end, or is not needed.
    pub fn table_read(&self) {
        self.state().has_table = true;
    }

    /// Notes that the job has failed; the first reason stays.
    pub fn failed(&self, why: String) {
        self.state().failure.get_or_insert(why);
    }

    /// Why the job has failed, if it has.
    pub fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// Why the job is not ready; `None` if it is.
    pub fn unready(&self) -> Option<Unready> {
        let state = self.state();
        match &*state {
            State { failure: Some(why), .. } => Some(Unready::Failed(why.clone())),
            State { has_ledger: false, .. } => Some(Unready::Ledger),
            State { has_table: false, .. } => Some(Unready::Table),
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What it guards is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_ready_with_ledger_and_table_until_it_fails() {
        let health = Health::default();
        health.table_read();
        assert_eq!(health.unready(), Some(Unready::Ledger));
        let health = Health::default();
        health.ledger_taken();
        assert_eq!(health.unready(), Some(Unready::Table));
        health.table_read();
        assert_eq!(health.unready(), None);
        let clone = health.clone();
        clone.failed("first".to_owned());
        clone.failed("second".to_owned());
        assert_eq!(health.unready(), Some(Unready::Failed("first".to_owned())));
        assert_eq!(health.failure().as_deref(), Some("first"));
    }
}
