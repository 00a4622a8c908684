//! What is similar: which are the nearest neighbours of an article, as of an epoch?
//!
//! `article_similar` is a collection that changes: differential keeps it arranged, sharded by article
//! over the workers. A hit is an event, not a row: it is looked up in the table *as of its epoch*, once.
//! A join would follow the table for ever and take old recalls back whenever it changes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use differential_dataflow::Hashable;
use differential_dataflow::operators::arrange::upsert::arrange_from_upsert;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::cursor::cursor_list;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::trace::{Cursor, Span, TraceReader};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};
use timely::PartialOrder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::progress::Antichain;

use crate::records::{Builder, Stream, exchange};
use crate::{Article, Cell, Epoch, Hit, Neighbours, Place};

/// A change of the table: from this epoch on the article has these neighbours, or none.
pub type Row = (Article, Option<Neighbours>, Epoch);

/// The table, arranged by article.
pub(crate) type Similar<'scope> =
    Arranged<'scope, TraceAgent<ValSpine<Article, Neighbours, Epoch, isize>>>;

/// A hit with the neighbours of its article, which may be recalled to its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidates {
    /// To whom.
    pub cell: Cell,
    /// Where the hit was read.
    pub place: Place,
    /// The neighbours, nearest first.
    pub neighbours: Neighbours,
}

/// Arranges the table; a row that stands already as it comes changes nothing.
pub(crate) fn similar(rows: StreamVec<'_, Epoch, Row>) -> Similar<'_> {
    arrange_from_upsert::<
        ValBuilder<Article, Neighbours, Epoch, isize>,
        ValSpine<Article, Neighbours, Epoch, isize>,
        Article,
        Neighbours,
    >(rows, "similar: arranged by article")
}

/// Looks every hit up in the table as of its epoch. A hit whose article has no neighbours is dropped, but up to
/// the epoch `bound`, which may have run before with a table that had some.
pub(crate) fn lookup<'scope>(
    hits: Stream<'scope, Hit>,
    similar: Similar<'scope>,
    bound: Epoch,
) -> Stream<'scope, Candidates> {
    let mut table = similar.trace;
    // The exchange of the arrangement itself: hit and row must meet on one worker.
    let to_shard = exchange(|hit: &Hit| hit.article.hashed());
    let rows = similar.stream;
    hits.binary_frontier::<_, Builder<Candidates>, _, _, _, _>(
        rows,
        to_shard,
        Pipeline,
        "recall: lookup",
        move |_, _| {
            let mut open: BTreeMap<Epoch, (Capability<Epoch>, Vec<Hit>)> = BTreeMap::new();
            let mut found = Found::default();
            move |(hits, hits_frontier), (rows, rows_frontier), output| {
                // STEP 1: every hit stands in its epoch, and it is known when the table has changed.
                hits.for_each_stamp(|capability, batches| {
                    let Some(capability) = capability.retain_least(0) else { return };
                    let (_, hits) = match open.entry(*capability.time()) {
                        Entry::Occupied(entry) => entry.into_mut(),
                        Entry::Vacant(entry) => entry.insert((capability, Vec::new())),
                    };
                    batches.for_each(|batch| hits.append(batch));
                });
                rows.for_each(|_, spans| spans.drain(..).for_each(|span| found.note(&span)));

                // STEP 2: every epoch whose hits are all here, and whose table is final, is looked up.
                while let Some(first) = open.first_entry()
                    && !hits_frontier.less_equal(first.key())
                    && !rows_frontier.less_equal(first.key())
                {
                    let (capability, mut hits) = first.remove();
                    found.complete(&mut table, &hits, *capability.time());
                    let mut session = output.session(&capability);
                    for Hit { user, channel, article, place, .. } in hits.drain(..) {
                        let neighbours = match found.of(article) {
                            Some(neighbours) => neighbours,
                            None if *capability.time() <= bound => Neighbours::from([]),
                            None => continue,
                        };
                        let cell = Cell { user, channel };
                        session.give(Candidates { cell, place, neighbours });
                    }
                }

                // STEP 3: the table forgets how it was before the first epoch that may still look it up.
                let mut as_of = hits_frontier.frontier().to_owned();
                if let Some((epoch, _)) = open.first_key_value() {
                    as_of.insert(*epoch);
                }
                if !PartialOrder::less_equal(&as_of.borrow(), &table.get_logical_compaction()) {
                    table.set_logical_compaction(as_of.borrow());
                }
                table.set_physical_compaction(rows_frontier.frontier());
            }
        },
    )
}

type Table = TraceAgent<ValSpine<Article, Neighbours, Epoch, isize>>;

/// How many articles are remembered: the popular ones, which are hit again in the next epochs.
const REMEMBERED: usize = 1 << 16;

/// What was found in the table as of an epoch, and counts until the table changes.
#[derive(Default)]
struct Found {
    /// As of when.
    epoch: Epoch,
    /// Of each article that was looked up its neighbours, where it has any.
    rows: HashMap<Article, Option<Neighbours>, FxBuildHasher>,
    /// The epochs, half open, in which the table has changed or may have, as far as they are not past.
    changes: Vec<(Epoch, Epoch)>,
}

impl Found {
    /// Notes that the table has changed, or has not.
    fn note<B>(&mut self, span: &Span<Epoch, B>) {
        if span.has_updates() {
            let first = span.lower().as_option().copied().unwrap_or_default();
            let end = span.upper().as_option().copied().unwrap_or(Epoch(u64::MAX));
            self.changes.push((first, end));
        }
    }

    /// Looks up what is not known of these hits as of their epoch, which is none before the last.
    fn complete(&mut self, table: &mut Table, hits: &[Hit], epoch: Epoch) {
        let since = self.epoch.next();
        let changed = self.changes.iter().any(|(first, end)| *first <= epoch && *end > since);
        if changed || self.rows.len() > REMEMBERED {
            self.rows.clear();
        }
        self.changes.retain(|(_, end)| *end > epoch.next());
        self.epoch = epoch;

        // In order, since the cursor only goes forward.
        let unknown = |hit: &&Hit| !self.rows.contains_key(&hit.article);
        let mut articles: Vec<_> = hits.iter().filter(unknown).map(|hit| hit.article).collect();
        if articles.is_empty() {
            return;
        }
        articles.sort_unstable();
        articles.dedup();
        let batches = table
            .batches_through(Antichain::new().borrow())
            .expect("a trace can always be read as a whole");
        let (mut cursor, storage) = cursor_list(batches);
        for article in articles {
            let mut row = None;
            cursor.seek_key(&storage, &article);
            if cursor.get_key(&storage) == Some(&article) {
                while let Some(neighbours) = cursor.get_val(&storage) {
                    let mut count = 0;
                    cursor.map_times(&storage, |time, diff| {
                        if *time <= epoch {
                            count += *diff;
                        }
                    });
                    if count > 0 {
                        row = Some(Neighbours::clone(neighbours));
                    }
                    cursor.step_val(&storage);
                }
            }
            self.rows.insert(article, row);
        }
    }

    /// The neighbours of an article of these hits.
    fn of(&self, article: Article) -> Option<Neighbours> {
        self.rows[&article].clone()
    }
}
