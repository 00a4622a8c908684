//! The live job on real servers, judged by the oracle.
//!
//! ```text
//!  input ─▶ Kafka ─▶ the program ─▶ Redis, HBase, dead letters ─┐
//!             │           │                                     ├─ the same?
//!             └─ records ─┴─ bindings ─▶ plan ─▶ oracle ────────┘
//! ```
//!
//! Every test has topics, tables, keys and a job of its own ([`site`]); those that kill or stop a server
//! have the server too. What the job bound is turned into a plan for the oracle, and what it left behind
//! must be what the oracle says, once and to the byte ([`judge`]). A fault that did not happen fails its
//! test. Catches whatever is lost, doubled, reordered or stuck around a fault, and bindings that miss or
//! repeat a record.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a panic is a test's verdict, and what is printed its report"
)]

mod cluster;
mod flow;
mod gaps;
mod input;
mod job;
mod judge;
mod kills;
mod meddling;
mod members;
mod network;
mod readers;
mod records;
mod servers;
mod settings;
mod site;
mod storm;
mod supervised;
mod topics;
mod wires;
