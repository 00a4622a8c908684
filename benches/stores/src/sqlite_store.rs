//! SQLite: a B-tree with a write-ahead log, a connection a thread.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Batch, Reader, Store, Writer};

/// The path of an SQLite file.
pub struct Sqlite(PathBuf);

struct Session(Connection);

impl Sqlite {
    /// Makes the tables in a new file.
    pub fn open(dir: &Path) -> Result<Self> {
        let store = Self(dir.join("sqlite"));
        store.connect()?.0.execute_batch(
            "CREATE TABLE recalls (cell BLOB, version INTEGER, list BLOB, PRIMARY KEY (cell, version)) WITHOUT ROWID;
             CREATE TABLE hot (key BLOB PRIMARY KEY, score INTEGER) WITHOUT ROWID;
             CREATE TABLE ledger (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID;",
        )?;
        Ok(store)
    }

    fn connect(&self) -> Result<Session> {
        let connection = Connection::open(&self.0)?;
        connection.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32768; PRAGMA wal_autocheckpoint=8000;",
        )?;
        Ok(Session(connection))
    }
}

impl Store for Sqlite {
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(self.connect()?))
    }
    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        Ok(Box::new(self.connect()?))
    }
    fn recalls(&self) -> Result<u64> {
        Ok(self
            .connect()?
            .0
            .query_row("SELECT count(*) FROM recalls", [], |row| row.get::<_, i64>(0))?
            as u64)
    }
}

impl Reader for Session {
    fn versions(&mut self, cell: &[u8]) -> Result<u32> {
        let mut rows =
            self.0.prepare_cached("SELECT list FROM recalls WHERE cell = ?1 ORDER BY version")?;
        let mut rows = rows.query([cell])?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            std::hint::black_box(row.get_ref(0)?.as_blob()?);
            found += 1;
        }
        Ok(found)
    }
}

impl Writer for Session {
    fn score(&mut self, key: &[u8]) -> Result<u64> {
        let mut select = self.0.prepare_cached("SELECT score FROM hot WHERE key = ?1")?;
        Ok(select.query_row([key], |row| row.get::<_, i64>(0)).optional()?.unwrap_or(0) as u64)
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let write = self.0.transaction()?;
        {
            let mut insert = write.prepare_cached("INSERT INTO recalls VALUES (?1, ?2, ?3)")?;
            for recall in &batch.recalls {
                insert.execute(params![recall.cell, recall.version, recall.list.as_slice()])?;
            }
            let mut score = write.prepare_cached("INSERT OR REPLACE INTO hot VALUES (?1, ?2)")?;
            for (key, value) in &batch.scores {
                score.execute(params![key, *value as i64])?;
            }
            write
                .prepare_cached("INSERT OR REPLACE INTO ledger VALUES ('ledger', ?1)")?
                .execute([&batch.ledger])?;
        }
        Ok(write.commit()?)
    }
}
