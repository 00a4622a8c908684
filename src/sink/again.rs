//! Epochs that run again for score keys alone, since a part of Redis went back: all else of them is
//! durable, and is not touched.

use std::sync::Arc;

use crossbeam_channel::Sender;
use dataflows::Recall;

use super::{DeadLetter, Redis, Scores};
use crate::ledger::Binding;
use crate::outside::{Done, Effects, Outside, Told};

/// What stands outside while epochs run again for score keys: the scores, and nothing else.
pub struct Again {
    scores: Redis,
    told: Sender<Told>,
}

impl Again {
    /// Passes on scores; `told` is theirs too.
    pub fn new(scores: Redis, told: Sender<Told>) -> Again {
        Again { scores, told }
    }

    fn tell(&self, told: Told) {
        // Who is gone has heard of a failure before, and the job stops.
        if self.told.send(told).is_err() {
            log::debug!("nobody hears what became of an epoch: the job is stopping");
        }
    }
}

impl Effects for Again {
    fn scores(&mut self, binding: &Arc<Binding>, scores: Scores) {
        self.scores.scores(binding, scores);
    }

    fn recalls(&mut self, binding: &Arc<Binding>, _: Vec<Recall>) {
        self.tell(Told::Recalled(binding.epoch));
    }
}

impl Outside for Again {
    fn bind(&mut self, binding: &Arc<Binding>) {
        unreachable!("epoch {} runs again, and is not bound", binding.epoch);
    }

    fn dead_letters(&mut self, binding: &Arc<Binding>, _: Vec<DeadLetter>) {
        self.tell(Told::Kept(binding.epoch, 0));
    }

    fn mark(&mut self, done: Done) {
        self.tell(Told::Marked(done.binding.epoch));
    }
}
