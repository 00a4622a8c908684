//! What scripts do to scores and key marks.

use dataflows::Article;
use online_recall::outside::Told;
use online_recall::redis::{self as ours, Client, Dated, KeyMark, Part, Scored};
use testing::random::Random;
use testing::servers;

use crate::lossy::Lossy;
use crate::site::{Counted, Site, ask, client, count, hot, new};

fn url() -> String {
    format!("redis://{}", servers::redis().address())
}

#[test]
fn hot_scores_add_up_and_new_ones_are_set_to_the_fraction_as_readers_expect_them() {
    let mut redis = client(&url());
    let site = Site::new(&url());
    let mut live = site.start();
    let binding = live.bind();
    let mut scores = new(&[
        (18, 1, Some(1_554_891_332_500)),
        (18, -2, Some(1_554_891_332_000)),
        (18, 3, Some(7)),
        (18, 4, None),
    ]);
    scores.hot = hot(&[(18, 18005, 1), (18, 14299, 1_000_000)]).hot;
    live.scores.scores(&binding, scores);
    let Told::Scored(_, mut keys) = live.hear() else { panic!("it is not scored") };
    keys.sort();
    let names: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
    assert_eq!(names, [site.hot(18), site.new_key(18)]);
    live.mark(&binding, keys);
    live.epoch(&[(18, 18005, 2)]);

    let range = |key| format!("ZREVRANGE {key} 0 -1 WITHSCORES");
    let hot: Vec<String> = ask(&mut redis, &range(site.hot(18)));
    assert_eq!(hot, ["14299", "1000000", "18005", "3"]);
    let new: Vec<(String, f64)> = ask(&mut redis, &range(site.new_key(18)));
    let undated = binding.time as f64 / 1000.0;
    let expected = [("4", undated), ("1", 1_554_891_332.5), ("-2", 1_554_891_332.0), ("3", 0.007)];
    assert_eq!(new, expected.map(|(article, seconds)| (article.to_owned(), seconds)));

    // The last one counts, also where it is older.
    let binding = live.bind();
    live.scores.scores(&binding, self::new(&[(18, 1, Some(5000))]));
    assert!(matches!(live.hear(), Told::Scored(..)));
    assert_eq!(ask::<String>(&mut redis, &format!("ZSCORE {} 1", site.new_key(18))), "5");
    let mark: String = ask(&mut redis, &format!("GET {}", site.key_mark(&site.new_key(18))));
    assert_eq!(mark, format!("3 {}", binding.time));
}

#[test]
fn sums_are_exact_up_to_two_to_the_53() {
    let mut redis = client(&url());
    let site = Site::new(&url());
    let mut live = site.start();
    live.epoch(&[(1, 1, (1 << 53) - 2)]);
    live.epoch(&[(1, 1, 1)]);
    assert_eq!(ask::<String>(&mut redis, &format!("ZSCORE {} 1", site.hot(1))), "9007199254740991");
}

#[test]
fn an_epoch_without_scores_is_done_at_once() {
    let site = Site::new(&url());
    let mut live = site.start();
    let binding = live.bind();
    assert!(live.score(&binding, &[]).is_empty());
}

#[test]
fn an_epoch_of_many_articles_is_applied_in_parts_and_once() {
    let mut redis = client(&url());
    let site = Site::new(&url());
    let hits: Vec<_> = (0..7001).map(|n| (1, 3 * n - 100, 1 + n as u64 % 3)).collect();
    let mut counted = Counted::new();
    let mut live = site.start();
    live.epoch(&[(1, 5, 1)]);
    live.epoch(&hits);
    live.epoch(&[(1, 5, 1)]);
    for hits in [&[(1, 5, 1)][..], &hits[..], &[(1, 5, 1)][..]] {
        count(&mut counted, hits);
    }
    site.must_be(&mut redis, &counted);
    drop(live);
    // A death between two parts, cut otherwise than this version cuts them.
    let mut live = site.start();
    let binding = live.bind();
    let changes: Vec<_> = hits[..777].iter().map(|(_, a, n)| (Article(*a), *n)).collect();
    let last = Dated::of(&binding);
    let before: String = ask(&mut redis, &format!("GET {}", site.key_mark(&site.hot(1))));
    let mut words = before.split(' ').map(|word| word.parse().unwrap());
    let before =
        Dated { epoch: dataflows::Epoch(words.next().unwrap()), time: words.next().unwrap() };
    let part = Part {
        key: &site.hot(1),
        adds: true,
        before: Some(KeyMark::whole(before)),
        after: KeyMark { last, through: changes.last().map(|(article, _)| *article) },
        changes: &changes,
    };
    let answer = Client::new(&site.redis).unwrap().ask(&ours::prepare(&site.job, &part, None));
    assert_eq!(ours::scored(&site.job, part.key, answer).unwrap(), Scored::Now);
    drop(live);
    let mut live = site.start();
    live.run_again(&hits);
    count(&mut counted, &hits);
    site.must_be(&mut redis, &counted);
}

#[test]
fn lost_replies_lose_and_double_nothing() {
    for seed in 1..=3 {
        println!("seed {seed}");
        let proxy = Lossy::before(servers::redis().address());
        let site = Site::new(&format!("redis://{}/10", proxy.address()));
        let mut random = Random::new(seed);
        let mut counted = Counted::new();
        let mut live = site.start();
        for _ in 0..30 {
            let hits: std::collections::BTreeMap<_, _> = (0..20)
                .map(|_| {
                    ((random.below(4) as u32, random.below(30) as i64), 1 + random.below(3) as u64)
                })
                .collect();
            let hits: Vec<_> = hits.into_iter().map(|((c, a), n)| (c, a, n)).collect();
            // Every call of an epoch may be the one: binding, scores, mark, or the question between.
            proxy.lose(random.below(3) as u64);
            live.epoch(&hits);
            count(&mut counted, &hits);
        }
        assert!(proxy.lost() > 5, "{} replies were lost", proxy.lost());
        let mut redis = client(&format!("redis://{}/10", servers::redis().address()));
        site.must_be(&mut redis, &counted);
        assert_eq!(live.mark.totals.hits, 300);
        drop(live);
        assert_eq!(site.found().standing.mark.totals.hits, 300);
    }
}

#[test]
fn a_key_of_another_type_ends_the_job_and_is_named() {
    let mut redis = client(&url());
    let site = Site::new(&url());
    let mut live = site.start();
    live.epoch(&[(1, 1, 1)]);
    ask::<u64>(&mut redis, &format!("LPUSH {} x", site.hot(2)));
    let binding = live.bind();
    live.scores.scores(&binding, hot(&[(2, 1, 1)]));
    let error = live.failure().to_string();
    assert!(error.contains(&format!("{} is a list and not a zset", site.hot(2))), "{error}");
}

#[test]
fn jobs_that_share_a_score_key_add_up() {
    let (a, mut b) = (Site::new(&url()), Site::new(&url()));
    b.names = a.names.clone();
    let (mut first, mut second) = (a.start(), b.start());
    for _ in 0..3 {
        first.epoch(&[(1, 1, 1)]);
        second.epoch(&[(1, 1, 10)]);
    }
    a.must_be(&mut client(&url()), &Counted::from([((1, 1), 33)]));
}
