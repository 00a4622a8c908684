//! An agent at work: the real program, in a folder of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testing::kafka::wait_for;
use testing::place::Place;
use testing::program;

/// An agent at work; killed where it is dropped.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts agent `a1` of the place's file.
    pub fn start(place: &Place, options: &str) -> Agent {
        let mut args = vec!["collect", "-f", "agent.properties", "-n", "a1"];
        args.extend(options.split_whitespace());
        let mut command = program::command(place.folder(), args);
        let log = place.path("log");
        let written = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        // What is kept below the home of a user is the test's own.
        command.env("HOME", place.folder()).stdout(Stdio::null()).stderr(written);
        Agent { child: command.spawn().unwrap(), log }
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
