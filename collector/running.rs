//! An agent at work: a thread for every source and for every group of sinks.
//!
//! It ends from its front to its back, and nothing that was committed is lost: first the sources stop; then
//! the sinks deliver what still waits in memory, as long as they are given for that; then they bring to an end
//! what they have taken, and close. What waits in durable channels stays there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::agent::{Agent, PlannedGroup, PlannedSource};
use crate::channel::{self, Channel};
use crate::dead_letters::DeadLetters;
use crate::group::{Group, Member};
use crate::sink::Tap;
use crate::source::{Inlet, Source};
use crate::stop::{Stop, chain};

/// The waits after a failure: of a group of sinks the first, of both the longest (Flume's).
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How often what goes on failing is logged.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// An agent at work.
#[derive(Debug)]
pub struct Running {
    sources: Vec<(Arc<Inlet>, JoinHandle<()>)>,
    groups: Vec<(Vec<Arc<Tap>>, JoinHandle<()>)>,
    channels: Vec<Opened>,
    ends: Ends,
}

/// A channel at work, with what it was made of.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its name.
    pub name: String,
    /// What it was made of.
    pub settings: channel::Settings,
    /// The channel.
    pub channel: Arc<dyn Channel>,
}

/// How threads are told that it ends, step by step.
#[derive(Clone, Debug, Default)]
struct Ends {
    /// Sources read no more.
    sources: Stop,
    /// Sinks deliver what waits in memory, and end.
    sinks: Stop,
    /// Sinks end, whatever waits.
    at_once: Stop,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A channel cannot be had.
    #[error("cannot open channel {name}")]
    Channel {
        /// Which.
        name: String,
        /// Why.
        source: channel::Failure,
    },
    /// The system has no room for a thread.
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
}

/// What is kept below the home of the agent's user, where its file names no other place: Flume's folder,
/// ours in it, the agent's in that.
pub fn folder(agent: &str, component: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join(".flume/online-recall").join(agent).join(component)
}

impl Running {
    /// Starts an agent. Channels of the same name and settings that are handed over are used as they are.
    ///
    /// # Errors
    ///
    /// If a channel or thread cannot be had: then nothing runs.
    pub fn start(agent: Agent, handed_over: &[Opened]) -> Result<Running, Error> {
        let mut channels = Vec::new();
        for (name, settings) in agent.channels {
            let known =
                handed_over.iter().find(|known| known.name == name && known.settings == settings);
            let channel = match known {
                Some(known) => Arc::clone(&known.channel),
                None => {
                    let opened = settings.open(&name);
                    opened.map_err(|source| Error::Channel { name: name.clone(), source })?
                }
            };
            channel.counters().start();
            channels.push(Opened { name, settings, channel });
        }
        let mut running =
            Running { sources: Vec::new(), groups: Vec::new(), channels, ends: Ends::default() };
        // Sinks first: what waits from before makes room for what comes.
        for group in agent.groups {
            running.start_group(&agent.name, group)?;
        }
        for source in agent.sources {
            running.start_source(source)?;
        }
        Ok(running)
    }

    fn channel(&self, name: &str) -> Arc<dyn Channel> {
        let found = self.channels.iter().find(|channel| channel.name == name);
        Arc::clone(&found.expect("an agent's components have their channels").channel)
    }

    fn start_group(&mut self, agent: &str, planned: PlannedGroup) -> std::io::Result<()> {
        let (mut members, mut taps) = (Vec::new(), Vec::new());
        for sink in planned.sinks {
            let letters = match &sink.dead_letters {
                Some(path) => PathBuf::from(path),
                None => folder(agent, &sink.name).join("dead-letters.json"),
            };
            let channel = self.channel(&sink.channel);
            let stop = self.ends.sinks.clone();
            let tap = Arc::new(Tap::new(
                &sink.name,
                channel,
                DeadLetters::new(Path::new(&letters)),
                stop,
            ));
            taps.push(Arc::clone(&tap));
            members.push(Member { sink: sink.sink, tap });
        }
        let (group, ends) = (Group::new(members, planned.policy), self.ends.clone());
        let work = move || deliver(group, &ends);
        let thread = std::thread::Builder::new().name(planned.name).spawn(work)?;
        self.groups.push((taps, thread));
        Ok(())
    }

    fn start_source(&mut self, planned: PlannedSource) -> std::io::Result<()> {
        let PlannedSource { name, source, interceptors, selector, channels } = planned;
        let channels = channels.iter().map(|channel| self.channel(channel)).collect();
        let inlet = Arc::new(Inlet::new(&name, interceptors, selector, channels));
        let (own, stop) = (Arc::clone(&inlet), self.ends.sources.clone());
        let work = move || read(source, &own, &stop);
        let thread = std::thread::Builder::new().name(name).spawn(work)?;
        self.sources.push((inlet, thread));
        Ok(())
    }

    /// The inlets of its sources.
    pub fn inlets(&self) -> impl Iterator<Item = &Arc<Inlet>> {
        self.sources.iter().map(|(inlet, _)| inlet)
    }

    /// The taps of its sinks.
    pub fn taps(&self) -> impl Iterator<Item = &Arc<Tap>> {
        self.groups.iter().flat_map(|(taps, _)| taps)
    }

    /// Its channels.
    pub fn channels(&self) -> &[Opened] {
        &self.channels
    }

    /// Ends it: delivers what waits in memory, for so long at most, or until `hurry` is told. Returns the
    /// channels, with what is left in them.
    pub fn end(self, patience: Duration, hurry: &Stop) -> Vec<Opened> {
        self.ends.sources.stop();
        for (inlet, thread) in self.sources {
            thread.join().expect("a panic ends the process");
            log::debug!("source {} has ended", inlet.name());
        }
        self.ends.sinks.stop();
        let begun = Instant::now();
        let waits = || begun.elapsed() < patience && !hurry.is_stopped();
        while waits() && self.groups.iter().any(|(_, thread)| !thread.is_finished()) {
            hurry.wait(Duration::from_millis(10));
        }
        self.ends.at_once.stop();
        for (_, thread) in self.groups {
            thread.join().expect("a panic ends the process");
        }
        for channel in &self.channels {
            channel.channel.counters().stop();
        }
        self.channels
    }
}

/// Runs a source until it is told to stop, again and again where it fails.
fn read(mut source: Box<dyn Source>, inlet: &Inlet, stop: &Stop) {
    inlet.counters().start();
    let mut wait = WAITS.0;
    loop {
        let begun = Instant::now();
        match source.run(inlet, stop) {
            Ok(()) => break,
            Err(error) => {
                if begun.elapsed() > SAID_EVERY {
                    wait = WAITS.0;
                }
                log::error!(
                    "source {} has failed, and starts again: error={}",
                    inlet.name(),
                    chain(&*error)
                );
            }
        }
        if stop.wait(wait) {
            break;
        }
        wait = (wait * 2).min(WAITS.1);
    }
    inlet.counters().stop();
    if !stop.is_stopped() {
        log::info!("source {} has come to its end", inlet.name());
    }
}

/// Lets a group deliver until it is told to end.
fn deliver(mut group: Group, ends: &Ends) {
    for member in group.members() {
        member.tap.counters().start();
    }
    let name =
        group.members().map(|member| member.tap.name().to_owned()).collect::<Vec<_>>().join(", ");
    let (mut wait, mut failing, mut said) = (WAITS.0, None::<Instant>, None::<Instant>);
    while !(ends.at_once.is_stopped() || ends.sinks.is_stopped() && has_delivered(&group)) {
        match group.turn() {
            Ok(_) => {
                if let Some(since) = failing.take() {
                    log::info!("sink {name} delivers again after {} s", since.elapsed().as_secs());
                }
                (wait, said) = (WAITS.0, None);
            }
            Err(error) => {
                let since = *failing.get_or_insert_with(Instant::now);
                if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                    let seconds = since.elapsed().as_secs();
                    log::warn!(
                        "sink {name} does not deliver since {seconds} s: error={}",
                        chain(&*error)
                    );
                    said = Some(Instant::now());
                }
                ends.at_once.wait(wait);
                wait = (wait * 2).min(WAITS.1);
            }
        }
    }
    while !group.settle() && !ends.at_once.is_stopped() {}
    group.close();
    for member in group.members() {
        member.tap.counters().stop();
    }
}

/// Whether nothing waits that would be lost.
fn has_delivered(group: &Group) -> bool {
    group
        .members()
        .all(|member| member.tap.channel().is_durable() || member.tap.channel().is_empty())
}
