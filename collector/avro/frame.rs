//! What belongs together on a connection: a number, by which an answer is known, and pieces of bytes.
//!
//! ```text
//! serial │ how many pieces │ length │ bytes │ length │ bytes …          each number four bytes, the highest first
//! ```
//!
//! Where one piece ends and another begins means nothing: a value may begin in one and end in the next.
//!
//! A peer that nobody knows says how long its pieces are. So a frame has a greatest length, and all
//! connections together have an [`Allowance`] of memory; a frame grows as its bytes come, never by its word.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How many pieces a frame may have.
const MOST_PIECES: usize = 1 << 20;

/// How much of a frame is waited for at once.
const STEP: usize = 1 << 20;

/// How much is asked of the allowance at once.
const GRANT: usize = 64 << 10;

/// Memory that some connections may use together.
#[derive(Clone, Debug)]
pub struct Allowance {
    used: Arc<AtomicUsize>,
    most: usize,
    /// What one frame may use of it.
    frame: usize,
}

/// A frame, or all that are under way, would take too much memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// The frame alone.
    #[error("a frame takes more than {most} bytes")]
    Frame {
        /// What it may take.
        most: usize,
    },
    /// All together.
    #[error("all frames that are under way take more than {most} bytes")]
    All {
        /// What they may take.
        most: usize,
    },
}

impl Allowance {
    /// So many bytes for one frame, and four times that, with what its events take beside their bytes, for all
    /// of them.
    pub fn new(frame: usize) -> Allowance {
        Allowance { used: Arc::default(), most: frame.saturating_mul(4).max(GRANT), frame }
    }

    /// A part of it, for one frame; nothing yet.
    pub fn hold(&self) -> Held {
        Held { of: self.clone(), granted: 0, used: 0 }
    }

    /// How much of it is used.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A part of an allowance, given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    of: Allowance,
    granted: usize,
    used: usize,
}

impl Held {
    /// Takes so many bytes more.
    ///
    /// # Errors
    ///
    /// If that is too much.
    pub fn grow(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let used = self.used.saturating_add(bytes);
        if used > self.granted {
            let more = (used - self.granted).next_multiple_of(GRANT);
            let all = self.of.used.fetch_add(more, Ordering::Relaxed).saturating_add(more);
            self.granted += more;
            if all > self.of.most {
                return Err(TooMuch::All { most: self.of.most });
            }
        }
        self.used = used;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.granted, Ordering::Relaxed);
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number: an answer has that of what it answers.
    pub serial: i32,
    /// Its pieces, together.
    pub payload: Bytes,
}

/// What comes next on a connection.
#[derive(Debug)]
pub enum Next {
    /// A frame.
    Frame(Frame),
    /// Nothing came within the time-out of the connection: it may still.
    Silence,
    /// The peer has closed the connection, between two frames.
    End,
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection has failed.
    #[error("the connection has failed")]
    Connection(#[source] io::Error),
    /// The peer has closed it in a frame.
    #[error("the connection ends in the middle of a frame")]
    Cut,
    /// A frame that has begun does not come to its end.
    #[error("a frame has begun and does not go on")]
    Slow,
    /// It says that it has more pieces than frames have.
    #[error("a frame of {0} pieces")]
    Pieces(u32),
    /// It is too long.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

/// Reads a frame; what has begun must go on within this time, a mebibyte at least.
///
/// # Errors
///
/// If there is none: the connection cannot be used any more.
pub fn read(stream: &mut impl Read, held: &mut Held, patience: Duration) -> Result<Next, Error> {
    let mut head = [0; 8];
    let first = loop {
        match stream.read(&mut head) {
            Ok(0) => return Ok(Next::End),
            Ok(read) => break read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_silence(&error) => return Ok(Next::Silence),
            Err(error) => return Err(Error::Connection(error)),
        }
    };
    let deadline = Instant::now() + patience;
    fill(stream, &mut head[first..], deadline)?;
    let [serial, pieces] = [0, 4].map(|at| [head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (serial, pieces) = (i32::from_be_bytes(serial), u32::from_be_bytes(pieces));
    if pieces as usize > MOST_PIECES {
        return Err(Error::Pieces(pieces));
    }
    let mut payload = Vec::new();
    if pieces > 0 {
        let mut length = [0; 4];
        fill(stream, &mut length, deadline)?;
        for left in (0..pieces).rev() {
            let bytes = u32::from_be_bytes(length) as usize;
            if payload.len() + bytes > held.of.frame {
                return Err(TooMuch::Frame { most: held.of.frame }.into());
            }
            // With every piece but the last comes the length of the next.
            let behind = if left > 0 { 4 } else { 0 };
            append(stream, &mut payload, bytes + behind, held, patience)?;
            if left > 0 {
                length.copy_from_slice(&payload[payload.len() - 4..]);
                payload.truncate(payload.len() - 4);
            }
        }
    }
    Ok(Next::Frame(Frame { serial, payload: payload.into() }))
}

fn append(
    stream: &mut impl Read,
    payload: &mut Vec<u8>,
    mut bytes: usize,
    held: &mut Held,
    patience: Duration,
) -> Result<(), Error> {
    while bytes > 0 {
        let step = bytes.min(STEP);
        held.grow(step)?;
        let begin = payload.len();
        payload.resize(begin + step, 0);
        fill(stream, &mut payload[begin..], Instant::now() + patience)?;
        bytes -= step;
    }
    Ok(())
}

/// Fills the whole of it.
fn fill(stream: &mut impl Read, mut to: &mut [u8], deadline: Instant) -> Result<(), Error> {
    while !to.is_empty() {
        match stream.read(to) {
            Ok(0) => return Err(Error::Cut),
            Ok(read) => to = &mut to[read..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(Error::Connection(error)),
        }
        // However little a peer sends at a time, it gets no more of it than this.
        if !to.is_empty() && Instant::now() > deadline {
            return Err(Error::Slow);
        }
    }
    Ok(())
}

/// Whether nothing came, or could be sent, within the time-out of a socket.
pub fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// How many bytes [`begin`] leaves for the head of a frame of one piece.
const HEAD: usize = 12;

/// Begins a frame: what it says is to be appended.
pub fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEAD, 0);
}

/// Sends a frame that was begun, and filled since.
///
/// # Errors
///
/// If it cannot be sent: the connection cannot be used any more.
pub fn send(stream: &mut impl Write, frame: &mut [u8], serial: i32) -> io::Result<()> {
    let length = u32::try_from(frame.len() - HEAD).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "a frame of more than four gibibytes")
    })?;
    frame[..4].copy_from_slice(&serial.to_be_bytes());
    // An answer may be empty: it has no piece then, as Java sends it.
    frame[4..8].copy_from_slice(&u32::from(length > 0).to_be_bytes());
    frame[8..HEAD].copy_from_slice(&length.to_be_bytes());
    let end = if length > 0 { frame.len() } else { HEAD - 4 };
    stream.write_all(&frame[..end])?;
    stream.flush()
}
