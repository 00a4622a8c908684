//! The job as a process of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use testing::kafka::{LONG, SHORT, wait_for};

/// A running `online-recall run`. It is killed when this is dropped.
pub struct Job {
    child: Child,
    log: PathBuf,
}

/// How a job ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub log: String,
}

impl Ended {
    /// Whether it was killed, by itself at a point or from outside.
    pub fn killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// Requires this exit status.
    #[track_caller]
    pub fn with(self, status: i32) -> Ended {
        assert_eq!(self.status.code(), Some(status), "{self}");
        self
    }

    /// Requires that the log says this.
    #[track_caller]
    pub fn says(self, what: &str) -> Ended {
        assert!(self.log.contains(what), "`{what}` is not said: {self}");
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; it logged\n{}", self.status, self.log)
    }
}

impl Job {
    /// Starts it, with its log in this file.
    pub fn start(mut command: Command, log: &Path) -> Job {
        command.stderr(File::create(log).unwrap()).stdout(Stdio::null());
        Job { child: command.spawn().unwrap(), log: log.to_owned() }
    }

    /// How it ended, if it has.
    pub fn over(&mut self) -> Option<Ended> {
        let status = self.child.try_wait().unwrap()?;
        Some(self.ended(status))
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait(mut self) -> Ended {
        let begun = Instant::now();
        loop {
            if let Some(ended) = self.over() {
                return ended;
            }
            assert!(begun.elapsed() < LONG, "it does not end; it logged\n{}", self.log());
            std::thread::park_timeout(SHORT);
        }
    }

    /// Kills it.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        self.ended(status)
    }

    /// Kills it, unless it has ended.
    pub fn kill_if_it_runs(&mut self) {
        self.child.kill().unwrap();
    }

    /// Asks it to end, and requires that it does so in order.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait().with(0)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits until it has logged this.
    #[track_caller]
    pub fn says(&mut self, what: &str) {
        wait_for(what, || {
            let over = self.over();
            if self.log().contains(what) {
                return Some(());
            }
            assert!(over.is_none(), "it ended before `{what}`: {}", over.unwrap());
            None
        });
    }

    /// The processes that it has launched and that run now, by index.
    pub fn launched(&self) -> BTreeMap<usize, Pid> {
        let parent = self.pid().as_raw_nonzero();
        let Ok(children) = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        else {
            return BTreeMap::new();
        };
        let index = |child: &str| {
            let words = fs::read(format!("/proc/{child}/cmdline")).ok()?;
            let words: Vec<_> = words.split(|byte| *byte == 0).collect();
            let at = words.iter().position(|word| *word == b"-p")?;
            let index = str::from_utf8(words.get(at + 1)?).ok()?.parse().ok()?;
            Some((index, Pid::from_raw(child.parse().ok()?)?))
        };
        children.split_ascii_whitespace().filter_map(index).collect()
    }

    /// The most memory that it has had, or any process that it has launched and that runs now, in MB.
    pub fn peak_mb(&self) -> u64 {
        let of = |pid: Pid| {
            let status = format!("/proc/{}/status", pid.as_raw_nonzero());
            let status = fs::read_to_string(status).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        let all = self.launched().into_values().chain([self.pid()]);
        all.filter_map(of).max().unwrap_or(0) / 1000
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        let log = self.log();
        assert!(!log.contains("panicked at"), "a panic is no way to end:\n{log}");
        Ended { status, log }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // One that stands still dies of this too.
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}
