//! Why a ledger cannot be gone on with, and what follows.

use dataflows::Epoch;

use crate::config::Address;
use crate::redis::{self, At, KeyMark, Token};
use crate::retry::Ended;

/// Why a ledger in Redis cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis fails for good.
    #[error(transparent)]
    Redis(#[from] redis::Error),
    /// No random bits for a token.
    #[error("cannot read random bits from /dev/urandom")]
    Random(#[source] std::io::Error),
    /// A newer incarnation has begun.
    #[error(
        "fenced: job {job} was started anew, as incarnation {}, while this one, {}, was still there",
        newer.number, ours.number
    )]
    Fenced {
        /// The job.
        job: String,
        /// The token of this process.
        ours: Token,
        /// The token that stands.
        newer: Token,
    },
    /// Redis went back, and what it had lost of the ledger was written back.
    #[error(
        "redis went back to an earlier time: the ledger of job {job} stood at epoch {} (bound {}) \
         instead of {done}; what was lost is bound again, and runs again",
        found.mark.epoch, found.bound.epoch
    )]
    WentBack {
        /// The job.
        job: String,
        /// How it stood.
        found: At,
        /// The mark that was known: all epochs up to it had been done, also where Redis lost it.
        done: Epoch,
        /// The token that this process took to write back.
        token: Token,
    },
    /// A server with score keys did not know this incarnation, and the ledger does.
    #[error("a server of redis did not know this incarnation of job {job}, which the ledger does")]
    Disowned {
        /// The job.
        job: String,
    },
    /// Redis has lost the ledger.
    #[error(
        "redis has lost everything of job {job}, which stood at epoch {done}: it begins as on the \
         first day, and counts what it reads again"
    )]
    Lost {
        /// The job.
        job: String,
        /// The mark that was known.
        done: Epoch,
    },
    /// Redis went back farther than this process remembers.
    #[error(
        "redis went back to an earlier time: the ledger of job {job} stands at epoch {} (bound {}), \
         and the epochs between are no longer held here; a start goes on from the ledger",
        found.mark.epoch, found.bound.epoch
    )]
    Gap {
        /// The job.
        job: String,
        /// How it stands.
        found: At,
    },
    /// Redis has a ledger that this process never wrote.
    #[error(
        "the ledger of job {job} stands at epoch {} (bound {}), where this process has never been; \
         a start goes on from the ledger",
        found.mark.epoch, found.bound.epoch
    )]
    Otherwise {
        /// The job.
        job: String,
        /// How it stands.
        found: At,
    },
    /// A node of Redis went back, with a score key; epochs must run again for it.
    #[error(
        "{key} stands at an earlier time than the ledger of job {job}, at epoch {found} instead of \
         {known}: the epochs between run again for it"
    )]
    Behind {
        /// The job.
        job: String,
        /// The score key.
        key: String,
        /// The last epoch that was applied to it.
        known: Epoch,
        /// The epoch that stands there; 0 for none.
        found: Epoch,
    },
    /// A score key went back farther than bindings are kept.
    #[error(
        "{key} stands at epoch {found} instead of {known}, and the ledger of job {job} no longer has \
         all epochs between: a part of redis went back too far; --after-loss takes it as it stands"
    )]
    TooOld {
        /// The job.
        job: String,
        /// The score key.
        key: String,
        /// The last epoch that was applied to it.
        known: Epoch,
        /// The epoch that stands there; 0 for none.
        found: Epoch,
    },
    /// A score key stands where the ledger has never been.
    #[error(
        "{key} stands at epoch {found}, where the ledger of job {job} (bound {bound}) has never been: the \
         part of redis that holds the ledger went back; --after-loss takes the key as it stands"
    )]
    Beyond {
        /// The job.
        job: String,
        /// The score key.
        key: String,
        /// The epoch that stands there.
        found: Epoch,
        /// The last epoch that the ledger binds.
        bound: Epoch,
    },
    /// Key marks without a ledger.
    #[error(
        "job {job} has no ledger in redis, and {count} score keys say that it had one, such as {key} \
         at epoch {}: where to go on is lost. --reset begins anew at `start`: what was counted before \
         and is read again counts twice. --after-loss does so too, and keeps the numbers of epochs",
        found.last.epoch
    )]
    KeyMarks {
        /// The job.
        job: String,
        /// How many.
        count: usize,
        /// One of them.
        key: String,
        /// What stands there.
        found: KeyMark,
    },
    /// Redis throws keys away.
    #[error(
        "{node} throws away any key when its memory is full (maxmemory-policy {policy}), scores and \
         ledger too: set it to noeviction, or to one of volatile-*"
    )]
    Evicts {
        /// Where.
        node: Address,
        /// Its policy.
        policy: String,
    },
    /// A job to begin like has no ledger.
    #[error("cannot begin at the mark of job {job}: it has no ledger in this redis")]
    NoLedger {
        /// The job.
        job: String,
    },
    /// A job to begin like has not ended.
    #[error(
        "cannot begin at the mark of job {job}: it is at epoch {} and has bound up to {}; end it by \
         SIGTERM first, so that nothing is left between",
        at.mark.epoch, at.bound.epoch
    )]
    NotEnded {
        /// The job.
        job: String,
        /// How it stands.
        at: At,
    },
    /// The ledger lacks what it must have.
    #[error(
        "the ledger of job {job} is damaged: epoch {epoch} is bound, and its binding is not there"
    )]
    Damaged {
        /// The job.
        job: String,
        /// The epoch.
        epoch: Epoch,
    },
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The job ends as failed.
    Stop,
    /// The job ends as fenced: a newer incarnation does its work.
    Fenced,
    /// The job begins again from what stands in Redis, in this process. All epochs up to this one
    /// had been wholly done before.
    StartAgain {
        /// That epoch, where it is known.
        done: Option<Epoch>,
    },
}

impl Error {
    /// What follows.
    pub fn then(&self) -> Then {
        match self {
            Error::Fenced { .. } => Then::Fenced,
            Error::WentBack { done, .. } | Error::Lost { done, .. } => {
                Then::StartAgain { done: Some(*done) }
            }
            Error::Behind { .. } | Error::Disowned { .. } => Then::StartAgain { done: None },
            _ => Then::Stop,
        }
    }
}

/// Of what was tried while it makes sense.
pub(super) fn of(ended: Ended<redis::Error>) -> Ended<Error> {
    match ended {
        Ended::Stopped => Ended::Stopped,
        Ended::Failed(error) => Ended::Failed(error.into()),
    }
}
