//! Records of every kind, over partitions and workers; nothing fails.

use std::collections::BTreeMap;
use std::fs;

use testing::exported::Exported;
use testing::oracle::Oracle;
use testing::seeds;

use super::input::Input;
use super::judge::{Doubts, Mail};
use super::site::{Plan, Site};

#[test]
fn nasty_records_over_1_4_and_16_partitions_and_1_2_and_3_workers_end_as_the_oracle_tells() {
    let mut oracle = Oracle::start();
    for (partitions, workers) in [(1, 3), (4, 1), (16, 2)] {
        let site = Site::new(Plan::shared(partitions), Input::small());
        // Half of it waits before the job is there.
        let mut flow = site.flow(u64::from(workers), false);
        flow.some(1000);
        let mut job = site.start(workers);
        flow.rest();
        site.wait_until_done(&mut job);
        site.must_be_right(&mut oracle, &Doubts::None);
        job.stop();
        site.must_be_right(&mut oracle, &Doubts::None);
    }
}

#[test]
fn random_sites_end_as_the_oracle_tells() {
    let count = if testing::all() { 40 } else { 2 };
    seeds::each("live", count, |seed, oracle| {
        let input = Input::nasty(seed, 600, oracle);
        let partitions = [1, 2, 3, 7][(seed % 4) as usize];
        let mut plan = Plan::shared(partitions);
        plan.settings = serde_json::json!({
            "neighbours": 1 + seed % 12,
            "order": if seed % 2 == 0 { "ascending" } else { "descending" },
            "weights": { "click": seed % 3, "share": 1_000_000 },
        });
        let weights =
            [format!("hot.weights.click={}", seed % 3), "hot.weights.share=1000000".into()];
        plan.sets.extend(weights);
        plan.sets.push(format!("recall.neighbours={}", 1 + seed % 12));
        plan.sets.push(format!("recall.order={}", plan.settings["order"].as_str().unwrap()));
        plan.sets.push(format!("epoch.records={}", [1, 7, 100, 10_000][(seed / 2 % 4) as usize]));
        let site = Site::new(plan, input);
        let mut job = site.start(1 + (seed % 3) as u32);
        site.flow(seed, seed % 2 == 0).rest();
        site.wait_until_done(&mut job);
        job.stop();
        site.must_be_right(oracle, &Doubts::None);
    });
}

#[test]
fn keyed_by_user_live_and_embedded_recall_the_same_articles_in_the_same_order() {
    let input = Input::small();
    // The embedded job reads the clicks in the order in which they are produced.
    let folder = testing::folder();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("clicks"), lines(&input.clicks)).unwrap();
    fs::write(file("articles"), lines(&input.articles)).unwrap();
    fs::write(file("similar"), &input.similar).unwrap();
    fs::write(file("history"), &input.history).unwrap();
    for line in [
        "tables load --store s --similar similar --history history",
        "replay --store s clicks --articles articles",
    ] {
        testing::program::run_line(folder.path(), line).done();
    }
    let embedded = Exported::of(&file("s"));

    let site = Site::new(Plan::shared(4), input);
    let mut job = site.start(2);
    site.flow(1, true).rest();
    site.wait_until_done(&mut job);
    job.stop();
    let out = testing::folder();
    site.run(&format!("export --config job.toml --out {}", out.path().display())).done();
    let live = fs::read_to_string(out.path().join("cb_recall.tsv")).unwrap();
    let live = live.lines().map(|line| mail(&line.split('\t').collect::<Vec<_>>()));

    let embedded = embedded.rows("cb_recall.tsv").into_iter().map(|row| mail(&row));
    let (live, embedded) = (articles(live), articles(embedded));
    assert!(embedded.len() > 50, "there are recalls");
    assert_eq!(live, embedded);
}

fn mail(row: &[&str]) -> Mail {
    ((row[0].to_owned(), row[1].to_owned()), row[2].parse().unwrap(), row[3].to_owned())
}

/// What was recalled to each user and channel, in order, however it is divided into lists.
fn articles(mail: impl Iterator<Item = Mail>) -> BTreeMap<(String, String), String> {
    let mut by_date: Vec<Mail> = mail.collect();
    by_date.sort_by_key(|(_, date, _)| *date);
    let mut all: BTreeMap<_, String> = BTreeMap::new();
    for (cell, _, list) in by_date {
        let all = all.entry(cell).or_default();
        *all += &list.replace(['[', ']'], "").replace(' ', "");
        all.push(',');
    }
    all
}

fn lines(records: &[Vec<u8>]) -> Vec<u8> {
    // A record may itself begin, and end, as a line may.
    records.iter().flat_map(|record| [b"NO_TIMESTAMP\t", &record[..], b"\r\n"].concat()).collect()
}
