//! A connection over which two processes of a cluster speak with each other, for as long as both live.
//!
//! A message is its length (four bytes, little-endian) and a [`postcard`] value; a length of 0 is a beat.
//! Who has nothing to say says that several times within `cluster.silence`; who has not been heard for so
//! long is lost.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many beats there are in a silence.
const BEATS: u32 = 5;

/// The longest message: dead letters of an epoch, which are bounded by its bytes.
const LONGEST: usize = 1 << 30;

/// What is heard of the other side.
#[derive(Debug)]
pub(super) enum Heard<T> {
    /// A message.
    Message(T),
    /// The last that is heard of it, and why.
    Lost(String),
}

/// The near end.
#[derive(Debug)]
pub(super) struct Link<S> {
    speaker: Speaker<S>,
    ended: Receiver<()>,
}

/// Says something over a link.
#[derive(Debug)]
pub struct Speaker<S> {
    says: Sender<Vec<u8>>,
    speaks: PhantomData<fn(S)>,
}

impl<S: Serialize> Speaker<S> {
    /// Says something; never waits. Who is lost does not hear it.
    pub fn say(&self, what: &S) {
        let said = postcard::to_stdvec(what).expect("a message has no part that cannot be written");
        if self.says.send(said).is_err() {
            log::debug!("a process that is lost hears nothing");
        }
    }
}

impl<S: Serialize> Link<S> {
    /// Speaks over a connection; `hear` is called by a thread of its own with all that comes, and with
    /// the loss at last.
    pub fn start<H: DeserializeOwned>(
        socket: TcpStream,
        silence: Duration,
        hear: impl FnMut(Heard<H>) + Send + 'static,
    ) -> io::Result<Link<S>> {
        let (says, said) = crossbeam_channel::unbounded();
        let (ends, ended) = crossbeam_channel::bounded(0);
        socket.set_read_timeout(Some(silence))?;
        socket.set_write_timeout(Some(silence))?;
        let writes = socket.try_clone()?;
        let deaf = Arc::new(AtomicBool::new(false));
        let notes = Arc::clone(&deaf);
        spawn("cluster-say", move || {
            speak(writes, &said, silence / BEATS, &notes);
            drop(ends);
        })?;
        spawn("cluster-hear", move || listen(socket, silence, &deaf, hear))?;
        Ok(Link { speaker: Speaker { says, speaks: PhantomData }, ended })
    }

    /// Says something; never waits. Who is lost does not hear it.
    pub fn say(&self, what: &S) {
        self.speaker.say(what);
    }

    /// What says something, from wherever.
    pub fn speaker(&self) -> Speaker<S> {
        Speaker { says: self.speaker.says.clone(), speaks: PhantomData }
    }

    /// Says nothing more, and waits so long at most until all is sent.
    pub fn close(self, patience: Duration) {
        let Link { speaker, ended } = self;
        // An empty message is none: the thread ends behind what it was told.
        if speaker.says.send(Vec::new()).is_err() {
            return;
        }
        if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            log::debug!("a process did not hear all that it was told");
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

/// Whether nothing went for as long as is waited.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Writes what is said, or a beat; until there is nobody who says something, or it cannot be written.
/// `deaf` is whether the other side takes nothing.
fn speak(mut socket: TcpStream, said: &Receiver<Vec<u8>>, beat: Duration, deaf: &AtomicBool) {
    loop {
        let message = match said.recv_timeout(beat) {
            Ok(last) if last.is_empty() => break,
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let length = u32::try_from(message.len()).expect("a message is bounded");
        let framed = [&length.to_le_bytes()[..], &message].concat();
        if let Err(error) = socket.write_all(&framed) {
            log::debug!("a process cannot be spoken to: error={error}");
            if is_late(&error) {
                deaf.store(true, Ordering::Relaxed);
            }
            break;
        }
    }
    // Whoever listens at either end hears that it is over.
    drop(socket.shutdown(Shutdown::Both));
}

fn listen<H: DeserializeOwned>(
    mut socket: TcpStream,
    silence: Duration,
    deaf: &AtomicBool,
    mut hear: impl FnMut(Heard<H>),
) {
    loop {
        match read(&mut socket) {
            Ok(None) => {}
            Ok(Some(message)) => hear(Heard::Message(message)),
            Err(error) => {
                let why = if is_late(&error) {
                    format!("nothing was heard of it for {} ms", silence.as_millis())
                } else if deaf.load(Ordering::Relaxed) {
                    format!("it took nothing of what it was told for {} ms", silence.as_millis())
                } else if error.kind() == io::ErrorKind::UnexpectedEof {
                    "it has ended".to_owned()
                } else {
                    error.to_string()
                };
                return hear(Heard::Lost(why));
            }
        }
    }
}

/// Reads a message; nothing of a beat.
fn read<H: DeserializeOwned>(socket: &mut TcpStream) -> io::Result<Option<H>> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 {
        return Ok(None);
    }
    if length > LONGEST {
        return Err(io::Error::other("what it says makes no sense"));
    }
    // What does not come takes no room.
    let mut message = Vec::new();
    socket.take(length as u64).read_to_end(&mut message)?;
    if message.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let read = postcard::from_bytes(&message);
    read.map(Some).map_err(|_| io::Error::other("what it says makes no sense"))
}
