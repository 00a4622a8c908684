//! Bound epochs are read again: exactly the lines that they were bound with, whatever is named this
//! time.
//!
//! ```text
//!  bindings ─▶ stretches: lines of one file without a gap ─▶ judged ─▶ read up to where each ends
//! ```

use std::collections::{HashMap, VecDeque, hash_map};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dataflows::Epoch;

use super::epochs::{Lines, Piece};
use super::error::Error;
use super::identity::Position;
use super::inputs::{self, STDIN};
use super::known::{Entry, Known};
use super::opened::Opened;
use super::plan::Planned;
use crate::ledger::Binding;
use crate::source::{self, Batch, Chunk, Cut, Feed, Partition, Range, Reached, Topic};
use collector::hdfs::{self, Hdfs};

/// Bound epochs that can be read again: their files are what they were.
pub struct Bound {
    bindings: VecDeque<Binding>,
    clicks: Vec<Planned>,
    articles: Vec<Planned>,
    hdfs: Arc<Hdfs>,
}

/// Consecutive lines of a file that epochs are bound to.
struct Stretch<'a> {
    name: &'a [u8],
    /// The first epoch.
    epoch: Epoch,
    /// What is known of the file before them; nothing where it is read from its beginning.
    from: Option<&'a Position>,
    /// The line after the last.
    next: u64,
    /// How the file stands behind the last.
    to: &'a Position,
}

impl Bound {
    /// Judges the files of bound epochs; `reached` is how far each file had been read before, as far as
    /// that is known. A file that is gone is looked for among those that the arguments mean.
    ///
    /// # Errors
    ///
    /// If a file is gone, or is not what was read of it.
    pub fn new(
        bindings: &VecDeque<Binding>,
        reached: &Reached,
        [clicks, articles]: [&[PathBuf]; 2],
        no_logs: fn(&Path) -> bool,
    ) -> Result<Bound, Error> {
        let hdfs = Arc::default();
        let mut ordinal = 0;
        let mut plan = |topic, arguments| {
            let stretches = stretches(topic, bindings, reached)?;
            let judged = Judged::of(&stretches, arguments, no_logs, &hdfs)?;
            let planned = stretches.iter().map(|stretch| {
                let name = stretch.name.to_owned();
                let partition = Partition { topic, name, separator: b':', ordinal };
                ordinal += 1;
                judged.plan(stretch, partition)
            });
            Ok::<Vec<_>, Error>(planned.collect())
        };
        let clicks = plan(Topic::Clicks, clicks)?;
        let articles = plan(Topic::Articles, articles)?;
        Ok(Bound { bindings: bindings.clone(), clicks, articles, hdfs })
    }

    /// Reads the epochs into the feed, as they were bound.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or is no longer what it was when it was judged; or the job stops.
    pub fn read(self, feed: &Feed) -> Result<(), Error> {
        let Bound { bindings, clicks, articles, hdfs } = self;
        let mut topics = [
            (Topic::Clicks, Lines::read("read clicks", clicks, Arc::clone(&hdfs), Arc::default())?),
            (Topic::Articles, Lines::read("read articles", articles, hdfs, Arc::default())?),
        ];
        for Binding { epoch, ranges, .. } in bindings {
            let open = feed.begin()?;
            assert_eq!(open, epoch, "bound epochs follow the mark without a gap");
            for (topic, lines) in &mut topics {
                let of_topic: Vec<_> = ranges.iter().filter(|it| it.topic == *topic).collect();
                for range in &of_topic {
                    lines.pass_to(range.from, feed)?;
                    let mut wanted = range.to - range.from;
                    while wanted > 0
                        && let Some(Piece { partition, first, count, lines }) =
                            lines.next(wanted, feed)?
                    {
                        wanted -= count;
                        feed.push(Chunk {
                            epoch,
                            partition,
                            batch: Batch::Lines { first, lines },
                        })?;
                    }
                }
                // Nothing of an epoch that is not closed is applied.
                let found = lines.ranges();
                let same = found.len() == of_topic.len()
                    && found.iter().zip(&of_topic).all(|(found, bound)| is_same(found, bound));
                if !same {
                    let of = of_topic.first().map(|range| to_path(&range.partition).to_owned());
                    return Err(Error::NotAsBound { epoch, path: of.unwrap_or_default() });
                }
            }
            feed.close(Cut { epoch, ranges })?;
        }
        feed.end();
        Ok(())
    }
}

/// What epochs are bound to of a topic's files, in the order in which they take it.
fn stretches<'a>(
    topic: Topic,
    bindings: &'a VecDeque<Binding>,
    reached: &'a Reached,
) -> Result<Vec<Stretch<'a>>, Error> {
    let mut known: HashMap<&[u8], &Position> = HashMap::new();
    for ((of, name), (_, position)) in reached {
        if *of == topic {
            known.insert(name, of_file(position, name)?);
        }
    }
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    for Binding { epoch, ranges, .. } in bindings {
        for range in ranges.iter().filter(|range| range.topic == topic) {
            let name = &*range.partition;
            let to = of_file(&range.position, name)?;
            match stretches.last_mut() {
                // Where a line had no newline, whatever has come behind it since is no part of it.
                Some(last) if last.name == name && last.next == range.from && !last.to.unended => {
                    (last.next, last.to) = (range.to, to);
                }
                _ => {
                    let former = to.renamed_from.as_deref();
                    let from = known.get(name).or_else(|| known.get(former?)).copied();
                    let from = from.filter(|from| from.lines < range.from);
                    stretches.push(Stretch { name, epoch: *epoch, from, next: range.to, to });
                }
            }
            known.insert(name, to);
        }
    }
    Ok(stretches)
}

/// Where the files of stretches stand now.
struct Judged(HashMap<Vec<u8>, PathBuf>);

impl Judged {
    /// Finds every file, and makes sure that it is still what was read of it.
    fn of(
        stretches: &[Stretch<'_>],
        arguments: &[PathBuf],
        no_logs: fn(&Path) -> bool,
        hdfs: &Hdfs,
    ) -> Result<Judged, Error> {
        // The last stretch of a file knows most of it.
        let ends: HashMap<_, _> = stretches.iter().map(|it| (it.name, it.to)).collect();
        let mut gone = Known::default();
        for (name, end) in &ends {
            if is_gone(to_path(name), hdfs) {
                gone.insert(name.to_vec(), (*end).clone());
            }
        }
        let mut moved = HashMap::new();
        if !gone.is_empty() {
            for path in inputs::files(arguments, no_logs, hdfs, &mut Vec::new())? {
                let is_other = !ends.contains_key(path.as_os_str().as_bytes());
                if is_other
                    && (hdfs::is_url(&path) || path.is_file())
                    && let (_, Some(Entry { renamed_from: Some(from), .. })) =
                        gone.open(&path, hdfs)?
                {
                    moved.insert(from, path);
                }
            }
        }
        for Stretch { name, epoch, .. } in stretches {
            let path = match moved.entry((*name).to_owned()) {
                hash_map::Entry::Occupied(_) => continue,
                hash_map::Entry::Vacant(vacant) => vacant.insert(to_path(name).to_owned()),
            };
            if is_gone(path, hdfs) {
                return Err(Error::BoundGone { epoch: *epoch, path: path.clone() });
            }
            // What comes through a pipe is judged while it is read.
            if !is_stream(path) {
                let end = Some(ends[name]);
                Opened::at(path, end, hdfs).map_err(|refusal| refusal.of(path, None))?;
            }
        }
        Ok(Judged(moved))
    }

    fn plan(&self, stretch: &Stretch<'_>, partition: Partition) -> Planned {
        let known = stretch.from.cloned();
        Planned {
            path: self.0.get(stretch.name).expect("every file was found").clone(),
            partition: Arc::new(partition),
            known: known.map(|position| Entry { position, renamed_from: None }),
            opened: None,
            end: Some(stretch.to.bytes),
        }
    }
}

fn of_file<'a>(position: &'a source::Position, name: &[u8]) -> Result<&'a Position, Error> {
    match position {
        source::Position::File(position) => Ok(position),
        source::Position::Topic(_) => {
            Err(Error::Foreign(String::from_utf8_lossy(name).into_owned()))
        }
    }
}

/// Whether the lines of a range are those that were bound. What else the position holds is about what
/// stands behind them.
fn is_same(found: &Range, bound: &Range) -> bool {
    let what = |range: &Range| {
        let source::Position::File(it) = &range.position else { return None };
        Some((range.from, range.to, it.lines, it.bytes, it.unended, it.head, it.tail))
    };
    found.partition == bound.partition && what(found) == what(bound)
}

fn is_stream(path: &Path) -> bool {
    !hdfs::is_url(path)
        && (path.as_os_str() == STDIN || std::fs::metadata(path).is_ok_and(|it| !it.is_file()))
}

fn is_gone(path: &Path, hdfs: &Hdfs) -> bool {
    let is_missing = |error: std::io::Error| {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        matches!(error.kind(), NotFound | NotADirectory)
    };
    match hdfs::is_url(path) {
        true => hdfs.look(path).is_err_and(is_missing),
        false => path.as_os_str() != STDIN && std::fs::metadata(path).is_err_and(is_missing),
    }
}

fn to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lines: u64, unended: bool) -> Position {
        Position { lines, bytes: 10 * lines, unended, ..Position::default() }
    }

    fn binding(epoch: u64, ranges: &[(&str, u64, Position)]) -> Binding {
        let range = |(name, from, to): &(&str, u64, Position)| Range {
            topic: Topic::Clicks,
            partition: name.as_bytes().to_vec(),
            from: *from,
            to: to.lines + 1,
            position: source::Position::File(to.clone()),
        };
        Binding {
            epoch: Epoch(epoch),
            time: epoch,
            settings: Arc::default(),
            names: Arc::default(),
            ranges: ranges.iter().map(range).collect(),
        }
    }

    #[test]
    fn lines_of_one_file_are_read_in_one_go_up_to_a_gap_or_a_line_without_an_end() {
        let renamed = Position { renamed_from: Some(b"old".to_vec()), ..at(9, false) };
        let bindings = VecDeque::from([
            binding(5, &[("a", 4, at(6, false))]),
            binding(6, &[("a", 7, at(8, true)), ("new", 8, renamed)]),
            binding(7, &[("new", 10, at(12, false)), ("a", 9, at(10, false))]),
        ]);
        let known = |name: &[u8], lines| {
            let position = source::Position::File(at(lines, false));
            ((Topic::Clicks, name.to_vec()), (lines + 1, position))
        };
        // Of other topics nothing is known here, nor what is read beyond what is bound.
        let reached = Reached::from([known(b"a", 3), known(b"old", 7), known(b"b", 1)]);
        let found = stretches(Topic::Clicks, &bindings, &reached).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.name, it.epoch.0, it.from.map(|from| from.lines), it.to.lines))
            .collect();
        let expected: [(&[u8], _, _, _); 3] =
            [(b"a", 5, Some(3), 8), (b"new", 6, Some(7), 12), (b"a", 7, Some(8), 10)];
        assert_eq!(found, expected);
        assert!(stretches(Topic::Articles, &bindings, &reached).unwrap().is_empty());
        // For score keys that went back, files are read from their beginnings.
        let unknown = Reached::new();
        let again = stretches(Topic::Clicks, &bindings, &unknown).unwrap();
        assert_eq!(
            again.iter().map(|it| it.from.is_none()).collect::<Vec<_>>(),
            [true, true, false]
        );
    }

    #[test]
    fn a_ledger_of_topics_is_no_ledger_of_files() {
        let topic = ((Topic::Clicks, b"t/0".to_vec()), (7, source::Position::Topic(1)));
        let error = stretches(Topic::Clicks, &VecDeque::new(), &Reached::from([topic])).err();
        assert!(matches!(error, Some(Error::Foreign(name)) if name == "t/0"));
    }
}
