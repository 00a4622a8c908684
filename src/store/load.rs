//! Loads tables from files into the store: all of a file, or nothing.
//!
//! ```text
//!  lines ─▶ staged rows ─▶ LOADING is durable ─▶ rows replaced, batch by batch ─▶ LOADING goes
//!     │                          │
//!     └ a bad line: all staged   └ cut off here: the next opening goes on with the staged rows,
//!       rows are dropped           replacing a row again is harmless
//! ```
//!
//! The lines of one row may stand anywhere in the file; [`Staging`] sorts them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use dataflows::{Channel, User};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::rows::{self, List, SimilarRow, Version, encode};
use super::staging::Staging;
use super::{LOADING, REPLAY, Store};
use crate::failpoint;
use crate::text;

/// The longest line of a table.
const MAX_LINE: u64 = 16 << 20;

/// What the keys of staged neighbours begin with.
const SIMILAR: &str = "s";

/// What the keys of staged versions begin with.
const HISTORY: &str = "h";

/// How many rows are written in one go.
const BATCH: usize = 4096;

/// Why a table was not loaded; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not as it must be.
    #[error("{}:{line}: {mistake}; nothing of the file was loaded", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        mistake: Mistake,
    },
}

/// What may be wrong with a line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// It has not the fields of a neighbour.
    #[error("a line of similar articles is ARTICLE<tab>NEIGHBOUR<tab>VALUE")]
    SimilarFields,
    /// It has not the fields of a version.
    #[error("a line of histories is USER<tab>CHANNEL<tab>TIMESTAMP<tab>LIST")]
    HistoryFields,
    /// An id is none.
    #[error("ARTICLE must be a decimal integer without blanks, plus or leading zeros")]
    Article,
    /// An id is none.
    #[error("NEIGHBOUR must be a decimal integer without blanks, plus or leading zeros")]
    Neighbour,
    /// A value is none.
    #[error("VALUE must be a finite number")]
    Value,
    /// A user is none.
    #[error("USER must be 1 to 256 bytes, with tab, newline and backslash escaped")]
    User,
    /// A channel is none.
    #[error("CHANNEL must be an integer from 0 to 2147483647")]
    Channel,
    /// A timestamp is none.
    #[error("TIMESTAMP must be milliseconds since 1970, at most 15 digits")]
    Timestamp,
    /// It does not end.
    #[error("the line is longer than 16 MiB")]
    TooLong,
}

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// Lines of similar articles.
    pub neighbours: u64,
    /// Lines of histories.
    pub versions: u64,
}

/// The durable statement that the staged rows are complete, and are to replace those that they name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Loading {
    loaded_until: u64,
    /// How many lines are staged of neighbours and of versions: of two with one key the later counts.
    staged: [u64; 2],
}

impl Store {
    /// Loads tables of similar articles and of histories. Each row that a file names is replaced.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or has a bad line: then nothing is loaded.
    pub fn load(
        &self,
        similar: Option<&Path>,
        history: Option<&Path>,
    ) -> Result<Loaded, super::Error> {
        let staging = Staging::begin(&self.dir)?;
        let mut loading = Loading::default();
        let loaded = stage(&staging, similar, history, &mut loading);
        if loaded.is_ok() {
            staging.persist()?;
            loading.staged = [count(&staging, SIMILAR)?, count(&staging, HISTORY)?];
            let mut batch = self.batch();
            batch.insert(&self.ledger, LOADING, encode(&loading));
            self.commit(batch)?;
            failpoint::reach("load-staged");
            self.replace(&staging, &loading)?;
            self.settle()?;
        }
        drop(staging);
        Staging::sweep(&self.dir)?;
        loaded
    }

    /// Ends what a load that was cut off has begun, one way or the other.
    pub(super) fn finish_loading(&self) -> Result<(), super::Error> {
        if let Some(loading) = self.row::<Loading>(&self.ledger, LOADING)? {
            self.replace(&Staging::resume(&self.dir)?, &loading)?;
        }
        Staging::sweep(&self.dir)
    }

    fn replace(&self, staging: &Staging, loading: &Loading) -> Result<(), super::Error> {
        // Its database might have lost some of them, and not know.
        let staged = [count(staging, SIMILAR)?, count(staging, HISTORY)?];
        if staged != loading.staged {
            let what = format!("of {:?} staged lines {staged:?} are left", loading.staged);
            return Err(super::Error::Damaged { dir: self.dir.clone(), what });
        }
        self.replace_similar(staging)?;
        failpoint::reach("load-similar-replaced");
        self.replace_histories(staging)?;
        failpoint::reach("load-histories-replaced");
        let mut replay = self.replay()?;
        replay.loaded_until = replay.loaded_until.max(loading.loaded_until);
        let mut batch = self.batch();
        batch.insert(&self.ledger, REPLAY, encode(&replay));
        batch.remove(&self.ledger, LOADING);
        self.commit(batch)?;
        failpoint::reach("load-done");
        Ok(())
    }

    fn replace_similar(&self, staging: &Staging) -> Result<(), super::Error> {
        let mut batch = self.batch();
        let mut row: (Vec<u8>, SimilarRow) = Default::default();
        for pair in staging.lines(SIMILAR) {
            let (key, value) = pair?;
            let damaged = || self.damaged("staged", &key);
            let tab = memchr::memchr(b'\t', &key).ok_or_else(damaged)?;
            let neighbour = text::article(&key[tab + 1..]).ok_or_else(damaged)?;
            let value = String::from_utf8(value.to_vec()).map_err(|_| damaged())?;
            if row.0 != key[1..tab] {
                self.replace_row(&mut batch, std::mem::take(&mut row))?;
                row.0 = key[1..tab].to_owned();
            }
            row.1.push((neighbour, value));
        }
        self.replace_row(&mut batch, row)?;
        self.commit(batch)
    }

    fn replace_row(
        &self,
        batch: &mut fjall::OwnedWriteBatch,
        (article, row): (Vec<u8>, SimilarRow),
    ) -> Result<(), super::Error> {
        if !row.is_empty() {
            batch.insert(&self.similar, article, encode(&row));
        }
        if batch.len() >= BATCH {
            self.commit(std::mem::replace(batch, self.batch()))?;
        }
        Ok(())
    }

    fn replace_histories(&self, staging: &Staging) -> Result<(), super::Error> {
        let mut batch = self.batch();
        // The row that is being read: its user, escaped, and its versions with their channels.
        let mut row: (Vec<u8>, Vec<(Channel, Version)>) = Default::default();
        for pair in staging.lines(HISTORY) {
            let (key, list) = pair?;
            let damaged = || self.damaged("staged", &key);
            let fields: Vec<_> = key[1..].split(|byte| *byte == b'\t').collect();
            let [user, channel, timestamp] = fields[..] else { return Err(damaged()) };
            let channel = text::channel(channel).ok_or_else(damaged)?;
            let timestamp = text::milliseconds(timestamp).ok_or_else(damaged)?;
            if row.0 != user {
                self.replace_history(&mut batch, std::mem::take(&mut row))?;
                row.0 = user.to_owned();
            }
            row.1.push((channel, Version { timestamp, list: List::Loaded(list.to_vec()) }));
        }
        self.replace_history(&mut batch, row)?;
        self.commit(batch)
    }

    /// Replaces the history of a user in all channels; what stands in cb_recall stays.
    fn replace_history(
        &self,
        batch: &mut fjall::OwnedWriteBatch,
        (user, loaded): (Vec<u8>, Vec<(Channel, Version)>),
    ) -> Result<(), super::Error> {
        if loaded.is_empty() {
            return Ok(());
        }
        let user = text::unescape(&user).ok_or_else(|| self.damaged("staged", &user))?;
        let mut versions = Vec::new();
        for row in self.versions(rows::user_prefix(&user)) {
            let (key, Version { timestamp, list }) = row?;
            let damaged = || self.damaged("cells", &key);
            let (_, channel, _) = rows::cell_fields(&key).ok_or_else(damaged)?;
            let channel = text::channel(channel).ok_or_else(damaged)?;
            match list {
                List::Recalled(articles) | List::Mailbox(articles) => {
                    versions.push((channel, Version { timestamp, list: List::Mailbox(articles) }));
                }
                List::Loaded(_) => {}
            }
            batch.remove(&self.cells, key);
        }
        versions.extend(loaded);
        versions.sort_by_key(|(channel, version)| (*channel, version.timestamp));
        let user = User::from_bytes(&user);
        for cell in versions.chunk_by(|(a, _), (b, _)| a == b) {
            for ((channel, version), number) in cell.iter().zip(0..) {
                batch.insert(&self.cells, rows::cell(&user, *channel, number), encode(version));
            }
        }
        if batch.len() >= BATCH {
            self.commit(std::mem::replace(batch, self.batch()))?;
        }
        Ok(())
    }
}

/// Stages the lines of the files that are given.
fn stage(
    staging: &Staging,
    similar: Option<&Path>,
    history: Option<&Path>,
    loading: &mut Loading,
) -> Result<Loaded, super::Error> {
    let mut loaded = Loaded::default();
    if let Some(file) = similar {
        loaded.neighbours = stage_file(staging, file, |line| {
            let fields: Vec<_> = line.split(|byte| *byte == b'\t').collect();
            let [article, neighbour, value] = fields[..] else {
                return Err(Mistake::SimilarFields);
            };
            text::article(article).ok_or(Mistake::Article)?;
            text::article(neighbour).ok_or(Mistake::Neighbour)?;
            text::similar_value(value).ok_or(Mistake::Value)?;
            Ok(([SIMILAR.as_bytes(), article, b"\t", neighbour].concat(), value.to_owned()))
        })?;
    }
    if let Some(file) = history {
        loaded.versions = stage_file(staging, file, |line| {
            let fields: Vec<_> = line.splitn(4, |byte| *byte == b'\t').collect();
            let [user, channel, timestamp, list] = fields[..] else {
                return Err(Mistake::HistoryFields);
            };
            let user = text::unescape(user).ok_or(Mistake::User)?;
            if !(1..=256).contains(&user.len()) {
                return Err(Mistake::User);
            }
            text::channel(channel).ok_or(Mistake::Channel)?;
            let number = text::milliseconds(timestamp).ok_or(Mistake::Timestamp)?;
            loading.loaded_until = loading.loaded_until.max(number);
            let user = rows::user_prefix(&user);
            // Written as a number: `5` and `05` are one timestamp.
            let timestamp = number.to_string();
            let key =
                [HISTORY.as_bytes(), &user[..], channel, b"\t", timestamp.as_bytes()].concat();
            Ok((key, list.to_owned()))
        })?;
    }
    Ok(loaded)
}

/// Stages every line of a file as `row` says; returns how many there are.
fn stage_file(
    staging: &Staging,
    file: &Path,
    mut row: impl FnMut(&[u8]) -> Result<(Vec<u8>, Vec<u8>), Mistake>,
) -> Result<u64, super::Error> {
    let failed = |source| Error::Read { file: file.to_owned(), source };
    let mut reader = open(file).map_err(failed)?;
    let (mut line, mut number) = (Vec::new(), 0);
    let mut lines = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            break;
        }
        number += 1;
        let bad = |mistake| Error::Line { file: file.to_owned(), line: number, mistake };
        match line.pop_if(|byte| *byte == b'\n') {
            Some(_) => drop(line.pop_if(|byte| *byte == b'\r')),
            None if read as u64 == MAX_LINE => return Err(bad(Mistake::TooLong).into()),
            None => drop(line.pop_if(|byte| *byte == b'\r')),
        }
        let (key, value) = row(&line).map_err(bad)?;
        lines.push((key, value));
        if lines.len() == BATCH {
            staging.put(&mut lines)?;
            failpoint::reach("load-staging");
        }
    }
    staging.put(&mut lines)?;
    failpoint::reach("load-staging");
    Ok(number)
}

fn count(staging: &Staging, prefix: &str) -> Result<u64, super::Error> {
    staging.lines(prefix).try_fold(0, |count, line| line.map(|_| count + 1))
}

fn open(file: &Path) -> io::Result<BufReader<Box<dyn Read>>> {
    let opened = File::open(file)?;
    Ok(BufReader::new(if file.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(opened))
    } else {
        Box::new(opened)
    }))
}
