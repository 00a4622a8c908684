//! Both ends of the wire are ours, and networks do what they do.
//!
//! Catches events that are lost, or that are doubled though no answer was. What Flume makes of it:
//! `flume.rs`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use collector::avro::client::Peer;
use collector::avro::lines::{self, Lines};
use collector::channel::Channel;
use collector::counters::Sink as Count;
use collector::event::{Event, Headers};
use collector::properties::{Properties, Variables};
use collector::running::Running;
use collector::stop::Stop;
use testing::proxy::{Fault, Proxy};
use testing::servers::free_ports;

const PATIENCE: Duration = Duration::from_secs(60);

fn agent(text: &str) -> Running {
    let properties = Properties::parse(text.as_bytes(), &Variables::default()).unwrap();
    let (agent, findings) = collector::agent::read(&properties, "a1");
    assert!(!agent.sources.is_empty(), "{findings:#?}");
    Running::start(agent, &[]).unwrap()
}

/// An agent that listens, with a channel of this capacity that nobody takes from.
fn listening(port: u16, capacity: usize) -> Running {
    agent(&format!(
        "a1.sources = r1\na1.channels = c1\na1.sources.r1.type = avro\na1.sources.r1.channels = c1\n\
         a1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\na1.channels.c1.type = memory\n\
         a1.channels.c1.capacity = {capacity}\na1.channels.c1.transactionCapacity = 100\n\
         a1.channels.c1.keep-alive = 0\n"
    ))
}

fn channel(running: &Running) -> Arc<dyn Channel> {
    Arc::clone(&running.parts().channels[0].0.channel)
}

/// What is in a channel, which forgets it.
fn taken(channel: &Arc<dyn Channel>) -> Vec<Event> {
    let mut all = Vec::new();
    loop {
        let taken = Arc::clone(channel).take(100, Duration::ZERO).unwrap();
        if taken.events().is_empty() {
            return all;
        }
        all.extend_from_slice(taken.events());
        taken.commit().unwrap();
    }
}

fn body(event: &Event) -> String {
    String::from_utf8(event.body.to_vec()).unwrap()
}

fn peer(port: u16) -> Peer {
    let host = "127.0.0.1".to_owned();
    Peer { host, port, connect: PATIENCE, request: PATIENCE, level: None, tls: None }
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// Lines to a peer, as soon as it listens.
fn lines_to<'a>(peer: &'a Peer, batch: usize, headers: &Headers) -> Lines<'a> {
    let begun = Instant::now();
    loop {
        match Lines::to(peer, batch, headers.clone()) {
            Ok(lines) => return lines,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    }
}

#[test]
fn nothing_is_lost_when_connections_are_cut_and_what_is_doubled_had_no_answer() {
    const MANY: usize = 20_000;
    const BATCH: usize = 25;
    let port = free_ports();
    let last = listening(port, 1_000_000);
    let proxy = Proxy::before(&format!("127.0.0.1:{port}"), 7);
    let sender = agent(&format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = seq\n\
         a1.sources.r1.totalEvents = {MANY}\na1.sources.r1.batchSize = 100\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\na1.channels.c1.capacity = 1000\na1.sinks.k1.type = avro\n\
         a1.sinks.k1.channel = c1\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {}\n\
         a1.sinks.k1.batch-size = {BATCH}\n",
        proxy.port()
    ));
    let received = channel(&last);
    let mut lost = 0;
    for cut in 1..=4 {
        let before = received.len();
        await_that("more comes", || received.len() >= before + 500);
        if cut % 2 == 0 {
            proxy.cut();
        } else {
            proxy.fault(Fault::lose_replies());
            await_that("a reply is lost", || proxy.counts().lost > lost);
            lost = proxy.counts().lost;
            proxy.pass();
        }
    }
    let tap = Arc::clone(&sender.parts().taps[0]);
    await_that("all is delivered", || {
        tap.counters().get(Count::EventDrainSuccessCount) == MANY as u64
    });
    let broken = tap.counters().get(Count::ConnectionClosedCount) as usize;
    assert!(broken >= 4, "{broken}");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let all = taken(&received);
    let doubled = all.len() - MANY;
    for event in &all {
        *seen.entry(body(event)).or_default() += 1;
    }
    assert_eq!(seen.len(), MANY);
    assert!(doubled <= broken * 4 * BATCH, "{doubled} in {broken}");
    // In order, but for what came again.
    let mut highest = None;
    for number in all.iter().map(|event| body(event).parse::<usize>().unwrap()) {
        if highest.is_none_or(|highest| number > highest) {
            assert_eq!(number, highest.map_or(0, |highest| highest + 1));
            highest = Some(number);
        }
    }
    sender.end(PATIENCE, &Stop::default(), &[]);
    last.end(Duration::ZERO, &Stop::default(), &[]);
}

#[test]
fn a_receiver_that_is_stopped_and_started_again_doubles_nothing() {
    const MANY: usize = 20_000;
    let port = free_ports();
    let mut last = listening(port, 1_000_000);
    let sender = agent(&format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = seq\n\
         a1.sources.r1.totalEvents = {MANY}\na1.sources.r1.batchSize = 100\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = memory\na1.channels.c1.capacity = 1000\na1.sinks.k1.type = avro\n\
         a1.sinks.k1.channel = c1\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n\
         a1.sinks.k1.batch-size = 25\n"
    ));
    let mut all = Vec::new();
    for _ in 0..3 {
        let received = channel(&last);
        await_that("more comes", || received.len() >= 1000);
        last.end(Duration::ZERO, &Stop::default(), &[]);
        all.extend(taken(&received));
        last = listening(port, 1_000_000);
    }
    let tap = Arc::clone(&sender.parts().taps[0]);
    await_that("all is delivered", || {
        tap.counters().get(Count::EventDrainSuccessCount) == MANY as u64
    });
    all.extend(taken(&channel(&last)));
    let expected: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
    let all: Vec<_> = all.iter().map(body).collect();
    assert_eq!(all.len(), MANY);
    assert_eq!(all, expected);
    sender.end(PATIENCE, &Stop::default(), &[]);
    last.end(Duration::ZERO, &Stop::default(), &[]);
}

#[test]
fn lines_are_sent_with_their_headers_and_wait_for_room() {
    let folder = testing::folder();
    let about = folder.path().join("headers");
    std::fs::write(&about, "host = a\n\nkind=b=c\n").unwrap();
    let headers = lines::headers(&about).unwrap();
    let port = free_ports();
    let last = listening(port, 200);
    let peer = peer(port);
    let mut lines = lines_to(&peer, 60, &headers);
    let text: String =
        (0..1000).map(|number| format!("{number}\r\n")).collect::<String>() + "\nend";
    let received = channel(&last);
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let (lines, text) = (&mut lines, &text);
        let sending = scope.spawn(move || {
            let mut seen = (0, 0);
            lines
                .send(text.as_bytes(), Path::new("x"), &mut |bytes, lines| seen = (bytes, lines))
                .unwrap();
            seen
        });
        await_that("all comes", || {
            all.extend(taken(&received));
            all.len() == 1002
        });
        // The end of the last line is thought of.
        assert_eq!(sending.join().unwrap(), (text.len() as u64 + 1, 1002));
    });
    assert_eq!(lines.sent(), 1002);
    let mut bodies: Vec<_> = all.iter().map(body).collect();
    let mut expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    expected.extend([String::new(), "end".to_owned()]);
    // What was refused for a while comes behind what was not.
    bodies.sort();
    expected.sort();
    assert_eq!(bodies, expected);
    assert!(all.iter().all(|event| event.headers == headers && headers.len() == 2));
    std::fs::write(&about, "host=a\nnothing\n").unwrap();
    let error = lines::headers(&about).unwrap_err().to_string();
    assert_eq!(error, format!("line 2 of {} is no header: NAME=VALUE", about.display()));
    last.end(Duration::ZERO, &Stop::default(), &[]);
}

#[test]
fn files_of_a_folder_are_sent_once_the_oldest_first() {
    let folder = testing::folder();
    let port = free_ports();
    let last = listening(port, 1000);
    let peer = peer(port);
    let mut lines = lines_to(&peer, 100, &Headers::default());
    for (name, age) in [("b", 2), ("a", 1), (".hidden", 3), ("c.COMPLETED", 3)] {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("of {name}\n")).unwrap();
        let time = std::time::SystemTime::now() - Duration::from_secs(age);
        std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
    }
    for sent in [&["of b", "of a"][..], &[]] {
        lines.send_folder(folder.path(), &mut |_, _| {}).unwrap();
        let bodies: Vec<_> = taken(&channel(&last)).iter().map(body).collect();
        assert_eq!(bodies, sent);
    }
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [".hidden", "a.COMPLETED", "b.COMPLETED", "c.COMPLETED"]);
    last.end(Duration::ZERO, &Stop::default(), &[]);
}
