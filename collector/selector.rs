//! Which channels an event goes to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::event::{Event, Text};
use crate::keys::Keys;

/// Chooses among the channels of a source, which it knows by their places in the source's list.
#[derive(Debug)]
pub enum Selector {
    /// Every event goes to every channel.
    Replicating {
        /// What every event must get into, and what it goes into if there is room.
        to: Channels,
    },
    /// A header says where an event goes.
    Multiplexing {
        /// The header.
        header: Text,
        /// Where its values lead; optional ones of a value that has no required ones go with the default.
        by_value: BTreeMap<String, Channels>,
        /// Where others go, and events without the header: perhaps nowhere.
        default: Channels,
    },
    /// Batches go to one channel after another.
    LoadBalancing {
        /// Among which.
        among: Vec<usize>,
        /// Which is next.
        next: AtomicUsize,
        /// Whether chance says which.
        at_random: bool,
    },
}

/// Channels that an event goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// All of them must take it, or none does.
    pub required: Vec<usize>,
    /// They take it if they can.
    pub optional: Vec<usize>,
}

impl Selector {
    /// Reads the keys below `selector.` of a source with these channels.
    pub fn read(keys: &Keys<'_>, channels: &[String]) -> Selector {
        #[derive(Clone, Copy)]
        enum Kind {
            Replicating,
            Multiplexing,
            LoadBalancing,
        }
        const CLASSES: &str = "org.apache.flume.channel.";
        let kind = keys.choice(
            "type",
            "replicating",
            &[
                ("replicating", Kind::Replicating),
                ("multiplexing", Kind::Multiplexing),
                ("load_balancing", Kind::LoadBalancing),
                (&format!("{CLASSES}ReplicatingChannelSelector"), Kind::Replicating),
                (&format!("{CLASSES}MultiplexingChannelSelector"), Kind::Multiplexing),
                (&format!("{CLASSES}LoadBalancingChannelSelector"), Kind::LoadBalancing),
            ],
        );
        let places = |key: &str, names: &str| -> Vec<usize> {
            let mut places = Vec::new();
            for name in names.split_whitespace() {
                match channels.iter().position(|channel| channel == name) {
                    Some(place) if !places.contains(&place) => places.push(place),
                    Some(_) => {}
                    None => {
                        let text = format_args!(
                            "the source has no channel {name}; it has: {}",
                            channels.join(", ")
                        );
                        keys.mistaken(key, text);
                    }
                }
            }
            places
        };
        match kind {
            Kind::Replicating => {
                let optional = places("optional", &keys.text("optional").unwrap_or_default());
                let required = (0..channels.len()).filter(|place| !optional.contains(place));
                Selector::Replicating { to: Channels { required: required.collect(), optional } }
            }
            Kind::Multiplexing => {
                let header = keys.text_or("header", "flume.selector.header").into();
                let required = |key: &str| places(key, &keys.text(key).unwrap_or_default());
                let mut default = Channels { required: required("default"), optional: Vec::new() };
                let mut by_value: BTreeMap<String, Channels> = BTreeMap::new();
                for (value, names) in keys.below("mapping.") {
                    let required = places(&format!("mapping.{value}"), &names);
                    by_value.entry(value).or_default().required = required;
                }
                if by_value.is_empty() {
                    keys.doubtful(
                        "type",
                        "nothing is mapped: every event goes to the default channels",
                    );
                }
                for (value, names) in keys.below("optional.") {
                    let key = format!("optional.{value}");
                    let mut optional = places(&key, &names);
                    let to = if value == "default" {
                        &mut default
                    } else {
                        by_value.entry(value).or_insert_with(|| default.clone())
                    };
                    optional.retain(|place| !to.required.contains(place));
                    to.optional = optional;
                }
                Selector::Multiplexing { header, by_value, default }
            }
            Kind::LoadBalancing => {
                let at_random = keys.choice(
                    "policy",
                    "round_robin",
                    &[("round_robin", false), ("random", true)],
                );
                let among = (0..channels.len()).collect();
                Selector::LoadBalancing { among, next: AtomicUsize::new(0), at_random }
            }
        }
    }

    /// Splits a batch among so many channels: what each is to get, as something it must take or may.
    /// Events that go nowhere are counted.
    pub fn split(&self, events: Vec<Event>, channels: usize) -> Split {
        match self {
            Selector::Replicating { to } => Split::whole(events, to),
            Selector::LoadBalancing { among, next, at_random } => {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let place = if *at_random { scattered(turn) } else { turn } % among.len().max(1);
                let to = Channels { required: vec![among[place]], optional: Vec::new() };
                Split::whole(events, &to)
            }
            Selector::Multiplexing { header, by_value, default } => {
                let mut split = Split::default();
                let mut required: Vec<Vec<Event>> = vec![Vec::new(); channels];
                let mut optional = required.clone();
                for event in events {
                    let value = event.headers.get(header).filter(|value| !value.trim().is_empty());
                    let to = value.and_then(|value| by_value.get(&**value)).unwrap_or(default);
                    if to.required.is_empty() && to.optional.is_empty() {
                        split.nowhere += 1;
                    }
                    for &place in &to.required {
                        required[place].push(event.clone());
                    }
                    for &place in &to.optional {
                        optional[place].push(event.clone());
                    }
                }
                let parts = |all: Vec<Vec<Event>>| {
                    let parts = all.into_iter().enumerate();
                    parts.filter(|(_, events)| !events.is_empty()).collect()
                };
                (split.required, split.optional) = (parts(required), parts(optional));
                split
            }
        }
    }
}

/// Spreads consecutive numbers evenly (the finalizer of splitmix64).
fn scattered(turn: usize) -> usize {
    let mut x = (turn as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 1) as usize
}

/// A batch, split among channels.
#[derive(Debug, Default)]
pub struct Split {
    /// By channel, what it must take.
    pub required: Vec<(usize, Vec<Event>)>,
    /// By channel, what it may take.
    pub optional: Vec<(usize, Vec<Event>)>,
    /// How many events go nowhere.
    pub nowhere: usize,
}

impl Split {
    fn whole(events: Vec<Event>, to: &Channels) -> Split {
        let mut split = Split::default();
        for &place in &to.optional {
            split.optional.push((place, events.clone()));
        }
        if let Some((&last, rest)) = to.required.split_last() {
            for &place in rest {
                split.required.push((place, events.clone()));
            }
            split.required.push((last, events));
        } else if to.optional.is_empty() {
            split.nowhere = events.len();
        }
        split
    }
}
