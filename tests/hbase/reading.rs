//! Neighbours and histories, read.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataflows::{Article, Ask, Epoch, History, Ticket};
use hbase_thrift::hbase::{ColumnDescriptor, THbaseSyncClient};
use online_recall::hbase::{Change, Kind, Spot, Table, Trying, patience};
use online_recall::ledger::now;
use online_recall::tables::Tables;

use super::site::{Site, cell, client, text};

const DAY: u64 = 86_400_000;

/// A ticket is the dataflow's; by its serialised form a test makes one.
fn ticket(number: u32) -> Ticket {
    serde_json::from_value(number.into()).unwrap()
}

fn ask(user: &str, channel: u32, number: u32) -> Ask {
    Ask { cell: cell(user, channel), ticket: ticket(number) }
}

fn sorted(history: &History) -> Vec<i64> {
    let mut ids: Vec<_> = history.articles.iter().map(|article| article.0).collect();
    ids.sort_unstable();
    ids
}

fn one(site: &Site, bound: &[(u64, u64)], user: &str) -> History {
    let tables = site.tables(&site.client, bound);
    tables.history(vec![ask(user, 18, 7)]).unwrap().pop().unwrap()
}

#[test]
fn every_writers_versions_count_and_what_is_no_list_counts_as_empty() {
    let site = Site::new("writers");
    let now = now();
    let spot = || site.history.spot(&cell("2", 18));
    let lists =
        ["[141440,]", "['1', '2']", "[]", "[3,4]", "garbage", "", "[5, None]", "[-6, \"7\"]"];
    for (list, age) in lists.iter().zip(1..) {
        site.put(&site.history, spot(), list, Some(now - age * 1000));
    }
    // Of other channels and users nothing counts.
    site.put(&site.history, site.history.spot(&cell("2", 1)), "[99]", None);
    site.put(&site.history, site.history.spot(&cell("22", 18)), "[98]", None);
    let history = one(&site, &[], "2");
    assert_eq!(sorted(&history), [-6, 1, 2, 3, 4, 7, 141440]);
    assert_eq!(history.ticket, ticket(7));
    assert!(history.receipts.is_empty());
}

#[test]
fn versions_count_for_90_days_and_those_of_the_future_count() {
    // The site's table forgets by itself; in one that never does, the same counts.
    let forgets = Site::new("forgets");
    let keeps = Site::without_tables(testing::servers::hbase(), "keeps");
    let family = ColumnDescriptor {
        name: Some("channel:".into()),
        max_versions: Some(1000),
        time_to_live: Some(i32::MAX),
        compression: Some("NONE".into()),
        bloom_filter_type: Some("ROW".into()),
        ..ColumnDescriptor::default()
    };
    let name = keeps.history.name.clone().into_bytes();
    keeps.thrift().create_table(name, vec![family]).unwrap();

    for site in [forgets, keeps] {
        let now = now();
        let dated =
            [(1, 0), (2, 1), (3, now - 91 * DAY), (4, now - 89 * DAY), (5, now + 365 * DAY)];
        for (id, at) in dated {
            let spot = site.history.spot(&cell("2", 18));
            site.put(&site.history, spot, &text(&[id]), Some(at));
        }
        assert_eq!(sorted(&one(&site, &[], "2")), [4, 5], "{}", site.history.name);
    }
}

#[test]
fn a_version_at_exactly_the_date_of_an_epoch_that_runs_again_is_its_receipt() {
    let site = Site::new("receipts");
    let now = now();
    let spot = || site.history.spot(&cell("2", 18));
    for (list, at) in
        [("[1, 2]", now), ("[3]", now + 1), ("[4]", now + 3), ("[]", now + 4), ("x", now + 5)]
    {
        site.put(&site.history, spot(), list, Some(at));
    }
    let bound = [(now, 11), (now + 2, 12), (now + 3, 13), (now + 4, 14), (now + 5, 15)];
    let mut history = one(&site, &bound, "2");
    history.receipts.sort();
    let receipt = |epoch, ids: &[i64]| (Epoch(epoch), ids.iter().copied().map(Article).collect());
    assert_eq!(history.receipts, [receipt(11, &[1, 2]), receipt(13, &[4])]);
    assert_eq!(sorted(&history), [1, 2, 3, 4], "receipts are part of the history");
}

#[test]
fn many_questions_have_one_answer_each() {
    let site = Site::new("many");
    let users = 700_u32;
    let puts: Vec<_> = (0..users)
        .filter(|user| user % 3 == 0)
        .map(|user| {
            let spot = site.history.spot(&cell(&user.to_string(), 18));
            Change::Put(spot, text(&[user.into()]).into())
        })
        .collect();
    for at in [now(), now() + 1] {
        site.client.change(&site.history, &puts, Some(at), patience(0)).unwrap();
    }
    let asks = (0..users).map(|user| ask(&user.to_string(), 18, user)).collect();
    let tables = site.tables(&site.client, &[]);
    let answers = tables.history(asks).unwrap();
    let answers: BTreeMap<_, _> =
        answers.into_iter().map(|answer| (answer.ticket, sorted(&answer))).collect();
    assert_eq!(answers.len(), users as usize);
    for user in 0..users {
        let expected = if user % 3 == 0 { vec![i64::from(user); 2] } else { Vec::new() };
        assert_eq!(answers[&ticket(user)], expected, "user {user}");
    }
}

#[test]
fn a_row_of_neighbours_is_read_whole_and_once_without_what_is_no_number() {
    let site = Site::new("similar");
    let spot = |row: &str, column: &str| Spot { row: row.into(), qualifier: column.into() };
    let mut puts = Vec::new();
    for article in 0..1000 {
        for neighbour in 0..article % 7 {
            let spot = spot(&article.to_string(), &neighbour.to_string());
            puts.push(Change::Put(spot, format!("0.{article}{neighbour}").into()));
        }
    }
    for (row, column, value) in [
        ("18005", "14299", "0.91"),
        ("18005", "18577", "9e-05"),
        ("18005", "18005", "1"),
        ("18005", "-5", "-0.5"),
        ("18005", "1", "nan"),
        ("18005", "2", "inf"),
        ("18005", "3", "much"),
        ("18005", "4", ""),
        ("18005", "07", "0.5"),
        ("18005", "seven", "0.5"),
        ("none", "1", "0.5"),
        ("2000", "1", "NaN"),
    ] {
        puts.push(Change::Put(spot(row, column), value.into()));
    }
    for puts in puts.chunks(1000) {
        site.client.change(&site.similar, puts, None, patience(0)).unwrap();
    }
    let rows = read_similar(&site, &site.client);
    let expected: Vec<i64> = (0..1000).filter(|article| article % 7 > 0).chain([18005]).collect();
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), expected);
    for (article, neighbours) in &rows {
        if *article < 1000 {
            let row: Vec<_> = (0..article % 7)
                .map(|neighbour| (neighbour, format!("0.{article}{neighbour}").parse().unwrap()))
                .collect();
            assert_eq!(neighbours, &row);
        }
    }
    assert_eq!(rows[&18005], [(-5, -0.5), (14299, 0.91), (18005, 1.0), (18577, 9e-5)]);
}

pub fn read_similar(
    site: &Site,
    client: &Arc<online_recall::hbase::Client>,
) -> BTreeMap<i64, Vec<(i64, f64)>> {
    let mut rows = BTreeMap::new();
    let mut row = |article: Article, neighbours: Vec<(Article, f64)>| {
        let mut neighbours: Vec<_> =
            neighbours.into_iter().map(|(article, value)| (article.0, value)).collect();
        neighbours.sort_by_key(|(article, _)| *article);
        assert!(rows.insert(article.0, neighbours).is_none(), "article {article} comes twice");
    };
    site.tables(client, &[]).similar(&mut row).unwrap();
    rows
}

#[test]
fn a_missing_table_or_family_is_told_with_the_line_that_makes_it() {
    let site = Site::without_tables(testing::servers::hbase(), "nothing");
    let said = |error: &dyn ToString, table: &Table| {
        let said = error.to_string();
        assert!(said.contains(&table.shell_create()), "{said}");
    };
    let tables = site.tables(&site.client, &[]);
    said(&tables.similar(&mut |_, _| {}).unwrap_err(), &site.similar);
    said(&tables.history(vec![ask("2", 18, 1)]).unwrap_err(), &site.history);
    said(&site.client.require(Trying::COMMAND, &site.mailbox).unwrap_err(), &site.mailbox);
    let spot = || site.mailbox.spot(&cell("2", 18));
    said(&site.client.versions(&site.mailbox, &spot(), patience(0)).unwrap_err(), &site.mailbox);

    // A table of neighbours is no table of histories.
    site.client.create(Trying::COMMAND, &site.similar).unwrap();
    let other = Table::new(Kind::HistoryRecall, &site.similar.name);
    let family = |error: &dyn ToString| {
        let said = error.to_string();
        assert!(said.contains(&other.shell_alter()), "{said}");
    };
    family(&site.client.require(Trying::COMMAND, &other).unwrap_err());
    family(&site.client.versions(&other, &spot(), patience(0)).unwrap_err());
    family(&site.client.rows(&other, &[spot().row], patience(0)).unwrap_err());
    let puts: Vec<_> = (0..3)
        .map(|user| Change::Put(other.spot(&cell(&user.to_string(), 18)), "[1]".into()))
        .collect();
    for at in [None, Some(now())] {
        family(&site.client.change(&other, &puts, at, patience(0)).unwrap_err());
        family(&site.client.change(&other, &puts[..1], at, patience(0)).unwrap_err());
    }
}

#[test]
fn a_table_that_was_made_is_as_the_site_has_it() {
    let site = Site::new("made");
    for table in [&site.similar, &site.mailbox, &site.history] {
        assert_eq!(site.client.differences(Trying::COMMAND, table).unwrap(), []);
        assert!(!site.client.create(Trying::COMMAND, table).unwrap(), "it was made twice");
    }
    let client = client(&[&site.server]);
    // What a cell keeps is what its family says: all versions.
    for at in 0..10 {
        site.put(&site.history, site.history.spot(&cell("2", 18)), "[1]", Some(now() + at * 10));
    }
    let spot = site.history.spot(&cell("2", 18));
    assert_eq!(client.versions(&site.history, &spot, patience(0)).unwrap().len(), 10);
}
