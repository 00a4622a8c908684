//! The dataflows against a plain fold over the same records, on random input.
//!
//! What it can catch: a recall, increment or version that depends on workers, on how records travel
//! between them, on the room for histories or on how far the mark is behind. What it cannot: what both read from the tables wrongly,
//! which the program's own tests show.

use std::collections::{BTreeMap, BTreeSet};

use crate::site::{Effects, Site, cell, click};
use crate::{Article, Cell, Recall};

/// A small generator of reproducible numbers: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }
}

fn random_site(seed: u64) -> Site {
    let mut random = Random(seed);
    let (users, articles) = (1 + random.below(40), 1 + random.below(30) as i64);
    let row = |random: &mut Random| {
        let mut row: Vec<i64> = (0..random.below(12)).map(|_| random.below(90) as i64).collect();
        let mut seen = BTreeSet::new();
        row.retain(|id| seen.insert(*id));
        row
    };
    let mut site = Site::default();
    for article in 0..articles {
        site.similar.push((0, article, Some(row(&mut random))));
    }
    for epoch in 1..=1 + random.below(30) {
        let hits = (0..random.below(60)).map(|offset| {
            let (user, channel) = (random.below(users), random.below(2) as u32);
            click(offset, user, channel, random.below(articles as u64 + 2) as i64)
        });
        site.hits.push(hits.collect());
        if random.below(4) == 0 {
            let changed = (random.below(3) > 0).then(|| row(&mut random));
            site.similar.push((epoch, random.below(articles as u64) as i64, changed));
        }
    }
    for user in 0..users {
        if random.below(3) == 0 {
            site.history.push((cell(user, 0), row(&mut random)));
        }
    }
    site
}

/// What must come out: a fold over epochs and hits in their order.
fn expected(site: &Site) -> Effects {
    let mut effects = Effects::default();
    let mut similar: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut histories: BTreeMap<Cell, (BTreeSet<i64>, u32)> = BTreeMap::new();
    for (cell, articles) in &site.history {
        let (known, versions) = histories.entry(cell.clone()).or_default();
        known.extend(articles);
        *versions += 1;
    }
    for (epoch, hits) in (1..).zip(&site.hits) {
        for (_, article, row) in site.similar.iter().filter(|row| row.0.max(1) == epoch) {
            similar.insert(*article, row.clone().unwrap_or_default());
        }
        let mut hot: BTreeMap<(u32, i64), u64> = BTreeMap::new();
        let mut lists: BTreeMap<Cell, Vec<Article>> = BTreeMap::new();
        for hit in hits {
            *hot.entry((hit.channel.0, hit.article.0)).or_default() += 1;
            let cell = Cell { user: hit.user.clone(), channel: hit.channel };
            let (known, _) = histories.entry(cell.clone()).or_default();
            for neighbour in similar.get(&hit.article.0).into_iter().flatten() {
                if known.insert(*neighbour) {
                    lists.entry(cell.clone()).or_default().push(Article(*neighbour));
                }
            }
        }
        let hot = hot.into_iter().map(|((channel, article), sum)| (epoch, channel, article, sum));
        effects.hot.extend(hot);
        for (cell, articles) in lists {
            let (_, versions) = histories.get_mut(&cell).expect("it was hit");
            effects
                .recalls
                .push((epoch, Recall { cell, articles, version: *versions, stands: false }));
            *versions += 1;
        }
    }
    effects.recalls.sort();
    effects
}

#[test]
fn any_workers_room_and_lag_give_what_a_fold_gives() {
    for seed in 0..60 {
        let site = random_site(seed);
        let expected = expected(&site);
        for (workers, history_bytes, lag) in
            [(1, 1 << 20, 0), (1, 0, 0), (2, 0, 3), (3, 2000, 1), (5, 500, 2)]
        {
            let case = format!("seed {seed}, {workers} workers, {history_bytes} bytes, lag {lag}");
            let apart = seed % 2 == 1;
            let found = Site { workers, apart, history_bytes, lag, ..site.clone() }.run();
            assert_eq!(found.hot, expected.hot, "{case}");
            assert_eq!(found.recalls, expected.recalls, "{case}");
        }
    }
}

#[test]
fn without_room_a_history_is_asked_for_again_once_it_is_durable() {
    let mut site = Site { history_bytes: 0, ..Site::default() };
    site.similar.push((0, 1, Some(vec![10, 11])));
    site.hits = (0..).zip([7, 8, 8, 7]).map(|(at, user)| vec![click(at, user, 0, 1)]).collect();
    let with_room = Site { history_bytes: 1 << 20, ..site.clone() }.run();
    let without = site.run();
    let not_durable = Site { lag: 10, ..site }.run();
    assert_eq!([with_room.asks, without.asks, not_durable.asks], [2, 3, 2]);
    assert_eq!(with_room.recalls.len(), 2);
    assert_eq!(with_room.recalls, without.recalls);
    assert_eq!(with_room.recalls, not_durable.recalls);
}
