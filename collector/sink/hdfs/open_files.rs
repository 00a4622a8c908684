//! The files that a sink has open, kept on this machine: a run that follows a dead one ends what that has
//! left, and no other's.
//!
//! A file is a line of JSON in the list before it is made, and another when it has its last name. The list is
//! held by a lock: two agents of the same names would end each other's files.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::lock;

/// The names of a file: the one while it is written, and the one afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Its file system.
    pub root: String,
    /// Its folder, with `/` at its end.
    pub folder: String,
    /// What its name begins with.
    pub name: String,
    /// Its number.
    pub number: i64,
    /// What its name ends with.
    pub suffix: String,
    /// What stands before its name while it is written.
    pub in_use_prefix: String,
    /// What stands behind its name while it is written.
    pub in_use_suffix: String,
}

impl Names {
    /// The path while it is written.
    pub fn in_use(&self) -> String {
        let Names { folder, name, number, suffix, in_use_prefix, in_use_suffix, .. } = self;
        format!("{folder}{in_use_prefix}{name}.{number}{suffix}{in_use_suffix}")
    }

    /// The path afterwards, with this number.
    pub fn last(&self, number: i64) -> String {
        let Names { folder, name, suffix, .. } = self;
        format!("{folder}{name}.{number}{suffix}")
    }

    /// Whether it has another name afterwards.
    pub fn changes(&self) -> bool {
        !(self.in_use_prefix.is_empty() && self.in_use_suffix.is_empty())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Opened(Names),
    Ended { root: String, path: String },
}

/// The list.
#[derive(Debug)]
pub struct OpenFiles {
    path: PathBuf,
    /// Held as long as the list is.
    _lock: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// By file system and path.
    open: BTreeMap<(String, String), Names>,
    lines: usize,
}

/// Why the list cannot be had, or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds it.
    #[error("another agent of the same name writes the files in {}: is it running twice?", .0.display())]
    Held(PathBuf),
    /// The system does not let us.
    #[error("cannot keep the list of open files {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl OpenFiles {
    /// Opens the list in this file, with what a dead run has left open.
    ///
    /// # Errors
    ///
    /// If another process has it, or it cannot be read or written.
    pub fn open(path: &Path) -> Result<(OpenFiles, Vec<Names>), Error> {
        let path = path.to_owned();
        let failed = |source| Error::Io { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = path.with_extension("lock");
        let lock = OpenOptions::new().create(true).append(true).open(lock).map_err(failed)?;
        if !lock::take(&lock).map_err(failed)? {
            return Err(Error::Held(path));
        }
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(failed)?,
        };
        let open = left_open(&text);
        let left = open.values().cloned().collect();
        let file = rewritten(&path, &open).map_err(failed)?;
        let state = Mutex::new(State { file, lines: open.len(), open });
        Ok((OpenFiles { path, _lock: lock, state }, left))
    }

    /// Adds a file that is about to be made, unless it is in the list already; says whether it was added.
    /// Then it is on the disk.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn add(&self, names: &Names) -> Result<bool, Error> {
        let key = (names.root.clone(), names.in_use());
        if self.lock().open.contains_key(&key) {
            return Ok(false);
        }
        let added = self.change(&Line::Opened(names.clone()), |state| {
            state.open.insert(key, names.clone());
            state.file.sync_data()
        });
        added.map(|()| true)
    }

    /// Takes off a file that has its last name, or is gone. It may come back after a crash of the machine.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn remove(&self, names: &Names) -> Result<(), Error> {
        let key = (names.root.clone(), names.in_use());
        let line = Line::Ended { root: key.0.clone(), path: key.1.clone() };
        self.change(&line, |state| {
            state.open.remove(&key);
            if state.lines > 1000 + 2 * state.open.len() {
                state.file = rewritten(&self.path, &state.open)?;
                state.lines = state.open.len();
            }
            Ok(())
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A state that was left in the middle is no worse than a list that was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        line: &Line,
        then: impl FnOnce(&mut State) -> io::Result<()>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        let mut text = serde_json::to_vec(line).expect("names are texts and numbers");
        text.push(b'\n');
        state.lines += 1;
        let changed = state.file.write_all(&text).and_then(|()| then(&mut state));
        changed.map_err(|source| Error::Io { path: self.path.clone(), source })
    }
}

fn left_open(text: &str) -> BTreeMap<(String, String), Names> {
    let mut open = BTreeMap::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Opened(names)) => {
                open.insert((names.root.clone(), names.in_use()), names);
            }
            Ok(Line::Ended { root, path }) => {
                open.remove(&(root, path));
            }
            // The file that a torn line was written for was never made.
            Err(error) => log::warn!("a line of the list of open files is torn: error={error}"),
        }
    }
    open
}

/// Replaces the list by one of what is open; it is open for more.
fn rewritten(path: &Path, open: &BTreeMap<(String, String), Names>) -> io::Result<File> {
    let beside = path.with_extension("new");
    let mut text = Vec::new();
    for names in open.values() {
        serde_json::to_writer(&mut text, &Line::Opened(names.clone()))?;
        text.push(b'\n');
    }
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(number: i64) -> Names {
        Names {
            root: "hdfs://h:1".to_owned(),
            folder: "/a\n/".to_owned(),
            name: "ev".to_owned(),
            number,
            suffix: ".log".to_owned(),
            in_use_prefix: "_".to_owned(),
            in_use_suffix: ".tmp".to_owned(),
        }
    }

    #[test]
    fn a_file_has_two_names() {
        assert_eq!(names(7).in_use(), "/a\n/_ev.7.log.tmp");
        assert_eq!(names(7).last(8), "/a\n/ev.8.log");
        assert!(names(7).changes());
        let plain =
            Names { in_use_prefix: String::new(), in_use_suffix: String::new(), ..names(7) };
        assert!(!plain.changes() && plain.in_use() == plain.last(7));
    }

    #[test]
    fn what_was_not_ended_is_left_for_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/list.json");
        let (list, left) = OpenFiles::open(&path).unwrap();
        assert!(left.is_empty());
        assert!((1..=3).all(|number| list.add(&names(number)).unwrap()));
        assert!(!list.add(&names(3)).unwrap());
        list.remove(&names(2)).unwrap();
        assert!(matches!(OpenFiles::open(&path), Err(Error::Held(_))));
        drop(list);
        // A line that a crash has torn.
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"opened\":{\"root\":\"hd");
        std::fs::write(&path, text).unwrap();
        let (list, left) = OpenFiles::open(&path).unwrap();
        assert_eq!(left, [names(1), names(3)]);
        list.add(&names(4)).unwrap();
        drop(list);
        let (_, left) = OpenFiles::open(&path).unwrap();
        assert_eq!(left, [names(1), names(3), names(4)]);
    }

    #[test]
    fn the_list_is_as_long_as_what_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/list.json");
        let (list, _) = OpenFiles::open(&path).unwrap();
        list.add(&names(0)).unwrap();
        for number in 1..2000 {
            list.add(&names(number)).unwrap();
            list.remove(&names(number)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() < 1100);
        assert_eq!(left_open(&text).into_values().collect::<Vec<_>>(), [names(0)]);
    }
}
