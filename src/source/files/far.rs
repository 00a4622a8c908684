//! What arguments mean that are URLs `hdfs://`: files, folders and globs, as where they are paths.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::inputs::{Skipped, Why, append_sorted, is_skipped};
use collector::hdfs::{Entry, Hdfs};

/// Lists the files that a URL means.
pub(super) fn expand(
    url: &Path,
    hdfs: &Hdfs,
    found: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<(), Error> {
    let before = skipped.len();
    let mut members = Vec::new();
    match hdfs.look(url) {
        Ok(Entry { is_folder: false, url }) => members.push(url),
        Ok(Entry { url, .. }) => folder(&url, hdfs, &mut members, skipped)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_glob(url) => {
            matches(url, hdfs, &mut members, skipped)?;
        }
        Err(source) => return Err(Error::Missing { path: url.to_owned(), source }),
    }
    skipped[before..].sort();
    append_sorted(found, members);
    Ok(())
}

fn is_glob(url: &Path) -> bool {
    url.as_os_str().as_bytes().iter().any(|byte| b"*?[{".contains(byte))
}

fn matches(
    glob: &Path,
    hdfs: &Hdfs,
    members: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<(), Error> {
    let all = hdfs.matches(glob).map_err(|source| Error::List { path: glob.into(), source })?;
    if all.is_empty() {
        return Err(Error::NoMatch { pattern: glob.into() });
    }
    let spelled = glob.file_name().is_some_and(is_skipped);
    all.into_iter().try_for_each(|entry| take(entry, spelled, hdfs, members, skipped))
}

/// Lists what a folder holds, in no order.
fn folder(
    url: &Path,
    hdfs: &Hdfs,
    members: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<(), Error> {
    let all = hdfs.list(url).map_err(|source| Error::List { path: url.to_owned(), source })?;
    all.into_iter().try_for_each(|entry| take(entry, false, hdfs, members, skipped))
}

fn take(
    Entry { url, is_folder }: Entry,
    spelled: bool,
    hdfs: &Hdfs,
    members: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<(), Error> {
    if !spelled && url.file_name().is_some_and(is_skipped) {
        skipped.push(Skipped { path: url, why: Why::Name });
        return Ok(());
    }
    if is_folder {
        return folder(&url, hdfs, members, skipped);
    }
    members.push(url);
    Ok(())
}
