//! Which sequence numbers are done with: all below one, and some ranges above it.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of sequence numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acked {
    below: u64,
    /// From where to where; apart from each other, and above `below`.
    above: BTreeMap<u64, u64>,
}

impl Acked {
    /// The first that is not in it.
    pub fn below(&self) -> u64 {
        self.below
    }

    /// The ranges above that, in order.
    pub fn above(&self) -> impl ExactSizeIterator<Item = Range<u64>> {
        self.above.iter().map(|(from, to)| *from..*to)
    }

    /// Behind the last that is in it.
    pub fn end(&self) -> u64 {
        self.above.last_key_value().map_or(self.below, |(_, to)| *to)
    }

    /// Adds a range, and says how many in it are new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        let (from, to) = (range.start.max(self.below), range.end);
        if from >= to {
            return 0;
        }
        let before = self.above.range(..from).next_back().filter(|(_, end)| **end >= from);
        let (mut start, mut end, mut known) = (from, to, 0);
        if let Some((&other, &other_end)) = before {
            known += other_end.min(to) - from;
            (start, end) = (other, end.max(other_end));
            self.above.remove(&other);
        }
        while let Some((&other, &other_end)) = self.above.range(from..=to).next() {
            known += other_end.min(to) - other;
            end = end.max(other_end);
            self.above.remove(&other);
        }
        if start == self.below {
            self.below = end;
        } else {
            self.above.insert(start, end);
        }
        to - from - known
    }

    /// The parts of a range that are not in it.
    pub fn open(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut at = range.start.max(self.below);
        let before = self.above.range(..=at).next_back().map(|(_, to)| *to);
        at = at.max(before.unwrap_or(0));
        let mut open = Vec::new();
        for (&from, &to) in self.above.range(at..range.end.max(at)) {
            open.push(at..from);
            at = to;
        }
        if at < range.end {
            open.push(at..range.end);
        }
        open
    }

    /// How many below this one are.
    pub fn count_below(&self, end: u64) -> u64 {
        let above = self.above.range(..end).map(|(from, to)| end.min(*to) - from);
        self.below.min(end) + above.sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_together_and_each_number_counts_once() {
        let mut acked = Acked::default();
        for (range, new) in [
            (5..7, 2),
            (9..10, 1),
            (7..9, 2),
            (4..6, 1),
            (20..30, 10),
            (22..25, 0),
            (18..21, 2),
            (29..31, 1),
            (0..0, 0),
        ] {
            assert_eq!(acked.insert(range.clone()), new, "{range:?}");
        }
        assert_eq!((acked.below(), acked.end()), (0, 31));
        assert_eq!(acked.above().collect::<Vec<_>>(), [4..10, 18..31]);
        assert_eq!(acked.open(0..40), [0..4, 10..18, 31..40]);
        assert_eq!(acked.open(5..6), []);
        assert_eq!(acked.open(9..40), [10..18, 31..40]);
        assert_eq!((acked.count_below(20), acked.count_below(5)), (8, 1));
        assert_eq!(acked.insert(0..18), 12);
        assert_eq!((acked.below(), acked.above().len()), (31, 0));
    }

    #[test]
    fn it_is_what_a_list_of_numbers_is() {
        let mut random = testing::random::Random::new(1);
        for _ in 0..200 {
            let (mut acked, mut model) = (Acked::default(), [false; 64]);
            for _ in 0..20 {
                let from = random.below(64);
                let to = from + random.below(65 - from).min(1 + random.below(12));
                let new = (from..to).filter(|&at| !std::mem::replace(&mut model[at], true));
                let new = new.count() as u64;
                assert_eq!(acked.insert(from as u64..to as u64), new);
                let (from, to) = (random.below(64), random.below(65));
                let open = acked.open(from as u64..to as u64);
                assert!(open.iter().all(|part| part.start < part.end), "{open:?}");
                let open: Vec<_> = open.into_iter().flatten().collect();
                let expected = (from..to).filter(|&at| !model[at]).map(|at| at as u64);
                assert_eq!(open, expected.collect::<Vec<_>>());
                let below = model[..to].iter().filter(|set| **set).count() as u64;
                assert_eq!(acked.count_below(to as u64), below);
            }
        }
    }
}
