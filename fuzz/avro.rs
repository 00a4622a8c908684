//! Fuzzes Flume's wire, from both its ends: whatever a peer sends, in whatever pieces, the other side neither
//! panics nor takes more memory than it is allowed; what is understood is written and read again alike.

#![no_main]
#![allow(dead_code)]

#[path = "../collector"]
mod collector {
    pub mod event;
    pub mod avro {
        pub mod asked;
        pub mod call;
        pub mod datum;
        pub mod deflate;
        pub mod event;
        pub mod frame;
        pub mod handshake;
        pub mod protocol;
        pub mod server;

        pub use protocol::{HASH, Hash, PROTOCOL};
    }
}
#[path = "avro/input.rs"]
mod input;
mod memory;
#[path = "avro/peer.rs"]
mod peer;

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use collector::avro::asked::{self, Asked};
use collector::avro::call::{Answer, Call, Status};
use collector::avro::datum::Datum;
use collector::avro::deflate::Deflated;
use collector::avro::frame::{self, Allowance, Frame, Next};
use collector::avro::handshake::{Known, Request, Response};
use collector::avro::server::Session;
pub use collector::*;
use input::{Input, Side};
use peer::{Cuts, Peer};

/// How many bytes a frame may have.
const FRAME: usize = 256 << 10;

/// What a connection may need at once: its allowance, of which a vector that grows is there twice for a moment,
/// zlib's windows, and room for what does not count.
const MEMORY: usize = 2 * 4 * FRAME + (3 << 19);

/// No peer of this process is slow.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What a connection has come to.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// What was understood, in order.
    understood: Vec<Understood>,
    /// What was sent to the peer.
    sent: Vec<u8>,
    /// How it ended: by the peer, or with an error.
    end: Result<(), String>,
}

/// A thing that a peer has said.
#[derive(Debug, PartialEq)]
enum Understood {
    Call(Call),
    Met { in_order: bool },
    Answer(Answer),
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::read(bytes) else { return };
    let run = |cuts: Cuts| match input.side {
        Side::Server => serve(&input, cuts),
        Side::Client => ask(&input, cuts),
    };
    let whole = memory::within(MEMORY + 2 * input.wire.len(), || run(Cuts::none()));
    let cut = run(Cuts::of(input.cuts));
    assert_eq!(whole.understood, cut.understood, "it depends on how the bytes come");
    assert_eq!(whole.sent, cut.sent, "it depends on how the bytes come");
    assert_eq!(whole.end.is_ok(), cut.end.is_ok(), "{:?} {:?}", whole.end, cut.end);
    if !input.is_deflated {
        assert_eq!(whole.end, cut.end, "it depends on how the bytes come");
    }
});

/// A peer of the source: what it sends is read as the source reads it.
fn serve(input: &Input, cuts: Cuts) -> Outcome {
    let mut peer = Peer::new(&input.wire, cuts);
    if input.is_deflated {
        let outcome = serve_over(&mut Deflated::new(&mut peer, 6));
        Outcome { sent: peer::inflated(&peer.sent()), ..outcome }
    } else {
        let outcome = serve_over(&mut peer);
        Outcome { sent: peer.sent(), ..outcome }
    }
}

fn serve_over(stream: &mut (impl Read + Write)) -> Outcome {
    let (known, allowance) = (Known::default(), Allowance::new(FRAME));
    let (mut session, mut answer) = (Session::new(&known), Vec::new());
    let mut understood = Vec::new();
    let mut next = || -> Result<bool, String> {
        let mut held = allowance.hold();
        let text = |error: &dyn std::error::Error| format!("{error:?}");
        let frame = match frame::read(stream, &mut held, PATIENCE).map_err(|error| text(&error))? {
            Next::Frame(frame) => frame,
            Next::Silence => return Ok(true),
            Next::End => return Ok(false),
        };
        frame::begin(&mut answer);
        let met = session.has_met();
        if !met {
            request_again(&frame.payload);
        }
        let call =
            session.asked(frame.payload, &mut held, &mut answer).map_err(|error| text(&error))?;
        if let Some(call) = call {
            call_again(&call);
            let said = match &call {
                Call::Unknown(name) => Answer::Error(name.clone()),
                Call::Append(event) if event.body.is_empty() => Answer::Status(Status::Failed),
                _ => Answer::Status(Status::Ok),
            };
            said.put(&mut answer);
            understood.push(Understood::Call(brief(call)));
        }
        // What it is given back when all of it is dropped.
        drop(held);
        assert_eq!(allowance.used(), 0);
        frame::send(stream, &mut answer, frame.serial).map_err(|error| text(&error))?;
        Ok(true)
    };
    let end = loop {
        match next() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(allowance.used(), 0);
    Outcome { understood, sent: Vec::new(), end }
}

/// Enough of a call to tell it from another: the memory of a batch is given back before the next.
fn brief(call: Call) -> Call {
    match call {
        Call::AppendBatch(mut events) if events.len() > 100 => {
            Call::AppendBatch(events.split_off(events.len() - 3))
        }
        call => call,
    }
}

fn request_again(payload: &Bytes) {
    if let Ok(request) = Request::read(&mut Datum::new(payload.clone())) {
        let mut written = Vec::new();
        request.put(&mut written);
        assert_eq!(Request::read(&mut Datum::new(written.into())), Ok(request));
    }
}

fn call_again(call: &Call) {
    let mut written = Vec::new();
    match call {
        Call::Append(event) => Call::put_append(&mut written, event),
        Call::AppendBatch(events) => Call::put_append_batch(&mut written, events),
        Call::Ping | Call::Unknown(_) => return,
    }
    let mut held = Allowance::new(64 * FRAME).hold();
    assert_eq!(Call::read(&mut Datum::new(written.into()), &mut held).as_ref(), Ok(call));
}

/// A peer of the sink: what it answers is read as the sink reads it.
fn ask(input: &Input, cuts: Cuts) -> Outcome {
    let mut peer = Peer::new(&input.wire, cuts);
    if input.is_deflated {
        ask_over(&mut Deflated::new(peer, 6), input.asked)
    } else {
        ask_over(&mut peer, input.asked)
    }
}

fn ask_over(stream: &mut impl Read, many: u8) -> Outcome {
    let allowance = Allowance::new(FRAME);
    let mut understood = Vec::new();
    let mut asking = || -> Result<(), String> {
        let mut next = || -> Result<Option<Frame>, String> {
            loop {
                match frame::read(stream, &mut allowance.hold(), PATIENCE) {
                    Ok(Next::Frame(frame)) => return Ok(Some(frame)),
                    Ok(Next::Silence) => {}
                    Ok(Next::End) => return Ok(None),
                    Err(error) => return Err(format!("{error:?}")),
                }
            }
        };
        let Some(frame) = next()? else { return Ok(()) };
        response_again(&frame.payload);
        let in_order = asked::met(frame).map_err(|unfit| format!("{unfit:?}"))?;
        understood.push(Understood::Met { in_order });
        let mut asked = Asked::default();
        asked.greeted();
        // Some batches of one call, and one of all others.
        let mut batches = Vec::new();
        for nth in 0..many {
            if nth < 3 || nth == 3 {
                batches.push(asked.batch());
            }
            asked.called();
            batches.last_mut().expect("the first call begins one").grow();
        }
        while let Some(frame) = next()? {
            answer_again(&frame.payload);
            asked.answered(frame).map_err(|unfit| format!("{unfit:?}"))?;
            batches.retain(|calls| match asked.received(*calls) {
                Some(answer) => {
                    understood.push(Understood::Answer(answer));
                    false
                }
                None => true,
            });
        }
        Ok(())
    };
    let end = asking();
    assert_eq!(allowance.used(), 0);
    Outcome { understood, sent: Vec::new(), end }
}

fn response_again(payload: &Bytes) {
    if let Ok(response) = Response::read(&mut Datum::new(payload.clone())) {
        let mut written = Vec::new();
        response.put(&mut written);
        assert_eq!(Response::read(&mut Datum::new(written.into())), Ok(response));
    }
}

fn answer_again(payload: &Bytes) {
    if let Ok(answer) = Answer::read(&mut Datum::new(payload.clone())) {
        let mut written = Vec::new();
        answer.put(&mut written);
        assert_eq!(Answer::read(&mut Datum::new(written.into())), Ok(answer));
    }
}
