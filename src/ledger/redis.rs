//! The ledger in Redis, beside the scores: a thread writes it.
//!
//! ```text
//!  bind(e), mark(e) ──▶ one script for all that waits ──▶ Bound, Marked
//!                         │ stands as it was left?
//!                         └─ no: a newer incarnation, or Redis went back ──▶ Failed(Error)
//! ```
//!
//! Every writing carries the token, and the last binding and mark as this process knows them, and is
//! refused unless exactly these stand there (*fenced*); so repeating one is harmless. Once a second at
//! least the thread asks whether its token stands, which lets the [`Fence`](super::Fence) pass; then it writes the
//! freshness too. Once a minute it compares all key marks with what the ledger knows of them.

mod confirm;
mod error;
mod start;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};

use super::Binding;
use super::kept::Kept;
use super::recover;
use crate::outside::Done;
use crate::redis::KeyMark;
use crate::retry::Stop;

pub use confirm::confirm;
pub use error::{Error, Then};
pub use start::{Again, Found, Opened, Vacant, open, reached_by, reset};
pub use writer::Room;

/// The time up to which everything is visible outside, as whoever knows it says.
#[derive(Debug, Default)]
pub struct Freshness(AtomicU64);

impl Freshness {
    /// Says that every record up to this time, in milliseconds since 1970, is visible.
    pub fn is(&self, time: u64) {
        self.0.store(time, Ordering::Relaxed);
    }

    /// The time that was said last; nothing before.
    fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time > 0)
    }
}

/// The ledger in Redis. Calls do not wait; what became of them is told.
///
/// Dropping it stops the job: what was called for and not told may be written, or not.
pub struct Redis {
    calls: Sender<Call>,
    stop: Stop,
    writer: Option<JoinHandle<()>>,
}

enum Call {
    Bind(Arc<Binding>),
    Mark(Done),
    Doubt(Doubt),
    Disowned,
    End,
}

/// A key mark that does not stand where the last epoch left it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Doubt {
    /// The score key.
    pub key: String,
    /// The last epoch that was applied to it, as far as is known.
    pub known: Option<KeyMark>,
    /// What stands there.
    pub found: Option<KeyMark>,
}

/// Where to say that a key mark stands at another time than the ledger: the ledger finds out which
/// of both it is, and the job ends accordingly.
#[derive(Clone)]
pub struct Doubts(Arc<dyn Fn(Option<Doubt>) + Send + Sync>);

impl Doubts {
    /// Those that are passed on to who writes the ledger; nothing says that another token was found.
    pub fn passed_on(pass: impl Fn(Option<Doubt>) + Send + Sync + 'static) -> Doubts {
        Doubts(Arc::new(pass))
    }

    /// Says so.
    pub fn say(&self, doubt: Doubt) {
        self.0(Some(doubt));
    }

    /// Says that another token was found to stand in the ledger, or none.
    pub fn disowned(&self) {
        self.0(None);
    }
}

impl Redis {
    /// Binds the epoch after the last bound one; told as `Bound`.
    pub fn bind(&mut self, binding: &Arc<Binding>) {
        send(&self.calls, Call::Bind(Arc::clone(binding)));
    }

    /// Moves the mark; told as `Marked`.
    pub fn mark(&mut self, done: Done) {
        send(&self.calls, Call::Mark(done));
    }

    /// Where to say that a key mark stands at another time.
    pub fn doubts(&self) -> Doubts {
        let calls = self.calls.clone();
        Doubts::passed_on(move |doubt| {
            send(&calls, doubt.map_or(Call::Disowned, Call::Doubt));
        })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be waiting for a server that is away, with nothing left to write.
        self.stop.stop();
        // Others may hold where to send doubts: the end is a call, not the end of calls.
        send(&self.calls, Call::End);
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            log::error!("the thread that writes the ledger has panicked");
        }
    }
}

fn send(calls: &Sender<Call>, call: Call) {
    // A writer that is gone has told of a failure before, and the job stops.
    if calls.send(call).is_err() {
        log::debug!("nobody writes the ledger any more: the job is stopping");
    }
}
