//! Files on disk, read through a feed, against a plain model; runs that follow one another.
//!
//! A ledger is a map here: what the real one does with positions in a transaction is not tested.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dataflows::Epoch;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::source::{self, Cut, Feed, Next, Range, Stopped, Topic};

/// What a run read, and what is known after it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ledger {
    known: BTreeMap<(Topic, Vec<u8>), Position>,
    mark: u64,
    /// Epoch, file, line, record.
    records: Vec<(u64, String, u64, Vec<u8>)>,
    /// Of each epoch: file, first line, line after the last.
    ranges: Vec<Vec<(String, u64, u64)>>,
}

impl Ledger {
    fn plan(&self, clicks: &[&Path], articles: &[&Path]) -> Result<Plan, Error> {
        let owned = |paths: &[&Path]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let known = self.known.iter();
        let known = known.map(|((topic, path), position)| (*topic, path.clone(), position.clone()));
        Plan::new(&owned(clicks), &owned(articles), |_| false, known)
    }

    /// Reads all that is new, or stops when so many epochs are marked.
    fn run(&mut self, plan: Plan, records: u64, epochs: Option<u64>) -> Result<(), Error> {
        plan.renaming().iter().for_each(|range| self.keep(range));
        let (sender, cuts) = crossbeam_channel::unbounded();
        let feed = Feed::new(Epoch(self.mark), 3, sender);
        let done = AtomicBool::new(false);
        let total = plan.total();
        let progress = plan.progress();
        let last = epochs.map(|epochs| self.mark + epochs);
        let result = thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let result = plan.read(&feed, NonZeroU64::new(records).unwrap());
                done.store(true, Ordering::SeqCst);
                result
            });
            let mut chunks = Vec::new();
            loop {
                let finished = done.load(Ordering::SeqCst);
                // Looked for before the chunks: all chunks of these cuts are there.
                let closed: Vec<Cut> = cuts.try_iter().collect();
                while let Next::Chunk(chunk) = feed.next() {
                    chunks.push(chunk);
                }
                for cut in closed {
                    self.mark(&cut, &mut chunks, last);
                    feed.marked(Epoch(self.mark));
                }
                if last == Some(self.mark) {
                    feed.stop();
                    break;
                }
                if finished && cuts.is_empty() {
                    break;
                }
                thread::yield_now();
            }
            reading.join().unwrap()
        });
        if result.is_ok()
            && let Some(total) = total
        {
            assert_eq!(progress.load(Ordering::Relaxed), total);
        }
        match result {
            Err(Error::Stopped(Stopped)) => Ok(()),
            result => result,
        }
    }

    fn mark(&mut self, cut: &Cut, chunks: &mut Vec<source::Chunk>, last: Option<u64>) {
        if last.is_some_and(|last| cut.epoch.0 > last) {
            return;
        }
        self.mark = cut.epoch.0;
        let mut ordinal = 0;
        for chunk in chunks.extract_if(.., |chunk| chunk.epoch == cut.epoch) {
            assert!(chunk.partition.ordinal >= ordinal, "chunks come in the order of partitions");
            ordinal = chunk.partition.ordinal;
            for record in chunk.records() {
                assert_eq!(record.place.partition, ordinal);
                let (name, line) = (short(&chunk.partition.name), record.place.offset);
                self.records.push((cut.epoch.0, name, line, record.bytes.to_vec()));
            }
        }
        let ranges = cut.ranges.iter();
        self.ranges.push(ranges.map(|it| (short(&it.partition), it.from, it.to)).collect());
        cut.ranges.iter().for_each(|range| self.keep(range));
    }

    fn keep(&mut self, range: &Range) {
        let source::Position::File(position) = range.position.clone() else {
            panic!("a file's position")
        };
        assert_eq!(position.lines + 1, range.to);
        if let Some(old) = &position.renamed_from {
            self.known.remove(&(range.topic, old.clone())).unwrap();
        }
        self.known.insert((range.topic, range.partition.clone()), position);
    }

    /// Reads all that is new of files of clicks, 10 lines an epoch, and says which lines.
    fn read(&mut self, clicks: &[&Path]) -> Result<Vec<String>, Error> {
        let plan = self.plan(clicks, &[])?;
        let before = self.records.len();
        self.run(plan, 10, None)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let new = self.records[before..].iter();
        Ok(new.map(|(_, name, line, bytes)| format!("{name}:{line} {}", text(bytes))).collect())
    }
}

fn short(path: &[u8]) -> String {
    String::from_utf8_lossy(path.rsplit(|byte| *byte == b'/').next().unwrap()).into_owned()
}

fn packed(members: &[&[u8]]) -> Vec<u8> {
    let pack = |member: &&[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(member).unwrap();
        encoder.finish().unwrap()
    };
    members.iter().flat_map(pack).collect()
}

fn numbered(lines: std::ops::Range<u32>) -> Vec<u8> {
    lines.flat_map(|n| format!("{n}\n").into_bytes()).collect()
}

/// A folder, and the paths of files in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A file as made up: its lines, whether the last one ends, and whether it is packed.
type Made = (Vec<Vec<u8>>, bool, bool);

fn made() -> impl Strategy<Value = Vec<Made>> {
    let line = prop_oneof![
        9 => proptest::collection::vec(b'a'..=b'z', 0..40),
        1 => proptest::collection::vec(b'a'..=b'z', 5000..9000),
    ];
    let lines = proptest::collection::vec(line, 0..40);
    proptest::collection::vec((lines, any::<bool>(), any::<bool>()), 0..5)
}

/// Writes files, and says which records they hold: file, line, bytes.
fn write(folder: &Folder, prefix: &str, files: &[Made]) -> Vec<(PathBuf, Vec<Vec<u8>>)> {
    let write = |(n, (lines, ended, gz)): (usize, &Made)| {
        let mut bytes = lines.join(&b'\n');
        let mut lines = lines.clone();
        if *ended && !lines.is_empty() {
            bytes.push(b'\n');
        } else if lines.last().is_some_and(Vec::is_empty) {
            // Nothing after the last newline is no line.
            lines.pop();
        }
        let (a, b) = bytes.split_at(bytes.len() / 3);
        let bytes = if *gz { packed(&[a, b, b""]) } else { bytes.clone() };
        (folder.write(&format!("{prefix}{n}{}", if *gz { ".gz" } else { "" }), &bytes), lines)
    };
    files.iter().enumerate().map(write).collect()
}

/// A file and its lines.
type Written = (PathBuf, Vec<Vec<u8>>);

/// The records of epochs, as the rule says.
fn model(topics: [&[Written]; 2], records: u64) -> Vec<(u64, String, u64, Vec<u8>)> {
    let mut found = Vec::new();
    for files in topics {
        let lines = files.iter().flat_map(|(path, lines)| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (1..).zip(lines).map(move |(line, bytes)| (name.clone(), line, bytes.clone()))
        });
        let epochs = (0..).map(|n: u64| n / records + 1);
        found.extend(epochs.zip(lines).map(|(epoch, (name, line, it))| (epoch, name, line, it)));
    }
    found.sort_by_key(|record| record.0);
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn an_epoch_is_the_next_lines_of_each_topic_and_a_killed_run_goes_on_with_the_same_epochs(
        clicks in made(),
        articles in made(),
        records in prop_oneof![1_u64..4, 5_u64..60, Just(10_000)],
        kill in any::<prop::sample::Index>(),
    ) {
        let folder = Folder::new();
        let clicks = write(&folder, "c", &clicks);
        let articles = write(&folder, "a", &articles);
        let click_paths: Vec<&Path> = clicks.iter().map(|it| &*it.0).collect();
        let article_paths: Vec<&Path> = articles.iter().map(|it| &*it.0).collect();
        let mut whole = Ledger::default();
        let plan = whole.plan(&click_paths, &article_paths).unwrap();
        whole.run(plan, records, None).unwrap();
        prop_assert_eq!(&whole.records, &model([&clicks, &articles], records));

        let mut resumed = Ledger::default();
        for epochs in [kill.index(whole.mark as usize + 1) as u64, 1] {
            let plan = resumed.plan(&click_paths, &article_paths).unwrap();
            if epochs > 0 {
                resumed.run(plan, records, Some(epochs)).unwrap();
            }
        }
        let plan = resumed.plan(&click_paths, &article_paths).unwrap();
        resumed.run(plan, records, None).unwrap();
        prop_assert_eq!(&resumed, &whole);

        let plan = whole.plan(&click_paths, &article_paths).unwrap();
        prop_assert_eq!(plan.files().0, 0, "nothing is new");
        whole.run(plan, records, None).unwrap();
        prop_assert_eq!(&resumed, &whole);
    }

    #[test]
    fn a_file_that_grows_is_read_where_it_goes_on_plain_or_packed(
        lines in proptest::collection::vec(("[a-z]{0,900}", "\n|\r\n"), 1..40),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        gz: bool,
    ) {
        let folder = Folder::new();
        let path = folder.path(if gz { "f.gz" } else { "f" });
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(lines.len())).collect();
        cuts.push(lines.len());
        cuts.sort_unstable();
        let (mut ledger, mut from, mut members) = (Ledger::default(), 0, Vec::new());
        for to in cuts {
            members.push(lines[from..to].iter().flat_map(|(line, end)| [&**line, end]).collect());
            let members: Vec<&[u8]> = members.iter().map(|it: &String| it.as_bytes()).collect();
            fs::write(&path, if gz { packed(&members) } else { members.concat() }).unwrap();
            let found = ledger.read(&[&path]).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let expected = (from + 1..=to).map(|n| format!("{name}:{n} {}", lines[n - 1].0));
            prop_assert_eq!(found, expected.collect::<Vec<_>>());
            from = to;
        }
    }
}

#[test]
fn the_end_of_an_unended_line_may_come_later_and_is_no_record() {
    for (first, rest) in [("a", "\n"), ("a", "\r\n"), ("a\r", "\n"), ("x\na", "\r")] {
        let folder = Folder::new();
        let path = folder.write("f", first.as_bytes());
        let mut ledger = Ledger::default();
        let number = ledger.read(&[&path]).unwrap().len() + 1;
        fs::write(&path, format!("{first}{rest}")).unwrap();
        assert_eq!(ledger.plan(&[&path], &[]).unwrap().files(), (0, 1), "{first:?} {rest:?}");
        if rest.ends_with('\n') {
            fs::write(&path, format!("{first}{rest}b\nc")).unwrap();
            let expected = [format!("f:{number} b"), format!("f:{} c", number + 1)];
            assert_eq!(ledger.read(&[&path]).unwrap(), expected, "{first:?} {rest:?}");
        }
    }
}

#[test]
fn a_file_that_changed_where_it_was_read_stops_the_run_before_anything_is_read() {
    let long = numbered(0..4000);
    let mut rewritten = long.clone();
    rewritten[long.len() - 10] = b'x';
    let mut begun_otherwise = long.clone();
    begun_otherwise[0] = b'x';
    let unended = &long[..long.len() - 1];
    type Judged = fn(&Change) -> bool;
    let cases: [(&[u8], &[u8], Judged); 5] = [
        (&long, &long[..1000], |it| matches!(it, Change::Shorter { lines: 4000, .. })),
        (&long, &long[..9000], |it| matches!(it, Change::Shorter { found: 9000, .. })),
        (&long, &begun_otherwise, |it| matches!(it, Change::BegunOtherwise { .. })),
        (&long, &rewritten, |it| matches!(it, Change::Rewritten { compared: 4096, .. })),
        (unended, &[unended, b"5\n"].concat(), |it| {
            matches!(it, Change::LineLonger { line: 4000, .. })
        }),
    ];
    for (n, (before, after, judged)) in cases.into_iter().enumerate() {
        for [from, to] in [["f", "f"], ["f.gz", "f.gz"], ["f", "renamed.gz"]] {
            if from != to && n == 0 {
                // Less than 4 KiB cannot begin like 4 KiB: this is a new file.
                continue;
            }
            if from != to && n == 2 {
                continue;
            }
            let bytes = |name: &str, bytes: &[u8]| match name.ends_with("gz") {
                true => packed(&[bytes]),
                false => bytes.to_vec(),
            };
            let folder = Folder::new();
            let path = folder.write(from, &bytes(from, before));
            let mut ledger = Ledger::default();
            ledger.read(&[&path]).unwrap();
            fs::remove_file(&path).unwrap();
            let new = folder.write("0", b"new\n");
            let path = folder.write(to, &bytes(to, after));
            let error = ledger.plan(&[&new, &path], &[]).err().unwrap();
            let Error::Changed { path: named, known_as, change } = &error else {
                panic!("{error}")
            };
            assert!(judged(change), "{error}");
            assert_eq!((named, known_as.is_some()), (&path, from != to), "{error}");
            assert!(error.to_string().contains("nothing was applied"), "{error}");
        }
    }
}

#[test]
fn a_renamed_file_goes_on_under_its_new_name() {
    for lines in [3, 100, 3000] {
        let folder = Folder::new();
        let old = folder.write("day.log", &numbered(0..lines));
        let mut ledger = Ledger::default();
        assert_eq!(ledger.read(&[&old]).unwrap().len(), lines as usize);
        // Renamed and grown.
        fs::remove_file(&old).unwrap();
        let new = folder.write("day.log.1", &numbered(0..lines + 1));
        let plan = ledger.plan(&[&new], &[]).unwrap();
        assert_eq!(plan.renamed(), [Renamed { from: old.clone(), to: new.clone() }]);
        let expected = format!("day.log.1:{} {lines}", lines + 1);
        assert_eq!(ledger.read(&[&new]).unwrap(), [expected]);
        assert_eq!(ledger.known.len(), 1, "the old name is forgotten");
        // Packed; what is new stands in another file, and the old name is taken anew.
        fs::remove_file(&new).unwrap();
        let gz = folder.write("day.log.1.gz", &packed(&[&numbered(0..lines + 1)]));
        fs::write(&old, b"another\n").unwrap();
        assert_eq!(ledger.read(&[&old, &gz]).unwrap(), ["day.log:1 another"]);
        let names: Vec<String> = ledger.known.keys().map(|(_, path)| short(path)).collect();
        assert_eq!(names, ["day.log", "day.log.1.gz"]);
        assert!(ledger.read(&[&gz, &old]).unwrap().is_empty());
    }
}

#[test]
fn a_copy_of_a_file_that_is_still_there_is_a_file_of_its_own_and_so_is_another_topics() {
    let folder = Folder::new();
    let a = folder.write("a", &numbered(0..50));
    let mut ledger = Ledger::default();
    ledger.read(&[&a]).unwrap();
    let b = folder.write("b", &numbered(0..50));
    assert_eq!(ledger.read(&[&b]).unwrap().len(), 50);
    assert_eq!(ledger.plan(&[], &[&a]).unwrap().files(), (1, 0));
    fs::remove_file(&a).unwrap();
    fs::remove_file(&b).unwrap();
    let c = folder.write("c", &numbered(0..50));
    assert_eq!(ledger.plan(&[], &[&c]).unwrap().files(), (1, 0));
    assert_eq!(ledger.plan(&[&c], &[]).unwrap().files(), (0, 1));
}

#[test]
fn of_gone_files_that_begin_alike_the_longest_that_a_new_file_contains_is_meant() {
    let folder = Folder::new();
    let mut ledger = Ledger::default();
    let alike = numbered(0..2000);
    let texts = [&b"x\n"[..], b"y\n", b"z\n"].map(|end| [&alike, end].concat());
    let short = folder.write("short", &alike);
    let old: Vec<PathBuf> =
        ["a", "b", "c"].iter().zip(&texts).map(|(name, text)| folder.write(name, text)).collect();
    ledger.read(&[&short, &old[0], &old[1], &old[2]]).unwrap();
    for path in old.iter().chain([&short]) {
        fs::remove_file(path).unwrap();
    }
    let new: Vec<PathBuf> = ["2", "0", "1"]
        .iter()
        .map(|n| folder.write(n, &[&texts[n.parse::<usize>().unwrap()][..], b"more\n"].concat()))
        .collect();
    let other = folder.write("other", &[&alike[..], b"w\n"].concat());
    let mut paths: Vec<&Path> = new.iter().map(|path| &**path).collect();
    paths.push(&other);
    let plan = ledger.plan(&paths, &[]).unwrap();
    let names = plan.renamed().iter();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let names: Vec<_> = names.map(|it| name(&it.from) + ">" + &name(&it.to)).collect();
    assert_eq!(names, ["c>2", "a>0", "b>1", "short>other"]);
    let expected = ["2:2002 more", "0:2002 more", "1:2002 more", "other:2001 w"];
    assert_eq!(ledger.read(&paths).unwrap(), expected);
}

#[test]
fn a_link_to_a_known_file_or_another_spelling_of_its_path_is_that_file() {
    let folder = Folder::new();
    let path = folder.write("f", b"1\n");
    let mut ledger = Ledger::default();
    ledger.read(&[&path]).unwrap();
    let link = folder.path("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let spelled = folder.path("./").join("f");
    for other in [&link, &spelled] {
        assert_eq!(ledger.plan(&[other], &[]).unwrap().files(), (0, 1));
    }
    fs::write(&path, b"1\n2\n").unwrap();
    assert_eq!(ledger.read(&[&link]).unwrap(), ["link:2 2"]);
    assert_eq!(ledger.plan(&[&path], &[]).unwrap().files(), (0, 1));
}

#[test]
fn a_packed_file_with_the_same_end_is_not_unpacked_again() {
    let folder = Folder::new();
    // 30 epochs of 10: the last one ends where the file does.
    let mut bytes = packed(&[&numbered(0..300).repeat(20)]);
    let path = folder.write("f.gz", &bytes);
    let mut ledger = Ledger::default();
    ledger.read(&[&path]).unwrap();
    let trailer = bytes.len() - 5;
    let middle = bytes.len() - 100;
    bytes[middle] ^= 0xff;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(ledger.plan(&[&path], &[]).unwrap().files(), (0, 1));
    bytes[trailer] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(ledger.read(&[&path]).is_err(), "with another end, it is");
}

#[test]
fn a_torn_packed_file_is_an_error_that_names_the_line_and_epochs_before_it_stay() {
    for lines in [95, 95_000] {
        let folder = Folder::new();
        let text = numbered(0..lines);
        let whole = packed(&[&text]);
        let mut damaged = whole.clone();
        let end = damaged.len() - 5;
        damaged[end] ^= 1;
        for torn in [&whole[..whole.len() - 12], &damaged] {
            let path = folder.write("f.gz", torn);
            let mut ledger = Ledger::default();
            let error = ledger.read(&[&path]).unwrap_err();
            let Error::Torn { path: named, line, .. } = &error else { panic!("{error}") };
            assert_eq!(named, &path);
            assert!(*line > u64::from(lines) * 9 / 10, "{error}");
            assert!(ledger.mark >= line / 10 - 1, "{} of {line} lines", ledger.mark * 10);
            // Repaired, it goes on.
            fs::write(&path, &whole).unwrap();
            ledger.read(&[&path]).unwrap();
            let read: Vec<_> = ledger.records.iter().flat_map(|it| [&it.3[..], b"\n"]).collect();
            assert!(read.concat() == text);
        }
    }
}

#[test]
fn a_line_of_any_length_is_one_record_and_reading_goes_on_behind_it() {
    let folder = Folder::new();
    let text = [&b"a\n"[..], &vec![b'x'; 5 << 20], b"\r\nb\n", &vec![b'y'; 3 << 20]].concat();
    for name in ["f", "f.gz"] {
        let bytes = |text: &[u8]| if name == "f" { text.to_vec() } else { packed(&[text]) };
        let path = folder.write(name, &bytes(&text));
        for records in 1..4 {
            let mut ledger = Ledger::default();
            for epochs in [1, 1, 9] {
                let plan = ledger.plan(&[&path], &[]).unwrap();
                ledger.run(plan, records, Some(epochs)).unwrap();
            }
            let lengths: Vec<_> = ledger.records.iter().map(|it| (it.2, it.3.len())).collect();
            let kept = crate::decode::MAX_RECORD + 64;
            assert_eq!(lengths, [(1, 1), (2, kept), (3, 1), (4, kept)]);
            let position = ledger.known.values().next().unwrap();
            assert_eq!((position.bytes, position.unended), (text.len() as u64, true));
        }
        let mut ledger = Ledger::default();
        ledger.read(&[&path]).unwrap();
        fs::write(&path, bytes(&[&text[..], b"\nmore"].concat())).unwrap();
        assert_eq!(ledger.read(&[&path]).unwrap(), [format!("{name}:5 more")]);
        fs::write(&path, bytes(&[&text[..], b"y"].concat())).unwrap();
        assert!(matches!(ledger.read(&[&path]), Err(Error::Changed { .. })));
    }
}

#[test]
fn a_pipe_is_given_again_from_its_start() {
    let mut ledger = Ledger::default();
    for (from, to) in [(0, 3000), (3000, 3000), (3000, 5000)] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
        // A pipe may have another number each time; to the ledger it is to be one file.
        let known = std::mem::take(&mut ledger.known).into_values().next();
        let name = path.as_os_str().as_encoded_bytes().to_vec();
        ledger.known.extend(known.map(|position| ((Topic::Clicks, name), position)));
        let writing = thread::spawn(move || writer.write_all(&numbered(0..to)).unwrap());
        assert_eq!(ledger.read(&[&path]).unwrap().len() as u32, to - from);
        writing.join().unwrap();
    }
    let text: Vec<_> = ledger.records.iter().flat_map(|it| [&it.3[..], b"\n"]).collect();
    assert!(text.concat() == numbered(0..5000));
}

#[test]
fn a_stopping_job_does_not_wait_for_a_silent_pipe() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'\n'; 5000]).unwrap();
    let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
    let plan = Ledger::default().plan(&[&path], &[]).unwrap();
    assert_eq!(plan.total(), None);
    let (sender, _cuts) = crossbeam_channel::unbounded();
    let feed = Feed::new(Epoch(0), 3, sender);
    thread::scope(|scope| {
        let reading = scope.spawn(|| plan.read(&feed, NonZeroU64::MIN));
        feed.stop();
        assert!(matches!(reading.join().unwrap(), Err(Error::Stopped(Stopped))));
    });
}

#[test]
fn standard_input_can_be_given_once() {
    let stdin = Path::new("-");
    let error = Ledger::default().plan(&[stdin], &[stdin]).err().unwrap();
    assert!(matches!(error, Error::StdinTwice));
}
