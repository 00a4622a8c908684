//! An agent at work: the real program, in a folder of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testing::kafka::wait_for;
use testing::place::Place;
use testing::program;

/// An agent at work; killed where it is dropped.
pub struct Agent {
    child: Child,
    log: PathBuf,
    watched: SocketAddr,
}

/// An address on which nobody listens.
pub fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What is answered over HTTP; nothing while nobody answers.
pub fn get(from: SocketAddr, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(from) else { return String::new() };
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

impl Agent {
    /// Starts agent `a1` of the place's own file.
    pub fn start(place: &Place, options: &str) -> Agent {
        Agent::with(place, "agent.properties", options, &[])
    }

    /// Starts agent `a1` of this file, with these variables in its environment.
    pub fn of(place: &Place, file: &str, variables: &[(&str, &str)]) -> Agent {
        Agent::with(place, file, "", variables)
    }

    fn with(place: &Place, file: &str, options: &str, variables: &[(&str, &str)]) -> Agent {
        let watched = free();
        let mut args = vec!["collect", "-f", file, "-n", "a1"];
        args.extend(options.split_whitespace());
        let mut command = program::command(place.folder(), args);
        if !options.contains("--listen") {
            command.arg("--listen").arg(watched.to_string());
        }
        // What is kept below the home of a user is the test's own.
        command.env("HOME", place.folder()).envs(variables.iter().copied());
        Agent::at_work(command, place.path("log"), watched)
    }

    /// Starts the live job of a configuration: it works, is asked to end and killed as an agent is.
    pub fn job(place: &Place, config: &str) -> Agent {
        let watched = free();
        let listen = format!("http.listen={watched}");
        let command =
            program::command(place.folder(), ["run", "--config", config, "--set", &listen]);
        Agent::at_work(command, place.path("job.log"), watched)
    }

    fn at_work(mut command: Command, log: PathBuf, watched: SocketAddr) -> Agent {
        let written = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        command.stdout(Stdio::null()).stderr(written);
        Agent { child: command.spawn().unwrap(), log, watched }
    }

    /// Waits until its sources have read so many events.
    #[track_caller]
    pub fn reads(&self, many: u64) {
        self.counts("events_read_total{", many);
    }

    /// Waits until a sink has delivered so many.
    #[track_caller]
    pub fn delivers(&self, sink: &str, many: u64) {
        self.counts(&format!("events_delivered_total{{sink=\"{sink}\"}}"), many);
    }

    /// Waits until nothing waits in a channel.
    #[track_caller]
    pub fn empties(&self, channel: &str) {
        let what = format!("channel_events{{channel=\"{channel}\"}}");
        wait_for(&what, || (self.number(&what)? == 0).then_some(()));
    }

    /// Waits until so many wait in a channel.
    #[track_caller]
    pub fn waits(&self, channel: &str, many: u64) {
        self.counts(&format!("channel_events{{channel=\"{channel}\"}}"), many);
    }

    /// Waits until a sum of numbers, by how their names begin, has grown by so much.
    #[track_caller]
    pub fn grows(&self, what: &str, by: u64) {
        let before = self.number(what).unwrap_or(0);
        self.counts(what, before + by);
    }

    /// The most memory that it has had, in MB.
    pub fn peak_mb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1000
    }

    #[track_caller]
    fn counts(&self, what: &str, many: u64) {
        wait_for(what, || (self.number(what)? >= many).then_some(()));
    }

    /// The sum of all numbers whose names begin so; none before the agent answers.
    fn number(&self, what: &str) -> Option<u64> {
        let text = get(self.watched, "/metrics");
        let name = format!("online_recall_collector_{what}");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&name));
        let numbers: Vec<u64> =
            lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        (!numbers.is_empty()).then(|| numbers.iter().sum())
    }

    /// Asks it to end, and requires that it does so in order.
    #[track_caller]
    pub fn ends(self) {
        let log = self.log.clone();
        assert!(self.stop().success(), "{}", fs::read_to_string(log).unwrap());
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What has been logged in the place so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has logged this.
    #[track_caller]
    pub fn says(&mut self, what: &str) {
        wait_for(what, || {
            let over = self.child.try_wait().unwrap();
            if self.log().contains(what) {
                return Some(());
            }
            assert!(over.is_none(), "it ended before `{what}`:\n{}", self.log());
            None
        });
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}
