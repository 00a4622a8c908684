//! What is hot: how much does every article of a channel gain in an epoch?
//!
//! An increment is no state: the score itself stands outside, so nothing here grows with the articles
//! ever seen. What is promised: one increment an article, channel and epoch, never of nothing. What
//! is not: the order of the increments of one epoch.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::records::{Builder, Records, Stream, exchange};
use crate::route::route;
use crate::{Article, Channel, Epoch, Hit, HotIncrement, Weights};

/// Sums the weights of the hits of every article and channel, epoch by epoch.
///
/// All increments of a channel leave on the worker that owns its score key.
pub(crate) fn hot<'scope>(
    hits: Stream<'scope, Hit>,
    weights: Weights,
) -> Stream<'scope, HotIncrement> {
    let weigh = move |hit: Hit| ((hit.channel, hit.article), u64::from(weights.of(hit.action)));
    let merge = |sum: HotIncrement| ((sum.channel, sum.article), sum.weight);
    // Summed where it was read first: a popular article travels once an epoch, not once a click.
    let sums = sum(hits, Pipeline, "hot: sum on each worker", weigh);
    let to_owner = exchange(|sum: &HotIncrement| route(&sum.channel));
    sum(sums, to_owner, "hot: merge at the owner of the score key", merge)
}

type Sums = HashMap<(Channel, Article), u64, FxBuildHasher>;

fn sum<'scope, D: 'static>(
    stream: Stream<'scope, D>,
    pact: impl ParallelizationContract<Epoch, Records<D>>,
    name: &str,
    weigh: impl Fn(D) -> ((Channel, Article), u64) + 'static,
) -> Stream<'scope, HotIncrement> {
    stream.unary_frontier::<Builder<HotIncrement>, _, _, _>(pact, name, move |_, _| {
        let mut open: BTreeMap<Epoch, (Capability<Epoch>, Sums)> = BTreeMap::new();
        // One epoch is about as large as the one before: its sums get their room at once.
        let mut room = 0;
        move |(input, frontier), output| {
            input.for_each_stamp(|capability, batches| {
                let Some(capability) = capability.retain_least(0) else { return };
                let (_, sums) = match open.entry(*capability.time()) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry
                        .insert((capability, Sums::with_capacity_and_hasher(room, FxBuildHasher))),
                };
                for record in batches.flat_map(|batch| batch.drain(..)) {
                    let (key, weight) = weigh(record);
                    if weight > 0 {
                        *sums.entry(key).or_default() += weight;
                    }
                }
            });
            while let Some(first) = open.first_entry()
                && !frontier.less_equal(first.key())
            {
                let (capability, sums) = first.remove();
                room = sums.len();
                output.session(&capability).give_iterator(
                    sums.into_iter().map(|((channel, article), weight)| HotIncrement {
                        channel,
                        article,
                        weight,
                    }),
                );
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::site::{Site, click};
    use crate::{Action, Hit, Settings, Weights};

    #[test]
    fn hits_of_one_article_make_one_increment_an_epoch_on_any_number_of_workers() {
        let first = vec![click(1, 1, 18, 5), click(2, 2, 18, 5), click(3, 1, 0, 5)];
        let hits = vec![first, vec![click(4, 1, 18, 5)]];
        for workers in 1..4 {
            let hot = Site { workers, hits: hits.clone(), ..Site::default() }.run().hot;
            assert_eq!(hot, [(1, 0, 5, 1), (1, 18, 5, 2), (2, 18, 5, 1)]);
        }
    }

    #[test]
    fn an_action_weighs_what_the_settings_say_and_nothing_makes_no_increment() {
        let weights = Weights { click: 0, collect: 3, share: 1_000_000 };
        let act = |offset, action| Hit { action, ..click(offset, 1, 18, offset as i64) };
        let hits =
            vec![vec![act(1, Action::Click), act(2, Action::Collect), act(3, Action::Share)]];
        let settings = Settings { weights, ..Settings::default() };
        let hot = Site { settings, hits, ..Site::default() }.run().hot;
        assert_eq!(hot, [(1, 18, 2, 3), (1, 18, 3, 1_000_000)]);
    }
}
