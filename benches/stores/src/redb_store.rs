//! redb: a copy-on-write B-tree in one file.

use std::path::Path;

use anyhow::Result;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use crate::pattern::row_key;
use crate::{Batch, Reader, Store, Writer};

const RECALLS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("recalls");
const HOT: TableDefinition<&[u8], u64> = TableDefinition::new("hot");
const LEDGER: TableDefinition<&[u8], &[u8]> = TableDefinition::new("ledger");

/// A redb database; its transactions are durable at once unless told otherwise.
pub struct Redb(Database);

impl Redb {
    /// Opens a new database with a cache of 64 MiB (as it comes, 1 GiB).
    pub fn open(dir: &Path) -> Result<Self> {
        let database = Database::builder().set_cache_size(64 << 20).create(dir.join("redb"))?;
        let tables = database.begin_write()?;
        tables.open_table(RECALLS)?;
        tables.open_table(HOT)?;
        tables.open_table(LEDGER)?;
        tables.commit()?;
        Ok(Self(database))
    }
}

impl Store for Redb {
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(self.0.begin_read()?.open_table(RECALLS)?))
    }

    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        Ok(Box::new(self))
    }

    fn recalls(&self) -> Result<u64> {
        Ok(self.0.begin_read()?.open_table(RECALLS)?.len()?)
    }
}

impl Reader for ReadOnlyTable<&'static [u8], &'static [u8]> {
    fn versions(&mut self, cell: &[u8]) -> Result<u32> {
        let (first, last) = (row_key(cell, 0), row_key(cell, u32::MAX));
        let mut found = 0;
        for row in self.range(first.as_slice()..=last.as_slice())? {
            std::hint::black_box(row?.1.value());
            found += 1;
        }
        Ok(found)
    }
}

impl Writer for &Redb {
    fn score(&mut self, key: &[u8]) -> Result<u64> {
        let table = self.0.begin_read()?.open_table(HOT)?;
        Ok(table.get(key)?.map_or(0, |score| score.value()))
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let write = self.0.begin_write()?;
        {
            let mut recalls = write.open_table(RECALLS)?;
            for recall in &batch.recalls {
                let key = row_key(&recall.cell, recall.version);
                recalls.insert(key.as_slice(), recall.list.as_slice())?;
            }
            let mut hot = write.open_table(HOT)?;
            for (key, score) in &batch.scores {
                hot.insert(key.as_slice(), score)?;
            }
            let mut ledger = write.open_table(LEDGER)?;
            ledger.insert(b"ledger".as_slice(), batch.ledger.as_slice())?;
        }
        Ok(write.commit()?)
    }
}
