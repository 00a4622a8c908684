//! What a run is going to read.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::epochs;
use super::error::Error;
use super::identity::Position;
use super::inputs::{self, STDIN, Skipped, Why};
use super::known::{Entry, Known};
use super::opened::Opened;
use crate::source::{self, Feed, Partition, Range, Topic};
use collector::hdfs::Hdfs;

/// How many files stay open from judging to reading because the way to their new lines is long.
const LEFT_OPEN: usize = 64;

/// What a run is going to read: files, in order, each from a place on that was made sure of.
pub struct Plan {
    files: Vec<Planned>,
    hdfs: Arc<Hdfs>,
    skipped: Vec<Skipped>,
    renamed: Vec<Renamed>,
    unchanged: usize,
    /// Ranges without a record, for renamed files of which nothing is read.
    renaming: Vec<Range>,
    progress: Arc<AtomicU64>,
    total: Option<u64>,
}

/// A file that is going to be read.
pub(super) struct Planned {
    pub path: PathBuf,
    pub partition: Arc<Partition>,
    pub known: Option<Entry>,
    /// The file itself, where it cannot be opened again, or not cheaply.
    pub opened: Option<Opened>,
    /// Up to which byte, unpacked, it is read; to its end where there is none.
    pub end: Option<u64>,
}

/// A file that the ledger knows by another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// The name in the ledger.
    pub from: PathBuf,
    /// The name now.
    pub to: PathBuf,
}

impl Plan {
    /// Finds the files that the arguments mean, and judges each by what the ledger knows: of which
    /// topic which path was read how far. Folders of which `no_logs` says so are skipped, and files that
    /// are being written. Nothing is read of a run one of whose files has changed.
    pub fn new(
        clicks: &[PathBuf],
        articles: &[PathBuf],
        no_logs: fn(&Path) -> bool,
        known: impl IntoIterator<Item = (Topic, Vec<u8>, Position)>,
    ) -> Result<Plan, Error> {
        let (mut known_clicks, mut known_articles) = (Known::default(), Known::default());
        for (topic, path, position) in known {
            match topic {
                Topic::Clicks => known_clicks.insert(path, position),
                Topic::Articles => known_articles.insert(path, position),
            }
        }
        let mut plan = Plan {
            files: Vec::new(),
            hdfs: Arc::default(),
            skipped: Vec::new(),
            renamed: Vec::new(),
            unchanged: 0,
            renaming: Vec::new(),
            progress: Arc::default(),
            total: Some(0),
        };
        let hdfs = Arc::clone(&plan.hdfs);
        let clicks = inputs::files(clicks, no_logs, &hdfs, &mut plan.skipped)?;
        let articles = inputs::files(articles, no_logs, &hdfs, &mut plan.skipped)?;
        if clicks.iter().chain(&articles).filter(|path| path.as_os_str() == STDIN).count() > 1 {
            return Err(Error::StdinTwice);
        }
        let mut left_open = 0;
        for (topic, known, paths) in [
            (Topic::Clicks, &mut known_clicks, clicks),
            (Topic::Articles, &mut known_articles, articles),
        ] {
            for path in paths {
                match known.open(&path, &hdfs) {
                    Ok((opened, entry)) => plan.add(topic, path, opened, entry, &mut left_open),
                    Err(error) if error.says_being_written() => {
                        plan.skipped.push(Skipped { path, why: Why::BeingWritten });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        topic: Topic,
        path: PathBuf,
        opened: Opened,
        known: Option<Entry>,
        left_open: &mut usize,
    ) {
        let name = path.as_os_str().as_bytes().to_owned();
        if let Some(from) = known.as_ref().and_then(|entry| entry.renamed_from.clone()) {
            let from = PathBuf::from(OsString::from_vec(from));
            self.renamed.push(Renamed { from, to: path.clone() });
        }
        if !opened.has_more() {
            self.unchanged += 1;
            if let Some(Entry { position, renamed_from: from @ Some(_) }) = known {
                let next = position.lines + 1;
                let packed = opened.packed();
                let position = Position { packed, renamed_from: from, ..position };
                let position = source::Position::File(position);
                let range = Range { topic, partition: name, from: next, to: next, position };
                self.renaming.push(range);
            }
            return;
        }
        let left = opened.left();
        self.total = self.total.and_then(|total| Some(total + left?));
        let ordinal = u32::try_from(self.files.len()).expect("fewer than 2^32 files");
        let partition = Arc::new(Partition { topic, name, separator: b':', ordinal });
        let keep = opened.is_stream() || (opened.is_far() && *left_open < LEFT_OPEN);
        *left_open += usize::from(keep);
        let opened = keep.then_some(opened);
        self.files.push(Planned { path, partition, known, opened, end: None });
    }

    /// How many files have anything new, and how many have not.
    pub fn files(&self) -> (usize, usize) {
        (self.files.len(), self.unchanged)
    }

    /// What was found and is not read.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The files that have another name than in the ledger.
    pub fn renamed(&self) -> &[Renamed] {
        &self.renamed
    }

    /// Ranges without a record, which give their new names to the renamed files of which nothing is
    /// going to be read; the first epoch of the others gives it to those. No epoch bears these: they
    /// are to be kept before anything is read.
    pub fn renaming(&self) -> &[Range] {
        &self.renaming
    }

    /// How many bytes, packed where they are packed, are going to be read; unknown where something
    /// comes through a pipe.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Counts the bytes of [`Plan::total`] while they are read.
    pub fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.progress)
    }

    /// Reads the files into the feed, epoch after epoch the next so many lines of each topic, up to
    /// the end; returns when all is pushed and the feed ended, or when the job stops.
    ///
    /// After an error the feed is neither closed nor ended: the open epoch will never be whole, and
    /// the epochs before it stay.
    pub fn read(self, feed: &Feed, epoch_records: NonZeroU64) -> Result<(), Error> {
        epochs::read(self.files, &self.hdfs, &self.progress, feed, epoch_records)
    }
}
