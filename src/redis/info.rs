//! What a server says of itself.

use std::time::Duration;

use super::client::{Client, read};
use super::error::Error;
use crate::config::Address;
use crate::ledger;

/// What the server, or a master of a Cluster, says of itself.
#[derive(Clone, Debug)]
pub struct Info {
    /// Which one.
    pub node: Address,
    /// The answer to `INFO`: a line a field.
    pub text: String,
    /// How far its clock is ahead of this machine's, in milliseconds; 0 where that is within what the
    /// asking took.
    pub ahead: i64,
}

impl Client {
    /// What the server says of itself, or every master of the Cluster.
    ///
    /// # Errors
    ///
    /// If one does not answer.
    pub fn infos(&mut self) -> Result<Vec<Info>, Error> {
        let masters = self.masters()?;
        masters.into_iter().map(|node| self.info(node)).collect()
    }

    fn info(&mut self, node: Address) -> Result<Info, Error> {
        let text = read(self.ask_node(&node, &::redis::cmd("INFO"))?)?;
        let before = ledger::now();
        let (seconds, micros): (u64, u64) = read(self.ask_node(&node, &::redis::cmd("TIME"))?)?;
        let after = ledger::now();
        let there = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let there = there.as_millis() as i64;
        let (earliest, latest) = (there - after as i64, there - before as i64);
        let ahead = if earliest > 0 { earliest } else { latest.min(0) };
        Ok(Info { node, text, ahead })
    }
}
