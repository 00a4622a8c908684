//! What stands between a source and its channels: interceptors, selector, and a put into each channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::channel::{Channel, Origin, Refused};
use crate::counters::{Counters, Source as Count};
use crate::event::Event;
use crate::interceptor::Interceptor;
use crate::selector::{Selector, Split};
use crate::stop::{Stop, chain};

/// The waits between tries to put a batch: the first, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(4));

/// How often a source that waits for room says so.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Takes a source's events into its channels.
#[derive(Debug)]
pub struct Inlet {
    interceptors: Vec<(String, Box<dyn Interceptor>)>,
    selector: Selector,
    channels: Vec<Arc<dyn Channel>>,
    counters: Counters<crate::counters::Source>,
    flow: Flow,
}

/// What has become of the events that a source has read.
#[derive(Debug, Default)]
pub struct Flow {
    /// Events that were read.
    pub read: AtomicU64,
    /// By interceptor, in the order of the file: events that it has dropped.
    pub filtered: Vec<(String, AtomicU64)>,
    /// Events that the selector sent nowhere.
    pub nowhere: AtomicU64,
    /// Events that an optional channel did not take.
    pub declined: AtomicU64,
    /// Events that went into at least one channel.
    pub accepted: AtomicU64,
    /// Copies that went into channels.
    pub put: AtomicU64,
}

/// The source was told to stop before a batch was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl Inlet {
    /// An inlet into these channels, which the selector knows by their places.
    pub fn new(
        name: &str,
        interceptors: Vec<(String, Box<dyn Interceptor>)>,
        selector: Selector,
        channels: Vec<Arc<dyn Channel>>,
    ) -> Inlet {
        let filtered = interceptors.iter().map(|(name, _)| (name.clone(), AtomicU64::new(0)));
        let flow = Flow { filtered: filtered.collect(), ..Flow::default() };
        Inlet { interceptors, selector, channels, counters: Counters::new(name), flow }
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        self.counters.name()
    }

    /// The source's counters. What is read, accepted and refused is counted here already.
    pub fn counters(&self) -> &Counters<crate::counters::Source> {
        &self.counters
    }

    /// What has become of what was read.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Whether a channel that must take its events outlives the machine: then the source's position does, too.
    pub fn is_durable(&self) -> bool {
        self.channels.iter().any(|channel| channel.is_durable())
    }

    /// By what the source knows again the last batches that channels have of it: of one that it was killed over,
    /// some may have it, and some not.
    pub fn last_batches(&self) -> Vec<Bytes> {
        let mut last: Vec<_> =
            self.channels.iter().filter_map(|channel| channel.last_of(self.name())).collect();
        last.sort_unstable();
        last.dedup();
        last
    }

    /// Puts a batch: when this returns, every required channel has it.
    ///
    /// # Errors
    ///
    /// If a required channel does not take it now. For want of room: then no channel has any of it. Because
    /// its disk fails: then those before it in the source's list have it.
    pub fn accept(&self, events: Vec<Event>) -> Result<(), Refused> {
        self.counters.add(Count::EventReceivedCount, events.len());
        let mut batch = self.intercepted(events, None);
        self.put(&mut batch)?;
        self.done(batch);
        Ok(())
    }

    /// Puts a batch, and waits for room as long as it takes.
    ///
    /// # Errors
    ///
    /// If the source is stopped meanwhile: likewise.
    pub fn persist(&self, events: Vec<Event>, stop: &Stop) -> Result<(), Stopped> {
        self.wait_and_put(self.intercepted(events, None), stop, WAITS, || {})
    }

    /// Likewise, into each channel that does not have this batch: by these bytes its source knows it again.
    ///
    /// # Errors
    ///
    /// If the source is stopped meanwhile: likewise.
    pub fn persist_once(
        &self,
        events: Vec<Event>,
        batch: Bytes,
        stop: &Stop,
    ) -> Result<(), Stopped> {
        self.persist_once_after(events, batch, stop, WAITS)
    }

    /// Likewise; the first wait between tries and the longest are the source's.
    ///
    /// # Errors
    ///
    /// If the source is stopped meanwhile: likewise.
    pub fn persist_once_after(
        &self,
        events: Vec<Event>,
        batch: Bytes,
        stop: &Stop,
        waits: (Duration, Duration),
    ) -> Result<(), Stopped> {
        let origin = Origin { source: self.name().to_owned(), batch };
        self.wait_and_put(self.intercepted(events, Some(origin)), stop, waits, || {})
    }

    /// Likewise; calls this between tries, for a source that has something to do while it waits.
    ///
    /// # Errors
    ///
    /// If the source is stopped meanwhile: likewise.
    pub fn persist_beside(
        &self,
        events: Vec<Event>,
        stop: &Stop,
        beside: impl FnMut(),
    ) -> Result<(), Stopped> {
        self.wait_and_put(self.intercepted(events, None), stop, WAITS, beside)
    }

    fn wait_and_put(
        &self,
        mut batch: Batch,
        stop: &Stop,
        waits: (Duration, Duration),
        mut beside: impl FnMut(),
    ) -> Result<(), Stopped> {
        self.counters.add(Count::EventReceivedCount, batch.read);
        let (begun, mut said, mut wait) = (Instant::now(), None::<Instant>, waits.0.min(waits.1));
        while let Err(refused) = self.put(&mut batch) {
            if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                let error = chain(&refused);
                let seconds = begun.elapsed().as_secs();
                log::warn!("source {} waits since {seconds} s: error={error}", self.name());
                said = Some(Instant::now());
            }
            beside();
            if stop.wait(wait) {
                return Err(Stopped);
            }
            wait = (wait * 2).min(waits.1);
        }
        if said.is_some() {
            log::info!("source {} goes on after {} s", self.name(), begun.elapsed().as_secs());
        }
        self.done(batch);
        Ok(())
    }

    fn intercepted(&self, mut events: Vec<Event>, origin: Option<Origin>) -> Batch {
        let read = events.len();
        let mut filtered = Vec::with_capacity(self.interceptors.len());
        for (_, interceptor) in &self.interceptors {
            let before = events.len();
            events.retain_mut(|event| interceptor.intercept(event));
            filtered.push(before - events.len());
        }
        let left = events.len();
        if left < read / 4 {
            // Bodies share the memory of what was read at once: what is left of it must not keep all of it.
            for event in &mut events {
                event.body = Bytes::copy_from_slice(&event.body);
            }
        }
        let mut split = self.selector.split(events, self.channels.len());
        if let Some(Origin { source, batch }) = &origin {
            split
                .required
                .retain(|(place, _)| self.channels[*place].last_of(source).as_ref() != Some(batch));
        }
        Batch { read, filtered, left, split, origin }
    }

    /// Into all required channels, or none; then into the optional ones, if they have room. What a channel
    /// has taken leaves the batch.
    fn put(&self, batch: &mut Batch) -> Result<(), Refused> {
        let Split { required, optional, .. } = &mut batch.split;
        let mut rooms = Vec::with_capacity(required.len());
        for (place, events) in &*required {
            let reserved = Arc::clone(&self.channels[*place]).reserve(events);
            rooms.push(reserved.inspect_err(|_| self.counters.add(Count::ChannelWriteFail, 1))?);
        }
        for room in rooms {
            let (place, events) = &mut required[0];
            let many = events.len() as u64;
            // Only a disk that fails is left to go wrong: then the channels before have the batch already.
            room.commit(events, batch.origin.as_ref()).map_err(|source| {
                self.counters.add(Count::ChannelWriteFail, 1);
                let channel = self.channels[*place].counters().name().to_owned();
                Refused::Failed { channel, source }
            })?;
            self.flow.put.fetch_add(many, Ordering::Relaxed);
            required.remove(0);
        }
        for (place, mut events) in optional.drain(..) {
            let channel = &self.channels[place];
            let many = events.len() as u64;
            let put =
                Arc::clone(channel).reserve(&events).map(|room| room.commit(&mut events, None));
            if let Ok(Ok(())) = put {
                self.flow.put.fetch_add(many, Ordering::Relaxed);
            } else {
                self.flow.declined.fetch_add(many, Ordering::Relaxed);
                log::debug!("optional channel {} did not take a batch", channel.counters().name());
            }
        }
        Ok(())
    }

    fn done(&self, batch: Batch) {
        let accepted = batch.left - batch.split.nowhere;
        // As in Flume, what is filtered is accepted too.
        self.counters.add(Count::EventAcceptedCount, batch.read);
        self.flow.read.fetch_add(batch.read as u64, Ordering::Relaxed);
        for ((_, counter), filtered) in self.flow.filtered.iter().zip(batch.filtered) {
            counter.fetch_add(filtered as u64, Ordering::Relaxed);
        }
        self.flow.nowhere.fetch_add(batch.split.nowhere as u64, Ordering::Relaxed);
        self.flow.accepted.fetch_add(accepted as u64, Ordering::Relaxed);
    }
}

/// A batch behind the interceptors.
struct Batch {
    read: usize,
    filtered: Vec<usize>,
    left: usize,
    split: Split,
    origin: Option<Origin>,
}

#[cfg(test)]
mod tests;
