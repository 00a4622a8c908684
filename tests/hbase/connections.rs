//! Connections: time-outs, servers that are gone, replies that are none.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use online_recall::hbase::{Client, Error, Kind, Spot, Table, Version, patience};
use online_recall::retry::{Fault, Faulty, Stop};
use testing::proxy::{self, Proxy};

use super::site::{Site, cell, client};

fn read(client: &Client, patience: Duration) -> Result<Vec<Version>, Error> {
    let table = Table::new(Kind::HistoryRecall, "any");
    client.versions(&table, &Spot { row: b"1".into(), qualifier: b"1".into() }, patience)
}

/// A server that answers every connection with these bytes.
fn answering(reply: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            assert!(connection.read(&mut [0; 1024]).unwrap() > 0);
            connection.write_all(&reply).unwrap();
        }
    });
    address
}

#[test]
fn a_reply_that_cannot_be_is_an_error_and_takes_no_room() {
    const CALL: &[u8] = b"\x80\x01\x00\x02\x00\x00\x00\x06getVer\x00\x00\x00\x01";
    let list = |rest: &[u8]| [CALL, b"\x0f\x00\x00\x0c", rest].concat();
    let replies = [
        // Lengths of two gigabytes and of less than nothing: of a name, a list, a value.
        b"\x80\x01\x00\x02\x7f\xff\xff\xff".to_vec(),
        b"\x80\x01\x00\x02\xff\xff\xff\xff".to_vec(),
        list(b"\x7f\xff\xff\xff"),
        list(b"\xff\xff\xff\xff"),
        list(b"\x00\x00\x00\x01\x0b\x00\x01\x7f\xff\xff\xff"),
        // The transport of a server that is set otherwise, and one that speaks something else.
        b"\x00\x00\x00\x20\x80\x01\x00\x02".to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ];
    for reply in replies {
        let error = read(&client(&[&answering(reply)]), patience(0)).unwrap_err();
        assert!(matches!(error, Error::Broken { sent: true, .. }), "{error}");
        assert_eq!(error.fault(), Fault::Unknown);
    }
}

#[test]
fn a_call_that_is_not_answered_is_broken_off_when_the_job_ends() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&[&silent.local_addr().unwrap().to_string()]);
    let stop = Stop::default();
    client.attend(&stop);
    std::thread::scope(|threads| {
        // Whoever waits that long waits for ever.
        let call = threads.spawn(|| read(&client, Duration::from_secs(1_000_000)));
        let (mut connection, _) = silent.accept().unwrap();
        assert!(connection.read(&mut [0; 1024]).unwrap() > 0, "it was asked");
        stop.stop();
        let error = call.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Broken { sent: true, .. }), "{error}");
    });
}

#[test]
fn a_server_that_does_not_answer_is_left_in_time_and_the_next_one_asked() {
    let site = Site::new("silent");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = silent.local_addr().unwrap().to_string();
    let spot = site.history.spot(&cell("2", 18));
    let client = client(&[&silent_at, &site.server]);
    let short = Duration::from_millis(300);
    let first = client.versions(&site.history, &spot, short).unwrap_err();
    assert!(matches!(first, Error::Broken { sent: true, .. }), "{first}");
    assert!(first.to_string().contains(&silent_at), "{first}");
    // Left alone for a while, though its turn would come.
    for _ in 0..5 {
        assert_eq!(client.versions(&site.history, &spot, patience(0)).unwrap(), []);
    }
}

#[test]
fn a_server_that_is_gone_is_passed_over() {
    let site = Site::new("gone");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let spot = site.history.spot(&cell("2", 18));
    let both = client(&[&gone, &site.server]);
    for _ in 0..4 {
        assert_eq!(both.versions(&site.history, &spot, patience(0)).unwrap(), []);
    }
    let error = read(&client(&[&gone]), patience(0)).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Retry);
    assert!(error.to_string().contains(&gone), "{error}");
}

#[test]
fn a_connection_that_was_cut_while_idle_is_not_used_again() {
    let site = Site::new("idle");
    let proxy = Proxy::before(&site.server, 1);
    let client = client(&[&proxy.address()]);
    let spot = site.history.spot(&cell("2", 18));
    for nth in 1..=3 {
        // One attempt: a connection that is no more would fail it.
        assert_eq!(client.versions(&site.history, &spot, patience(0)).unwrap(), []);
        assert_eq!(client.versions(&site.history, &spot, patience(0)).unwrap(), []);
        assert_eq!(proxy.counts().accepted, nth, "a connection is used again");
        proxy.cut();
        proxy.until(|counts| counts.open == 0);
    }
}

#[test]
fn an_error_of_the_server_leaves_the_connection_and_any_other_ends_it() {
    let site = Site::new("errors");
    let proxy = Proxy::before(&site.server, 1);
    let client = client(&[&proxy.address()]);
    let spot = site.history.spot(&cell("2", 18));
    let nothing = Table::new(Kind::HistoryRecall, "no_such_table");
    for _ in 0..3 {
        client.versions(&nothing, &spot, patience(0)).unwrap_err();
        client.versions(&site.history, &spot, patience(0)).unwrap();
    }
    assert_eq!(proxy.counts().accepted, 1);
    proxy.fault(proxy::Fault::HoldReplies);
    let late = client.versions(&site.history, &spot, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(late, Error::Broken { sent: true, .. }), "{late}");
    proxy.pass();
    // On the old connection the late reply would be taken for this one.
    assert_eq!(client.versions(&site.history, &spot, patience(0)).unwrap(), []);
    assert_eq!(proxy.counts().accepted, 2);
}
