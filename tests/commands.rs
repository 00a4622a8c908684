//! Every command of the program: what it does, what it prints, and what it says of mistakes;
//! `replay` has `replay.rs`.
//!
//! Expected results are written out, from docs/formats.md and docs/replay.md. Catches a changed shape of a
//! document, a wrong exit status, a message that does not name file, line and reason; that results are
//! right on other input is for `replay_oracle.rs` to say. Damage is in `damage.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use testing::exported::Exported;
use testing::place::{CLICK, Place};
use testing::program;
use testing::small;

// show ---------------------------------------------------------------------------------------------

#[test]
fn show_prints_documents_of_the_shapes_that_the_interface_says() {
    let place = Place::example();
    let show = |what: &str| place.run(&format!("show {what} --store s --json")).done().json();
    assert_eq!(show("hot 18"), json!([{ "article": "18005", "score": 1 }]));
    let new = [("13894", json!(1_600_000_000)), ("7", json!(1.5))];
    let new: Vec<_> = new.map(|(id, s)| json!({ "article": id, "score": s })).into();
    assert_eq!(show("new 18"), json!(new));
    let recall = json!({
        "channel": 18, "timestamp": 1_600_000_000_001_u64, "articles": ["116644", "18577"],
    });
    assert_eq!(show("recall 2"), json!([recall]));
    let loaded =
        json!({ "channel": 18, "timestamp": 1_599_999_999_000_u64, "articles": ["14299"] });
    assert_eq!(show("history 2"), json!([loaded, recall]));
    let similar = [("116644", 0.97), ("14299", 0.91), ("18577", 9e-05)];
    let similar: Vec<_> = similar.map(|(id, v)| json!({ "article": id, "value": v })).into();
    assert_eq!(show("similar 18005"), json!(similar));
    let job = show("job");
    assert_eq!(job["epoch_mark"], 1);
    let outcomes = json!({ "hit": 1, "other": 0, "new_article": 2, "dead_letter": 0 });
    assert_eq!(job["records_total"], outcomes);
    assert_eq!(job["recalls_total"], 1);
    assert_eq!(job["dead_letters_total"]["not_json"], 0);
    let files = json!([
        { "topic": "clicks", "path": "a.log", "lines": 1 },
        { "topic": "articles", "path": "new.log", "lines": 2 },
    ]);
    assert_eq!(job["files"], files);
}

#[test]
fn show_orders_scores_as_redis_turns_them_round() {
    let place = Place::empty();
    // Score down, then member up as bytes.
    let clicks = [("9", 2), ("10", 2), ("-5", 2), ("1", 3), ("100", 1)];
    let lines = clicks.map(|(id, times)| (CLICK.replace("18005", id) + "\n").repeat(times));
    place.write("a.log", lines.concat());
    place.run("replay a.log --store s").done();
    let hot = place.run("show hot 18 --store s --json").done().json();
    let ids: Vec<_> = hot.as_array().unwrap().iter().map(|it| &it["article"]).collect();
    assert_eq!(ids, ["1", "-5", "10", "9", "100"]);
    let table = place.run("show hot 18 --store s --top 2").done();
    assert!(table.text().contains("2 of 5") && table.text().contains("-5"), "{table:#?}");
    assert!(!table.text().contains("100"), "{table:#?}");
}

#[test]
fn what_is_not_there_is_an_empty_list() {
    let place = Place::example();
    for what in ["hot 1", "new 1", "recall 3", "recall 02", "history 22", "similar 1", "similar -1"]
    {
        let outcome = place.run(&format!("show {what} --store s --json")).done();
        assert_eq!(outcome.text(), "[]\n", "{what}");
        let outcome = place.run(&format!("show {what} --store s")).done();
        assert!(outcome.text().contains("nothing"), "{outcome:#?}");
    }
}

#[test]
fn show_for_people_is_a_table() {
    let place = Place::example();
    for (what, said) in [
        ("hot 18", &["hot in channel 18", "18005", "█"][..]),
        ("new 18", &["new in channel 18", "13894", "2020-09-13T12:26:40"]),
        ("recall 2", &["user 2", "2020-09-13T12:26:40.001Z", "116644  18577"]),
        ("history 2", &["user 2", "14299"]),
        ("similar 18005", &["article 18005", "9e-05"]),
        ("job", &["epochs done", "clicks a.log", "1 lines"]),
    ] {
        let outcome = place.run(&format!("show {what} --store s")).done();
        for said in said {
            assert!(outcome.text().contains(said), "`{said}`: {outcome:#?}");
        }
    }
}

#[test]
fn show_refuses_what_is_no_channel_and_no_article() {
    let place = Place::example();
    for (what, said) in [
        ("hot 18x", "CHANNEL"),
        ("new 018", "CHANNEL"),
        ("hot 2147483648", "CHANNEL"),
        ("similar x", "ARTICLE"),
        ("similar 9223372036854775808", "ARTICLE"),
    ] {
        place.refuses(
            &format!("show {what} --store s"),
            2,
            &[said, what.split(' ').next_back().unwrap()],
        );
    }
}

// export and tables load ---------------------------------------------------------------------------

#[test]
fn what_export_writes_tables_load_reads() {
    let place = Place::empty();
    let nasty = "--nasty --seed 8 --clicks 300 --users 20 --articles 20";
    testing::oracle::Oracle::start().generate(place.folder(), nasty);
    place.run("tables load --history history.tsv --similar similar.tsv --store s").done();
    place.write("odd.log", CLICK.replace("\"2\"", r#""a\tb\n\\\u0000é""#));
    place
        .run(&format!(
            "replay odd.log --similar {} --store s",
            small().join("similar.tsv").display()
        ))
        .done();
    let line = "export --store s --out out/deep";
    assert_eq!(place.run(line).done().text(), "");
    let first = Exported::read(&place.path("out/deep"));
    assert_eq!(fs::read_dir(place.path("out/deep")).unwrap().count(), 6);
    place.run(line).done();
    Exported::read(&place.path("out/deep")).must_be(&first, "exported again");

    let loaded = "tables load --similar out/deep/similar.tsv --history out/deep/history_recall.tsv";
    let count = |name| first.file(name).iter().filter(|byte| **byte == b'\n').count();
    let outcome = place.run(&format!("{loaded} --store t --json")).done();
    let counts =
        json!({ "neighbours": count("similar.tsv"), "versions": count("history_recall.tsv") });
    assert_eq!(outcome.json(), counts);
    let second = Exported::of(&place.path("t"));
    for name in ["similar.tsv", "history_recall.tsv"] {
        assert!(second.file(name) == first.file(name), "{name}");
    }
    assert_eq!(second.file("cb_recall.tsv"), b"");
    let outcome = place.run(&format!("{loaded} --store t")).done();
    assert!(outcome.text().contains("neighbours"), "{outcome:#?}");
}

#[test]
fn one_bad_line_refuses_a_table_with_its_number() {
    let place = Place::example();
    place.write("good.tsv", "18005\t1\t0.5\n");
    for (bad, said) in [
        ("18005\t2", "ARTICLE<tab>NEIGHBOUR<tab>VALUE"),
        ("18005 2 0.5", "ARTICLE<tab>NEIGHBOUR<tab>VALUE"),
        ("", "ARTICLE<tab>NEIGHBOUR<tab>VALUE"),
        ("x\t2\t0.5", "ARTICLE"),
        ("18005\t2.0\t0.5", "NEIGHBOUR"),
        ("18005\t2\tnan", "VALUE"),
        ("18005\t2\tinf", "VALUE"),
        ("18005\t2\t1e999", "VALUE"),
        ("18005\t2\t", "VALUE"),
    ] {
        place.write("bad.tsv", format!("18005\t1\t0.5\n{bad}\n18005\t3\t0.5\n"));
        let said = ["bad.tsv:2", said];
        place.refuses("tables load --similar bad.tsv --store s", 1, &said);
        place.refuses("replay --similar bad.tsv --store s", 1, &said);
    }
    for (bad, said) in [
        ("2\t18\t1", "USER<tab>CHANNEL<tab>TIMESTAMP<tab>LIST"),
        ("\t18\t1\t[]", "USER"),
        ("2\t-1\t1\t[]", "CHANNEL"),
        ("2\t18\tx\t[]", "TIMESTAMP"),
        ("2\t18\t1234567890123456\t[]", "TIMESTAMP"),
    ] {
        place.write("bad.tsv", format!("2\t18\t1\t[]\n{bad}\n"));
        let line = "tables load --similar good.tsv --history bad.tsv --store s";
        place.refuses(line, 1, &["bad.tsv:2", said]);
    }
    // A list is never judged.
    place.write("any.tsv", "2\t18\t1\tgarbage\tand more\\\n");
    place.run("tables load --history any.tsv --store s").done();
    let history = place.export().file("history_recall.tsv").to_owned();
    assert_eq!(history, b"2\t18\t1\tgarbage\tand more\\\n", "the row is replaced");
    assert_eq!(place.export().rows("cb_recall.tsv").len(), 1, "and the mailbox stands");
    place.run("tables load --store s").refused(2, &["--similar"]);
    place.run("tables load --similar gone.tsv --store s").refused(1, &["gone.tsv"]);
}

#[test]
fn of_one_cell_in_a_file_the_later_line_counts() {
    let place = Place::empty();
    place.write("similar.tsv", "1\t2\t0.1\n3\t4\t1\n1\t5\t0.3\n1\t2\t0.2\r\n");
    place.write("history.tsv", "u\\t\t0\t5\t[1]\nu\\t\t0\t5\t[2]\nu\\x09\t1\t5\t[3]");
    place.run("tables load --similar similar.tsv --history history.tsv --store s").done();
    assert_eq!(place.export().file("similar.tsv"), b"1\t2\t0.2\n1\t5\t0.3\n3\t4\t1\n");
    assert_eq!(place.export().file("history_recall.tsv"), b"u\\t\t0\t5\t[2]\nu\\t\t1\t5\t[3]\n");
    // A later load replaces whole rows.
    place.write("similar.tsv", "1\t9\t0.1\n");
    place.run("tables load --similar similar.tsv --store s").done();
    assert_eq!(place.export().file("similar.tsv"), b"1\t9\t0.1\n3\t4\t1\n");
}

// check --------------------------------------------------------------------------------------------

#[test]
fn check_says_all_that_is_wrong_with_a_configuration() {
    let place = Place::empty();
    place.write(
        "good.toml",
        "[store]\npath = \"s\"\n[kafka.properties]\n\"bootstrap.servers\" = \"k:1\"\n",
    );
    let outcome = place.run("check --config good.toml --offline").done();
    assert!(outcome.text().contains("0 mistakes"), "{outcome:#?}");
    let bad = "job = \"a b\"\n[recall]\nneighbours = 0\norder = \"down\"\n[epoc]\nrecords = 1\n";
    place.write("bad.toml", bad);
    let outcome = place.run("check --config bad.toml");
    assert_eq!(outcome.status.code(), Some(2));
    for said in ["bad.toml:1", "job", "bad.toml:3", "bad.toml:4", "bad.toml:5", "epoch"] {
        assert!(outcome.text().contains(said), "`{said}`: {outcome:#?}");
    }
    let outcome = place.run("check --config bad.toml --json");
    assert_eq!(outcome.status.code(), Some(2));
    assert!(outcome.json()["mistakes"].as_array().unwrap().len() >= 4, "{outcome:#?}");
    let outcome = place.run("check --config good.toml --set epoch.records=0");
    assert_eq!(outcome.status.code(), Some(2));
    assert!(outcome.text().contains("--set epoch.records"), "{outcome:#?}");
    assert_eq!(place.run("check --config gone.toml").status.code(), Some(2));
}

// All commands -------------------------------------------------------------------------------------

#[test]
fn every_command_has_help_with_an_example() {
    let place = Place::empty();
    for command in ["", "replay", "show", "export", "tables load", "check"] {
        let outcome = place.run(&format!("{command} --help")).done();
        let example = format!("online-recall {command}");
        let (_, after) = outcome.text().split_once("Example").expect("examples");
        assert!(after.contains(example.trim()), "{command}: {outcome:#?}");
    }
    for command in ["hot", "new", "recall", "history", "similar", "job"] {
        place.run(&format!("show {command} --help")).done();
    }
}

#[test]
fn the_version_tells_the_commit() {
    let outcome = Place::empty().run("--version").done();
    let version = concat!("online-recall ", env!("CARGO_PKG_VERSION"), " (commit ");
    let commit = outcome.text().strip_prefix(version).and_then(|rest| rest.strip_suffix(")\n"));
    let commit = commit.unwrap_or_else(|| panic!("{outcome:#?}"));
    let hexadecimal = commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(hexadecimal || commit == "unknown", "{commit}");
}

#[test]
fn wrong_usage_ends_with_status_2() {
    let place = Place::example();
    for (line, said) in [
        ("", "Usage"),
        ("replya", "replay"),
        ("replay a.log --store s --worker 2", "--worker"),
        ("replay a.log", "--store"),
        ("replay a.log --store s -w 0", "0"),
        ("replay a.log --store s --epoch-records 0", "0"),
        ("replay a.log --store s --set recall.neighbour=1", "recall.neighbour"),
        ("replay a.log --store s --set recall.neighbours", "recall.neighbours"),
        ("show", "Usage"),
        ("show hot --store s", "CHANNEL"),
        ("show hot 18", "--store"),
        ("export --store s", "--out"),
        ("tables", "Usage"),
        ("check", "--config"),
    ] {
        place.refuses(line, 2, &[said]);
    }
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_reading() {
    let place = Place::empty();
    for command in ["show job", "show hot 18", "export --out e"] {
        place.refuses(&format!("{command} --store s"), 1, &["no store in s", "replay --store"]);
        assert!(!place.path("s").exists());
    }
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_alone() {
    let place = Place::empty();
    place.write("mine/letter.txt", "dear");
    place.write("a.log", CLICK);
    for command in ["replay a.log --store mine", "tables load --similar a.log --store mine"] {
        place.run(command).refused(1, &["mine", "no store"]);
    }
    place.run("show job --store mine").refused(1, &["mine", "no store"]);
    assert_eq!(fs::read_dir(place.path("mine")).unwrap().count(), 1);
    place.write("file", "");
    place.run("replay a.log --store file").refused(1, &["file"]);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let place = Place::example();
    let text = fs::read_to_string(place.path("s/VERSION")).unwrap();
    place.write("s/VERSION", text.replace('1', "4000000000"));
    for command in
        ["replay a.log", "show job", "export --out e", "tables load --similar similar.tsv"]
    {
        let said = ["store in s", "version 4000000000", "newer program"];
        place.run(&format!("{command} --store s")).refused(1, &said);
    }
    place.write("s/VERSION", text);
    place.run("show job --store s").done();
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let place = Place::example();
    // It holds the store until its standard input ends.
    let mut holder = program::command(place.folder(), ["replay", "-", "--store", "s"]);
    let mut holder = holder.stdin(Stdio::piped()).spawn().unwrap();
    let stdin = holder.stdin.take().unwrap();
    // Its lock is what the second one must find.
    let locked = |pid: u32| -> bool {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let mut names = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        names.any(|name| name.ends_with(Path::new("db/0.jnl")))
    };
    while !locked(holder.id()) {
        std::thread::yield_now();
    }
    for command in
        ["replay a.log", "show job", "export --out e", "tables load --similar similar.tsv"]
    {
        let said = ["store in s", "in use by another process"];
        place.run(&format!("{command} --store s")).refused(1, &said);
    }
    drop(stdin);
    program::outcome_of(holder, "holder".to_owned()).done();
    place.run("show job --store s").done();
}

#[test]
fn a_result_that_cannot_be_printed_is_a_failure() {
    let place = Place::example();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let args = ["show", "job", "--json", "--store", "s"];
    let status = program::command(place.folder(), args).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
