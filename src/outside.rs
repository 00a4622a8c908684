//! What stands outside, as the job sees it: where bindings, effects and marks become durable.
//!
//! ```text
//!            ┌▶ scores(e) ────────▶ Scored ──┐
//!  bind(e) ──┼▶ recalls(e) ───────▶ Recalled ┼─▶ mark(e) ─▶ Marked
//!   Bound    └▶ dead_letters(e) ──▶ Kept ────┘
//! ```
//!
//! The committer calls, and no call waits for a server: what became of it is [`Told`] later, through a
//! channel. No effect of an epoch is asked for before the epoch is told to be bound (*bound-first*), and
//! the mark only when all its effects and those of all epochs before it are told (*mark-last*). Each kind
//! of call comes epoch after epoch, in order and without gap; the kinds do not wait for each other.
//!
//! An epoch may be applied again after a crash; every effect says why that is harmless (*idempotent*):
//! in a transaction with the mark it cannot happen; in Redis the key mark tells; in HBase the receipt
//! and the mailbox rule do.

use std::sync::Arc;

use dataflows::{Epoch, Recall};

use crate::ledger::{Binding, Doubt, Mark};
use crate::sink::{DeadLetter, Failed, Scores};

/// Where the effects go that each process of a cluster makes durable by itself: of the keys and cells that
/// its workers own.
pub trait Effects: Send {
    /// Adds to hot scores and sets new ones: all of an epoch's, each key and article once.
    fn scores(&mut self, binding: &Arc<Binding>, scores: Scores);

    /// Recalls lists: all of an epoch's, each cell at most once.
    fn recalls(&mut self, binding: &Arc<Binding>, recalls: Vec<Recall>);
}

/// Where bindings, effects and marks go.
pub trait Outside: Effects {
    /// Binds the epoch after the last bound one.
    fn bind(&mut self, binding: &Arc<Binding>);

    /// Keeps dead letters: all of an epoch's.
    fn dead_letters(&mut self, binding: &Arc<Binding>, letters: Vec<DeadLetter>);

    /// Moves the mark to an epoch that is wholly done, as are all before it.
    fn mark(&mut self, done: Done);

    /// Hears that a process of the cluster has found a score key, or a token, that stands at another time than
    /// the ledger: whoever writes the ledger finds out why, and the job ends accordingly.
    fn doubt(&mut self, _: Option<Doubt>) {}

    /// Hears that the mark has passed an epoch, to pass it on to whom that concerns.
    fn marked(&mut self, _: &Binding) {}
}

/// An epoch that is wholly done but for the mark.
#[derive(Clone, Debug)]
pub struct Done {
    /// What it was.
    pub binding: Arc<Binding>,
    /// The mark as it is to be.
    pub mark: Mark,
    /// The names of the score keys that it touched.
    pub keys: Vec<Arc<str>>,
    /// How long the file of dead letters is now, in bytes.
    pub letters: u64,
}

/// What became of a call.
#[derive(Debug)]
pub enum Told {
    /// The binding is durable.
    Bound(Epoch),
    /// The scores are: of the keys with these names.
    Scored(Epoch, Vec<Arc<str>>),
    /// The recalls are.
    Recalled(Epoch),
    /// The dead letters are; the file has so many bytes now.
    Kept(Epoch, u64),
    /// The mark is.
    Marked(Epoch),
    /// Trying again cannot mend it: the job stops, and nothing that was not told is taken for done.
    Failed(Failed),
    /// The job was told to stop: nothing more will be told.
    Stopped,
}
