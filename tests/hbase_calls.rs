//! How many calls of HBase a hit costs: counted where they are made, in a program of its own, so that no
//! other test's are among them.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

#[path = "hbase/site.rs"]
#[allow(dead_code, reason = "shared with the tests of HBase")]
mod site;

use dataflows::{Ask, Ticket};
use online_recall::hbase::{Change, patience};
use online_recall::ledger::now;
use online_recall::metrics;
use online_recall::tables::Tables;

use site::{Sink, Site, cell, recall, text};

/// How many calls have been made so far.
fn calls() -> u64 {
    let text = metrics::text();
    let counts =
        text.lines().filter(|line| line.starts_with("online_recall_hbase_requests_total{"));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_cold_hit_costs_hardly_more_than_a_call_and_a_warm_one_hardly_any() {
    const HITS: u64 = 3000;
    let site = Site::new("calls");
    // The worst case: every cell stands, with many versions, and is met for the first time.
    let puts: Vec<_> = (0..HITS)
        .map(|user| Change::Put(site.history.spot(&cell(&user.to_string(), 18)), "[1, 2]".into()))
        .collect();
    for at in 0..3 {
        site.client.change(&site.history, &puts, Some(now() - at), patience(1)).unwrap();
    }
    let before = calls();
    let tables = site.tables(&site.client, &[]);
    let ticket: Ticket = serde_json::from_value(0.into()).unwrap();
    let asks: Vec<_> =
        (0..HITS).map(|user| Ask { cell: cell(&user.to_string(), 18), ticket }).collect();
    for asks in asks.chunks(512) {
        let answers = tables.history(asks.to_vec()).unwrap();
        assert!(answers.iter().all(|answer| answer.articles.len() == 6));
    }
    let read = calls();
    let mut sink = Sink::start(&site.client, 0);
    let recalls: Vec<_> =
        (0..HITS).map(|user| recall(&user.to_string(), 18, &[user.cast_signed() + 10])).collect();
    sink.recalls(&site.binding(1, now() + 1), &recalls);
    sink.recalled(1);
    let written = calls();
    assert_eq!(site.mailed(&cell("7", 18)), [text(&[17])]);
    let (cold, warm) = ((written - before) as f64, (written - read) as f64);
    assert!(cold / HITS as f64 <= 1.1, "{cold} calls for {HITS} cold hits");
    assert!(warm / HITS as f64 <= 0.05, "{warm} calls for {HITS} warm hits");
}
