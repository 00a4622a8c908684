//! The source of records in log files.
//!
//! ```text
//!  arguments ──inputs──▶ files, in order ──identity──▶ plan: which, from where on
//!                                                        │
//!              ┌──────────── a thread a topic ───────────┴─┐        the caller's thread
//!              │ opened: seek, or unpack up to the place   │
//!              │ blocks: whole lines, 256 KiB              ├──────▶ epochs: N lines a topic ──▶ feed
//!              └───────────────────────────────────────────┘ few blocks
//! ```
//!
//! A [`Plan`] judges all files before a record is read (*nothing-lost*: a file that changed where it
//! had been read stops the run while nothing is applied). A file goes on where its [`Position`] says,
//! which every range of a cut carries, so a run that was killed goes on at the last mark with the
//! epochs that it would have cut (*replayable*). Where epochs are bound ahead of the mark, as in live
//! servers, [`Bound`] reads them again first: exactly their lines, whatever this run names.

mod blocks;
mod bound;
mod epochs;
mod error;
mod far;
mod identity;
mod inputs;
mod known;
mod opened;
mod plan;
mod trail;

#[cfg(test)]
mod tests;

pub use bound::Bound;
pub use error::{Change, Error};
pub use identity::{Packed, Position};
pub use inputs::{Skipped, Why};
pub use plan::{Plan, Renamed};
