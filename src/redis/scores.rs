//! Scores: one script a key and part of an epoch, which looks at the key mark, applies, and moves it.

use ::redis::Value;
use dataflows::Article;

use super::client::read;
use super::command::{Command, Script, script};
use super::error::Error;
use super::names::{JobKeys, key_mark};
use super::rows::{self, KeyMark, Token};
use crate::text::seconds;

static SCORE: Script = script!("score.lua");

/// A part of what an epoch does to a score key.
#[derive(Debug)]
pub struct Part<'a> {
    /// The score key.
    pub key: &'a str,
    /// Whether numbers are added to scores, or become them.
    pub adds: bool,
    /// The key mark that must stand.
    pub before: Option<KeyMark>,
    /// The key mark afterwards.
    pub after: KeyMark,
    /// The articles, each with its number: a weight, or milliseconds since 1970.
    pub changes: &'a [(Article, u64)],
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scored {
    /// It was applied.
    Now,
    /// It was not: this key mark stands.
    Not(Option<KeyMark>),
    /// It was not: the ledger is none of this incarnation's, or gone.
    Disowned,
}

/// Prepares a part, so that it can be tried many times: it is applied once. Where the ledger is on the same
/// server, only while this token stands in it.
pub fn prepare(job: &str, part: &Part<'_>, token: Option<Token>) -> Command {
    let mark = key_mark(job, part.key);
    let mut command = match token {
        Some(_) => Command::run(&SCORE, &[part.key, &mark, &JobKeys::of(job).ledger]),
        None => Command::run(&SCORE, &[part.key, &mark]),
    };
    command.arg(rows::text(token));
    command.arg(if part.adds { "add" } else { "set" });
    command.arg(rows::text(part.before)).arg(part.after.to_string());
    for (article, number) in part.changes {
        if part.adds {
            command.arg(*number);
        } else {
            command.arg(seconds(*number));
        }
        command.arg(article.0);
    }
    command
}

/// Reads the answer to a part.
///
/// # Errors
///
/// If Redis failed, or the key mark is damaged.
pub fn scored(job: &str, key: &str, answer: Result<Value, Error>) -> Result<Scored, Error> {
    match answer? {
        Value::Int(1) => Ok(Scored::Now),
        Value::Int(0) => Ok(Scored::Disowned),
        answer => {
            let what: String = read(answer)?;
            if what.is_empty() {
                return Ok(Scored::Not(None));
            }
            let damaged = || Error::Damaged { key: key_mark(job, key), what: what.clone() };
            KeyMark::parse(&what).map(|mark| Scored::Not(Some(mark))).ok_or_else(damaged)
        }
    }
}
