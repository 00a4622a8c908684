//! One agent of a file: its components, made of their keys, and judged as a whole.
//!
//! Nothing is opened here: an [`Agent`] says what there is to start, and what is wrong with it. Every
//! mistake is found at once; a component with a mistake is [spoiled](Agent::spoiled), and so is what
//! cannot work without it.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel;
use crate::findings::{Finding, Findings, Weight};
use crate::group::Policy;
use crate::interceptor::{self, Interceptor};
use crate::keys::{Keys, Setting, nearest};
use crate::properties::{Oddity, Properties, Property};
use crate::selector::Selector;
use crate::sink::{self, Sink};
use crate::source::{self, Source};

mod elsewhere;

/// What an agent is made of.
#[derive(Debug)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Its sources.
    pub sources: Vec<PlannedSource>,
    /// Its channels.
    pub channels: Vec<(String, channel::Settings)>,
    /// Its sinks, each in a group or alone in one.
    pub groups: Vec<PlannedGroup>,
    /// What every key comes to, by component.
    pub settings: Vec<(String, Vec<Setting>)>,
}

/// A source, to be started.
#[derive(Debug)]
pub struct PlannedSource {
    /// Its name.
    pub name: String,
    /// What makes its events.
    pub source: Box<dyn Source>,
    /// What looks at them, by name and in order.
    pub interceptors: Vec<(String, Box<dyn Interceptor>)>,
    /// Which channels they go to, by place in `channels`.
    pub selector: Selector,
    /// Its channels.
    pub channels: Vec<String>,
}

/// A group of sinks, to be started.
#[derive(Debug)]
pub struct PlannedGroup {
    /// Its name, or that of its only sink.
    pub name: String,
    /// How it chooses.
    pub policy: Policy,
    /// Its sinks.
    pub sinks: Vec<PlannedSink>,
}

/// A sink, to be started.
#[derive(Debug)]
pub struct PlannedSink {
    /// Its name.
    pub name: String,
    /// What hands events on.
    pub sink: Box<dyn Sink>,
    /// The channel that it takes from.
    pub channel: String,
    /// Where its dead letters go, if not to the usual place.
    pub dead_letters: Option<String>,
}

/// The kinds of components, as they stand in a key, with what one of them is called.
const KINDS: [(&str, &str); 4] = [
    ("sources", "source"),
    ("channels", "channel"),
    ("sinks", "sink"),
    ("sinkgroups", "group of sinks"),
];

/// Reads one agent of a file. Components with mistakes are left out of what is returned, and what cannot
/// work without them: whether it may start all the same is the caller's to say.
pub fn read(properties: &Properties, name: &str) -> (Agent, Vec<Finding>) {
    let findings = Findings::default();
    let reading = Reading::new(properties, name, &findings);
    let agent = reading.agent();
    (agent, findings.into_sorted())
}

struct Reading<'a> {
    name: &'a str,
    findings: &'a Findings,
    /// By kind and name of the component: its keys.
    components: BTreeMap<(&'static str, &'a str), Vec<(String, &'a Property)>>,
    /// By kind: the names of the components that are listed.
    listed: BTreeMap<&'static str, Vec<&'a str>>,
    settings: std::cell::RefCell<Vec<(String, Vec<Setting>)>>,
}

impl<'a> Reading<'a> {
    fn new(properties: &'a Properties, name: &'a str, findings: &'a Findings) -> Reading<'a> {
        let mut reading = Reading {
            name,
            findings,
            components: BTreeMap::new(),
            listed: BTreeMap::new(),
            settings: Default::default(),
        };
        let mut agents = BTreeSet::new();
        let mut unlisted = BTreeMap::new();
        for property in &properties.all {
            let Some((agent, rest)) = property.key.split_once('.') else {
                let text = format!(
                    "{} has no effect: a key begins with the name of an agent",
                    property.key
                );
                reading.found(Weight::Warning, Some(property.line), None, text);
                continue;
            };
            agents.insert(agent);
            if agent == name {
                reading.place(property, rest, &mut unlisted);
            }
        }
        if !agents.contains(name) {
            let has: Vec<_> = agents.into_iter().collect();
            let has = if has.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has: {}", has.join(", "))
            };
            let text = format!("the file has no agent {name}; {has}");
            reading.found(Weight::Mistake, None, None, text);
        }
        reading.judge_oddities(properties);
        for ((kind, component), line) in unlisted {
            let listed = reading.listed.get(kind).map(Vec::as_slice).unwrap_or_default();
            if listed.contains(&component) {
                continue;
            }
            let mut text =
                format!("{name}.{kind} does not list {component}: its keys have no effect");
            if let Some(nearest) = nearest(component, listed.iter().copied()) {
                text += &format!("; did you mean {nearest}?");
            }
            reading.found(Weight::Warning, Some(line), None, text);
        }
        reading
    }

    /// Sorts a key of the agent into its component.
    fn place(
        &mut self,
        property: &'a Property,
        rest: &'a str,
        unlisted: &mut BTreeMap<(&'static str, &'a str), usize>,
    ) {
        let (kind, below) = rest.split_once('.').unwrap_or((rest, ""));
        let line = Some(property.line);
        let Some(&(kind, one)) = KINDS.iter().find(|(known, _)| *known == kind) else {
            if kind == "configfilters" {
                let text = format!(
                    "{}: filters are not supported; write ${{env:NAME}} for a variable",
                    property.key
                );
                self.found(Weight::Mistake, line, None, text);
                return;
            }
            let mut text = format!("{} is no key of an agent: it has no effect", property.key);
            let known = KINDS.map(|(known, _)| known);
            if let Some(nearest) = nearest(kind, known) {
                text += &format!("; did you mean {nearest}?");
            }
            self.found(Weight::Warning, line, None, text);
            return;
        };
        if below.is_empty() {
            let names = self.listed.entry(kind).or_default();
            let mut again = Vec::new();
            for name in property.value.split_whitespace() {
                if names.contains(&name) { again.push(name) } else { names.push(name) }
            }
            let empty = names.is_empty();
            for name in again {
                let text = format!("{} lists {name} twice", property.key);
                self.found(Weight::Warning, line, None, text);
            }
            if empty {
                self.found(Weight::Mistake, line, None, format!("{} lists no {one}", property.key));
            }
            return;
        }
        let (component, key) = below.split_once('.').unwrap_or((below, ""));
        unlisted.entry((kind, component)).or_insert(property.line);
        if key.is_empty() {
            let text =
                format!("{} has no effect: it names no key of the {one} {component}", property.key);
            self.found(Weight::Warning, line, None, text);
            return;
        }
        self.components.entry((kind, component)).or_default().push((key.to_owned(), property));
    }

    fn judge_oddities(&self, properties: &Properties) {
        let own = format!("{}.", self.name);
        for (line, oddity) in &properties.oddities {
            // Of the last one on its line; another agent's are not ours to judge.
            let of = properties.all.iter().find(|property| property.line == *line);
            if !of.is_some_and(|property| property.key.starts_with(&own)) {
                continue;
            }
            let weight = if matches!(oddity, Oddity::Missing(_)) {
                Weight::Mistake
            } else {
                Weight::Warning
            };
            self.found(weight, Some(*line), None, oddity.to_string());
        }
    }

    fn found(&self, weight: Weight, line: Option<usize>, component: Option<String>, text: String) {
        self.findings.add(Finding { weight, line, component, text });
    }

    fn names(&self, kind: &'static str) -> Vec<&'a str> {
        self.listed.get(kind).cloned().unwrap_or_default()
    }

    fn keys(&self, kind: &'static str, name: &'a str) -> Keys<'a> {
        let keys = self.components.get(&(kind, name)).cloned().unwrap_or_default();
        Keys::new(self.name, &format!("{kind}.{name}"), keys, self.findings)
    }

    /// Ends the reading of a component or a part of one.
    fn finish(&self, keys: Keys<'_>) {
        let path = keys.path().to_owned();
        self.settings.borrow_mut().push((path, keys.finish()));
    }

    /// Notes a type that is not there, and says what is.
    fn unknown(&self, keys: &Keys<'_>, one: &str, kind: &str, known: &[&str]) {
        if let Some(instead) = elsewhere::instead(one, kind) {
            keys.mistaken("type", format_args!("the {one} {kind} is not supported; {instead}"));
            return;
        }
        let mut text = format!("there is no {one} {kind}");
        match nearest(kind, known.iter().copied()) {
            Some(nearest) => text += &format!("; did you mean {nearest}?"),
            None => text += &format!("; there is: {}", known.join(", ")),
        }
        keys.mistaken("type", text);
    }

    fn agent(&self) -> Agent {
        for (kind, one) in &KINDS[..3] {
            if self.names(kind).is_empty()
                && !self.listed.contains_key(kind)
                && !self.components.is_empty()
            {
                let text = format!("{}.{kind} is missing: the agent has no {one}", self.name);
                self.found(Weight::Mistake, None, None, text);
            }
        }
        let channels = self.channels();
        let sources = self.sources(&channels);
        let groups = self.groups(&channels);
        self.judge_wholeness(&sources, &channels, &groups);
        let mut agent = Agent {
            name: self.name.to_owned(),
            sources,
            channels,
            groups,
            settings: self.settings.take(),
        };
        agent.leave_out(self.findings);
        agent
    }

    fn channels(&self) -> Vec<(String, channel::Settings)> {
        let mut channels = Vec::new();
        for name in self.names("channels") {
            let keys = self.keys("channels", name);
            let kind = keys.required("type");
            match channel::Settings::read(&kind, &keys) {
                Some(settings) => {
                    judge_folders(&keys, &settings, &channels);
                    channels.push((name.to_owned(), settings));
                }
                None if kind.is_empty() => {}
                None => self.unknown(&keys, "channel", &kind, channel::TYPES),
            }
            self.finish(keys);
        }
        channels
    }

    fn sources(&self, channels: &[(String, channel::Settings)]) -> Vec<PlannedSource> {
        let mut sources = Vec::new();
        for name in self.names("sources") {
            let keys = self.keys("sources", name);
            let kind = keys.required("type");
            let own = keys.words("channels");
            if own.is_empty() && !keys.is_given("channels") {
                keys.required("channels");
            }
            self.judge_channels(&keys, "channels", &own);
            let selecting = keys.part("selector.");
            let selector = Selector::read(&selecting, &own);
            self.finish(selecting);
            let interceptors = self.interceptors(&keys);
            let source = source::read(&kind, &keys);
            if source.is_none() && !kind.is_empty() {
                self.unknown(&keys, "source", &kind, source::TYPES);
            }
            if let Some(source) = source {
                for (channel, settings) in
                    channels.iter().filter(|(channel, _)| own.contains(channel))
                {
                    let (batch, most) = (source.batch(), settings.transaction_capacity());
                    if batch > most {
                        let key = if keys.is_given("batchSize") { "batchSize" } else { "channels" };
                        keys.mistaken(
                            key,
                            format_args!(
                                "batches of {batch} events are more than the transactionCapacity of channel \
                                 {channel}, which is {most}"
                            ),
                        );
                    }
                    if !settings.is_durable()
                        && let Some(loss) = source.loses()
                    {
                        keys.advise(
                            "type",
                            format_args!(
                                "when the agent is killed, {loss}, and all that waits in channel {channel}, which \
                                 is in memory (type = file keeps it)"
                            ),
                        );
                    }
                }
                let name = name.to_owned();
                sources.push(PlannedSource { name, source, interceptors, selector, channels: own });
            }
            self.finish(keys);
        }
        sources
    }

    fn interceptors(&self, keys: &Keys<'_>) -> Vec<(String, Box<dyn Interceptor>)> {
        let mut interceptors = Vec::new();
        for name in keys.words("interceptors") {
            let part = keys.part(&format!("interceptors.{name}."));
            let kind = part.required("type");
            match interceptor::read(&kind, &part) {
                Some(interceptor) => interceptors.push((name, interceptor)),
                None if kind.is_empty() => {}
                None => self.unknown(&part, "interceptor", &kind, interceptor::TYPES),
            }
            self.finish(part);
        }
        interceptors
    }

    fn judge_channels(&self, keys: &Keys<'_>, key: &str, own: &[String]) {
        let listed = self.names("channels");
        for channel in own.iter().filter(|channel| !listed.contains(&channel.as_str())) {
            let mut text = format!("{}.channels does not list {channel}", self.name);
            if let Some(nearest) = nearest(channel, listed.iter().copied()) {
                text += &format!("; did you mean {nearest}?");
            }
            keys.mistaken(key, text);
        }
    }

    fn sinks(&self, channels: &[(String, channel::Settings)]) -> Vec<PlannedSink> {
        let mut sinks = Vec::new();
        for name in self.names("sinks") {
            let keys = self.keys("sinks", name);
            let kind = keys.required("type");
            let channel = keys.required("channel");
            if channel.split_whitespace().count() > 1 {
                keys.mistaken("channel", "a sink takes from one channel");
            } else if !channel.is_empty() {
                self.judge_channels(&keys, "channel", std::slice::from_ref(&channel));
            }
            let dead_letters = keys.text("deadLetters");
            let sink = sink::read(&kind, &keys);
            if sink.is_none() && !kind.is_empty() {
                self.unknown(&keys, "sink", &kind, sink::TYPES);
            }
            if let Some(sink) = sink {
                let settings = channels.iter().find(|(known, _)| *known == channel);
                if let Some((_, settings)) = settings {
                    let (batch, most) = (sink.batch(), settings.transaction_capacity());
                    if batch > most {
                        keys.mistaken(
                            "channel",
                            format_args!(
                                "batches of {batch} events are more than the transactionCapacity of channel \
                                 {channel}, which is {most}"
                            ),
                        );
                    }
                    if let Some(why) = sink.must_be_alone()
                        && !settings.is_durable()
                    {
                        keys.mistaken(
                            "channel",
                            format_args!("{why} needs a channel of type file"),
                        );
                    }
                }
                sinks.push(PlannedSink { name: name.to_owned(), sink, channel, dead_letters });
            }
            self.finish(keys);
        }
        sinks
    }

    fn groups(&self, channels: &[(String, channel::Settings)]) -> Vec<PlannedGroup> {
        let mut sinks = self.sinks(channels);
        let mut groups: Vec<PlannedGroup> = Vec::new();
        for name in self.names("sinkgroups") {
            let keys = self.keys("sinkgroups", name);
            let own = keys.words("sinks");
            if own.is_empty() && !keys.is_given("sinks") {
                keys.required("sinks");
            }
            let choosing = keys.part("processor.");
            let policy = Policy::read(&choosing, &own);
            self.finish(choosing);
            let mut members = Vec::new();
            for sink in &own {
                if !self.names("sinks").contains(&sink.as_str()) {
                    keys.mistaken(
                        "sinks",
                        format_args!("{}.sinks does not list {sink}", self.name),
                    );
                } else if groups
                    .iter()
                    .any(|group| group.sinks.iter().any(|known| known.name == *sink))
                {
                    keys.mistaken("sinks", format_args!("{sink} is in another group already"));
                } else if let Some(place) = sinks.iter().position(|known| known.name == *sink) {
                    members.push(sinks.remove(place));
                }
            }
            groups.push(PlannedGroup { name: name.to_owned(), policy, sinks: members });
            self.finish(keys);
        }
        for sink in sinks {
            let name = sink.name.clone();
            groups.push(PlannedGroup { name, policy: Policy::Alone, sinks: vec![sink] });
        }
        groups
    }

    /// What is wrong between components that are each well.
    fn judge_wholeness(
        &self,
        sources: &[PlannedSource],
        channels: &[(String, channel::Settings)],
        groups: &[PlannedGroup],
    ) {
        let sinks = || groups.iter().flat_map(|group| &group.sinks);
        for (channel, _) in channels {
            let line = self.keys("channels", channel).line("type");
            let warn = |text: String| self.found(Weight::Warning, line, None, text);
            let readers: Vec<_> = sinks().filter(|sink| sink.channel == *channel).collect();
            let is_fed = sources.iter().any(|source| source.channels.contains(channel));
            if readers.is_empty() {
                warn(format!(
                    "no sink takes from channel {channel}: it fills up, and stops its sources"
                ));
            }
            if !is_fed {
                warn(format!("no source puts into channel {channel}"));
            }
            for sink in readers.iter().filter(|_| readers.len() > 1) {
                if let Some(why) = sink.sink.must_be_alone() {
                    let keys = self.keys("sinks", &sink.name);
                    let text = format!("{why} needs a channel that no other sink takes from");
                    keys.mistaken("channel", text);
                }
            }
            for source in sources.iter().filter(|source| source.channels.contains(channel)) {
                for sink in readers.iter().filter(|sink| sink.sink.needs("timestamp")) {
                    if !source.may_set("timestamp") {
                        self.keys("sinks", &sink.name).advise(
                            "type",
                            format_args!(
                                "it needs the header timestamp, which no interceptor of source {} sets; events \
                                 without it become dead letters (hdfs.useLocalTimeStamp = true takes the time of \
                                 writing)",
                                source.name
                            ),
                        );
                    }
                }
            }
        }
    }
}

/// Two channels cannot have the same folder.
fn judge_folders(
    keys: &Keys<'_>,
    settings: &channel::Settings,
    others: &[(String, channel::Settings)],
) {
    for folder in settings.folders() {
        let other = others.iter().find(|(_, other)| other.folders().contains(&folder));
        if let Some((other, _)) = other {
            let key = ["dataDirs", "checkpointDir"].into_iter().find(|key| keys.is_given(key));
            let folder = folder.display();
            keys.mistaken(
                key.unwrap_or("type"),
                format_args!(
                    "channel {other} has the folder {folder} already; each needs a checkpointDir and dataDirs of \
                     its own"
                ),
            );
            return;
        }
    }
}

impl PlannedSource {
    fn may_set(&self, header: &str) -> bool {
        self.source.may_set(header)
            || self.interceptors.iter().any(|(_, interceptor)| interceptor.sets(header))
    }
}

impl Agent {
    /// Leaves out the components that have a mistake, and those that cannot work without them, as Flume does.
    fn leave_out(&mut self, findings: &Findings) {
        self.channels.retain(|(name, _)| !findings.spoil(&format!("channels.{name}")));
        let has = |channel: &String| self.channels.iter().any(|(name, _)| name == channel);
        self.sources.retain(|source| {
            !findings.spoil(&format!("sources.{}", source.name)) && source.channels.iter().all(has)
        });
        for group in &mut self.groups {
            group.sinks.retain(|sink| {
                !findings.spoil(&format!("sinks.{}", sink.name)) && has(&sink.channel)
            });
        }
        self.groups.retain(|group| {
            !group.sinks.is_empty() && !findings.spoil(&format!("sinkgroups.{}", group.name))
        });
    }

    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.groups.is_empty()
    }
}

#[cfg(test)]
mod tests;
