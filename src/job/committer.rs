//! The one thread that tells the outside what to do: bind, make effects durable, move the mark.

mod flights;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select, tick};
use dataflows::{Epoch, Settings};
use flights::{Asked, Flight, Marking, Open, Shares, append};

use super::{Error, Failure, Others, Share};
use crate::cluster::{ToHub, ToMember};
use crate::ledger::{Binding, Dates, Mark, Names};
use crate::metrics::{self, Stage};
use crate::outside::{Done, Outside, Told};
use crate::sink::{Changed, DeadLetter, Failed};
use crate::source::{Cut, Feed, Range, Topic};

/// How often it is looked whether the job is stopping, where others may not let it hear of that.
pub(super) const LOOKED_EVERY: Duration = Duration::from_millis(100);

/// Binds what is cut, hands out what is computed, and moves the mark.
pub(super) struct Committer<'a, O> {
    pub outside: O,
    pub feed: Arc<Feed>,
    pub workers: usize,
    pub settings: Arc<Settings>,
    pub names: Arc<Names>,
    /// The epochs above the mark that were bound before this run.
    pub bound: VecDeque<Binding>,
    pub dates: Dates,
    pub mark: Mark,
    pub records: Arc<AtomicU64>,
    /// The other processes of a cluster.
    pub others: Option<Others<'a>>,
}

/// Why the committer ends before everything is marked.
enum Ended {
    Failed(Failed),
    Stopped,
}

impl<O: Outside> Committer<'_, O> {
    /// Goes on until the source has ended and every epoch is marked, or something fails. Returns the
    /// last mark.
    pub(super) fn run(
        mut self,
        cuts: &Receiver<Cut>,
        shares: &Receiver<Share>,
        told: &Receiver<Told>,
        failure: &Failure,
    ) -> Mark {
        let mut open = Open::default();
        metrics::cut(self.mark.epoch);
        metrics::mark(self.mark.epoch, 0);
        if let Err(Ended::Failed(source)) = self.commit_all(&mut open, cuts, shares, told) {
            failure.report(Error::Outside { epoch: self.mark.epoch.next(), source });
        }
        if let Some(others) = &self.others {
            // Workers end when those of all processes do.
            others.hub.say(&ToMember::Stop);
        }
        self.mark
    }

    fn commit_all(
        &mut self,
        open: &mut Open,
        cuts: &Receiver<Cut>,
        shares: &Receiver<Share>,
        told: &Receiver<Told>,
    ) -> Result<(), Ended> {
        let (mut cuts, mut shares) = (cuts.clone(), shares.clone());
        let (mut all_cut, mut all_shared) = (false, false);
        let (heard, mut left, tick) = match &self.others {
            Some(others) => (others.hub.heard().clone(), others.left.clone(), tick(LOOKED_EVERY)),
            None => (never(), never(), never()),
        };
        // Whichever channel ends first, the other may still hold what belongs to an epoch. Where the
        // workers stopped early, what is bound and not done stays so.
        loop {
            let never_whole = open.flights.front().is_some_and(|first| {
                all_shared && first.shares.counted.min(first.shares.recalled) < self.workers
            });
            if self.others.is_some() && self.feed.goes_on().is_err() {
                // Others may never do their part.
                return Ok(());
            }
            if all_cut && (never_whole || open.flights.is_empty()) && open.marks.is_empty() {
                return Ok(());
            }
            select! {
                recv(cuts) -> cut => match cut {
                    Ok(cut) if self.others.is_some() => self.gather(cut, open),
                    Ok(cut) => self.cut(cut, open),
                    Err(_) => {
                        all_cut = true;
                        cuts = never();
                    }
                },
                recv(shares) -> share => match share {
                    Ok(Share { epoch, part }) => open.shares(epoch).add(part),
                    Err(_) => {
                        all_shared = true;
                        shares = never();
                    }
                },
                recv(told) -> told => self.hear(told.map_err(|_| Ended::Stopped)?, open)?,
                recv(heard) -> heard => {
                    let (_, said) = heard.map_err(|_| Ended::Stopped)?;
                    self.hear_member(said, open)?;
                }
                recv(left) -> epoch => match epoch {
                    Ok(epoch) => self.leave(epoch),
                    Err(_) => left = never(),
                },
                recv(tick) -> _ => {}
            }
            self.go_on(open);
        }
    }

    /// Takes what one process has read of an epoch; cuts it when all have said that.
    fn gather(&mut self, cut: Cut, open: &mut Open) {
        let others = self.others.as_mut().expect("there are others");
        let Cut { epoch, ranges } = cut;
        if others.closed < epoch {
            others.closed = epoch;
            others.hub.say(&ToMember::Close(epoch));
            self.feed.closed_elsewhere(epoch);
        }
        let (count, gathered) = others.gathering.entry(epoch).or_default();
        *count += 1;
        gathered.extend(ranges);
        if *count == others.hub.processes() {
            let (_, mut ranges) = others.gathering.remove(&epoch).expect("it was just there");
            sort(&mut ranges);
            others.cut = epoch;
            self.cut(Cut { epoch, ranges }, open);
            self.end();
        }
    }

    /// Hears that a process reads nothing more: of the first epoch that it has not closed.
    fn leave(&mut self, epoch: Epoch) {
        let others = self.others.as_mut().expect("there are others");
        others.all_left = others.all_left.max(epoch);
        others.have_left += 1;
        if others.goes_on {
            // Whoever leaves was asked to, and all leave together.
            others.hub.say(&ToMember::Finish);
            self.feed.finish();
        }
        self.end();
    }

    /// Says which epoch is the first that will never be, once that is known.
    fn end(&mut self) {
        let others = self.others.as_ref().expect("there are others");
        let end = others.all_left.max(others.closed.next());
        if others.have_left == others.hub.processes() && others.cut.next() == end {
            others.hub.say(&ToMember::End(end));
            self.feed.end_at(end);
        }
    }

    fn hear_member(&mut self, said: ToHub, open: &mut Open) -> Result<(), Ended> {
        match said {
            ToHub::Cut(epoch, ranges) => self.gather(Cut { epoch, ranges }, open),
            ToHub::Left(epoch) => self.leave(epoch),
            ToHub::Counted(epoch, letters, totals) => {
                let elsewhere = &mut open.shares(epoch).elsewhere;
                elsewhere.counted += 1;
                append(&mut elsewhere.letters, letters);
                elsewhere.totals += totals;
            }
            ToHub::Scored(epoch, keys) => {
                let elsewhere = &mut open.shares(epoch).elsewhere;
                elsewhere.scored += 1;
                elsewhere.keys.extend(keys.into_iter().map(Arc::from));
            }
            ToHub::Recalled(epoch, lists) => {
                let elsewhere = &mut open.shares(epoch).elsewhere;
                elsewhere.recalled += 1;
                elsewhere.totals.recalls += lists;
            }
            ToHub::Doubt(doubt) => self.outside.doubt(doubt),
            ToHub::Changed(key) => return Err(Ended::Failed(Changed(key).into())),
            // Of the others the hub takes care.
            ToHub::Fresh(_) | ToHub::Failed(..) | ToHub::Over => {}
        }
        Ok(())
    }

    fn cut(&mut self, cut: Cut, open: &mut Open) {
        let mut flight = match self.bound.pop_front() {
            Some(binding) => {
                let mut ranges = binding.ranges.clone();
                if self.others.is_some() {
                    sort(&mut ranges);
                }
                // Else a record would be lost or counted twice, and nobody would see it.
                assert_eq!(
                    (cut.epoch, &cut.ranges),
                    (binding.epoch, &ranges),
                    "a bound epoch is read again as it was bound"
                );
                Flight::new(binding, true)
            }
            None => {
                let binding = Binding {
                    epoch: cut.epoch,
                    time: self.dates.next(cut.epoch),
                    settings: Arc::clone(&self.settings),
                    names: Arc::clone(&self.names),
                    ranges: cut.ranges,
                };
                let flight = Flight::new(binding, false);
                self.outside.bind(&flight.binding);
                flight
            }
        };
        metrics::cut(cut.epoch);
        flight.shares = open.early.remove(&cut.epoch).unwrap_or_default();
        open.flights.push_back(flight);
        metrics::mark(self.mark.epoch, open.in_flight());
    }

    fn hear(&mut self, told: Told, open: &mut Open) -> Result<(), Ended> {
        match told {
            Told::Bound(epoch) => {
                let flight = open.flight(epoch);
                flight.bound = true;
                metrics::stage(Stage::Bind, flight.cut.elapsed());
                if let Some(others) = &self.others {
                    others.hub.say(&ToMember::Bound(epoch, flight.binding.time));
                }
            }
            Told::Scored(epoch, keys) => {
                let flight = open.flight(epoch);
                flight.keys = keys;
                flight.counted.done(Stage::Scores);
            }
            Told::Recalled(epoch) => open.flight(epoch).recalled.done(Stage::Recalls),
            Told::Kept(epoch, length) => open.flight(epoch).letters = Some(length),
            Told::Marked(epoch) => {
                let mark = open.marks.pop_front().filter(|asked| asked.mark.epoch == epoch);
                let Marking { mark, binding, asked } =
                    mark.expect("the mark passes epoch after epoch");
                metrics::stage(Stage::Mark, asked.elapsed());
                let records = mark.totals.records() - self.mark.totals.records();
                self.records.fetch_add(records, Ordering::Relaxed);
                self.mark = mark;
                self.feed.marked(epoch);
                if let Some(others) = &self.others {
                    others.hub.say(&ToMember::Marked(epoch));
                }
                self.outside.marked(&binding);
                metrics::mark(epoch, open.in_flight());
            }
            Told::Failed(failed) => return Err(Ended::Failed(failed)),
            Told::Stopped => return Err(Ended::Stopped),
        }
        Ok(())
    }

    /// Asks for all that may be asked for: each kind of effect epoch after epoch.
    fn go_on(&mut self, open: &mut Open) {
        let workers = self.workers;
        for flight in &mut open.flights {
            let Shares { counted, recalled, .. } = flight.shares;
            if !flight.computed && counted == workers && recalled == workers {
                flight.computed = true;
                metrics::stage(Stage::Compute, flight.cut.elapsed());
            }
        }
        for flight in &mut open.flights {
            if flight.counted != Asked::NotYet {
                continue;
            }
            if !flight.bound || flight.shares.counted < workers {
                break;
            }
            flight.counted = Asked::For(Instant::now());
            let of_articles = |letter: &&DeadLetter| letter.topic == Topic::Articles;
            let of_articles = flight.shares.letters.iter().filter(of_articles).count() as u64;
            metrics::records(&flight.shares.totals, of_articles);
            let scores = std::mem::take(&mut flight.shares.scores);
            self.outside.scores(&flight.binding, scores);
        }
        let others = self.others.as_ref().map_or(0, |others| others.hub.processes() - 1);
        for flight in &mut open.flights {
            if flight.letters_asked {
                continue;
            }
            if flight.counted == Asked::NotYet || flight.shares.elsewhere.counted < others {
                break;
            }
            flight.letters_asked = true;
            let mut letters = std::mem::take(&mut flight.shares.letters);
            append(&mut letters, std::mem::take(&mut flight.shares.elsewhere.letters));
            self.outside.dead_letters(&flight.binding, letters);
        }
        for flight in &mut open.flights {
            if flight.recalled != Asked::NotYet {
                continue;
            }
            if !flight.bound || flight.shares.recalled < workers {
                break;
            }
            flight.recalled = Asked::For(Instant::now());
            let recalls = std::mem::take(&mut flight.shares.recalls);
            self.outside.recalls(&flight.binding, recalls);
        }
        while let Some(mut flight) = open.flights.pop_front_if(|flight| flight.is_done(others)) {
            let mut totals = open.marks.back().map_or(self.mark.totals, |last| last.mark.totals);
            totals += flight.shares.totals;
            totals += flight.shares.elsewhere.totals;
            flight.keys.append(&mut flight.shares.elsewhere.keys);
            let mark = Mark { epoch: flight.binding.epoch, time: flight.binding.time, totals };
            let Flight { binding, keys, letters, .. } = flight;
            open.marks.push_back(Marking {
                mark: mark.clone(),
                binding: Arc::clone(&binding),
                asked: Instant::now(),
            });
            let letters = letters.unwrap_or_default();
            self.outside.mark(Done { binding, mark, keys, letters });
        }
    }
}

/// Sorts what processes have read of an epoch, so that it is the same whoever has read what.
fn sort(ranges: &mut [Range]) {
    ranges.sort_unstable_by(|a, b| (a.topic, &a.partition).cmp(&(b.topic, &b.partition)));
}

#[cfg(test)]
mod tests;
