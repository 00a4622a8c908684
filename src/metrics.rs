//! The numbers to watch, for the whole process: counted where things happen, read by [`text`].
//!
//! Names and labels are those of `docs/metrics.md`; all begin with `online_recall_`. Nothing is counted
//! record by record: whoever counts does it an epoch, a call or a reading of a table at a time.

use std::sync::atomic::AtomicU64;
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dataflows::{Cached, Epoch};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::decode::Reason;
use crate::ledger;
use crate::retry::Peer;
use crate::sink::Totals;

/// What an epoch goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From its first records to its end.
    Read,
    /// From there until its binding is durable.
    Bind,
    /// From its end until the workers have computed all of it.
    Compute,
    /// From then on until its recalls are durable.
    Recalls,
    /// Likewise, until its scores are.
    Scores,
    /// From when all of it is durable until the mark has passed it.
    Mark,
}

impl Stage {
    const ALL: [Stage; 6] =
        [Stage::Read, Stage::Bind, Stage::Compute, Stage::Recalls, Stage::Scores, Stage::Mark];

    fn name(self) -> &'static str {
        match self {
            Stage::Read => "read",
            Stage::Bind => "bind",
            Stage::Compute => "compute",
            Stage::Recalls => "recalls",
            Stage::Scores => "scores",
            Stage::Mark => "mark",
        }
    }
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
struct Came {
    topic: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStage {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPartition {
    topic: String,
    partition: i32,
}

type Seconds = Gauge<f64, AtomicU64>;

/// Seconds from a tenth of a millisecond to a minute and a half.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.5, 16))
}

struct Metrics {
    registry: Registry,
    records: Family<Came, Counter>,
    dead_letters: Family<OfReason, Counter>,
    epoch: Gauge,
    mark: Gauge,
    in_flight: Gauge,
    stages: Family<OfStage, Histogram>,
    lag: Family<OfPartition, Gauge>,
    gaps: Family<OfPartition, Counter>,
    gap_records: Family<OfPartition, Counter>,
    freshness: Seconds,
    hbase_requests: Family<Call, Counter>,
    hbase_seconds: Histogram,
    redis_seconds: Histogram,
    retries: Family<OfPeer, Counter>,
    cache_entries: Gauge,
    cache_hits: Counter,
    cache_misses: Counter,
    similar_articles: Gauge,
    similar_age: Seconds,
    /// What the clock has to be asked for when the numbers are read.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// When the table of similar articles was last begun to be read.
    similar: Option<Instant>,
    /// Up to when every record is visible outside, in milliseconds since 1970.
    visible: Option<u64>,
    /// What each worker has of histories.
    cached: Vec<Cached>,
}

/// The names of the topics of clicks and of articles.
static TOPICS: OnceLock<[String; 2]> = OnceLock::new();

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let mut registry = Registry::with_prefix("online_recall");
    let start = Seconds::default();
    start.set(ledger::now() as f64 / 1000.0);
    add(&mut registry, start, "start_time_seconds", "When the process began, seconds since 1970");
    let reg = &mut registry;
    Metrics {
        records: new(
            reg,
            "records",
            "Records that were read; topic: its name, or clicks and articles of files; \
             outcome: hit, other, new_article or dead_letter",
        ),
        dead_letters: each(
            new(
                reg,
                "dead_letters",
                format!(
                    "Records that are no events; reason: {}",
                    Reason::ALL.map(Reason::name).join(", ")
                ),
            ),
            Reason::ALL.map(|reason| OfReason { reason: reason.name() }),
        ),
        epoch: new(reg, "epoch", "The number of the last epoch that was cut"),
        mark: new(reg, "epoch_mark", "The number of the last epoch wholly done"),
        in_flight: new(reg, "epoch_in_flight", "Epochs that are cut and not wholly done"),
        stages: each(
            add(
                reg,
                Family::new_with_constructor(seconds as fn() -> Histogram),
                "epoch_seconds",
                "Seconds that epochs take; stage: read, bind, compute, recalls, scores or mark",
            ),
            Stage::ALL.map(|stage| OfStage { stage: stage.name() }),
        ),
        lag: new(
            reg,
            "lag_records",
            "Records that stand in a partition and were not read; topic: its name; partition: its \
             number",
        ),
        gaps: new(
            reg,
            "gaps",
            "Times that needed records were gone and passed over; topic: its name; partition: its \
             number",
        ),
        gap_records: new(
            reg,
            "gap_records",
            "Records that were gone and passed over; topic: its name; partition: its number",
        ),
        freshness: new(
            reg,
            "freshness_seconds",
            "Seconds since the moment up to which every record is visible outside; NaN until it is \
             known",
        ),
        hbase_requests: new(
            reg,
            "hbase_requests",
            "Calls of HBase's Thrift server; call: getVer, getRowsWithColumns, mutateRows, \
             mutateRowsTs, scannerOpenWithScan, scannerGetList, scannerClose or \
             getColumnDescriptors; outcome: ok or error",
        ),
        hbase_seconds: add(reg, seconds(), "hbase_seconds", "Seconds that a call of HBase takes"),
        redis_seconds: add(
            reg,
            seconds(),
            "redis_seconds",
            "Seconds that a round trip to Redis takes",
        ),
        retries: each(
            new(
                reg,
                "retries",
                "Attempts that failed and are tried again; peer: kafka, hbase, redis or disk",
            ),
            Peer::ALL.map(|peer| OfPeer { peer: peer.name() }),
        ),
        cache_entries: new(reg, "cache_entries", "Histories that are held in memory"),
        cache_hits: new(reg, "cache_hits", "Hits whose history was in memory or asked for already"),
        cache_misses: new(reg, "cache_misses", "Hits whose history had to be asked for"),
        similar_articles: new(reg, "similar_articles", "Articles with neighbours"),
        similar_age: new(
            reg,
            "similar_age_seconds",
            "Seconds since the table of similar articles was last begun to be read; NaN before",
        ),
        known: Mutex::default(),
        registry,
    }
});

fn add<M: Metric + Clone>(
    registry: &mut Registry,
    metric: M,
    name: &'static str,
    help: impl Into<String>,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Counters get `_total` behind their name.
fn new<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &'static str,
    help: impl Into<String>,
) -> M {
    add(registry, M::default(), name, help)
}

/// Makes what is counted by these labels: what has not happened is 0, not missing.
fn each<L, M, const N: usize>(family: Family<L, M>, labels: [L; N]) -> Family<L, M>
where
    L: Clone + Eq + std::hash::Hash,
{
    for label in &labels {
        drop(family.get_or_create(label));
    }
    family
}

fn known() -> MutexGuard<'static, Known> {
    // What it guards is whole at any time.
    METRICS.known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gauge(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Names the topics that records come from; the first names stay.
pub fn topics(clicks: &str, articles: &str) {
    TOPICS.get_or_init(|| [clicks.to_owned(), articles.to_owned()]);
    records(&Totals::default(), 0);
}

/// Counts the records of an epoch, of which so many dead letters are of the topic of articles.
pub fn records(totals: &Totals, articles: u64) {
    let [of_clicks, of_articles] = TOPICS.get_or_init(|| ["clicks", "articles"].map(str::to_owned));
    let clicks = totals.all_dead_letters() - articles;
    for (topic, outcome, count) in [
        (of_clicks, "hit", totals.hits),
        (of_clicks, "other", totals.others),
        (of_clicks, "dead_letter", clicks),
        (of_articles, "new_article", totals.new_articles),
        (of_articles, "dead_letter", articles),
    ] {
        METRICS.records.get_or_create(&Came { topic: topic.clone(), outcome }).inc_by(count);
    }
    for (reason, count) in Reason::ALL.into_iter().zip(totals.dead_letters) {
        if count > 0 {
            let of_reason = OfReason { reason: reason.name() };
            METRICS.dead_letters.get_or_create(&of_reason).inc_by(count);
        }
    }
}

/// Notes that an epoch was cut.
pub fn cut(epoch: Epoch) {
    METRICS.epoch.set(gauge(epoch.0));
}

/// Notes where the mark stands, and how many epochs are cut and not wholly done.
pub fn mark(mark: Epoch, in_flight: usize) {
    METRICS.mark.set(gauge(mark.0));
    METRICS.in_flight.set(gauge(in_flight));
}

/// Counts what an epoch took in a stage.
pub fn stage(stage: Stage, took: Duration) {
    METRICS.stages.get_or_create(&OfStage { stage: stage.name() }).observe(took.as_secs_f64());
}

/// Notes how many records stand in a partition and were not read.
pub fn lag(topic: &str, partition: i32, records: u64) {
    let partition = OfPartition { topic: topic.to_owned(), partition };
    METRICS.lag.get_or_create(&partition).set(gauge(records));
}

/// Notes that a partition is read no more.
pub fn not_read(topic: &str, partition: i32) {
    METRICS.lag.remove(&OfPartition { topic: topic.to_owned(), partition });
}

/// Counts records of a partition that were gone and are passed over; as many as are known.
pub fn gap(topic: &str, partition: i32, records: u64) {
    let partition = OfPartition { topic: topic.to_owned(), partition };
    METRICS.gaps.get_or_create(&partition).inc();
    METRICS.gap_records.get_or_create(&partition).inc_by(records);
}

/// Notes up to when every record is visible outside, in milliseconds since 1970.
pub fn visible(until: u64) {
    known().visible = Some(until);
}

/// Counts what a worker's cache of histories has done since it was `before`.
pub fn cached(worker: usize, before: Cached, now: Cached) {
    METRICS.cache_hits.inc_by(now.hits - before.hits);
    METRICS.cache_misses.inc_by(now.misses - before.misses);
    let workers = &mut known().cached;
    workers.resize(workers.len().max(worker + 1), Cached::default());
    workers[worker] = now;
}

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
    METRICS.similar_articles.set(gauge(articles));
    known().similar = Some(begun);
}

/// Counts an attempt that failed and is tried again.
pub fn retried(peer: Peer) {
    METRICS.retries.get_or_create(&OfPeer { peer: peer.name() }).inc();
}

/// All numbers, as OpenMetrics has them.
pub fn text() -> String {
    {
        let known = known();
        let age = known.similar.map_or(f64::NAN, |read| read.elapsed().as_secs_f64());
        METRICS.similar_age.set(age);
        let since = |until| ledger::now().saturating_sub(until) as f64 / 1000.0;
        METRICS.freshness.set(known.visible.map_or(f64::NAN, since));
        METRICS.cache_entries.set(gauge(known.cached.iter().map(|it| it.cells).sum::<u64>()));
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &METRICS.registry)
        .expect("a string takes all text");
    text
}

/// Reads what [`text`] has written: name with labels, and value. Of histograms sum and count are told.
pub fn parse(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let samples = text.lines().filter_map(|line| line.strip_prefix("online_recall_"));
    let samples = samples.filter_map(|sample| sample.rsplit_once(' '));
    samples.filter(|(name, _)| !name.contains("_bucket{"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the names in the documents begin with, of which the program says each once.
    fn documented() -> BTreeSet<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split(['`', '{']).next().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_number_is_documented_and_every_documented_number_is_there() {
        // What has labels that are not known beforehand is there from the first time on.
        records(&Totals::default(), 0);
        hbase("getVer", true, Duration::ZERO);
        lag("documented", 0, 0);
        gap("documented", 0, 0);
        let text = text();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE online_recall_"));
        let names = types.map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
        });
        assert_eq!(names.collect::<BTreeSet<_>>(), documented());
        assert!(!text.contains("_total_total"), "{text}");
    }

    #[test]
    fn what_has_not_happened_is_zero_or_not_known() {
        let text = text();
        for stage in ["read", "bind", "compute", "recalls", "scores", "mark"] {
            assert!(text.contains(&format!("epoch_seconds_count{{stage=\"{stage}\"}}")), "{stage}");
        }
        for reason in Reason::ALL {
            let reason = reason.name();
            assert!(text.contains(&format!("dead_letters_total{{reason=\"{reason}\"}}")));
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn freshness_and_lag_are_as_they_were_told() {
        visible(ledger::now() - 5000);
        lag("click-trace", 3, 42);
        let text = text();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().parse::<f64>().unwrap()
        };
        let freshness = value("online_recall_freshness_seconds ");
        assert!((5.0..60.0).contains(&freshness), "{freshness}");
        let lag = "online_recall_lag_records{topic=\"click-trace\",partition=\"3\"} ";
        assert_eq!(value(lag), 42.0);
        not_read("click-trace", 3);
        assert!(!super::text().contains(lag), "what is read no more is not behind");
    }
}
