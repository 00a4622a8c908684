//! What stands between a channel and a sink: a take, its commit, and what is counted of both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Failure;
use crate::channel::{Channel, Take};
use crate::counters::{Counters, Sink as Count};
use crate::dead_letters::DeadLetters;
use crate::event::Event;
use crate::stop::Stop;

/// How long a take waits for the first event: as long as the clocks of a sink may be late.
const PATIENCE: Duration = Duration::from_millis(250);

/// Lends a channel's events to a sink.
#[derive(Debug)]
pub struct Tap {
    channel: Arc<dyn Channel>,
    counters: Counters<crate::counters::Sink>,
    dead_letters: DeadLetters,
    dead: Mutex<BTreeMap<&'static str, u64>>,
    stop: Stop,
}

/// Events that were taken; dropped, they go back.
pub struct Taken(Box<dyn Take>);

/// An event that can never be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Its place in the take.
    pub place: usize,
    /// Why, in a word, for counting: `no_header`, `too_large`.
    pub reason: &'static str,
    /// Why, in full.
    pub text: String,
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Taken({} events)", self.events().len())
    }
}

impl Taken {
    /// The events, in order.
    pub fn events(&self) -> &[Event] {
        self.0.events()
    }

    /// The position behind the last of them, where the channel numbers its events.
    pub fn end(&self) -> Option<u64> {
        self.0.end()
    }
}

impl Tap {
    /// A tap of this channel for the sink of this name. Its turns end soon once it is told to stop.
    pub fn new(
        name: &str,
        channel: Arc<dyn Channel>,
        dead_letters: DeadLetters,
        stop: Stop,
    ) -> Tap {
        let counters = Counters::new(name);
        Tap { channel, counters, dead_letters, dead: Mutex::default(), stop }
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        self.counters.name()
    }

    /// The channel.
    pub fn channel(&self) -> &Arc<dyn Channel> {
        &self.channel
    }

    /// The sink's counters. What is taken and delivered is counted here already.
    pub fn counters(&self) -> &Counters<crate::counters::Sink> {
        &self.counters
    }

    /// Whoever waits in a turn, waits on this.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// How many dead letters there were, by reason.
    pub fn dead(&self) -> BTreeMap<&'static str, u64> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes up to so many events, and waits a moment for the first of them.
    ///
    /// # Errors
    ///
    /// If the channel fails.
    pub fn take(&self, most: usize) -> Result<Taken, Failure> {
        self.take_within(most, if self.stop.is_stopped() { Duration::ZERO } else { PATIENCE })
    }

    /// Takes up to so many events, and waits no longer than this for the first of them.
    ///
    /// # Errors
    ///
    /// If the channel fails.
    pub fn take_within(&self, most: usize, patience: Duration) -> Result<Taken, Failure> {
        let taken = Arc::clone(&self.channel).take(most, patience);
        let taken = Taken(taken.inspect_err(|_| self.counters.add(Count::ChannelReadFail, 1))?);
        let many = taken.events().len();
        let batch = match many {
            0 => Count::BatchEmptyCount,
            _ if many < most => Count::BatchUnderflowCount,
            _ => Count::BatchCompleteCount,
        };
        self.counters.add(batch, 1);
        self.counters.add(Count::EventDrainAttemptCount, many);
        Ok(taken)
    }

    /// Forgets what was taken: it is delivered, but for these, which are kept as dead letters first.
    ///
    /// # Errors
    ///
    /// If the dead letters cannot be kept, or the channel cannot note it: the take goes back.
    pub fn commit(&self, taken: Taken, dead: Vec<Dead>) -> Result<(), Failure> {
        self.keep(&taken, &dead)?;
        self.forget(taken, dead)
    }

    /// Keeps these as dead letters: the first half of a commit, for a sink whose other side commits between
    /// the two.
    ///
    /// # Errors
    ///
    /// If they cannot be kept.
    pub fn keep(&self, taken: &Taken, dead: &[Dead]) -> Result<(), Failure> {
        if !dead.is_empty() {
            self.dead_letters.keep(taken.events(), dead)?;
        }
        Ok(())
    }

    /// Forgets what was taken, of which these were kept: the second half of a commit.
    ///
    /// # Errors
    ///
    /// If the channel cannot note it: the take goes back.
    pub fn forget(&self, taken: Taken, dead: Vec<Dead>) -> Result<(), Failure> {
        let many = taken.events().len();
        taken.0.commit()?;
        self.counters.add(Count::EventDrainSuccessCount, many - dead.len());
        let mut counted = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        for letter in dead {
            *counted.entry(letter.reason).or_default() += 1;
        }
        Ok(())
    }
}
