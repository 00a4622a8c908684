//! How records become bytes between processes: timely's default, plain bytes, and the crate abomonation's
//! form, each written and read alone, on one thread.
//!
//! Prints a line each, its fields apart by tabs: which records, in which form, how many bytes each takes, and
//! how many nanoseconds to write and to read.

#![allow(clippy::disallowed_methods, reason = "the clock is what it is about")]

use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::Instant;

use dataflows::records::abomonated::Abomonated;
use dataflows::records::{Codec, Flat, Plain, Records};
use dataflows::{
    Action, Article, Candidates, Cell, Channel, Hit, HotIncrement, Neighbours, Place, User,
};
use timely::bytes::arc::BytesMut;
use timely::dataflow::channels::ContainerBytes;

/// As many records as a message has of them: timely fills 8 KiB.
const MESSAGE_BYTES: usize = 8192;

/// How many records each is measured over.
const RECORDS: usize = 20_000_000;

fn main() -> io::Result<()> {
    let user = |nth: u64| User::from_decimal(1_115_629_498_121_846_784 + nth);
    let named = |nth: u64| User::from_bytes(format!("visitor-{nth:024x}").as_bytes());
    let place = |offset: u64| Place { partition: 3, offset };
    let hit = |nth: u64, user: User| Hit {
        user,
        channel: Channel(18),
        article: Article(14_000 + nth as i64),
        action: Action::Click,
        place: place(1_000_000 + nth),
    };
    let neighbours: Neighbours = (0..10).map(|nth| Article(140_000 + nth)).collect();
    let candidates = |nth: u64| Candidates {
        cell: Cell { user: user(nth), channel: Channel(18) },
        place: place(nth),
        neighbours: Neighbours::clone(&neighbours),
    };
    let increment =
        |nth: u64| HotIncrement { channel: Channel(18), article: Article(nth as i64), weight: nth };
    measure("hits", |nth| hit(nth, user(nth)))?;
    measure("hits of users with long ids", |nth| hit(nth, named(nth)))?;
    measure("candidates of ten neighbours", candidates)?;
    measure("increments of scores", increment)
}

fn measure<R>(records: &'static str, make: impl Fn(u64) -> R) -> io::Result<()>
where
    R: Flat + Clone,
    Vec<R>: ContainerBytes,
{
    let some: Vec<R> = (0..(MESSAGE_BYTES / size_of::<R>()) as u64).map(make).collect();
    let mut out = io::stdout().lock();
    for (form, [bytes, write_ns, read_ns]) in [
        ("timely's default, bincode", figures(&some, some.len())),
        ("plain bytes, checked", figures(&of::<_, Plain>(&some), some.len())),
        ("abomonation", figures(&of::<_, Abomonated>(&some), some.len())),
    ] {
        writeln!(out, "{records}\t{form}\t{bytes}\t{write_ns}\t{read_ns}")?;
    }
    Ok(())
}

fn of<R: Clone, C: Codec>(some: &[R]) -> Records<R, C> {
    some.to_vec().into()
}

/// As timely does it: the length, then the bytes into a buffer that is there; and from such a buffer.
fn figures<B: ContainerBytes>(message: &B, count: usize) -> [f64; 3] {
    let times = RECORDS / count;
    let length = message.length_in_bytes();
    let mut buffer = vec![0_u8; length];
    let each_ns = |begun: Instant| begun.elapsed().as_nanos() as f64 / (times * count) as f64;
    let begun = Instant::now();
    for _ in 0..times {
        assert_eq!(black_box(message).length_in_bytes(), length);
        message.into_bytes(&mut &mut buffer[..]);
    }
    let write_ns = each_ns(begun);
    let whole = BytesMut::from(buffer).freeze();
    let begun = Instant::now();
    for _ in 0..times {
        black_box(B::from_bytes(black_box(whole.clone())));
    }
    let read_ns = each_ns(begun);
    [length as f64 / count as f64, write_ns, read_ns]
}
