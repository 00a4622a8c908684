//! Neighbours and history, read.

mod embedded;
mod hbase;

use dataflows::{Article, Ask, History};

use crate::sink::Failed;

pub use embedded::Embedded;
pub use hbase::Hbase;

/// How long a version counts as history: the family's time to live, 90 days in milliseconds.
pub(crate) const TIME_TO_LIVE: u64 = 7_776_000_000;

/// Where tables stand. Read from several threads at once, none of them a worker's but at the start.
pub trait Tables: Send + Sync {
    /// Calls `row` with every row of the table of similar articles, once: the article and all its
    /// neighbours with their values, in any order.
    ///
    /// # Errors
    ///
    /// If the table cannot be read as a whole, or the job stops before it could be.
    fn similar(&self, row: &mut dyn FnMut(Article, Vec<(Article, f64)>)) -> Result<(), Failed>;

    /// Reads what stands in the cells of the history that are asked for: one answer a
    /// question, in any order. What was durable before the call is in it.
    ///
    /// # Errors
    ///
    /// Only those that trying again cannot mend, or if the job stops.
    fn history(&self, asks: Vec<Ask>) -> Result<Vec<History>, Failed>;
}

/// The tables of a job that recalls nothing: nobody asks.
pub struct Unread;

impl Tables for Unread {
    fn similar(&self, _: &mut dyn FnMut(Article, Vec<(Article, f64)>)) -> Result<(), Failed> {
        unreachable!("who recalls nothing has no neighbours")
    }

    fn history(&self, _: Vec<Ask>) -> Result<Vec<History>, Failed> {
        unreachable!("who recalls nothing needs no history")
    }
}
