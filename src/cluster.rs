//! Several processes that do one job.
//!
//! ```text
//!   process 0: the hub                               process 1, 2, …: members
//!  ┌──────────────────────────────┐                 ┌───────────────────────────────┐
//!  │ takes the token, reads       │   Begin(plan)   │                               │
//!  │ the ledger; plans a run      │────────────────▶│ connects with all, starts     │
//!  │                              │ Cut, Counted,   │ workers, reads its partitions │
//!  │ committer: binds, marks,     │ Scored, Recalled│                               │
//!  │ keeps dead letters           │◀────────────────│ writes the scores and recalls │
//!  │ writes the scores and recalls│ Close, Bound,   │ that its workers own          │
//!  │ that its workers own         │────────────────▶│                               │
//!  └──────────────┬───────────────┘ Marked, End     └───────────────┬───────────────┘
//!                 └──────────── records between workers: timely ────┘
//! ```
//!
//! - Each process listens on its own line of the host file. A connection counts when both ends have proved
//!   that they know the secret and agree about job, version, processes and workers (`handshake`); anybody
//!   else is dropped (`door`).
//! - Control: one connection of each member with the hub, on which both are heard within `cluster.silence`
//!   (`link`). Data: one connection of each pair of processes and run, timely's own protocol (`network`).
//! - All share one fate: when one process fails, dies or is silent, all end. Whoever started them starts all
//!   again, and the ledger says where they go on.

mod door;
mod handshake;
mod hosts;
mod hub;
mod link;
mod member;
mod network;
mod said;

use std::io;
use std::time::Duration;

use dataflows::Channel;
use serde::{Deserialize, Serialize};

use crate::config::{Address, Config};
use crate::retry::Stop;
use crate::source::Spread;
use door::{Circle, Door};

pub use hosts::read as read_hosts;
pub use hub::Hub;
pub use member::Member;
pub use network::Network;
pub use said::{Plan, Reads, ToHub, ToMember};

/// How long others may take to join where all are started at once, to begin a run, or to end it, before they
/// are given up.
const OVERDUE: Duration = Duration::from_secs(8);

/// How long is waited until others have been told of the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Which process this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its index, from 0.
    pub index: usize,
    /// How many there are.
    pub processes: usize,
    /// How many workers each has.
    pub workers: usize,
}

impl Place {
    /// That of a process alone, with so many workers.
    pub fn alone(workers: usize) -> Place {
        Place { index: 0, processes: 1, workers }
    }

    /// Whether one of its workers owns the lists of a channel.
    pub fn owns(self, channel: Channel) -> bool {
        dataflows::owner(channel, self.processes * self.workers) / self.workers == self.index
    }

    /// Which partitions it reads.
    pub fn spread(self) -> Spread {
        Spread { index: self.index, processes: self.processes }
    }
}

/// What all processes must agree about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agreed {
    /// The program's version and commit, and how it lets records travel.
    pub version: String,
    /// The job.
    pub job: String,
    /// How many processes there are.
    pub processes: usize,
    /// How many workers each has.
    pub workers: usize,
}

/// Why a process is no part of a cluster, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host file cannot be used.
    #[error(transparent)]
    Hosts(#[from] hosts::Error),
    /// There is no secret.
    #[error(
        "cluster.secret: more than one process needs a secret that all know, such as \"${{file:./secret}}\""
    )]
    NoSecret,
    /// It cannot listen.
    #[error("cannot listen on {address}, its line of the host file")]
    Listen {
        /// That line.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// A connection fails.
    #[error("cannot speak with another process")]
    Io(#[from] io::Error),
    /// Another process does not let it in.
    #[error("{0}")]
    Refused(String),
    /// Another process is not reached.
    #[error("{0}")]
    Unreached(String),
    /// Another process does not do its part.
    #[error("process {index} does not keep up: it did not {what} within {} s", OVERDUE.as_secs())]
    Late {
        /// Which.
        index: usize,
        /// What was waited for.
        what: &'static str,
    },
    /// The job ends.
    #[error("the job is stopping")]
    Stopped,
}

impl Error {
    /// Whether it is the configuration or the command line that must be mended.
    pub fn is_of_configuration(&self) -> bool {
        matches!(self, Error::Hosts(_) | Error::NoSecret | Error::Refused(_))
    }
}

/// A process that has joined.
pub enum Joined {
    /// Process 0, with whom all others have joined.
    Hub(Hub),
    /// Another one.
    Member(Member),
}

/// Joins a cluster: waits for the others, as long as it takes; only a little where all were started at once,
/// since one that hangs before it has joined is missed by nobody else.
///
/// # Errors
///
/// If the configuration lacks something, the address is taken, another process refuses this one, or is not
/// there in time.
pub fn join(
    config: &Config,
    here: Place,
    hosts: &[Address],
    version: &str,
    started_at_once: bool,
    stop: &Stop,
) -> Result<Joined, Error> {
    let secret = config.cluster.secret.as_ref().ok_or(Error::NoSecret)?;
    let agreed = Agreed {
        version: match cfg!(feature = "abomonation") {
            true => format!("{version} with the feature abomonation"),
            false => version.to_owned(),
        },
        job: config.job.as_str().to_owned(),
        processes: here.processes,
        workers: here.workers,
    };
    let circle = Circle {
        secret: secret.as_str().as_bytes().into(),
        agreed,
        here,
        hosts: hosts.into(),
        silence: config.cluster.silence,
    };
    let patience = started_at_once.then_some(OVERDUE);
    let address = &circle.hosts[here.index];
    let door = Door::open(&circle)
        .map_err(|source| Error::Listen { address: address.to_string(), source })?;
    match here.index {
        0 => Hub::gather(circle, door, patience, stop).map(Joined::Hub),
        _ => Member::join(circle, door, patience, stop).map(Joined::Member),
    }
}

/// Reports a panic that is none of ours: timely's way to say that a connection to another process broke.
/// Whether it was that.
#[expect(clippy::print_stderr, reason = "the process ends with it")]
pub fn reports(panic: &std::panic::PanicHookInfo<'_>) -> bool {
    let said = panic.payload_as_str().unwrap_or_default();
    let Some(why) = said.strip_prefix("timely communication error: ") else { return false };
    // Who knows more ends this process before: process 0, or its link.
    Stop::default().wait(FAREWELL);
    let thread = std::thread::current();
    let to = thread.name().and_then(|name| name.rsplit_once('-')).map_or("?", |(_, index)| index);
    eprintln!("error: the connection to process {to} broke: {why}");
    true
}

/// Draws the number of a run.
///
/// # Errors
///
/// If the system has no random bits.
pub fn draw() -> io::Result<u64> {
    hub::draw()
}

/// Ends this process at once, as one that was to end: not all that was read is done, but bound.
#[expect(clippy::disallowed_methods, reason = "nobody is left to return to")]
fn leave() -> ! {
    std::process::exit(0);
}

/// Ends this process at once: its threads may be waiting for processes that are gone.
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "nobody is left to return to")]
fn end(status: u8, why: &str) -> ! {
    eprintln!("error: {why}");
    std::process::exit(status.into());
}
