use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Avro;
use crate::avro::call::{Answer, Call, Status};
use crate::avro::client::{Client, Peer};
use crate::avro::datum::Datum;
use crate::avro::frame::{self, Allowance, Frame, Next};
use crate::avro::handshake::{Match, Request, Response};
use crate::avro::stream::Outside;
use crate::channel::{Channel, memory};
use crate::counters::Source as Count;
use crate::event::Event;
use crate::findings::Findings;
use crate::keys::Keys;
use crate::properties::{Properties, Property, Variables};
use crate::running::Running;
use crate::selector::{Channels, Selector};
use crate::source::trial::Ends;
use crate::source::{Inlet, Source};
use crate::stop::Stop;
use crate::tls::Trusted;

const PATIENCE: Duration = Duration::from_secs(20);

/// An agent that listens, and that nobody takes from.
struct Listening {
    running: Running,
    port: u16,
}

impl Listening {
    fn start(keys: &str) -> Listening {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = avro\n\
             a1.sources.r1.channels = c1\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\n\
             a1.channels.c1.type = memory\na1.channels.c1.capacity = 1000\n\
             a1.channels.c1.transactionCapacity = 1000\na1.channels.c1.keep-alive = 0\n{keys}"
        );
        let properties = Properties::parse(text.as_bytes(), &Variables::default()).unwrap();
        let (agent, findings) = crate::agent::read(&properties, "a1");
        assert_eq!(agent.sources.len(), 1, "{findings:?}");
        let listening = Listening { running: Running::start(agent, &[]).unwrap(), port };
        listening.connect();
        listening
    }

    fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    fn peer(&self) -> Peer {
        let host = "127.0.0.1".to_owned();
        let port = self.port;
        Peer { host, port, connect: PATIENCE, request: PATIENCE, level: None, tls: None }
    }

    fn client(&self) -> Client {
        self.peer().connect(&mut Outside::default()).unwrap()
    }

    fn count(&self, count: Count) -> u64 {
        self.running.parts().inlets[0].counters().get(count)
    }

    fn await_count(&self, count: Count, many: u64) {
        await_count(&self.running.parts().inlets[0], count, many);
    }

    fn channel(&self) -> Arc<dyn Channel> {
        Arc::clone(&self.running.parts().channels[0].0.channel)
    }

    /// What is in the channel, which forgets it.
    fn bodies(&self) -> Vec<String> {
        let taken = self.channel().take(1000, Duration::ZERO).unwrap();
        let body = |event: &Event| String::from_utf8(event.body.to_vec()).unwrap();
        let bodies = taken.events().iter().map(body).collect();
        taken.commit().unwrap();
        bodies
    }

    fn is_well(&self) {
        let mut client = self.client();
        let sent = client.send(&events(&["well"])).unwrap();
        assert_eq!(client.receive(sent).unwrap(), Answer::Status(Status::Ok));
        assert_eq!(self.bodies(), ["well"]);
    }

    fn end(self) -> Duration {
        let begun = Instant::now();
        self.running.end(Duration::ZERO, &Stop::default(), &[]);
        begun.elapsed()
    }
}

/// Waits until a source has counted so many.
fn await_count(inlet: &Inlet, count: Count, many: u64) {
    let begun = Instant::now();
    while inlet.counters().get(count) != many {
        assert!(begun.elapsed() < PATIENCE, "{count:?}: {}", inlet.counters().get(count));
        std::thread::yield_now();
    }
}

fn events(bodies: &[&str]) -> Vec<Event> {
    bodies.iter().map(|body| Event::new(Bytes::copy_from_slice(body.as_bytes()))).collect()
}

fn frame(serial: i32, parts: &[&[u8]]) -> Vec<u8> {
    let (mut frame, mut sent) = (Vec::new(), Vec::new());
    frame::begin(&mut frame);
    frame.extend_from_slice(&parts.concat());
    frame::send(&mut sent, &mut frame, serial).unwrap();
    sent
}

fn batch(bodies: &[&str]) -> Vec<u8> {
    let mut call = Vec::new();
    Call::put_append_batch(&mut call, &events(bodies));
    call
}

fn handshake(request: &Request) -> Vec<u8> {
    let mut written = Vec::new();
    request.put(&mut written);
    written
}

fn answer(socket: &mut TcpStream) -> Frame {
    match frame::read(socket, &mut Allowance::new(1 << 20).hold(), PATIENCE).unwrap() {
        Next::Frame(frame) => frame,
        next => panic!("{next:?}"),
    }
}

/// Whether the other side has closed the connection, or does.
fn is_closed(socket: &mut TcpStream) -> bool {
    !matches!(socket.read(&mut [0; 100]), Ok(1..))
}

#[test]
fn what_is_acknowledged_is_in_the_channel_and_serials_are_answered_in_order() {
    let listening = Listening::start("");
    let mut socket = listening.connect();
    let hello = handshake(&Request::of_ours());
    let mut sent = frame(7, &[&hello, &batch(&["a", "b"])]);
    sent.extend(frame(-3, &[&batch(&["c"])]));
    let mut one = Vec::new();
    Call::put_append(&mut one, &events(&["d"])[0]);
    sent.extend(frame(900, &[&one]));
    sent.extend(frame(8, &[b"\x00\x00"]));
    sent.extend(frame(9, &[b"\x00\x06nix"]));
    // However it is cut.
    for part in sent.chunks(11) {
        socket.write_all(part).unwrap();
    }
    let first = answer(&mut socket);
    let mut datum = Datum::new(first.payload);
    assert_eq!(Response::read(&mut datum).unwrap().matched, Match::Both);
    assert_eq!(Answer::read(&mut datum), Ok(Answer::Status(Status::Ok)));
    assert_eq!(first.serial, 7);
    let ok = Bytes::from_static(b"\x00\x00\x00");
    assert_eq!(answer(&mut socket), Frame { serial: -3, payload: ok.clone() });
    assert_eq!(answer(&mut socket), Frame { serial: 900, payload: ok });
    assert_eq!(answer(&mut socket), Frame { serial: 8, payload: Bytes::new() });
    let unknown = answer(&mut socket);
    let text = "there is no call nix: append and appendBatch are".to_owned();
    assert_eq!(Answer::read(&mut Datum::new(unknown.payload)), Ok(Answer::Error(text)));
    assert_eq!(listening.bodies(), ["a", "b", "c", "d"]);
    use Count::*;
    let counts = [
        (AppendReceivedCount, 1),
        (AppendAcceptedCount, 1),
        (AppendBatchReceivedCount, 2),
        (AppendBatchAcceptedCount, 2),
        (EventReceivedCount, 4),
        (EventAcceptedCount, 4),
    ];
    for (count, many) in counts {
        assert_eq!(listening.count(count), many, "{count:?}");
    }
    // That of the connection which found out that it listens is gone, or goes.
    listening.await_count(OpenConnectionCount, 1);
    drop(socket);
    listening.await_count(OpenConnectionCount, 0);
}

#[test]
fn a_client_that_is_not_known_comes_again_with_its_protocol() {
    let listening = Listening::start("");
    let mut socket = listening.connect();
    let first = Request { client: [5; 16], text: None, server: [5; 16], in_order: false };
    let answered = |socket: &mut TcpStream, request: &Request, serial| {
        let sent = frame(serial, &[&handshake(request), &batch(&["a"])]);
        socket.write_all(&sent).unwrap();
        let mut datum = Datum::new(answer(socket).payload);
        let response = Response::read(&mut datum).unwrap();
        let is_called = Answer::read(&mut datum) == Ok(Answer::Status(Status::Ok));
        (response, is_called)
    };
    let (none, is_called) = answered(&mut socket, &first, 1);
    assert_eq!((none.matched, is_called, listening.bodies().len()), (Match::None, false, 0));
    let again = Request { text: Request::of_ours().text, ..first.clone() };
    let (client, is_called) = answered(&mut socket, &again, 2);
    assert_eq!((client.matched, is_called), (Match::Client, true));
    // Another connection may go by the name.
    let mut other = listening.connect();
    let (both, is_called) =
        answered(&mut other, &Request { server: none.hash.unwrap(), ..first }, 3);
    assert_eq!((both.matched, is_called), (Match::Both, true));
    assert_eq!(listening.bodies(), ["a", "a"]);
}

#[test]
fn a_batch_for_which_there_is_no_room_is_refused_whole() {
    let listening = Listening::start("");
    let mut client = listening.client();
    let many: Vec<_> = (0..1001).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for (bodies, status) in [
        (&many[..], Status::Failed),
        (&many[..900], Status::Ok),
        (&many[..101], Status::Failed),
        (&many[900..1000], Status::Ok),
    ] {
        let sent = client.send(&events(bodies)).unwrap();
        assert_eq!(client.receive(sent).unwrap(), Answer::Status(status), "{}", bodies.len());
    }
    assert_eq!(listening.bodies(), many[..1000]);
    use Count::*;
    assert_eq!(
        (listening.count(AppendBatchReceivedCount), listening.count(ChannelWriteFail)),
        (4, 2)
    );
    assert_eq!(listening.count(AppendBatchAcceptedCount), 2);
}

#[test]
fn a_peer_that_is_none_loses_its_connection_and_nobody_else_does() {
    let listening = Listening::start("a1.sources.r1.maxFrameBytes = 65536\n");
    let mut good = listening.client();
    let hello = handshake(&Request::of_ours());
    let long = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &65_537u32.to_be_bytes()].concat();
    let bad: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &frame(1, &[b"\x00\x00"]),
        &frame(1, &[&hello[..40]]),
        &frame(1, &[&hello, b"\x00\x16appendBatch\x02\x7f"]),
        &long,
        &[0xff; 12],
    ];
    for (nth, bytes) in bad.iter().enumerate() {
        let mut socket = listening.connect();
        socket.write_all(bytes).unwrap();
        assert!(is_closed(&mut socket), "{nth}");
        listening.await_count(Count::GenericProcessingFail, nth as u64 + 1);
    }
    // One that goes away in a frame, and one that never says anything.
    let mut socket = listening.connect();
    socket.write_all(&frame(1, &[&hello, &batch(&["a"])])[..100]).unwrap();
    drop(socket);
    listening.await_count(Count::GenericProcessingFail, bad.len() as u64 + 1);
    let _silent = listening.connect();
    let sent = good.send(&events(&["good"])).unwrap();
    assert_eq!(good.receive(sent).unwrap(), Answer::Status(Status::Ok));
    assert_eq!(listening.bodies(), ["good"]);
}

#[test]
fn no_bytes_of_a_peer_end_a_source_or_stay_in_its_memory() {
    let listening = Listening::start("a1.sources.r1.maxFrameBytes = 65536\n");
    let hello = handshake(&Request::of_ours());
    let good = [frame(1, &[&hello, &batch(&["a", "b"])]), frame(2, &[&batch(&["c"])])].concat();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = move |below: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..=draw(4) {
            let at = draw(bytes.len());
            match draw(4) {
                0 => bytes[at] = draw(256) as u8,
                1 => bytes[at] ^= 1 << draw(8),
                2 => bytes.truncate(at + 1),
                _ => bytes.insert(at, draw(256) as u8),
            }
        }
        let mut socket = listening.connect();
        // It may be closed before all is written.
        if socket.write_all(&bytes).is_ok() && socket.shutdown(std::net::Shutdown::Write).is_ok() {
            while !is_closed(&mut socket) {}
        }
        listening.bodies();
    }
    listening.is_well();
}

#[test]
fn it_stops_within_a_moment_whoever_is_connected() {
    let listening = Listening::start("");
    let (mut silent, mut client, mut halfway) =
        (listening.connect(), listening.client(), listening.connect());
    halfway.write_all(&frame(1, &[&handshake(&Request::of_ours())])[..50]).unwrap();
    let sent = client.send(&events(&["a"])).unwrap();
    assert_eq!(client.receive(sent).unwrap(), Answer::Status(Status::Ok));
    assert_eq!(listening.channel().len(), 1);
    let took = listening.end();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(is_closed(&mut silent) && is_closed(&mut halfway));
    assert!(client.receive(sent).is_err());
}

#[test]
fn more_connections_than_are_allowed_are_closed_at_once() {
    let listening = Listening::start("a1.sources.r1.maxConnections = 2\n");
    listening.await_count(Count::OpenConnectionCount, 0);
    let (first, _second) = (listening.client(), listening.client());
    assert!(is_closed(&mut listening.connect()));
    drop(first);
    listening.await_count(Count::OpenConnectionCount, 1);
    listening.is_well();
}

#[test]
fn peers_that_rules_deny_are_closed_at_once() {
    let rules = "a1.sources.r1.ipFilter = true\na1.sources.r1.ipFilterRules = deny:ip:127.*\n";
    let listening = Listening::start(rules);
    assert!(is_closed(&mut listening.connect()));
}

#[test]
fn compressed_and_encrypted_peers_are_understood_in_either_order() {
    let folder = tempfile::tempdir().unwrap();
    let made = testing::tls::Certified::make(folder.path());
    let tls = format!(
        "a1.sources.r1.ssl = true\na1.sources.r1.keystore = {}\na1.sources.r1.keystore-key = {}\n",
        made.certificate.display(),
        made.key.display()
    );
    let deflate = "a1.sources.r1.compression-type = deflate\n";
    let connector = Trusted::of(Some(&made.certificate), "").connector().unwrap();
    for (keys, is_deflated, is_tls) in
        [(deflate.to_owned(), true, false), (tls.clone(), false, true), (tls + deflate, true, true)]
    {
        let listening = Listening::start(&keys);
        for order in [Outside::Tls, Outside::Zlib] {
            let mut peer = listening.peer();
            peer.level = is_deflated.then_some(6);
            peer.tls = is_tls.then(|| connector.clone());
            let mut outside = order;
            let mut client = peer.connect(&mut outside).unwrap();
            assert_eq!(outside, order);
            let body = "x".repeat(100_000);
            for _ in 0..2 {
                let sent = client.send(&events(&[&body, "a"])).unwrap();
                assert_eq!(client.receive(sent).unwrap(), Answer::Status(Status::Ok));
                assert_eq!(listening.bodies(), [&body, "a"]);
            }
        }
        // Who speaks plainly is not understood.
        let mut plain = listening.connect();
        plain.write_all(&frame(1, &[&handshake(&Request::of_ours())])).unwrap();
        assert!(is_closed(&mut plain));
    }
}

/// A source that waits for a moment only, while this is done with it.
fn impatient(more: &[(&str, String)], work: impl FnOnce(u16, &Inlet)) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut given = vec![("bind", "127.0.0.1".to_owned()), ("port", port.to_string())];
    given.extend(more.iter().cloned());
    let findings = Findings::default();
    let property = |(key, value): (&str, String)| Property { key: key.to_owned(), value, line: 1 };
    let properties: Vec<_> = given.into_iter().map(property).collect();
    let given = properties.iter().map(|property| (property.key.clone(), property));
    let mut source = Avro::read(&Keys::new("a1", "sources.r1", given, &findings));
    source.patience = Duration::from_millis(200);
    let settings = memory::Settings::read(&Keys::new("a1", "channels.c1", [], &findings));
    let to = Channels { required: vec![0], optional: Vec::new() };
    let channel = memory::Channel::new("c1", &settings);
    let inlet = Inlet::new("r1", Vec::new(), Selector::Replicating { to }, vec![channel]);
    let stop = Stop::default();
    std::thread::scope(|scope| {
        scope.spawn(|| source.run(&inlet, &stop).unwrap());
        let _ends = Ends(&stop);
        work(port, &inlet);
    });
    assert_eq!(inlet.counters().get(Count::OpenConnectionCount), 0);
}

fn connect(port: u16) -> TcpStream {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(socket) => {
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                return socket;
            }
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_peer_that_says_nothing_or_half_of_it_is_dropped_and_one_that_is_known_may_be_silent() {
    impatient(&[], |port, inlet| {
        let mut known = connect(port);
        known.write_all(&frame(1, &[&handshake(&Request::of_ours()), b"\x00\x00"])).unwrap();
        answer(&mut known);
        let begun = Instant::now();
        let mut silent = connect(port);
        let mut halfway = connect(port);
        halfway.write_all(&frame(1, &[&handshake(&Request::of_ours())])[..50]).unwrap();
        assert!(is_closed(&mut silent) && is_closed(&mut halfway));
        assert!(begun.elapsed() >= Duration::from_millis(200));
        await_count(inlet, Count::GenericProcessingFail, 2);
        // Three times as long as the others had.
        known.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
        let error = known.read(&mut [0; 1]).unwrap_err();
        assert!(frame::is_silence(&error), "{error}");
        known.write_all(&frame(2, &[&batch(&["a"])])).unwrap();
        known.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(answer(&mut known).payload, &b"\x00\x00\x00"[..]);
    });
}

#[test]
fn a_peer_that_does_not_begin_with_tls_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let made = testing::tls::Certified::make(folder.path());
    let path = |path: &std::path::Path| path.display().to_string();
    let keys = [
        ("ssl", "true".to_owned()),
        ("keystore", path(&made.certificate)),
        ("keystore-key", path(&made.key)),
        ("compression-type", "deflate".to_owned()),
    ];
    for many in [3, 4] {
        impatient(&keys[..many], |port, inlet| {
            assert!(is_closed(&mut connect(port)));
            let mut begun = connect(port);
            begun.write_all(&[0x16, 3, 1]).unwrap();
            assert!(is_closed(&mut begun));
            await_count(inlet, Count::GenericProcessingFail, 2);
        });
    }
}

#[test]
fn a_peer_that_takes_no_answers_is_dropped() {
    impatient(&[], |port, inlet| {
        let mut deaf = connect(port);
        deaf.write_all(&frame(1, &[&handshake(&Request::of_ours()), b"\x00\x00"])).unwrap();
        let asked = frame(2, &[b"\x00\x02x"]).repeat(1000);
        deaf.set_write_timeout(Some(PATIENCE)).unwrap();
        while deaf.write_all(&asked).is_ok() {}
        // It is counted with the calls that there are not.
        let calls = inlet.counters().get(Count::GenericProcessingFail);
        assert!(calls > 1000, "{calls}");
    });
}
