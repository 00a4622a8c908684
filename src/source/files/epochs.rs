//! Lines become epochs.

use std::cmp;
use std::io;
use std::num::NonZeroU64;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, bounded};
use memchr::memchr_iter;

use super::blocks::{self, Block};
use super::error::Error;
use super::identity::{Packed, Position};
use super::opened::Opened;
use super::plan::Planned;
use super::trail::Trail;
use crate::source::{self, Batch, Chunk, Cut, Feed, Partition, Range, Topic};
use collector::hdfs::Hdfs;

/// How many blocks are read ahead of each topic.
const AHEAD: usize = 4;

/// How long nothing may come, through a pipe, before it is asked whether the job stops.
const PATIENCE: Duration = Duration::from_millis(100);

/// Reads files into the feed: epoch after epoch the next so many lines of each topic, until both end.
pub(super) fn read(
    files: Vec<Planned>,
    hdfs: &Arc<Hdfs>,
    progress: &Arc<AtomicU64>,
    feed: &Feed,
    epoch_records: NonZeroU64,
) -> Result<(), Error> {
    let (clicks, articles): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.partition.topic == Topic::Clicks);
    let mut topics = [
        Lines::read("read clicks", clicks, Arc::clone(hdfs), Arc::clone(progress))?,
        Lines::read("read articles", articles, Arc::clone(hdfs), Arc::clone(progress))?,
    ];
    loop {
        let mut open = None;
        let mut ranges = Vec::new();
        for lines in &mut topics {
            let mut wanted = epoch_records.get();
            while wanted > 0
                && let Some(piece) = lines.next(wanted, feed)?
            {
                let epoch = match open {
                    Some(epoch) => epoch,
                    None => *open.insert(feed.begin()?),
                };
                let Piece { partition, first, count, lines } = piece;
                wanted -= count;
                feed.push(Chunk { epoch, partition, batch: Batch::Lines { first, lines } })?;
            }
            ranges.append(&mut lines.ranges());
        }
        let Some(epoch) = open else { break };
        feed.close(Cut { epoch, ranges })?;
    }
    feed.end();
    Ok(())
}

/// The lines of one topic, file after file, as its thread reads them.
pub(super) struct Lines {
    parts: Receiver<Part>,
    thread: Option<JoinHandle<()>>,
    file: Option<Begun>,
    /// What is left of the block that was read last.
    rest: Bytes,
    /// How many lines those are.
    left: u64,
    /// What the last line of that block lacks, if it was too long to be kept.
    cut: Option<blocks::Cut>,
    /// How the packed file ends, if it ends with that block.
    packed: Option<Packed>,
    /// The first line of the open epoch in the file, if it has one there.
    from: Option<u64>,
    /// What the open epoch takes of the files before.
    ranges: Vec<Range>,
}

/// What the thread of a topic sends.
enum Part {
    /// A file begins; then come its blocks.
    File(Begun),
    /// The next block, and how the packed file ends, if it ends with it.
    Block(Block, Option<Packed>),
    /// The file breaks off.
    Torn(io::Error),
    /// A file cannot be opened.
    Failed(Error),
}

/// A file whose lines are being taken.
struct Begun {
    path: PathBuf,
    partition: Arc<Partition>,
    trail: Trail,
    renamed_from: Option<Vec<u8>>,
}

/// Consecutive lines of a file.
pub(super) struct Piece {
    pub partition: Arc<Partition>,
    /// The first one.
    pub first: u64,
    pub count: u64,
    pub lines: Bytes,
}

impl Lines {
    /// Starts a thread that reads files.
    ///
    /// Nobody waits for it when the job stops: it may be waiting for a pipe. It ends by itself when
    /// the receiver is gone.
    pub fn read(
        name: &str,
        files: Vec<Planned>,
        hdfs: Arc<Hdfs>,
        progress: Arc<AtomicU64>,
    ) -> Result<Lines, Error> {
        let (sender, parts) = bounded(AHEAD);
        let body = move || {
            // What cannot be sent is no longer wanted.
            let mut files = files.into_iter();
            files.try_for_each(|file| send(file, &hdfs, &progress, &sender)).unwrap_or(())
        };
        let thread = thread::Builder::new().name(name.into()).spawn(body).map_err(Error::Thread)?;
        Ok(Lines {
            parts,
            thread: Some(thread),
            file: None,
            rest: Bytes::new(),
            left: 0,
            cut: None,
            packed: None,
            from: None,
            ranges: Vec::new(),
        })
    }

    /// Takes the next lines, so many at most, of one file; none at the end of the last.
    pub fn next(&mut self, most: u64, feed: &Feed) -> Result<Option<Piece>, Error> {
        if !self.fill(feed)? {
            return Ok(None);
        }
        let piece = self.take(most);
        self.from.get_or_insert(piece.first);
        Ok(Some(piece))
    }

    /// Passes the lines of a file before this one, which belong to no epoch that is read.
    pub fn pass_to(&mut self, line: u64, feed: &Feed) -> Result<(), Error> {
        while self.fill(feed)? {
            let file = self.file.as_ref().expect("a file begins before its blocks");
            match (file.trail.lines + 1).cmp(&line) {
                cmp::Ordering::Less => self.take(line - file.trail.lines - 1),
                _ => break,
            };
        }
        Ok(())
    }

    /// Makes sure that lines wait to be taken; says whether there are any more.
    fn fill(&mut self, feed: &Feed) -> Result<bool, Error> {
        while self.rest.is_empty() {
            match self.receive(feed)? {
                Some(Part::File(file)) => {
                    self.leave();
                    self.file = Some(file);
                }
                Some(Part::Block(Block { lines, count, cut }, packed)) => {
                    (self.rest, self.left) = (lines.into(), count);
                    (self.cut, self.packed) = (cut, packed);
                }
                Some(Part::Torn(source)) => {
                    let file = self.file.as_ref().expect("a file begins before it breaks off");
                    let (path, line) = (file.path.clone(), file.trail.lines);
                    return Err(Error::Torn { path, line, source });
                }
                Some(Part::Failed(error)) => return Err(error),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes lines that wait, so many at most.
    fn take(&mut self, most: u64) -> Piece {
        let Begun { partition, trail, .. } =
            self.file.as_mut().expect("a file begins before its blocks");
        let count = self.left.min(most);
        self.left -= count;
        let end = if self.left == 0 { self.rest.len() } else { end_of_lines(&self.rest, count) };
        // The lines stay where they were read to.
        let lines = self.rest.split_to(end);
        trail.pass(&lines);
        if self.rest.is_empty()
            && let Some(cut) = self.cut.take()
        {
            trail.pass_unseen(cut.bytes, cut.tail);
        }
        let first = trail.lines + 1;
        trail.lines += count;
        Piece { partition: Arc::clone(partition), first, count, lines }
    }

    /// Says what the open epoch has taken, and opens the next.
    pub fn ranges(&mut self) -> Vec<Range> {
        self.leave();
        std::mem::take(&mut self.ranges)
    }

    /// Notes what the open epoch has taken of the file so far.
    fn leave(&mut self) {
        let Some(from) = self.from.take() else { return };
        let file = self.file.as_mut().expect("lines are taken of a file");
        let position = Position {
            packed: self.packed.filter(|_| self.rest.is_empty()),
            renamed_from: file.renamed_from.take(),
            ..file.trail.position()
        };
        self.ranges.push(Range {
            topic: file.partition.topic,
            partition: file.partition.name.clone(),
            from,
            to: file.trail.lines + 1,
            position: source::Position::File(position),
        });
    }

    fn receive(&mut self, feed: &Feed) -> Result<Option<Part>, Error> {
        loop {
            match self.parts.recv_timeout(PATIENCE) {
                Ok(part) => return Ok(Some(part)),
                Err(RecvTimeoutError::Timeout) => {
                    feed.begin()?;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if let Some(thread) = self.thread.take()
                        && let Err(panic) = thread.join()
                    {
                        resume_unwind(panic);
                    }
                    return Ok(None);
                }
            }
        }
    }
}

/// Reads a file and sends what it finds.
fn send(
    file: Planned,
    hdfs: &Hdfs,
    progress: &AtomicU64,
    parts: &Sender<Part>,
) -> Result<(), SendError<Part>> {
    let Planned { path, partition, known, opened, end } = file;
    let (position, renamed_from) =
        known.map_or((None, None), |known| (Some(known.position), known.renamed_from));
    let open = || Opened::up_to(end, &path, position.as_ref(), hdfs);
    let opened = match opened.map_or_else(open, Ok) {
        Ok(opened) => opened,
        Err(refusal) => return parts.send(Part::Failed(refusal.of(&path, None))),
    };
    let Opened { trail, .. } = &opened;
    parts.send(Part::File(Begun { path, partition, trail: trail.clone(), renamed_from }))?;
    let packed = opened.packed();
    let mut behind = opened.behind;
    let mut reached = trail.bytes;
    let mut rest = opened.rest();
    let (mut blocks, taken) = opened.into_blocks();
    // A block is sent when it is known whether the file ends with it.
    let mut held: Option<Block> = None;
    loop {
        let (next, failure) = match blocks.next() {
            Ok(next) => (next, None),
            Err(failure) => (None, Some(failure)),
        };
        reached += next.as_ref().map_or(0, Block::bytes);
        let now = taken.as_ref().map_or(reached, |taken| taken.load(Ordering::Relaxed));
        progress.fetch_add(now.saturating_sub(behind), Ordering::Relaxed);
        behind = now;
        let ended = next.is_none();
        if let (Some(rest), Some(block)) = (&mut rest, &next) {
            rest.pass(block);
        }
        if let Some(block) = std::mem::replace(&mut held, next) {
            let packed = packed.filter(|_| ended && failure.is_none());
            parts.send(Part::Block(block, packed))?;
        }
        if let Some(failure) = failure {
            return parts.send(Part::Torn(failure));
        }
        if ended {
            if let Some(rest) = rest {
                rest.leave();
            }
            return Ok(());
        }
    }
}

/// Finds where the first so many lines end, which all have their newline.
fn end_of_lines(bytes: &[u8], count: u64) -> usize {
    const STEP: usize = 16 << 10;
    let mut left = count;
    for (step, piece) in bytes.chunks(STEP).enumerate() {
        // To count is faster than to look at each.
        let more = memchr_iter(b'\n', piece).count() as u64;
        if more >= left {
            let last = (left - 1) as usize;
            let end = memchr_iter(b'\n', piece).nth(last).expect("so many were counted");
            return step * STEP + end + 1;
        }
        left -= more;
    }
    unreachable!("there are more lines than are asked for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_behind_their_newlines() {
        for (bytes, count, end) in [
            ("a\nb\nc\n", 1, 2),
            ("a\nb\nc\n", 2, 4),
            ("a\nb\nc\n", 3, 6),
            ("a\nb", 1, 2),
            ("\n\n", 1, 1),
        ] {
            assert_eq!(end_of_lines(bytes.as_bytes(), count), end, "{bytes:?} {count}");
        }
        let long = "x".repeat(40_000) + "\n";
        assert_eq!(end_of_lines(long.repeat(3).as_bytes(), 2), 80_002);
    }
}
