//! Reads the ranges of bound epochs again: exactly the records that they were bound with.

use std::collections::BTreeMap;
use std::time::Instant;

use super::error::Error;
use super::part;
use super::reader::{OVERDUE, PATIENCE, Reader, TAKEN, place, push};
use crate::kafka::{At, Partition, What};
use crate::ledger::{Binding, now};
use crate::source::{Cut, Feed, Position, Range};

impl Reader {
    /// Reads the ranges of an epoch again: exactly their records, in any order of the partitions.
    pub(super) fn read_bound(&mut self, binding: Binding, feed: &Feed) -> Result<(), Error> {
        let epoch = feed.begin()?;
        assert_eq!(epoch, binding.epoch, "bound epochs follow the mark without a gap");
        // 1. Each range has its partition, which stands where the range begins or behind a gap.
        let mut ranges = binding.ranges;
        ranges.retain(|range| {
            // A name that is none is an error below.
            let number = Partition::parse(&range.partition).map_or(0, |it| it.number);
            self.spread.has(range.topic, number)
        });
        let mut wanted = BTreeMap::new();
        for range in &ranges {
            let nth = self.parts.iter().position(|part| part.name() == range.partition);
            let nth = nth.ok_or_else(|| Error::foreign(&range.partition))?;
            // Between its epoch and the one before, the topic was made anew.
            if !self.parts[nth].gone && !self.parts[nth].goes_on_at(range.from) {
                let topic_id = self.topic_id_of(nth)?;
                self.parts[nth].begin_again(topic_id, range.from);
                self.lost.remove(&nth);
            }
            wanted.insert(nth, range);
        }
        self.look_at_last(&wanted)?;
        // 2. Their records are read: nothing of the partitions is taken beyond them.
        let mut last_found = Instant::now();
        self.assign_bound(&wanted)?;
        while wanted.iter().any(|(nth, range)| !self.is_whole(*nth, range)) {
            feed.begin()?;
            let mut failed = None;
            let mut found_any = false;
            let Reader { messages, parts, .. } = self;
            messages.poll(PATIENCE, TAKEN, |found| {
                let Some(nth) = place(parts, &found) else { return };
                let Some(range) = wanted.get(&nth) else { return };
                let (part, offset) = (&mut parts[nth], found.offset.unsigned_abs());
                match found.what {
                    What::Record { timestamp, value } if offset < range.to => {
                        let date = part::date(timestamp);
                        found_any |= part.take(offset, date, value, now()).is_some();
                    }
                    // What stands beyond tells that nothing is missing before.
                    What::Record { .. } => part.passed = part.passed.max(offset),
                    What::End => part.passed = part.passed.max(offset),
                    What::Failed(code) => failed = Some((nth, code)),
                }
            });
            for nth in wanted.keys() {
                if self.parts[*nth].is_full() {
                    push(&mut self.parts[*nth], epoch, feed)?;
                }
            }
            if found_any {
                last_found = Instant::now();
            }
            if let Some((nth, code)) = failed {
                self.judge_failure(nth, code)?;
            }
            if failed.is_some() || last_found.elapsed() > OVERDUE {
                // 3. What can no longer be read is an error, or is passed over.
                self.look()?;
                self.look_at_ends(&wanted)?;
                last_found = Instant::now();
                self.assign_bound(&wanted)?;
            }
        }
        // 4. Each ends with the record that it ended with when it was bound.
        for (nth, range) in &wanted {
            push(&mut self.parts[*nth], epoch, feed)?;
            let part = &mut self.parts[*nth];
            let was = match &range.position {
                Position::Topic(mark) => *mark,
                Position::File(_) => return Err(Error::foreign(&range.partition)),
            };
            let (is, whole) = (part.mark(), part.next == range.to);
            part.close_bound(range.to);
            if whole && was != 0 && is != was && !self.lost.contains_key(nth) {
                let (partition, wanted) = (part.partition.clone(), range.to);
                let of = std::slice::from_ref(&partition);
                let earliest = self.offsets(At::Beginning, of)?[&partition];
                self.pass(Error::Anew { partition, wanted, earliest }, 0)?;
            }
        }
        feed.close(Cut { epoch, ranges })?;
        Ok(())
    }

    /// Judges whether ranges of which no record before is known are those of the topic as it is now, by
    /// their last records.
    fn look_at_last(&mut self, wanted: &BTreeMap<usize, &Range>) -> Result<(), Error> {
        loop {
            let mut unknown = wanted.clone();
            unknown
                .retain(|nth, range| self.parts[*nth].mark() == 0 && !self.is_whole(*nth, range));
            if unknown.is_empty() {
                return Ok(());
            }
            self.look_at_ends(&unknown)?;
            let of = unknown.keys().map(|nth| self.parts[*nth].partition.clone());
            let earliest = self.offsets(At::Beginning, &of.collect::<Vec<_>>())?;
            let mut last = BTreeMap::new();
            for (nth, range) in &unknown {
                let is_there = earliest[&self.parts[*nth].partition] < range.to;
                if let Position::Topic(mark) = range.position
                    && mark != 0
                    && is_there
                    && !self.lost.contains_key(nth)
                {
                    last.insert(*nth, (range.to - 1, mark));
                }
            }
            let Some(others) = self.compare(&last)? else {
                // What went meanwhile is judged first.
                self.look()?;
                continue;
            };
            for nth in others {
                let part = &self.parts[nth];
                let (partition, wanted) = (part.partition.clone(), unknown[&nth].to);
                let (topic_id, earliest) = (part.topic_id, earliest[&partition]);
                self.pass(Error::Anew { partition, wanted, earliest }, 0)?;
                self.lost.insert(nth, (topic_id, earliest));
            }
            return Ok(());
        }
    }

    /// Judges whether the ranges can be read to their ends: a partition may have lost what came last.
    fn look_at_ends(&mut self, wanted: &BTreeMap<usize, &Range>) -> Result<(), Error> {
        for (nth, range) in wanted {
            if self.is_whole(*nth, range) {
                continue;
            }
            let (partition, topic_id) =
                (self.parts[*nth].partition.clone(), self.parts[*nth].topic_id);
            let of = std::slice::from_ref(&partition);
            let end = self.offsets(At::End, of)?[&partition];
            if end < range.to {
                let earliest = self.offsets(At::Beginning, of)?[&partition];
                let wanted = range.to;
                self.pass(Error::Shrunk { partition, wanted, earliest, end }, 0)?;
                self.lost.insert(*nth, (topic_id, earliest));
            }
        }
        Ok(())
    }

    fn is_whole(&self, nth: usize, range: &Range) -> bool {
        let part = &self.parts[nth];
        part.next >= range.to
            || part.passed >= range.to
            || part.gone
            || self.lost.contains_key(&nth)
    }

    fn assign_bound(&self, wanted: &BTreeMap<usize, &Range>) -> Result<(), Error> {
        let missing = wanted.iter().filter(|(nth, range)| !self.is_whole(**nth, range));
        let from = missing.map(|(nth, _)| &self.parts[*nth]);
        self.messages.read(from.map(|part| (&part.partition, part.next)))?;
        Ok(())
    }
}
