//! Agents of Flume, and Flume's own client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::folder;
use crate::servers::Server;

/// How long something may take to be counted.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent of Flume at work; it ends when this is dropped, or the process ends.
pub struct Flume(Server);

impl Flume {
    /// Starts the agent `a1` of a file with this text, and waits until its sources are at work. In the text
    /// `${env:PORT_1}` to `${env:PORT_9}` are ports ([`Flume::port`]), `${env:DATA}` is its folder.
    #[track_caller]
    pub fn start(text: &str) -> Flume {
        Flume::start_with(text, &[])
    }

    /// The same, with more variables of its script.
    #[track_caller]
    pub fn start_with(text: &str, variables: &[(&str, &str)]) -> Flume {
        let data = folder().keep();
        std::fs::write(data.join("agent.properties"), text).unwrap();
        Flume(Server::start_in(data, "flume", variables))
    }

    /// The server that it is: its folder, its parts.
    pub fn server(&self) -> &Server {
        &self.0
    }

    /// The port that the file calls `${env:PORT_…}` with this number.
    pub fn port(&self, nth: u16) -> u16 {
        self.0.port() + nth
    }

    /// A counter of a component, such as `SOURCE.r1` and `EventAcceptedCount`; 0 where there is none.
    #[track_caller]
    pub fn count(&self, component: &str, counter: &str) -> u64 {
        self.counters()[component][counter].as_str().map_or(0, |count| count.parse().unwrap())
    }

    /// The components that count, as `SOURCE.r1`.
    #[track_caller]
    pub fn components(&self) -> Vec<String> {
        let counters = self.counters();
        counters.as_object().unwrap().keys().cloned().collect()
    }

    #[track_caller]
    fn counters(&self) -> Value {
        let mut socket = TcpStream::connect(self.0.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (_, json) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(json.trim()).unwrap_or_else(|error| panic!("{error}: {json}"))
    }

    /// Waits until a counter of a component has come to this.
    #[track_caller]
    pub fn await_count(&self, component: &str, counter: &str, many: u64) {
        let begun = Instant::now();
        loop {
            let count = self.count(component, counter);
            if count >= many {
                assert_eq!(count, many, "{component} {counter}");
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{component} {counter} is {count}, not {many}");
            std::thread::yield_now();
        }
    }

    /// Sends a file by Flume's client, with these properties of it beside `hosts`.
    #[track_caller]
    pub fn client(port: u16, file: &Path, properties: &str) {
        let folder = folder();
        let settings = folder.path().join("client.properties");
        let text = format!("hosts = h1\nhosts.h1 = 127.0.0.1:{port}\n{properties}");
        std::fs::write(&settings, text).unwrap();
        let [settings, file] = [&settings, file].map(|path| path.to_str().unwrap());
        crate::servers::tool(
            "flume",
            &[
                "org.apache.flume.client.avro.AvroCLIClient",
                "--rpcProps",
                settings,
                "--filename",
                file,
            ],
        );
    }
}
