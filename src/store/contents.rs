//! What stands in a store that is open: rows are read, and written in batches.

use std::sync::PoisonError;

use fjall::{AbstractTree, Keyspace, PersistMode};
use serde::de::DeserializeOwned;

use super::rows::{self, List, Replay, SimilarRow, Version, encode};
use super::{COMMITS, Error, MARK, REPLAY, SETTLED_BYTES, Store, failed, seal, wait};
use crate::ledger::Mark;
use crate::source::files::Position;
use crate::source::{self, Range, Reached, Topic};

impl Store {
    /// The last epoch wholly done.
    ///
    /// # Errors
    ///
    /// If the row cannot be read.
    pub fn mark(&self) -> Result<Mark, Error> {
        Ok(self.row(&self.ledger, MARK)?.unwrap_or_default())
    }

    /// What it knows of replays.
    ///
    /// # Errors
    ///
    /// If the row cannot be read.
    pub fn replay(&self) -> Result<Replay, Error> {
        Ok(self.row(&self.ledger, REPLAY)?.unwrap_or_default())
    }

    /// How far every file has been read.
    ///
    /// # Errors
    ///
    /// If a row cannot be read.
    pub fn positions(&self) -> Result<Vec<(Topic, Vec<u8>, Position)>, Error> {
        self.rows(&self.files, "")
            .map(|row| {
                let (key, position) = row?;
                let (topic, path) =
                    rows::file_fields(&key).ok_or_else(|| self.damaged("files", &key))?;
                Ok((topic, path.to_owned(), position))
            })
            .collect()
    }

    /// The neighbours of every article, or of the one whose id is given, in the order of the keys.
    pub fn similar(
        &self,
        article: Option<&str>,
    ) -> impl Iterator<Item = Result<(Vec<u8>, SimilarRow), Error>> + '_ {
        let article = article.unwrap_or_default().as_bytes().to_owned();
        self.rows(&self.similar, article.clone()).filter(move |row| match row {
            Ok((key, _)) => article.is_empty() || *key == article,
            Err(_) => true,
        })
    }

    /// The versions whose keys begin like this: key and version, in the order of the keys.
    pub fn versions(
        &self,
        prefix: impl AsRef<[u8]>,
    ) -> impl Iterator<Item = Result<(Vec<u8>, Version), Error>> + '_ {
        self.rows(&self.cells, prefix)
    }

    /// The latest timestamp of a loaded version of a history; 0 if there is none.
    ///
    /// # Errors
    ///
    /// If a row cannot be read.
    pub fn newest_loaded(&self) -> Result<u64, Error> {
        self.versions("").try_fold(0, |newest, row| {
            let (_, version) = row?;
            let loaded = matches!(version.list, List::Loaded(_));
            Ok(if loaded { newest.max(version.timestamp) } else { newest })
        })
    }

    /// The scores, hot or new, whose keys begin like this.
    pub fn scores<'a>(
        &'a self,
        scores: &'a Keyspace,
        prefix: &str,
    ) -> impl Iterator<Item = Result<(String, u64), Error>> + 'a {
        self.pairs(scores, prefix).map(|pair| {
            let (key, value) = pair?;
            let damaged = || self.damaged(scores.name(), &key);
            let number = rows::number(&value).ok_or_else(damaged)?;
            Ok((String::from_utf8(key.to_vec()).map_err(|_| damaged())?, number))
        })
    }

    /// The version of a cell that has this key.
    pub(crate) fn version(&self, key: &[u8]) -> Result<Option<Version>, Error> {
        self.row(&self.cells, key)
    }

    /// A batch of writes that becomes durable as a whole, or not at all.
    pub(crate) fn batch(&self) -> fjall::OwnedWriteBatch {
        self.db.batch().durability(Some(PersistMode::SyncData))
    }

    /// Makes a batch durable.
    pub(crate) fn commit(&self, mut batch: fjall::OwnedWriteBatch) -> Result<(), Error> {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let next = commits.0 + 1;
        batch.insert(&self.ledger, COMMITS, encode(&next));
        batch.commit().map_err(|error| Error::of(&self.dir, "write to", error))?;
        commits.0 = next;
        commits.1.put(next).map_err(failed(&self.dir, "write to"))?;
        seal(&self.db, &self.dir, &self.large())
    }

    /// The keyspaces that may become large.
    fn large(&self) -> [&Keyspace; 5] {
        [&self.cells, &self.hot, &self.new, &self.similar, &self.letters]
    }

    /// Writes what is in memory into tables, where that is much: the next opening need not put it there
    /// again from the journal.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        let failed = |error| Error::of(&self.dir, "write to", error);
        let much = |keyspace: &&Keyspace| keyspace.tree.active_memtable().size() > SETTLED_BYTES;
        for keyspace in self.large().into_iter().filter(much) {
            keyspace.rotate_memtable().map_err(failed)?;
        }
        self.large().into_iter().try_for_each(|keyspace| wait(&self.db, &self.dir, keyspace, 1))
    }

    /// Adds to a batch that the mark moves, and what is known of replays.
    pub(crate) fn put_mark(
        &self,
        batch: &mut fjall::OwnedWriteBatch,
        mark: &Mark,
        replay: &Replay,
    ) {
        batch.insert(&self.ledger, MARK, encode(mark));
        batch.insert(&self.ledger, REPLAY, encode(replay));
    }

    /// Keeps the new names of files.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn rename(&self, files: &[Range]) -> Result<(), Error> {
        if files.is_empty() {
            return Ok(());
        }
        let mut batch = self.batch();
        files.iter().for_each(|range| self.put_range(&mut batch, range));
        self.commit(batch)
    }

    /// How far every partition of a topic has been read.
    ///
    /// # Errors
    ///
    /// If a row cannot be read.
    pub(crate) fn reached(&self) -> Result<Reached, Error> {
        self.rows(&self.ledger, rows::OFFSET)
            .map(|row| {
                let (key, rows::Offset { next, last }) = row?;
                let (topic, partition) =
                    rows::offset_fields(&key).ok_or_else(|| self.damaged("ledger", &key))?;
                Ok(((topic, partition.to_owned()), (next, source::Position::Topic(last))))
            })
            .collect()
    }

    /// Keeps where every partition of a topic begins.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn begin(&self, reached: &Reached) -> Result<(), Error> {
        let mut batch = self.batch();
        for ((topic, partition), (to, position)) in reached {
            self.put_position(&mut batch, *topic, partition, *to, position);
        }
        self.commit(batch)
    }

    /// Adds to a batch how far an epoch has read a partition.
    pub(crate) fn put_range(&self, batch: &mut fjall::OwnedWriteBatch, range: &Range) {
        self.put_position(batch, range.topic, &range.partition, range.to, &range.position);
    }

    fn put_position(
        &self,
        batch: &mut fjall::OwnedWriteBatch,
        topic: Topic,
        partition: &[u8],
        next: u64,
        position: &source::Position,
    ) {
        match position {
            source::Position::File(position) => {
                batch.insert(&self.files, rows::file(topic, partition), encode(position));
                if let Some(former) = &position.renamed_from {
                    batch.remove(&self.files, rows::file(topic, former));
                }
            }
            source::Position::Topic(last) => {
                let offset = rows::Offset { next, last: *last };
                batch.insert(&self.ledger, rows::offset(topic, partition), encode(&offset));
            }
        }
    }

    /// A value as it stands.
    pub(crate) fn value(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<fjall::UserValue>, Error> {
        keyspace.get(key).map_err(|error| Error::of(&self.dir, "read", error))
    }

    pub(super) fn row<R: DeserializeOwned>(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<R>, Error> {
        let Some(value) = self.value(keyspace, key.as_ref())? else { return Ok(None) };
        match postcard::from_bytes(&value) {
            Ok(row) => Ok(Some(row)),
            Err(_) => Err(self.damaged(keyspace.name(), key.as_ref())),
        }
    }

    fn rows<'a, R: DeserializeOwned + 'a>(
        &'a self,
        keyspace: &'a Keyspace,
        prefix: impl AsRef<[u8]>,
    ) -> impl Iterator<Item = Result<(Vec<u8>, R), Error>> + 'a {
        self.typed(keyspace, keyspace.prefix(prefix))
    }

    fn typed<'a, R: DeserializeOwned + 'a>(
        &'a self,
        keyspace: &'a Keyspace,
        rows: fjall::Iter,
    ) -> impl Iterator<Item = Result<(Vec<u8>, R), Error>> + 'a {
        rows.map(|guard| {
            let row = guard.into_inner();
            let (key, value) = row.map_err(|error| Error::of(&self.dir, "read", error))?;
            match postcard::from_bytes(&value) {
                Ok(row) => Ok((key.to_vec(), row)),
                Err(_) => Err(self.damaged(keyspace.name(), &key)),
            }
        })
    }

    /// The keys and values of a keyspace, of the keys that begin like this, in their order.
    pub(crate) fn pairs<'a>(
        &'a self,
        keyspace: &'a Keyspace,
        prefix: impl AsRef<[u8]>,
    ) -> impl Iterator<Item = Result<fjall::KvPair, Error>> + 'a {
        keyspace
            .prefix(prefix)
            .map(|guard| guard.into_inner().map_err(|error| Error::of(&self.dir, "read", error)))
    }

    /// Says that a row is not as it was written.
    pub(crate) fn damaged(&self, keyspace: &str, key: &[u8]) -> Error {
        let what = format!("row `{}` of {keyspace} cannot be read", key.escape_ascii());
        Error::Damaged { dir: self.dir.clone(), what }
    }
}
