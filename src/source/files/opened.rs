//! A file that stands open at the place from which it is read on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flate2::read::MultiGzDecoder;

use super::blocks::{Block, Blocks, Cut};
use super::error::{Change, Error};
use super::identity::{COMPARED, Packed, Position};
use super::inputs::STDIN;
use super::trail::{Tail, Trail};
use collector::hdfs::{self, Hdfs};

/// How much is read of a packed file at once, and of the part of a file that is only passed.
const STEP: usize = 64 << 10;

/// A file, open where its new lines begin.
pub(super) struct Opened {
    body: Body,
    there: There,
    packed: Option<Packed>,
    /// What lies behind: where the file stands.
    pub trail: Trail,
    /// The first bytes beyond, up to 4 KiB: none, if nothing is new.
    pub ahead: Vec<u8>,
    /// What befell the reading of the bytes ahead, after those that are there.
    pub failure: Option<io::Error>,
    /// How many bytes of the file, packed where it is packed, lie behind.
    pub behind: u64,
    /// Up to which byte, unpacked, it is read, if not to its end.
    end: Option<u64>,
}

/// What comes through a pipe or the like, which is there once: of each that this process has opened, by
/// device and inode, what is left to be read, if it was left on purpose.
static STREAMS: Mutex<BTreeMap<(u64, u64), Option<Rest>>> = Mutex::new(BTreeMap::new());

/// A stream that is read up to a place, to be read on from there.
pub(super) struct Rest {
    file: File,
    itself: (u64, u64),
    trail: Trail,
}

impl Rest {
    /// Notes that a block was read.
    pub fn pass(&mut self, block: &Block) {
        self.trail.pass(&block.lines);
        if let Some(Cut { bytes, tail }) = &block.cut {
            self.trail.pass_unseen(*bytes, tail.clone());
        }
        self.trail.lines += block.count;
    }

    /// Leaves it to whoever opens the stream next.
    pub fn leave(self) {
        streams().insert(self.itself, Some(self));
    }
}

fn streams() -> MutexGuard<'static, BTreeMap<(u64, u64), Option<Rest>>> {
    // What it guards is whole at any time.
    STREAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the system says of a file.
struct There {
    /// It can be read again, and stands still while it is.
    at_rest: bool,
    length: u64,
    /// Device and inode, where there are such.
    itself: Option<(u64, u64)>,
}

enum Content {
    Local(File),
    Hdfs(Box<hdfs::File>),
}

enum Body {
    Plain(Content),
    Packed { unpacked: Box<MultiGzDecoder<BufReader<Counted>>>, taken: Arc<AtomicU64> },
}

/// Why a file cannot be brought to a place.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Changed(#[from] Change),
}

impl Refusal {
    pub fn of(self, path: &Path, known_as: Option<&Path>) -> Error {
        match self {
            Refusal::Unreadable(source) => Error::Open { path: path.to_owned(), source },
            Refusal::Changed(change) => Error::Changed {
                path: path.to_owned(),
                known_as: known_as.map(Path::to_owned),
                change,
            },
        }
    }
}

impl Opened {
    /// Opens a file at its beginning, or, if it is known, where it had been read to, having made sure
    /// that it is still the file that was read.
    ///
    /// What is packed, or comes through a pipe, is read up to there.
    pub fn at(path: &Path, known: Option<&Position>, hdfs: &Hdfs) -> Result<Opened, Refusal> {
        Opened::up_to(None, path, known, hdfs)
    }

    /// The same, of a file that is read up to a byte, unpacked, if not to its end.
    pub fn up_to(
        end: Option<u64>,
        path: &Path,
        known: Option<&Position>,
        hdfs: &Hdfs,
    ) -> Result<Opened, Refusal> {
        let mut opened = Opened::open(path, hdfs)?;
        opened.end = end;
        if opened.is_stream() {
            opened.go_on_once()?;
            if opened.trail.bytes > known.map_or(0, |known| known.bytes) {
                return Err(Refusal::Unreadable(read_already()));
            }
        }
        match known {
            Some(known) => {
                opened.go_to(known)?;
                opened.behind = opened.body.taken().unwrap_or(opened.trail.bytes);
            }
            None => opened.look_ahead(),
        }
        Ok(opened)
    }

    fn open(path: &Path, hdfs: &Hdfs) -> io::Result<Opened> {
        let (mut content, there) = Content::open(path, hdfs)?;
        let mut packed = None;
        let body = if path.as_os_str().as_bytes().ends_with(b".gz") {
            let mut trailer = [0; 8];
            if there.at_rest && there.length > 8 {
                content.seek(SeekFrom::Start(there.length - 8))?;
                content.read_exact(&mut trailer)?;
                content.rewind()?;
                packed = Some(Packed { length: there.length, trailer });
            }
            let taken = Arc::new(AtomicU64::new(0));
            let counted = Counted { content, taken: Arc::clone(&taken) };
            let buffered = BufReader::with_capacity(STEP, counted);
            Body::Packed { unpacked: Box::new(MultiGzDecoder::new(buffered)), taken }
        } else {
            content.must_end_with_a_line()?;
            Body::Plain(content)
        };
        let trail = Trail::default();
        let (ahead, failure) = (Vec::new(), None);
        Ok(Opened { body, there, packed, trail, ahead, failure, behind: 0, end: None })
    }

    /// Goes on in a stream where this process has left it; it must not have read more of it.
    fn go_on_once(&mut self) -> io::Result<()> {
        let Some(itself) = self.there.itself else { return Ok(()) };
        match streams().insert(itself, None) {
            None => {}
            Some(Some(Rest { file, trail, .. })) => {
                self.body = Body::Plain(Content::Local(file));
                self.trail = trail;
            }
            Some(None) => return Err(read_already()),
        }
        Ok(())
    }

    /// What will be left when this was read up to its end, if it is a stream that can be gone on with.
    pub fn rest(&self) -> Option<Rest> {
        let (Body::Plain(Content::Local(file)), Some(itself), Some(_)) =
            (&self.body, self.there.itself, self.end)
        else {
            return None;
        };
        // Without a second hand on it, whoever writes would see that nobody reads.
        let file = file.try_clone().ok().filter(|_| self.is_stream())?;
        Some(Rest { file, itself, trail: self.trail.clone() })
    }

    /// Whether it comes through a pipe or the like: it can be read once.
    pub fn is_stream(&self) -> bool {
        !self.there.at_rest
    }

    /// Whether the way to where it stands had to be read.
    pub fn is_far(&self) -> bool {
        matches!(self.body, Body::Packed { .. }) && self.trail.bytes > 0
    }

    /// The file itself, whatever its name: device and inode, where there are such.
    pub fn itself(&self) -> Option<(u64, u64)> {
        self.there.itself
    }

    /// How many bytes, packed where it is packed, lie ahead; unknown of a stream.
    pub fn left(&self) -> Option<u64> {
        (!self.is_stream()).then(|| self.there.length.saturating_sub(self.behind))
    }

    /// How it ends, if it is packed and at rest.
    pub fn packed(&self) -> Option<Packed> {
        self.packed
    }

    /// Whether there is anything to read.
    pub fn has_more(&self) -> bool {
        !self.ahead.is_empty() || self.failure.is_some()
    }

    /// Turns to reading, and to what counts the packed bytes taken.
    pub fn into_blocks(self) -> (Blocks<Box<dyn Read + Send>>, Option<Arc<AtomicU64>>) {
        // Boxed as what they are: files read into memory that was never written, a `Body` could not.
        let (mut rest, taken): (Box<dyn Read + Send>, _) = match self.body {
            Body::Plain(Content::Local(file)) => (Box::new(file), None),
            Body::Plain(Content::Hdfs(file)) => (file, None),
            Body::Packed { unpacked, taken } => (unpacked, Some(taken)),
        };
        if let Some(end) = self.end {
            rest =
                Box::new(rest.take(end.saturating_sub(self.trail.bytes + self.ahead.len() as u64)));
        }
        (Blocks::new(self.ahead, rest, self.failure), taken)
    }

    fn go_to(&mut self, known: &Position) -> Result<(), Refusal> {
        self.pass_to(known.compared())?;
        known.judge_head(self.trail.head())?;
        if known.packed.is_some() && known.packed == self.packed {
            return Ok(());
        }
        // Between the first bytes and the last ones a plain file need not be read.
        let unseen = known.bytes.saturating_sub(2 * COMPARED);
        if unseen > 0
            && !self.is_stream()
            && let Body::Plain(file) = &mut self.body
        {
            known.judge_length(self.there.length, known.bytes)?;
            file.seek(SeekFrom::Start(COMPARED + unseen))?;
            self.trail.pass_unseen(unseen, Tail::default());
        }
        self.pass_to(known.bytes)?;
        known.judge_length(self.trail.bytes, known.bytes)?;
        known.judge_tail(self.trail.tail())?;
        self.trail.lines = known.lines;
        self.look_ahead();
        let ending = known.judge_rest(self.trail.tail().last().copied(), &self.ahead)?;
        self.trail.pass(&self.ahead[..ending]);
        self.ahead.drain(..ending);
        Ok(())
    }

    /// Passes all bytes up to this one, or the end.
    fn pass_to(&mut self, end: u64) -> io::Result<()> {
        let mut passed = Vec::new();
        while self.trail.bytes < end {
            passed.clear();
            self.body.read((end - self.trail.bytes).min(STEP as u64), &mut passed)?;
            if passed.is_empty() {
                break;
            }
            self.trail.pass(&passed);
        }
        Ok(())
    }

    fn look_ahead(&mut self) {
        let left = self.end.map_or(COMPARED, |end| end.saturating_sub(self.trail.bytes));
        self.failure = self.body.read(left.min(COMPARED), &mut self.ahead).err();
    }
}

impl Body {
    /// Reads so many bytes, fewer only at the end.
    fn read(&mut self, number: u64, bytes: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Body::Plain(file) => file.take(number).read_to_end(bytes),
            Body::Packed { unpacked, .. } => unpacked.take(number).read_to_end(bytes),
        }
    }

    /// How many packed bytes have been taken.
    fn taken(&self) -> Option<u64> {
        match self {
            Body::Plain(_) => None,
            Body::Packed { taken, .. } => Some(taken.load(Ordering::Relaxed)),
        }
    }
}

impl Content {
    fn open(path: &Path, hdfs: &Hdfs) -> io::Result<(Content, There)> {
        if hdfs::is_url(path) {
            let file = hdfs.open(path)?;
            let there = There { at_rest: true, length: file.length(), itself: None };
            return Ok((Content::Hdfs(Box::new(file)), there));
        }
        let stdin = path.as_os_str() == STDIN;
        let file = if stdin {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            File::open(path)?
        };
        let found = file.metadata()?;
        let there = There {
            at_rest: found.is_file() && !stdin,
            length: found.len(),
            itself: Some((found.dev(), found.ino())),
        };
        Ok((Content::Local(file), there))
    }

    /// Refuses a file of which it is not known whether it is whole, and that ends within a line.
    fn must_end_with_a_line(&mut self) -> io::Result<()> {
        let Content::Hdfs(file) = self else { return Ok(()) };
        if !file.may_go_on() {
            return Ok(());
        }
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        file.rewind()?;
        if last == *b"\n" {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, hdfs::Error::BeingWritten))
    }
}

impl Read for Content {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::Local(file) => file.read(bytes),
            Content::Hdfs(file) => file.read(bytes),
        }
    }
}

impl Seek for Content {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Content::Local(file) => file.seek(to),
            Content::Hdfs(file) => file.seek(to),
        }
    }
}

fn read_already() -> io::Error {
    io::Error::other("it was read already, and is there once: give the same command again")
}

/// A file that counts what is taken from it.
struct Counted {
    content: Content,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let number = self.content.read(bytes)?;
        self.taken.fetch_add(number as u64, Ordering::Relaxed);
        Ok(number)
    }
}
