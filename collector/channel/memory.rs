//! Events wait in memory: fast, and lost with the process.
//!
//! Bounded as Flume's is, by events and by the bytes of bodies, which are counted in slots of 100.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Failure, Origin, Refused, Room, Take};
use crate::counters::{self, Channel as Count, Counters};
use crate::event::Event;
use crate::keys::Keys;

const SLOT: usize = 100;

/// A memory channel as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many events it holds.
    pub capacity: usize,
    /// How many are put or taken at once, at most.
    pub transaction_capacity: usize,
    keep_alive: Duration,
    /// How many slots of bodies it holds.
    slots: usize,
}

impl Settings {
    /// Reads the keys of a memory channel.
    pub fn read(keys: &Keys<'_>) -> Settings {
        let capacity = number_or_default(keys, "capacity", 100);
        let transaction_capacity = number_or_default(keys, "transactionCapacity", 100);
        if transaction_capacity > capacity {
            let key = if keys.is_given("transactionCapacity") {
                "transactionCapacity"
            } else {
                "capacity"
            };
            keys.mistaken(
                key,
                format_args!("transactionCapacity ({transaction_capacity}) is more than capacity ({capacity})"),
            );
        }
        let keep_alive = keys.time("keep-alive", Duration::from_secs(1), 3);
        let buffer =
            keys.number("byteCapacityBufferPercentage", 20, "0 to 100", |share: u64| share <= 100);
        let bytes = keys.number("byteCapacity", default_bytes(), "a whole number from 0", |_| true);
        // As in Flume: 0 is as good as no bound.
        let bytes = if bytes == 0 { u64::MAX / 200 } else { bytes };
        let slots = (bytes / 100 * (100 - buffer)) as usize / SLOT;
        if slots == 0 {
            keys.mistaken("byteCapacity", "there is no room for any event");
        }
        Settings { capacity, transaction_capacity, keep_alive, slots }
    }
}

/// A number; in place of one that is wrong Flume takes the default, and says so.
fn number_or_default(keys: &Keys<'_>, key: &str, default: usize) -> usize {
    match keys.text_or(key, &default.to_string()).parse() {
        Ok(number) if number >= 1 => number,
        _ => {
            keys.doubtful(key, format_args!("no whole number from 1; {default} counts"));
            default
        }
    }
}

/// 80 % of what a Java machine would take here: a quarter of the memory.
fn default_bytes() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = total
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(1 << 22);
    kib * 1024 / 4 * 8 / 10
}

/// A channel in memory.
pub struct Channel {
    name: String,
    settings: Settings,
    state: Mutex<State>,
    /// Something was put, or has come back.
    filled: Condvar,
    /// Something was forgotten, or room given back.
    freed: Condvar,
    counters: Counters<counters::Channel>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Event>,
    /// Events that are in it, are lent, or have room reserved.
    used: usize,
    used_slots: usize,
    /// Events that have room reserved only.
    reserved: usize,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", &self.name).finish_non_exhaustive()
    }
}

fn slots(events: &[Event]) -> usize {
    events.iter().map(|event| event.body.len().div_ceil(SLOT)).sum()
}

impl Channel {
    /// An empty one.
    pub fn new(name: &str, settings: &Settings) -> Arc<Channel> {
        Arc::new(Channel {
            name: name.to_owned(),
            settings: settings.clone(),
            state: Mutex::default(),
            filled: Condvar::new(),
            freed: Condvar::new(),
            counters: Counters::new(name),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made in one go: it is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, events: usize, slots: usize) {
        let mut state = self.state();
        state.used -= events;
        state.used_slots -= slots;
        drop(state);
        self.freed.notify_all();
    }
}

impl super::Channel for Channel {
    fn reserve(self: Arc<Self>, events: &[Event]) -> Result<Box<dyn Room>, Refused> {
        let (most, capacity) = (self.settings.transaction_capacity, self.settings.capacity);
        self.counters.add(Count::EventPutAttemptCount, events.len());
        if events.len() > most {
            let channel = self.name.clone();
            return Err(Refused::TooMany { channel, batch: events.len(), most });
        }
        let slots = slots(events);
        let has_no_room = |state: &mut State| {
            let fits = state.used_slots + slots <= self.settings.slots
                // One that is too large for the channel goes in alone.
                || state.used_slots == 0;
            state.used + events.len() > capacity || !fits
        };
        let waited =
            self.freed.wait_timeout_while(self.state(), self.settings.keep_alive, has_no_room);
        let (mut state, time) = waited.unwrap_or_else(PoisonError::into_inner);
        if time.timed_out() {
            let len = state.used - state.reserved;
            return Err(Refused::Full { channel: self.name.clone(), len, capacity });
        }
        state.used += events.len();
        state.reserved += events.len();
        state.used_slots += slots;
        drop(state);
        Ok(Box::new(Reserved { channel: self, events: events.len(), slots }))
    }

    fn take(self: Arc<Self>, most: usize, patience: Duration) -> Result<Box<dyn Take>, Failure> {
        let most = most.min(self.settings.transaction_capacity);
        self.counters.add(Count::EventTakeAttemptCount, most);
        let is_empty = |state: &mut State| state.queue.is_empty();
        let waited = self.filled.wait_timeout_while(self.state(), patience, is_empty);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let many = most.min(state.queue.len());
        let events = state.queue.drain(..many).collect();
        drop(state);
        Ok(Box::new(Lent { channel: self, events }))
    }

    fn len(&self) -> usize {
        let state = self.state();
        state.used - state.reserved
    }

    fn capacity(&self) -> usize {
        self.settings.capacity
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn counters(&self) -> &Counters<counters::Channel> {
        &self.counters
    }
}

struct Reserved {
    channel: Arc<Channel>,
    events: usize,
    slots: usize,
}

impl Room for Reserved {
    fn commit(
        mut self: Box<Self>,
        events: &mut Vec<Event>,
        _: Option<&Origin>,
    ) -> Result<(), Failure> {
        let many = events.len();
        let mut state = self.channel.state();
        state.queue.extend(events.drain(..));
        state.reserved -= many;
        drop(state);
        self.channel.counters.add(Count::EventPutSuccessCount, many);
        self.channel.filled.notify_all();
        // It is not this room any more that they take.
        (self.events, self.slots) = (0, 0);
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.events > 0 {
            self.channel.state().reserved -= self.events;
            self.channel.free(self.events, self.slots);
        }
    }
}

struct Lent {
    channel: Arc<Channel>,
    events: Vec<Event>,
}

impl Take for Lent {
    fn events(&self) -> &[Event] {
        &self.events
    }

    fn end(&self) -> Option<u64> {
        None
    }

    fn commit(mut self: Box<Self>) -> Result<(), Failure> {
        let events = std::mem::take(&mut self.events);
        self.channel.counters.add(Count::EventTakeSuccessCount, events.len());
        self.channel.free(events.len(), slots(&events));
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let mut state = self.channel.state();
        for event in self.events.drain(..).rev() {
            state.queue.push_front(event);
        }
        drop(state);
        self.channel.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Channel as _;
    use super::*;

    fn channel(capacity: usize, slots: usize) -> Arc<Channel> {
        let keep_alive = Duration::ZERO;
        Channel::new(
            "c1",
            &Settings { capacity, transaction_capacity: capacity, keep_alive, slots },
        )
    }

    fn events(bodies: &[&'static str]) -> Vec<Event> {
        bodies.iter().map(|body| Event::new(*body)).collect()
    }

    fn put(channel: &Arc<Channel>, bodies: &[&'static str]) -> Result<(), Refused> {
        let mut events = events(bodies);
        let room = Arc::clone(channel).reserve(&events)?;
        room.commit(&mut events, None).unwrap();
        Ok(())
    }

    fn take(channel: &Arc<Channel>, most: usize) -> Box<dyn Take> {
        Arc::clone(channel).take(most, Duration::ZERO).unwrap()
    }

    #[test]
    fn what_is_lent_takes_room_until_it_is_committed_and_goes_back_in_order() {
        let channel = channel(3, 100);
        put(&channel, &["a", "b", "c"]).unwrap();
        assert!(matches!(put(&channel, &["d"]), Err(Refused::Full { len: 3, capacity: 3, .. })));
        let (first, second) = (take(&channel, 1), take(&channel, 1));
        assert!(put(&channel, &["d"]).is_err());
        drop(second);
        drop(first);
        assert_eq!(take(&channel, 9).events(), events(&["a", "b", "c"]));
        take(&channel, 2).commit().unwrap();
        assert_eq!(channel.len(), 1);
        put(&channel, &["d", "e"]).unwrap();
        assert_eq!(take(&channel, 9).events(), events(&["c", "d", "e"]));
    }

    #[test]
    fn room_that_is_not_used_is_given_back() {
        let channel = channel(2, 100);
        let room = Arc::clone(&channel).reserve(&events(&["a", "b"])).ok().unwrap();
        assert_eq!(channel.len(), 0);
        assert!(put(&channel, &["c"]).is_err());
        drop(room);
        put(&channel, &["c", "d"]).unwrap();
        assert!(take(&channel, 0).events().is_empty());
    }

    #[test]
    fn bodies_are_bounded_too_but_one_that_is_too_large_goes_in_alone() {
        let channel = channel(100, 2);
        let mut large = vec![Event::new(vec![b'x'; 201])];
        let room = Arc::clone(&channel).reserve(&large).ok().unwrap();
        room.commit(&mut large, None).unwrap();
        assert!(put(&channel, &["a"]).is_err());
        take(&channel, 1).commit().unwrap();
        put(&channel, &["a", "b"]).unwrap();
        assert!(put(&channel, &["c"]).is_err());
    }
}
