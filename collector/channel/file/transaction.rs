//! A put and a take, until they are committed or dropped.

use std::ops::Range;
use std::sync::Arc;

use super::super::{Failure, Room, Take};
use super::{Channel, Count, frame};
use crate::event::Event;

/// Room for a batch.
pub struct Reserved {
    channel: Arc<Channel>,
    events: usize,
    length: usize,
}

impl Reserved {
    /// Room for so many events, which come to this length.
    pub fn new(channel: Arc<Channel>, events: usize, length: usize) -> Reserved {
        Reserved { channel, events, length }
    }
}

impl Room for Reserved {
    fn commit(mut self: Box<Self>, events: &mut Vec<Event>) -> Result<(), Failure> {
        let many = events.len();
        if many == 0 {
            return Ok(());
        }
        let channel = &self.channel;
        let frame = frame::encode(events, self.length);
        // From here on they count: a taker may be faster than this thread.
        channel.stock.fill(many);
        if let Err(error) = channel.writer.put(frame) {
            channel.stock.unfill(many);
            self.events = 0;
            let folder = channel.folders.data.display();
            return Err(Failure::io(format!("cannot write in {folder}"), error));
        }
        events.clear();
        channel.counters.add(Count::EventPutSuccessCount, many);
        // It is not this room any more that they take.
        self.events = 0;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.events > 0 {
            self.channel.stock.unreserve(self.events);
        }
    }
}

/// Events that are lent.
pub struct Lent {
    channel: Arc<Channel>,
    /// The numbers of the events.
    ranges: Vec<Range<u64>>,
    events: Vec<Event>,
}

impl Lent {
    /// These events, each with its number, in order.
    pub fn new(channel: Arc<Channel>, numbered: Vec<(u64, Event)>) -> Lent {
        let events = Vec::with_capacity(numbered.len());
        let mut lent = Lent { channel, ranges: Vec::new(), events };
        for (number, event) in numbered {
            match lent.ranges.last_mut() {
                Some(range) if range.end == number => range.end += 1,
                _ => lent.ranges.push(number..number + 1),
            }
            lent.events.push(event);
        }
        lent
    }
}

impl Take for Lent {
    fn events(&self) -> &[Event] {
        &self.events
    }

    fn end(&self) -> Option<u64> {
        self.ranges.last().map(|range| range.end)
    }

    fn commit(mut self: Box<Self>) -> Result<(), Failure> {
        let channel = &self.channel;
        channel.acks.commit(&self.ranges, channel.writer.durable()).map_err(|error| {
            let folder = channel.folders.checkpoint.display();
            Failure::io(format!("cannot note in {folder} what is delivered"), error)
        })?;
        channel.counters.add(Count::EventTakeSuccessCount, self.events.len());
        self.events.clear();
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.events.is_empty() {
            let numbers = self.ranges.drain(..).flatten();
            self.channel.gate.give_back(numbers.zip(self.events.drain(..)));
        }
    }
}
