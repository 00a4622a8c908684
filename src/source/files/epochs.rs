//! Lines become epochs.

use std::io;
use std::num::NonZeroU64;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, bounded};
use memchr::memchr_iter;

use super::blocks::Block;
use super::error::Error;
use super::identity::{Packed, Position};
use super::opened::Opened;
use super::plan::Planned;
use super::trail::Trail;
use crate::hdfs::Hdfs;
use crate::source::{self, Batch, Chunk, Cut, Feed, Partition, Range, Topic};

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
                wanted -= piece.count;
                extend(&mut ranges, &piece);
                let Piece { partition, first, lines, .. } = piece;
                feed.push(Chunk { epoch, partition, batch: Batch::Lines { first, lines } })?;
            }
        }
        let Some(epoch) = open else { break };
        feed.close(Cut { epoch, ranges })?;
    }
    feed.end();
    Ok(())
}

/// Adds a piece to the ranges of an epoch.
fn extend(ranges: &mut Vec<Range>, piece: &Piece) {
    let to = piece.first + piece.count;
    let reached = piece.reached.clone();
    let (topic, name) = (piece.partition.topic, &piece.partition.name);
    if let Some(Range { position: source::Position::File(file), to: end, .. }) =
        ranges.last_mut().filter(|range| range.topic == topic && range.partition == *name)
    {
        *end = to;
        *file = Position { renamed_from: file.renamed_from.take(), ..reached };
        return;
    }
    let partition = name.clone();
    let position = source::Position::File(reached);
    ranges.push(Range { topic, partition, from: piece.first, to, position });
}

/// The lines of one topic, file after file, as its thread reads them.
struct Lines {
    parts: Receiver<Part>,
    thread: Option<JoinHandle<()>>,
    file: Option<Begun>,
    block: Block,
    /// How many bytes of the block have been taken.
    taken: usize,
    /// How the packed file ends, if it ends with the block.
    packed: Option<Packed>,
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
struct Piece {
    partition: Arc<Partition>,
    first: u64,
    count: u64,
    lines: Vec<u8>,
    /// Where the file stands after them.
    reached: Position,
}

impl Lines {
    /// Starts a thread that reads files.
    ///
    /// Nobody waits for it when the job stops: it may be waiting for a pipe. It ends by itself when
    /// the receiver is gone.
    fn read(
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
        let (block, taken, packed) = (Block::default(), 0, None);
        Ok(Lines { parts, thread: Some(thread), file: None, block, taken, packed })
    }

    /// Takes the next lines, so many at most, of one file; none at the end of the last.
    fn next(&mut self, most: u64, feed: &Feed) -> Result<Option<Piece>, Error> {
        while self.taken == self.block.lines.len() {
            match self.receive(feed)? {
                Some(Part::File(file)) => self.file = Some(file),
                Some(Part::Block(block, packed)) => {
                    (self.block, self.packed) = (block, packed);
                    self.taken = 0;
                }
                Some(Part::Torn(source)) => {
                    let file = self.file.as_ref().expect("a file begins before it breaks off");
                    let (path, line) = (file.path.clone(), file.trail.lines);
                    return Err(Error::Torn { path, line, source });
                }
                Some(Part::Failed(error)) => return Err(error),
                None => return Ok(None),
            }
        }
        let file = self.file.as_mut().expect("a file begins before its blocks");
        let rest = &self.block.lines[self.taken..];
        let (count, end) = first_lines(rest, most);
        let whole = end == rest.len();
        file.trail.pass(&rest[..end]);
        let lines = if whole && self.taken == 0 {
            std::mem::take(&mut self.block.lines)
        } else {
            let lines = rest[..end].to_vec();
            self.taken += end;
            lines
        };
        if whole && let Some(cut) = self.block.cut.take() {
            file.trail.pass_unseen(cut.bytes, cut.tail);
        }
        let first = file.trail.lines + 1;
        file.trail.lines += count;
        let reached = Position {
            packed: self.packed.filter(|_| whole),
            renamed_from: file.renamed_from.take(),
            ..file.trail.position()
        };
        Ok(Some(Piece { partition: Arc::clone(&file.partition), first, count, lines, reached }))
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
    let Planned { path, partition, known, opened } = file;
    let (position, renamed_from) =
        known.map_or((None, None), |known| (Some(known.position), known.renamed_from));
    let opened = match opened.map_or_else(|| Opened::at(&path, position.as_ref(), hdfs), Ok) {
        Ok(opened) => opened,
        Err(refusal) => return parts.send(Part::Failed(refusal.of(&path, None))),
    };
    let Opened { trail, .. } = &opened;
    parts.send(Part::File(Begun { path, partition, trail: trail.clone(), renamed_from }))?;
    let packed = opened.packed();
    let mut behind = opened.behind;
    let mut reached = trail.bytes;
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
        if let Some(block) = std::mem::replace(&mut held, next) {
            let packed = packed.filter(|_| ended && failure.is_none());
            parts.send(Part::Block(block, packed))?;
        }
        if let Some(failure) = failure {
            return parts.send(Part::Torn(failure));
        }
        if ended {
            return Ok(());
        }
    }
}

/// Finds where the first lines end, so many at most: how many there are, and how many bytes they take.
/// The last one may lack its newline.
fn first_lines(bytes: &[u8], most: u64) -> (u64, usize) {
    const STEP: usize = 16 << 10;
    let mut count = 0;
    for (step, piece) in bytes.chunks(STEP).enumerate() {
        let more = memchr_iter(b'\n', piece).count() as u64;
        if count + more >= most {
            let last = (most - count - 1) as usize;
            let end = memchr_iter(b'\n', piece).nth(last).expect("so many were counted");
            return (most, step * STEP + end + 1);
        }
        count += more;
    }
    (count + u64::from(!bytes.ends_with(b"\n")), bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_end_where_the_last_newline_of_them_stands() {
        for (bytes, most, found) in [
            ("a\nb\nc\n", 1, (1, 2)),
            ("a\nb\nc\n", 2, (2, 4)),
            ("a\nb\nc\n", 3, (3, 6)),
            ("a\nb\nc\n", 4, (3, 6)),
            ("a\nb", 2, (2, 3)),
            ("a\nb", 1, (1, 2)),
            ("\n\n", 1, (1, 1)),
        ] {
            assert_eq!(first_lines(bytes.as_bytes(), most), found, "{bytes:?} {most}");
        }
        let long = "x".repeat(40_000) + "\n";
        assert_eq!(first_lines(long.repeat(3).as_bytes(), 2), (2, 80_002));
    }
}
