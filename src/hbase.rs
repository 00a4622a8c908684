//! HBase, by way of its Thrift 1 servers: connections, calls, tables.
//!
//! ```text
//!  Client ── a connection a call ──▶ Thrift server ──▶ region servers
//!    │           kept when idle          │
//!    └── the next server where one fails ┘
//! ```
//!
//! This room alone knows the names of rows and columns, and how lists stand in them. A call is one
//! attempt that may last a bounded time; who must have it done tries again by [`Trying`]. What the
//! attempt before may have done is the caller's concern: [`Error`] says whether it may have.

mod calls;
mod client;
mod error;
mod many;
mod schema;
mod table;
mod wire;

use crate::retry::{self, Ended, Faulty, Peer, Stop};

pub use calls::{Change, Row, Version};
pub use client::{Client, patience};
pub use error::Error;
pub use schema::Difference;
pub use table::{Family, Kind, Spot, Table, list};

/// For how long somebody tries.
///
/// A command makes one attempt, and whoever called it sees why it failed; see [`Trying::COMMAND`].
#[derive(Clone, Copy, Debug)]
pub enum Trying<'a> {
    /// This one attempt, after so many that have failed.
    Attempt(u32),
    /// A job waits until it works, or the job ends.
    UntilItWorks(&'a Stop),
}

impl Trying<'_> {
    /// The attempt of a command: it waits for a server that is slow, not for one that is away.
    pub const COMMAND: Trying<'static> = Trying::Attempt(2);

    /// Tries; `attempt` is told how often it has failed, and must be harmless to repeat.
    ///
    /// # Errors
    ///
    /// If it failed and is not tried again, or the job ends.
    pub fn run<T, E: Faulty>(
        self,
        what: &str,
        mut attempt: impl FnMut(u32) -> Result<T, E>,
    ) -> Result<T, Ended<E>> {
        match self {
            Trying::Attempt(failures) => attempt(failures).map_err(Ended::Failed),
            Trying::UntilItWorks(stop) => retry::persist(stop, Peer::Hbase, what, attempt),
        }
    }
}
