//! online-recall: a news site's click stream in, fresh recommendations out, exactly once.
//!
//! ```text
//!                             ┌──▶ recalls ───────┐
//! source ──bind──▶ dataflow ──┼──▶ scores ────────┼──▶ mark
//!                             └──▶ dead letters ──┘
//! ```
//!
//! The rooms, from the outside in; `ARCHITECTURE.md` is the tour:
//!
//! - [`command`]: what the program does, a file a command;
//! - [`config`]: what was written, and what is meant;
//! - [`source`]: where records come from, cut into epochs;
//! - [`decode`]: the bytes of a record become an event or a dead letter;
//! - [`job`]: source, dataflows, ledger and sinks at work together;
//! - [`ledger`]: what is bound, and what is done;
//! - [`outside`]: where bindings, effects and marks become durable: the contract;
//! - [`live`]: live servers, put together for a job;
//! - [`cluster`]: several processes that do one job;
//! - [`tables`]: neighbours and history, read;
//! - [`sink`]: what makes an epoch's effects durable;
//! - [`store`]: the embedded database, in place of the live servers;
//! - [`kafka`]: Kafka's clients;
//! - [`hbase`]: HBase by way of its Thrift servers;
//! - [`redis`]: Redis: connections, our names and bytes there;
//! - [`retry`]: waiting for servers that are away;
//! - [`metrics`]: the numbers to watch; [`health`]: whether the job is well; [`http`]: both, asked for;
//! - [`failpoint`]: where crash tests stop the process;
//! - [`text`]: the formats of text that more than one room reads or writes.

pub mod cli;
pub mod cluster;
pub mod command;
pub mod config;
pub mod decode;
pub mod failpoint;
pub mod hbase;
pub mod health;
pub mod http;
pub mod job;
pub mod kafka;
pub mod ledger;
pub mod live;
pub mod metrics;
pub mod outside;
pub mod redis;
pub mod retry;
pub mod sink;
pub mod source;
pub mod store;
pub mod tables;
pub mod text;
