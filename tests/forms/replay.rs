//! Log files replayed into live servers: counted once around every kill, whatever the next command
//! names.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use testing::all;
use testing::kafka::wait_for;
use testing::program::{self, STOP_AT};
use testing::random::Random;
use testing::servers::Server;

use super::site::{Site, clicks, generate};

#[test]
fn a_replay_into_live_servers_leaves_what_one_into_a_store_does() {
    let site = Site::recalling("whole");
    generate(&site.place, 5, 2000);
    let line = "clicks.log --articles articles.log --epoch-records 150";
    site.place.run("tables load --history history.tsv --config job.toml").done();
    let done = site.replay(&format!("{line} --similar similar.tsv -w 3 --json"), None).done();
    assert!(done.log.contains("count twice"), "{done:#?}");
    assert_eq!(done.json()["files"], json!({ "read": 2, "unchanged": 0 }));
    site.must_be(&[line], "3 workers");
    assert!(!site.export()["cb_recall.tsv"].is_empty(), "something is recalled");

    let again = site.replay(line, None).done();
    assert!(again.text().contains("0 read, 2 unchanged"), "{again:#?}");
    site.must_be(&[line], "again");
}

#[test]
fn a_replay_killed_at_any_point_is_completed_by_the_same_command() {
    let site = Site::recalling("kills");
    generate(&site.place, 6, 1200);
    site.place
        .run("tables load --similar similar.tsv --history history.tsv --config job.toml")
        .done();
    let line = "clicks.log --articles articles.log --epoch-records 40";
    // Each kill befalls what the one before has left.
    for (stop_at, workers) in [
        ("before-binding:1", 1),
        ("after-binding:1", 2),
        ("before-scores:3", 3),
        ("after-scores:2", 1),
        ("receipts-put:1", 2),
        ("lists-put:2", 1),
        ("letters-written:2", 2),
        ("letters-kept:1", 3),
        ("before-mark:2", 1),
        ("after-mark:1", 2),
        ("cut-sent:3", 1),
        ("share:4", 2),
    ] {
        site.killed(&format!("{line} -w {workers}"), stop_at);
    }
    site.replay(&format!("{line} -w 3"), None).done();
    site.must_be(&[line], "after twelve kills");
}

#[test]
fn bound_epochs_run_again_with_exactly_their_lines_whatever_is_named() {
    let site = Site::counting("bound");
    site.place.write("a.log", clicks(0, 100));
    site.place.write("b.log", clicks(100, 50));
    site.killed("a.log --epoch-records 10", "after-binding:1");
    let bound = site.ledger();
    assert_eq!(bound["epoch_mark"], 0, "{bound}");
    let epochs = bound["epoch"].as_u64().unwrap();
    assert!(epochs > 0, "{bound}");

    // Another file, other epochs, other settings: those that were bound are as they were.
    site.replay("b.log --epoch-records 7 --set hot.weights.click=3", None).done();
    let ledger = site.ledger();
    let files = json!([
        { "topic": "clicks", "path": "a.log", "lines": 10 * epochs },
        { "topic": "clicks", "path": "b.log", "lines": 50 },
    ]);
    assert_eq!(ledger["files"], files, "{ledger}");
    assert_eq!(ledger["epoch_mark"], epochs + 8, "50 lines are 8 epochs of 7");
    // A grown file goes on behind what was bound of it.
    site.place.append("a.log", &clicks(150, 20));
    site.replay("a.log b.log --epoch-records 9 --set hot.weights.click=3", None).done();
    let expected = Site::counting("bound-expected");
    expected.place.write("a.log", clicks(0, 100) + &clicks(150, 20));
    expected.place.write("b.log", clicks(100, 50));
    let (weighed, first) = ("--set hot.weights.click=3", 10 * epochs as usize);
    let text = fs::read_to_string(expected.place.path("a.log")).unwrap();
    let cut: usize = text.lines().take(first).map(|line| line.len() + 1).sum();
    expected.place.write("a.log", &text[..cut]);
    expected.replay("a.log", None).done();
    expected.place.write("a.log", &text);
    expected.replay(&format!("b.log a.log {weighed}"), None).done();
    assert_eq!(site.export(), expected.export());
}

#[test]
fn a_file_that_was_renamed_packed_or_has_grown_while_it_was_bound_is_read_as_it_was() {
    let site = Site::counting("renamed");
    site.place.write("a.log", clicks(0, 900));
    site.place.write("b.log", clicks(900, 95));
    site.killed("a.log b.log --epoch-records 100", "before-mark:2");
    let ledger = site.ledger();
    assert!(ledger["epoch"].as_u64() > ledger["epoch_mark"].as_u64(), "{ledger}");
    site.place.append("a.log", &clicks(1000, 30));
    let packed = File::create(site.place.path("a.1.log.gz")).unwrap();
    let mut packed = GzEncoder::new(packed, Compression::fast());
    packed.write_all(&fs::read(site.place.path("a.log")).unwrap()).unwrap();
    packed.finish().unwrap();
    fs::remove_file(site.place.path("a.log")).unwrap();
    // Where nothing that is named may be it, it is missed.
    site.replay("b.log", None).refused(1, &["is bound to lines of a.log, which is gone"]);
    assert_eq!(site.ledger()["epoch_mark"], ledger["epoch_mark"]);
    site.killed("b.log a.1.log.gz", "before-mark:1");
    let done = site.replay("b.log a.1.log.gz", None).done();
    assert!(done.log.contains("known under another name"), "{done:#?}");
    let files = json!([
        { "topic": "clicks", "path": "a.1.log.gz", "lines": 930 },
        { "topic": "clicks", "path": "b.log", "lines": 95 },
    ]);
    assert_eq!(site.ledger()["files"], files);
    let hits = (0..995).chain(1000..1030).filter(|nth| nth % 7 != 0).count();
    assert_eq!(site.ledger()["records_total"]["hit"], hits);

    // A new name is kept at once, also where nothing new is read.
    fs::rename(site.place.path("b.log"), site.place.path("b.1.log")).unwrap();
    site.replay("b.1.log", None).done();
    let names = site.ledger()["files"].clone();
    assert_eq!(names[1], json!({ "topic": "clicks", "path": "b.1.log", "lines": 95 }));
    assert_eq!(names.as_array().unwrap().len(), 2);
}

#[test]
fn a_file_that_changed_while_it_was_bound_is_refused_and_nothing_applied() {
    let site = Site::counting("changed");
    let text = clicks(0, 500);
    site.place.write("a.log", &text);
    site.killed("a.log --epoch-records 50", "before-mark:2");
    let (before, stands) = (site.ledger(), site.export());
    let bound = before["epoch"].as_u64().unwrap() * 50;
    let last = format!("garbage {}\n", (bound - 1) / 7 * 7);
    for (what, changed) in [
        ("has only", text[..text.len() / 50].to_owned()),
        ("are others now", text.replacen("garbage", "GARBAGE", 1)),
        // Bound epochs before this one could be applied, and are not.
        ("are others now", text.replace(&last, &last.to_uppercase())),
    ] {
        site.place.write("a.log", changed);
        site.replay("a.log", None).refused(1, &[what]);
        assert_eq!(site.ledger()["epoch_mark"], before["epoch_mark"]);
        assert_eq!(site.export(), stands, "{what}");
    }
    site.place.write("a.log", &text);
    site.replay("a.log", None).done();
    site.must_be(&["a.log"], "put back");
}

#[test]
fn a_last_line_without_a_newline_is_bound_as_it_was() {
    let site = Site::counting("unended");
    let text = clicks(1, 15);
    site.place.write("a.log", text.trim_end());
    site.place.write("b.log", clicks(20, 5));
    site.killed("a.log b.log --epoch-records 100", "after-binding:1");
    site.place.write("a.log", text.clone() + &clicks(16, 3));
    site.replay("a.log b.log", None).done();
    let hits = (1..19).chain(20..25).filter(|nth| nth % 7 != 0).count();
    assert_eq!(site.ledger()["records_total"]["hit"], hits);
    site.must_be(&["a.log b.log"], "ended since");
}

#[test]
fn standard_input_that_is_given_again_goes_on_behind_what_was_bound() {
    let site = Site::counting("stdin");
    let text = clicks(0, 3000);
    let line = "replay - --epoch-records 30 --config job.toml";
    let given = |text: &str, stop_at: Option<&str>| {
        let mut command = program::command(site.place.folder(), line.split_ascii_whitespace());
        if let Some(stop_at) = stop_at {
            command.env(STOP_AT, stop_at);
        }
        program::end_with_input(command, text.as_bytes())
    };
    for stop_at in ["after-binding:1", "before-mark:2"] {
        assert!(given(&text, Some(stop_at)).killed(), "{stop_at}");
        let ledger = site.ledger();
        assert!(ledger["epoch"].as_u64() > ledger["epoch_mark"].as_u64(), "{ledger}");
    }
    given(&text, None).done();
    let whole = text + &clicks(3000, 10);
    given(&whole, None).done();
    site.place.write("-", &whole);
    let hits = (0..3010).filter(|nth| nth % 7 != 0).count();
    assert_eq!(site.ledger()["records_total"]["hit"], hits);
    assert_eq!(site.ledger()["files"], json!([{ "topic": "clicks", "path": "-", "lines": 3010 }]));
}

#[test]
fn what_is_dated_by_the_clock_has_no_at_and_beside_a_running_job_there_is_no_recall() {
    let site = Site::recalling("beside");
    site.place.write("a.log", clicks(0, 10));
    let refused = site.replay("a.log --at 2019-04-11T00:00:00Z", None);
    refused.refused(2, &["--at is refused"]);
    let mut connection = site.redis();
    let running = format!("online-recall:{{{}}}:running", site.name);
    redis::cmd("SET").arg(&running).arg(1).arg("PX").arg(100_000).exec(&mut connection).unwrap();
    site.replay("a.log", None).refused(2, &["job beside runs", "recall"]);
    assert_eq!(site.ledger()["epoch_mark"], 0);
    let counting = r#"a.log --set dataflows=["hot","new"]"#;
    let done = site.replay(counting, None).done();
    assert!(done.log.contains("count twice"), "{done:#?}");
    redis::cmd("DEL").arg(&running).exec(&mut connection).unwrap();
    site.replay("a.log", None).done();
    assert_eq!(site.ledger()["records_total"]["hit"], 8);
}

#[test]
fn a_signal_ends_a_replay_and_the_same_command_completes_it() {
    let site = Site::counting("signal");
    site.place.write("a.log", clicks(0, 200_000));
    let line = "replay a.log --epoch-records 100 --config job.toml";
    let mut command = program::command(site.place.folder(), line.split_ascii_whitespace());
    let shown = format!("{command:?}");
    let child = command.spawn().unwrap();
    wait_for("a first mark", || (site.ledger()["epoch_mark"].as_u64() > Some(0)).then_some(()));
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    program::outcome_of(child, shown).refused(143, &["run the same command again"]);
    let ledger = site.ledger();
    assert!(ledger["epoch_mark"].as_u64() < Some(2000), "it was not done: {ledger}");
    site.replay("a.log", None).done();
    site.must_be(&["a.log"], "completed");
}

#[test]
fn kills_at_random_times_change_nothing_that_is_counted() {
    let site = Site::counting("random");
    site.place.write("a.log", clicks(0, 150_000));
    site.place.write("b.log", clicks(150_000, 50_000));
    let mut random = Random::new(31);
    let mut killed = 0;
    for round in 0..if all() { 60 } else { 12 } {
        let size = 5 + random.below(20);
        let line = format!("replay a.log b.log --epoch-records {size} -w 2 --config job.toml");
        let mut command = program::command(site.place.folder(), line.split_ascii_whitespace());
        let shown = format!("{command:?}");
        let mut child = command.spawn().unwrap();
        // Later and later, so that every round gets somewhere.
        thread::park_timeout(Duration::from_millis((20 + 10 * round + random.below(60)) as u64));
        child.kill().unwrap();
        killed += u32::from(program::outcome_of(child, shown).killed());
    }
    assert!(killed > 3, "{killed} kills hit a running process");
    let ledger = site.ledger();
    assert!(ledger["epoch_mark"].as_u64() > Some(0), "{ledger}");
    site.replay("a.log b.log", None).done();
    site.must_be(&["a.log b.log"], "after kills at random times");
}

#[test]
fn a_redis_that_dies_and_comes_back_is_waited_for() {
    let server = Server::start("redis", &[]);
    let site = Site::counting_on(&server.address(), "away");
    // So many epochs that they are not done before Redis dies.
    site.place.write("a.log", clicks(0, 200_000));
    let line = "replay a.log --epoch-records 20 --config job.toml";
    let mut command = program::command(site.place.folder(), line.split_ascii_whitespace());
    let shown = format!("{command:?}");
    let mut child = command.spawn().unwrap();
    wait_for("a first mark", || (site.ledger()["epoch_mark"].as_u64() > Some(0)).then_some(()));
    server.kill(&[]);
    let refused = site.place.run("show job --config job.toml");
    refused.refused(1, &["cannot connect"]);
    assert!(child.try_wait().unwrap().is_none(), "it is not done, and waits");
    server.restart(&[]);
    program::outcome_of(child, shown).done();
    site.must_be(&["a.log"], "after Redis was away");
}

#[test]
fn score_keys_that_went_back_are_made_good_from_the_files() {
    let site = Site::counting("back");
    let mut connection = site.redis();
    let hot = format!("{}:18:hot", site.name);
    let mark = format!("online-recall:{}.replay:{{{hot}}}", site.name);
    let mut copy = |from: &str, to: &str| {
        let mut copy = redis::cmd("COPY");
        let copied: bool = copy.arg(from).arg(to).arg("REPLACE").query(&mut connection).unwrap();
        assert!(copied, "{from}");
    };
    site.place.write("a.log", clicks(0, 55));
    site.replay("a.log --epoch-records 10", None).done();
    copy(&hot, "back:old-hot");
    copy(&mark, "back:old-mark");
    site.place.append("a.log", &clicks(55, 45));
    site.replay("a.log --epoch-records 10", None).done();
    // As a node of a Cluster does that starts from an older file, while others do not.
    copy("back:old-hot", &hot);
    copy("back:old-mark", &mark);
    let done = site.replay("a.log", None).done();
    assert!(done.log.contains("run again for it"), "{done:#?}");
    site.must_be(&["a.log"], "made good");
}
