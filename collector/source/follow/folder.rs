//! What lies in the folders where followed files are.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::rotation;
use crate::source::pattern::Pattern;

/// By what the system knows a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The device that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

impl Id {
    /// That of a file.
    pub fn of(metadata: &Metadata) -> Id {
        Id { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A file that lies there.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub id: Id,
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub size: u64,
    /// When it was written last.
    pub modified: SystemTime,
    /// The group that wants it.
    pub wanted: Option<usize>,
}

/// Which files are followed.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The one of this name, and what it was rotated to.
    File(PathBuf),
    /// Those of several groups.
    Groups(Vec<Group>),
}

/// Files of a folder whose names match a pattern.
#[derive(Clone, Debug)]
pub struct Group {
    /// The folder.
    pub folder: PathBuf,
    /// What their names match.
    pub pattern: Pattern,
}

impl Subject {
    /// How positions name it.
    pub fn text(&self) -> String {
        match self {
            Subject::File(path) => path.display().to_string(),
            Subject::Groups(_) => "groups".to_owned(),
        }
    }

    /// The group that wants a file.
    pub fn wants(&self, path: &Path) -> Option<usize> {
        match self {
            Subject::File(wanted) => (wanted == path).then_some(0),
            Subject::Groups(groups) => groups.iter().position(|group| {
                let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
                path.parent() == Some(&*group.folder) && group.pattern.matches(&name)
            }),
        }
    }

    /// Where to look.
    fn folders(&self, beside: Option<&Path>) -> Vec<PathBuf> {
        let mut folders: Vec<_> = match self {
            Subject::File(wanted) => {
                let logs = [Some(&**wanted), beside].into_iter().flatten();
                logs.map(|log| log.parent().unwrap_or(Path::new("/")).to_owned()).collect()
            }
            Subject::Groups(groups) => groups.iter().map(|group| group.folder.clone()).collect(),
        };
        folders.sort();
        folders.dedup();
        folders
    }

    /// What a link points to: what it pointed to before, and copies, lie beside that.
    fn behind_link(&self) -> Option<PathBuf> {
        let Subject::File(wanted) = self else { return None };
        let target = wanted.canonicalize().ok()?;
        let (folder, name) = (wanted.parent()?, target.file_name()?);
        // A folder may have several names; one is used.
        if folder.canonicalize().ok().as_deref() == target.parent() {
            return Some(folder.join(name));
        }
        Some(target)
    }
}

/// Whether a file is an earlier one of another, by its name.
pub fn is_rotated(log: &Path, path: &Path) -> bool {
    match (log.file_name(), path.file_name()) {
        (Some(log_name), Some(name)) => {
            log.parent() == path.parent() && rotation::is_of(log_name, name)
        }
        _ => false,
    }
}

/// Whether a file may hold what another one held, by its name.
pub fn may_hold(log: &Path, path: &Path) -> bool {
    match (log.file_name(), path.file_name()) {
        (Some(log_name), Some(name)) => {
            log.parent() == path.parent() && rotation::may_hold(log_name, name)
        }
        _ => false,
    }
}

/// How long after a change a folder's time may still stay the same when it changes again.
const UNSETTLED: Duration = Duration::from_secs(2);

/// How often a folder is listed that changes meanwhile.
const TRIES: u32 = 10;

/// What is remembered of the folders between two looks.
#[derive(Debug)]
pub struct Listing {
    subject: Subject,
    /// Whether a folder that has not changed is not listed again.
    cached: bool,
    /// What the followed file is, behind links.
    beside: Option<PathBuf>,
    seen: Vec<(PathBuf, Option<SystemTime>)>,
}

impl Listing {
    /// Of the folders of a subject.
    pub fn new(subject: Subject, cached: bool) -> Listing {
        Listing { beside: subject.behind_link(), subject, cached, seen: Vec::new() }
    }

    /// Whose folders they are.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The name by which earlier files and copies are known, where there is one for all.
    pub fn base(&self) -> Option<&Path> {
        match &self.subject {
            Subject::File(wanted) => Some(self.beside.as_deref().unwrap_or(wanted)),
            Subject::Groups(_) => None,
        }
    }

    /// Whether a file is an earlier one of what is followed, by its name, and wanted as that.
    pub fn wants_rotated(&self, path: &Path) -> bool {
        self.base().is_some_and(|base| is_rotated(base, path))
    }

    /// Whether something may have come or gone since they were listed.
    pub fn has_changed(&mut self) -> bool {
        let now = self.times();
        let unsettled = |time: &Option<SystemTime>| {
            time.is_some_and(|time| time.elapsed().map_or(true, |since| since < UNSETTLED))
        };
        !self.cached || now != self.seen || now.iter().any(|(_, time)| unsettled(time))
    }

    /// All files, each once: under the name that is wanted, if it has several.
    ///
    /// # Errors
    ///
    /// If a folder cannot be read. One that is not there is empty.
    pub fn list(&mut self) -> io::Result<Vec<Entry>> {
        self.beside = self.subject.behind_link();
        // What is renamed while a folder is read may be seen twice, or not at all.
        for _ in 0..TRIES {
            let before = self.times();
            let entries = self.list_once()?;
            self.seen = self.times();
            if self.seen == before {
                return Ok(entries);
            }
        }
        self.list_once()
    }

    /// When each folder was changed last.
    fn times(&self) -> Vec<(PathBuf, Option<SystemTime>)> {
        let folders = self.subject.folders(self.beside.as_deref()).into_iter();
        let time = |folder: &PathBuf| std::fs::metadata(folder).and_then(|there| there.modified());
        folders.map(|folder| (folder.clone(), time(&folder).ok())).collect()
    }

    fn list_once(&self) -> io::Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        for folder in self.subject.folders(self.beside.as_deref()) {
            let names = match std::fs::read_dir(&folder) {
                Ok(names) => names,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for name in names {
                let path = name?.path();
                // What goes away meanwhile is not there.
                let Ok(metadata) = std::fs::metadata(&path) else { continue };
                if metadata.is_file() {
                    entries.push(Entry {
                        id: Id::of(&metadata),
                        wanted: self.subject.wants(&path),
                        size: metadata.len(),
                        modified: metadata.modified()?,
                        path,
                    });
                }
            }
        }
        entries.sort_by(|one, other| {
            let key = |entry: &Entry| (entry.wanted.is_none(), entry.modified);
            key(one).cmp(&key(other)).then_with(|| one.path.cmp(&other.path))
        });
        let mut ids = std::collections::BTreeSet::new();
        entries.retain(|entry| ids.insert((entry.id.device, entry.id.inode)));
        entries.sort_by(|one, other| {
            one.modified.cmp(&other.modified).then_with(|| one.path.cmp(&other.path))
        });
        Ok(entries)
    }
}
