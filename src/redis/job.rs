//! What a job keeps in Redis: its ledger, and its key marks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dataflows::Epoch;

use super::client::{Client, read};
use super::command::{Command, Script, script};
use super::error::Error;
use super::names::{JobKeys, all_key_marks, key_mark, of_key_mark};
use super::rows::{self, Dated, FORMAT, Field, KeyMark, Token, text};
use crate::config::{self, Address};
use crate::ledger::{Binding, Mark};
use crate::sink::Totals;
use crate::source::Reached;

static TAKE: Script = script!("take.lua");
static RESET: Script = script!("reset.lua");

/// How long a job counts as running after its last sign of life.
const RUNNING: Duration = Duration::from_secs(10);

/// A job's ledger and key marks, as one thread reads and writes them.
pub struct Job {
    pub(super) client: Client,
    name: String,
    pub(super) keys: JobKeys,
}

/// How a ledger stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stands {
    /// The incarnation that writes it.
    pub token: Token,
    /// The last binding and the mark; nothing before the first write.
    pub at: Option<At>,
}

/// How far a ledger has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The last binding; the mark, where none stands above it.
    pub bound: Dated,
    /// The mark.
    pub mark: Dated,
}

/// All that a ledger holds beside its token.
#[derive(Debug, Default)]
pub struct Rows {
    /// How far it has come.
    pub at: At,
    /// What all epochs up to the mark have read and done.
    pub totals: Totals,
    /// How long the file of dead letters was at the mark, in bytes.
    pub letters: u64,
    /// The bindings that are kept: those above the mark, and those of the last minutes.
    pub bindings: BTreeMap<Epoch, Binding>,
    /// How far every partition had been read at the mark.
    pub reached: Reached,
    /// Of each score key the last epoch up to the mark that touched it.
    pub keys: BTreeMap<String, Dated>,
}

impl Rows {
    /// The mark.
    pub fn mark(&self) -> Mark {
        let Dated { epoch, time } = self.at.mark;
        Mark { epoch, time, totals: self.totals }
    }
}

impl Job {
    /// Makes what reads and writes a job of this name; it connects when it is asked.
    ///
    /// # Errors
    ///
    /// If a url of the configuration is none.
    pub fn new(redis: &config::Redis, name: &str) -> Result<Job, Error> {
        let client = Client::new(redis)?;
        Ok(Job { client, name: name.to_owned(), keys: JobKeys::of(name) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Finds how the ledger stands; nothing where there was never one.
    ///
    /// # Errors
    ///
    /// If Redis fails, or another version has written it.
    pub fn look(&mut self) -> Result<Option<Stands>, Error> {
        let mut command = Command::new("HMGET", &self.keys.ledger);
        command.arg(&["token", "bound", "mark", "format"]);
        let [token, bound, mark, format]: [Option<String>; 4] =
            read::<Vec<Option<String>>>(self.client.ask(&command)?)?
                .try_into()
                .map_err(|found| Error::Garbled { what: format!("{found:?}") })?;
        if let Some(format) = format.filter(|format| format != FORMAT) {
            return Err(self.damaged(format!("format {format}, and this version writes {FORMAT}")));
        }
        self.stands(token.as_deref(), bound.as_deref(), mark.as_deref())
    }

    pub(super) fn stands(
        &self,
        token: Option<&str>,
        bound: Option<&str>,
        mark: Option<&str>,
    ) -> Result<Option<Stands>, Error> {
        fn of<T>(job: &Job, what: &str, parse: fn(&str) -> Option<T>) -> Result<T, Error> {
            parse(what).ok_or_else(|| job.damaged(what.to_owned()))
        }
        let at = match (bound, mark) {
            (Some(bound), Some(mark)) => Some(At {
                bound: of(self, bound, Dated::parse)?,
                mark: of(self, mark, Dated::parse)?,
            }),
            (None, None) => None,
            one => return Err(self.damaged(format!("binding and mark {one:?}"))),
        };
        match token {
            Some(token) => Ok(Some(Stands { token: of(self, token, Token::parse)?, at })),
            None if at.is_some() => Err(self.damaged("a mark without a token".to_owned())),
            None => Ok(None),
        }
    }

    /// Takes a new token where the one that stands was found; says which stands then. Repeating it
    /// is harmless.
    ///
    /// # Errors
    ///
    /// If Redis fails.
    pub fn take(
        &mut self,
        found: Option<Token>,
        token: Token,
        replicas: u32,
    ) -> Result<Token, Error> {
        let mut command = Command::run(&TAKE, &[&self.keys.ledger]);
        command.arg(text(found)).arg(token.to_string()).wait_for(replicas);
        let stands: String = read(self.client.ask(&command)?)?;
        Token::parse(&stands).ok_or_else(|| self.damaged(stands))
    }

    /// Reads the whole ledger; nothing before its first write.
    ///
    /// # Errors
    ///
    /// If Redis fails, or the ledger is damaged.
    pub fn read(&mut self) -> Result<Option<Rows>, Error> {
        let Some(Stands { at: Some(_), .. }) = self.look()? else { return Ok(None) };
        let all = Command::new("HGETALL", &self.keys.ledger);
        let fields: Vec<(Vec<u8>, Vec<u8>)> = read(self.client.ask(&all)?)?;
        let mut rows = Unsorted::default();
        for (name, value) in &fields {
            let known = Field::parse(name).and_then(|field| rows.sort_in(field, value));
            known
                .ok_or_else(|| self.damaged(format!("field {}", String::from_utf8_lossy(name))))?;
        }
        match rows {
            Unsorted {
                bound: Some(bound), mark: Some(mark), totals: Some(totals), rest, ..
            } => Ok(Some(Rows { at: At { bound, mark }, totals, ..rest })),
            _ => Err(self.damaged("no mark".to_owned())),
        }
    }

    /// Reads the key marks of these score keys.
    ///
    /// # Errors
    ///
    /// If Redis fails, or one is damaged.
    pub fn key_marks_of<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Option<KeyMark>>, Error> {
        let marks: Vec<_> = keys.into_iter().map(|key| key_mark(&self.name, key)).collect();
        let gets: Vec<_> = marks.iter().map(|mark| Command::new("GET", mark)).collect();
        let answers = self.client.ask_all(&gets);
        let found = answers.into_iter().zip(marks).map(|(answer, key)| {
            let Some(what) = read::<Option<String>>(answer?)? else { return Ok(None) };
            KeyMark::parse(&what).map(Some).ok_or(Error::Damaged { key, what })
        });
        found.collect()
    }

    /// Looks through all that stands in Redis for the key marks of the job; by score key.
    ///
    /// # Errors
    ///
    /// If Redis fails, or one is damaged.
    pub fn all_key_marks(&mut self) -> Result<BTreeMap<String, KeyMark>, Error> {
        let found = self.client.scan(&all_key_marks(&self.name))?;
        let found: BTreeSet<_> = found
            .iter()
            .filter_map(|mark| of_key_mark(&self.name, std::str::from_utf8(mark).ok()?))
            .map(str::to_owned)
            .collect();
        let marks = self.key_marks_of(found.iter().map(String::as_str))?;
        // What went away since it was found is not there.
        Ok(found.into_iter().zip(marks).filter_map(|(key, mark)| Some((key, mark?))).collect())
    }

    /// Puts key marks where they are taken as they stand.
    ///
    /// # Errors
    ///
    /// If Redis fails.
    pub fn set_key_marks(&mut self, marks: &BTreeMap<String, KeyMark>) -> Result<(), Error> {
        let set = |(key, mark): (&String, &KeyMark)| {
            let mut set = Command::new("SET", &key_mark(&self.name, key));
            set.arg(mark.to_string());
            set
        };
        let sets: Vec<_> = marks.iter().map(set).collect();
        self.client.ask_all(&sets).into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// Deletes the ledger, all but a token, and all key marks. Repeating it is harmless; where it
    /// ends early, key marks are left without a ledger.
    ///
    /// # Errors
    ///
    /// If Redis fails.
    pub fn reset(&mut self, token: Token) -> Result<(), Error> {
        let mut reset = Command::run(&RESET, &[&self.keys.ledger]);
        reset.arg(token.to_string());
        self.client.ask(&reset)?;
        let marks: Vec<_> = self.all_key_marks()?.into_keys().collect();
        let marks = marks.iter().map(|key| key_mark(&self.name, key));
        let signs = [&self.keys.freshness, &self.keys.running].map(String::clone);
        let deletes: Vec<_> = marks.chain(signs).map(|key| Command::new("DEL", &key)).collect();
        self.client.ask_all(&deletes).into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// Says that the job runs, and up to which time all is visible, in milliseconds since 1970, where
    /// that is known.
    ///
    /// # Errors
    ///
    /// If Redis fails.
    pub fn say(&mut self, token: Token, freshness: Option<u64>) -> Result<(), Error> {
        let mut running = Command::new("SET", &self.keys.running);
        running.arg(token.number).arg("PX").arg(RUNNING.as_millis() as u64);
        let mut signs = vec![running];
        if let Some(time) = freshness {
            let mut fresh = Command::new("SET", &self.keys.freshness);
            fresh.arg(time);
            signs.push(fresh);
        }
        self.client.ask_all(&signs).into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// What each master does when its memory is full: its `maxmemory-policy`.
    ///
    /// # Errors
    ///
    /// If Redis fails.
    pub fn policies(&mut self) -> Result<Vec<(Address, String)>, Error> {
        let mut info = ::redis::cmd("INFO");
        info.arg("memory");
        let masters = self.client.masters()?;
        let policy = |node: Address| {
            let text: String = read(self.client.ask_node(&node, &info)?)?;
            let policy = text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
            Ok((node, policy.unwrap_or_default().trim().to_owned()))
        };
        masters.into_iter().map(policy).collect()
    }

    /// Whether the job runs: it has given a sign of life a few seconds ago.
    ///
    /// # Errors
    ///
    /// If Redis fails.
    pub fn is_running(&mut self) -> Result<bool, Error> {
        let exists = Command::new("EXISTS", &self.keys.running);
        read(self.client.ask(&exists)?)
    }

    /// The time up to which all is visible, in milliseconds since 1970, as the job has said last; nothing
    /// where it never did.
    ///
    /// # Errors
    ///
    /// If Redis fails.
    pub fn freshness(&mut self) -> Result<Option<u64>, Error> {
        let get = Command::new("GET", &self.keys.freshness);
        read(self.client.ask(&get)?)
    }

    fn damaged(&self, what: String) -> Error {
        Error::Damaged { key: self.keys.ledger.clone(), what }
    }
}

/// The fields of a ledger, as they come.
#[derive(Default)]
struct Unsorted {
    bound: Option<Dated>,
    mark: Option<Dated>,
    totals: Option<Totals>,
    rest: Rows,
}

impl Unsorted {
    /// Takes a field in; nothing where it is none that this version writes.
    fn sort_in(&mut self, field: Field<'_>, value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        match field {
            Field::Token | Field::Format => {}
            Field::Bound => self.bound = Some(Dated::parse(text()?)?),
            Field::Mark => self.mark = Some(Dated::parse(text()?)?),
            Field::Totals => self.totals = Some(rows::from_json(value)?),
            Field::Letters => self.rest.letters = text()?.parse().ok()?,
            Field::Binding(epoch) => {
                let binding = rows::to_binding(value).filter(|binding| binding.epoch == epoch)?;
                self.rest.bindings.insert(epoch, binding);
            }
            Field::Offset(topic, name) => {
                self.rest.reached.insert((topic, name.to_owned()), rows::from_json(value)?);
            }
            Field::Key(key) => {
                self.rest.keys.insert(key.to_owned(), Dated::parse(text()?)?);
            }
        }
        Some(())
    }
}
