//! What the ledger knows of a topic's files, against what stands there now.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::Error;
use super::identity::{self, Position};
use super::inputs::STDIN;
use super::opened::Opened;
use collector::hdfs::{self, Hdfs};

/// The files of one topic that the ledger knows, by their paths.
#[derive(Default)]
pub(super) struct Known {
    positions: HashMap<Vec<u8>, Position>,
    /// What stands at the paths; looked at when first needed.
    standing: Option<Standing>,
}

#[derive(Default)]
struct Standing {
    /// The paths at which nothing stands any more, sorted.
    gone: Vec<Vec<u8>>,
    /// The others, by device and inode.
    there: HashMap<(u64, u64), Vec<u8>>,
}

/// A file as the ledger knows it.
pub(super) struct Entry {
    pub position: Position,
    /// The path by which it is known, if it has another now.
    pub renamed_from: Option<Vec<u8>>,
}

impl Known {
    /// Notes what the ledger says of a file.
    pub fn insert(&mut self, path: Vec<u8>, position: Position) {
        self.positions.insert(path, position);
    }

    /// Whether the ledger knows none that was not asked for.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Opens a file where it is to be read on, and says as what it is known.
    ///
    /// A path that is not known is a known file nevertheless if that very file stands there (a link,
    /// another spelling), or if it begins like one whose path is gone. The files of a run are asked
    /// for one after the other: a known file that one of them has become is not found again.
    pub fn open(&mut self, path: &Path, hdfs: &Hdfs) -> Result<(Opened, Option<Entry>), Error> {
        let name = path.as_os_str().as_bytes();
        if let Some(position) = self.positions.remove(name) {
            let opened = Opened::at(path, Some(&position), hdfs)
                .map_err(|refusal| refusal.of(path, None))?;
            return Ok((opened, Some(Entry { position, renamed_from: None })));
        }
        let new = Opened::at(path, None, hdfs).map_err(|refusal| refusal.of(path, None))?;
        if new.is_stream() || self.positions.is_empty() {
            return Ok((new, None));
        }
        let standing =
            self.standing.get_or_insert_with(|| Standing::look(self.positions.keys(), hdfs));
        let same = new.itself().and_then(|itself| standing.there.remove(&itself));
        if let Some((old, position)) = same.and_then(|path| self.positions.remove_entry(&path)) {
            let opened = Opened::at(path, Some(&position), hdfs)
                .map_err(|refusal| refusal.of(path, Some(to_path(&old))))?;
            return Ok((opened, Some(Entry { position, renamed_from: Some(old) })));
        }
        let gone = standing.gone.iter().filter_map(|path| self.positions.get_key_value(path));
        let mut refused = None;
        for (old, position) in identity::like(&new.ahead, gone) {
            match Opened::at(path, Some(position), hdfs) {
                Ok(opened) => {
                    let old = old.clone();
                    let entry = self
                        .positions
                        .remove(&old)
                        .map(|position| Entry { position, renamed_from: Some(old) });
                    return Ok((opened, entry));
                }
                Err(refusal) => {
                    refused.get_or_insert_with(|| refusal.of(path, Some(to_path(old))));
                }
            }
        }
        refused.map_or(Ok((new, None)), Err)
    }
}

impl Standing {
    fn look<'a>(paths: impl Iterator<Item = &'a Vec<u8>>, hdfs: &Hdfs) -> Standing {
        let mut standing = Standing::default();
        for path in paths.filter(|path| *path != STDIN.as_bytes()) {
            match itself(to_path(path), hdfs) {
                Ok(Some(itself)) => {
                    standing.there.insert(itself, path.clone());
                }
                Ok(None) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    standing.gone.push(path.clone());
                }
                // It cannot be looked at, so nobody knows that it is gone.
                Err(_) => {}
            }
        }
        standing.gone.sort();
        standing
    }
}

/// Device and inode of what stands at a path, where there are such.
fn itself(path: &Path, hdfs: &Hdfs) -> io::Result<Option<(u64, u64)>> {
    if hdfs::is_url(path) {
        return hdfs.look(path).map(|_| None);
    }
    let there = fs::metadata(path)?;
    Ok(Some((there.dev(), there.ino())))
}

fn to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
