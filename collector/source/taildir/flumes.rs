//! Flume's own file of positions: `[{"inode":1,"pos":2,"file":"/log"}]`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::source::follow::positions::Place;

#[derive(Debug, Serialize, Deserialize)]
struct Position {
    inode: u64,
    pos: u64,
    file: String,
}

/// Why it cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is none.
    #[error("{path} holds no positions; move it away to begin without them")]
    Syntax {
        /// Which file.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The positions by inode; none where there is no file, or an empty one, as Flume leaves it when it dies.
///
/// # Errors
///
/// If there is a file, and it cannot be read.
pub fn read(path: &Path) -> Result<BTreeMap<u64, u64>, Error> {
    let Some(bytes) = bytes(path)? else { return Ok(BTreeMap::new()) };
    if bytes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let positions: Vec<Position> = serde_json::from_slice(&bytes)
        .map_err(|source| Error::Syntax { path: path.display().to_string(), source })?;
    Ok(positions.into_iter().map(|position| (position.inode, position.pos)).collect())
}

/// What the file is, as a number; none where there is no file.
///
/// # Errors
///
/// If there is a file, and it cannot be read.
pub fn mark(path: &Path) -> Result<Option<u64>, Error> {
    Ok(bytes(path)?.map(|bytes| sum(&bytes)))
}

/// Replaces the file; returns what it is now, as a number.
///
/// # Errors
///
/// If it cannot be written: then the old one is there.
pub fn write<'f>(
    path: &Path,
    places: impl Iterator<Item = (&'f Path, &'f Place)>,
) -> io::Result<u64> {
    let positions: Vec<_> = places
        .map(|(path, place)| Position {
            inode: place.inode,
            pos: place.position(),
            file: path.to_string_lossy().into_owned(),
        })
        .collect();
    let text = serde_json::to_vec(&positions)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    drop(file);
    std::fs::rename(&beside, path)?;
    Ok(sum(&text))
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.display().to_string(), source }),
    }
}

fn sum(bytes: &[u8]) -> u64 {
    (bytes.len() as u64) << 32 | u64::from(crc32fast::hash(bytes))
}
