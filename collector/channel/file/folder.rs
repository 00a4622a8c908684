//! The channel's folders: whose they are, and what stands in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{disk, facts, segment};

/// The folder in those that are configured in which our files stand, apart from Flume's own.
pub const OURS: &str = "online-recall";

const LOCK: &str = "lock";

/// Both folders, for as long as this lives ours alone.
#[derive(Debug)]
pub struct Folders {
    /// Where the segments stand.
    pub data: PathBuf,
    /// Where it stands what is done with.
    pub checkpoint: PathBuf,
    _locks: Vec<Lock>,
}

/// What stands in the folders.
#[derive(Debug, Default)]
pub struct Found {
    /// Segments, by their first event.
    pub segments: BTreeMap<u64, PathBuf>,
    /// Files of what is done with, by generation.
    pub acks: Vec<(u64, PathBuf)>,
}

/// Why folders cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something cannot be read, made or locked.
    #[error("cannot use {}", path.display())]
    Use {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is locked.
    #[error("{} is in use by another channel or process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Flume's own file channel has its files there.
    #[error(
        "{} is of Flume's own file channel, which may not have delivered all its events: let Flume deliver them, \
         then move Flume's files (log-*, checkpoint*) away, or name other folders", path.display()
    )]
    Flumes {
        /// One of its files.
        path: PathBuf,
    },
    /// Events stand in two of the folders.
    #[error("events stand in {} and in {}: leave one of them in dataDirs", .0[0].display(), .0[1].display())]
    Several([PathBuf; 2]),
}

fn cannot_use(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::Use { path, source }
}

impl Folders {
    /// Makes and locks them. Of several data folders it is the one that holds events, or else the first.
    pub fn open(data: &[PathBuf], checkpoint: &Path) -> Result<Folders, Error> {
        for folder in data.iter().map(PathBuf::as_path).chain([checkpoint]) {
            if let Some(path) = flumes_own(folder).map_err(cannot_use(folder))? {
                return Err(Error::Flumes { path });
            }
        }
        let mut ours = data.iter().map(|folder| folder.join(OURS));
        let first = ours.next().expect("there is always one folder");
        let mut chosen = None;
        for folder in [first.clone()].into_iter().chain(ours) {
            let files = names(&folder).map_err(cannot_use(&folder))?;
            if files.iter().any(|name| name.ends_with(segment::SUFFIX)) {
                match chosen {
                    Some(other) => return Err(Error::Several([other, folder])),
                    None => chosen = Some(folder),
                }
            }
        }
        let data = chosen.unwrap_or(first);
        let checkpoint = checkpoint.join(OURS);
        for folder in [&data, &checkpoint] {
            disk::make_folder(folder).map_err(cannot_use(folder))?;
        }
        let mut locks = vec![lock(&data)?];
        if !is_same(&data, &checkpoint) {
            locks.push(lock(&checkpoint)?);
        }
        Ok(Folders { data, checkpoint, _locks: locks })
    }

    /// What stands in them. Files that were being made are removed.
    pub fn find(&self) -> Result<Found, Error> {
        let mut found = Found::default();
        for name in names(&self.data).map_err(cannot_use(&self.data))? {
            if let Some(first) = numbered(&name, segment::SUFFIX) {
                found.segments.insert(first, self.data.join(name));
            } else if name.ends_with(disk::NEW) {
                let path = self.data.join(name);
                disk::remove(&path).map_err(cannot_use(&path))?;
            }
        }
        for name in names(&self.checkpoint).map_err(cannot_use(&self.checkpoint))? {
            let path = self.checkpoint.join(&name);
            if let Some(generation) =
                facts::SUFFIXES.iter().find_map(|suffix| numbered(&name, suffix))
            {
                found.acks.push((generation, path));
            } else if name.ends_with(disk::NEW) && path.exists() {
                disk::remove(&path).map_err(cannot_use(&path))?;
            }
        }
        found.acks.sort();
        Ok(found)
    }
}

/// A name that is twenty digits and this; no number of ours is as large as can be.
fn numbered(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let number = digits.parse().ok().filter(|number| *number < 1 << 62);
    if digits.len() == 20 { number } else { None }
}

/// The names in a folder; none in one that is not there. Ours are all UTF-8.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// A file of Flume's own channel that is not empty: `log-N` with its events, or its `checkpoint`.
fn flumes_own(folder: &Path) -> io::Result<Option<PathBuf>> {
    for name in names(folder)? {
        let number = name.strip_prefix("log-").filter(|number| !number.is_empty());
        let is_log = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let path = folder.join(&name);
        if (is_log || name == "checkpoint") && path.is_file() && fs::metadata(&path)?.len() > 0 {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Whether two folders that are there are the same.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || fs::canonicalize(one).ok() == fs::canonicalize(other).ok()
}

/// A folder's lock.
#[derive(Debug)]
struct Lock(fs::File);

impl Drop for Lock {
    /// Gives it up at once: a process that is just being started may have the file for a moment, too.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            log::warn!("cannot unlock a folder: error={error}");
        }
    }
}

fn lock(folder: &Path) -> Result<Lock, Error> {
    let path = folder.join(LOCK);
    let file = fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(cannot_use(&path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(Errno::WOULDBLOCK) => Err(Error::Locked { path: folder.to_owned() }),
        Err(error) => Err(cannot_use(&path)(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flume_has_left_is_refused_and_stays() {
        let folder = testing::folder();
        let (data, checkpoint) = (folder.path().join("data"), folder.path().join("checkpoint"));
        fs::create_dir_all(&data).unwrap();
        let log = data.join("log-12");
        fs::write(&log, "").unwrap();
        fs::write(data.join("log-12.meta"), "m").unwrap();
        fs::write(data.join("log-rotate"), "x").unwrap();
        // An empty one holds nothing.
        drop(Folders::open(std::slice::from_ref(&data), &checkpoint).unwrap());
        fs::write(&log, "events").unwrap();
        let error = Folders::open(&[folder.path().join("other"), data], &checkpoint).unwrap_err();
        assert!(matches!(&error, Error::Flumes { path } if *path == log), "{error}");
        assert_eq!(fs::read(&log).unwrap(), b"events");
        fs::remove_file(log).unwrap();
        fs::write(checkpoint.join("checkpoint"), "x").unwrap();
        let error = Folders::open(&[folder.path().join("other")], &checkpoint).unwrap_err();
        assert!(matches!(error, Error::Flumes { .. }), "{error}");
    }

    #[test]
    fn a_folder_belongs_to_one_channel_at_a_time() {
        let folder = testing::folder();
        let dir = |name: &str| folder.path().join(name);
        let first = Folders::open(&[dir("a")], &dir("b")).unwrap();
        for (data, checkpoint) in [("a", "c"), ("c", "b"), ("b", "d")] {
            let error = Folders::open(&[dir(data)], &dir(checkpoint)).unwrap_err();
            assert!(matches!(error, Error::Locked { .. }), "{data} {checkpoint}: {error}");
        }
        drop(first);
        drop(Folders::open(&[dir("a")], &dir("b")).unwrap());
        drop(Folders::open(&[dir("x")], &dir("x")).unwrap());
    }

    #[test]
    fn of_several_folders_it_is_the_one_that_holds_events() {
        let folder = testing::folder();
        let dir = |name: &str| folder.path().join(name);
        let open = || Folders::open(&[dir("a"), dir("b")], &dir("c"));
        assert_eq!(open().unwrap().data, dir("a").join(OURS));
        let name = format!("{:020}{}", 7, segment::SUFFIX);
        fs::create_dir_all(dir("b").join(OURS)).unwrap();
        fs::write(dir("b").join(OURS).join(&name), "").unwrap();
        let chosen = open().unwrap();
        assert_eq!(chosen.data, dir("b").join(OURS));
        assert!(chosen.find().unwrap().segments.contains_key(&7));
        drop(chosen);
        fs::write(dir("a").join(OURS).join(&name), "").unwrap();
        assert!(matches!(open().unwrap_err(), Error::Several(_)));
    }
}
