//! Dead letters in files: one an incarnation, a line a letter as `export` writes it.
//!
//! ```text
//!  recall.000003.0.tsv  recall.000004.1310.tsv  recall.000007.2048.tsv
//!  │0             1310│ │1310           2048│ │2048          ▲
//!                                                           the mark keeps this length of all together
//! ```
//!
//! A file's name says the incarnation, and how much stands in those before it. So the names and the
//! mark's length alone say what of each file is marked, also where a start has died before its first
//! mark, and where older files were taken away. An incarnation that stood still in the middle of a letter
//! and wakes up when others have begun writes on at the end of its file: that is behind where the next
//! one begins, so it does not count, and the next start cuts it off.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Error, Start};
use crate::failpoint;
use crate::retry::{self, Ended, Peer, Stop};
use crate::sink::DeadLetter;
use crate::text;

/// The file of this incarnation.
pub(super) struct Files {
    folder: PathBuf,
    path: PathBuf,
    /// How much stands in the files before it.
    before: u64,
    /// How many of its bytes are durable: all that was told.
    length: u64,
    /// Opened with the first letter, so that a start that meets none leaves no file; and anew after a
    /// failure.
    file: Option<File>,
}

/// A file, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    incarnation: u64,
    before: u64,
}

/// What becomes of a file that a start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// What lies behind this length, if it is so long, was not marked: those epochs run again.
    Cut(u64),
    /// Nothing of it was marked.
    Removed,
    /// The ledger does not know it: that was lost, reset, or went back. Perhaps it is what stands
    /// nowhere else.
    SetAside,
}

impl Named {
    fn parse(job: &str, name: &str) -> Option<Named> {
        let number = |digits: &str| {
            digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))
        };
        let numbers = name.strip_prefix(job)?.strip_prefix('.')?.strip_suffix(".tsv")?;
        let (incarnation, before) = numbers.split_once('.')?;
        Some(Named { incarnation: number(incarnation)?, before: number(before)? })
    }

    fn name(self, job: &str) -> String {
        format!("{job}.{:06}.{}.tsv", self.incarnation, self.before)
    }

    /// How many of its bytes are marked at most, where these files are there and the mark keeps this
    /// length of all.
    fn marked(self, there: &[Named], length: u64) -> u64 {
        let later = there.iter().filter(|it| it.incarnation > self.incarnation);
        let end = later.map(|it| it.before).fold(length, u64::min);
        end.saturating_sub(self.before)
    }

    /// Decides what becomes of it, where these files are there.
    fn fate(self, there: &[Named], start: Start<'_>) -> Fate {
        if self.is_aside(start) {
            return Fate::SetAside;
        }
        match self.marked(there, start.length) {
            0 => Fate::Removed,
            length => Fate::Cut(length),
        }
    }

    fn is_aside(self, start: Start<'_>) -> bool {
        self.incarnation >= start.incarnation || start.length == 0
    }
}

impl Files {
    /// Makes the folder ready for this incarnation. Repeating it is harmless: what was cut, removed or
    /// set aside stays so.
    pub fn begin(folder: &Path, start: Start<'_>) -> Result<Files, Error> {
        let refuse = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Folder { path, source }
        };
        fs::create_dir_all(folder).map_err(refuse(folder))?;
        let found = found(folder, start.job).map_err(refuse(folder))?;
        let known: Vec<_> =
            found.iter().map(|(named, _)| *named).filter(|named| !named.is_aside(start)).collect();
        let mut there = 0;
        for (named, path) in found {
            match named.fate(&known, start) {
                Fate::Cut(length) => {
                    let length = cut(&path, length).map_err(refuse(&path))?;
                    there = there.max(named.before + length);
                }
                Fate::Removed => fs::remove_file(&path).map_err(refuse(&path))?,
                Fate::SetAside => set_aside(&path).map_err(refuse(&path))?,
            }
        }
        if there < start.length {
            let (folder, marked) = (folder.display(), start.length);
            log::warn!(
                "dead letters up to the mark are missing here: path={folder} length={there} \
                 marked={marked}"
            );
        }
        sync_folder(folder).map_err(refuse(folder))?;
        let before = start.length;
        let named = Named { incarnation: start.incarnation, before };
        let path = folder.join(named.name(start.job));
        Ok(Files { folder: folder.to_owned(), path, before, length: 0, file: None })
    }

    /// Writes letters behind those that are there, and syncs; returns the length of all together then.
    pub fn keep(&mut self, letters: &[DeadLetter], stop: &Stop) -> Result<u64, Ended<Error>> {
        if !letters.is_empty() {
            // What a failed attempt has left is cut off by the next one.
            self.length = retry::persist(stop, Peer::Disk, "dead letters", |_| {
                self.append(letters).map_err(|source| {
                    self.file = None;
                    Error::Write { path: self.path.clone(), source }
                })
            })?;
        }
        Ok(self.before + self.length)
    }

    fn append(&mut self, letters: &[DeadLetter]) -> io::Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file =
                    File::options().create(true).truncate(false).write(true).open(&self.path)?;
                file.set_len(self.length)?;
                file.sync_all()?;
                sync_folder(&self.folder)?;
                none.insert(file)
            }
        };
        file.seek(SeekFrom::Start(self.length))?;
        let mut length = self.length;
        let mut out = BufWriter::with_capacity(64 << 10, &mut *file);
        let mut line = Vec::new();
        for letter in letters {
            line.clear();
            text::escape(&letter.place, &mut line);
            line.push(b'\t');
            line.extend_from_slice(letter.reason.name().as_bytes());
            line.push(b'\t');
            text::escape(&letter.bytes, &mut line);
            line.push(b'\n');
            out.write_all(&line)?;
            length += line.len() as u64;
        }
        out.flush()?;
        drop(out);
        failpoint::reach("letters-written");
        file.sync_data()?;
        failpoint::reach("letters-kept");
        Ok(length)
    }
}

/// The files of a job up to this incarnation, in the order in which they were written, each with how much
/// of it is marked at most; `length` is what the mark keeps.
pub(super) fn marked(
    folder: &Path,
    job: &str,
    incarnation: u64,
    length: u64,
) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = found(folder, job)?;
    // Those of a ledger that was lost, which one that stood still may have written since.
    found.retain(|(named, _)| named.incarnation <= incarnation);
    let there: Vec<_> = found.iter().map(|(named, _)| *named).collect();
    let marked = found.into_iter().map(|(named, path)| (path, named.marked(&there, length)));
    Ok(marked.filter(|(_, length)| *length > 0).collect())
}

/// The files of a job, in the order in which they were written.
fn found(folder: &Path, job: &str) -> io::Result<Vec<(Named, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(named) = name.to_str().and_then(|name| Named::parse(job, name)) {
            found.push((named, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Cuts what lies behind this length; returns the length then.
fn cut(path: &Path, length: u64) -> io::Result<u64> {
    let file = File::options().write(true).open(path)?;
    let there = file.metadata()?.len();
    if there > length {
        file.set_len(length)?;
        file.sync_all()?;
    }
    Ok(there.min(length))
}

fn set_aside(path: &Path) -> io::Result<()> {
    let aside = |nth: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".aside-{nth}"));
        PathBuf::from(name)
    };
    let mut nth = 1;
    while fs::exists(aside(nth))? {
        nth += 1;
    }
    fs::rename(path, aside(nth))?;
    let (path, to) = (path.display(), aside(nth));
    log::warn!(
        "dead letters that the ledger does not know are set aside: path={path} to={}",
        to.display()
    );
    Ok(())
}

/// Makes names in the folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Reason;
    use crate::source::Topic;

    fn letter(place: &str, bytes: &[u8]) -> DeadLetter {
        let (place, bytes) = (place.as_bytes().to_vec(), bytes.to_owned());
        DeadLetter { place, topic: Topic::Clicks, reason: Reason::NotJson, bytes }
    }

    /// A start of the job `a.b`.
    fn start(incarnation: u64, length: u64) -> Start<'static> {
        Start { job: "a.b", incarnation, length, fence: None }
    }

    fn begin(folder: &tempfile::TempDir, incarnation: u64, length: u64) -> Files {
        Files::begin(folder.path(), start(incarnation, length)).unwrap()
    }

    fn kept(files: &mut Files, places: &[&str]) -> u64 {
        let letters: Vec<_> = places.iter().map(|place| letter(place, b"x")).collect();
        files.keep(&letters, &Stop::default()).unwrap()
    }

    /// The line of a letter that [`kept`] writes, 13 bytes.
    fn line(place: &str) -> String {
        format!("{place}\tnot_json\tx\n")
    }

    /// All names in a folder, each with what stands there.
    fn all(folder: &tempfile::TempDir) -> Vec<(String, String)> {
        let mut all: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        all.sort();
        all
    }

    fn owned(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn letters_stand_a_line_each_as_export_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = begin(&folder, 12, 0);
        let letters = [letter("click-trace/3/42", b"a\tb\xff"), letter("l\n:1", b"")];
        let stop = Stop::default();
        assert_eq!(files.keep(&[], &stop).unwrap(), 0);
        assert!(all(&folder).is_empty(), "without a letter there is no file");
        let length = files.keep(&letters, &stop).unwrap();
        let lines = "click-trace/3/42\tnot_json\ta\\tb\\xff\nl\\n:1\tnot_json\t\n";
        assert_eq!(all(&folder), owned(&[("a.b.000012.0.tsv", lines)]));
        assert_eq!(length, lines.len() as u64);
        assert_eq!(files.keep(&[], &stop).unwrap(), length);
    }

    #[test]
    fn a_start_cuts_what_was_not_marked_and_begins_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = begin(&folder, 1, 0);
        assert_eq!(kept(&mut first, &["a"]), 13);
        assert_eq!(kept(&mut first, &["b"]), 26);
        // It dies with a marked. The next one marks nothing, and dies as well.
        assert_eq!(kept(&mut begin(&folder, 2, 13), &["b", "c"]), 39);
        assert_eq!(kept(&mut begin(&folder, 3, 13), &["b", "c", "d"]), 52);
        let three = ["b", "c", "d"].map(line).concat();
        let two = ["b", "c"].map(line).concat();
        assert_eq!(
            all(&folder),
            owned(&[("a.b.000001.0.tsv", &line("a")), ("a.b.000003.13.tsv", &three)])
        );
        // Of what the third has kept, b and c were marked. Older files may be taken away.
        fs::remove_file(folder.path().join("a.b.000001.0.tsv")).unwrap();
        assert_eq!(kept(&mut begin(&folder, 7, 39), &["d"]), 52);
        assert_eq!(
            all(&folder),
            owned(&[("a.b.000003.13.tsv", &two), ("a.b.000007.39.tsv", &line("d"))])
        );
        // A file that is all marked stays as it is.
        begin(&folder, 8, 52);
        assert_eq!(all(&folder)[1].1, line("d"));
    }

    #[test]
    fn what_dies_before_its_first_mark_leaves_no_letter_to_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        kept(&mut begin(&folder, 1, 0), &["a"]);
        kept(&mut begin(&folder, 2, 0), &["a"]);
        let aside = ("a.b.000001.0.tsv.aside-1", &*line("a"));
        assert_eq!(all(&folder), owned(&[aside, ("a.b.000002.0.tsv", &line("a"))]));
    }

    #[test]
    fn letters_that_the_ledger_does_not_know_are_set_aside_and_those_of_other_jobs_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "a.b.000001.0.tsv",
            "a.b.000002.13.tsv",
            "a.000001.0.tsv",
            "a.b.c.000001.0.tsv",
            "a.b.+1.0.tsv",
            "notes",
        ];
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::write(folder.path().join("a.b.000001.0.tsv.aside-1"), "older").unwrap();
        kept(&mut begin(&folder, 1, 0), &["new"]);
        let expected = [
            ("a.000001.0.tsv", "a.000001.0.tsv"),
            ("a.b.+1.0.tsv", "a.b.+1.0.tsv"),
            ("a.b.000001.0.tsv", &line("new")),
            ("a.b.000001.0.tsv.aside-1", "older"),
            ("a.b.000001.0.tsv.aside-2", "a.b.000001.0.tsv"),
            ("a.b.000002.13.tsv.aside-1", "a.b.000002.13.tsv"),
            ("a.b.c.000001.0.tsv", "a.b.c.000001.0.tsv"),
            ("notes", "notes"),
        ];
        assert_eq!(all(&folder), owned(&expected));
    }

    #[test]
    fn a_fate_is_told_by_the_numbers_in_the_names() {
        use Fate::{Cut, Removed, SetAside};
        let fates = |this, length| {
            let files = [(1, 0), (2, 50), (4, 80)]
                .map(|(incarnation, before)| Named { incarnation, before });
            let start = start(this, length);
            let known: Vec<_> = files.into_iter().filter(|it| !it.is_aside(start)).collect();
            files.map(|named| named.fate(&known, start))
        };
        assert_eq!(fates(5, 80), [Cut(50), Cut(30), Removed]);
        assert_eq!(fates(5, 81), [Cut(50), Cut(30), Cut(1)]);
        assert_eq!(fates(5, 50), [Cut(50), Removed, Removed]);
        // A ledger that went back: what it took for the numbers to come is not its.
        assert_eq!(fates(4, 60), [Cut(50), Cut(10), SetAside]);
        assert_eq!(fates(2, 60), [Cut(60), SetAside, SetAside]);
        assert_eq!(fates(5, 0), [SetAside; 3]);
        assert_eq!(fates(1, 0), [SetAside; 3]);
    }

    #[test]
    fn what_an_older_one_writes_when_others_have_begun_does_not_count_and_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, mut idle) = (begin(&folder, 1, 0), begin(&folder, 2, 13));
        kept(&mut first, &["a", "b"]);
        let mut third = begin(&folder, 3, 13);
        assert_eq!(kept(&mut third, &["b", "c"]), 39);
        // Both were told that they may write, stood still, and wake up now.
        kept(&mut first, &["b", "c", "d"]);
        kept(&mut idle, &["b"]);
        let [first, third] =
            ["a.b.000001.0.tsv", "a.b.000003.13.tsv"].map(|it| folder.path().join(it));
        assert!(fs::metadata(&first).unwrap().len() > 39);
        let marked = marked(folder.path(), "a.b", 3, 39).unwrap();
        assert_eq!(marked, [(first, 13), (third, 26)]);
        begin(&folder, 4, 39);
        let two = ["b", "c"].map(line).concat();
        assert_eq!(
            all(&folder),
            owned(&[("a.b.000001.0.tsv", &line("a")), ("a.b.000003.13.tsv", &two)])
        );
    }

    #[test]
    fn missing_letters_are_no_reason_not_to_start() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kept(&mut begin(&folder, 3, 1000), &["a"]), 1013);
        fs::write(folder.path().join("a.b.000003.1000.tsv"), "short").unwrap();
        assert_eq!(kept(&mut begin(&folder, 4, 1013), &["b"]), 1026);
    }

    #[test]
    fn what_lies_behind_the_mark_is_no_part_of_what_is_marked() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kept(&mut begin(&folder, 1, 0), &["a"]), 13);
        assert_eq!(kept(&mut begin(&folder, 2, 13), &["b", "c"]), 39);
        for name in ["a.000001.0.tsv", "a.b.000001.0.tsv.aside-1", "a.b.000005.3.tsv"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let [first, second] =
            ["a.b.000001.0.tsv", "a.b.000002.13.tsv"].map(|it| folder.path().join(it));
        let marked = |length| marked(folder.path(), "a.b", 2, length).unwrap();
        assert_eq!(marked(0), []);
        assert_eq!(marked(13), [(first.clone(), 13)]);
        assert_eq!(marked(26), [(first, 13), (second, 13)]);
    }
}
