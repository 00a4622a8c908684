//! Redis: connections, the names and bytes of what we keep there, and what its answers mean.
//!
//! ```text
//!  Job ──▶ Client ──┬─▶ Connection   the server
//!                   └─▶ Connection…  or the masters of a Cluster, each for its slots
//! ```
//!
//! Everything that is written is one script on keys of one hash slot, so that it happens as a whole or
//! not at all, and looks first at what stands there: so repeating it is harmless, and so is a call
//! that lands late. A [`Client`] belongs to one thread. It connects when it is asked, and anew after a
//! failure; it follows a Cluster's slots to where they stand. Who waits for a server that is away is
//! [`crate::retry`]: an [`Error`] says whether that makes sense.

mod client;
mod command;
mod commit;
mod connection;
mod error;
mod info;
mod job;
mod lists;
mod names;
mod rows;
mod scores;

pub use client::Client;
pub use command::Command;
pub use commit::{Commit, Written};
pub use error::{Error, Refusal};
pub use info::Info;
pub use job::{At, Job, Rows, Stands};
pub use names::{ScoreKey, channel_of, score_key};
pub use rows::{Dated, KeyMark, Token};
pub use scores::{Part, Scored, prepare, scored};

use crate::ledger::Binding;

/// The bytes of a binding, as a [`Commit`] takes them.
pub fn pack(binding: &Binding) -> Vec<u8> {
    rows::binding(binding)
}
