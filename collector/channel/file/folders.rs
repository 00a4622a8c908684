//! The folders of a channel: ours alone, and never Flume's.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::channel::Failure;
use crate::lock;

/// The folder of ours within one that a file names.
const OURS: &str = "online-recall";

/// Makes our folder in this one, if it is not there.
pub(super) fn make(within: &Path) -> Result<PathBuf, Failure> {
    let folder = within.join(OURS);
    std::fs::create_dir_all(&folder)
        .map_err(|source| Failure::io(format!("cannot make {}", folder.display()), source))?;
    Ok(folder)
}

/// Takes a folder for this process alone, until the file is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join("lock");
    let failed = |source: io::Error| Failure::io(format!("cannot lock {}", path.display()), source);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(failed)?;
    match lock::take(&file).map_err(failed)? {
        true => Ok(file),
        false => Err(Failure::new(format!("another process works in {}", folder.display()))),
    }
}

/// What tells the log in a folder from every other: drawn with it, and lost with it.
pub(super) fn identity(folder: &Path) -> Result<String, Failure> {
    let path = folder.join("identity");
    let failed = |source| Failure::io(format!("cannot read or write {}", path.display()), source);
    match std::fs::read_to_string(&path) {
        Ok(identity) if uuid::Uuid::try_parse(&identity).is_ok() => return Ok(identity),
        Ok(_) => {
            return Err(Failure::new(format!("{} is no identity of a channel", path.display())));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let identity = uuid::Uuid::new_v4().to_string();
    let next = path.with_extension("new");
    let write = || {
        std::fs::write(&next, &identity).map_err(|error| named(&next, error))?;
        File::open(&next)?.sync_all()?;
        std::fs::rename(&next, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(failed)?;
    Ok(identity)
}

/// Refuses a folder in which Flume's own channel has its log.
pub(super) fn refuse_flumes(folder: &Path) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("log-"));
        let is_log = number.is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if is_log && entry.metadata().is_ok_and(|entry| entry.len() > 0) {
            return Err(Failure::new(format!(
                "{} is a log of Flume's own channel, and may hold events that were not delivered: let Flume deliver \
                 them, and move its files away",
                entry.path().display()
            )));
        }
    }
    Ok(())
}

/// How many bytes the disk of a folder has left for us.
pub(super) fn space(folder: &Path) -> io::Result<u64> {
    let stat = statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What the system says, of a file.
pub(super) fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
