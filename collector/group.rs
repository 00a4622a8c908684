//! Several sinks for what one thread takes: one alone, the best that works, or each in turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::keys::Keys;
use crate::sink::{Failure, Sink, Tap, Turn};
use crate::stop::chain;

/// How a group chooses among its sinks.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// There is one.
    Alone,
    /// The one of the highest priority that works.
    Failover {
        /// The priorities, in the sinks' order.
        priorities: Vec<i64>,
        /// The longest time that one which has failed is left alone.
        max_penalty: Duration,
    },
    /// One after another, or by chance; the next where one fails.
    LoadBalance {
        /// Whether chance decides.
        at_random: bool,
        /// How long at most one that has failed is left alone; None where it is not.
        backoff: Option<Duration>,
    },
}

impl Policy {
    /// Reads the keys below `processor.` of a group of these sinks.
    pub fn read(keys: &Keys<'_>, sinks: &[String]) -> Policy {
        #[derive(Clone, Copy)]
        enum Kind {
            Alone,
            Failover,
            LoadBalance,
        }
        const CLASSES: &str = "org.apache.flume.sink.";
        let kind = keys.choice(
            "type",
            "default",
            &[
                ("default", Kind::Alone),
                ("failover", Kind::Failover),
                ("load_balance", Kind::LoadBalance),
                (&format!("{CLASSES}DefaultSinkProcessor"), Kind::Alone),
                (&format!("{CLASSES}FailoverSinkProcessor"), Kind::Failover),
                (&format!("{CLASSES}LoadBalancingSinkProcessor"), Kind::LoadBalance),
            ],
        );
        match kind {
            Kind::Alone => {
                if sinks.len() != 1 {
                    keys.mistaken(
                        "type",
                        "a group of several sinks needs failover or load_balance",
                    );
                }
                Policy::Alone
            }
            Kind::Failover => {
                let mut next = -1;
                let mut priorities = Vec::new();
                for name in sinks {
                    let key = format!("priority.{name}");
                    let priority = if keys.is_given(&key) {
                        keys.number(&key, 0, "a whole number", |_| true)
                    } else {
                        next -= 1;
                        next + 1
                    };
                    if priorities.contains(&priority) {
                        keys.mistaken(
                            &key,
                            format_args!("another sink has the priority {priority} too"),
                        );
                    }
                    priorities.push(priority);
                }
                let max_penalty = keys.time("maxpenalty", Duration::from_millis(1), 30_000);
                Policy::Failover { priorities, max_penalty }
            }
            Kind::LoadBalance => {
                if sinks.len() < 2 {
                    keys.mistaken("type", "load_balance needs more than one sink");
                }
                let at_random = keys.choice(
                    "selector",
                    "round_robin",
                    &[("round_robin", false), ("random", true)],
                );
                let longest = keys.time("selector.maxTimeOut", Duration::from_millis(1), 30_000);
                let backoff = keys.flag("backoff", false).then_some(longest);
                Policy::LoadBalance { at_random, backoff }
            }
        }
    }
}

/// A sink with its tap.
#[derive(Debug)]
pub struct Member {
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// What it takes from.
    pub tap: Arc<Tap>,
}

/// A member and how it has fared.
#[derive(Debug)]
struct Standing {
    member: Member,
    is_started: bool,
    failures: u32,
    failed: Option<Instant>,
}

/// Sinks that share a thread.
#[derive(Debug)]
pub struct Group {
    standing: Vec<Standing>,
    policy: Policy,
    turns: u64,
}

/// A success after so long forgets the failures before it.
const FORGIVEN: Duration = Duration::from_secs(3600);

impl Group {
    /// A group of these.
    pub fn new(members: Vec<Member>, policy: Policy) -> Group {
        let standing = members.into_iter().map(|member| Standing {
            member,
            is_started: false,
            failures: 0,
            failed: None,
        });
        Group { standing: standing.collect(), policy, turns: 0 }
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.standing.iter().map(|standing| &standing.member)
    }

    /// A turn of the first sink that works, in the order of the policy.
    ///
    /// # Errors
    ///
    /// If none does: what the last of them says.
    pub fn turn(&mut self) -> Result<Turn, Failure> {
        self.turns += 1;
        let mut last = None;
        for place in self.order() {
            let standing = &mut self.standing[place];
            match standing.turn() {
                Ok(turn) => {
                    standing.failures = 0;
                    standing.failed = None;
                    // What another has taken before it was passed over is its own to bring to an end.
                    self.settle_all_but(place);
                    return Ok(turn);
                }
                Err(failure) => {
                    if standing.failed.is_some_and(|failed| failed.elapsed() > FORGIVEN) {
                        standing.failures = 0;
                    }
                    standing.failures = standing.failures.saturating_add(1);
                    standing.failed = Some(Instant::now());
                    let name = standing.member.tap.name();
                    if let Some(before) = last.replace(failure) {
                        log::debug!(
                            "sink {name} was tried after another had failed: {}",
                            chain(&*before)
                        );
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            "all sinks of the group have failed, and are left alone for a while".into()
        }))
    }

    /// Brings what was taken further, and takes nothing; says whether all is delivered or went back.
    pub fn settle(&mut self) -> bool {
        self.settle_all_but(usize::MAX)
    }

    /// Closes all of them.
    pub fn close(&mut self) {
        for standing in &mut self.standing {
            let Member { sink, tap } = &mut standing.member;
            if let Err(error) = sink.close(tap) {
                log::error!(
                    "sink {} was not closed as it should: error={}",
                    tap.name(),
                    chain(&*error)
                );
            }
            standing.is_started = false;
        }
    }

    fn settle_all_but(&mut self, but: usize) -> bool {
        let mut settled = true;
        for (_, standing) in self.standing.iter_mut().enumerate().filter(|(place, _)| *place != but)
        {
            let Member { sink, tap } = &mut standing.member;
            settled &= sink.settle(tap).unwrap_or_else(|error| {
                log::warn!("sink {} has failed: error={}", tap.name(), chain(&*error));
                standing.is_started = false;
                true
            });
        }
        settled
    }

    /// The places of the sinks that may have a turn, in order.
    fn order(&self) -> Vec<usize> {
        let all = 0..self.standing.len();
        match &self.policy {
            Policy::Alone => all.collect(),
            Policy::Failover { priorities, max_penalty } => {
                let mut order: Vec<_> = all
                    .filter(|&place| !self.standing[place].is_left_alone(*max_penalty))
                    .collect();
                order.sort_by_key(|&place| std::cmp::Reverse(priorities[place]));
                order
            }
            Policy::LoadBalance { at_random, backoff } => {
                let many = self.standing.len() as u64;
                let first = if *at_random {
                    self.turns.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33
                } else {
                    self.turns
                };
                let rotated = all.map(|place| ((first + place as u64) % many) as usize);
                rotated
                    .filter(|&place| {
                        backoff.is_none_or(|most| !self.standing[place].is_left_alone(most))
                    })
                    .collect()
            }
        }
    }
}

impl Standing {
    fn turn(&mut self) -> Result<Turn, Failure> {
        let Member { sink, tap } = &mut self.member;
        if !self.is_started {
            sink.start(tap)?;
            self.is_started = true;
        }
        sink.turn(tap).inspect_err(|_| self.is_started = false)
    }

    /// Whether it has failed so short ago that it is not tried: twice as long each time, up to `most`.
    fn is_left_alone(&self, most: Duration) -> bool {
        let penalty = Duration::from_secs(1 << self.failures.min(16)).min(most);
        self.failed.is_some_and(|failed| failed.elapsed() < penalty)
    }
}

#[cfg(test)]
mod tests;
