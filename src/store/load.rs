//! Loads tables from files into the store: all of a file, or nothing.
//!
//! ```text
//!  lines ─▶ staged rows ─▶ LOADING is durable ─▶ rows replaced, batch by batch ─▶ LOADING goes
//!     │                          │
//!     └ a bad line: all staged   └ cut off here: the next opening goes on with the staged rows,
//!       rows are dropped           replacing a row again is harmless
//! ```
//!
//! The lines of one row may stand anywhere in the file; staging sorts them, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use dataflows::{Channel, User};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::rows::{self, List, SimilarRow, Version, encode};
use super::{LOADING, REPLAY, Store};
use crate::failpoint;
use crate::text;

/// The longest line of a table.
const MAX_LINE: u64 = 16 << 20;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Loading {
    loaded_until: u64,
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
        self.drop_staged()?;
        let mut loading = Loading { loaded_until: 0 };
        let staged = self.stage(similar, history, &mut loading);
        if staged.is_err() {
            self.drop_staged()?;
        }
        let loaded = staged?;
        let mut batch = self.batch();
        batch.insert(&self.ledger, LOADING, encode(&loading));
        self.commit(batch)?;
        failpoint::reach("load-staged");
        self.finish_loading()?;
        Ok(loaded)
    }

    /// Ends what a load that was cut off has begun, one way or the other.
    pub(super) fn finish_loading(&self) -> Result<(), super::Error> {
        let Some(loading) = self.row::<Loading>(&self.ledger, LOADING)? else {
            return self.drop_staged();
        };
        self.replace_similar()?;
        failpoint::reach("load-similar-replaced");
        self.replace_histories()?;
        failpoint::reach("load-histories-replaced");
        let mut replay = self.replay()?;
        replay.loaded_until = replay.loaded_until.max(loading.loaded_until);
        let mut batch = self.batch();
        batch.insert(&self.ledger, REPLAY, encode(&replay));
        batch.remove(&self.ledger, LOADING);
        self.commit(batch)?;
        failpoint::reach("load-done");
        self.drop_staged()
    }

    fn drop_staged(&self) -> Result<(), super::Error> {
        // Asked first, since clearing costs files and flushes even where nothing stands.
        if self.pairs(&self.staged, "").next().is_none() {
            return Ok(());
        }
        self.staged.clear().map_err(|error| super::Error::of(&self.dir, "write to", error))
    }

    fn stage(
        &self,
        similar: Option<&Path>,
        history: Option<&Path>,
        loading: &mut Loading,
    ) -> Result<Loaded, super::Error> {
        let mut loaded = Loaded::default();
        if let Some(file) = similar {
            loaded.neighbours = self.stage_file(file, |line| {
                let fields: Vec<_> = line.split(|byte| *byte == b'\t').collect();
                let [article, neighbour, value] = fields[..] else {
                    return Err(Mistake::SimilarFields);
                };
                text::article(article).ok_or(Mistake::Article)?;
                text::article(neighbour).ok_or(Mistake::Neighbour)?;
                text::similar_value(value).ok_or(Mistake::Value)?;
                Ok(([b"s", article, b"\t", neighbour].concat(), value.to_owned()))
            })?;
        }
        if let Some(file) = history {
            loaded.versions = self.stage_file(file, |line| {
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
                let key = [b"h", &user[..], channel, b"\t", timestamp.as_bytes()].concat();
                Ok((key, list.to_owned()))
            })?;
        }
        Ok(loaded)
    }

    /// Stages every line of a file as `row` says; returns how many there are.
    fn stage_file(
        &self,
        file: &Path,
        mut row: impl FnMut(&[u8]) -> Result<(Vec<u8>, Vec<u8>), Mistake>,
    ) -> Result<u64, super::Error> {
        let failed = |source| Error::Read { file: file.to_owned(), source };
        let mut reader = open(file).map_err(failed)?;
        let (mut line, mut number) = (Vec::new(), 0);
        let mut batch = self.batch();
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
            batch.insert(&self.staged, key, value);
            if batch.len() == BATCH {
                self.commit(std::mem::replace(&mut batch, self.batch()))?;
                failpoint::reach("load-staging");
            }
        }
        self.commit(batch)?;
        failpoint::reach("load-staging");
        Ok(number)
    }

    fn replace_similar(&self) -> Result<(), super::Error> {
        let mut batch = self.batch();
        let mut row: (Vec<u8>, SimilarRow) = Default::default();
        for pair in self.pairs(&self.staged, "s") {
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

    fn replace_histories(&self) -> Result<(), super::Error> {
        let mut batch = self.batch();
        // The row that is being read: its user, escaped, and its versions with their channels.
        let mut row: (Vec<u8>, Vec<(Channel, Version)>) = Default::default();
        for pair in self.pairs(&self.staged, "h") {
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

fn open(file: &Path) -> io::Result<BufReader<Box<dyn Read>>> {
    let opened = File::open(file)?;
    Ok(BufReader::new(if file.extension().is_some_and(|extension| extension == "gz") {
        Box::new(MultiGzDecoder::new(opened))
    } else {
        Box::new(opened)
    }))
}
