//! Records of bound epochs are gone at the next start, or their topic was made anew: the job ends and says
//! so, or goes on without them where that is wanted.

use std::collections::BTreeMap;

use testing::kafka::wait_for;
use testing::oracle::Oracle;

use super::input::Input;
use super::site::{Plan, Site};

/// What has befallen the records.
#[derive(Clone, Copy, Debug)]
enum Gap {
    Deleted,
    MadeAnew,
}

const PARTITIONS: i32 = 2;

#[test]
fn what_was_applied_counts_once_where_the_records_are_gone_at_the_next_start() {
    goes_on_behind(Gap::Deleted, 51);
}

#[test]
fn what_was_applied_counts_once_where_the_topic_is_another_at_the_next_start() {
    goes_on_behind(Gap::MadeAnew, 52);
}

#[track_caller]
fn goes_on_behind(gap: Gap, seed: u64) {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(PARTITIONS), Input::usual(seed, 1500, &mut oracle));
    let mut flow = site.flow(seed, false);
    flow.some(400);
    // Epochs are applied, and not marked.
    let mut job = site.start_with(2, Some("after-scores:3"), &[]);
    let killed = wait_for("a kill", || job.over());
    assert!(killed.killed(), "{killed}");
    drop(job);
    let applied = site.key_marks().into_iter().filter(|epoch| *epoch > site.mark()).count();
    assert!(applied > 0, "nothing was applied above the mark");
    let former = site.bindings().last().unwrap().epoch;
    let counted = site.scores("hot");

    match gap {
        Gap::Deleted => {
            for (partition, end) in (0..).zip(&site.ends()[0]) {
                site.topics.delete_records(partition, i64::try_from(*end).unwrap());
            }
        }
        Gap::MadeAnew => site.topics.make_anew(PARTITIONS),
    }
    let ended = site.start(1).wait().with(1);
    let topic = site.topics.clicks.clone();
    ended.says(&topic).says("offset").says("kafka.on_gap");

    let skips = ["--set", "kafka.on_gap=skip"];
    let mut job = site.start_with(2, None, &skips);
    flow.over(PARTITIONS as usize);
    flow.some(500);
    site.wait_until_done(&mut job);
    job.says("passed over");
    // A start compares all key marks with the ledger.
    drop(site.kill(job));
    let mut job = site.start(1);
    flow.rest();
    site.wait_until_done(&mut job);
    job.stop();

    let mut bindings = site.bindings();
    bindings.retain(|binding| binding.epoch > former);
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    for line in counted.iter().chain(&site.hot_of(&mut oracle, &bindings)) {
        let (article, score) = line.rsplit_once(' ').unwrap();
        *all.entry(article.to_owned()).or_default() += score.parse::<f64>().unwrap();
    }
    let mut expected: Vec<_> = all.iter().map(|(it, score)| format!("{it} {score}")).collect();
    let mut found = site.scores("hot");
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}
