//! The one thread that writes the ledger.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, never, select};
use dataflows::{Epoch, Settings};

use super::{Error, Failure};
use crate::ledger::{Binding, Dates, Ledger, Mark};
use crate::sink::{Failed, Share, Sink};
use crate::source::{Cut, Feed};

/// Binds what is cut, applies what is computed, and moves the mark.
pub(super) struct Committer<O> {
    pub outside: O,
    pub feed: Arc<Feed>,
    pub workers: usize,
    pub settings: Arc<Settings>,
    pub dates: Dates,
    pub mark: Mark,
    pub records: Arc<AtomicU64>,
}

impl<O: Ledger + Sink> Committer<O> {
    /// Goes on until the source has ended and every epoch is marked, or something fails. Returns the
    /// last mark.
    pub(super) fn run(
        mut self,
        cuts: &Receiver<Cut>,
        shares: &Receiver<Share>,
        failure: &Failure,
    ) -> Mark {
        let (mut cuts, mut shares) = (cuts.clone(), shares.clone());
        let (mut all_cut, mut all_shared) = (false, false);
        let mut bound: VecDeque<Binding> = VecDeque::new();
        let mut waiting: BTreeMap<Epoch, Vec<Share>> = BTreeMap::new();
        // Whichever channel ends first, the other may still hold what belongs to an epoch. Where the
        // workers stopped early, what is bound and not done stays so.
        while !(all_cut && (all_shared || bound.is_empty())) {
            select! {
                recv(cuts) -> cut => match cut {
                    Ok(cut) => {
                        let epoch = cut.epoch;
                        match self.bind(cut) {
                            Ok(binding) => bound.push_back(binding),
                            Err(source) => {
                                failure.report(Error::Outside { epoch, source });
                                return self.mark;
                            }
                        }
                    }
                    Err(_) => {
                        all_cut = true;
                        cuts = never();
                    }
                },
                recv(shares) -> share => match share {
                    Ok(share) => waiting.entry(share.epoch).or_default().push(share),
                    Err(_) => {
                        all_shared = true;
                        shares = never();
                    }
                },
            }
            while let Some(binding) = bound.front()
                && waiting.get(&binding.epoch).is_some_and(|here| here.len() == self.workers)
            {
                let shares = waiting.remove(&binding.epoch).unwrap_or_default();
                if let Err(source) = self.commit(binding, shares) {
                    failure.report(Error::Outside { epoch: binding.epoch, source });
                    return self.mark;
                }
                bound.pop_front();
            }
        }
        self.mark
    }

    fn bind(&mut self, cut: Cut) -> Result<Binding, Failed> {
        let binding = Binding {
            epoch: cut.epoch,
            time: self.dates.next(cut.epoch),
            settings: Arc::clone(&self.settings),
            ranges: cut.ranges,
        };
        self.outside.bind(&binding)?;
        Ok(binding)
    }

    fn commit(&mut self, binding: &Binding, shares: Vec<Share>) -> Result<(), Failed> {
        let mut totals = self.mark.totals;
        for share in shares {
            totals += share.totals;
            self.outside.apply(binding, share)?;
        }
        let mark = Mark { epoch: binding.epoch, time: binding.time, totals };
        self.outside.mark(&mark)?;
        let records = totals.records() - self.mark.totals.records();
        self.records.fetch_add(records, Ordering::Relaxed);
        self.mark = mark;
        self.feed.marked(binding.epoch);
        Ok(())
    }
}
