//! What a command says, line by line.
//!
//! `tail -F FILE` and the like are not run: [`follow`](super::follow) does it, with positions, and loses
//! nothing. A line of such a file waits for no others, and what the keys say of the command's own life has no
//! meaning there. Every other command runs as in Flume, with one difference: what was read of it is put into the
//! channels however long they are full.

mod command;
mod tail;

use std::time::Duration;

use command::Command;
use tail::Tail;

use super::follow::folder::Subject;
use super::follow::{Follower, Settings};
use super::{Failure, Inlet, Stopped};
use crate::charset::Charset;
use crate::event::Event;
use crate::keys::Keys;
use crate::running;
use crate::stop::Stop;

/// A line is seen so soon, at most.
const LOOK: Duration = Duration::from_millis(100);

/// What has no meaning where a file is followed, and why.
const IDLE_KEYS: [(&str, &str); 5] = [
    ("shell", "the file is followed here, and no command runs"),
    ("batchTimeout", "the file is followed here, and its lines wait for no others"),
    ("restart", "the file is followed here, and that never ends"),
    ("restartThrottle", "the file is followed here, and that never ends"),
    ("logStdErr", "the file is followed here, and what is wrong is logged"),
];

/// Makes events of the lines of a command, or of a file that it would follow.
#[derive(Debug)]
pub struct Exec {
    batch: usize,
    /// How often a followed file is looked at while it is quiet.
    look: Duration,
    does: Does,
}

#[derive(Debug)]
enum Does {
    Follow(Settings),
    Run(Command),
}

impl Exec {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Exec {
        let text = keys.required("command");
        let batch = keys.count("batchSize", 20);
        let charset = Charset::read(keys, "charset");
        if !charset.has_lines_of_bytes() {
            let text = "lines are found by the byte 10, which in UTF-16 may be half of a letter: let it be written \
                        in UTF-8, or lay whole files into the folder of a spooldir source, which has inputCharset";
            keys.mistaken("charset", text);
        }
        match Tail::of(&text) {
            Ok(Tail { path, start }) => {
                for (key, why) in IDLE_KEYS {
                    keys.ignore(key, why);
                }
                // It is ours, so it is not asked for where it has no meaning.
                let own = running::folder(keys.agent(), keys.name()).join("position");
                let positions = keys.text_or("positionFile", &own.to_string_lossy());
                let settings =
                    Settings { start, ..Settings::new(Subject::File(path), positions.into()) };
                Exec { batch, look: LOOK, does: Does::Follow(settings) }
            }
            Err(unfollowed) => {
                if keys.is_given("positionFile") {
                    keys.ignore("positionFile", "only a file that tail -F names alone is followed");
                }
                if let Some(instead) = unfollowed.advice() {
                    let text = "it runs as a command, and keeps no position: what is written while the agent is \
                                away is lost, and what it has read may come again";
                    keys.advise("command", format_args!("{text}; {instead}"));
                }
                let milliseconds = Duration::from_millis(1);
                let command = Command {
                    text,
                    shell: keys.text("shell"),
                    batch,
                    timeout: keys.time("batchTimeout", milliseconds, 3000),
                    restarts: keys.flag("restart", false),
                    throttle: keys.time("restartThrottle", milliseconds, 10_000),
                    logs_errors: keys.flag("logStdErr", false),
                };
                Exec { batch, look: LOOK, does: Does::Run(command) }
            }
        }
    }

    /// Follows a file until it is stopped.
    fn follow(&self, settings: &Settings, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        let last_batches = inlet.last_batches();
        let mut follower = Follower::open(Settings { last_batches, ..settings.clone() })?;
        loop {
            follower.look()?;
            for cell in follower.due() {
                while let Some(lines) = follower.read(cell, self.batch)? {
                    let events = lines.bodies.iter().map(|body| Event::new(body.clone())).collect();
                    if let Err(Stopped) = inlet.persist_once(events, follower.batch(&lines), stop) {
                        return Ok(());
                    }
                    follower.note(lines, inlet.is_durable())?;
                    if stop.is_stopped() {
                        return Ok(());
                    }
                    // What is renamed and deleted while an older file is read is opened in time.
                    follower.look_at_times()?;
                }
            }
            if stop.wait(self.look) {
                return Ok(());
            }
        }
    }
}

impl super::Source for Exec {
    fn batch(&self) -> usize {
        self.batch
    }

    fn run(&mut self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        match &self.does {
            Does::Follow(settings) => self.follow(settings, inlet, stop),
            Does::Run(command) => command.run(inlet, stop),
        }
    }

    fn loses(&self) -> Option<&'static str> {
        match self.does {
            Does::Follow(_) => None,
            Does::Run(_) => Some("what its command has said and no channel has is lost"),
        }
    }
}

#[cfg(test)]
mod tests;
