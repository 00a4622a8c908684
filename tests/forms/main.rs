//! The forms of the job beside the usual ones, and what commands tell of live servers: real servers,
//! the real program.
//!
//! - [`told`]: `show` and `export` over live servers;
//! - [`replay`]: log files into live servers; [`site`] is one;
//! - [`store`]: Kafka into the embedded store.
//!
//! Catches what is left out, counted twice or told otherwise than it stands.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

#[cfg(feature = "failpoints")]
mod replay;
mod site;
#[cfg(feature = "failpoints")]
mod store;
mod told;
