//! The parts of an agent at work, as those see them who watch it: what each has counted, and whether it adds
//! up.
//!
//! The **audit**: what was read is what interceptors have dropped, what the selector sent nowhere, and what went
//! into channels; what went into channels is what waits there, what was delivered, and what was kept as dead
//! letters. [`Sums::missing`] is what the second lacks, and is 0 as long as no event is lost.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::counters::{Channel as OfChannel, Count, Counters, Sink as OfSink, Source as OfSource};
use crate::running::Opened;
use crate::sink::Tap;
use crate::source::Inlet;

/// The parts of an agent. Clones are of the same parts.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Its sources' inlets.
    pub inlets: Vec<Arc<Inlet>>,
    /// Its channels, with how many events were in each when it started.
    pub channels: Vec<(Opened, usize)>,
    /// Its sinks' taps.
    pub taps: Vec<Arc<Tap>>,
}

/// What has become of events since the agent has started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Events that sources have read.
    pub read: u64,
    /// Events that interceptors have dropped, by source and interceptor.
    pub filtered: BTreeMap<String, u64>,
    /// Events that a selector sent nowhere.
    pub nowhere: u64,
    /// Events that went into channels.
    pub accepted: u64,
    /// Copies that went into channels.
    pub put: u64,
    /// Copies that optional channels have declined.
    pub declined: u64,
    /// Copies that waited in channels when the agent started.
    pub before: u64,
    /// Copies that wait in channels now.
    pub waiting: u64,
    /// Copies that were delivered.
    pub delivered: u64,
    /// Copies that were kept as dead letters, by sink and reason.
    pub dead: BTreeMap<String, u64>,
}

impl Sums {
    /// Copies that should be somewhere and are nowhere; less than 0 where more were delivered than there were.
    pub fn missing(&self) -> i64 {
        let there = self.waiting + self.delivered + self.dead.values().sum::<u64>();
        (self.put + self.before).cast_signed() - there.cast_signed()
    }

    /// Events that were read and of which it is not known what became of them.
    pub fn unaccounted(&self) -> i64 {
        let known = self.accepted + self.nowhere + self.filtered.values().sum::<u64>();
        self.read.cast_signed() - known.cast_signed()
    }

    /// What has come since then.
    #[must_use]
    pub fn since(&self, then: &Sums) -> Sums {
        let by = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let less = |(name, many): (&String, &u64)| {
                (name.clone(), many - then.get(name).copied().unwrap_or(0).min(*many))
            };
            now.iter().map(less).filter(|(_, many)| *many > 0).collect()
        };
        Sums {
            read: self.read - then.read,
            filtered: by(&self.filtered, &then.filtered),
            nowhere: self.nowhere - then.nowhere,
            accepted: self.accepted - then.accepted,
            put: self.put - then.put,
            declined: self.declined - then.declined,
            before: then.waiting,
            waiting: self.waiting,
            delivered: self.delivered - then.delivered,
            dead: by(&self.dead, &then.dead),
        }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read={}", self.read)?;
        for (name, many) in &self.filtered {
            write!(f, " filtered.{name}={many}")?;
        }
        for (name, many) in [("nowhere", self.nowhere), ("declined", self.declined)] {
            if many > 0 {
                write!(f, " {name}={many}")?;
            }
        }
        write!(f, " put={} delivered={}", self.put, self.delivered)?;
        for (name, many) in &self.dead {
            write!(f, " dead.{name}={many}")?;
        }
        write!(f, " waiting={} missing={}", self.waiting, self.missing() + self.unaccounted())
    }
}

impl Parts {
    /// How it stood when the agent started.
    pub fn begun(&self) -> Sums {
        let waiting = self.channels.iter().map(|(_, before)| *before as u64).sum();
        Sums { waiting, ..Sums::default() }
    }

    /// What has become of all events, as it stands now: counters move while they are read.
    fn look(&self) -> Sums {
        let mut sums = Sums::default();
        // Against the events' way: nothing is counted in front that is not yet counted behind.
        for tap in &self.taps {
            sums.delivered += tap.counters().get(OfSink::EventDrainSuccessCount);
            for (reason, many) in tap.dead() {
                *sums.dead.entry(format!("{}.{reason}", tap.name())).or_default() += many;
            }
        }
        for (opened, before) in &self.channels {
            sums.waiting += opened.channel.len() as u64;
            sums.before += *before as u64;
        }
        for inlet in &self.inlets {
            let (name, flow) = (inlet.name(), inlet.flow());
            let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            sums.put += of(&flow.put);
            sums.declined += of(&flow.declined);
            sums.accepted += of(&flow.accepted);
            sums.nowhere += of(&flow.nowhere);
            for (interceptor, many) in &flow.filtered {
                let many = of(many);
                if many > 0 {
                    *sums.filtered.entry(format!("{name}.{interceptor}")).or_default() += many;
                }
            }
            sums.read += of(&flow.read);
        }
        sums
    }

    /// What has become of all events. Looks again and again for a moment where something seems to be missing:
    /// an event that is just being moved is not.
    pub fn sums(&self, wait: impl Fn(Duration)) -> Sums {
        let off = |sums: &Sums| sums.missing().abs() + sums.unaccounted().abs();
        let mut best = self.look();
        for _ in 0..50 {
            if off(&best) == 0 {
                break;
            }
            wait(Duration::from_millis(5));
            let next = self.look();
            if off(&next) <= off(&best) {
                best = next;
            }
        }
        best
    }

    /// All counters, as Flume's monitoring over HTTP has them: an object a component, every value a text.
    pub fn flume(&self) -> Value {
        let mut all = Map::new();
        for inlet in &self.inlets {
            all.insert(key(inlet.counters()), told::<OfSource>(inlet.counters(), &[]));
        }
        for (Opened { channel, .. }, _) in &self.channels {
            let (len, capacity) = (channel.len(), channel.capacity());
            let filled = len as f64 * 100.0 / capacity.max(1) as f64;
            let more = [
                ("ChannelSize", len.to_string()),
                ("ChannelCapacity", capacity.to_string()),
                ("ChannelFillPercentage", format!("{filled:?}")),
            ];
            all.insert(key(channel.counters()), told::<OfChannel>(channel.counters(), &more));
        }
        for tap in &self.taps {
            all.insert(key(tap.counters()), told::<OfSink>(tap.counters(), &[]));
        }
        Value::Object(all)
    }
}

fn key<C: Count>(counters: &Counters<C>) -> String {
    format!("{}.{}", C::KIND, counters.name())
}

fn told<C: Count>(counters: &Counters<C>, more: &[(&str, String)]) -> Value {
    let mut all = Map::new();
    for (name, value) in counters.all() {
        all.insert(name.to_owned(), value.to_string().into());
    }
    for (name, value) in more {
        all.insert((*name).to_owned(), json!(value));
    }
    all.insert("Type".to_owned(), C::KIND.into());
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent;
    use crate::properties::{Properties, Variables};
    use crate::running::Running;
    use crate::stop::Stop;

    const AGENT: &str = "a1.sources = r1\na1.channels = c1 c2\na1.sinks = k1\n\
                         a1.sources.r1.type = seq\na1.sources.r1.channels = c1 c2\n\
                         a1.sources.r1.totalEvents = 1000\na1.sources.r1.batchSize = 7\n\
                         a1.channels.c1.type = memory\na1.channels.c2.type = memory\n\
                         a1.channels.c2.capacity = 1000\n\
                         a1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n";

    #[test]
    fn everything_that_was_read_is_somewhere() {
        let properties = Properties::parse(AGENT.as_bytes(), &Variables::default()).unwrap();
        let (agent, findings) = agent::read(&properties, "a1");
        let running = Running::start(agent, &[]).unwrap();
        let parts = running.parts().clone();
        let wait = |time| {
            Stop::default().wait(time);
        };
        let sums = loop {
            let sums = parts.sums(wait);
            assert_eq!((sums.missing(), sums.unaccounted()), (0, 0), "{sums} {findings:?}");
            if sums.delivered == 1000 {
                break sums;
            }
        };
        assert_eq!((sums.read, sums.put, sums.waiting), (1000, 2000, 1000));
        assert_eq!(sums.to_string(), "read=1000 put=2000 delivered=1000 waiting=1000 missing=0");
        let flume = parts.flume();
        assert_eq!(flume["SOURCE.r1"]["EventAcceptedCount"], "1000");
        assert_eq!(flume["CHANNEL.c2"]["ChannelFillPercentage"], "100.0");
        assert_eq!(flume["SINK.k1"]["Type"], "SINK");
        let left = running.end(Duration::ZERO, &Stop::default(), &[]);
        assert_eq!(left.iter().map(|opened| opened.channel.len()).sum::<usize>(), 1000);
    }
}
