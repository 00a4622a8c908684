//! fjall: a log-structured merge tree a keyspace, one journal for all.

use std::path::Path;

use anyhow::Result;
use fjall::config::{CompressionPolicy, PinningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use crate::pattern::row_key;
use crate::{Batch, Reader, Store, Writer};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A fjall database with a keyspace a table.
pub struct Fjall {
    database: Database,
    recalls: Keyspace,
    hot: Keyspace,
    ledger: Keyspace,
}

impl Fjall {
    /// Opens a new database with the options that were measured to be best.
    pub fn tuned(dir: &Path) -> Result<Self> {
        let builder = Database::builder(dir)
            .cache_size(16 * MIB)
            // Of two or more workers one spins on its queue while another compacts.
            .worker_threads(1)
            .max_journaling_size(64 * MIB);
        let options = |memtable| {
            KeyspaceCreateOptions::default()
                .max_memtable_size(memtable)
                // Ids and times as varints do not compress.
                .data_block_compression_policy(CompressionPolicy::disabled())
                // A whole filter is one block: it does not fit a shard of a small cache, and would
                // be read from the file at every look-up.
                .filter_block_pinning_policy(PinningPolicy::all(true))
                .index_block_pinning_policy(PinningPolicy::all(true))
        };
        Self::open(builder.open()?, |name| match name {
            "recalls" => options(8 * MIB),
            "hot" => options(2 * MIB),
            // Flushed seldom, it would keep all journals alive.
            _ => options(128 * KIB),
        })
    }

    /// Opens a new database as fjall comes.
    pub fn untuned(dir: &Path) -> Result<Self> {
        Self::open(Database::builder(dir).open()?, |_| KeyspaceCreateOptions::default())
    }

    fn open(database: Database, options: impl Fn(&str) -> KeyspaceCreateOptions) -> Result<Self> {
        let keyspace = |name: &str| database.keyspace(name, || options(name));
        Ok(Self {
            recalls: keyspace("recalls")?,
            hot: keyspace("hot")?,
            ledger: keyspace("ledger")?,
            database,
        })
    }
}

impl Store for Fjall {
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(self))
    }

    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        Ok(Box::new(self))
    }

    fn recalls(&self) -> Result<u64> {
        self.recalls.iter().try_fold(0, |rows, row| Ok(row.key().map(|_| rows + 1)?))
    }
}

impl Reader for &Fjall {
    fn versions(&mut self, cell: &[u8]) -> Result<u32> {
        // Versions are dense: points that the filters answer are cheaper than one range, which
        // opens an iterator on every table.
        let mut found = 0;
        while let Some(list) = self.recalls.get(row_key(cell, found))? {
            std::hint::black_box(list);
            found += 1;
        }
        Ok(found)
    }
}

impl Writer for &Fjall {
    fn score(&mut self, key: &[u8]) -> Result<u64> {
        let score = self.hot.get(key)?;
        score.map_or(Ok(0), |bytes| Ok(u64::from_be_bytes(bytes.as_ref().try_into()?)))
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let rows = batch.recalls.len() + batch.scores.len() + 1;
        let mut write = OwnedWriteBatch::with_capacity(self.database.clone(), rows)
            .durability(Some(PersistMode::SyncData));
        for recall in &batch.recalls {
            let key = row_key(&recall.cell, recall.version);
            write.insert(&self.recalls, key, recall.list.as_slice());
        }
        for (key, score) in &batch.scores {
            write.insert(&self.hot, key.as_slice(), score.to_be_bytes());
        }
        write.insert(&self.ledger, "ledger", batch.ledger.as_slice());
        Ok(write.commit()?)
    }
}
