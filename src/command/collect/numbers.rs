//! What an agent answers over HTTP: its numbers, for Prometheus and as Flume has them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use collector::counters::{Count, Counters};
use collector::parts::Parts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::http::OPEN_METRICS;

/// The parts of the agent that is at work now: another one's, once a changed file was taken up.
#[derive(Clone, Debug, Default)]
pub(super) struct Now(Arc<Mutex<Parts>>);

impl Now {
    /// Notes whose numbers they are from now on.
    pub fn set(&self, parts: Parts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = parts;
    }

    fn get(&self) -> Parts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers `/metrics` for Prometheus, or in Flume's form, and each also under a name of its own.
pub(super) fn router(now: Now, as_flume: bool) -> Router {
    let router = Router::new().route("/prometheus", get(open_metrics)).route("/flume", get(flume));
    let router = if as_flume {
        router.route("/metrics", get(flume))
    } else {
        router.route("/metrics", get(open_metrics))
    };
    router.route("/health", get(|| async { "ok\n" })).with_state(now)
}

async fn flume(State(now): State<Now>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], now.get().flume().to_string())
}

async fn open_metrics(State(now): State<Now>) -> impl IntoResponse {
    let mut registry = Registry::with_prefix("online_recall_collector");
    registry.register_collector(Box::new(Numbers(now.get())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .expect("a string takes all text");
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}

#[derive(Debug)]
struct Numbers(Parts);

type Labels = Vec<(&'static str, String)>;

/// Encodes one number with all its labels.
fn each<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    all: impl IntoIterator<Item = (Labels, M)>,
) -> fmt::Result {
    let mut all = all.into_iter().peekable();
    let Some((_, first)) = all.peek() else { return Ok(()) };
    let mut metric = encoder.encode_descriptor(name, help, None, first.metric_type())?;
    for (labels, value) in all {
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counted<C: Count>(counters: &Counters<C>) -> impl Iterator<Item = (Labels, ConstCounter<u64>)> {
    let name = counters.name().to_owned();
    C::NAMES.iter().zip(counters.all()).map(move |(counter, (_, value))| {
        let kind = C::KIND.to_lowercase();
        let labels =
            vec![("kind", kind), ("component", name.clone()), ("counter", (*counter).to_owned())];
        (labels, ConstCounter::new(value))
    })
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Parts { inlets, channels, taps } = &self.0;
        let encoder = &mut encoder;
        let of = |counter: &std::sync::atomic::AtomicU64| {
            ConstCounter::new(counter.load(std::sync::atomic::Ordering::Relaxed))
        };
        let source = |name: &str| ("source", name.to_owned());
        let flows = || inlets.iter().map(|inlet| (inlet.name(), inlet.flow()));
        let read = flows().map(|(name, flow)| (vec![source(name)], of(&flow.read)));
        each(encoder, ("events_read", "Events that a source has read; source: its name"), read)?;
        let filtered = flows().flat_map(|(name, flow)| {
            flow.filtered.iter().map(move |(interceptor, many)| {
                (vec![source(name), ("interceptor", interceptor.clone())], of(many))
            })
        });
        let help = "Events that an interceptor has dropped; source, interceptor: their names";
        each(encoder, ("events_filtered", help), filtered)?;
        let nowhere = flows().map(|(name, flow)| (vec![source(name)], of(&flow.nowhere)));
        let help = "Events that the selector has sent to no channel; source: its name";
        each(encoder, ("events_nowhere", help), nowhere)?;
        let declined = flows().map(|(name, flow)| (vec![source(name)], of(&flow.declined)));
        let help = "Copies of events that an optional channel did not take; source: its name";
        each(encoder, ("events_declined", help), declined)?;
        let put = flows().map(|(name, flow)| (vec![source(name)], of(&flow.put)));
        let help = "Copies of events that went into channels; source: its name";
        each(encoder, ("events_put", help), put)?;

        let channel = |size: fn(&dyn collector::channel::Channel) -> usize| {
            channels.iter().map(move |(opened, _)| {
                let size = i64::try_from(size(&*opened.channel)).unwrap_or(i64::MAX);
                (vec![("channel", opened.name.clone())], ConstGauge::new(size))
            })
        };
        let help = "Events that wait in a channel; channel: its name";
        each(encoder, ("channel_events", help), channel(|channel| channel.len()))?;
        let help = "Events that a channel holds at most; channel: its name";
        each(encoder, ("channel_capacity", help), channel(|channel| channel.capacity()))?;

        let delivered = taps.iter().map(|tap| {
            let many = tap.counters().get(collector::counters::Sink::EventDrainSuccessCount);
            (vec![("sink", tap.name().to_owned())], ConstCounter::new(many))
        });
        let help = "Copies of events that a sink has delivered; sink: its name";
        each(encoder, ("events_delivered", help), delivered)?;
        let dead = taps.iter().flat_map(|tap| {
            tap.dead().into_iter().map(|(reason, many)| {
                let labels = vec![("sink", tap.name().to_owned()), ("reason", reason.to_owned())];
                (labels, ConstCounter::new(many))
            })
        });
        let help =
            "Copies of events that were kept as dead letters; sink: its name; reason: a word";
        each(encoder, ("dead_letters", help), dead)?;

        let all = inlets.iter().flat_map(|inlet| counted(inlet.counters()));
        let all =
            all.chain(channels.iter().flat_map(|(opened, _)| counted(opened.channel.counters())));
        let all = all.chain(taps.iter().flat_map(|tap| counted(tap.counters())));
        let help = "Flume's counters; kind: source, channel or sink; component: its name; counter: Flume's name";
        each(encoder, ("flume", help), all)
    }
}
