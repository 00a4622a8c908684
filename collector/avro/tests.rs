use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::call::{Answer, Call, Status};
use super::datum::{Datum, Malformed, put_long};
use super::event::{put, read};
use super::frame::{self, Allowance, Error, Frame, Next, TooMuch};
use super::handshake::{Known, Match, Request, Response};
use super::server::Session;
use super::{HASH, PROTOCOL};
use crate::event::Event;

const PATIENCE: Duration = Duration::from_secs(5);

fn datum(bytes: &[u8]) -> Datum {
    Datum::new(Bytes::copy_from_slice(bytes))
}

fn event(headers: &[(&str, &str)], body: &[u8]) -> Event {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Event { headers: headers.collect(), body: Bytes::copy_from_slice(body) }
}

fn read_call(bytes: &[u8]) -> Result<Call, Malformed> {
    Call::read(&mut datum(bytes), &mut Allowance::new(1 << 20).hold())
}

fn read_frame(mut bytes: &[u8], most: usize) -> Result<Next, Error> {
    frame::read(&mut bytes, &mut Allowance::new(most).hold(), PATIENCE)
}

#[test]
fn the_protocol_is_the_one_whose_hash_java_makes() {
    let digest = openssl::hash::hash(openssl::hash::MessageDigest::md5(), PROTOCOL.as_bytes());
    assert_eq!((PROTOCOL.len(), &digest.unwrap()[..]), (509, &HASH[..]));
}

#[test]
fn numbers_are_zigzag_varints() {
    let all: [(i64, &[u8]); 7] = [
        (0, &[0]),
        (-1, &[1]),
        (1, &[2]),
        (-64, &[0x7f]),
        (64, &[0x80, 1]),
        (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
    ];
    for (number, bytes) in all {
        let mut written = Vec::new();
        put_long(&mut written, number);
        assert_eq!(written, bytes);
        assert_eq!(datum(bytes).long(), Ok(number));
        assert_eq!(datum(&bytes[1..]).long().is_ok(), bytes.len() > 1);
    }
    assert_eq!(datum(&[0x80; 4]).long(), Err(Malformed::Short));
    assert_eq!(datum(&[0xff; 10]).long(), Err(Malformed::Number));
    assert_eq!(datum(&[0x80; 11]).long(), Err(Malformed::Number));
}

/// As a Java client writes it: an empty map of meta, the name, an array of two in one block, each a map in
/// one block, and a body.
const BATCH: &[u8] = b"\x00\x16appendBatch\x04\x02\x08host\x02a\x00\x0ahello\x00\x00\x00";

#[test]
fn a_batch_is_written_and_read_as_java_does() {
    let events = vec![event(&[("host", "a")], b"hello"), event(&[], b"")];
    let mut written = Vec::new();
    Call::put_append_batch(&mut written, &events);
    assert_eq!(written, BATCH);
    assert_eq!(read_call(BATCH), Ok(Call::AppendBatch(events)));
    // Blocks may also say how long they are; and there may be several.
    let blocks = b"\x00\x16appendBatch\x01\x1e\x01\x0e\x08host\x02a\x00\x0ahello\x02\x00\x00\x00";
    assert_eq!(read_call(blocks), read_call(BATCH));
}

#[test]
fn headers_share_their_texts_with_the_event_before() {
    let all = [("host", "a"), ("time", "1")];
    let events =
        [event(&all, b"1"), event(&all, b"2"), event(&[("host", "a"), ("time", "2")], b"3")];
    let mut written = Vec::new();
    Call::put_append_batch(&mut written, &events);
    let Ok(Call::AppendBatch(read)) = read_call(&written) else { panic!() };
    assert_eq!(read, events);
    let place = |nth: usize, name| read[nth].headers.get(name).unwrap().as_ptr();
    assert_eq!((place(0, "host"), place(0, "time")), (place(1, "host"), place(1, "time")));
    assert_eq!(place(0, "host"), place(2, "host"));
}

#[test]
fn bodies_are_slices_of_the_frame() {
    let frame = Bytes::from_static(BATCH);
    let call = Call::read(&mut Datum::new(frame.clone()), &mut Allowance::new(1 << 20).hold());
    let Ok(Call::AppendBatch(events)) = call else { panic!() };
    assert!(frame.as_ptr_range().contains(&events[0].body.as_ptr()));
}

#[test]
fn what_can_not_be_is_refused_before_room_is_made_for_it() {
    let batch = |behind: &[u8]| read_call(&[&b"\x00\x16appendBatch"[..], behind].concat());
    let mut many = Vec::new();
    put_long(&mut many, i64::MAX);
    assert_eq!(batch(&many), Err(Malformed::Short));
    assert_eq!(batch(&[&b"\x02\x00"[..], &many].concat()), Err(Malformed::Short));
    assert_eq!(batch(b"\x02\x00\x01"), Err(Malformed::Length(-1)));
    let mut least = Vec::new();
    put_long(&mut least, i64::MIN);
    assert_eq!(batch(&[&least[..], b"\x02"].concat()), Err(Malformed::Length(i64::MIN)));
    assert_eq!(batch(b"\x00\x00"), Err(Malformed::Rest(1)));
    // Two bytes an event, and thirty times that in memory.
    let mut empty = b"\x00\x16appendBatch".to_vec();
    put_long(&mut empty, 200_000);
    empty.resize(empty.len() + 400_001, 0);
    assert!(matches!(read_call(&empty), Err(Malformed::TooMuch(TooMuch::All { .. }))));
    let mut headers = b"\x00\x16appendBatch\x02".to_vec();
    put_long(&mut headers, 1001);
    headers.resize(headers.len() + 2100, 0);
    assert_eq!(read_call(&headers), Err(Malformed::Headers(1001)));
}

#[test]
fn a_text_that_is_no_utf_8_is_replaced() {
    let read = read_call(b"\x00\x0cappend\x02\x02h\x04\xff\x61\x00\x02b");
    assert_eq!(read, Ok(Call::Append(event(&[("h", "\u{fffd}a")], b"b"))));
}

#[test]
fn an_answer_is_a_status_or_an_error() {
    for (answer, bytes) in [
        (Answer::Status(Status::Ok), &b"\x00\x00\x00"[..]),
        (Answer::Status(Status::Failed), b"\x00\x00\x02"),
        (Answer::Error("no".to_owned()), b"\x00\x01\x00\x04no"),
    ] {
        let mut written = Vec::new();
        answer.put(&mut written);
        assert_eq!(written, bytes);
        assert_eq!(Answer::read(&mut datum(bytes)), Ok(answer));
    }
    let declared = Answer::read(&mut datum(b"\x00\x01\x02\x04no"));
    assert_eq!(declared, Ok(Answer::Error("an error of the kind 1".to_owned())));
    assert!(Answer::read(&mut datum(b"\x00\x02\x00")).is_err());
}

/// What Flume's clients say first, and then, where that was not enough.
fn requests(client: u8) -> [Request; 2] {
    let first = Request { client: [client; 16], text: None, server: [client; 16], in_order: false };
    let text = PROTOCOL.replace(
        r#""values":"string""#,
        r#""values":{"type":"string","avro.java.string":"String"}"#,
    );
    let again = Request { text: Some(text.into()), server: HASH, ..first.clone() };
    [first, again]
}

#[test]
fn a_handshake_ends_in_both_client_or_none() {
    let known = Known::default();
    let answer = |request: &Request| known.answer(request).unwrap();
    assert_eq!(answer(&Request::of_ours()).matched, Match::Both);
    assert_eq!(answer(&Request { text: None, ..Request::of_ours() }).matched, Match::Both);
    assert_eq!(answer(&Request { server: [0; 16], ..Request::of_ours() }).matched, Match::Client);
    let [first, again] = requests(7);
    let none = answer(&first);
    assert_eq!((none.matched, none.hash), (Match::None, Some(HASH)));
    assert_eq!(none.text.as_deref(), Some(PROTOCOL.as_bytes()));
    let both = answer(&again);
    assert_eq!(both, Response { matched: Match::Both, text: None, hash: None, in_order: false });
    // From now on it is known by its name.
    assert_eq!(answer(&first).matched, Match::Client);
}

#[test]
fn a_protocol_that_is_another_is_refused() {
    let refused = |text: &str| {
        let text = Some(Bytes::copy_from_slice(text.as_bytes()));
        Known::default().answer(&Request { text, ..requests(7)[0].clone() }).is_err()
    };
    assert!(refused("{") && refused("{}"));
    assert!(refused(&PROTOCOL.replace("append", "prepend")));
    let swapped =
        PROTOCOL.replace(r#""name":"body","type":"bytes""#, r#""name":"body","type":"string""#);
    assert!(refused(&swapped));
    let documented = PROTOCOL.replace(r#""types""#, r#""doc":"Licensed to …","types""#);
    assert!(!refused(&documented));
}

#[test]
fn handshakes_are_written_as_they_are_read() {
    for request in requests(3).into_iter().chain([Request::of_ours()]) {
        let mut written = Vec::new();
        request.put(&mut written);
        assert_eq!(Request::read(&mut datum(&written)), Ok(request.clone()));
        let response = Known::default().answer(&request).unwrap();
        written.clear();
        response.put(&mut written);
        assert_eq!(Response::read(&mut datum(&written)), Ok(response));
    }
}

#[test]
fn a_session_does_nothing_before_it_knows_its_peer() {
    let (known, allowance) = (Known::default(), Allowance::new(1 << 20));
    let mut session = Session::new(&known);
    let mut ask = |handshake: Option<&Request>, call: &[u8]| {
        let (mut payload, mut answer) = (Vec::new(), Vec::new());
        if let Some(request) = handshake {
            request.put(&mut payload);
        }
        payload.extend_from_slice(call);
        let call = session.asked(payload.into(), &mut allowance.hold(), &mut answer).unwrap();
        (call, answer)
    };
    let [first, again] = requests(9);
    let (call, answer) = ask(Some(&first), BATCH);
    assert_eq!(call, None);
    assert_eq!(Response::read(&mut datum(&answer)).unwrap().matched, Match::None);
    let (call, answer) = ask(Some(&again), BATCH);
    assert!(matches!(call, Some(Call::AppendBatch(events)) if events.len() == 2));
    assert_eq!(answer, b"\x00\x00\x00\x00");
    // A call that Flume has not, and one that asks for nothing.
    let (call, answer) = ask(None, b"\x00\x04no\x01\x02\x03");
    assert_eq!((call, answer), (Some(Call::Unknown("no".to_owned())), Vec::new()));
    assert_eq!(ask(None, b"\x00\x00"), (None, Vec::new()));
    assert_eq!(allowance.used(), 0);
}

#[test]
fn a_frame_is_its_pieces_together() {
    let payload = b"hello";
    for cut in 0..=payload.len() {
        let (first, second) = payload.split_at(cut);
        let mut bytes = vec![0, 0, 0, 7, 0, 0, 0, 2];
        for piece in [first, second] {
            bytes.extend_from_slice(&(piece.len() as u32).to_be_bytes());
            bytes.extend_from_slice(piece);
        }
        let Ok(Next::Frame(frame)) = read_frame(&bytes, 100) else { panic!("{cut}") };
        assert_eq!(frame, Frame { serial: 7, payload: Bytes::from_static(payload) });
        for end in 1..bytes.len() {
            assert!(matches!(read_frame(&bytes[..end], 100), Err(Error::Cut)), "{end}");
        }
    }
    assert!(matches!(read_frame(b"", 100), Ok(Next::End)));
}

#[test]
fn a_frame_of_one_piece_or_none_is_sent() {
    let (mut frame, mut sent) = (Vec::new(), Vec::new());
    frame::begin(&mut frame);
    frame::send(&mut sent, &mut frame, -1).unwrap();
    assert_eq!(sent, [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    sent.clear();
    frame::begin(&mut frame);
    frame.extend_from_slice(b"hello");
    frame::send(&mut sent, &mut frame, 258).unwrap();
    assert_eq!(sent, b"\0\0\x01\x02\0\0\0\x01\0\0\0\x05hello");
}

#[test]
fn a_frame_is_never_believed_about_its_length() {
    let too_long = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &101u32.to_be_bytes(), &[b'x'; 200]].concat();
    let frame = |most| read_frame(&too_long, most);
    assert!(matches!(frame(100), Err(Error::TooMuch(TooMuch::Frame { most: 100 }))));
    assert!(matches!(frame(101), Ok(Next::Frame(_))));
    let pieces = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert!(matches!(read_frame(&pieces, 100), Err(Error::Pieces(u32::MAX))));
    // Its length is allowed, and it does not come: no more room is made than for the first part.
    let allowance = Allowance::new(1 << 30);
    let mut held = allowance.hold();
    let short = [0, 0, 0, 1, 0, 0, 0, 1, 0x3f, 0xff, 0xff, 0xff, 1, 2];
    assert!(matches!(frame::read(&mut &short[..], &mut held, PATIENCE), Err(Error::Cut)));
    assert_eq!(allowance.used(), 1 << 20);
    drop(held);
    assert_eq!(allowance.used(), 0);
}

#[test]
fn all_frames_together_are_bounded() {
    let allowance = Allowance::new(1 << 20);
    let mut held: Vec<_> = (0..5).map(|_| allowance.hold()).collect();
    for one in &mut held[..4] {
        one.grow(1 << 20).unwrap();
    }
    assert_eq!(held[4].grow(1), Err(TooMuch::All { most: 4 << 20 }));
    drop(held);
    allowance.hold().grow(1 << 20).unwrap();
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let texts = prop_oneof![Just("host".to_owned()), ".{0,5}"];
    let headers = prop::collection::vec((texts.clone(), texts), 0..4);
    let one = (headers, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(headers, body)| {
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into()));
        Event { headers: headers.collect(), body: body.into() }
    });
    prop::collection::vec(one, 0..20)
}

proptest! {
    #[test]
    fn what_is_written_is_read(events in events()) {
        let mut written = Vec::new();
        Call::put_append_batch(&mut written, &events);
        prop_assert_eq!(read_call(&written), Ok(Call::AppendBatch(events)));
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), whole in events()) {
        let allowance = Allowance::new(1 << 16);
        let read = |bytes: &[u8]| {
            let mut held = allowance.hold();
            if let Ok(Next::Frame(frame)) = frame::read(&mut &bytes[..], &mut held, PATIENCE) {
                assert!(frame.payload.len() <= bytes.len());
            }
            let known = Known::default();
            let _answered = Session::new(&known).asked(
                Bytes::copy_from_slice(bytes), &mut held, &mut Vec::new());
            let _read = (Call::read(&mut datum(bytes), &mut held), Answer::read(&mut datum(bytes)));
            let _response = Response::read(&mut datum(bytes));
        };
        read(&bytes);
        // Much of it is as it should be.
        let mut written = Vec::new();
        Call::put_append_batch(&mut written, &whole);
        for (nth, &byte) in bytes.iter().enumerate().take(written.len()) {
            let at = (byte as usize * 31 + nth * 7) % written.len();
            written[at] = byte;
            read(&written);
        }
        prop_assert_eq!(allowance.used(), 0);
    }

    #[test]
    fn what_is_compressed_is_read_however_it_is_cut(
        writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 1..5),
        step in 1..3000usize,
    ) {
        use std::io::{Read, Write};
        let mut wire = Vec::new();
        let mut deflated = super::deflate::Deflated::new(&mut wire, 6);
        for bytes in &writes {
            deflated.write_all(bytes).unwrap();
            deflated.flush().unwrap();
        }
        drop(deflated);
        struct Steps<'a>(&'a [u8], usize);
        impl Read for Steps<'_> {
            fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
                let step = self.1.min(to.len());
                self.0.read(&mut to[..step])
            }
        }
        let mut read = Vec::new();
        super::deflate::Deflated::new(Steps(&wire, step), 6).read_to_end(&mut read).unwrap();
        prop_assert_eq!(read, writes.concat());
    }
}

#[test]
fn an_event_is_what_avro_makes_of_it() {
    let mut event = Event::new("body");
    event.headers.set("a", "xyz");
    let mut written = Vec::new();
    put(&mut written, &event);
    assert_eq!(written, b"\x02\x02a\x06xyz\x00\x08body");
    assert_eq!(read(written.into()), Ok(event));
    let mut bare = Vec::new();
    put(&mut bare, &Event::new(""));
    assert_eq!(bare, b"\x00\x00");
    assert_eq!(read(bare.into()), Ok(Event::new("")));
}

#[test]
fn what_the_librarys_own_writer_makes_is_read() {
    let schema = r#"{"type": "record", "name": "AvroFlumeEvent", "fields": [
        {"name": "headers", "type": {"type": "map", "values": "string"}},
        {"name": "body", "type": "bytes"}]}"#;
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    let mut event = Event::new(vec![0; 300]);
    event.headers.set("host", "a".repeat(200));
    event.headers.set("", "");
    let headers = event.headers.iter().map(|(name, value)| {
        (name.to_string(), apache_avro::types::Value::String(value.to_string()))
    });
    let value = apache_avro::types::Value::Record(vec![
        ("headers".to_owned(), apache_avro::types::Value::Map(headers.collect())),
        ("body".to_owned(), apache_avro::types::Value::Bytes(event.body.to_vec())),
    ]);
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().unwrap();
    let written = writer.write_value_to_vec(value).unwrap();
    assert_eq!(read(written.into()), Ok(event));
}

#[test]
fn a_block_may_say_its_size_and_what_is_cut_off_is_no_event() {
    // A count of -1, a size of 4, the pair, no more; a body.
    let blocked = b"\x01\x08\x02a\x02b\x00\x02c";
    let event = read(Bytes::from_static(blocked)).unwrap();
    assert_eq!(
        (event.headers.get("a").map(|value| &**value), &event.body[..]),
        (Some("b"), &b"c"[..])
    );
    for length in 0..blocked.len() {
        assert!(read(Bytes::from_static(&blocked[..length])).is_err(), "{length}");
    }
    assert_eq!(read(Bytes::from_static(b"\x00\x01")), Err(Malformed::Length(-1)));
    assert_eq!(read(Bytes::from_static(&[0xff; 10])), Err(Malformed::Number));
}

/// What is made of a text in JSON takes many times its length, and no allowance counts it.
#[test]
fn a_protocol_of_more_bytes_than_any_has_is_refused_unread() {
    let answer = |filling: usize| {
        let text = Some(format!("{PROTOCOL}{}", " ".repeat(filling)).into());
        Known::default().answer(&Request { text, ..requests(7)[0].clone() })
    };
    assert!(answer(1 << 10).is_ok());
    let refused = answer(64 << 10).unwrap_err().to_string();
    assert!(refused.ends_with("it has more than 65536 bytes"), "{refused}");
}
