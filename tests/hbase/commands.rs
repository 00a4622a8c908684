//! The commands that make, load, show and export tables of HBase.

use std::fs;

use dataflows::Channel;
use online_recall::hbase::Spot;
use online_recall::ledger::now;
use serde_json::json;
use testing::place::Place;
use testing::servers::{hbase, redis};

use super::site::{Site, cell};

/// A folder with a configuration that names the tables of a site.
pub fn place(site: &Site, server: &str) -> Place {
    let place = Place::empty();
    let names = &site.names;
    let text = format!(
        "[hbase]\nthrift = [\"{}\"]\ntables = {{ similar = \"{}\", cb_recall = \"{}\", \
         history_recall = \"{}\" }}\n[redis]\nurl = \"redis://{}/0\"\n",
        server,
        names.similar,
        names.cb_recall,
        names.history_recall,
        redis().address()
    );
    place.write("job.toml", text);
    place
}

#[test]
fn tables_are_made_as_the_site_has_them_and_again_changes_nothing() {
    let site = Site::without_tables(hbase(), "by_command");
    let place = place(&site, &site.server);
    let refused = place.run("show recall 2 --config job.toml");
    refused.refused(1, &[&site.mailbox.shell_create(), "tables create"]);
    let made = place.run("tables create --config job.toml").done();
    let names = [&site.similar, &site.mailbox, &site.history];
    for table in names {
        assert!(made.text().contains(&format!("{}: made", table.name)), "{made:#?}");
    }
    let again = place.run("tables create --config job.toml").done();
    for table in names {
        assert!(again.text().contains(&format!("{}: stands already", table.name)), "{again:#?}");
        let differences =
            site.client.differences(online_recall::hbase::Trying::COMMAND, table).unwrap();
        assert_eq!(differences, []);
    }
}

#[test]
fn what_is_loaded_is_what_export_writes() {
    let site = Site::new("round_trip");
    let place = place(&site, &site.server);
    let now = now();
    // Sorted as the lines are, not as the users: a backslash stands before letters.
    let users = ["2", "20", "A", "\\\\x", "\\n", "\\x01", "a b", "ü"];
    let mut history: Vec<_> = users
        .iter()
        .flat_map(|user| {
            [(0, "[1, 2]"), (18, "['3',]"), (2, "no list"), (2, "")].iter().zip(1..).map(
                move |((channel, list), at)| format!("{user}\t{channel}\t{}\t{list}\n", now - at),
            )
        })
        .collect();
    let mut similar: Vec<_> = (0..500)
        .flat_map(|article| (0..3).map(move |other| format!("{article}\t{other}\t0.{other}\n")))
        .chain(["-5\t-5\t1\n".to_owned(), "18005\t7\t9e-05\n".to_owned()])
        .collect();
    // Lines of one row may stand anywhere.
    place.write("similar.tsv", similar.iter().rev().cloned().collect::<String>());
    place.write("history.tsv", history.iter().rev().cloned().collect::<String>());
    let load = "tables load --similar similar.tsv --history history.tsv --config job.toml";
    let loaded = place.run(&format!("{load} --json")).done().json();
    assert_eq!(loaded, json!({ "neighbours": similar.len(), "versions": history.len() }));
    history.sort();
    similar.sort();
    for _ in 0..2 {
        place.run("export --config job.toml --out out").done();
        let written = |name: &str| fs::read_to_string(place.path("out").join(name)).unwrap();
        assert_eq!(written("history_recall.tsv"), history.concat());
        assert_eq!(written("similar.tsv"), similar.concat());
        assert_eq!(written("cb_recall.tsv"), "");
        // What export writes, load reads; a second time it changes nothing.
        place.run("tables load --similar out/similar.tsv --history out/history_recall.tsv --config job.toml").done();
    }
}

#[test]
fn a_bad_line_refuses_the_file_and_nothing_is_written() {
    let site = Site::new("bad_line");
    let place = place(&site, &site.server);
    place.write("similar.tsv", "1\t2\t0.5\n");
    place.write("bad.tsv", "1\t2\t0.5\n3\t4\tnan\n");
    place.write("history.tsv", "2\t18\t1\t[1]\n2\tx\t1\t[1]\n");
    place.run("tables load --similar bad.tsv --config job.toml").refused(1, &["bad.tsv:2"]);
    place
        .run("tables load --similar similar.tsv --history history.tsv --config job.toml")
        .refused(1, &["history.tsv:2", "CHANNEL"]);
    assert!(super::reading::read_similar(&site, &site.client).is_empty());
}

#[test]
fn a_later_load_replaces_the_rows_that_it_names() {
    let site = Site::new("replaced");
    let place = place(&site, &site.server);
    let now = now();
    place.write("similar.tsv", "1\t2\t0.5\n1\t3\t0.6\n2\t9\t0.1\n");
    place.write("history.tsv", format!("2\t18\t{now}\t[1]\n2\t0\t{now}\t[2]\n3\t18\t{now}\t[3]\n"));
    place.run("tables load --similar similar.tsv --history history.tsv --config job.toml").done();
    // Older than what stands: no delete may hide it.
    let older = now - 1000;
    place.write("similar.tsv", "1\t3\t0.7\n1\t4\t0.8\n");
    place.write("history.tsv", format!("2\t18\t{older}\t[4]\n"));
    place.run("tables load --similar similar.tsv --history history.tsv --config job.toml").done();
    let show =
        |what: &str| place.run(&format!("show {what} --config job.toml --json")).done().json();
    assert_eq!(
        show("similar 1"),
        json!([{ "article": "4", "value": 0.8 }, { "article": "3", "value": 0.7 }])
    );
    assert_eq!(show("similar 2"), json!([{ "article": "9", "value": 0.1 }]));
    assert_eq!(
        show("history 2"),
        json!([
            { "channel": 0, "timestamp": now, "articles": [] },
            { "channel": 18, "timestamp": older, "articles": ["4"] },
            { "channel": 18, "timestamp": now, "articles": [] },
        ])
    );
    assert_eq!(show("history 3"), json!([{ "channel": 18, "timestamp": now, "articles": ["3"] }]));
}

#[test]
fn show_and_export_give_every_version_of_every_cell() {
    let site = Site::new("shown");
    let place = place(&site, &site.server);
    let user = cell("2", 18);
    let before = now();
    for list in ["[116644, 18577]", "[5]"] {
        site.put(&site.mailbox, site.mailbox.spot(&user), list, Some(before + list.len() as u64));
    }
    let other = dataflows::Cell { channel: Channel(1), ..user.clone() };
    site.put(&site.mailbox, site.mailbox.spot(&other), "[1,\n2]", Some(before));
    // Of others, which keep what they like there.
    for (row, column) in [("user:2", "18"), ("recall:user:", "18")] {
        let spot = Spot { row: row.into(), qualifier: column.into() };
        site.put(&site.mailbox, spot, "[1]", None);
    }
    let shown = place.run("show recall 2 --config job.toml --json").done().json();
    let expected = json!([
        { "channel": 1, "timestamp": before, "articles": ["1", "2"] },
        { "channel": 18, "timestamp": before + 3, "articles": ["5"] },
        { "channel": 18, "timestamp": before + 15, "articles": ["116644", "18577"] },
    ]);
    assert_eq!(shown, expected);
    assert_eq!(place.run("show recall 3 --config job.toml --json").done().text(), "[]\n");
    assert_eq!(place.run("show similar 3 --config job.toml --json").done().text(), "[]\n");
    place.run("export --config job.toml --out out").done();
    let lines = fs::read_to_string(place.path("out/cb_recall.tsv")).unwrap();
    let expected = [
        format!("2\t1\t{before}\t[1, 2]\n"),
        format!("2\t18\t{}\t[116644, 18577]\n", before + 15),
        format!("2\t18\t{}\t[5]\n", before + 3),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(lines, expected.concat());
}
