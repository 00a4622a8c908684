//! Arguments become files, in the order in which they are read.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use glob::MatchOptions;
use walkdir::WalkDir;

use super::error::Error;
use super::far;
use collector::hdfs::{self, Hdfs};

/// What names standard input.
pub(super) const STDIN: &str = "-";

/// What a folder or a glob would have brought in, or an argument did a second time, and is not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Where it stands. A folder stands for all that is in it.
    pub path: PathBuf,
    /// Why it is not read.
    pub why: Why,
}

/// Why something is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its name begins with `.` or `_` or ends with `.tmp`.
    Name,
    /// It is a pipe, a socket or a device inside a folder.
    Special,
    /// It is a folder of something else than logs.
    NoLogs,
    /// It is read already in this run, by this or another name (a link).
    Again,
    /// It is in Hadoop's file system, and not closed.
    BeingWritten,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Name => "its name begins with . or _ or ends with .tmp",
            Why::Special => "it is no regular file",
            Why::NoLogs => "a store stands there",
            Why::Again => "it is given already",
            Why::BeingWritten => "it is still being written",
        })
    }
}

/// Lists the files that arguments mean, each file once, where it is first mentioned.
///
/// A file that is named is read whatever its name; in folders, and of what a glob matches, names
/// that look unfinished or hidden are skipped, folders with all that is in them, unless the glob
/// itself spells such a name. So are the folders of which `no_logs` says so. Links are followed.
pub(super) fn files(
    arguments: &[PathBuf],
    no_logs: fn(&Path) -> bool,
    hdfs: &Hdfs,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for argument in arguments {
        if hdfs::is_url(argument) {
            far::expand(argument, hdfs, &mut found, skipped)?;
        } else {
            expand(argument, no_logs, &mut found, skipped)?;
        }
    }
    let (mut seen, mut far) = (HashSet::new(), HashSet::new());
    let mut once = Vec::with_capacity(found.len());
    for path in found {
        if path.as_os_str() == STDIN {
            once.push(path);
            continue;
        }
        // In Hadoop's file system a file has one path.
        let is_new = match hdfs::is_url(&path) {
            true => far.insert(path.clone()),
            false => {
                let there = look(&path)?;
                seen.insert((there.dev(), there.ino()))
            }
        };
        if is_new {
            once.push(path);
        } else {
            skipped.push(Skipped { path, why: Why::Again });
        }
    }
    Ok(once)
}

fn expand(
    argument: &Path,
    no_logs: fn(&Path) -> bool,
    found: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<(), Error> {
    let bytes = argument.as_os_str().as_bytes();
    if bytes == STDIN.as_bytes() {
        found.push(argument.to_owned());
        return Ok(());
    }
    match look(argument) {
        Ok(there) if there.is_dir() => {
            let mut members = Vec::new();
            folder(argument, no_logs, &mut members, skipped)?;
            append_sorted(found, members);
            Ok(())
        }
        Ok(_) => {
            found.push(argument.to_owned());
            Ok(())
        }
        Err(Error::Missing { source, .. })
            if source.kind() == io::ErrorKind::NotFound
                && memchr::memchr3(b'*', b'?', b'[', bytes).is_some() =>
        {
            matches(argument, no_logs, found, skipped)
        }
        Err(error) => Err(error),
    }
}

/// Lists what a folder holds, in no order.
fn folder(
    root: &Path,
    no_logs: fn(&Path) -> bool,
    members: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<(), Error> {
    let before = skipped.len();
    if no_logs(root) {
        skipped.push(Skipped { path: root.to_owned(), why: Why::NoLogs });
        return Ok(());
    }
    let mut walk = WalkDir::new(root).min_depth(1).follow_links(true).into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // A link that leads nowhere is no matter where it would be skipped: editors leave such.
            Err(error) if error.path().and_then(Path::file_name).is_some_and(is_skipped) => {
                let path = error.path().unwrap_or(root).to_owned();
                skipped.push(Skipped { path, why: Why::Name });
                continue;
            }
            Err(error) => {
                let path = error.path().unwrap_or(root).to_owned();
                return Err(Error::List { path, source: error.into() });
            }
        };
        let kind = entry.file_type();
        if kind.is_dir() && no_logs(entry.path()) {
            walk.skip_current_dir();
            skipped.push(Skipped { path: entry.into_path(), why: Why::NoLogs });
        } else if is_skipped(entry.file_name()) {
            if kind.is_dir() {
                walk.skip_current_dir();
            }
            skipped.push(Skipped { path: entry.into_path(), why: Why::Name });
        } else if kind.is_file() {
            members.push(entry.into_path());
        } else if !kind.is_dir() {
            skipped.push(Skipped { path: entry.into_path(), why: Why::Special });
        }
    }
    skipped[before..].sort();
    Ok(())
}

/// Lists what a glob matches; a folder stands for its files.
fn matches(
    pattern: &Path,
    no_logs: fn(&Path) -> bool,
    found: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<(), Error> {
    let text = pattern.to_str().ok_or_else(|| Error::GlobNotUtf8 { pattern: pattern.into() })?;
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let paths = glob::glob_with(text, options)
        .map_err(|source| Error::Glob { pattern: pattern.into(), source })?;
    let spelled = pattern.file_name().is_some_and(is_skipped);
    let mut members = Vec::new();
    let mut matched = false;
    for path in paths {
        let path = path
            .map_err(|error| Error::List { path: error.path().to_owned(), source: error.into() })?;
        matched = true;
        if !spelled && path.file_name().is_some_and(is_skipped) {
            skipped.push(Skipped { path, why: Why::Name });
        } else if look(&path)?.is_dir() {
            folder(&path, no_logs, &mut members, skipped)?;
        } else {
            members.push(path);
        }
    }
    if !matched {
        return Err(Error::NoMatch { pattern: pattern.into() });
    }
    append_sorted(found, members);
    Ok(())
}

pub(super) fn append_sorted(found: &mut Vec<PathBuf>, mut members: Vec<PathBuf>) {
    // Paths compare by their components, which is another order than that of their bytes.
    members.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    found.append(&mut members);
}

pub(super) fn is_skipped(name: &OsStr) -> bool {
    let name = name.as_bytes();
    matches!(name, [b'.' | b'_', ..]) || name.ends_with(b".tmp")
}

fn look(path: &Path) -> Result<fs::Metadata, Error> {
    fs::metadata(path).map_err(|source| Error::Missing { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    /// Makes files, named by bytes, in a folder of their own.
    fn made(names: &[&[u8]]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let path = root.path().join(OsStr::from_bytes(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        root
    }

    /// What arguments within a folder mean: files, and what is skipped, without the folder's path.
    type Listed = (Vec<String>, Vec<(String, Why)>);

    fn list(root: &tempfile::TempDir, arguments: &[&str]) -> Result<Listed, Error> {
        let arguments: Vec<_> = arguments.iter().map(|name| root.path().join(name)).collect();
        let mut skipped = Vec::new();
        let no_logs = |folder: &Path| folder.join("NO-LOGS").exists();
        let found = files(&arguments, no_logs, &Hdfs::default(), &mut skipped)?;
        let short = |path: &Path| {
            let path = path.strip_prefix(root.path()).unwrap();
            path.as_os_str().as_bytes().escape_ascii().to_string()
        };
        let skipped = skipped.iter().map(|it| (short(&it.path), it.why)).collect();
        Ok((found.iter().map(|path| short(path)).collect(), skipped))
    }

    #[test]
    fn a_folder_is_its_files_sorted_by_the_bytes_of_their_paths() {
        let root = made(&[b"l/a/b.log", b"l/a.log", b"l/B.log", b"l/\xff.log", b"l/10", b"l/9"]);
        let (found, skipped) = list(&root, &["l"]).unwrap();
        assert_eq!(found, ["l/10", "l/9", "l/B.log", "l/a.log", "l/a/b.log", "l/\\xff.log"]);
        assert!(skipped.is_empty());
    }

    #[test]
    fn hidden_and_unfinished_names_are_skipped_in_folders_and_named() {
        let root = made(&[
            b"l/.hidden",
            b"l/_SUCCESS",
            b"l/a.log.tmp",
            b"l/a.tmp.log",
            b"l/_temporary/0/a.log",
            b"l/sub/.git/config",
            b"l/sub/a_b.log",
        ]);
        std::os::unix::fs::symlink("nowhere", root.path().join("l/.#lock")).unwrap();
        let (found, skipped) = list(&root, &["l"]).unwrap();
        assert_eq!(found, ["l/a.tmp.log", "l/sub/a_b.log"]);
        let names =
            ["l/.#lock", "l/.hidden", "l/_SUCCESS", "l/_temporary", "l/a.log.tmp", "l/sub/.git"];
        assert_eq!(skipped, names.map(|name| (name.to_owned(), Why::Name)));
        let (found, _) = list(&root, &["l/_SUCCESS", "l/.hidden", "l/_temporary"]).unwrap();
        assert_eq!(found, ["l/_SUCCESS", "l/.hidden", "l/_temporary/0/a.log"]);
    }

    #[test]
    fn a_folder_of_no_logs_among_the_logs_is_skipped_and_named() {
        let root =
            made(&[b"l/a.log", b"l/s/NO-LOGS", b"l/s/db/0.jnl", b"s/NO-LOGS", b"other/b.log"]);
        let (found, skipped) = list(&root, &["l", "s", "other"]).unwrap();
        assert_eq!(found, ["l/a.log", "other/b.log"]);
        assert_eq!(skipped, ["l/s", "s"].map(|name| (name.to_owned(), Why::NoLogs)));
        assert_eq!(list(&root, &["*"]).unwrap().0, found);
    }

    #[test]
    fn a_glob_is_sorted_and_a_path_that_exists_is_no_glob() {
        let root = made(&[b"b.log", b"a.log", b"_c.log", b".d.log", b"d/e.log", b"[ab].log"]);
        let (found, skipped) = list(&root, &["*.log"]).unwrap();
        assert_eq!(found, ["[ab].log", "a.log", "b.log"]);
        assert_eq!(skipped, [("_c.log".to_owned(), Why::Name)]);
        assert_eq!(list(&root, &["[ab].log"]).unwrap().0, ["[ab].log"]);
        assert_eq!(list(&root, &["[b].log", "?.log"]).unwrap().0, ["b.log", "a.log"]);
        assert_eq!(list(&root, &["_*.log"]).unwrap().0, ["_c.log"]);
        assert_eq!(list(&root, &["**/*.log"]).unwrap().0.len(), 4);
        assert_eq!(list(&root, &["d*"]).unwrap().0, ["d/e.log"]);
        assert!(matches!(list(&root, &["*.gz"]), Err(Error::NoMatch { .. })));
        assert!(matches!(list(&root, &["a[.log"]), Err(Error::Glob { .. })));
    }

    #[test]
    fn a_file_is_read_once_where_it_is_first_mentioned() {
        let root = made(&[b"l/a.log", b"l/b.log"]);
        std::os::unix::fs::symlink("b.log", root.path().join("l/current")).unwrap();
        let (found, skipped) = list(&root, &["l/b.log", "l", "l/../l/a.log"]).unwrap();
        assert_eq!(found, ["l/b.log", "l/a.log"]);
        let again = ["l/b.log", "l/current", "l/../l/a.log"];
        assert_eq!(skipped, again.map(|name| (name.to_owned(), Why::Again)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = made(&[b"a.log"]);
        let error = list(&root, &["a.log", "b.log"]).unwrap_err();
        assert!(error.to_string().ends_with("b.log"), "{error}");
        std::os::unix::fs::symlink("nowhere", root.path().join("link.log")).unwrap();
        let folder = PathBuf::from(root.path());
        let found =
            |argument: PathBuf| files(&[argument], |_| false, &Hdfs::default(), &mut Vec::new());
        let error = found(folder).unwrap_err();
        assert!(error.to_string().ends_with("link.log"), "{error}");
        let bytes = std::ffi::OsString::from_vec(b"\xff*".to_vec());
        assert!(matches!(found(bytes.into()), Err(Error::GlobNotUtf8 { .. })));
    }
}
