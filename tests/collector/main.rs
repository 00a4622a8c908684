//! The collector, as its users meet it: the real program, with files of Flume.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod agent;
mod examples;
mod judging;
mod kills;
mod log;
mod outages;
mod working;
