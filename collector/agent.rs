//! One agent of a file: its components, made of their keys, and judged as a whole.
//!
//! Nothing is opened here: an [`Agent`] says what there is to start, and what is wrong with it. Every
//! mistake is found at once; a component with a mistake is left out, and so is what cannot work without
//! it.

use crate::channel;
use crate::findings::{Finding, Findings};
use crate::group::Policy;
use crate::interceptor::Interceptor;
use crate::keys::Setting;
use crate::properties::Properties;
use crate::selector::Selector;
use crate::sink::Sink;
use crate::source::Source;
use reading::Reading;

mod elsewhere;
mod reading;

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

/// Reads one agent of a file. Components with mistakes are left out of what is returned, and what cannot
/// work without them: whether it may start all the same is the caller's to say.
pub fn read(properties: &Properties, name: &str) -> (Agent, Vec<Finding>) {
    let findings = Findings::default();
    let reading = Reading::new(properties, name, &findings);
    let agent = reading.agent();
    (agent, findings.into_sorted())
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
