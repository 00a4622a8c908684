use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::avro::call::Call;
use crate::avro::frame::{self, Allowance, Next};
use crate::avro::handshake::Known;
use crate::avro::server::Session;
use crate::channel::{Channel, memory};
use crate::dead_letters::DeadLetters;
use crate::event::Event;
use crate::findings::Findings;
use crate::properties::Property;
use crate::sink::Sink;
use crate::stop::Stop;

const PATIENCE: Duration = Duration::from_secs(20);

fn keys(given: &[(&str, String)]) -> (Avro, Vec<String>) {
    let findings = Findings::default();
    let property = |(key, value): &(&str, String)| Property {
        key: (*key).to_owned(),
        value: value.clone(),
        line: 1,
    };
    let properties: Vec<_> = given.iter().map(property).collect();
    let given = properties.iter().map(|property| (property.key.clone(), property));
    let keys = Keys::new("a1", "sinks.k1", given, &findings);
    let sink = Avro::read(&keys);
    keys.finish();
    (sink, findings.into_sorted().iter().map(ToString::to_string).collect())
}

/// A peer that gives these answers to batches and then closes the connection; what it was asked, in words.
fn peer(answers: Vec<Answer>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut asked = Vec::new();
        let mut answers = answers.into_iter();
        let (known, allowance) = (Known::default(), Allowance::new(1 << 20));
        let mut session = Session::new(&known);
        while let Some(call) = next(&mut socket, &mut session, &allowance, &mut answers) {
            asked.push(call);
        }
        // What it has answered can be read, whatever comes meanwhile.
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        while matches!(std::io::Read::read(&mut socket, &mut [0; 100]), Ok(1..)) {}
        asked
    };
    (port, std::thread::spawn(serve))
}

fn next(
    socket: &mut TcpStream,
    session: &mut Session<'_>,
    allowance: &Allowance,
    answers: &mut impl Iterator<Item = Answer>,
) -> Option<String> {
    let mut held = allowance.hold();
    let Ok(Next::Frame(frame)) = frame::read(socket, &mut held, PATIENCE) else { return None };
    let mut answer = Vec::new();
    frame::begin(&mut answer);
    let asked = match session.asked(frame.payload, &mut held, &mut answer).unwrap() {
        None => "ping".to_owned(),
        Some(Call::AppendBatch(events)) => {
            let body = |event: &Event| String::from_utf8(event.body.to_vec()).unwrap();
            let asked = events.iter().map(body).collect::<Vec<_>>().join(" ");
            let next = answers.next()?;
            next.put(&mut answer);
            asked
        }
        Some(other) => panic!("{other:?}"),
    };
    frame::send(socket, &mut answer, frame.serial).unwrap();
    Some(asked)
}

/// A channel with events 1, 2 …, and a tap of it.
fn tapped(many: usize) -> (Arc<memory::Channel>, Tap) {
    let findings = Findings::default();
    let keys = Keys::new("a1", "channels.c1", [], &findings);
    let channel = memory::Channel::new("c1", &memory::Settings::read(&keys));
    let mut events: Vec<_> = (1..=many).map(|number| Event::new(number.to_string())).collect();
    let room = Arc::clone(&channel).reserve(&events).ok().unwrap();
    room.commit(&mut events, None).unwrap();
    let tap = Tap::new("k1", channel.clone(), DeadLetters::new("none".as_ref()), Stop::default());
    (channel, tap)
}

fn left(channel: &Arc<memory::Channel>) -> Vec<String> {
    let taken = Arc::clone(channel).take(100, Duration::ZERO).unwrap();
    taken.events().iter().map(|event| String::from_utf8(event.body.to_vec()).unwrap()).collect()
}

fn sink(port: u16, more: &[(&str, &str)]) -> Avro {
    let mut given = vec![("hostname", "127.0.0.1".to_owned()), ("port", port.to_string())];
    given.push(("batch-size", "2".to_owned()));
    given.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    keys(&given).0
}

/// Turns until one fails, or there is nothing to do.
fn turn(sink: &mut Avro, tap: &Tap) -> Result<(), Failure> {
    sink.start(tap)?;
    while sink.turn(tap)? == Turn::Ready {}
    Ok(())
}

const OK: Answer = Answer::Status(Status::Ok);
const FAILED: Answer = Answer::Status(Status::Failed);

#[test]
fn what_is_answered_is_forgotten_and_what_is_not_goes_back_in_its_order() {
    let (port, peer) = peer(vec![OK, OK]);
    let (channel, tap) = tapped(9);
    let mut sink = sink(port, &[]);
    let error = turn(&mut sink, &tap).unwrap_err();
    assert!(error.is::<crate::avro::client::Error>(), "{error}");
    assert_eq!(left(&channel), ["5", "6", "7", "8", "9"]);
    assert_eq!(peer.join().unwrap(), ["ping", "1 2", "3 4"]);
    assert_eq!(tap.counters().get(Count::EventDrainSuccessCount), 4);
    assert_eq!(tap.counters().get(Count::ConnectionClosedCount), 1);
}

#[test]
fn what_is_refused_goes_back_and_what_was_taken_behind_it_does_not() {
    let (port, peer) = peer(vec![OK, FAILED, OK, FAILED, OK, OK]);
    let (channel, tap) = tapped(8);
    let mut sink = sink(port, &[]);
    turn(&mut sink, &tap).unwrap_err();
    assert_eq!(left(&channel), ["3", "4", "7", "8"]);
    // The connection is the same.
    turn(&mut sink, &tap).unwrap();
    sink.close(&tap).unwrap();
    assert_eq!(peer.join().unwrap(), ["ping", "1 2", "3 4", "5 6", "7 8", "3 4", "7 8"]);
    assert_eq!(channel.len(), 0);
    assert_eq!(tap.counters().get(Count::ConnectionCreatedCount), 1);
}

#[test]
fn so_many_batches_are_in_flight_at_most() {
    let (port, peer) = peer(vec![OK; 9]);
    let (channel, tap) = tapped(9);
    let mut sink = sink(port, &[("batchesInFlight", "3")]);
    sink.start(&tap).unwrap();
    for in_flight in [1, 2, 3, 2, 3] {
        sink.turn(&tap).unwrap();
        assert_eq!(sink.connection.as_ref().unwrap().in_flight.len(), in_flight);
    }
    assert_eq!(channel.len(), 7);
    while !sink.settle(&tap).unwrap() {}
    assert_eq!(channel.len(), 1);
    sink.close(&tap).unwrap();
    assert_eq!(peer.join().unwrap().len(), 5);
}

#[test]
fn an_error_of_the_peer_is_said_in_its_words() {
    let (port, _peer) = peer(vec![Answer::Error("no room".to_owned())]);
    let (channel, tap) = tapped(1);
    let error = turn(&mut sink(port, &[]), &tap).unwrap_err();
    assert!(error.to_string().ends_with("has refused a batch: no room"), "{error}");
    assert_eq!(left(&channel), ["1"]);
}

#[test]
fn a_peer_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_, tap) = tapped(1);
    let error = turn(&mut sink(port, &[("connect-timeout", "1000")]), &tap).unwrap_err();
    assert!(error.to_string().ends_with("has not answered in 1000 ms"), "{error}");
    assert_eq!(tap.counters().get(Count::ConnectionFailedCount), 1);
}

#[test]
fn its_keys_have_flumes_defaults_and_short_time_outs_do_not_count() {
    let given =
        [("hostname", "h"), ("port", "1"), ("request-timeout", "999"), ("maxIoWorkers", "4")];
    let given: Vec<_> = given.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    let (sink, found) = keys(&given);
    assert_eq!((sink.batch, sink.kept, sink.peer.level), (100, None, None));
    assert_eq!([sink.peer.connect, sink.peer.request], [Duration::from_secs(20); 2]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].contains("less than 1000 ms; 20000 counts"), "{found:?}");
}
