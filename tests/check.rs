//! `check` against real servers: what is missing is said with what makes it, and made so, nothing is wrong.
//!
//! What a server would say of itself and a test can't make it say is judged beside the code: a clock that
//! is wrong, a disk that is full, a partition without a leader, families made otherwise.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::net::TcpListener;

use testing::place::Place;
use testing::program::Outcome;
use testing::servers::{self, Server};

/// Writes `job.toml`, for these servers, with names of topics and tables that begin so.
fn write(place: &Place, name: &str, kafka: &str, hbase: &str, redis: &str) {
    place.write(
        "job.toml",
        format!(
            r#"
job = "{name}"
[kafka]
clicks = "{name}-clicks"
articles = "{name}-articles"
[kafka.properties]
"bootstrap.servers" = "{kafka}"
[hbase]
thrift = ["{hbase}"]
tables = {{ similar = "{name}_similar", cb_recall = "{name}_cb", history_recall = "{name}_his" }}
[redis]
url = "redis://{redis}/10"
[dead_letters]
topic = "{name}-letters"
"#
        ),
    );
}

#[track_caller]
fn says(outcome: &Outcome, status: i32, said: &[&str]) {
    assert_eq!(outcome.status.code(), Some(status), "{outcome:#?}");
    for said in said {
        assert!(outcome.text().lines().any(|line| line.contains(said)), "`{said}`: {outcome:#?}");
    }
}

#[test]
fn what_is_missing_is_said_with_what_makes_it_and_made_so_nothing_is_wrong() {
    let place = Place::empty();
    let (kafka, hbase) = (servers::kafka().address(), servers::hbase().address());
    let redis = servers::redis().address();
    write(&place, "all", &kafka, &hbase, &redis);
    let outcome = place.run("check --config job.toml");
    let topic = |name| {
        format!(
            "mistake: kafka {kafka}: there is no topic {name}; online-recall topics create {name} \
             --partitions 4 --bootstrap-server {kafka}"
        )
    };
    let table = |name, families| {
        format!(
            "mistake: hbase {hbase}: there is no table {name}; online-recall tables create --config job.toml, or in \
             the HBase shell: create '{name}', {families}"
        )
    };
    let (clicks, letters) = (topic("all-clicks"), topic("all-letters"));
    let (cb, similar) = (table("all_cb", "{NAME=>'als'"), table("all_similar", ""));
    says(&outcome, 2, &[&clicks, &letters, &cb, &similar, "6 mistakes, 0 warnings"]);
    says(&outcome, 2, &[&format!("redis {redis}: version "), "keeps its data by appendonly"]);

    for topic in ["all-clicks", "all-articles", "all-letters"] {
        let create = format!("topics create {topic} --partitions 4 --bootstrap-server {kafka}");
        place.run(&create).done();
    }
    place.run("tables create --config job.toml").done();
    let outcome = place.run("check --config job.toml");
    let well = format!("kafka {kafka}: topic all-clicks has 4 partitions");
    says(&outcome, 0, &[&well, "table all_his is as it should be", "0 mistakes, 0 warnings"]);
    let json = place.run("check --config job.toml --json").done().json();
    let found = json["servers"].as_array().unwrap();
    assert_eq!(found.len(), 7, "{json}");
    assert!(found.iter().all(|found| found["weight"] == "well"), "{json}");

    // Nothing is asked where something is wrong already, or nobody wants it.
    says(&place.run("check --config job.toml --offline"), 0, &["the servers were not asked"]);
    let wrong = place.run("check --config job.toml --set epoch.records=0");
    says(&wrong, 2, &["the servers were not asked"]);
}

#[test]
fn a_redis_that_would_throw_the_ledger_away_is_a_mistake_and_one_that_may_go_back_a_warning() {
    let place = Place::empty();
    let server = Server::start("redis", &[]);
    let client = redis::Client::open(format!("redis://{}/", server.address())).unwrap();
    let mut connection = client.get_connection().unwrap();
    for (name, value) in [("maxmemory-policy", "allkeys-lru"), ("appendonly", "no")] {
        let set = redis::cmd("CONFIG").arg(&["SET", name, value]).exec(&mut connection);
        set.unwrap();
    }
    write(&place, "evicts", &servers::kafka().address(), "127.0.0.1:1", &server.address());
    let outcome = place.run("check --config job.toml --set dataflows=hot");
    let mistake = "maxmemory-policy allkeys-lru throws scores and the ledger away; CONFIG SET \
                   maxmemory-policy noeviction";
    says(&outcome, 2, &[mistake, "warning: ", "CONFIG SET appendonly yes"]);
}

#[test]
fn servers_that_do_not_answer_are_each_named() {
    let place = Place::empty();
    // Nobody listens where somebody has just ceased to.
    let [kafka, hbase, redis] = [(); 3].map(|()| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    });
    write(&place, "away", &kafka, &hbase, &redis);
    let outcome = place.run("check --config job.toml");
    let [kafka, hbase, redis] =
        [("kafka", kafka), ("hbase", hbase), ("redis", redis)].map(|(what, at)| {
            if what == "redis" {
                format!("mistake: redis redis://{at}/10: ")
            } else {
                format!("mistake: {what} {at}: ")
            }
        });
    says(&outcome, 2, &[&kafka, &hbase, &redis, "3 mistakes"]);
}
