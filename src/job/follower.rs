//! A member's part in what the committer of process 0 does: it says what is read and computed here, and
//! makes its own effects durable once they are bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, never, select};
use dataflows::{Epoch, Recall, Settings};

use super::committer::LOOKED_EVERY;
use super::{Counted, Error, Failure, Part, Share};
use crate::cluster::{Member, ToHub, ToMember};
use crate::ledger::{Binding, Names};
use crate::metrics;
use crate::outside::{Effects, Told};
use crate::sink::{Changed, DeadLetter, Failed, Scores, Totals};
use crate::source::{Cut, Feed, Topic};

/// Follows the committer of process 0.
pub(super) struct Follower<'a, E> {
    pub effects: E,
    pub feed: Arc<Feed>,
    pub workers: usize,
    pub settings: Arc<Settings>,
    pub names: Arc<Names>,
    /// The epochs that are bound and not marked.
    pub bound: BTreeMap<Epoch, Arc<Binding>>,
    pub member: &'a Member,
    pub mark: Epoch,
    /// What the workers have handed over of epochs that are not marked.
    pub flights: BTreeMap<Epoch, Flight>,
}

/// An epoch that has a share and is not marked.
#[derive(Default)]
pub(super) struct Flight {
    counted: usize,
    scores: Scores,
    letters: Vec<DeadLetter>,
    totals: Totals,
    recalled: usize,
    recalls: Vec<Recall>,
    lists: u64,
    /// The hub was told what was counted.
    is_told: bool,
    scores_asked: bool,
    recalls_asked: bool,
}

/// Why a follower ends before all is marked.
enum Ended {
    /// The hub has ended the run.
    Over,
    /// This process ends its part.
    Stopped,
    Failed(Failed),
}

impl<E: Effects> Follower<'_, E> {
    /// Goes on until all is marked, the hub ends the run, or something fails.
    pub(super) fn run(
        mut self,
        cuts: &Receiver<Cut>,
        left: &Receiver<Epoch>,
        shares: &Receiver<Share>,
        told: &Receiver<Told>,
        failure: &Failure,
    ) {
        let followed = self.follow(cuts, left, shares, told, failure);
        // Workers end when those of all processes do: where this one ends first, the hub must hear of it.
        match followed {
            Ok(()) | Err(Ended::Over) => return,
            Err(Ended::Stopped) => {}
            Err(Ended::Failed(source)) => {
                failure.report(Error::Outside { epoch: self.mark.next(), source });
            }
        }
        let cut_short = || (0, "cut short by a signal".to_owned());
        let (status, why) = failure.why().unwrap_or_else(cut_short);
        self.member.say(&ToHub::Failed(status, why));
    }

    fn follow(
        &mut self,
        cuts: &Receiver<Cut>,
        left: &Receiver<Epoch>,
        shares: &Receiver<Share>,
        told: &Receiver<Told>,
        failure: &Failure,
    ) -> Result<(), Ended> {
        let (mut cuts, mut left, mut shares) = (cuts.clone(), left.clone(), shares.clone());
        let mut all_shared = false;
        loop {
            if self.feed.goes_on().is_err() {
                return Err(Ended::Stopped);
            }
            if all_shared && self.flights.is_empty() {
                return Ok(());
            }
            select! {
                recv(cuts) -> cut => match cut {
                    Ok(Cut { epoch, ranges }) => self.member.say(&ToHub::Cut(epoch, ranges)),
                    Err(_) => cuts = never(),
                },
                recv(left) -> epoch => match epoch {
                    Ok(epoch) => {
                        // What was closed before is said before.
                        for Cut { epoch, ranges } in cuts.try_iter() {
                            self.member.say(&ToHub::Cut(epoch, ranges));
                        }
                        self.member.say(&ToHub::Left(epoch));
                    }
                    Err(_) => left = never(),
                },
                recv(shares) -> share => match share {
                    Ok(share) => self.take(share),
                    Err(_) => {
                        all_shared = true;
                        shares = never();
                    }
                },
                recv(told) -> told => self.hear(told.map_err(|_| Ended::Stopped)?)?,
                recv(self.member.heard()) -> said => match said {
                    Ok(said) => self.hear_hub(said, failure)?,
                    Err(_) => return Err(Ended::Over),
                },
                default(LOOKED_EVERY) => {}
            }
            self.go_on();
        }
    }

    fn take(&mut self, share: Share) {
        let flight = self.flights.entry(share.epoch).or_default();
        match share.part {
            Part::Counted(Counted { mut scores, mut dead_letters, totals }) => {
                flight.counted += 1;
                flight.scores.hot.append(&mut scores.hot);
                flight.scores.new.append(&mut scores.new);
                flight.letters.append(&mut dead_letters);
                flight.totals += totals;
            }
            Part::Recalled(mut recalls) => {
                flight.recalled += 1;
                flight.recalls.append(&mut recalls);
            }
        }
    }

    fn hear(&mut self, told: Told) -> Result<(), Ended> {
        match told {
            Told::Scored(epoch, keys) => {
                let keys = keys.iter().map(|key| (**key).to_owned()).collect();
                self.member.say(&ToHub::Scored(epoch, keys));
            }
            Told::Recalled(epoch) => {
                let lists = self.flights.get(&epoch).map_or(0, |flight| flight.lists);
                self.member.say(&ToHub::Recalled(epoch, lists));
            }
            Told::Failed(failed) => match failed.downcast::<Changed>() {
                // Why, process 0 finds out: it ends this run.
                Ok(changed) => self.member.say(&ToHub::Changed(changed.0)),
                Err(failed) => return Err(Ended::Failed(failed)),
            },
            Told::Stopped => return Err(Ended::Stopped),
            told @ (Told::Bound(_) | Told::Kept(..) | Told::Marked(_)) => {
                unreachable!("a member has no ledger: {told:?}")
            }
        }
        Ok(())
    }

    fn hear_hub(&mut self, said: ToMember, failure: &Failure) -> Result<(), Ended> {
        match said {
            ToMember::Close(epoch) => self.feed.closed_elsewhere(epoch),
            ToMember::Bound(epoch, time) => {
                let (settings, names) = (Arc::clone(&self.settings), Arc::clone(&self.names));
                // Whose records they are does not matter to who makes them durable.
                let binding = Binding { epoch, time, settings, names, ranges: Vec::new() };
                self.bound.insert(epoch, Arc::new(binding));
            }
            ToMember::Marked(epoch) => {
                self.mark = epoch;
                self.flights = self.flights.split_off(&epoch.next());
                self.bound = self.bound.split_off(&epoch.next());
                self.feed.marked(epoch);
                metrics::mark(epoch, self.flights.len());
            }
            ToMember::Finish => self.feed.finish(),
            ToMember::End(epoch) => self.feed.end_at(epoch),
            ToMember::Stop | ToMember::Exit(..) => {
                failure.stop.stop();
                self.feed.stop();
                return Err(Ended::Over);
            }
            ToMember::Begin(_) => unreachable!("a run begins when the one before is over"),
        }
        Ok(())
    }

    /// Says and asks for all that may be said and asked for: each kind epoch after epoch.
    fn go_on(&mut self) {
        for (epoch, flight) in &mut self.flights {
            if flight.is_told {
                continue;
            }
            if flight.counted < self.workers {
                break;
            }
            flight.is_told = true;
            let of_articles = flight.letters.iter().filter(|it| it.topic == Topic::Articles);
            metrics::records(&flight.totals, of_articles.count() as u64);
            let letters = std::mem::take(&mut flight.letters);
            self.member.say(&ToHub::Counted(*epoch, letters, flight.totals));
        }
        for (epoch, flight) in &mut self.flights {
            if flight.scores_asked {
                continue;
            }
            let Some(binding) = self.bound.get(epoch).filter(|_| flight.is_told) else { break };
            flight.scores_asked = true;
            self.effects.scores(binding, std::mem::take(&mut flight.scores));
        }
        for (epoch, flight) in &mut self.flights {
            if flight.recalls_asked {
                continue;
            }
            let is_whole = flight.recalled == self.workers;
            let Some(binding) = self.bound.get(epoch).filter(|_| is_whole) else { break };
            flight.recalls_asked = true;
            flight.lists = flight.recalls.len() as u64;
            self.effects.recalls(binding, std::mem::take(&mut flight.recalls));
        }
    }
}
