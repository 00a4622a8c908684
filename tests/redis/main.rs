//! The ledger and the scores in real Redis: single, and a Cluster of three.
//!
//! Catches effects that are lost or doubled around kills, lost replies, refusals, slots that move and
//! data that goes back; writers that are not fenced; and bytes that readers would not understand. What
//! Redis loses by a power failure is only imitated, by older files. Every fault is counted by the
//! server or the proxy that it befell: one that did not happen does not count.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's verdict")]

mod cluster;
mod faults;
mod ledger;
mod lossy;
mod scores;
mod site;
