//! Which recalls wait for which: for one cell epoch follows epoch.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use dataflows::{Cell, Recall};

use crate::ledger::Binding;

/// A recall, with its epoch.
#[derive(Debug)]
pub(super) struct Turn {
    pub binding: Arc<Binding>,
    pub recall: Recall,
}

/// The cells for which something is under way, and what waits for that.
///
/// Users choose their ids: the table is one that they cannot make slow.
#[derive(Default)]
pub(super) struct Cells(HashMap<Cell, VecDeque<Turn>>);

impl Cells {
    /// Takes a recall; gives it back if it may be sent now: nothing is under way for its cell.
    pub(super) fn begin(&mut self, turn: Turn) -> Option<Turn> {
        match self.0.get_mut(&turn.recall.cell) {
            Some(waiting) => {
                waiting.push_back(turn);
                None
            }
            None => {
                self.0.insert(turn.recall.cell.clone(), VecDeque::new());
                Some(turn)
            }
        }
    }

    /// Says that what was under way for a cell is done; gives what may be sent next.
    ///
    /// # Panics
    ///
    /// If nothing was.
    pub(super) fn end(&mut self, cell: &Cell) -> Option<Turn> {
        let waiting = self.0.get_mut(cell).expect("only what was begun ends");
        let next = waiting.pop_front();
        if next.is_none() {
            self.0.remove(cell);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use dataflows::{Article, Channel, Epoch, Settings, User};

    use super::*;

    fn turn(epoch: u64, user: u64, channel: u32) -> Turn {
        let binding = Binding {
            epoch: Epoch(epoch),
            time: epoch,
            settings: Arc::new(Settings::default()),
            names: Arc::default(),
            ranges: Vec::new(),
        };
        let cell = Cell { user: User::from_decimal(user), channel: Channel(channel) };
        let recall = Recall { cell, articles: vec![Article(1)], version: 0, stands: false };
        Turn { binding: Arc::new(binding), recall }
    }

    fn epoch(turn: Option<Turn>) -> Option<u64> {
        turn.map(|turn| turn.binding.epoch.0)
    }

    #[test]
    fn for_one_cell_epoch_follows_epoch() {
        let mut cells = Cells::default();
        let cell = turn(0, 2, 18).recall.cell;
        let begun = [1, 2, 3].map(|at| epoch(cells.begin(turn(at, 2, 18))));
        assert_eq!(begun, [Some(1), None, None]);
        assert_eq!(epoch(cells.end(&cell)), Some(2));
        assert_eq!(epoch(cells.begin(turn(4, 2, 18))), None);
        assert_eq!([(); 3].map(|()| epoch(cells.end(&cell))), [Some(3), Some(4), None]);
        assert_eq!(epoch(cells.begin(turn(5, 2, 18))), Some(5));
    }

    #[test]
    fn other_cells_do_not_wait() {
        let mut cells = Cells::default();
        let begun = [(1, 2, 18), (2, 3, 18), (3, 2, 0)]
            .map(|(at, user, channel)| epoch(cells.begin(turn(at, user, channel))));
        assert_eq!(begun, [Some(1), Some(2), Some(3)]);
    }
}
