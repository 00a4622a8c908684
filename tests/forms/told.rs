//! What `show` and `export` tell of live servers is what stands there.

use std::fs;

use serde_json::json;
use testing::place::Place;
use testing::servers::{Server, redis};

/// A folder with the configuration of a job that only counts, whose keys begin with `name`.
fn counting(name: &str, url: &str) -> Place {
    let place = Place::empty();
    let text = format!(
        "job = \"{name}\"\ndataflows = [\"hot\", \"new\"]\n[redis]\nurl = {url}\n\
         hot = \"{name}[x]:{{channel}}*hot\"\nnew = \"{name}:{{channel}}:new\"\n"
    );
    place.write("job.toml", text);
    place
}

/// Puts a member of a score key there, as anybody might.
fn put(redis: &mut impl redis::ConnectionLike, key: &str, member: &str, score: &str) {
    redis::cmd("ZADD").arg(key).arg(score).arg(member).exec(redis).unwrap();
}

fn url(server: &Server) -> String {
    format!("redis://{}/0", server.address())
}

/// Puts lists there, and requires that they are told.
fn lists_are_told(name: &str, url: &str, redis: &mut impl redis::ConnectionLike) {
    let place = counting(name, url);
    let hot = |channel: &str| format!("{name}[x]:{channel}*hot");
    for (member, score) in [("9", "2"), ("10", "2"), ("-5", "2"), ("1", "3"), ("100", "1")] {
        put(redis, &hot("18"), member, score);
    }
    put(redis, &hot("2"), "7", "0.5");
    put(redis, &hot("180"), "8", "9007199254740991");
    // Nobody's list of ours: another name, no channel, or what only looks alike as a pattern.
    for key in [format!("{name}[x]:18*hot:old"), hot("x"), hot("018"), format!("{name}x:18yhot")] {
        put(redis, &key, "1", "1");
    }
    let new = format!("{name}:18:new");
    for (member, score) in
        [("1", "1554891332.5"), ("2", "1554891332"), ("3", "1554891332.05"), ("4", "7.1239")]
    {
        put(redis, &new, member, score);
    }

    let show =
        |what: &str| place.run(&format!("show {what} --config job.toml --json")).done().json();
    let score = |(id, score): (&str, i64)| json!({ "article": id, "score": score });
    let expected = [("1", 3), ("-5", 2), ("10", 2), ("9", 2), ("100", 1)].map(score);
    assert_eq!(show("hot 18"), json!(expected));
    assert_eq!(show("hot 2"), json!([{ "article": "7", "score": 0.5 }]));
    assert_eq!(show("hot 3"), json!([]));
    let expected = json!([
        { "article": "1", "score": 1_554_891_332.5 },
        { "article": "3", "score": 1_554_891_332.05 },
        { "article": "2", "score": 1_554_891_332 },
        { "article": "4", "score": 7.1239 },
    ]);
    assert_eq!(show("new 18"), expected);
    let table = place.run("show hot 18 --config job.toml --top 2").done();
    assert!(table.text().contains("2 of 5") && !table.text().contains("100"), "{table:#?}");
    let table = place.run("show new 18 --config job.toml").done();
    assert!(table.text().contains("2019-04-10T10:15:32.050Z"), "{table:#?}");

    place.run("export --config job.toml --out out").done();
    let read = |name: &str| fs::read_to_string(place.path("out").join(name)).unwrap();
    let hot = "18\t-5\t2\n18\t1\t3\n18\t10\t2\n18\t100\t1\n18\t9\t2\n180\t8\t9007199254740991\n\
               2\t7\t0.5\n";
    assert_eq!(read("hot.tsv"), hot);
    let new = "18\t1\t1554891332.5\n18\t2\t1554891332\n18\t3\t1554891332.05\n18\t4\t7.124\n";
    assert_eq!(read("new.tsv"), new);
    assert_eq!(read("dead_letters.tsv"), "");
    // What recalls nothing has no tables.
    assert!(!place.path("out/cb_recall.tsv").exists());
}

#[test]
fn lists_of_one_server_are_told_as_they_stand() {
    let url = url(redis());
    let mut connection = redis::Client::open(&*url).unwrap().get_connection().unwrap();
    lists_are_told("one", &format!("\"{url}\""), &mut connection);
}

#[test]
fn lists_of_a_cluster_are_told_wherever_they_stand() {
    let server = Server::start("redis", &[("CLUSTER", "1")]);
    let url = url(&server);
    let cluster = redis::cluster::ClusterClient::new([&*url]).unwrap();
    lists_are_told("cluster", &format!("[\"{url}\"]"), &mut cluster.get_connection().unwrap());
}

#[test]
fn a_job_that_was_never_started_stands_at_nothing() {
    let place = counting("never", &format!("\"{}\"", url(redis())));
    let job = place.run("show job --config job.toml --json").done().json();
    assert_eq!((&job["epoch_mark"], &job["epoch"]), (&json!(0), &json!(0)));
    assert_eq!((&job["incarnation"], &job["running"]), (&json!(null), &json!(false)));
    assert_eq!((&job["files"], &job["partitions"]), (&json!([]), &json!([])));
    let table = place.run("show job --config job.toml").done();
    assert!(table.text().contains("never"), "{table:#?}");
}

#[test]
fn a_redis_that_is_away_is_named() {
    let place = counting("away", "\"redis://127.0.0.1:1/0\"");
    for line in ["show hot 18", "show job", "export --out out"] {
        let refused = place.run(&format!("{line} --config job.toml"));
        refused.refused(1, &["cannot connect to 127.0.0.1:1"]);
    }
}
