//! Dead letters, kept where the configuration says: in files, or in a topic.
//!
//! ```text
//!  keep(e) ──▶ thread ──▶ lines, synced          ──▶ Kept(e, length of all)
//!                   └───▶ messages, acknowledged ──▶ Kept(e, as it was)
//! ```
//!
//! In files a dead letter stands once (*idempotent*): the mark keeps how long all files of the job are
//! together, and a start cuts off what lies behind, since that will be kept again. In a topic it
//! stands at least once, by its place.
//!
//! Where letters cannot be kept now, because the disk is full or the topic is away, epochs wait, and with
//! them the source. They are neither dropped nor a reason to end: there will be room again, and a job
//! that ended would have to be started again by somebody to find that out.

mod files;
mod topic;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use dataflows::Epoch;
use rdkafka::error::KafkaError;

use super::DeadLetter;
use crate::config;
use crate::kafka::{self, Access};
use crate::ledger::{Binding, Fence};
use crate::outside::Told;
use crate::retry::{Ended, Fault, Faulty, Stop};

use files::Files;
use topic::Topic;

/// What a start of the job knows of the dead letters so far.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The job's name.
    pub job: &'a str,
    /// The number of this incarnation.
    pub incarnation: u64,
    /// The length that the mark keeps: what was told last of an epoch that is marked.
    pub length: u64,
    /// What says whether this incarnation may write: what one writes after the next has begun stands in a
    /// topic twice, and in a file until the next start cuts it off.
    pub fence: Option<&'a Arc<Fence>>,
}

/// Keeps dead letters, on a thread of its own.
pub struct DeadLetters {
    epochs: Sender<(Epoch, Vec<DeadLetter>)>,
}

/// Why dead letters cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Their folder cannot be made or looked into, or a file of a former start not be cut.
    #[error("cannot make ready {} for dead letters", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// They cannot be written; what was written of them is cut off when it is tried again.
    #[error("cannot write dead letters to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Kafka is not configured.
    #[error(
        "dead letters are to go to the topic {topic}, and kafka.properties has no bootstrap.servers"
    )]
    NoKafka {
        /// The topic.
        topic: String,
    },
    /// The topic is not there.
    #[error(
        "there is no topic {topic} for dead letters; make it: online-recall topics create {topic} \
         --partitions 4 {options}"
    )]
    NoTopic {
        /// The topic.
        topic: String,
        /// The options by which a command reaches the brokers.
        options: String,
    },
    /// Kafka's client cannot be made.
    #[error(transparent)]
    Client(#[from] kafka::Error),
    /// They cannot be sent, or may not have been: sent again, a letter may stand there twice.
    #[error("cannot send dead letters to the topic {topic}")]
    Send {
        /// The topic.
        topic: String,
        /// What the client says.
        source: KafkaError,
    },
    /// The job ends before they were acknowledged.
    #[error("the job is stopping")]
    Stopped,
    /// A thread cannot be started.
    #[error("cannot start a thread that keeps dead letters")]
    Thread(#[source] io::Error),
}

impl Faulty for Error {
    fn fault(&self) -> Fault {
        match self {
            Error::Write { .. } | Error::Stopped => Fault::Retry,
            Error::Send { .. } => Fault::Unknown,
            Error::Client(error) => error.fault(),
            _ => Fault::Fatal,
        }
    }
}

enum Target {
    Files(Files),
    Topic(Topic),
}

/// The files of a job's dead letters in a folder, in the order in which they were written, each with
/// how many bytes of it count at most: what lies behind is of epochs that are not marked. The ledger's
/// token has this incarnation, and `length` is what the mark keeps. No folder holds no files.
///
/// # Errors
///
/// If the folder cannot be looked into.
pub fn marked(
    folder: &Path,
    job: &str,
    incarnation: u64,
    length: u64,
) -> io::Result<Vec<(PathBuf, u64)>> {
    match files::marked(folder, job, incarnation, length) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

impl DeadLetters {
    /// Makes ready what former starts have left, and starts the thread; `told` hears what became of each
    /// epoch's letters. `kafka` is how a client reaches the brokers, for a topic.
    ///
    /// The thread ends when this is dropped, the job stops, or something fails for good; nobody need
    /// wait for it.
    ///
    /// # Errors
    ///
    /// If what is there cannot be made ready.
    pub fn new(
        place: &config::DeadLetters,
        start: Start<'_>,
        kafka: &Access,
        told: Sender<Told>,
        stop: Stop,
    ) -> Result<DeadLetters, Error> {
        let target = match place {
            config::DeadLetters::Folder(path) => {
                Target::Files(Files::begin(path.as_str().as_ref(), start)?)
            }
            config::DeadLetters::Topic(topic) => {
                Target::Topic(Topic::new(topic.as_str(), kafka, start.length)?)
            }
        };
        let fence = start.fence.cloned();
        // Bounded by the epochs in flight, and the bytes of records in them.
        let (epochs, waiting) = crossbeam_channel::unbounded();
        std::thread::Builder::new()
            .name("dead-letters".to_owned())
            .spawn(move || keep_all(target, fence.as_deref(), &waiting, &told, &stop))
            .map_err(Error::Thread)?;
        Ok(DeadLetters { epochs })
    }

    /// Keeps an epoch's letters, after those of all epochs before it.
    pub fn keep(&self, binding: &Arc<Binding>, letters: Vec<DeadLetter>) {
        if self.epochs.send((binding.epoch, letters)).is_err() {
            // The thread has told why it ended.
            log::debug!("dead letters are given to nobody: epoch={}", binding.epoch);
        }
    }
}

fn keep_all(
    mut target: Target,
    fence: Option<&Fence>,
    waiting: &Receiver<(Epoch, Vec<DeadLetter>)>,
    told: &Sender<Told>,
    stop: &Stop,
) {
    // What cannot be kept is said at the start, and not with the first letter.
    let ready = match &mut target {
        Target::Files(_) => Ok(()),
        Target::Topic(topic) => topic.make_ready(stop),
    };
    if let Err(ended) = ready {
        return tell(told, ended_with(ended));
    }
    for (epoch, letters) in waiting {
        let passed = match fence {
            Some(fence) if !letters.is_empty() => fence.pass(stop),
            _ => Ok(()),
        };
        let kept = match (passed, &mut target) {
            (Err(_), _) => Err(Ended::Stopped),
            (Ok(()), Target::Files(files)) => files.keep(&letters, stop),
            (Ok(()), Target::Topic(topic)) => topic.keep(&letters, stop),
        };
        match kept {
            Ok(length) => tell(told, Told::Kept(epoch, length)),
            Err(ended) => return tell(told, ended_with(ended)),
        }
    }
}

fn ended_with(ended: Ended<Error>) -> Told {
    match ended {
        Ended::Stopped => Told::Stopped,
        Ended::Failed(error) => Told::Failed(error.into()),
    }
}

fn tell(told: &Sender<Told>, what: Told) {
    // Who is gone has heard of a failure before, and the job stops.
    if told.send(what).is_err() {
        log::debug!("nobody hears what became of dead letters: the job is stopping");
    }
}
