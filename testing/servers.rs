//! Real servers, started by the scripts of `stack/` on ports and in folders of their own.
//!
//! A test that disturbs no other shares a server of its test program ([`redis`], [`kafka`], [`hbase`],
//! [`hdfs`]), in which it takes names of its own. A test that kills, stops or fills a server starts one
//! by [`Server::start`]. Either ends with the process at the latest, however that ends.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use crate::random::Random;
use crate::{folder, project};

/// A server on loopback; it ends when this is dropped, or the process ends.
pub struct Server {
    script: PathBuf,
    data: PathBuf,
    port: u16,
    /// Kills the server and removes its folder when its standard input ends.
    end: Child,
}

macro_rules! shared {
    ($($name:ident: $what:literal,)*) => {$(
        #[doc = concat!("The ", $what, " that the tests of this program share.")]
        #[track_caller]
        pub fn $name() -> &'static Server {
            static SHARED: OnceLock<Server> = OnceLock::new();
            SHARED.get_or_init(|| Server::start(stringify!($name), &[]))
        }
    )*};
}

shared! {
    redis: "Redis",
    kafka: "broker of Kafka",
    hbase: "HBase, with its Thrift server,",
    hdfs: "HDFS",
}

impl Server {
    /// Starts a server by the name of its script, with more variables than its folder and port, and
    /// waits until it answers.
    #[track_caller]
    pub fn start(name: &str, variables: &[(&str, &str)]) -> Server {
        Server::start_in(folder().keep(), name, variables)
    }

    /// The same, in a folder that has files already; it is removed in the end.
    #[track_caller]
    pub(crate) fn start_in(data: PathBuf, name: &str, variables: &[(&str, &str)]) -> Server {
        let script = project().join("stack").join(name);
        let port = free_ports();
        // In a session of its own: what ends a whole group of processes must not end this.
        let end = Command::new("setsid")
            .args(["sh", "-c", r#"cat; "$0" kill; rm -rf "$DATA""#])
            .args([&script])
            .env("DATA", &data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { script, data, port, end };
        // Settings are remembered by the folder: later commands need it alone.
        let mut start = server.command(["start"]);
        start.env("PORT", server.port.to_string()).envs(variables.iter().copied());
        must(start);
        server
    }

    /// The first of its ports: the one that clients speak to, without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients reach it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The folder of its data, logs and configuration.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts these parts, or all that do not run, on the data that is there; waits until they answer.
    #[track_caller]
    pub fn restart(&self, parts: &[&str]) {
        must(self.command(["start"].iter().chain(parts)));
    }

    /// Kills these parts, or all, as a crash would.
    #[track_caller]
    pub fn kill(&self, parts: &[&str]) {
        must(self.command(["kill"].iter().chain(parts)));
    }

    /// Ends these parts, or all, in order.
    #[track_caller]
    pub fn stop(&self, parts: &[&str]) {
        must(self.command(["stop"].iter().chain(parts)));
    }

    /// Runs a tool of a server in Java, and returns what it printed.
    #[track_caller]
    pub fn tool(&self, args: &[&str]) -> String {
        must(self.command(["tool"].iter().chain(args)))
    }

    /// Lets a part stand still, its sockets open, until [`Server::go_on`].
    #[track_caller]
    pub fn stand_still(&self, part: &str) {
        self.signal(part, rustix::process::Signal::STOP);
    }

    /// Lets a part that stands still go on.
    #[track_caller]
    pub fn go_on(&self, part: &str) {
        self.signal(part, rustix::process::Signal::CONT);
    }

    #[track_caller]
    fn signal(&self, part: &str, signal: rustix::process::Signal) {
        let pid = std::fs::read_to_string(self.data().join(format!("{part}.pid"))).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(&self.script);
        command.args(args).env("DATA", &self.data).env_remove("PORT");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.stdin.take());
        self.end.wait().unwrap();
    }
}

/// Runs a tool of a kind of servers that needs no server of its own, and returns what it printed.
#[track_caller]
pub fn tool(name: &str, args: &[&str]) -> String {
    let mut command = Command::new(project().join("stack").join(name));
    command.arg("tool").args(args).env("DATA", folder().path());
    must(command)
}

#[track_caller]
fn must(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The first of ten neighbouring ports that nobody listens on, below those that the system gives to
/// clients.
pub fn free_ports() -> u16 {
    static DRAWN: Mutex<Option<Random>> = Mutex::new(None);
    let mut drawn = DRAWN.lock().unwrap();
    let random = drawn.get_or_insert_with(|| Random::new(std::process::id().into()));
    for _ in 0..1000 {
        let first = 20_000 + 10 * random.below(1200) as u16;
        let taken: Result<Vec<_>, _> =
            (first..first + 10).map(|port| TcpListener::bind(("127.0.0.1", port))).collect();
        if taken.is_ok() {
            return first;
        }
    }
    panic!("no ten neighbouring ports are free");
}
