//! What was read and not put, with the offsets behind it.

use rdkafka::message::{BorrowedMessage, Message as _};

use super::member::Member;
use super::record::{Part, Record};
use crate::counters::Source as Count;
use crate::event::Event;
use crate::source::Inlet;

/// What was read and not put.
#[derive(Default)]
pub(super) struct Batch {
    /// Each with the place of its partition among the next.
    pub events: Vec<(Event, usize)>,
    /// The partitions, each with the offset behind the last of its records.
    pub next: Vec<(Part, i64)>,
}

impl Batch {
    /// Adds a record; one that is no event only moves the offset.
    pub fn push(
        &mut self,
        message: &BorrowedMessage<'_>,
        record: &Record,
        member: &Member,
        inlet: &Inlet,
    ) {
        let known = match self.next.last() {
            Some((part, _)) if part.has(message) => Some(self.next.len() - 1),
            _ => self.next.iter().position(|(part, _)| part.has(message)),
        };
        let place = known.unwrap_or_else(|| {
            self.next.push((Part::of(message), 0));
            self.next.len() - 1
        });
        let (part, next) = &mut self.next[place];
        *next = message.offset() + 1;
        match record.event(message, part) {
            Ok(event) => self.events.push((event, place)),
            Err(error) => {
                inlet.counters().add(Count::EventReadFail, 1);
                member.ear().warn(format_args!(
                    "a record is no event of Flume's, and is passed over: topic={} partition={} offset={} \
                     error={error}",
                    part.topic,
                    part.number,
                    message.offset()
                ));
            }
        }
    }

    /// Leaves out what was taken away.
    pub fn leave(&mut self, lost: &[(String, i32)]) {
        let is_lost = |part: &Part| {
            lost.iter().any(|(topic, number)| *number == part.number && **topic == *part.topic)
        };
        if lost.is_empty() || !self.next.iter().any(|(part, _)| is_lost(part)) {
            return;
        }
        let mut places = Vec::with_capacity(self.next.len());
        let mut kept = Vec::new();
        for (part, next) in std::mem::take(&mut self.next) {
            places.push((!is_lost(&part)).then_some(kept.len()));
            if !is_lost(&part) {
                kept.push((part, next));
            }
        }
        self.next = kept;
        self.events.retain_mut(|(_, place)| match places[*place] {
            Some(now) => {
                *place = now;
                true
            }
            None => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_away_leaves_the_batch_with_its_offsets() {
        let part = |topic: &str, number| Part::new(topic, number);
        let next = vec![(part("a", 0), 5), (part("b", 0), 7), (part("a", 1), 9)];
        let events = [0, 1, 2, 1, 0].map(|place| (Event::new(place.to_string()), place));
        let mut batch = Batch { events: events.to_vec(), next };
        batch.leave(&[("b".to_owned(), 1), ("c".to_owned(), 0)]);
        assert_eq!((batch.events.len(), batch.next.len()), (5, 3));
        batch.leave(&[("a".to_owned(), 0), ("c".to_owned(), 0)]);
        let left: Vec<_> =
            batch.events.iter().map(|(event, place)| (&event.body[..], *place)).collect();
        assert_eq!(left, [(&b"1"[..], 0), (b"2", 1), (b"1", 0)]);
        let next: Vec<_> =
            batch.next.iter().map(|(part, next)| (&*part.topic, part.number, *next)).collect();
        assert_eq!(next, [("b", 0, 7), ("a", 1, 9)]);
    }
}
