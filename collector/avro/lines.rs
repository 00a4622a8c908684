//! Sends the lines of files, each as an event: what `avro-client` does.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{Answer, Status};
use super::client::{self, Calls, Client, Peer};
use super::stream::Outside;
use crate::event::{Event, Headers};
use crate::stop::Stop;

/// How much is read at once.
const BLOCK: usize = 256 << 10;

/// How long a line may be.
const MOST_LINE: usize = 32 << 20;

/// How many batches are under way at most, to a peer that works on them in their order.
const MOST_IN_FLIGHT: usize = 4;

/// How long is waited before a batch that was refused is sent again.
const AGAIN: Duration = Duration::from_millis(250);

/// What the name of a file ends in once all of it was sent.
const COMPLETED: &str = ".COMPLETED";

/// Why lines are not sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is to be sent cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line does not end.
    #[error("{} has a line of more than {MOST_LINE} bytes", path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// A file that was sent cannot be renamed.
    #[error("{} was sent, and cannot be renamed: it would be sent again", path.display())]
    Rename {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of the file of headers is none.
    #[error("line {line} of {} is no header: NAME=VALUE", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// The peer cannot be reached: nothing was sent.
    #[error(transparent)]
    Connect(client::Error),
    /// The peer does not answer as it should.
    #[error("{sent} lines were taken, what became of those behind is not known")]
    Peer {
        /// How many lines were.
        sent: u64,
        /// What is wrong.
        source: client::Error,
    },
    /// The peer refuses a batch again and again.
    #[error("{sent} lines were taken, then {peer} has refused a batch: {text}")]
    Refused {
        /// How many lines were.
        sent: u64,
        /// The peer.
        peer: String,
        /// What it says.
        text: String,
    },
}

/// Sends lines to a peer, which has taken so many of them.
#[derive(Debug)]
pub struct Lines<'a> {
    client: Client,
    peer: &'a Peer,
    batch: usize,
    headers: Headers,
    /// What was sent and has no answer yet.
    in_flight: VecDeque<(Vec<Event>, Calls)>,
    sent: u64,
}

/// Reads headers: a line `NAME=VALUE` each; empty lines do not count.
///
/// # Errors
///
/// If the file cannot be read, or has something else.
pub fn headers(path: &Path) -> Result<Headers, Error> {
    let text = fs::read_to_string(path).map_err(|source| read(path, source))?;
    let mut headers = Headers::default();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let header = || Error::Header { path: path.to_owned(), line: at + 1 };
        let (name, value) = line.split_once('=').ok_or_else(header)?;
        headers.set(name.trim(), value.trim());
    }
    Ok(headers)
}

fn read(path: &Path, source: io::Error) -> Error {
    Error::Read { path: path.to_owned(), source }
}

impl<'a> Lines<'a> {
    /// Connects to a peer, to which lines are sent so many at a time, each with these headers.
    ///
    /// # Errors
    ///
    /// If it cannot be reached.
    pub fn to(peer: &'a Peer, batch: usize, headers: Headers) -> Result<Lines<'a>, Error> {
        let client = peer.connect(&mut Outside::default());
        let client = client.map_err(Error::Connect)?;
        Ok(Lines {
            client,
            peer,
            batch: batch.max(1),
            headers,
            in_flight: VecDeque::new(),
            sent: 0,
        })
    }

    /// How many lines the peer has taken.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends what can be read here, and returns when the peer has taken it. They stay in order, unless the
    /// peer refuses some for a while. `read_so_far` is told how many bytes were read, and how many lines taken.
    ///
    /// # Errors
    ///
    /// If it cannot be read or sent.
    pub fn send(
        &mut self,
        input: impl Read,
        path: &Path,
        read_so_far: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let mut blocks = Blocks { input, rest: Vec::new(), has_ended: false };
        let mut batch = Vec::with_capacity(self.batch);
        let mut bytes = 0;
        while let Some(block) = blocks.next(path)? {
            let mut begin = 0;
            for end in memchr::memchr_iter(b'\n', &block) {
                let line = &block[begin..end];
                let body = block.slice_ref(line.strip_suffix(b"\r").unwrap_or(line));
                begin = end + 1;
                batch.push(Event { headers: self.headers.clone(), body });
                if batch.len() == self.batch {
                    let next = Vec::with_capacity(self.batch);
                    self.send_batch(std::mem::replace(&mut batch, next))?;
                }
            }
            bytes += block.len() as u64;
            read_so_far(bytes, self.sent);
        }
        if !batch.is_empty() {
            self.send_batch(batch)?;
        }
        while !self.in_flight.is_empty() {
            self.settle()?;
        }
        read_so_far(bytes, self.sent);
        Ok(())
    }

    /// Sends the files of a folder, the oldest first, and gives each another name when the peer has taken all
    /// of it: one that ends in `.COMPLETED`. Those that have one, and those that begin with a dot, are not
    /// sent.
    ///
    /// # Errors
    ///
    /// If they cannot be read, renamed or sent.
    pub fn send_folder(
        &mut self,
        folder: &Path,
        read_so_far: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let mut files = Vec::new();
        let failed = |source| read(folder, source);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let about = fs::metadata(entry.path()).map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if about.is_file() && !name.starts_with('.') && !name.ends_with(COMPLETED) {
                files.push((about.modified().map_err(failed)?, entry.path()));
            }
        }
        files.sort();
        let mut before = 0;
        for (_, path) in files {
            let file = File::open(&path).map_err(|source| read(&path, source))?;
            let mut own = 0;
            self.send(file, &path, &mut |bytes, lines| {
                own = bytes;
                read_so_far(before + bytes, lines);
            })?;
            before += own;
            let mut renamed = path.clone().into_os_string();
            renamed.push(COMPLETED);
            let rename = |source| Error::Rename { path: path.clone(), source };
            if Path::new(&renamed).exists() {
                return Err(rename(io::ErrorKind::AlreadyExists.into()));
            }
            fs::rename(&path, renamed).map_err(rename)?;
        }
        Ok(())
    }

    fn send_batch(&mut self, batch: Vec<Event>) -> Result<(), Error> {
        // Where answers come in another order, lines would be taken in another order, too.
        let most = if self.client.in_order() { MOST_IN_FLIGHT } else { 1 };
        while self.in_flight.len() >= most {
            self.settle()?;
        }
        let sent = self.client.send(&batch);
        let calls = sent.map_err(|source| Error::Peer { sent: self.sent, source })?;
        self.in_flight.push_back((batch, calls));
        Ok(())
    }

    /// Waits until the first batch was taken. One that is refused is sent again for as long as an answer may
    /// take.
    fn settle(&mut self) -> Result<(), Error> {
        let Some((batch, calls)) = self.in_flight.pop_front() else { return Ok(()) };
        let Some(mut text) = self.refused(&batch, calls)? else { return Ok(()) };
        let mut refused = VecDeque::from([batch]);
        // Those behind it may have been taken.
        while let Some((batch, calls)) = self.in_flight.pop_front() {
            if self.refused(&batch, calls)?.is_some() {
                refused.push_back(batch);
            }
        }
        let mut since = Instant::now();
        while let Some(batch) = refused.pop_front() {
            if since.elapsed() > self.peer.request {
                return Err(Error::Refused { sent: self.sent, peer: self.peer.name(), text });
            }
            Stop::default().wait(AGAIN);
            let sent = self.client.send(&batch);
            let calls = sent.map_err(|source| Error::Peer { sent: self.sent, source })?;
            match self.refused(&batch, calls)? {
                None => since = Instant::now(),
                Some(again) => {
                    text = again;
                    refused.push_front(batch);
                }
            }
        }
        Ok(())
    }

    /// Waits for the answers to a batch, and says why it was refused, if it was.
    fn refused(&mut self, batch: &[Event], calls: Calls) -> Result<Option<String>, Error> {
        let answer = self.client.receive(calls);
        Ok(match answer.map_err(|source| Error::Peer { sent: self.sent, source })? {
            Answer::Status(Status::Ok) => {
                self.sent += batch.len() as u64;
                None
            }
            Answer::Status(_) => {
                Some("its channel is full, or takes smaller batches only".to_owned())
            }
            Answer::Error(text) => Some(text),
        })
    }
}

/// What can be read, in blocks that end where lines do. The last line ends even where its end is missing.
struct Blocks<R> {
    input: R,
    /// The beginning of a line whose end is not read yet.
    rest: Vec<u8>,
    has_ended: bool,
}

impl<R: Read> Blocks<R> {
    fn next(&mut self, path: &Path) -> Result<Option<Bytes>, Error> {
        let mut block = std::mem::take(&mut self.rest);
        while !self.has_ended {
            if block.len() > MOST_LINE {
                return Err(Error::Long { path: path.to_owned() });
            }
            let searched = block.len();
            block.reserve(BLOCK);
            let taken = self.input.by_ref().take(BLOCK as u64).read_to_end(&mut block);
            if taken.map_err(|source| read(path, source))? == 0 {
                self.has_ended = true;
                if block.last().is_some_and(|&last| last != b'\n') {
                    block.push(b'\n');
                }
                break;
            }
            if let Some(end) = memchr::memrchr(b'\n', &block[searched..]) {
                self.rest = block.split_off(searched + end + 1);
                break;
            }
        }
        Ok((!block.is_empty()).then(|| block.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_where_lines_do() {
        let long = "x".repeat(BLOCK + 10);
        for text in ["", "\n", "a\nb\n\nc", &format!("a\n{long}\r\n{long}")] {
            let mut blocks = Blocks { input: text.as_bytes(), rest: Vec::new(), has_ended: false };
            let mut all = Vec::new();
            while let Some(block) = blocks.next(Path::new("x")).unwrap() {
                assert_eq!(block.last(), Some(&b'\n'));
                all.extend_from_slice(&block);
            }
            let ended = !text.is_empty() && !text.ends_with('\n');
            assert_eq!(all, format!("{text}{}", if ended { "\n" } else { "" }).as_bytes());
        }
    }
}
