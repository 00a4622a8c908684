//! The numbers to watch, for the whole process: counted where things happen, read by [`text`].
//!
//! Names and labels are those of `docs/metrics.md`; all begin with `online_recall_`.

use std::sync::atomic::AtomicU64;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::retry::Peer;

/// Seconds from a tenth of a millisecond to a minute and a half.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.5, 16))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPeer {
    peer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPartition {
    topic: String,
    partition: i32,
}

struct Metrics {
    registry: Registry,
    hbase_requests: Family<Call, Counter>,
    hbase_seconds: Histogram,
    redis_seconds: Histogram,
    retries: Family<OfPeer, Counter>,
    lag: Family<OfPartition, Gauge>,
    gaps: Family<OfPartition, Counter>,
    gap_records: Family<OfPartition, Counter>,
    similar_articles: Gauge,
    similar_age: Gauge<f64, AtomicU64>,
    similar_read: Mutex<Option<Instant>>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let mut registry = Registry::with_prefix("online_recall");
    let hbase_requests = Family::default();
    registry.register(
        "hbase_requests",
        "Calls of HBase's Thrift server; call: its name there; outcome: ok or error",
        hbase_requests.clone(),
    );
    let hbase_seconds = seconds();
    registry.register("hbase_seconds", "Time a call of HBase takes", hbase_seconds.clone());
    let redis_seconds = seconds();
    registry.register("redis_seconds", "Time a round trip to Redis takes", redis_seconds.clone());
    let retries = Family::default();
    registry.register(
        "retries",
        "Attempts that failed and are tried again; peer: kafka, hbase or redis",
        retries.clone(),
    );
    let lag = Family::default();
    registry.register(
        "lag_records",
        "Records of a partition of a topic that are not read yet",
        lag.clone(),
    );
    let gaps = Family::default();
    registry.register(
        "gaps",
        "Times that needed records of a partition of a topic were gone, and passed over",
        gaps.clone(),
    );
    let gap_records = Family::default();
    registry.register(
        "gap_records",
        "Records of a partition of a topic that were gone, and passed over",
        gap_records.clone(),
    );
    let similar_articles = Gauge::default();
    registry.register("similar_articles", "Articles with neighbours", similar_articles.clone());
    let similar_age = Gauge::default();
    registry.register(
        "similar_age_seconds",
        "Time since the table of similar articles was begun to be read",
        similar_age.clone(),
    );
    Metrics {
        registry,
        hbase_requests,
        hbase_seconds,
        redis_seconds,
        retries,
        lag,
        gaps,
        gap_records,
        similar_articles,
        similar_age,
        similar_read: Mutex::default(),
    }
});

/// Counts a call of HBase by its name there.
pub fn hbase(call: &'static str, worked: bool, took: Duration) {
    let outcome = if worked { "ok" } else { "error" };
    METRICS.hbase_requests.get_or_create(&Call { call, outcome }).inc();
    METRICS.hbase_seconds.observe(took.as_secs_f64());
}

/// Counts a round trip to Redis.
pub fn redis(took: Duration) {
    METRICS.redis_seconds.observe(took.as_secs_f64());
}

/// Notes that the table of similar articles was read, from then on.
pub fn similar(articles: usize, begun: Instant) {
    METRICS.similar_articles.set(i64::try_from(articles).unwrap_or(i64::MAX));
    *METRICS.similar_read.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
}

/// Counts an attempt that failed and is tried again.
pub fn retried(peer: Peer) {
    METRICS.retries.get_or_create(&OfPeer { peer: peer.name() }).inc();
}

/// Notes how many records of a partition are not read yet.
pub fn lag(topic: &str, partition: i32, records: u64) {
    let of = OfPartition { topic: topic.to_owned(), partition };
    METRICS.lag.get_or_create(&of).set(i64::try_from(records).unwrap_or(i64::MAX));
}

/// Counts records of a partition that were gone and are passed over; as many as are known.
pub fn gap(topic: &str, partition: i32, records: u64) {
    let of = OfPartition { topic: topic.to_owned(), partition };
    METRICS.gaps.get_or_create(&of).inc();
    METRICS.gap_records.get_or_create(&of).inc_by(records);
}

/// All numbers, as OpenMetrics has them.
pub fn text() -> String {
    let read = *METRICS.similar_read.lock().unwrap_or_else(PoisonError::into_inner);
    METRICS.similar_age.set(read.map_or(0.0, |read| read.elapsed().as_secs_f64()));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &METRICS.registry)
        .expect("a string takes all text");
    text
}
