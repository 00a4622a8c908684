//! What is new: which timestamp does every new article of a channel get in an epoch?
//!
//! Of several records of one article and channel the last in order counts, also where its timestamp
//! is older.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::records::{Builder, Stream, exchange};
use crate::route::route;
use crate::{Article, Channel, Epoch, NewArticle};

type Last = HashMap<(Channel, Article), NewArticle, FxBuildHasher>;

/// Keeps the last record of every article and channel, epoch by epoch.
///
/// All of a channel leave on the worker that owns its score key.
pub(crate) fn new_article(articles: Stream<'_, NewArticle>) -> Stream<'_, NewArticle> {
    let to_owner = exchange(|article: &NewArticle| route(&article.channel));
    let name = "new: the last of each article";
    articles.unary_frontier::<Builder<NewArticle>, _, _, _>(to_owner, name, |_, _| {
        let mut open: BTreeMap<Epoch, (Capability<Epoch>, Last)> = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each_stamp(|capability, batches| {
                let Some(capability) = capability.retain_least(0) else { return };
                let (_, last) = match open.entry(*capability.time()) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry.insert((capability, Last::default())),
                };
                for record in batches.flat_map(|batch| batch.drain(..)) {
                    let key = (record.channel, record.article);
                    let kept = last.entry(key).or_insert_with(|| record.clone());
                    if kept.place < record.place {
                        *kept = record;
                    }
                }
            });
            while let Some(first) = open.first_entry()
                && !frontier.less_equal(first.key())
            {
                let (capability, last) = first.remove();
                output.session(&capability).give_iterator(last.into_values());
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::site::Site;
    use crate::{Article, Channel, NewArticle, Place};

    #[test]
    fn the_last_in_order_counts_also_where_its_timestamp_is_older() {
        let new = |partition, offset, timestamp| NewArticle {
            channel: Channel(18),
            article: Article(13894),
            timestamp: Some(timestamp),
            place: Place { partition, offset },
        };
        // By partition, then by offset; not as they come.
        let articles =
            vec![vec![new(1, 1, 100), new(0, 9, 300), new(0, 2, 200)], vec![new(0, 10, 50)]];
        for workers in 1..4 {
            let new = Site { workers, articles: articles.clone(), ..Site::default() }.run().new;
            assert_eq!(new, [(1, 18, 13894, Some(100)), (2, 18, 13894, Some(50))]);
        }
    }
}
