//! The tables in the embedded store.

use std::sync::Arc;

use dataflows::{Article, Ask, Cell, History};

use super::{TIME_TO_LIVE, Tables};
use crate::sink::Failed;
use crate::store::rows::{self, List, Version};
use crate::store::{Error, Store};
use crate::{ledger, text};

/// Reads tables from the store, as of TIME or of now.
pub struct Embedded {
    store: Arc<Store>,
    time: Option<u64>,
}

impl Embedded {
    /// Reads what counts at `time`, in milliseconds since 1970, or whenever it is read.
    pub fn new(store: Arc<Store>, time: Option<u64>) -> Embedded {
        Embedded { store, time }
    }

    fn read(&self, Ask { cell, ticket }: Ask, time: u64) -> Result<History, Error> {
        let mut history = History::of_nothing(ticket);
        let Cell { user, channel } = &cell;
        let mut key = rows::cell(user, *channel, 0);
        // The versions of a cell are numbered without a gap, and to look for one that does not stand
        // costs less than to look for all that do.
        while let Some(version) = self.store.version(&key)? {
            count(&key, version, time, &mut history.articles);
            history.versions += 1;
            rows::set_version(&mut key, history.versions);
        }
        Ok(history)
    }
}

/// Adds what a version counts for at a time; versions of the future count.
fn count(key: &[u8], version: Version, time: u64, articles: &mut Vec<Article>) {
    if time.saturating_sub(version.timestamp) >= TIME_TO_LIVE {
        return;
    }
    match version.list {
        List::Recalled(list) => articles.extend(list),
        List::Loaded(text) => match text::parse_list(&text) {
            Some(list) => articles.extend(list),
            None => log::warn!(
                "a version of history_recall is no list and counts as empty: row={} timestamp={} list={}",
                key.escape_ascii(),
                version.timestamp,
                text.escape_ascii()
            ),
        },
        List::Mailbox(_) => {}
    }
}

impl Tables for Embedded {
    fn similar(&self, row: &mut dyn FnMut(Article, Vec<(Article, f64)>)) -> Result<(), Failed> {
        for similar in self.store.similar(None) {
            let (key, neighbours) = similar?;
            let damaged = || self.store.damaged("similar", &key);
            let article = text::article(&key).ok_or_else(damaged)?;
            let neighbours = neighbours
                .into_iter()
                .map(|(neighbour, text)| Some((neighbour, text::similar_value(text.as_bytes())?)))
                .collect::<Option<_>>()
                .ok_or_else(damaged)?;
            row(article, neighbours);
        }
        Ok(())
    }

    fn history(&self, asks: Vec<Ask>) -> Result<Vec<History>, Failed> {
        let time = self.time.unwrap_or_else(ledger::now);
        asks.into_iter().map(|ask| self.read(ask, time).map_err(Failed::from)).collect()
    }
}
