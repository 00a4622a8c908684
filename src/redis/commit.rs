//! The one way in which a ledger is written.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ::redis::Value;
use dataflows::Epoch;

use super::client::read;
use super::command::{Command, Script, script};
use super::error::Error;
use super::job::{At, Job, Stands};
use super::rows::{self, Dated, FORMAT, Field, Token, text};
use crate::sink::Totals;
use crate::source::{Reached, Topic};

static COMMIT: Script = script!("commit.lua");

/// A writing of the ledger: one step, whole or not at all.
#[derive(Debug)]
pub struct Commit<'a> {
    /// Who writes.
    pub token: Token,
    /// How the ledger must stand; nothing before the first write.
    pub before: Option<At>,
    /// How it stands afterwards.
    pub after: At,
    /// What comes with a mark: the totals, and the length of the file of dead letters.
    pub progress: Option<(Totals, u64)>,
    /// Bindings that are added, packed.
    pub bindings: Vec<(Epoch, &'a [u8])>,
    /// How far partitions have been read.
    pub reached: Reached,
    /// What touched score keys.
    pub keys: BTreeMap<String, Dated>,
    /// Bindings that are no longer kept.
    pub forgotten: Vec<Epoch>,
    /// Partitions that have another name now.
    pub renamed: Vec<(Topic, Vec<u8>)>,
    /// How many replicas must have it before it counts.
    pub replicas: u32,
}

impl Commit<'_> {
    /// One that changes nothing, and asks whether everything stands.
    pub fn nothing(token: Token, at: Option<At>, after: At) -> Self {
        Commit {
            token,
            before: at,
            after,
            progress: None,
            bindings: Vec::new(),
            reached: Reached::new(),
            keys: BTreeMap::new(),
            forgotten: Vec::new(),
            renamed: Vec::new(),
            replicas: 0,
        }
    }
}

impl Job {
    /// Prepares a writing, so that it can be tried many times.
    pub fn prepare(&self, commit: &Commit<'_>) -> Command {
        let mut command = Command::run(&COMMIT, &[&self.keys.ledger]);
        let Commit { before, after, .. } = commit;
        command.arg(commit.token.to_string());
        command.arg(text(before.map(|at| at.bound))).arg(text(before.map(|at| at.mark)));
        command.arg(after.bound.to_string()).arg(after.mark.to_string());

        let forgotten = commit.forgotten.iter().map(|epoch| Field::Binding(*epoch));
        let renamed = commit.renamed.iter().map(|(topic, name)| Field::Offset(*topic, name));
        command.arg(commit.forgotten.len() + commit.renamed.len());
        for field in forgotten.chain(renamed) {
            command.arg(field.name());
        }

        let mut set: Vec<(Field<'_>, Cow<'_, [u8]>)> = Vec::new();
        let owned = |text: String| Cow::Owned(text.into_bytes());
        if before.is_none() {
            set.push((Field::Format, Cow::Borrowed(FORMAT.as_bytes())));
        }
        if let Some((totals, letters)) = &commit.progress {
            set.push((Field::Totals, owned(rows::json(totals))));
            set.push((Field::Letters, owned(letters.to_string())));
        }
        for (epoch, packed) in &commit.bindings {
            set.push((Field::Binding(*epoch), Cow::Borrowed(*packed)));
        }
        for ((topic, name), reached) in &commit.reached {
            set.push((Field::Offset(*topic, name), owned(rows::json(reached))));
        }
        for (key, last) in &commit.keys {
            set.push((Field::Key(key), owned(last.to_string())));
        }
        command.arg(2 * set.len());
        for (field, value) in set {
            command.arg(field.name()).arg(&*value);
        }
        command.wait_for(commit.replicas);
        command
    }

    /// Writes what was prepared; gives back how the ledger stands where it does not stand as its
    /// writer knows it. Repeating it is harmless.
    ///
    /// # Errors
    ///
    /// If Redis fails.
    pub fn commit(&mut self, prepared: &Command) -> Result<Written, Error> {
        match self.client.ask(prepared)? {
            Value::Int(1) => Ok(Written::Done),
            answer => {
                let found: Vec<String> = read(answer)?;
                let some = |nth: usize| {
                    found.get(nth).map(String::as_str).filter(|found| !found.is_empty())
                };
                Ok(Written::Refused(self.stands(some(0), some(1), some(2))?))
            }
        }
    }
}

/// What became of a writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is done, now or by an earlier try.
    Done,
    /// The ledger stands otherwise.
    Refused(Option<Stands>),
}
