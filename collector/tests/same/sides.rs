//! Two agents of the same file, each in a folder of its own: Flume's, and ours.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use collector::counters::Sink as Count;
use collector::findings::Finding;
use collector::properties::{Properties, Variables};
use collector::running::Running;
use collector::stop::Stop;
use testing::flume::Flume;
use testing::servers::free_ports;

const PATIENCE: Duration = Duration::from_secs(60);

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

    /// Our agent `a1`, without what has mistakes, as `--lenient` runs it; and what is said of the file.
    pub fn ours(text: &str, place: &Path) -> (Side, Vec<Finding>) {
        let ports = free_ports();
        let mut variables = Variables::default();
        let all = &mut variables.environment;
        all.extend((1..=9).map(|nth| (format!("PORT_{nth}"), (ports + nth).to_string())));
        all.insert("PLACE".to_owned(), place.to_str().unwrap().to_owned());
        let properties = Properties::parse(text.as_bytes(), &variables).unwrap();
        let (agent, found) = collector::agent::read(&properties, "a1");
        let running = Running::start(agent, &[]).unwrap();
        (Side { place: place.to_owned(), ports, agent: Agent::Ours(running) }, found)
    }

    /// A connection to the port that the file calls `${env:PORT_…}` with this number, as soon as somebody listens.
    pub fn connect(&self, nth: u16) -> TcpStream {
        let begun = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", self.ports + nth)) {
                Ok(stream) => return stream,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "port {nth}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many events a sink has delivered; none where there is no such sink.
    pub fn delivered(&self, sink: &str) -> u64 {
        match &self.agent {
            Agent::Flume(flume) => flume.count(&format!("SINK.{sink}"), "EventDrainSuccessCount"),
            Agent::Ours(running) => {
                let tap = running.parts().taps.iter().find(|tap| tap.name() == sink);
                tap.map_or(0, |tap| tap.counters().get(Count::EventDrainSuccessCount))
            }
        }
    }

    /// Waits until a sink has delivered so many events.
    pub fn await_delivered(&self, sink: &str, many: u64) {
        let begun = Instant::now();
        loop {
            let delivered = self.delivered(sink);
            if delivered >= many {
                if delivered != many {
                    eprintln!("{sink} has {delivered} not {many} {}", self.place.display());
                }
                return;
            }
            let place = self.place.display();
            if begun.elapsed() > Duration::from_secs(5) {
                eprintln!("{sink} has {delivered}, not {many}: {place}");
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{sink} has {delivered}, not {many}: {place}");
            std::thread::sleep(Duration::from_millis(20));
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
