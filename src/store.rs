//! The embedded store: one directory that holds everything a replay reads and writes.
//!
//! It stands in place of the live servers: tables, scores, recalls and history with versions, dead
//! letters, and the ledger. The database is fjall, a log-structured store: epochs touch cells of users
//! at random, which a B-tree pays for page by page (`benches/RESULTS.md` has the figures).
//!
//! `VERSION` beside the database says how the rows are laid out: [`rows`] is the one place that knows.

mod load;
pub mod rows;
mod staging;
mod witness;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fjall::compaction::Leveled;
use fjall::config::{CompressionPolicy, PinningPolicy};
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde::de::DeserializeOwned;

use crate::failpoint;
use crate::ledger::Mark;
use crate::source::files::Position;
use crate::source::{self, Range, Reached, Topic};

use witness::{Commits, Journals};

pub use load::Loaded;
use rows::{List, Replay, SimilarRow, Version, encode};

/// The layout of the rows that this program reads and writes.
pub const VERSION: u32 = 1;

const VERSION_FILE: &str = "VERSION";
const VERSION_TEXT: &str = "online-recall store, version ";
const DAMAGED_FILE: &str = "DAMAGED";
const DATABASE: &str = "db";

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error("there is no store in {}; `online-recall replay --store` makes one", dir.display())]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The directory holds something else.
    #[error("{} holds files, but no store; name an empty or a new directory", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer program has written it.
    #[error(
        "the store in {} has version {found}, this program knows versions up to {VERSION}; \
         use a newer program", dir.display()
    )]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Another process has it open.
    #[error("the store in {} is in use by another process; wait until that has ended", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// Something in it is not as it was written.
    #[error(
        "the store in {} is damaged: {what}; put back a copy, or replay into a new directory",
        dir.display()
    )]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        what: String,
    },
    /// The system failed it.
    #[error("cannot {attempt} the store in {}", dir.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The directory.
        dir: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A table could not be loaded.
    #[error(transparent)]
    Load(#[from] load::Error),
}

/// A store, open; no other process can open it meanwhile.
pub struct Store {
    dir: PathBuf,
    db: Database,
    /// Held while the store is open.
    #[expect(dead_code, reason = "a lock lasts as long as its file")]
    lock: File,
    /// How many batches were ever committed, and the file that says so. Taken by whoever commits.
    commits: Mutex<(u64, Commits)>,
    /// Versions of recalls and histories.
    pub(crate) cells: Keyspace,
    pub(crate) hot: Keyspace,
    pub(crate) new: Keyspace,
    similar: Keyspace,
    pub(crate) letters: Keyspace,
    files: Keyspace,
    ledger: Keyspace,
}

const MARK: &str = "mark";
const REPLAY: &str = "replay";
const LOADING: &str = "loading";
const COMMITS: &str = "commits";

impl Store {
    /// Opens the store in `dir`; makes it there, if the directory is empty or missing.
    ///
    /// # Errors
    ///
    /// If it cannot be had: see [`Error`].
    pub fn create(dir: &Path) -> Result<Store, Error> {
        let io = |attempt| failed(dir, attempt);
        if !dir.join(VERSION_FILE).exists() {
            fs::create_dir_all(dir).map_err(io("make"))?;
            // A start that was cut off before VERSION stood there leaves nothing but these behind.
            let foreign = fs::read_dir(dir).map_err(io("look into"))?.any(|entry| {
                let left = ["VERSION.tmp", "COMMITS"];
                entry.is_ok_and(|entry| !left.iter().any(|name| entry.file_name() == *name))
            });
            if foreign {
                return Err(Error::Foreign { dir: dir.to_owned() });
            }
            write_version(dir).map_err(io("write the version of"))?;
            failpoint::reach("version-written");
        }
        Store::open(dir)
    }

    /// Opens the store that stands in `dir`.
    ///
    /// # Errors
    ///
    /// If it cannot be had: see [`Error`].
    pub fn open(dir: &Path) -> Result<Store, Error> {
        check_version(dir)?;
        let damaged = |what| Error::Damaged { dir: dir.to_owned(), what };
        let io = |attempt| failed(dir, attempt);
        let database = dir.join(DATABASE);
        let commits = Commits::open(dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged("its file COMMITS is missing".to_owned()),
            _ => io("open")(error),
        })?;
        // Held from here on: the journals must not be those of another process at work.
        let lock = File::open(dir.join(VERSION_FILE)).map_err(io("open"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::InUse { dir: dir.to_owned() }),
            Err(fs::TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        let witnessed = commits.get().map_err(io("open"))?;
        let witnessed =
            witnessed.ok_or_else(|| damaged("its file COMMITS is not readable".to_owned()))?;
        if witnessed > 0
            && let Some(what) = witness::lost_keyspace(&database).map_err(io("open"))?
        {
            return Err(damaged(what));
        }
        let journals = Journals::closed(&database, dir).map_err(io("open"))?;
        let db = Database::builder(&database)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()
            .map_err(|error| Error::of(dir, "open", error))?;
        let keyspace = |name, memtable| {
            failpoint::reach("keyspace");
            db.keyspace(name, || options(memtable)).map_err(|error| Error::of(dir, "open", error))
        };
        if let Some(what) = journals.shortened().map_err(io("open"))? {
            // Said once more whenever it is opened: the database itself does not know any more.
            fs::write(dir.join(DAMAGED_FILE), &what).map_err(io("open"))?;
            return Err(damaged(what));
        }
        let mut store = Store {
            dir: dir.to_owned(),
            lock,
            commits: Mutex::new((0, commits)),
            cells: keyspace("cells", UNSEALED_BYTES)?,
            hot: keyspace("hot", 2 << 20)?,
            new: keyspace("new", 2 << 20)?,
            similar: keyspace("similar", 2 << 20)?,
            letters: keyspace("letters", 2 << 20)?,
            files: keyspace("files", 128 << 10)?,
            ledger: keyspace("ledger", 128 << 10)?,
            db: db.clone(),
        };
        store.check_commits(witnessed)?;
        store.finish_loading()?;
        Ok(store)
    }

    fn check_commits(&mut self, witnessed: u64) -> Result<(), Error> {
        let known: u64 = self.row(&self.ledger, COMMITS)?.unwrap_or(0);
        if known < witnessed {
            let what = format!("its journal ends after batch {known} of {witnessed}");
            return Err(Error::Damaged { dir: self.dir.clone(), what });
        }
        self.commits.get_mut().unwrap_or_else(PoisonError::into_inner).0 = known;
        Ok(())
    }

    /// The directory that it stands in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

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

    fn row<R: DeserializeOwned>(
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

/// Blocks that were read lately, of all keyspaces together.
const CACHE_BYTES: u64 = 6 << 20;

/// The least that fjall takes: a keyspace that is seldom flushed keeps old journals alive.
const JOURNAL_BYTES: u64 = 64 << 20;

/// How much a keyspace may hold in memory before it is sealed: what the largest asks the database for.
const UNSEALED_BYTES: u64 = 8 << 20;

/// How much of a keyspace may be sealed and not be in a table yet, in pieces of so many bytes.
const SEALED: usize = 2;

/// How much may stay in memory when a command ends.
const SETTLED_BYTES: u64 = 512 << 10;

/// How long a writer waits before it looks again whether there is room.
const FLUSH_PATIENCE: Duration = Duration::from_millis(2);

/// How large a table grows: to write one takes memory in proportion.
const TABLE_BYTES: u64 = 8 << 20;

/// Filters and indexes stay in memory: most look-ups are for what does not stand, and end there.
/// Nothing is compressed: keys and values are dense, and it saves a third of the time.
fn options(memtable: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable)
        .data_block_compression_policy(CompressionPolicy::disabled())
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_pinning_policy(PinningPolicy::all(true))
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
}

/// Seals what keyspaces hold in memory where it has become large, and waits while much is sealed.
///
/// The database seals too, but on the thread that also writes and merges tables; meanwhile it takes
/// writes without bound.
fn seal(db: &Database, dir: &Path, keyspaces: &[&Keyspace]) -> Result<(), Error> {
    for keyspace in keyspaces {
        if keyspace.tree.active_memtable().size() > UNSEALED_BYTES {
            wait(db, dir, keyspace, SEALED)?;
            let rotated = keyspace.rotate_memtable();
            rotated.map_err(|error| Error::of(dir, "write to", error))?;
        }
    }
    Ok(())
}

/// Waits until fewer pieces of a keyspace than so many are sealed and in no table yet.
#[expect(clippy::disallowed_methods, reason = "the database tells nobody that it has flushed")]
fn wait(db: &Database, dir: &Path, keyspace: &Keyspace, pieces: usize) -> Result<(), Error> {
    while keyspace.tree.sealed_memtable_count() >= pieces {
        // An error here says that the thread that would flush has failed.
        db.persist(PersistMode::Buffer).map_err(|error| Error::of(dir, "write to", error))?;
        std::thread::sleep(FLUSH_PATIENCE);
    }
    Ok(())
}

/// Whether a store stands in a directory, of whatever version.
pub fn stands_in(dir: &Path) -> bool {
    let version = dir.join(VERSION_FILE);
    let mut begun = [0; VERSION_TEXT.len()];
    version.is_file()
        && File::open(version).is_ok_and(|mut file| file.read_exact(&mut begun).is_ok())
        && begun == *VERSION_TEXT.as_bytes()
}

fn failed(dir: &Path, attempt: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io { attempt, dir: dir.to_owned(), source }
}

fn check_version(dir: &Path) -> Result<(), Error> {
    let text = match fs::read_to_string(dir.join(VERSION_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Missing { dir: dir.to_owned() });
        }
        Err(error) => return Err(failed(dir, "read the version of")(error)),
    };
    let found = text.strip_prefix(VERSION_TEXT).and_then(|number| number.trim_end().parse().ok());
    match found {
        Some(VERSION) => match fs::read_to_string(dir.join(DAMAGED_FILE)) {
            Ok(what) => Err(Error::Damaged { dir: dir.to_owned(), what }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(dir, "open")(error)),
        },
        Some(found) if found > VERSION => Err(Error::Newer { dir: dir.to_owned(), found }),
        _ => {
            let what = format!("its file {VERSION_FILE} does not say a version");
            Err(Error::Damaged { dir: dir.to_owned(), what })
        }
    }
}

fn write_version(dir: &Path) -> io::Result<()> {
    Commits::create(dir)?;
    let (temporary, place) = (dir.join("VERSION.tmp"), dir.join(VERSION_FILE));
    let mut file = File::create(&temporary)?;
    writeln!(file, "{VERSION_TEXT}{VERSION}")?;
    file.sync_all()?;
    fs::rename(&temporary, &place)?;
    File::open(dir)?.sync_all()
}

impl Error {
    fn of(dir: &Path, attempt: &'static str, error: fjall::Error) -> Error {
        let dir = dir.to_owned();
        match error {
            fjall::Error::Locked => Error::InUse { dir },
            fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
                Error::Io { attempt, dir, source }
            }
            fjall::Error::Poisoned => {
                let source = io::Error::other("an earlier write failed; the cause was logged then");
                Error::Io { attempt, dir, source }
            }
            error => Error::Damaged { dir, what: error.to_string() },
        }
    }
}
