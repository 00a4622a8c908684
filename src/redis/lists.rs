//! Lists of channels, read: for the commands that show and export them.

use std::collections::BTreeSet;

use dataflows::Channel;

use super::client::{Client, read};
use super::command::Command;
use super::error::Error;
use crate::text;

/// How many keys of a database are looked at in one go, so that nobody else waits long.
const SCANNED: usize = 2000;

impl Client {
    /// The members of a score key with their scores, in Redis's order: score up, then member up as
    /// bytes. All of one moment.
    ///
    /// # Errors
    ///
    /// If Redis fails, or the key is none of scores.
    pub fn list(&mut self, key: &str) -> Result<Vec<(Vec<u8>, f64)>, Error> {
        let mut range = Command::new("ZRANGE", key);
        range.arg(0).arg(-1).arg("WITHSCORES");
        read(self.ask(&range)?)
    }

    /// The channels that have a list of this kind: `template` is its key, with `{channel}` in it.
    ///
    /// # Errors
    ///
    /// If Redis fails.
    pub fn channels(&mut self, template: &str) -> Result<BTreeSet<Channel>, Error> {
        let (before, after) = template.split_once("{channel}").unwrap_or((template, ""));
        let pattern = format!("{}*{}", literally(before), literally(after));
        let of_channel = |key: &Vec<u8>| {
            let channel = key.strip_prefix(before.as_bytes())?.strip_suffix(after.as_bytes())?;
            text::channel(channel)
        };
        Ok(self.scan(&pattern)?.iter().filter_map(of_channel).collect())
    }

    /// Looks through all that stands in Redis for keys that match. One may be found twice.
    pub(super) fn scan(&mut self, pattern: &str) -> Result<Vec<Vec<u8>>, Error> {
        let mut found = Vec::new();
        for node in self.masters()? {
            let mut cursor = 0u64;
            loop {
                let mut scan = ::redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED);
                let (next, mut some): (u64, Vec<Vec<u8>>) = read(self.ask_node(&node, &scan)?)?;
                found.append(&mut some);
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(found)
    }
}

/// What matches this text alone, as SCAN has it.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_key_means_more_than_itself() {
        assert_eq!(literally("ch:18:hot"), "ch:18:hot");
        assert_eq!(literally(r"a*[b]?\"), r"a\*\[b\]\?\\");
    }
}
