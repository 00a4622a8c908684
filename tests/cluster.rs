//! Who comes into a cluster, and who does not: the real program, and strangers at its door. No server is
//! needed: until all processes have joined, none is asked.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testing::kafka::wait_for;
use testing::program;
use testing::random::Random;

/// Hosts and a configuration of a cluster of so many processes.
struct Hosts {
    folder: TempDir,
    addresses: Vec<String>,
}

/// A process of it. It is killed when this is dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Hosts {
    fn of(processes: usize) -> Hosts {
        let free: Vec<_> =
            (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> =
            free.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
        let folder = testing::folder();
        fs::write(folder.path().join("hosts"), addresses.join("\n")).unwrap();
        // Nobody listens there.
        let job = "job = 'joined'\n\
                   kafka.properties.'bootstrap.servers' = '127.0.0.1:1'\n\
                   hbase.thrift = ['127.0.0.1:1']\n\
                   redis.url = 'redis://127.0.0.1:1/10'\n\
                   cluster.secret = 'a secret of the cluster'\n\
                   http.listen = '127.0.0.1:0'\n";
        fs::write(folder.path().join("job.toml"), job).unwrap();
        Hosts { folder, addresses }
    }

    fn start(&self, name: &str, args: &str) -> Process {
        let log = self.folder.path().join(format!("log-{name}"));
        let line = format!("run --config job.toml --hostfile hosts {args}");
        let mut command = program::command(self.folder.path(), line.split_ascii_whitespace());
        command.stderr(File::create(&log).unwrap()).stdout(Stdio::null());
        Process { child: command.spawn().unwrap(), log }
    }
}

impl Process {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    #[track_caller]
    fn says(&mut self, what: &str) {
        wait_for(what, || {
            let over = self.child.try_wait().unwrap();
            if self.log().contains(what) {
                return Some(());
            }
            assert!(over.is_none(), "it ended before `{what}`: {}", self.log());
            None
        });
    }

    #[track_caller]
    fn ends_with(&mut self, status: i32) {
        let ended = wait_for("an end", || self.child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(status), "{}", self.log());
    }

    fn stop(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.ends_with(0);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

#[test]
fn whoever_is_missing_is_named_and_a_signal_ends_the_waiting() {
    let hosts = Hosts::of(3);
    let mut hub = hosts.start("0", "-n 3 -p 0");
    hub.says("missing=1,2");
    let mut second = hosts.start("2", "-n 3 -p 2");
    hub.says("joined: process=2");
    second.says("joined: process=2 of=3");
    // One that is gone again is missing again.
    drop(second);
    hub.says("lost again");
    let mut second = hosts.start("2b", "-n 3 -p 2");
    second.says("joined: process=2 of=3");
    // So is one that was asked to end; the others go on waiting.
    second.stop();
    hub.says("process=2: it was ended by a signal");
    let mut second = hosts.start("2c", "-n 3 -p 2");
    second.says("joined: process=2 of=3");
    hub.stop();
    // All end as they were asked to.
    second.ends_with(0);

    let mut alone = hosts.start("1", "-n 3 -p 1");
    alone.says("waiting for process 0");
    alone.stop();
    // A name that means nothing yet may do so later.
    let nowhere = [&["nowhere.invalid:2101".to_owned()], &hosts.addresses[1..]].concat();
    fs::write(hosts.folder.path().join("hosts"), nowhere.join("\n")).unwrap();
    let mut alone = hosts.start("1b", "-n 3 -p 1");
    alone.says("waiting for process 0 at nowhere.invalid:2101: ");
    alone.stop();
}

#[test]
fn processes_that_do_not_agree_are_refused_on_both_sides_and_disturb_nobody() {
    let hosts = Hosts::of(3);
    let mut hub = hosts.start("0", "-n 3 -p 0");
    for (name, args, said) in [
        ("n", "-n 2 -p 1", "the number of processes (-n) is 3 in process 0 and 2 in process 1"),
        ("w", "-n 3 -p 1 -w 2", "the number of workers (-w) is 1 in process 0 and 2 in process 1"),
        ("j", "-n 3 -p 1 --set job=other", "the job is joined in process 0 and other in process 1"),
    ] {
        let mut other = hosts.start(name, args);
        other.ends_with(2);
        assert!(other.log().contains(said), "{}", other.log());
        hub.says(said);
    }
    // Another secret is no reason to end: who has the right one may come yet.
    let mut wrong = hosts.start("s", "-n 3 -p 1 --set cluster.secret=guess");
    wrong.says("perhaps it knows another secret");
    hub.says("it does not know the secret");
    assert!(!hub.log().contains("joined: "), "{}", hub.log());
    drop(wrong);
    let mut first = hosts.start("1", "-n 3 -p 1");
    first.says("joined: process=1");
    hub.says("joined: process=1");
    hub.stop();
}

#[test]
fn a_wrong_host_file_or_number_is_wrong_usage() {
    let hosts = Hosts::of(2);
    for (args, said) in [
        ("-n 3 -p 0", "has 2 addresses, and 3 processes"),
        ("-n 2 -p 2", "numbered from 0"),
        ("-n 2 -p 0 --set cluster.secret=", "cluster.secret"),
        ("-n 2", "-p"),
        ("-n 0 -p 0", "--processes"),
    ] {
        let mut process = hosts.start("wrong", args);
        process.ends_with(2);
        assert!(process.log().contains(said), "{args}: {}", process.log());
    }
    fs::write(hosts.folder.path().join("hosts"), "localhost\n").unwrap();
    let mut process = hosts.start("wrong", "-n 2 -p 0");
    process.ends_with(2);
    assert!(process.log().contains("hosts:1: `localhost` is no HOST:PORT"), "{}", process.log());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    fs::write(hosts.folder.path().join("hosts"), format!("{address}\n127.0.0.1:1\n")).unwrap();
    let mut process = hosts.start("taken", "-n 2 -p 0");
    process.ends_with(1);
    assert!(process.log().contains(&address.to_string()), "{}", process.log());
}

/// What a process that knows the secret says when it calls: recorded by a listener in between.
fn recorded(hosts: &Hosts) -> Vec<u8> {
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!("{}\n{}\n", between.local_addr().unwrap(), hosts.addresses[1]);
    fs::write(hosts.folder.path().join("between"), line).unwrap();
    let log = hosts.folder.path().join("log-recorded");
    let line = "run --config job.toml --hostfile between -n 2 -p 1";
    let mut command = program::command(hosts.folder.path(), line.split_ascii_whitespace());
    command.stderr(File::create(&log).unwrap()).stdout(Stdio::null());
    let caller = Process { child: command.spawn().unwrap(), log };
    let mut from = between.accept().unwrap().0;
    let mut to = TcpStream::connect(&hosts.addresses[0]).unwrap();
    let mut said = vec![0; 48];
    from.read_exact(&mut said).unwrap();
    to.write_all(&said).unwrap();
    let mut answer = [0; 48];
    to.read_exact(&mut answer).unwrap();
    from.write_all(&answer).unwrap();
    let mut bytes = vec![0; 4];
    from.read_exact(&mut bytes).unwrap();
    let length = u32::from_le_bytes(bytes[..].try_into().unwrap()) as usize;
    let mut rest = vec![0; length + 32];
    from.read_exact(&mut rest).unwrap();
    // The last bytes are kept from the listener: this call comes to nothing.
    said.extend(bytes);
    said.extend(rest);
    drop(caller);
    said
}

#[test]
fn of_ten_thousand_strangers_none_gets_further_than_the_handshake() {
    let hosts = Hosts::of(2);
    let mut hub = hosts.start("0", "-n 2 -p 0");
    hub.says("missing=1");
    let said = recorded(&hosts);
    let held = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for thread in 0..8 {
            let (held, said, address) = (&held, &said, &hosts.addresses[0]);
            threads.spawn(move || {
                let mut random = Random::new(91 + thread);
                for _ in 0..1250 {
                    let mut socket = TcpStream::connect(address).unwrap();
                    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    let mut bytes = said.clone();
                    match random.below(5) {
                        // Garbage, of any length.
                        0 => {
                            bytes.truncate(random.below(said.len()));
                            bytes.iter_mut().for_each(|byte| *byte = random.below(256) as u8);
                        }
                        // Half a handshake.
                        1 => bytes.truncate(random.below(said.len())),
                        // All of one that was right another time.
                        2 => {}
                        // The same with another bit.
                        3 => bytes[16 + random.below(said.len() - 16)] ^= 1 << random.below(8),
                        // More than anybody may say.
                        _ => bytes[48..52].copy_from_slice(&u32::MAX.to_le_bytes()),
                    }
                    // One that is dropped early cannot say all of it.
                    drop(socket.write_all(&bytes));
                    if random.percent(1) {
                        held.lock().unwrap().push(socket);
                        continue;
                    }
                    drop(socket.shutdown(Shutdown::Write));
                    // At most it is greeted: a preamble and a nonce.
                    let mut answer = Vec::new();
                    drop(socket.read_to_end(&mut answer));
                    assert!(answer.len() <= 48, "a stranger is told {} bytes", answer.len());
                }
            });
        }
    });
    assert!(!hub.log().contains("joined: "), "{}", hub.log());
    assert!(hub.log().contains("a connection was dropped"), "{}", hub.log());
    assert!(hub.log().lines().count() < 50, "strangers fill the log: {}", hub.log());
    // Whoever belongs here comes in all the same.
    let mut member = hosts.start("1", "-n 2 -p 1");
    member.says("joined: process=1 of=2");
    hub.says("joined: process=1");
    drop(held);
    hub.stop();
    member.ends_with(0);
}
