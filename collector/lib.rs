//! The collector: in Flume's place, from Flume's own configuration files and on Flume's wire.
//!
//! ```text
//!            interceptors, selector
//! source ──────── inlet ───────┬──▶ channel ──tap──▶ sink        a transaction each: the source forgets
//!                              └──▶ channel ──tap──▶ sinks       its input, and the sink its take, only
//!                                                   in a group   when the other side has it
//! ```
//!
//! The rooms:
//!
//! - [`event`]: what travels;
//! - [`properties`]: a file of Java properties, read with its lines;
//! - [`agent`]: one agent of such a file, judged as a whole; [`keys`]: the keys of one component;
//!   [`findings`]: what is wrong with them;
//! - [`source`]: where events come from: the contract, and the sources;
//! - [`interceptor`]: what changes events, or drops them; [`selector`]: which channels they go to;
//! - [`channel`]: where they wait: the contract, and the channels;
//! - [`sink`]: where they go: the contract, and the sinks; [`group`]: several sinks for one channel;
//! - [`running`]: an agent at work;
//! - [`counters`]: what each component has counted; [`parts`]: all of them, and whether it adds up;
//! - [`dead_letters`]: what a sink can never take;
//! - [`avro`]: Flume's wire, both ways; [`tls`]: its TLS, by stores of Java or files in PEM;
//! - [`charset`]: charsets by Java's names;
//! - [`hdfs`]: connections to Hadoop's file systems, for reading; [`storage`]: what sinks write files into;
//! - [`kafka`]: clients of Kafka; [`java_regex`]: Java's regular expressions;
//! - [`stop`]: how threads are told to end; [`lock`]: what one process has alone; [`machine`]: the machine's names.
//!
//! The crate knows nothing of what its events mean.

pub mod agent;
pub mod avro;
pub mod channel;
pub mod charset;
pub mod counters;
pub mod dead_letters;
pub mod event;
pub mod findings;
pub mod group;
pub mod hdfs;
pub mod interceptor;
pub mod java_regex;
pub mod kafka;
pub mod keys;
pub mod lock;
pub mod machine;
pub mod parts;
pub mod properties;
pub mod running;
pub mod selector;
pub mod sink;
pub mod source;
pub mod stop;
pub mod storage;
pub mod tls;
