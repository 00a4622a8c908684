//! Avro RPC as Flume's agents and clients speak it.
//!
//! ```text
//! TCP ─▶ TLS ─▶ zlib ─▶ frames ─▶ a handshake, once a connection ─▶ calls, answered in their order
//!        (if so configured)
//! ```
//!
//! - [`stream`]: the connection with its layers; [`deflate`]: the compressed one;
//! - [`frame`]: what belongs together on it, and how much of a peer is let in;
//! - [`datum`]: Avro's encoding; [`event`]: that of events;
//! - [`protocol`]: Flume's; [`handshake`]: whether both sides mean the same; [`call`]: calls and answers;
//! - [`server`]: one connection's side that answers; [`client`]: the one that asks; [`asked`]: what it has
//!   asked, and has no answer to yet;
//! - [`lines`]: sends the lines of files.
//!
//! The whole is hand-coded: the crate apache-avro has the encoding and containers, but no RPC, and decodes
//! into values of its own, with a copy of every body.
//!
//! Nothing that a peer says is believed before it is checked: every length is held against what is there and
//! what is allowed before memory is taken for it ([`frame::Allowance`]).

pub mod asked;
pub mod call;
pub mod client;
pub mod datum;
pub mod deflate;
pub mod event;
pub mod frame;
pub mod handshake;
pub mod lines;
pub mod protocol;
pub mod server;
pub mod stream;

pub use protocol::{HASH, Hash, PROTOCOL};

#[cfg(test)]
mod tests;
