//! The two puts of a list, and why repeating them is harmless.
//!
//! - The **receipt** is put into the history at T(e). Put again it is the same version.
//! - The **mailbox** is dated by the region server, by the clock that dates the reader's delete: a list
//!   with another date might be hidden by a delete that never saw it. Put again it would stand twice. So
//!   wherever it may have been put before, all versions are read first, and a list that stands is not
//!   sent again. No id is recalled twice into a cell: a list is known by its ids.
//!
//! The receipt comes first. So where there is none, no list was put.

use std::sync::Arc;

use dataflows::{Epoch, Recall};

use crate::failpoint;
use crate::hbase::{self, Change, Client, Kind, Spot, Table, Trying, Version, patience};
use crate::ledger::{Binding, Fence};
use crate::retry::{Ended, Fault, Faulty, Stop};
use crate::source::Stopped;
use crate::text;

/// On how many connections mailboxes are read that are in doubt.
const READERS: usize = 4;

/// Puts batches of lists.
pub(super) struct Puts {
    pub client: Arc<Client>,
    pub fence: Arc<Fence>,
    pub ran_before: Epoch,
    pub stop: Stop,
}

/// Why an attempt has put nothing, or not all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    /// The job stops before a newer incarnation can be ruled out.
    #[error("the job is stopping")]
    Stopped,
    /// HBase did not acknowledge it.
    #[error(transparent)]
    Failed(#[from] hbase::Error),
}

impl From<Ended<hbase::Error>> for Unsent {
    fn from(ended: Ended<hbase::Error>) -> Unsent {
        match ended {
            Ended::Stopped => Unsent::Stopped,
            Ended::Failed(error) => Unsent::Failed(error),
        }
    }
}

impl From<Stopped> for Unsent {
    fn from(_: Stopped) -> Unsent {
        Unsent::Stopped
    }
}

impl Faulty for Unsent {
    fn fault(&self) -> Fault {
        match self {
            // Who tries again sees that the job stops.
            Unsent::Stopped => Fault::Retry,
            Unsent::Failed(error) => error.fault(),
        }
    }
}

/// A list on its way into a mailbox.
struct Sending<'a> {
    recall: &'a Recall,
    spot: Spot,
    /// It may have been put before.
    doubted: bool,
}

impl Sending<'_> {
    /// Whether a version of the mailbox holds the list.
    fn is(&self, version: &Version) -> bool {
        text::parse_list(&version.value).is_some_and(|list| list == self.recall.articles)
    }
}

impl Puts {
    /// Puts receipts and lists of one epoch, each cell at most once, and tries until all are
    /// acknowledged.
    pub(super) fn put(&self, binding: &Binding, recalls: &[Recall]) -> Result<(), Ended<Unsent>> {
        // STEP 1: every receipt stands.
        self.put_receipts(binding, recalls)?;
        failpoint::reach("receipts-put");
        // STEP 2: every list stands in its mailbox, or was taken from it.
        self.put_lists(binding, recalls)?;
        failpoint::reach("lists-put");
        Ok(())
    }

    fn put_receipts(&self, binding: &Binding, recalls: &[Recall]) -> Result<(), Ended<Unsent>> {
        let table = Table::new(Kind::HistoryRecall, &binding.names.history_recall);
        let receipts: Vec<_> = recalls
            .iter()
            .filter(|recall| !recall.stands)
            .map(|recall| Change::Put(table.spot(&recall.cell), hbase::list(&recall.articles)))
            .collect();
        if receipts.is_empty() {
            return Ok(());
        }
        // Harmless to repeat, whatever became of it: the same lists at the same date.
        self.trying().run("putting receipts", |failures| {
            self.fence.pass(&self.stop)?;
            Ok(self.client.change(&table, &receipts, Some(binding.time), patience(failures))?)
        })
    }

    fn put_lists(&self, binding: &Binding, recalls: &[Recall]) -> Result<(), Ended<Unsent>> {
        let table = Table::new(Kind::CbRecall, &binding.names.cb_recall);
        let again = binding.epoch <= self.ran_before;
        let mut sending: Vec<_> = recalls
            .iter()
            .map(|recall| {
                let (spot, doubted) = (table.spot(&recall.cell), again || recall.stands);
                Sending { recall, spot, doubted }
            })
            .collect();
        // Harmless to repeat: what an attempt may have put is looked for before the next one.
        self.trying().run("putting lists", |failures| {
            self.drop_standing(&table, &mut sending, failures)?;
            if sending.is_empty() {
                return Ok(());
            }
            let lists: Vec<_> = sending
                .iter()
                .map(|it| Change::Put(it.spot.clone(), hbase::list(&it.recall.articles)))
                .collect();
            self.fence.pass(&self.stop)?;
            // Waited for longer than other calls: one that is given up may still be made later.
            let put = self.client.change(&table, &lists, None, patience(failures + 1));
            if put.as_ref().is_err_and(|error| error.fault() == Fault::Unknown) {
                sending.iter_mut().for_each(|sending| sending.doubted = true);
            }
            Ok(put?)
        })
    }

    /// Drops, of those that may have been put before, what stands.
    ///
    /// A list that was put a moment ago is the newest version, and the newest ones are read together. The
    /// others are read only where another list is the newest.
    fn drop_standing(
        &self,
        table: &Table,
        sending: &mut Vec<Sending<'_>>,
        failures: u32,
    ) -> Result<(), Unsent> {
        let attempt = Trying::Attempt(failures);
        let spots = |nths: &[usize]| -> Vec<_> {
            nths.iter().map(|nth| sending[*nth].spot.clone()).collect()
        };
        let doubted: Vec<_> = (0..sending.len()).filter(|nth| sending[*nth].doubted).collect();
        if doubted.is_empty() {
            return Ok(());
        }
        let newest = self.client.newest_versions(attempt, table, &spots(&doubted), 1)?;
        let mut stands = vec![false; sending.len()];
        let mut undecided = Vec::new();
        for (nth, newest) in doubted.into_iter().zip(newest) {
            match newest {
                Some(version) if sending[nth].is(&version) => stands[nth] = true,
                Some(_) => undecided.push(nth),
                None => {}
            }
        }
        let read = self.client.standing_versions(attempt, table, &spots(&undecided), READERS)?;
        for (nth, versions) in undecided.into_iter().zip(read) {
            stands[nth] = versions.iter().any(|version| sending[nth].is(version));
        }
        failpoint::reach("doubts-read");
        let mut stands = stands.into_iter();
        sending.retain(|_| !stands.next().expect("of each it is known whether it stands"));
        Ok(())
    }

    fn trying(&self) -> Trying<'_> {
        Trying::UntilItWorks(&self.stop)
    }
}
