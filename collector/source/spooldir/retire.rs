//! What becomes of a file that is read, or cannot be.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::folder::{FAILED, Rules};

/// What becomes of a file that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Its name gets a suffix.
    Renamed,
    /// It is deleted.
    Deleted,
    /// A mark is made elsewhere.
    Marked,
}

/// A file is done: no later listing has it. Returns another name than was meant, where that was taken.
///
/// # Errors
///
/// If the system does not let it be.
pub fn retire(path: &Path, done: Done, rules: &Rules, synced: bool) -> io::Result<Option<PathBuf>> {
    let taken = match done {
        Done::Deleted => {
            std::fs::remove_file(path)?;
            None
        }
        Done::Renamed => {
            let name = |number: u32| {
                let number = if number == 0 { String::new() } else { format!(".{number}") };
                format!("{number}{}", rules.suffix)
            };
            let (to, number) = rename(path, name)?;
            (number > 0).then_some(to)
        }
        Done::Marked => mark(path, rules)?,
    };
    if synced {
        sync_folder(path)?;
    }
    Ok(taken)
}

/// A file is set aside: no later listing has it. Returns under which name.
///
/// # Errors
///
/// If the system does not let it be.
pub fn set_aside(path: &Path, rules: &Rules) -> io::Result<PathBuf> {
    if rules.done.is_some() {
        // The folder may not be ours to write to: it stays where it is.
        mark(path, rules)?;
        return Ok(path.to_owned());
    }
    let name = |number: u32| {
        if number == 0 { FAILED.to_owned() } else { format!("{FAILED}.{number}") }
    };
    rename(path, name).map(|(to, _)| to)
}

/// Renames a file to its name with one of these added, the first that is free; returns which.
fn rename(path: &Path, added: impl Fn(u32) -> String) -> io::Result<(PathBuf, u32)> {
    let mut number = 0;
    loop {
        let mut to = OsString::from(path);
        to.push(added(number));
        let to = PathBuf::from(to);
        match renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok((to, number)),
            Err(Errno::EXIST) => number += 1,
            // A file system that cannot rename so.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if to.symlink_metadata().is_ok() {
                    number += 1;
                    continue;
                }
                return std::fs::rename(path, &to).map(|()| (to, number));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Notes that a file is done. Returns the mark, if it was there already.
fn mark(path: &Path, rules: &Rules) -> io::Result<Option<PathBuf>> {
    let mark = rules.done_mark(path).expect("there is a folder for marks");
    if let Some(folder) = mark.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match File::options().write(true).create_new(true).open(&mark) {
        Ok(file) => {
            file.sync_all()?;
            sync_folder(&mark)?;
            Ok(None)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Some(mark)),
        Err(error) => Err(error),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
