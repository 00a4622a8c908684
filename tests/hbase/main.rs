//! HBase by way of its Thrift server, on real ones: connections, tables, recalls, commands.
//!
//! Tests share one HBase, in which each has tables of its own; those that kill a server start one.
//! Faults that a real server can't be made to show come from a proxy before it; each test waits until
//! its fault has happened. Catches a list that is lost, doubled without a doubt, hidden by another one
//! or by a delete, a history that misses a version, an error that is tried again for ever or not at all.
//! Not here: regions that move or split, which Thrift cannot be told to do.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod commands;
mod connections;
mod faults;
mod reading;
mod recalls;
mod site;
mod tls;
