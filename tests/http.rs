//! What operators ask over HTTP, asked through sockets as they do; and what a run of the job leaves in the
//! numbers, against what it says itself.
//!
//! The numbers are the whole process's: each is looked at by one test here.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use clap::Parser;
use online_recall::cli::Cli;
use online_recall::command;
use online_recall::config::{Address, Config, Need};
use online_recall::health::Health;
use online_recall::http::{Error, Server, Serving};
use online_recall::{http, metrics};
use serde_json::Value;
use testing::folder;
use testing::kafka::wait_for;

fn serve(health: &Health) -> Server {
    let config =
        Config::load(None, &["http.listen=127.0.0.1:1".to_owned()], Need::Nothing).unwrap();
    let address = Address { port: 0, ..config.listen };
    Server::start(&address, "http.listen", http::of_job(health.clone())).unwrap()
}

/// The status, the head and the body of an answer.
fn ask(server: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn a_job_is_ready_when_it_has_what_it_needs_and_well_until_it_fails() {
    let health = Health::default();
    let server = serve(&health);
    let ask = |path| {
        let (status, _, body) = ask(server.address(), path);
        (status, body)
    };
    assert_eq!(ask("/health"), (200, "ok\n".into()));
    assert_eq!(ask("/ready"), (503, "waiting for the ledger\n".into()));
    health.ledger_taken();
    assert_eq!(ask("/ready"), (503, "waiting for the table of similar articles\n".into()));
    health.table_read();
    assert_eq!(ask("/ready"), (200, "ready\n".into()));
    health.failed("cannot make epoch 7 durable".into());
    assert_eq!(ask("/health"), (503, "cannot make epoch 7 durable\n".into()));
    assert_eq!(ask("/ready"), (503, "failed: cannot make epoch 7 durable\n".into()));
    assert_eq!(ask("/elsewhere").0, 404);
}

#[test]
fn numbers_are_served_as_open_metrics_until_the_server_is_dropped() {
    let server = serve(&Health::default());
    let (status, head, body) = ask(server.address(), "/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.starts_with("# HELP online_recall_") && body.ends_with("# EOF\n"), "{body}");
    // As another process asks.
    let there = server.address();
    let there = Address { host: there.ip().to_string(), port: there.port() };
    let text = http::ask(&there, "/metrics").unwrap();
    let numbers: Vec<_> = metrics::parse(&text).collect();
    assert!(numbers.iter().any(|(name, _)| *name == "epoch_mark"), "{numbers:?}");
    assert!(numbers.iter().any(|(name, _)| *name == "epoch_seconds_count{stage=\"mark\"}"));
    assert!(http::ask(&there, "/ready").unwrap_err().to_string().contains("503"));
    // One that asks nothing, and stays, keeps nobody from ending.
    let idle = TcpStream::connect(server.address()).unwrap();
    let address = server.address();
    drop(server);
    assert!(TcpStream::connect(address).is_err());
    assert!(http::ask(&there, "/metrics").is_err());
    drop(idle);
}

#[test]
fn where_another_process_listens_it_is_answered_when_that_has_ended() {
    let first = serve(&Health::default());
    let address = first.address();
    let there = Address { host: address.ip().to_string(), port: address.port() };
    let health = Health::default();
    health.failed("the second one".into());
    let second = Serving::start(&there, &health).unwrap();
    assert!(matches!(second, Serving::Later(_)));
    assert_eq!(ask(address, "/health").0, 200, "the first one answers");
    drop(first);
    wait_for("the second one", || {
        let refused = http::ask(&there, "/health").unwrap_err().to_string();
        refused.contains("503").then_some(())
    });
    drop(second);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_taken_address_is_named() {
    let server = serve(&Health::default());
    let taken = server.address();
    let set = format!("http.listen={taken}");
    let config = Config::load(None, &[set], Need::Nothing).unwrap();
    let error =
        Server::start(&config.listen, "http.listen", http::of_job(Health::default())).unwrap_err();
    assert!(matches!(error, Error::Listen { .. }));
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

#[test]
fn a_run_counts_what_it_says_it_has_done() {
    let place = folder();
    let small = testing::small();
    let path = |name: &str| small.join(name).to_str().unwrap().to_owned();
    let store = place.path().join("s").to_str().unwrap().to_owned();
    let args = [
        "online-recall".to_owned(),
        "replay".to_owned(),
        path("userClick.log"),
        format!("--articles={}", path("new-article.log")),
        format!("--similar={}", path("similar.tsv")),
        format!("--store={store}"),
        "--epoch-records=100".to_owned(),
        "-w2".to_owned(),
        "--json".to_owned(),
    ];
    let printed = command::run(&Cli::parse_from(args).command).unwrap();
    let summary: Value = serde_json::from_str(&printed).unwrap();

    let text = metrics::text();
    // All numbers of this name, or with these labels, together.
    let sum = |name: &str| -> f64 {
        let name = format!("online_recall_{name}");
        let lines = text.lines().filter(|line| line.starts_with(&name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let count = |name: &str| summary[name].as_f64().unwrap();
    let records = |labels: &str| sum(&format!("records_total{{{labels}}}"));
    assert_eq!(records(r#"topic="clicks",outcome="hit""#), count("hits"));
    assert_eq!(records(r#"topic="clicks",outcome="other""#), count("others"));
    assert_eq!(records(r#"topic="articles",outcome="new_article""#), count("new_articles"));
    let letters = summary["dead_letters"].as_object().unwrap();
    let bad_articles = letters["bad_new_article"].as_f64().unwrap();
    assert!(records(r#"topic="articles",outcome="dead_letter""#) >= bad_articles);
    assert_eq!(sum("records_total"), count("records"), "each record has one outcome");
    for (reason, count) in letters {
        let labelled = format!("dead_letters_total{{reason=\"{reason}\"}}");
        assert_eq!(sum(&labelled), count.as_f64().unwrap(), "{reason}");
    }
    let epochs = count("epochs");
    assert!(epochs > 2.0);
    assert_eq!([sum("epoch "), sum("epoch_mark "), sum("epoch_in_flight ")], [epochs, epochs, 0.0]);
    for stage in ["read", "bind", "compute", "recalls", "scores", "mark"] {
        assert_eq!(sum(&format!("epoch_seconds_count{{stage=\"{stage}\"}}")), epochs, "{stage}");
    }
    assert!(sum("cache_entries") > 0.0 && sum("cache_entries") <= sum("cache_misses_total"));
    assert!(sum("cache_hits_total") > 0.0);
    assert!(sum("cache_hits_total") + sum("cache_misses_total") <= count("hits"));
    assert!(sum("similar_articles") > 0.0 && sum("similar_age_seconds") >= 0.0);
}
