//! What is new: which timestamp does every new article of a channel get in an epoch?
//!
//! Of several records of one article and channel the last in order counts, also where its timestamp
//! is older.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use crate::route::route;
use crate::{Article, Channel, Epoch, NewArticle};

type Last = HashMap<(Channel, Article), NewArticle, FxBuildHasher>;

/// Keeps the last record of every article and channel, epoch by epoch.
///
/// All of a channel leave on the worker that owns its score key.
pub fn new_article(articles: StreamVec<'_, Epoch, NewArticle>) -> StreamVec<'_, Epoch, NewArticle> {
    let to_owner = Exchange::new(|article: &NewArticle| route(&article.channel));
    articles.unary_frontier(to_owner, "new: the last of each article", |_, _| {
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
