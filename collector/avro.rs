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
//! - [`handshake`]: whether both sides mean the same protocol; [`call`]: calls and answers;
//! - [`server`]: one connection's side that answers; [`client`]: the one that asks;
//! - [`lines`]: sends the lines of files.
//!
//! The whole is hand-coded: the crate apache-avro has the encoding and containers, but no RPC, and decodes
//! into values of its own, with a copy of every body.
//!
//! Nothing that a peer says is believed before it is checked: every length is held against what is there and
//! what is allowed before memory is taken for it ([`frame::Allowance`]).

pub mod call;
pub mod client;
pub mod datum;
pub mod deflate;
pub mod event;
pub mod frame;
pub mod handshake;
pub mod lines;
pub mod server;
pub mod stream;

/// Flume's protocol, as Java writes it.
pub const PROTOCOL: &str = concat!(
    r#"{"protocol":"AvroSourceProtocol","namespace":"org.apache.flume.source.avro","types":["#,
    r#"{"type":"enum","name":"Status","symbols":["OK","FAILED","UNKNOWN"]},"#,
    r#"{"type":"record","name":"AvroFlumeEvent","fields":["#,
    r#"{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}],"#,
    r#""messages":{"append":{"request":[{"name":"event","type":"AvroFlumeEvent"}],"response":"Status"},"#,
    r#""appendBatch":{"request":[{"name":"events","type":{"type":"array","items":"AvroFlumeEvent"}}],"#,
    r#""response":"Status"}}}"#
);

/// What a peer calls a protocol: the MD5 of its text. Peers of other versions have other ones.
pub type Hash = [u8; 16];

/// That of [`PROTOCOL`].
pub const HASH: Hash = [
    0x30, 0xda, 0x54, 0x05, 0x9d, 0xf7, 0x2d, 0x95, 0x84, 0xb8, 0x67, 0xd5, 0x20, 0x2e, 0x20, 0x69,
];

#[cfg(test)]
mod tests;
