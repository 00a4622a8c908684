//! What each component has counted, under Flume's names.
//!
//! Nothing is counted event by event: whoever counts does it a batch at a time.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What components of one kind count.
pub trait Count: Copy {
    /// The kind, as it begins the component's name in Flume's JSON.
    const KIND: &'static str;
    /// The counters' names there, in the order of their values.
    const NAMES: &'static [&'static str];

    /// Its place in [`Count::NAMES`].
    fn place(self) -> usize;
}

macro_rules! counts {
    ($(#[$doc:meta])* $kind:ident, $name:literal: $($count:ident),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "they are Flume's, and their names say all")]
        pub enum $kind { $($count),+ }

        impl Count for $kind {
            const KIND: &'static str = $name;
            const NAMES: &'static [&'static str] = &[$(stringify!($count)),+];

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

counts! {
    /// What a source counts.
    Source, "SOURCE":
    EventReceivedCount, EventAcceptedCount, AppendReceivedCount, AppendAcceptedCount,
    AppendBatchReceivedCount, AppendBatchAcceptedCount, OpenConnectionCount, EventReadFail,
    ChannelWriteFail, GenericProcessingFail
}

counts! {
    /// What a channel counts. Flume has no events that are damaged: it does not start with them.
    Channel, "CHANNEL":
    EventPutAttemptCount, EventPutSuccessCount, EventTakeAttemptCount, EventTakeSuccessCount,
    EventDamagedCount
}

counts! {
    /// What a sink counts.
    Sink, "SINK":
    ConnectionCreatedCount, ConnectionClosedCount, ConnectionFailedCount, BatchEmptyCount,
    BatchUnderflowCount, BatchCompleteCount, EventDrainAttemptCount, EventDrainSuccessCount,
    EventWriteFail, ChannelReadFail
}

/// The counters of one component.
#[derive(Debug)]
pub struct Counters<C> {
    name: String,
    values: Vec<AtomicU64>,
    started: AtomicU64,
    stopped: AtomicU64,
    kind: PhantomData<C>,
}

impl<C: Count> Counters<C> {
    /// All at zero.
    pub fn new(name: &str) -> Counters<C> {
        Counters {
            name: name.to_owned(),
            values: C::NAMES.iter().map(|_| AtomicU64::new(0)).collect(),
            started: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
            kind: PhantomData,
        }
    }

    /// The component's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts so many.
    pub fn add(&self, count: C, many: usize) {
        self.values[count.place()].fetch_add(many as u64, Ordering::Relaxed);
    }

    /// Counts so many less: of a counter that says how many there are.
    pub fn remove(&self, count: C, many: usize) {
        self.values[count.place()].fetch_sub(many as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self, count: C) -> u64 {
        self.values[count.place()].load(Ordering::Relaxed)
    }

    /// Notes that the component begins to work, now.
    pub fn start(&self) {
        self.started.store(now(), Ordering::Relaxed);
        self.stopped.store(0, Ordering::Relaxed);
    }

    /// Notes that it has ended, now.
    pub fn stop(&self) {
        self.stopped.store(now(), Ordering::Relaxed);
    }

    /// Name and value of all, with `StartTime` and `StopTime` in milliseconds since 1970.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let values = C::NAMES.iter().copied().zip(&self.values);
        let times = [("StartTime", &self.started), ("StopTime", &self.stopped)];
        values.chain(times).map(|(name, value)| (name, value.load(Ordering::Relaxed)))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
