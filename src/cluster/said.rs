//! What process 0, the hub, and the other processes, its members, say to each other.

use std::collections::VecDeque;
use std::time::Duration;

use dataflows::{Epoch, Settings};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::job::Standing;
use crate::ledger::{Binding, Doubt, Names};
use crate::redis::Token;
use crate::sink::{Begin, DeadLetter, Totals};
use crate::source::{Range, Reached};

/// A run: what all processes do together from here on, until it is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Its number, drawn at random: connections of another run are not taken for its.
    pub run: u64,
    /// Of the incarnation that it belongs to.
    pub token: Token,
    /// What its effects depend on.
    pub settings: Settings,
    /// Where they go.
    pub names: Names,
    /// Where it begins.
    pub standing: Standing,
    /// How far every partition had been read there.
    pub reached: Reached,
    /// What the scores begin with.
    pub begin: Begin,
    /// What is read.
    pub reads: Reads,
    /// How epochs are cut.
    pub epoch: config::Epoch,
    /// After how long a history is read anew.
    pub history_age: Duration,
}

impl Plan {
    /// The epochs that are bound.
    pub fn bound(&self) -> &VecDeque<Binding> {
        &self.standing.bound
    }
}

/// What a run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reads {
    /// Epochs that are done, for score keys that went back: for the scores alone.
    Again,
    /// The epochs that are bound.
    Bound,
    /// Those, and then what comes.
    All,
}

/// What the hub says to a member.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToMember {
    /// A run begins.
    Begin(Box<Plan>),
    /// This epoch was closed elsewhere.
    Close(Epoch),
    /// This epoch is bound, at this T(e): its effects may be.
    Bound(Epoch, u64),
    /// All epochs up to this one are wholly done.
    Marked(Epoch),
    /// Nothing more is to be read.
    Finish,
    /// This epoch is the first that will never be.
    End(Epoch),
    /// The run is over, whatever is left of it.
    Stop,
    /// The cluster ends: with this exit status, and why, unless all is well.
    Exit(u8, Option<String>),
}

/// What a member says to the hub.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToHub {
    /// What this process has read of an epoch, and that it has closed it.
    Cut(Epoch, Vec<Range>),
    /// It reads nothing more, and has closed all epochs before this one.
    Left(Epoch),
    /// What its workers have counted of an epoch beside scores.
    Counted(Epoch, Vec<DeadLetter>, Totals),
    /// The scores of an epoch are durable, as far as its workers own their keys: these.
    Scored(Epoch, Vec<String>),
    /// So are the recalls: so many lists.
    Recalled(Epoch, u64),
    /// Up to this time, in milliseconds since 1970, all that it reads is done.
    Fresh(u64),
    /// Its part of the run is over.
    Over,
    /// A score key, or a token, stands at another time than the ledger.
    Doubt(Option<Doubt>),
    /// While epochs ran again for it, this score key was changed by somebody else: the run cannot go on.
    Changed(String),
    /// It cannot go on: it ends with this exit status.
    Failed(u8, String),
}
