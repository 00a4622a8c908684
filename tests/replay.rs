//! `replay`: what it does and prints, of which files, and what it says of mistakes.
//!
//! Expected results are written out, from docs/formats.md and docs/replay.md. Catches a file that is read
//! twice or not at all, a message that does not name file, line and reason; that results are right on
//! other input is for `replay_oracle.rs` to say.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::fs;

use serde_json::json;
use testing::place::{AT, CLICK, Place, SIMILAR};
use testing::program;

#[test]
fn the_example_of_the_formats_does_what_they_say() {
    let exported = Place::example().export();
    for (name, text) in [
        ("hot.tsv", "18\t18005\t1\n"),
        ("new.tsv", "18\t13894\t1600000000\n18\t7\t1.5\n"),
        ("cb_recall.tsv", "2\t18\t1600000000001\t[116644, 18577]\n"),
        (
            "history_recall.tsv",
            "2\t18\t1599999999000\t[14299,]\n2\t18\t1600000000001\t[116644, 18577]\n",
        ),
        ("similar.tsv", "18005\t116644\t0.97\n18005\t14299\t0.91\n18005\t18577\t9e-05\n"),
        ("dead_letters.tsv", ""),
    ] {
        assert_eq!(str::from_utf8(exported.file(name)).unwrap(), text, "{name}");
    }
}

#[test]
fn a_replay_sums_up_what_it_did() {
    let place = Place::empty();
    let exposure = CLICK.replace("click", "exposure");
    place.write("a.log", format!("{CLICK}\n{exposure}\nhello\n\n"));
    place.write("b.log", format!("{CLICK}\n"));
    place.write("new.log", "18,13894\n18\n");
    place.write("similar.tsv", SIMILAR);
    let line = "replay a.log b.log --articles new.log --similar similar.tsv --store s \
                --epoch-records 2";
    let outcome = place.run(&format!("{line} --json -w 2")).done();
    let mut summary = outcome.json();
    let summary = summary.as_object_mut().unwrap();
    assert!(summary.remove("seconds").unwrap().is_f64());
    assert!(summary.remove("peak_memory_bytes").unwrap().is_u64());
    let expected = json!({
        "records": 7, "hits": 2, "others": 1, "new_articles": 1, "recalls": 1,
        "dead_letters": {
            "too_long": 0, "empty": 1, "not_utf8": 0, "not_json": 1, "no_channel": 0,
            "bad_channel": 0, "no_action": 0, "no_user": 0, "bad_user": 0, "no_article": 0,
            "bad_article": 0, "bad_new_article": 1,
        },
        "epochs": 3, "epoch_mark": 3, "files": { "read": 3, "unchanged": 0 },
    });
    assert_eq!(json!(summary), expected);

    // For people, the second time.
    let outcome = place.run(line).done();
    for said in ["0 read, 3 unchanged", "records ", "hits ", "lists recalled ", "peak memory "] {
        assert!(outcome.text().contains(said), "{said}: {outcome:#?}");
    }
}

#[test]
fn the_same_command_again_applies_only_what_was_added() {
    let place = Place::example();
    let before = place.export();
    let line = format!("replay a.log --articles new.log --store s --at {AT} --json");
    assert_eq!(place.run(&line).done().json()["epochs"], 0);
    place.export().must_be(&before, "nothing was added");
    place.append("a.log", &format!("{CLICK}\n{CLICK}"));
    let summary = place.run(&line).done().json();
    assert_eq!((&summary["hits"], &summary["epochs"]), (&json!(2), &json!(1)));
    assert_eq!(place.export().file("hot.tsv"), b"18\t18005\t3\n");
    // Nothing new is recalled to the user.
    assert_eq!(place.export().file("cb_recall.tsv"), before.file("cb_recall.tsv"));
}

#[test]
fn a_refreshed_table_counts_from_then_on_and_takes_no_recall_back() {
    let place = Place::example();
    place.write("similar.tsv", "18005\t5\t0.9\n18005\t116644\t0.8\n");
    place.append("a.log", &format!("{CLICK}\n"));
    place.run(&format!("replay a.log --similar similar.tsv --store s --at {AT}")).done();
    let exported = place.export();
    let recalled = b"2\t18\t1600000000001\t[116644, 18577]\n2\t18\t1600000000002\t[5]\n";
    assert_eq!(exported.file("cb_recall.tsv"), recalled);
    assert_eq!(exported.file("similar.tsv"), b"18005\t116644\t0.8\n18005\t5\t0.9\n");
}

#[test]
fn folders_globs_packed_files_and_standard_input_are_read_in_order() {
    let place = Place::empty();
    place.write("logs/b/c.log", "b\n");
    place.write("logs/b.log", "c\n");
    place.write("logs/a.log", "a\n");
    for skipped in ["logs/.hidden", "logs/_SUCCESS", "logs/d.log.tmp", "logs/.d/e.log"] {
        place.write(skipped, "x\n");
    }
    let args = ["replay", "z.log", "logs", "g*/*.log", "-", "--store", "s"];
    place.write("z.log", "z");
    place.write("g1/b.log", "g\n");
    place.write("g1/a.log", "f\n");
    let command = program::command(place.folder(), args);
    let outcome = program::end_with_input(command, b"i\nj").done();
    for skipped in [".hidden", "_SUCCESS", "d.log.tmp", ".d"] {
        assert!(outcome.log.contains(skipped), "{skipped} is named: {outcome:#?}");
    }
    let job = place.run("show job --store s --json").done().json();
    let files: Vec<_> = job["files"].as_array().unwrap().iter().map(|it| &it["path"]).collect();
    let expected =
        ["-", "g1/a.log", "g1/b.log", "logs/a.log", "logs/b.log", "logs/b/c.log", "z.log"];
    assert_eq!(files, expected);
    assert_eq!(
        str::from_utf8(place.export().file("dead_letters.tsv")).unwrap(),
        "-:1\tnot_json\ti\n-:2\tnot_json\tj\ng1/a.log:1\tnot_json\tf\ng1/b.log:1\tnot_json\tg\n\
         logs/a.log:1\tnot_json\ta\nlogs/b.log:1\tnot_json\tc\nlogs/b/c.log:1\tnot_json\tb\n\
         z.log:1\tnot_json\tz\n"
    );
}

#[test]
fn a_file_that_is_not_what_was_read_of_it_is_refused() {
    let place = Place::example();
    let log = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let exposure = CLICK.replace("click", "exposure");
    let replay = "replay a.log --store s";
    place.write("a.log", "");
    place.refuses(replay, 1, &["a.log", "1 lines", "nothing was applied"]);
    place.write("a.log", log(&[&exposure, CLICK]));
    place.refuses(replay, 1, &["a.log", "first", "are others now", "nothing was applied"]);
    // The last line had no newline, and goes on.
    place.write("a.log", log(&[CLICK]) + "{}");
    place.run(replay).done();
    place.append("a.log", " ");
    place.refuses(replay, 1, &["a.log", "line 2", "longer", "nothing was applied"]);
    // A good file beside a refused one is not read either.
    place.write("b.log", log(&[CLICK]));
    place.refuses("replay b.log a.log --store s", 1, &["a.log", "line 2"]);
    place.write("a.log", log(&[CLICK]) + "{}\n" + CLICK);
    assert_eq!(place.run("replay a.log --store s --json").done().json()["hits"], 1);
}

#[test]
fn a_torn_packed_file_is_named_and_completed_when_it_is_whole() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    let place = Place::empty();
    let lines: String = (0..5000).map(|n| CLICK.replace("18005", &n.to_string()) + "\n").collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    place.write("a.log.gz", &packed[..packed.len() - 3000]);
    let replay = "replay a.log.gz --store s --epoch-records 100 --at 2019-04-11T00:00:00Z";
    place.run(replay).refused(1, &["a.log.gz", "beyond line"]);
    place.write("a.log.gz", packed);
    place.run(replay).done();
    let job = place.run("show job --store s --json").done().json();
    assert_eq!((&job["records_total"]["hit"], &job["epoch_mark"]), (&json!(5000), &json!(50)));
    place.write("b.log.gz", "no gzip");
    place.run("replay b.log.gz --store s").refused(1, &["b.log.gz"]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let place = Place::empty();
    place.write("a.log", "");
    place.run("replay missing.log --store s").refused(1, &["missing.log", "No such file"]);
    place.run("replay a.log none*.log --store s").refused(1, &["none*.log"]);
    place.run("replay a.log --articles gone --store s").refused(1, &["gone"]);
    place.run("replay a.log --similar gone.tsv --store s").refused(1, &["gone.tsv"]);
    place.run("replay - - --store s").refused(1, &["given twice"]);
}

#[test]
fn a_time_that_cannot_be_is_refused_with_status_2() {
    let place = Place::example();
    place.append("a.log", &format!("{CLICK}\n"));
    let replay = |at: &str| format!("replay a.log --store s --at {at}");
    for (at, said) in [
        ("2020-09-13T12:26:39.999Z", "which this store was last replayed at"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("2020-09-13T12:26:40.001Z", "a version of a history stands"),
        ("yesterday", "invalid value"),
        ("2020-09-13T12:26:40", "invalid value"),
    ] {
        place.refuses(&replay(at), 2, &["--at", said]);
    }
    place.write("later.tsv", "9\t1\t1600000005000\t[]\n");
    place.run("tables load --history later.tsv --store s").done();
    for at in [AT, "2020-09-13T12:26:45Z"] {
        let said = ["--at", "2020-09-13T12:26:45.000Z", "a version of a history stands"];
        place.refuses(&replay(at), 2, &said);
    }
    place.run(&replay("2020-09-13T12:26:45.001Z")).done();
    assert_eq!(place.export().file("hot.tsv"), b"18\t18005\t2\n");
}

#[test]
fn settings_change_what_is_computed() {
    let replayed = |set: &str| {
        let place = Place::example();
        place.write("b.log", CLICK.replace("\"2\"", "\"3\"").replace("click", "share"));
        place.run(&format!("replay b.log --store s --at {AT} {set}")).done();
        let exported = place.export();
        let hot = exported.rows("hot.tsv")[0][2].to_owned();
        let new = exported.rows("cb_recall.tsv").get(1).map(|row| row[3].to_owned());
        (hot, new.unwrap_or_default())
    };
    let are = |hot: &str, list: &str| (hot.to_owned(), list.to_owned());
    assert_eq!(replayed(""), are("2", "[116644, 14299, 18577]"));
    assert_eq!(replayed("--set recall.neighbours=2"), are("2", "[116644, 14299]"));
    assert_eq!(replayed("--set recall.order=ascending"), are("2", "[18577, 14299, 116644]"));
    assert_eq!(replayed("--set hot.weights.share=5"), are("6", "[116644, 14299, 18577]"));
    assert_eq!(replayed("--set hot.weights.share=0"), are("1", "[116644, 14299, 18577]"));
    assert_eq!(replayed("--set dataflows=[\"hot\"]"), are("2", ""));
    assert_eq!(replayed("--set dataflows=[\"recall\"]"), are("1", "[116644, 14299, 18577]"));
}

#[test]
fn a_configuration_names_store_and_settings() {
    let place = Place::example();
    place.write("job.toml", "[store]\npath = \"s\"\n[recall]\nneighbours = 1\n");
    place.write("b.log", CLICK.replace("\"2\"", "\"3\""));
    place.run(&format!("replay b.log --config job.toml --at {AT}")).done();
    let recalled = place.run("show recall 3 --config job.toml --json").done().json();
    assert_eq!(recalled[0]["articles"], json!(["116644"]));
    place.write("bad.toml", "[recall]\nneighbour = 1\n");
    for command in
        ["replay a.log", "show job", "export --out e", "tables load --similar similar.tsv"]
    {
        let said = ["bad.toml:2", "neighbour", "neighbours"];
        place.refuses(&format!("{command} --config bad.toml --store s"), 2, &said);
    }
    place.refuses("show job --config gone.toml", 2, &["gone.toml"]);
}

#[test]
fn a_renamed_file_without_news_makes_room_for_another_at_its_path() {
    let place = Place::empty();
    let click = |user: u32| {
        format!(
            r#"{{"channelId":1,"param":{{"action":"click","userId":"{user}","articleId":"5"}}}}"#
        ) + "\n"
    };
    let log = place.path("l.log");
    let hits = |files: &str| {
        let line = format!("replay {files} --store s --json");
        place.run(&line).done().json()["hits"].as_u64().unwrap()
    };
    fs::write(&log, click(1)).unwrap();
    assert_eq!(hits("l.log"), 1);
    fs::rename(&log, place.path("l.log.1")).unwrap();
    assert_eq!(hits("l.log.1"), 0);
    fs::write(&log, click(2).repeat(2)).unwrap();
    assert_eq!(hits("l.log.1"), 0, "it is known by its new name");
    assert_eq!(hits("l.log"), 2);
    assert_eq!(hits("l.log l.log.1"), 0);
}

#[test]
fn a_store_among_the_logs_is_no_log() {
    let place = Place::empty();
    place.write("d/a.log", format!("{CLICK}\n"));
    for records in [1, 0] {
        let outcome = place.run("replay d --store d/s --json").done();
        assert_eq!(outcome.json()["records"], records);
        assert!(outcome.log.contains("skipped: path=d/s"), "{}", outcome.log);
    }
}
