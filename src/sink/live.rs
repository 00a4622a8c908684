//! Live servers as all that stands outside: ledger and scores in Redis, recalls in HBase, dead letters
//! where the configuration says; each kind by threads of its own.

use std::sync::Arc;

use crossbeam_channel::Sender;
use dataflows::Recall;

use super::{DeadLetter, DeadLetters, Hbase, Redis, Scores};
use crate::ledger::{self, Binding, Doubt};
use crate::outside::{Done, Effects, Outside, Told};
use crate::source::Group;

/// What writes each kind of effect.
pub struct Live {
    /// Bindings and marks.
    pub ledger: ledger::Redis,
    /// Scores and recalls.
    pub owned: Owned,
    /// Dead letters.
    pub letters: DeadLetters,
    /// Whom lag tools ask how far the mark has come; none where the source is no topic.
    pub group: Option<Group>,
}

/// What writes the effects of the keys and cells that the workers of a process own.
pub struct Owned {
    /// Scores.
    pub scores: Redis,
    /// Recalls; none where `recall` is not among the dataflows.
    pub recalls: Option<Hbase>,
    /// Where both tell what became of a call.
    pub told: Sender<Told>,
}

impl Effects for Owned {
    fn scores(&mut self, binding: &Arc<Binding>, scores: Scores) {
        self.scores.scores(binding, scores);
    }

    fn recalls(&mut self, binding: &Arc<Binding>, recalls: Vec<Recall>) {
        match &mut self.recalls {
            Some(hbase) => hbase.recalls(binding, recalls),
            None => {
                assert!(recalls.is_empty(), "who recalls nothing has no lists");
                if self.told.send(Told::Recalled(binding.epoch)).is_err() {
                    log::debug!("nobody hears what became of an epoch: the job is stopping");
                }
            }
        }
    }
}

impl Effects for Live {
    fn scores(&mut self, binding: &Arc<Binding>, scores: Scores) {
        self.owned.scores(binding, scores);
    }

    fn recalls(&mut self, binding: &Arc<Binding>, recalls: Vec<Recall>) {
        self.owned.recalls(binding, recalls);
    }
}

impl Outside for Live {
    fn bind(&mut self, binding: &Arc<Binding>) {
        self.ledger.bind(binding);
    }

    fn dead_letters(&mut self, binding: &Arc<Binding>, letters: Vec<DeadLetter>) {
        self.letters.keep(binding, letters);
    }

    fn mark(&mut self, done: Done) {
        self.ledger.mark(done);
    }

    fn doubt(&mut self, doubt: Option<Doubt>) {
        let doubts = self.ledger.doubts();
        match doubt {
            Some(doubt) => doubts.say(doubt),
            None => doubts.disowned(),
        }
    }

    fn marked(&mut self, binding: &Binding) {
        if let Some(group) = &self.group {
            group.tell(&binding.ranges);
        }
    }
}
