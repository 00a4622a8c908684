//! Numbers of events that are done with: everything below a mark, and some ranges above it.

use std::collections::BTreeMap;

/// No event has this number, or a greater one: a channel never comes so far, and what files say does.
pub(super) const LAST: u64 = 1 << 62;

/// A set of numbers that grows from below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    below: u64,
    /// By its first number the number behind each range; they do not touch.
    above: BTreeMap<u64, u64>,
}

impl Ranges {
    /// All numbers below this one.
    pub fn below(mark: u64) -> Ranges {
        Ranges { below: mark, ..Ranges::default() }
    }

    /// Everything below it is in the set, and itself is not.
    pub fn mark(&self) -> u64 {
        self.below
    }

    /// The number behind the greatest one in the set.
    pub fn end(&self) -> u64 {
        self.above.last_key_value().map_or(self.below, |(_, to)| *to)
    }

    /// How many of the numbers below this one are in the set.
    pub fn count_below(&self, end: u64) -> u64 {
        let above = self.above.iter().take_while(|(from, _)| **from < end);
        self.below.min(end) + above.map(|(from, to)| (*to).min(end) - from).sum::<u64>()
    }

    /// The ranges above the mark.
    pub fn above(&self) -> impl Iterator<Item = (u64, u64)> {
        self.above.iter().map(|(from, to)| (*from, *to))
    }

    /// Whether it has this number.
    pub fn has(&self, number: u64) -> bool {
        number < self.below
            || self.above.range(..=number).next_back().is_some_and(|(_, to)| number < *to)
    }

    /// Adds all numbers from this one to before that one.
    pub fn add(&mut self, mut from: u64, mut to: u64) {
        from = from.max(self.below);
        if from >= to {
            return;
        }
        // Those that it touches become one with it.
        while let Some((&first, &end)) = self.above.range(..=to).next_back() {
            if end < from {
                break;
            }
            self.above.remove(&first);
            (from, to) = (from.min(first), to.max(end));
        }
        if from == self.below {
            self.below = to;
        } else {
            self.above.insert(from, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_was_added(added in prop::collection::vec((0..60_u64, 0..12_u64), 0..40)) {
            let (mut ranges, mut model) = (Ranges::below(5), (0..5).collect::<BTreeSet<u64>>());
            for (from, many) in added {
                ranges.add(from, from + many);
                model.extend(from..from + many);
                for number in 0..80 {
                    prop_assert_eq!(ranges.has(number), model.contains(&number));
                    prop_assert_eq!(ranges.count_below(number), model.range(..number).count() as u64);
                }
                prop_assert_eq!(ranges.end(), model.last().unwrap() + 1);
                prop_assert_eq!(ranges.mark(), (0..).find(|number| !model.contains(number)).unwrap());
            }
        }
    }
}
