//! Fuzzes the decoder: no input may make it panic, and its fast path may not change an answer.
//!
//! The sources are taken in as they stand, without the crates around them, so that coverage counts
//! the decoder and little else.

#![no_main]
#![allow(dead_code)]

// The decoder names the facts by the crate that they stand in; here they stand in this one.
extern crate self as dataflows;

#[path = "../dataflows/model.rs"]
mod model;
#[path = "../src"]
mod online_recall {
    pub mod decode;
}

/// The facts name the time, which in the dataflows needs timely; no time passes here.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Epoch(pub u64);

pub use model::*;
use online_recall::decode::{self, Reason};

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    let click = decode::click(record);
    assert_eq!(click, decode::click_of_any_shape(record), "the fast path changes the answer");
    let new_article = decode::new_article(record);

    // What is judged for both topics is judged alike.
    let of_both = |reason: &Reason| *reason <= Reason::NotUtf8;
    assert_eq!(click.err().filter(of_both), new_article.err().filter(of_both));
});
