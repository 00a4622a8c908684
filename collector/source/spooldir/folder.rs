//! Which file of a folder comes next.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use walkdir::WalkDir;

use crate::source::pattern::Pattern;

/// What the name of a file ends with that was set aside, with or without a number.
pub const FAILED: &str = ".FAILED";

/// Which files are read, and in which order.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The folder.
    pub folder: PathBuf,
    /// Whether folders in it are looked into.
    pub recursive: bool,
    /// Names that are read.
    pub include: Pattern,
    /// Names that are not.
    pub ignore: Pattern,
    /// What the name of a file ends with that is done.
    pub suffix: String,
    /// Where it is noted what is done, if not by its name.
    pub done: Option<PathBuf>,
    /// Which comes first.
    pub order: Order,
    /// How long a listing lasts.
    pub lasts: Duration,
}

/// Which file comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that was written first.
    Oldest,
    /// The one that was written last.
    Youngest,
    /// Any.
    Random,
}

/// Files that wait, in order.
#[derive(Debug)]
pub struct Waiting {
    /// The next one last.
    files: Vec<PathBuf>,
    listed: Option<Instant>,
}

impl Waiting {
    /// Nothing is listed yet.
    pub fn new() -> Waiting {
        Waiting { files: Vec::new(), listed: None }
    }

    /// The next file; looks into the folder where what is known is used up, or old.
    pub fn next(&mut self, rules: &Rules) -> Option<PathBuf> {
        let is_old = self.listed.is_none_or(|listed| listed.elapsed() >= rules.lasts);
        if self.files.is_empty() || is_old {
            self.files = rules.list();
            self.listed = Some(Instant::now());
        }
        self.files.pop()
    }
}

impl Rules {
    /// Whether a file is one that is read, by its name and by what is noted of it.
    pub fn wants(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_failed = name.rsplit_once(FAILED).is_some_and(|(_, rest)| {
            rest.is_empty()
                || rest.strip_prefix('.').is_some_and(|number| {
                    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                })
        });
        !name.starts_with('.')
            && !name.ends_with(&self.suffix)
            && !is_failed
            && self.include.matches(&name)
            && !self.ignore.matches(&name)
            && !self.done_mark(path).is_some_and(|mark| mark.exists())
    }

    /// What notes that a file is done, where its own name does not.
    pub fn done_mark(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.folder).unwrap_or(path);
        let mut mark = self.done.as_ref()?.join(below).into_os_string();
        mark.push(&self.suffix);
        Some(mark.into())
    }

    /// All files that are read, the next one last.
    fn list(&self) -> Vec<PathBuf> {
        let walk = WalkDir::new(&self.folder)
            .min_depth(1)
            .max_depth(if self.recursive { usize::MAX } else { 1 })
            .into_iter()
            .filter_entry(|entry| {
                let name = entry.file_name().to_string_lossy();
                !entry.file_type().is_dir()
                    || !(name.starts_with('.') || self.ignore.matches(&name))
            });
        let mut files = Vec::new();
        for entry in walk {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    log::warn!("cannot look into a folder: error={error}");
                    continue;
                }
            };
            // What goes away meanwhile is not there.
            let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
            if metadata.is_file() && self.wants(entry.path()) {
                // As in Flume, to the millisecond.
                let modified = metadata.modified().ok();
                let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let modified = modified.map_or(0, |since| since.as_millis());
                files.push((modified, entry.file_name().to_owned(), entry.into_path()));
            }
        }
        match self.order {
            Order::Oldest => files.sort_by(|one, other| other.cmp(one)),
            Order::Youngest => files.sort_by(|one, other| {
                one.0.cmp(&other.0).then_with(|| (&other.1, &other.2).cmp(&(&one.1, &one.2)))
            }),
            Order::Random => {}
        }
        files.into_iter().map(|(_, _, path)| path).collect()
    }
}
