//! What is bound, and what is done.
//!
//! ```text
//!  bind(e) ─▶ effects of e, in any order ─▶ mark(e)
//! ```
//!
//! A binding says durably what an epoch is, before anything that the epoch causes is visible outside
//! (*bound-first*); the mark passes an epoch only after all its effects are durable (*mark-last*).
//! Bindings may run ahead of the mark by a bounded number of epochs, and follow each other without
//! gap or overlap. A ledger that stands in one transaction with all effects, as the embedded store's
//! does, keeps a binding until the mark and writes both with the effects.

use std::sync::Arc;

use dataflows::{Epoch, Settings};
use serde::{Deserialize, Serialize};

use crate::source::Range;

/// The durable statement: this epoch is exactly these ranges, at this time, with these settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The epoch.
    pub epoch: Epoch,
    /// T(e): the date of its effects, in milliseconds since 1970; greater than that of every epoch
    /// before it.
    pub time: u64,
    /// What its effects depend on beside its records and the tables.
    pub settings: Arc<Settings>,
    /// Its records.
    pub ranges: Vec<Range>,
}
