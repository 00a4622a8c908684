//! What to recall: which of the neighbours of what a user hit has the user not been recalled yet?
//!
//! The old job compared ids with the bytes of the history's text, and kept the neighbours as a set:
//! its filter never worked, its order was lost. Here, the lists of the hits of one user and channel
//! in one epoch are joined in the order of their places, each id once, without what stands in the
//! history, into one list. An empty list is none.
//!
//! Nothing that was recalled is ever taken back (*append-only*): not when the table changes, not when
//! a history is loaded again.

use std::collections::{BTreeMap, VecDeque};

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely::progress::Antichain;

use crate::history::{Histories, Slot, Touched};
use crate::records::{Builder, Stream, exchange};
use crate::route::route;
use crate::similar::Candidates;
use crate::{Ask, Epoch, History, Place, Recall};

/// Recalls, and asks for the histories that it needs and does not know.
///
/// Each question is answered once, through `history`, on the worker that asked, at any time. The
/// frontier of `history` says which epochs are durable outside: a history that is dropped for want of
/// room, or was loaded too long ago, and is asked for again must come with all that these epochs added.
pub(crate) fn recall<'scope>(
    candidates: Stream<'scope, Candidates>,
    history: StreamVec<'scope, Epoch, History>,
    mut histories: Histories,
) -> (Stream<'scope, Recall>, Stream<'scope, Ask>) {
    let mut builder = OperatorBuilder::new("recall".to_owned(), candidates.scope());
    let to_owner = exchange(|candidates: &Candidates| route(&candidates.cell));
    let mut candidates = builder.new_input(candidates, to_owner);
    // An answer causes nothing by itself: it completes an epoch that holds its own capabilities.
    let mut history = builder.new_input_connection(history, Pipeline, []);
    let at_once = [(0, Antichain::from_elem(Default::default()))];
    let (recalls, recalled) = builder.new_output_connection(at_once.clone());
    let (asks, asked) = builder.new_output_connection(at_once);
    let mut recalls = OutputBuilder::<_, Builder<_>>::from(recalls);
    let mut asks = OutputBuilder::<_, Builder<_>>::from(asks);

    builder.build(move |_| {
        let mut open: BTreeMap<Epoch, Open> = BTreeMap::new();
        let mut complete: VecDeque<Complete> = VecDeque::new();
        move |frontiers| {
            let (mut recalls, mut asks) = (recalls.activate(), asks.activate());

            // STEP 1: every candidate stands in its epoch, every answer in the histories.
            candidates.for_each_stamp(|capability, batches| {
                let (Some(recall), Some(ask)) =
                    (capability.retain_least(0), capability.retain_least(1))
                else {
                    return;
                };
                let open = open.entry(*recall.time()).or_insert_with(|| Open::new(recall, ask));
                batches.for_each(|batch| open.candidates.append(batch));
            });
            history.for_each(|_, answers| {
                answers.drain(..).for_each(|answer| histories.answer(answer));
            });

            // STEP 2: of every epoch whose candidates are all here, what is unknown is asked for.
            while let Some(first) = open.first_entry()
                && !frontiers[0].less_equal(first.key())
            {
                complete.push_back(first.remove().ask(&mut histories, &mut asks));
            }

            // STEP 3: every epoch in turn whose histories are all known recalls.
            while let Some(epoch) = complete.front_mut()
                && epoch.all_known(&histories)
            {
                epoch.recall(&mut histories, &mut recalls);
                complete.pop_front();
                histories.shrink(|changed| !frontiers[1].less_equal(&changed));
            }
        }
    });
    (recalled, asked)
}

/// How many cells are looked for at once: as many as the processor can wait for.
const GLANCES: usize = 32;

/// An epoch that may still get candidates.
struct Open {
    recall: Capability<Epoch>,
    ask: Capability<Epoch>,
    candidates: Vec<Candidates>,
}

/// An epoch whose candidates are all here, and whose questions are asked.
struct Complete {
    recall: Capability<Epoch>,
    /// What may be recalled to whom, in the order of their places.
    candidates: Vec<Candidates>,
    /// The slot of each.
    slots: Vec<Slot>,
    /// The slots that were not known when last looked at.
    unknown: Vec<Slot>,
}

type Output<'a, R> = OutputBuilderSession<'a, Epoch, Builder<R>>;

impl Open {
    fn new(recall: Capability<Epoch>, ask: Capability<Epoch>) -> Open {
        Open { recall, ask, candidates: Vec::new() }
    }

    fn ask(mut self, histories: &mut Histories, asks: &mut Output<'_, Ask>) -> Complete {
        self.candidates.sort_by_key(|candidates: &Candidates| -> Place { candidates.place });
        let epoch = *self.ask.time();
        let mut unknown = Vec::new();
        let mut slots = Vec::with_capacity(self.candidates.len());
        let mut glances = Vec::with_capacity(GLANCES);
        let mut asked = 0;
        let mut session = asks.session(&self.ask);
        for some in self.candidates.chunks(GLANCES) {
            histories.glance(some.iter().map(|candidates| &candidates.cell), &mut glances);
            for (Candidates { cell, .. }, glance) in some.iter().zip(glances.drain(..)) {
                let (slot, touched) = histories.touch(cell, glance, epoch);
                if touched == Touched::New {
                    asked += 1;
                    session.give(Ask { cell: cell.clone(), ticket: slot.ticket() });
                }
                if touched != Touched::Known {
                    unknown.push(slot);
                }
                slots.push(slot);
            }
        }
        histories.count(self.candidates.len(), asked);
        Complete { recall: self.recall, candidates: self.candidates, slots, unknown }
    }
}

impl Complete {
    fn all_known(&mut self, histories: &Histories) -> bool {
        while let Some(slot) = self.unknown.last() {
            if !histories.is_known(*slot) {
                return false;
            }
            self.unknown.pop();
        }
        true
    }

    fn recall(&mut self, histories: &mut Histories, recalls: &mut Output<'_, Recall>) {
        let mut session = recalls.session(&self.recall);
        // What stands is not computed again: of all that a cell is hit, nothing is looked at.
        let mut standing = Vec::new();
        if histories.have_receipts() {
            let epoch = *self.recall.time();
            standing.clone_from(&self.slots);
            standing.sort_unstable();
            standing.dedup();
            standing.retain(|slot| match histories.take_receipt(*slot, epoch) {
                Some(recall) => {
                    session.give(recall);
                    true
                }
                None => false,
            });
            histories.forget_receipts(epoch);
        }
        let mut extended = Vec::with_capacity(self.slots.len());
        let mut candidates = std::mem::take(&mut self.candidates).into_iter();
        for slots in self.slots.chunks(GLANCES) {
            histories.expect(slots);
            for (slot, Candidates { neighbours, .. }) in slots.iter().zip(&mut candidates) {
                if standing.binary_search(slot).is_err() && histories.extend(*slot, neighbours) {
                    extended.push(*slot);
                }
            }
        }
        session.give_iterator(extended.into_iter().filter_map(|slot| histories.version(slot)));
    }
}

#[cfg(test)]
mod tests {
    use crate::site::{Effects, Site, cell, click, ids};
    use crate::{Hit, Recall};

    fn site(hits: Vec<Vec<Hit>>) -> Site {
        let similar =
            vec![(0, 18005, Some(vec![116644, 14299, 18577])), (0, 5, Some(vec![18577, 7]))];
        Site { similar, hits, ..Site::default() }
    }

    fn lists(effects: &Effects) -> Vec<(u64, &Recall)> {
        effects.recalls.iter().map(|(epoch, recall)| (*epoch, recall)).collect()
    }

    fn recall(user: u64, articles: &[i64], version: u32) -> Recall {
        Recall { cell: cell(user, 18), articles: ids(articles), version, stands: false }
    }

    #[test]
    fn what_stands_in_the_history_is_not_recalled() {
        let mut site = site(vec![vec![click(1, 2, 18, 18005)]]);
        site.history.push((cell(2, 18), vec![14299]));
        let expected = recall(2, &[116644, 18577], 1);
        assert_eq!(lists(&site.run()), [(1, &expected)]);
    }

    #[test]
    fn the_lists_of_one_cell_and_epoch_are_joined_in_order_each_id_once() {
        let site = site(vec![vec![click(2, 2, 18, 18005), click(1, 2, 18, 5)]]);
        let expected = recall(2, &[18577, 7, 116644, 14299], 0);
        assert_eq!(lists(&site.run()), [(1, &expected)]);
    }

    #[test]
    fn a_second_click_recalls_nothing_new() {
        let site = site(vec![vec![click(1, 2, 18, 18005)], vec![click(2, 2, 18, 18005)]]);
        assert_eq!(lists(&site.run()), [(1, &recall(2, &[116644, 14299, 18577], 0))]);
    }

    #[test]
    fn channels_and_users_have_histories_of_their_own() {
        let site = site(vec![vec![click(1, 2, 18, 5), click(2, 3, 18, 5), click(3, 2, 0, 5)]]);
        assert_eq!(site.run().recalls.len(), 3);
    }

    #[test]
    fn a_hit_without_neighbours_recalls_nothing_and_asks_nothing() {
        let effects = site(vec![vec![click(1, 2, 18, 404)]]).run();
        assert_eq!((effects.recalls.len(), effects.asks), (0, 0));
    }

    #[test]
    fn where_it_may_have_run_before_a_hit_without_neighbours_asks_what_it_left() {
        let hits = (1..=3).map(|user| vec![click(user, user, 18, 404)]).collect();
        let effects = Site { bound: 2, ..site(hits) }.run();
        assert_eq!((effects.recalls.len(), effects.asks), (0, 2));
    }

    #[test]
    fn a_changed_table_counts_from_its_epoch_on_and_takes_nothing_back() {
        let hits = [1, 2, 3].map(|user| vec![click(user, user, 18, 5)]).to_vec();
        let before = site(hits.clone()).run();
        let mut changed = site(hits);
        changed.similar.push((2, 5, Some(vec![8])));
        changed.similar.push((3, 5, None));
        let after = changed.run();
        assert_eq!(lists(&before)[0], lists(&after)[0], "the recall of epoch 1 stands");
        assert_eq!(lists(&after)[1..], [(2, &recall(2, &[8], 0))]);
    }

    #[test]
    fn a_long_history_is_searched_like_a_short_one() {
        let row = |from: i64| Some((from..from + 40).collect());
        let mut site = site((1..=4).map(|at| vec![click(at, 2, 18, at as i64)]).collect());
        site.similar = vec![(0, 1, row(0)), (0, 2, row(20)), (0, 3, row(40)), (0, 4, row(0))];
        let counts: Vec<_> = site.run().recalls.iter().map(|(_, it)| it.articles.len()).collect();
        assert_eq!(counts, [40, 20, 20]);
    }

    #[test]
    fn a_history_that_grows_long_in_one_epoch_keeps_its_order_and_names_nothing_twice() {
        let rows = 40_i64;
        // Each row goes down, and shares half of its articles with the next one.
        let row = |nth: i64| -> Vec<i64> { (0..20).map(|at| 10 * nth + 19 - at).collect() };
        let hits: Vec<_> = (0..rows).map(|nth| click(nth as u64, 2, 18, nth)).collect();
        let mut site = site(vec![hits.clone(), hits]);
        site.similar = (0..rows).map(|nth| (0, nth, Some(row(nth)))).collect();
        let mut expected = Vec::new();
        for article in (0..rows).flat_map(row) {
            if !expected.contains(&article) {
                expected.push(article);
            }
        }
        assert_eq!(lists(&site.run()), [(1, &recall(2, &expected, 0))]);
    }
}
