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
use crate::hbase::{self, Change, Client, Kind, Spot, Table, Trying, patience};
use crate::ledger::{Binding, Fence};
use crate::retry::{Ended, Fault, Faulty, Stop};
use crate::source::Stopped;
use crate::text;

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
            let put = self.client.change(&table, &lists, None, patience(failures));
            if put.as_ref().is_err_and(|error| error.fault() == Fault::Unknown) {
                sending.iter_mut().for_each(|sending| sending.doubted = true);
            }
            Ok(put?)
        })
    }

    /// Drops, of those that may have been put before, what stands.
    fn drop_standing(
        &self,
        table: &Table,
        sending: &mut Vec<Sending<'_>>,
        failures: u32,
    ) -> Result<(), Unsent> {
        let doubted: Vec<_> =
            sending.iter().filter(|it| it.doubted).map(|it| it.spot.clone()).collect();
        if doubted.is_empty() {
            return Ok(());
        }
        let attempt = Trying::Attempt(failures);
        let standing = self.client.all_versions(attempt, table, &doubted, 1)?;
        failpoint::reach("doubts-read");
        let mut standing = standing.into_iter();
        sending.retain(|sending| {
            if !sending.doubted {
                return true;
            }
            let versions = standing.next().expect("each doubted cell was read");
            let articles = &sending.recall.articles;
            let stands = |list: &[u8]| text::parse_list(list).is_some_and(|list| list == *articles);
            !versions.iter().any(|version| stands(&version.value))
        });
        Ok(())
    }

    fn trying(&self) -> Trying<'_> {
        Trying::UntilItWorks(&self.stop)
    }
}
