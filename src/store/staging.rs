//! Where the lines of tables stand while they are loaded: sorted, in bounded memory, in a database of its
//! own, which goes with the load and leaves nothing in the journal of the other.
//!
//! ```text
//! key                                  value
//! s ARTICLE \t NEIGHBOUR               value, as text
//! h USER \t CHANNEL \t TIMESTAMP       list, as text
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, PersistMode};

use super::{Error, UNSEALED_BYTES, failed, options, seal};

/// The folder of the database, within that of the store.
const FOLDER: &str = "staged";

/// The lines that are to be loaded, by keys that sort them.
pub(super) struct Staging {
    dir: PathBuf,
    db: Database,
    lines: Keyspace,
}

impl Staging {
    /// Makes an empty one in the store in `dir`.
    pub fn begin(dir: &Path) -> Result<Staging, Error> {
        Staging::sweep(dir)?;
        Staging::open(dir)
    }

    /// Opens the one that a load has left which was cut off.
    pub fn resume(dir: &Path) -> Result<Staging, Error> {
        if !dir.join(FOLDER).exists() {
            let what = format!("its folder `{FOLDER}` is missing, though a load is not at its end");
            return Err(Error::Damaged { dir: dir.to_owned(), what });
        }
        Staging::open(dir)
    }

    /// Removes what a load has left.
    pub fn sweep(dir: &Path) -> Result<(), Error> {
        match fs::remove_dir_all(dir.join(FOLDER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(dir, "clean up")(error))
            }
            _ => Ok(()),
        }
    }

    fn open(dir: &Path) -> Result<Staging, Error> {
        let failed = |error| Error::of(dir, "open", error);
        let db = Database::builder(dir.join(FOLDER)).worker_threads(1).open().map_err(failed)?;
        let lines = db.keyspace("lines", || options(UNSEALED_BYTES)).map_err(failed)?;
        Ok(Staging { dir: dir.to_owned(), db, lines })
    }

    /// Stages lines; nothing of it is durable before [`Staging::persist`].
    pub fn put(&self, lines: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), Error> {
        let mut batch = self.db.batch();
        lines.drain(..).for_each(|(key, line)| batch.insert(&self.lines, key, line));
        batch.commit().map_err(|error| Error::of(&self.dir, "write to", error))?;
        seal(&self.db, &self.dir, &[&self.lines])
    }

    /// Makes all of it durable.
    pub fn persist(&self) -> Result<(), Error> {
        let persisted = self.db.persist(PersistMode::SyncAll);
        persisted.map_err(|error| Error::of(&self.dir, "write to", error))
    }

    /// The lines whose keys begin like this, in their order.
    pub fn lines(&self, prefix: &str) -> impl Iterator<Item = Result<fjall::KvPair, Error>> + '_ {
        let failed = |error| Error::of(&self.dir, "read", error);
        self.lines.prefix(prefix).map(move |guard| guard.into_inner().map_err(failed))
    }
}
