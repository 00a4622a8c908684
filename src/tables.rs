//! Neighbours and history, read.

mod embedded;

use dataflows::{Article, Ask, History};

use crate::sink::Failed;

pub use embedded::Embedded;

/// Where tables stand. Read from several threads at once, none of them a worker's but at the start.
pub trait Tables: Send + Sync {
    /// Calls `row` with every row of the table of similar articles, once: the article and all its
    /// neighbours with their values, in any order.
    ///
    /// # Errors
    ///
    /// If the table cannot be read as a whole.
    fn similar(&self, row: &mut dyn FnMut(Article, Vec<(Article, f64)>)) -> Result<(), Failed>;

    /// Reads what stands in the cells of the history that are asked for: one answer a question, in any order. What was
    /// durable before the call is in it.
    ///
    /// # Errors
    ///
    /// Only those that trying again cannot mend.
    fn history(&self, asks: Vec<Ask>) -> Result<Vec<History>, Failed>;
}
