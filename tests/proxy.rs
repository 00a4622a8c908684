//! The proxy that tests of faults stand on: each fault, seen from both sides of real sockets, and
//! counted. The server here answers each line by the same line.
//!
//! What is not seen here: what a client of Kafka, HBase or Redis makes of it.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use testing::proxy::{Fault, Proxy};

/// Answers each line by the same line, for ever; tells of each that it took, and of each end.
fn echo() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (took, taken) = mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, took) = (client.unwrap(), took.clone());
            std::thread::spawn(move || {
                let lines = BufReader::new(client.try_clone().unwrap()).lines();
                for line in lines.map_while(Result::ok) {
                    // Who asked may have been cut off, and the test be over.
                    let reply = format!("{line}\n");
                    if took.send(line).is_err() || client.write_all(reply.as_bytes()).is_err() {
                        break;
                    }
                }
                drop(took.send("end".to_owned()));
            });
        }
    });
    (address, taken)
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn of(proxy: &Proxy) -> Client {
        Client(BufReader::new(TcpStream::connect(proxy.address()).unwrap()))
    }

    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> Result<String, ErrorKind> {
        let mut line = String::new();
        self.0.read_line(&mut line).map_err(|error| error.kind())?;
        Ok(line.trim_end().to_owned())
    }
}

#[test]
fn bytes_pass_both_ways_and_so_does_an_end() {
    let (server, taken) = echo();
    let proxy = Proxy::before(&server, 0);
    let mut client = Client::of(&proxy);
    let long = "x".repeat(1 << 20);
    client.say(&long);
    assert_eq!(client.hear().unwrap(), long);
    client.0.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.hear().unwrap(), "", "the server has closed as well");
    assert_eq!([taken.recv().unwrap(), taken.recv().unwrap()], [long, "end".to_owned()]);
    let counts = proxy.until(|counts| counts.open == 0);
    assert_eq!(
        (counts.accepted, counts.requested, counts.replied),
        (1, 1 + (1 << 20), 1 + (1 << 20))
    );
    assert_eq!(counts.cut + counts.lost + counts.held + counts.refused + counts.unanswered, 0);
}

#[test]
fn a_cut_resets_what_stands_on_both_sides_and_lets_new_ones_pass() {
    let (server, taken) = echo();
    let proxy = Proxy::before(&server, 0);
    let mut clients = [(); 2].map(|()| Client::of(&proxy));
    for client in &mut clients {
        client.say("a");
        assert_eq!(client.hear().unwrap(), "a");
    }
    proxy.cut();
    for mut client in clients {
        assert_eq!(client.hear(), Err(ErrorKind::ConnectionReset));
    }
    assert_eq!(taken.iter().filter(|line| line == "end").take(2).count(), 2);
    let mut new = Client::of(&proxy);
    new.say("b");
    assert_eq!(new.hear().unwrap(), "b");
    let counts = proxy.until(|counts| counts.open == 1);
    assert_eq!((counts.accepted, counts.cut), (3, 2));
}

#[test]
fn who_is_refused_is_reset_and_who_stands_goes_on() {
    let (server, _taken) = echo();
    let proxy = Proxy::before(&server, 0);
    let mut stands = Client::of(&proxy);
    stands.say("a");
    assert_eq!(stands.hear().unwrap(), "a");
    proxy.fault(Fault::Refuse);
    // Reset while it connects, or just after.
    if let Ok(mut refused) = TcpStream::connect(proxy.address()) {
        assert_eq!(refused.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    stands.say("b");
    assert_eq!(stands.hear().unwrap(), "b");
    assert_eq!(proxy.until(|counts| counts.refused == 1).open, 1);
}

#[test]
fn what_is_held_passes_late_unless_it_is_cut() {
    let (server, taken) = echo();
    let proxy = Proxy::before(&server, 0);
    let mut before = Client::of(&proxy);
    before.say("a");
    assert_eq!(before.hear().unwrap(), "a");
    proxy.fault(Fault::Hold);
    before.say("b");
    let mut after = Client::of(&proxy);
    after.say("c");
    proxy.until(|counts| counts.held == 2);
    assert_eq!(taken.try_iter().collect::<Vec<_>>(), ["a"]);
    proxy.pass();
    assert_eq!((before.hear().unwrap(), after.hear().unwrap()), ("b".into(), "c".into()));

    proxy.fault(Fault::Hold);
    before.say("never");
    proxy.until(|counts| counts.held == 3);
    proxy.cut();
    assert_eq!(before.hear(), Err(ErrorKind::ConnectionReset));
    proxy.pass();
    let all: Vec<_> = taken.iter().filter(|line| line != "end").take(2).collect();
    assert!(all.contains(&"b".to_owned()) && all.contains(&"c".to_owned()), "{all:?}");
    let mut last = Client::of(&proxy);
    last.say("last");
    assert_eq!(taken.iter().find(|line| line != "end").unwrap(), "last");
}

#[test]
fn a_lost_reply_means_that_the_server_was_asked_and_the_connection_reset() {
    let (server, taken) = echo();
    let proxy = Proxy::before(&server, 0);
    proxy.fault(Fault::lose_replies());
    let mut client = Client::of(&proxy);
    client.say("a");
    assert_eq!(client.hear(), Err(ErrorKind::ConnectionReset));
    assert_eq!(taken.recv().unwrap(), "a");
    let counts = proxy.until(|counts| counts.open == 0);
    assert_eq!((counts.lost, counts.replied, counts.cut), (1, 0, 0));
}

#[test]
fn only_the_reply_to_what_was_named_is_lost() {
    let (server, _taken) = echo();
    let proxy = Proxy::before(&server, 0);
    proxy.fault(Fault::lose_replies_to(b"put"));
    let mut client = Client::of(&proxy);
    for line in ["get", "p", "ut", "pu t"] {
        client.say(line);
        assert_eq!(client.hear().unwrap(), line);
    }
    client.say("a put it is");
    assert_eq!(client.hear(), Err(ErrorKind::ConnectionReset));
    assert_eq!(proxy.until(|counts| counts.open == 0).lost, 1);
}

#[test]
fn the_same_seed_loses_the_same_replies() {
    let lost = |seed| {
        let (server, _taken) = echo();
        let proxy = Proxy::before(&server, seed);
        proxy.fault(Fault::LoseReplies { percent: 50, to: None });
        let ask = |_| {
            let mut client = Client::of(&proxy);
            client.say("a");
            client.hear().is_err()
        };
        (0..32).map(ask).collect::<Vec<_>>()
    };
    let first = lost(7);
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
    assert_eq!(lost(7), first);
}

#[test]
fn held_replies_pass_late_though_the_server_was_asked_at_once() {
    let (server, taken) = echo();
    let proxy = Proxy::before(&server, 0);
    proxy.fault(Fault::HoldReplies);
    let mut client = Client::of(&proxy);
    client.say("a");
    assert_eq!(taken.recv().unwrap(), "a");
    assert_eq!(proxy.until(|counts| counts.held == 1).replied, 0);
    proxy.pass();
    assert_eq!(client.hear().unwrap(), "a");
}

#[test]
fn what_is_delayed_comes_so_much_later() {
    let (server, _taken) = echo();
    let proxy = Proxy::before(&server, 0);
    let delay = Duration::from_millis(100);
    proxy.fault(Fault::Delay(delay));
    let mut client = Client::of(&proxy);
    let begun = Instant::now();
    client.say("a");
    assert_eq!(client.hear().unwrap(), "a");
    assert!(begun.elapsed() >= 2 * delay, "{:?}", begun.elapsed());
    assert_eq!(proxy.counts().delayed, 2);
}

#[test]
fn a_server_that_is_not_there_resets_and_may_come_later() {
    let proxy = Proxy::start(0);
    if let Ok(mut client) = TcpStream::connect(proxy.address()) {
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    proxy.until(|counts| counts.unanswered == 1);
    let (server, _taken) = echo();
    proxy.lead_to(&server);
    let mut client = Client::of(&proxy);
    client.say("a");
    assert_eq!(client.hear().unwrap(), "a");
}
