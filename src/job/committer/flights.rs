//! What is under way: epochs that are cut and not marked, and what has come of each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use dataflows::{Epoch, Recall};

use crate::job::{Counted, Part};
use crate::ledger::{Binding, Mark};
use crate::metrics::{self, Stage};
use crate::sink::{DeadLetter, Scores, Totals};

/// What is under way.
#[derive(Default)]
pub(super) struct Open {
    /// The epochs that are cut and not wholly done, in order.
    pub flights: VecDeque<Flight>,
    /// What was handed over of epochs whose cut has not been heard of.
    pub early: BTreeMap<Epoch, Shares>,
    /// The marks that were asked for, in order.
    pub marks: VecDeque<Marking>,
}

/// A mark that was asked for.
pub(super) struct Marking {
    pub mark: Mark,
    /// Of the epoch that it is to pass.
    pub binding: Arc<Binding>,
    pub asked: Instant,
}

impl Open {
    /// How many epochs are cut and not marked.
    pub fn in_flight(&self) -> usize {
        self.flights.len() + self.marks.len()
    }

    /// Where it is gathered what was handed over of an epoch.
    pub fn shares(&mut self, epoch: Epoch) -> &mut Shares {
        match self.position(epoch) {
            Some(nth) => &mut self.flights[nth].shares,
            None => self.early.entry(epoch).or_default(),
        }
    }

    /// An epoch that the outside tells of.
    pub fn flight(&mut self, epoch: Epoch) -> &mut Flight {
        let nth = self.position(epoch).expect("the outside tells of epochs that are under way");
        &mut self.flights[nth]
    }

    fn position(&self, epoch: Epoch) -> Option<usize> {
        let first = self.flights.front()?.binding.epoch;
        let nth = usize::try_from(epoch.0.checked_sub(first.0)?).ok()?;
        (nth < self.flights.len()).then_some(nth)
    }
}

/// What the workers have handed over of an epoch.
#[derive(Default)]
pub(super) struct Shares {
    pub counted: usize,
    pub scores: Scores,
    pub letters: Vec<DeadLetter>,
    pub recalled: usize,
    pub recalls: Vec<Recall>,
    pub totals: Totals,
    /// What other processes have.
    pub elsewhere: Elsewhere,
}

/// What the other processes of a cluster have done of an epoch.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// How many have counted their records: these letters and totals.
    pub counted: usize,
    pub letters: Vec<DeadLetter>,
    pub totals: Totals,
    /// How many have made their scores durable: of these keys.
    pub scored: usize,
    pub keys: Vec<Arc<str>>,
    /// How many have made their recalls durable.
    pub recalled: usize,
}

impl Shares {
    /// Adds what one worker has handed over.
    pub fn add(&mut self, part: Part) {
        match part {
            Part::Counted(Counted { scores, dead_letters, totals }) => {
                self.counted += 1;
                append(&mut self.scores.hot, scores.hot);
                append(&mut self.scores.new, scores.new);
                append(&mut self.letters, dead_letters);
                self.totals += totals;
            }
            Part::Recalled(recalls) => {
                self.recalled += 1;
                self.totals.recalls += recalls.len() as u64;
                append(&mut self.recalls, recalls);
            }
        }
    }
}

/// As `Vec::append`, but moves nothing where there is nothing yet.
pub(super) fn append<T>(all: &mut Vec<T>, mut more: Vec<T>) {
    if all.is_empty() {
        *all = more;
    } else {
        all.append(&mut more);
    }
}

/// An epoch that is cut and not marked.
pub(super) struct Flight {
    pub binding: Arc<Binding>,
    pub cut: Instant,
    pub shares: Shares,
    pub bound: bool,
    /// The workers have computed all of it.
    pub computed: bool,
    pub counted: Asked,
    pub recalled: Asked,
    pub keys: Vec<Arc<str>>,
    pub letters_asked: bool,
    pub letters: Option<u64>,
}

/// How far a part of an epoch's effects has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    NotYet,
    /// The outside was asked for it then.
    For(Instant),
    Durable,
}

impl Asked {
    /// Notes that it is durable.
    pub fn done(&mut self, stage: Stage) {
        if let Asked::For(then) = std::mem::replace(self, Asked::Durable) {
            metrics::stage(stage, then.elapsed());
        }
    }
}

impl Flight {
    /// An epoch that was cut just now.
    pub fn new(binding: Binding, bound: bool) -> Flight {
        Flight {
            binding: Arc::new(binding),
            cut: Instant::now(),
            shares: Shares::default(),
            bound,
            computed: false,
            counted: Asked::NotYet,
            recalled: Asked::NotYet,
            keys: Vec::new(),
            letters_asked: false,
            letters: None,
        }
    }

    /// Whether all is durable, also of so many other processes.
    pub fn is_done(&self, others: usize) -> bool {
        self.counted == Asked::Durable
            && self.letters.is_some()
            && self.recalled == Asked::Durable
            && self.shares.elsewhere.scored == others
            && self.shares.elsewhere.recalled == others
    }
}
