//! Kafka's clients: what the keys of a component and Java's names of properties mean to librdkafka, and how
//! a client ends.
//!
//! ```text
//!  kafka.producer.*  ─┐                                    ┌─▶ producer
//!  kafka.consumer.*  ─┼─▶ java (all clients) ─▶ client ────┤
//!  --command-config  ─┘         │           (of one role)  └─▶ consumer
//!                               └─▶ the commands of online-recall
//! ```
//!
//! - [`java`]: how brokers are reached, in Java's names and in librdkafka's;
//! - [`client`]: the properties of one client of a component;
//! - [`ear`]: what a client says by itself.

pub mod client;
pub mod ear;
#[cfg(test)]
pub mod given;
pub mod java;

use std::sync::mpsc;
use std::time::Duration;

/// How long a client may take to end before it is left behind.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Lets a client end on a thread of its own: some clients of librdkafka do not end, which holds up nothing so.
pub fn end(client: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel::<()>();
    let end = move || {
        client();
        drop(done);
    };
    let started = std::thread::Builder::new().name("kafka-end".to_owned()).spawn(end);
    if started.is_err() || ended.recv_timeout(END_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout)
    {
        log::warn!("a client of kafka does not end, and is left behind");
    }
}
