//! The bindings that are kept: those above the mark, and those of the last minutes.

use std::collections::VecDeque;

use dataflows::Epoch;

use crate::redis::Dated;

/// How much older than the mark a binding gets before it is forgotten, in milliseconds: so far a part
/// of Redis may go back, and what it lost is run again.
const KEPT: u64 = 10 * 60 * 1000;

/// How many bytes of bindings stay in memory beside those above the mark; of older ones the dates do.
const BYTES: usize = 8 << 20;

/// Bindings, epoch after epoch without a gap.
#[derive(Debug, Default)]
pub(super) struct Kept {
    all: VecDeque<(Dated, Option<Box<[u8]>>)>,
    /// How many of the first ones have no bytes any more.
    bare: usize,
    bytes: usize,
    /// The last one that was forgotten, or what came before the first.
    before: Option<Dated>,
}

impl Kept {
    /// None yet, after that epoch.
    pub(super) fn after(before: Option<Dated>) -> Kept {
        Kept { before, ..Kept::default() }
    }

    /// Keeps the next one, packed.
    pub(super) fn push(&mut self, dated: Dated, packed: Box<[u8]>) {
        let last = self.all.back().map(|(last, _)| *last).or(self.before);
        assert!(
            last.is_none_or(|last| last.epoch.next() == dated.epoch && last.time < dated.time),
            "bindings follow each other: {dated} after {last:?}"
        );
        self.bytes += packed.len();
        self.all.push_back((dated, Some(packed)));
    }

    /// The epochs that a mark lets forget.
    pub(super) fn outlived_by(&self, mark: Dated) -> Vec<Epoch> {
        let old =
            |(dated, _): &&(Dated, _)| dated.epoch <= mark.epoch && dated.time + KEPT < mark.time;
        self.all.iter().take_while(old).map(|(dated, _)| dated.epoch).collect()
    }

    /// Forgets what a mark lets forget, and the bytes of what memory has no room for.
    pub(super) fn forget(&mut self, mark: Dated) {
        for _ in self.outlived_by(mark) {
            let (dated, packed) = self.all.pop_front().expect("it was just counted");
            self.bytes -= packed.map_or(0, |packed| packed.len());
            self.bare = self.bare.saturating_sub(1);
            self.before = Some(dated);
        }
        while self.bytes > BYTES
            && let Some((dated, packed)) = self.all.get_mut(self.bare)
            && dated.epoch <= mark.epoch
        {
            self.bytes -= packed.take().map_or(0, |packed| packed.len());
            self.bare += 1;
        }
    }

    /// Whether an epoch is bound with this date; `None` where that is not known any more.
    pub(super) fn binds(&self, dated: Dated) -> Option<bool> {
        match self.nth(dated.epoch) {
            Some(nth) => Some(self.all[nth].0 == dated),
            None => self.before.filter(|before| before.epoch == dated.epoch).map(|b| b == dated),
        }
    }

    /// Whether all epochs after this one, up to that, are kept.
    pub(super) fn covers(&self, after: Epoch, last: Epoch) -> bool {
        after >= last || (self.nth(after.next()).is_some() && self.nth(last).is_some())
    }

    /// All after that epoch, packed; `None` where one is missing.
    pub(super) fn packed(&self, after: Dated) -> Option<Vec<(Epoch, &[u8])>> {
        let last = self.all.back().map_or(after.epoch, |(last, _)| last.epoch);
        if !self.covers(after.epoch, last) {
            return None;
        }
        let later = self.all.iter().skip_while(|(dated, _)| dated.epoch <= after.epoch);
        later.map(|(dated, packed)| Some((dated.epoch, packed.as_deref()?))).collect()
    }

    fn nth(&self, epoch: Epoch) -> Option<usize> {
        let (first, _) = self.all.front()?;
        let nth = usize::try_from(epoch.0.checked_sub(first.epoch.0)?).ok()?;
        (nth < self.all.len()).then_some(nth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(epoch: u64, time: u64) -> Dated {
        Dated { epoch: Epoch(epoch), time }
    }

    #[test]
    fn bindings_are_forgotten_ten_minutes_before_the_mark_and_never_above_it() {
        let mut kept = Kept::after(None);
        for epoch in 1..=4 {
            kept.push(dated(epoch, epoch), Box::new([0; 10]));
        }
        kept.push(dated(5, KEPT + 3), Box::new([0; 10]));
        let mark = dated(5, KEPT + 3);
        assert_eq!(kept.outlived_by(dated(1, KEPT + 9)), [Epoch(1)]);
        assert_eq!(kept.outlived_by(mark), [Epoch(1), Epoch(2)]);
        kept.forget(mark);
        assert_eq!(kept.outlived_by(mark), []);
        assert_eq!(kept.binds(dated(1, 1)), None);
        assert_eq!([dated(2, 2), dated(2, 9)].map(|d| kept.binds(d)), [Some(true), Some(false)]);
        assert_eq!([dated(3, 3), dated(3, 9)].map(|d| kept.binds(d)), [Some(true), Some(false)]);
        assert!(kept.covers(Epoch(2), Epoch(5)) && !kept.covers(Epoch(1), Epoch(5)));
        assert!(!kept.covers(Epoch(2), Epoch(6)));
        let epochs = |after| kept.packed(after).map(|all| all.iter().map(|(e, _)| e.0).collect());
        assert_eq!(epochs(dated(3, 3)), Some(vec![4, 5]));
        assert_eq!(epochs(dated(5, KEPT + 3)), Some(vec![]));
        assert_eq!(epochs(dated(1, 1)), None);
    }

    #[test]
    fn memory_holds_the_youngest_bindings_whole_and_of_the_others_the_dates() {
        let mut kept = Kept::after(None);
        for epoch in 1..=6 {
            kept.push(dated(epoch, epoch), vec![0; BYTES / 4].into());
        }
        kept.forget(dated(1, 1));
        assert!(kept.packed(dated(1, 1)).is_some(), "what is above the mark is held");
        kept.forget(dated(6, 6));
        assert_eq!(kept.packed(dated(1, 1)), None);
        assert_eq!(kept.packed(dated(2, 2)).map(|all| all.len()), Some(4));
        assert!(kept.covers(Epoch(0), Epoch(6)) && kept.binds(dated(1, 1)) == Some(true));
    }
}
