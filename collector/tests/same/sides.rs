//! Two agents of the same file, each in a folder of its own: Flume's, and ours.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use collector::counters;
use collector::properties::{Properties, Variables};
use collector::running::Running;
use collector::stop::Stop;
use testing::flume::Flume;
use testing::servers::free_ports;

const PATIENCE: Duration = Duration::from_secs(40);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Hadoop's settings: files of this machine. Flume has Hadoop's jars only where it has such.
const CORE_SITE: &str = "<configuration><property><name>fs.defaultFS</name><value>file:///</value></property>\
                         </configuration>";

/// An agent at work in a folder, which its file calls `${env:PLACE}`; its ports are `${env:PORT_1}` to
/// `${env:PORT_9}`.
pub struct Side {
    pub place: PathBuf,
    ports: u16,
    agent: Agent,
}

enum Agent {
    Flume(Flume),
    Ours(Running),
}

impl Side {
    /// Flume's agent `a1`; it is at work when these of its sources are.
    pub fn flume(text: &str, place: &Path, sources: &str) -> Side {
        let hadoop = place.join("hadoop");
        std::fs::create_dir(&hadoop).unwrap();
        std::fs::write(hadoop.join("core-site.xml"), CORE_SITE).unwrap();
        let variables = [
            ("PLACE", place.to_str().unwrap()),
            ("HADOOP_CONF", hadoop.to_str().unwrap()),
            ("SOURCES", sources),
        ];
        let flume = Flume::start_with(text, &variables);
        Side { place: place.to_owned(), ports: flume.port(0), agent: Agent::Flume(flume) }
    }

    /// Our agent `a1`, without what has mistakes, as `--lenient` runs it.
    pub fn ours(text: &str, place: &Path) -> Side {
        let ports = free_ports();
        let mut variables = Variables::default();
        let all = &mut variables.environment;
        all.extend((1..=9).map(|nth| (format!("PORT_{nth}"), (ports + nth).to_string())));
        all.insert("PLACE".to_owned(), place.to_str().unwrap().to_owned());
        let properties = Properties::parse(text.as_bytes(), &variables).unwrap();
        let (agent, _) = collector::agent::read(&properties, "a1");
        let running = Running::start(agent, &[]).unwrap();
        Side { place: place.to_owned(), ports, agent: Agent::Ours(running) }
    }

    /// A connection to the port that the file calls `${env:PORT_…}` with this number, as soon as somebody listens.
    pub fn connect(&self, nth: u16) -> TcpStream {
        let mut connected = None;
        await_that(|| {
            connected = TcpStream::connect(("127.0.0.1", self.ports + nth)).ok();
            connected.is_some()
        });
        connected.expect("somebody listens")
    }

    /// Waits until a source has put so many events into its channels.
    pub fn await_accepted(&self, source: &str, many: u64) {
        let has_come = await_that(|| {
            many <= match &self.agent {
                Agent::Flume(flume) => {
                    flume.count(&format!("SOURCE.{source}"), "EventAcceptedCount")
                }
                Agent::Ours(running) => {
                    let inlet = running.parts().inlets.iter().find(|inlet| inlet.name() == source);
                    inlet.unwrap().counters().get(counters::Source::EventAcceptedCount)
                }
            }
        });
        assert!(has_come, "{source}: {}", self.place.display());
    }

    /// Waits until sinks have delivered so many events, or long enough: what they have is compared anyway.
    pub fn await_delivered(&self, sinks: &[(String, u64)]) {
        await_that(|| sinks.iter().all(|(sink, many)| self.delivered(sink) >= *many));
    }

    fn delivered(&self, sink: &str) -> u64 {
        match &self.agent {
            Agent::Flume(flume) => flume.count(&format!("SINK.{sink}"), "EventDrainSuccessCount"),
            Agent::Ours(running) => {
                let tap = running.parts().taps.iter().find(|tap| tap.name() == sink);
                tap.map_or(0, |tap| tap.counters().get(counters::Sink::EventDrainSuccessCount))
            }
        }
    }

    /// Its components that count, as `SINK.k1`.
    pub fn components(&self) -> BTreeSet<String> {
        match &self.agent {
            Agent::Flume(flume) => flume.components().into_iter().collect(),
            Agent::Ours(running) => {
                let parts = running.parts();
                let channels = parts.channels.iter().map(|(opened, _)| &*opened.name);
                let channels = channels.map(|name| format!("CHANNEL.{name}"));
                let sources = parts.inlets.iter().map(|inlet| format!("SOURCE.{}", inlet.name()));
                let sinks = parts.taps.iter().map(|tap| format!("SINK.{}", tap.name()));
                channels.chain(sources).chain(sinks).collect()
            }
        }
    }

    /// Ends it, in order.
    pub fn end(self) {
        match self.agent {
            Agent::Flume(flume) => flume.server().stop(&[]),
            Agent::Ours(running) => {
                running.end(PATIENCE, &Stop::default(), &[]);
            }
        }
    }
}

/// Waits until something holds; says whether it came to that.
fn await_that(mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > PATIENCE {
            return false;
        }
        Stop::default().wait(PAUSE);
    }
    true
}
