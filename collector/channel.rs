//! Where events wait, between sources and sinks.
//!
//! **The contract.** A put is two steps. [`Channel::reserve`] waits, no longer than the channel's
//! `keep-alive`, for room for a whole batch; a source that feeds several channels reserves in all of them
//! before it commits in any, so that one that is full leaves nothing behind in the others.
//! [`Room::commit`] then puts the batch, all or nothing: when it returns, the channel has it as safely as
//! it can have anything. A room that is dropped is given back.
//!
//! A source that reads again what it has put, since it was killed before it could note that, gives each batch
//! an [`Origin`]. A channel that outlives the process keeps the last one of each source, with the batch and as
//! safely: so the source learns what it has put, and the inlet puts it nowhere twice.
//!
//! [`Channel::take`] lends the next events to a sink. [`Take::commit`] forgets them; a take that is dropped
//! goes back to where it was, at the channel's head and in its order. Any number of takes may be out, and
//! be committed in any order; until then their events count as being in the channel. An event is lent to
//! one sink at a time.

pub mod file;
pub mod memory;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::counters::{self, Counters};
use crate::event::Event;
use crate::keys::Keys;

/// Holds events between a source and a sink.
pub trait Channel: Debug + Send + Sync {
    /// Waits for room for these events, for the channel's keep-alive at most.
    ///
    /// # Errors
    ///
    /// If there is no room, or never can be.
    fn reserve(self: Arc<Self>, events: &[Event]) -> Result<Box<dyn Room>, Refused>;

    /// Lends up to so many events, in order; waits so long for the first one, and for no other. None where
    /// none came.
    ///
    /// # Errors
    ///
    /// If the channel cannot be read.
    fn take(self: Arc<Self>, most: usize, patience: Duration) -> Result<Box<dyn Take>, Failure>;

    /// How many events are in it, with those that are lent.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many it holds at most.
    fn capacity(&self) -> usize;

    /// Whether what is in it outlives the process.
    fn is_durable(&self) -> bool;

    /// What tells its events from those of every other channel, in one that numbers them: made with it, and
    /// lost with it.
    fn identity(&self) -> Option<&str> {
        None
    }

    /// By what this source knows again the last batch that the channel has of it; none where the channel has
    /// none, or does not outlive the process.
    fn last_of(&self, source: &str) -> Option<Bytes> {
        let _ = source;
        None
    }

    /// What it has counted.
    fn counters(&self) -> &Counters<counters::Channel>;

    /// Forgets all events below this position ([`Take::end`]): the other side has them, as it says. Called
    /// while nothing is taken, by the only sink that reads the channel.
    ///
    /// # Errors
    ///
    /// If the channel has no positions, or cannot note it.
    fn forget_below(&self, position: u64) -> Result<(), Failure> {
        let _ = position;
        Err(Failure::new("the channel has no positions"))
    }
}

/// Where a batch comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source's name.
    pub source: String,
    /// By what the source knows the batch again: never the same for two of them.
    pub batch: Bytes,
}

/// Room for a batch, until it is dropped.
pub trait Room: Send {
    /// Puts the events that it was reserved for, and takes them; notes their origin with them.
    ///
    /// # Errors
    ///
    /// If they are not put: none of them is, and they stay where they are.
    fn commit(
        self: Box<Self>,
        events: &mut Vec<Event>,
        origin: Option<&Origin>,
    ) -> Result<(), Failure>;
}

/// Events that are lent to a sink; dropped, they go back.
pub trait Take: Send {
    /// The events, in order.
    fn events(&self) -> &[Event];

    /// The position behind the last of them, in a channel that numbers its events: a number that grows, and
    /// stays over a start. It says what was taken where takes are made one after another.
    fn end(&self) -> Option<u64>;

    /// Forgets them: they are delivered.
    ///
    /// # Errors
    ///
    /// If that cannot be noted: they may be lent again.
    fn commit(self: Box<Self>) -> Result<(), Failure>;
}

/// Why a channel does not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There was no room for its keep-alive; there may be later.
    #[error("channel {channel} is full: {len} of {capacity} events")]
    Full {
        /// Which channel.
        channel: String,
        /// How many events it holds.
        len: usize,
        /// How many it can hold.
        capacity: usize,
    },
    /// There never will be: the batch is larger than what the channel takes at once.
    #[error(
        "a batch of {batch} events is more than channel {channel} takes at once: its transactionCapacity is {most}"
    )]
    TooMany {
        /// Which channel.
        channel: String,
        /// How many events they are.
        batch: usize,
        /// How many it takes at once.
        most: usize,
    },
    /// The channel has failed.
    #[error("channel {channel} has failed")]
    Failed {
        /// Which channel.
        channel: String,
        /// Why.
        source: Failure,
    },
}

/// Why a channel cannot do what it should.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    what: String,
    source: Option<std::io::Error>,
}

impl Failure {
    /// Without a cause.
    pub fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), source: None }
    }

    /// What the system says.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Failure {
        Failure { what: what.into(), source: Some(source) }
    }
}

/// A channel as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// Events wait in memory.
    Memory(memory::Settings),
    /// Events wait on the disk.
    File(file::Settings),
}

impl Settings {
    /// Reads the keys of a channel of this type. None for a type that is not known.
    pub fn read(kind: &str, keys: &Keys<'_>) -> Option<Settings> {
        match &*kind.to_ascii_lowercase() {
            "memory" | "org.apache.flume.channel.memorychannel" => {
                Some(Settings::Memory(memory::Settings::read(keys)))
            }
            "file" | "org.apache.flume.channel.file.filechannel" => {
                Some(Settings::File(file::Settings::read(keys)))
            }
            "spillablememory" | "org.apache.flume.channel.spillablememorychannel" => {
                Some(Settings::File(file::Settings::read_spillable(keys)))
            }
            _ => None,
        }
    }

    /// How many events it takes or lends at once.
    pub fn transaction_capacity(&self) -> usize {
        match self {
            Settings::Memory(settings) => settings.transaction_capacity,
            Settings::File(settings) => settings.transaction_capacity,
        }
    }

    /// Whether what is in it outlives the process.
    pub fn is_durable(&self) -> bool {
        match self {
            Settings::Memory(_) => false,
            Settings::File(_) => true,
        }
    }

    /// The folders that it works in, and no other channel may.
    pub fn folders(&self) -> Vec<&Path> {
        match self {
            Settings::Memory(_) => Vec::new(),
            Settings::File(settings) => settings.folders().into(),
        }
    }

    /// Makes it, with what stands there from before.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub fn open(&self, name: &str) -> Result<Arc<dyn Channel>, Failure> {
        match self {
            Settings::Memory(settings) => Ok(memory::Channel::new(name, settings)),
            Settings::File(settings) => Ok(file::Channel::open(name, settings)?),
        }
    }
}

/// The types that [`Settings::read`] knows.
pub const TYPES: &[&str] = &["memory", "file", "spillablememory"];
