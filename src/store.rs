//! The embedded store: one directory that holds everything a replay reads and writes.
//!
//! It stands in place of the live servers: tables, scores, recalls and history with versions, dead
//! letters, and the ledger. The database is fjall, a log-structured store: epochs touch cells of users
//! at random, which a B-tree pays for page by page (`benches/RESULTS.md` has the figures).
//!
//! `VERSION` beside the database says how the rows are laid out: [`rows`] is the one place that knows.

mod contents;
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
use fjall::config::{CompressionPolicy, PartitioningPolicy, PinningPolicy};
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::failpoint;

use witness::{Commits, Journals};

pub use load::Loaded;

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
            .worker_threads(WORKERS)
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
}

/// Blocks that were read lately, of all keyspaces together.
const CACHE_BYTES: u64 = 6 << 20;

/// The least that fjall takes: a keyspace that is seldom flushed keeps old journals alive.
const JOURNAL_BYTES: u64 = 64 << 20;

/// Threads of the database that write tables and merge them: what was sealed does not wait in memory for
/// a long merge.
const WORKERS: usize = 2;

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

/// Most look-ups are for what does not stand, and end at a filter. Filters and indexes stay in memory
/// for the tables of the first two levels, which do not become more; of the others, which grow with what
/// is stored, they are in parts of a block's size that come through the cache as data do.
/// Nothing is compressed: keys and values are dense, and it saves a third of the time.
fn options(memtable: u64) -> KeyspaceCreateOptions {
    let pinned = PinningPolicy::new([true, true, false]);
    let in_parts = PartitioningPolicy::new([false, false, true]);
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable)
        .data_block_compression_policy(CompressionPolicy::disabled())
        .filter_block_pinning_policy(pinned.clone())
        .filter_block_partitioning_policy(in_parts.clone())
        .index_block_pinning_policy(pinned)
        .index_block_partitioning_policy(in_parts)
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
}

/// Seals what keyspaces hold in memory where it has become large, and waits while much is sealed.
///
/// The database seals too, but on the threads that also write and merge tables; meanwhile it takes
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
