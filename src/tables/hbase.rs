//! The tables in HBase.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use dataflows::{Article, Ask, Epoch, History};

use super::{TIME_TO_LIVE, Tables};
use crate::hbase::{Client, Error, Kind, Row, Spot, Table, Trying, Version};
use crate::ledger::{self, Names};
use crate::retry::{Ended, Stop};
use crate::sink::Failed;
use crate::text;

/// How many versions that are no list are remembered, so as not to be logged again.
const REMEMBERED: usize = 10_000;

/// Reads tables from HBase, and tries until it can.
pub struct Hbase {
    client: Arc<Client>,
    similar: Table,
    history: Table,
    /// Over how many connections the questions of one call are spread.
    connections: usize,
    /// The epochs that are run again, by their dates.
    bound: BTreeMap<u64, Epoch>,
    stop: Stop,
    /// The versions that are no list and were logged.
    logged: Mutex<BTreeSet<(Spot, u64)>>,
}

impl Hbase {
    /// Reads the tables of these names until the job stops. `bound` are the epochs that were bound
    /// before this start, by their dates T(e): a version at exactly such a date is the epoch's receipt.
    pub fn new(
        client: Arc<Client>,
        names: &Names,
        bound: BTreeMap<u64, Epoch>,
        connections: usize,
        stop: Stop,
    ) -> Hbase {
        Hbase {
            client,
            similar: Table::new(Kind::Similar, &names.similar),
            history: Table::new(Kind::HistoryRecall, &names.history_recall),
            connections,
            bound,
            stop,
            logged: Mutex::default(),
        }
    }

    fn trying(&self) -> Trying<'_> {
        Trying::UntilItWorks(&self.stop)
    }

    /// What stands in a cell. Every writer's versions count, also those of the future.
    fn answer(&self, ask: Ask, spot: Spot, versions: Vec<Version>) -> History {
        let mut history = History::of_nothing(ask.ticket);
        history.versions = u32::try_from(versions.len()).unwrap_or(u32::MAX);
        let now = ledger::now();
        for Version { timestamp, value } in versions {
            // The family's own time to live may be longer, or be enforced later.
            if now.saturating_sub(timestamp) >= TIME_TO_LIVE {
                continue;
            }
            let Some(list) = text::parse_list(&value) else {
                self.log_once(&spot, timestamp, &value);
                continue;
            };
            // An empty list is no receipt: an epoch that recalls nothing writes none.
            if let Some(epoch) = self.bound.get(&timestamp)
                && !list.is_empty()
            {
                history.receipts.push((*epoch, list.clone()));
            }
            history.articles.extend(list);
        }
        history
    }

    fn log_once(&self, spot: &Spot, timestamp: u64, value: &[u8]) {
        // What it guards is whole whenever a thread could panic.
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < REMEMBERED && logged.insert((spot.clone(), timestamp)) {
            log::warn!(
                "a version of {} is no list and counts as empty: {} timestamp={timestamp} list={}",
                self.history.name,
                spot.in_words(),
                value.escape_ascii(),
            );
            if logged.len() == REMEMBERED {
                log::warn!("more versions that are no list are not logged");
            }
        }
    }
}

impl Tables for Hbase {
    fn similar(&self, row: &mut dyn FnMut(Article, Vec<(Article, f64)>)) -> Result<(), Failed> {
        let mut odd = 0_u64;
        let read = self.client.scan(self.trying(), &self.similar, |found| {
            if let Some((article, neighbours)) = neighbours(&found, &mut odd) {
                row(article, neighbours);
            }
            Ok::<_, Ended<Error>>(())
        });
        if odd > 0 {
            let name = &self.similar.name;
            log::warn!("rows or columns of {name} that are no articles or numbers: count={odd}");
        }
        read.map_err(Failed::from)
    }

    fn history(&self, asks: Vec<Ask>) -> Result<Vec<History>, Failed> {
        let spots: Vec<_> = asks.iter().map(|ask| self.history.spot(&ask.cell)).collect();
        let versions =
            self.client.all_versions(self.trying(), &self.history, &spots, self.connections)?;
        let read = asks.into_iter().zip(spots).zip(versions);
        Ok(read.map(|((ask, spot), versions)| self.answer(ask, spot, versions)).collect())
    }
}

/// A row of similar articles. A value that is no finite number is as if it were not there, and so is a
/// row in which nothing else stands; `odd` counts such values, and rows of what is no article.
fn neighbours(row: &Row, odd: &mut u64) -> Option<(Article, Vec<(Article, f64)>)> {
    let Some(article) = text::article(&row.key) else {
        *odd += 1;
        return None;
    };
    let mut neighbours = Vec::with_capacity(row.columns.len());
    for (qualifier, Version { value, .. }) in &row.columns {
        match text::article(qualifier).zip(text::similar_value(value)) {
            Some(neighbour) => neighbours.push(neighbour),
            None => *odd += 1,
        }
    }
    (!neighbours.is_empty()).then_some((article, neighbours))
}
