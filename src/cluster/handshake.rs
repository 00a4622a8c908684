//! Two processes make sure that both know the cluster's secret, before anything else is said.
//!
//! ```text
//!  caller                                              listener
//!    PREAMBLE, nonce (32)  ───────────────────────────▶
//!                          ◀───────────────────────────  PREAMBLE, nonce (32)
//!    hello, tag            ───────────────────────────▶  is the tag right? do both agree?
//!                          ◀───────────────────────────  answer, tag
//! ```
//!
//! `hello` and `answer` are a length (four bytes, little-endian) and a [`postcard`] value; a tag is the
//! HMAC-SHA256, keyed with the secret, of who speaks, both nonces, and all that was said since. So a tag
//! counts in one handshake, in one direction, and is compared in constant time. Who calls without the secret
//! learns no more than that this is a process of online-recall; who listens in a process's place is told the
//! hello, and gets a tag by which a weak secret could be guessed. What comes after is not encrypted: a cluster
//! belongs into a network of its own, or into a tunnel.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Agreed, Place};

/// What either side says first; a process of another protocol is known by it.
const PREAMBLE: &[u8; 16] = b"online-recall 1\n";

const NONCE: usize = 32;
const TAG: usize = 32;

/// The longest value that is read before it is known who speaks.
const LONGEST: usize = 4096;

/// How long a handshake may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// To join the cluster: of a member with process 0.
    Control,
    /// For what travels between workers, in the run of that number.
    Data(u64),
}

/// Who calls, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub agreed: Agreed,
    /// The caller's index.
    pub from: usize,
    /// That of whom it wants to reach.
    pub to: usize,
    pub purpose: Purpose,
}

/// Why a handshake did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke, or nothing came in time.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// At the other end is something else.
    #[error("it is no process of online-recall")]
    Stranger,
    /// The other end has said nothing to what this one has proved.
    #[error("it has hung up: perhaps it knows another secret (cluster.secret)")]
    HungUp,
    /// The other end does not know the secret.
    #[error("it does not know the secret of this cluster (cluster.secret)")]
    Secret,
    /// What it says cannot be read.
    #[error("what it says makes no sense")]
    Garbled,
    /// It knows the secret, and does not belong here.
    #[error("{0}")]
    Refused(String),
}

/// The bytes of one handshake, for one side's tag.
struct Tagger(Hmac<Sha256>);

impl Tagger {
    fn new(secret: &[u8], speaker: &[u8], nonces: [&[u8; NONCE]; 2]) -> Tagger {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length will do");
        mac.update(speaker);
        nonces.iter().for_each(|nonce| mac.update(*nonce));
        Tagger(mac)
    }

    fn with(mut self, said: &[u8]) -> Tagger {
        self.0.update(&(said.len() as u64).to_le_bytes());
        self.0.update(said);
        self
    }

    fn tag(self) -> [u8; TAG] {
        self.0.finalize().into_bytes().into()
    }

    /// Whether the tag is this one; takes as long whatever is wrong with it.
    fn is(self, tag: &[u8; TAG]) -> bool {
        self.0.verify_slice(tag).is_ok()
    }
}

/// Calls, as the one who has connected.
pub(super) fn call(socket: &TcpStream, secret: &[u8], hello: &Hello) -> Result<(), Error> {
    let mut line = Line { socket, until: Instant::now() + PATIENCE };
    let ours = nonce()?;
    line.write(&[PREAMBLE, &ours])?;
    let theirs = line.greeting()?;
    let nonces = [&ours, &theirs];
    let said = postcard::to_stdvec(hello).expect("a hello has no part that cannot be written");
    let tag = Tagger::new(secret, b"caller", nonces).with(&said).tag();
    line.write(&[&(said.len() as u32).to_le_bytes(), &said, &tag])?;
    let (answer, tag) = line.value().map_err(|error| match error {
        // Who is not believed is told nothing.
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Error::HungUp,
        error => error,
    })?;
    let expected = Tagger::new(secret, b"listener", nonces).with(&said).with(&answer);
    if !expected.is(&tag) {
        return Err(Error::Secret);
    }
    parse::<Result<(), String>>(&answer)?.map_err(Error::Refused)
}

/// Answers a call; `judge` says whether who knows the secret belongs here.
pub(super) fn answer(
    socket: &TcpStream,
    secret: &[u8],
    judge: impl FnOnce(&Hello) -> Result<(), String>,
) -> Result<Hello, Error> {
    let mut line = Line { socket, until: Instant::now() + PATIENCE };
    let theirs = line.greeting()?;
    let ours = nonce()?;
    line.write(&[PREAMBLE, &ours])?;
    let nonces = [&theirs, &ours];
    let (said, tag) = line.value()?;
    if !Tagger::new(secret, b"caller", nonces).with(&said).is(&tag) {
        return Err(Error::Secret);
    }
    let hello: Hello = parse(&said)?;
    let judged = judge(&hello);
    let answer = postcard::to_stdvec(&judged).expect("an answer can be written");
    let tag = Tagger::new(secret, b"listener", nonces).with(&said).with(&answer).tag();
    line.write(&[&(answer.len() as u32).to_le_bytes(), &answer, &tag])?;
    judged.map(|()| hello).map_err(Error::Refused)
}

/// Compares what two processes must agree about; says what is different, if anything is.
pub(super) fn compare(ours: &Agreed, here: Place, hello: &Hello) -> Result<(), String> {
    let theirs = &hello.agreed;
    let differs = |what: &str, here: &dyn std::fmt::Display, there: &dyn std::fmt::Display| {
        let (to, from) = (hello.to, hello.from);
        Err(format!("{what} is {here} in process {to} and {there} in process {from}"))
    };
    if theirs.version != ours.version {
        return differs("the program's version", &ours.version, &theirs.version);
    }
    if theirs.job != ours.job {
        return differs("the job", &ours.job, &theirs.job);
    }
    if theirs.processes != ours.processes {
        return differs("the number of processes (-n)", &ours.processes, &theirs.processes);
    }
    if theirs.workers != ours.workers {
        return differs("the number of workers (-w)", &ours.workers, &theirs.workers);
    }
    if hello.to != here.index {
        return Err(format!(
            "process {} looks for process {} where process {} listens: their host files differ",
            hello.from, hello.to, here.index
        ));
    }
    if hello.from == here.index || hello.from >= ours.processes {
        return Err(format!("two processes are started as process {} (-p)", hello.from));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(said: &[u8]) -> Result<T, Error> {
    postcard::from_bytes(said).map_err(|_| Error::Garbled)
}

fn nonce() -> io::Result<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut nonce)?;
    Ok(nonce)
}

/// A socket with a time at which everything is to be over, however slowly bytes drip.
struct Line<'a> {
    socket: &'a TcpStream,
    until: Instant,
}

impl Line<'_> {
    fn greeting(&mut self) -> Result<[u8; NONCE], Error> {
        let preamble: [u8; PREAMBLE.len()] = self.read()?;
        if preamble != *PREAMBLE {
            return Err(Error::Stranger);
        }
        Ok(self.read()?)
    }

    /// Reads a value and its tag.
    fn value(&mut self) -> Result<(Vec<u8>, [u8; TAG]), Error> {
        let length = u32::from_le_bytes(self.read()?) as usize;
        if length > LONGEST {
            return Err(Error::Garbled);
        }
        let mut said = vec![0; length];
        self.fill(&mut said)?;
        Ok((said, self.read()?))
    }

    fn read<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, mut rest: &mut [u8]) -> io::Result<()> {
        while !rest.is_empty() {
            self.socket.set_read_timeout(Some(self.left()?))?;
            match self.socket.read(rest) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => rest = &mut rest[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write_all(&parts.concat())
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}
