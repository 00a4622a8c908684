//! Finds out whether the database has lost what it had said is durable.
//!
//! fjall ends a journal at the first batch that it cannot read: it takes it for one that a crash cut
//! off, and goes on without a word. Were such a batch damaged later, it and all that follow it in its
//! journal would be gone, while later journals still count. Three things tell:
//!
//! - `COMMITS` holds how many batches were ever committed, and the database holds the same number, in
//!   every batch: if the database has a smaller one, the end of its journal is gone;
//! - every keyspace that has a folder has the file that names its tables: without it, the database would
//!   take the keyspace for a new one;
//! - every journal but the last was closed in order: if opening the database shortens one, its end was
//!   not readable.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const COMMITS_FILE: &str = "COMMITS";

/// The number of batches that were ever committed, kept beside the database.
pub(super) struct Commits(File);

impl Commits {
    /// Makes the file of a new store.
    pub(super) fn create(dir: &Path) -> io::Result<()> {
        let commits = Commits(File::create(dir.join(COMMITS_FILE))?);
        commits.put(0)?;
        commits.0.sync_all()
    }

    pub(super) fn open(dir: &Path) -> io::Result<Commits> {
        let file = File::options().read(true).write(true).open(dir.join(COMMITS_FILE))?;
        Ok(Commits(file))
    }

    /// The number; `None` if it is not one that was written.
    pub(super) fn get(&self) -> io::Result<Option<u64>> {
        let mut bytes = [0; 16];
        match self.0.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let number = u128::from_le_bytes(bytes);
        let (commits, check) = (number as u64, (number >> 64) as u64);
        Ok((check == !commits).then_some(commits))
    }

    /// Writes the number of a batch that is durable. It is not synced itself: a number that is behind
    /// after a loss of power is no harm, and every later one makes up for it.
    pub(super) fn put(&self, commits: u64) -> io::Result<()> {
        let number = u128::from(commits) | (u128::from(!commits) << 64);
        self.0.write_all_at(&number.to_le_bytes(), 0)
    }
}

/// Says which keyspace of a database that was written to cannot be found, if any.
pub(super) fn lost_keyspace(database: &Path) -> io::Result<Option<String>> {
    let keyspaces = database.join("keyspaces");
    if !keyspaces.exists() {
        return Ok(Some("its folder of keyspaces is missing".to_owned()));
    }
    for entry in fs::read_dir(keyspaces)? {
        let path = entry?.path();
        if path.is_dir() && !path.join("current").exists() {
            return Ok(Some(format!("the file `current` of {} is missing", path.display())));
        }
    }
    Ok(None)
}

/// The journals that were closed before the database is opened, each by a second name, so that they
/// can still be looked at when the database has done away with them.
pub(super) struct Journals(Vec<Journal>);

struct Journal {
    name: String,
    second_name: PathBuf,
    /// How far anything is written in it.
    written: u64,
}

impl Journals {
    pub(super) fn closed(database: &Path, dir: &Path) -> io::Result<Journals> {
        let mut found = Vec::new();
        if database.exists() {
            for entry in fs::read_dir(database)? {
                let path = entry?.path();
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
                if path.extension().is_some_and(|extension| extension == "jnl")
                    && let Some(number) = number
                {
                    found.push((number, path));
                }
            }
        }
        found.sort();
        found.pop();
        let journals = found.into_iter().map(|(number, path)| {
            let name = format!("{number}.jnl");
            let second_name = dir.join(format!("{name}.tmp"));
            match fs::remove_file(&second_name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => fs::hard_link(&path, &second_name)?,
            }
            let written = written(&File::open(&path)?)?;
            Ok(Journal { name, second_name, written })
        });
        Ok(Journals(journals.collect::<io::Result<_>>()?))
    }

    /// Says which journal the database has shortened, if any.
    pub(super) fn shortened(self) -> io::Result<Option<String>> {
        let mut shortened = None;
        for Journal { name, second_name, written } in self.0 {
            let length = fs::metadata(&second_name)?.len();
            if length < written {
                shortened = Some(format!("{name} is readable up to byte {length} of {written}"));
            }
            fs::remove_file(&second_name)?;
        }
        Ok(shortened)
    }
}

/// How far anything but zeros, with which a journal is allocated ahead, stands in a file.
fn written(file: &File) -> io::Result<u64> {
    let mut block = vec![0; 1 << 16];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = (end - 1) / block.len() as u64 * block.len() as u64;
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
