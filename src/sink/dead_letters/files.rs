//! Dead letters in files: one an incarnation, `JOB.000012.tsv`, a line a letter as `export` writes it.
//!
//! ```text
//!  file of incarnation   marked_by │ between │ this  │ this or later, of a ledger that is gone
//!  becomes               cut       │ removed │ begun │ set aside
//! ```

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
    /// How many of its bytes are durable: all that was told.
    length: u64,
    /// Opened with the first letter, so that a start that meets none leaves no file; and anew after a
    /// failure.
    file: Option<File>,
}

/// What becomes of a file that a start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// All of it is marked.
    Stays,
    /// What lies behind this length was not marked: those epochs run again.
    Cut(u64),
    /// Nothing of it was marked.
    Removed,
    /// It is of a ledger that was lost or reset, which counted incarnations from 1 as this one does; or
    /// of one that went back. It may hold what stands nowhere else.
    SetAside,
}

/// Decides what becomes of the file of `incarnation`.
fn fate(incarnation: u64, start: Start<'_>) -> Fate {
    if incarnation == start.marked_by {
        Fate::Cut(start.length)
    } else if incarnation < start.marked_by {
        Fate::Stays
    } else if incarnation < start.incarnation {
        Fate::Removed
    } else {
        Fate::SetAside
    }
}

fn name(job: &str, incarnation: u64) -> String {
    format!("{job}.{incarnation:06}.tsv")
}

/// The incarnation whose file has this name.
fn incarnation(job: &str, name: &str) -> Option<u64> {
    let digits = name.strip_prefix(job)?.strip_prefix('.')?.strip_suffix(".tsv")?;
    digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))
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
        let mut marked = None;
        for entry in fs::read_dir(folder).map_err(refuse(folder))? {
            let entry = entry.map_err(refuse(folder))?;
            let (path, name) = (entry.path(), entry.file_name());
            let Some(incarnation) = name.to_str().and_then(|name| incarnation(start.job, name))
            else {
                continue;
            };
            match fate(incarnation, start) {
                Fate::Stays => {}
                Fate::Cut(length) => {
                    marked = Some(cut(&path, length).map_err(refuse(&path))?);
                }
                Fate::Removed => fs::remove_file(&path).map_err(refuse(&path))?,
                Fate::SetAside => set_aside(&path).map_err(refuse(&path))?,
            }
        }
        if marked.unwrap_or(0) < start.length {
            let (path, there) = (folder.join(name(start.job, start.marked_by)), marked.unwrap_or(0));
            let (path, length) = (path.display(), start.length);
            log::warn!("dead letters up to the mark are missing here: path={path} length={there} marked={length}");
        }
        sync_folder(folder).map_err(refuse(folder))?;
        let path = folder.join(name(start.job, start.incarnation));
        // Where the same incarnation begins again, it goes on behind what it has marked.
        let goes_on = start.marked_by == start.incarnation;
        let length = marked.filter(|_| goes_on).unwrap_or(0);
        Ok(Files { folder: folder.to_owned(), path, length, file: None })
    }

    /// Writes letters behind those that are there, and syncs; returns the length of the file then.
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
        Ok(self.length)
    }

    fn append(&mut self, letters: &[DeadLetter]) -> io::Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = File::options().create(true).truncate(false).write(true).open(&self.path)?;
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
        "dead letters of a ledger that is no more are set aside: path={path} to={}",
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
    fn start(incarnation: u64, marked_by: u64, length: u64) -> Start<'static> {
        Start { job: "a.b", incarnation, marked_by, length }
    }

    fn kept(files: &mut Files, places: &[&str]) -> u64 {
        let letters: Vec<_> = places.iter().map(|place| letter(place, b"x")).collect();
        files.keep(&letters, &Stop::default()).unwrap()
    }

    /// All names in a folder, each with what stands there.
    fn all(folder: &Path) -> Vec<(String, String)> {
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

    #[test]
    fn letters_stand_a_line_each_as_export_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::begin(folder.path(), start(12, 0, 0)).unwrap();
        let letters = [letter("click-trace/3/42", b"a\tb\xff"), letter("l\n:1", b"")];
        let stop = Stop::default();
        assert_eq!(files.keep(&[], &stop).unwrap(), 0);
        assert!(all(folder.path()).is_empty(), "without a letter there is no file");
        let length = files.keep(&letters, &stop).unwrap();
        let lines = "click-trace/3/42\tnot_json\ta\\tb\\xff\nl\\n:1\tnot_json\t\n";
        assert_eq!(all(folder.path()), [("a.b.000012.tsv".to_owned(), lines.to_owned())]);
        assert_eq!(length, lines.len() as u64);
        assert_eq!(files.keep(&[], &stop).unwrap(), length);
    }

    #[test]
    fn a_start_cuts_what_was_not_marked_and_begins_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Files::begin(folder.path(), start(1, 0, 0)).unwrap();
        let marked = kept(&mut first, &["a"]);
        kept(&mut first, &["b"]);
        // It dies. The next one marks nothing, and dies as well.
        let mut second = Files::begin(folder.path(), start(2, 1, marked)).unwrap();
        kept(&mut second, &["b", "c"]);
        let mut third = Files::begin(folder.path(), start(3, 1, marked)).unwrap();
        kept(&mut third, &["b", "c", "d"]);
        let line = |place| format!("{place}\tnot_json\tx\n");
        let expected = [
            ("a.b.000001.tsv".to_owned(), line("a")),
            ("a.b.000003.tsv".to_owned(), ["b", "c", "d"].map(line).concat()),
        ];
        assert_eq!(all(folder.path()), expected);
        // The mark that a third start finds may be its own, of length 0.
        let fourth = Files::begin(folder.path(), start(4, 3, 0)).unwrap();
        assert_eq!(fourth.length, 0);
        assert_eq!(all(folder.path())[1].1, "");
    }

    #[test]
    fn what_dies_before_its_first_mark_leaves_nothing_to_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Files::begin(folder.path(), start(1, 0, 0)).unwrap();
        kept(&mut first, &["a"]);
        Files::begin(folder.path(), start(2, 0, 0)).unwrap();
        assert!(all(folder.path()).is_empty());
    }

    #[test]
    fn an_incarnation_that_begins_again_goes_on_behind_its_mark() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::begin(folder.path(), start(5, 4, 0)).unwrap();
        let marked = kept(&mut files, &["a"]);
        kept(&mut files, &["b"]);
        let mut again = Files::begin(folder.path(), start(5, 5, marked)).unwrap();
        kept(&mut again, &["c"]);
        assert_eq!(all(folder.path())[0].1, "a\tnot_json\tx\nc\tnot_json\tx\n");
    }

    #[test]
    fn letters_of_a_ledger_that_is_no_more_are_set_aside_and_those_of_other_jobs_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a.b.000001.tsv", "a.b.000002.tsv", "a.000001.tsv", "a.b.c.000001.tsv", "notes"];
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::write(folder.path().join("a.b.000001.tsv.aside-1"), "older").unwrap();
        let mut files = Files::begin(folder.path(), start(1, 0, 0)).unwrap();
        kept(&mut files, &["new"]);
        let found = all(folder.path());
        let expected = [
            ("a.000001.tsv", "a.000001.tsv"),
            ("a.b.000001.tsv", "new\tnot_json\tx\n"),
            ("a.b.000001.tsv.aside-1", "older"),
            ("a.b.000001.tsv.aside-2", "a.b.000001.tsv"),
            ("a.b.000002.tsv.aside-1", "a.b.000002.tsv"),
            ("a.b.c.000001.tsv", "a.b.c.000001.tsv"),
            ("notes", "notes"),
        ];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn fates_are_told_by_three_numbers() {
        use Fate::{Cut, Removed, SetAside, Stays};
        for (marked_by, this, fates) in [
            (0, 1, [SetAside, SetAside, SetAside, SetAside]),
            (0, 3, [Removed, Removed, SetAside, SetAside]),
            (1, 2, [Cut(7), SetAside, SetAside, SetAside]),
            (1, 4, [Cut(7), Removed, Removed, SetAside]),
            (3, 4, [Stays, Stays, Cut(7), SetAside]),
            (3, 3, [Stays, Stays, Cut(7), SetAside]),
        ] {
            let found = [1, 2, 3, 4].map(|n| fate(n, start(this, marked_by, 7)));
            assert_eq!(found, fates, "marked by {marked_by}, this {this}");
        }
    }

    #[test]
    fn missing_letters_are_no_reason_not_to_start() {
        let folder = tempfile::tempdir().unwrap();
        let moved = folder.path().join("moved");
        let mut files = Files::begin(&moved, start(3, 2, 1000)).unwrap();
        assert_eq!(kept(&mut files, &["a"]), 13);
        fs::write(moved.join("a.b.000003.tsv"), "short").unwrap();
        let mut files = Files::begin(&moved, start(4, 3, 13)).unwrap();
        assert_eq!(kept(&mut files, &["b"]), 13);
    }
}
