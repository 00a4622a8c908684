//! A command that runs beside, and is read.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal};

use crate::event::Event;
use crate::source::{Failure, Inlet, Stopped};
use crate::stop::Stop;

/// How much is read ahead of the channels, in blocks.
const AHEAD: usize = 4;
const BLOCK: usize = 64 << 10;

/// How long a command that was asked to end is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A longer line is cut into several.
const LONGEST: usize = 16 << 20;

/// A command, and how it is run.
#[derive(Debug)]
pub struct Command {
    /// What is run.
    pub text: String,
    /// By which shell; without one it is split at white space.
    pub shell: Option<String>,
    /// How many lines are put at once, at most.
    pub batch: usize,
    /// How long a line waits for others.
    pub timeout: Duration,
    /// Whether it is run again when it ends.
    pub restarts: bool,
    /// How long after it has ended.
    pub throttle: Duration,
    /// Whether its errors are logged.
    pub logs_errors: bool,
}

impl Command {
    /// Runs it until it ends, or again and again, or until it is stopped.
    ///
    /// # Errors
    ///
    /// If a thread cannot be had.
    pub fn run(&self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        loop {
            match self.spawn() {
                Ok(child) => self.read(child, inlet, stop)?,
                Err(error) => {
                    log::error!("cannot run a command: command={} error={error}", self.text);
                }
            }
            if !self.restarts || stop.wait(self.throttle) || stop.is_stopped() {
                return Ok(());
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let words: Vec<&str> = match &self.shell {
            Some(shell) => shell.split_whitespace().chain([&*self.text]).collect(),
            None => self.text.split_whitespace().collect(),
        };
        let (program, rest) =
            words.split_first().map_or(("", &[][..]), |(program, rest)| (*program, rest));
        let errors = if self.logs_errors { Stdio::piped() } else { Stdio::null() };
        std::process::Command::new(program)
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            // What it starts itself ends with it.
            .process_group(0)
            .spawn()
    }

    fn read(&self, mut child: Child, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        let group = Pid::from_child(&child);
        let output = child.stdout.take().expect("it is piped");
        let (sender, blocks) = sync_channel(AHEAD);
        let thread = std::thread::Builder::new().name("exec-out".to_owned());
        let reader = thread.spawn(move || forward(output, &sender))?;
        let errors = child.stderr.take().map(|errors| {
            let name = inlet.name().to_owned();
            let thread = std::thread::Builder::new().name("exec-err".to_owned());
            thread.spawn(move || log_lines(&name, errors))
        });
        let errors = errors.transpose()?;
        let put = self.put(&blocks, inlet, stop);
        // Nobody reads any more, or there is nothing more to read.
        drop(blocks);
        end(&mut child, group, put.is_err() || stop.is_stopped());
        let status = child.wait()?;
        reader.join().expect("a panic ends the process");
        if let Some(errors) = errors {
            errors.join().expect("a panic ends the process");
        }
        log::info!("a command has ended: command={} status={status}", self.text);
        Ok(())
    }

    /// Puts lines until there are none, or it is stopped: what is there then is put if there is room.
    fn put(&self, blocks: &Receiver<Vec<u8>>, inlet: &Inlet, stop: &Stop) -> Result<(), Stopped> {
        let mut lines = Lines::default();
        let mut waiting: Vec<Event> = Vec::new();
        let mut since = Instant::now();
        loop {
            let rest = self.timeout.saturating_sub(since.elapsed());
            let patience = if waiting.is_empty() { POLL } else { rest.min(POLL) };
            let (block, ended) = match blocks.recv_timeout(patience) {
                Ok(block) => (block, false),
                Err(RecvTimeoutError::Timeout) => (Vec::new(), false),
                Err(RecvTimeoutError::Disconnected) => (Vec::new(), true),
            };
            if waiting.is_empty() {
                since = Instant::now();
            }
            lines.add(&block);
            waiting.extend(lines.ended(ended).map(Event::new));
            let ends = ended || stop.is_stopped();
            while waiting.len() >= self.batch
                || (!waiting.is_empty() && (ends || since.elapsed() >= self.timeout))
            {
                let later = waiting.split_off(waiting.len().min(self.batch));
                inlet.persist(std::mem::replace(&mut waiting, later), stop)?;
                since = Instant::now();
            }
            if ends {
                return Ok(());
            }
        }
    }
}

/// How often it is looked whether it is stopped.
const POLL: Duration = Duration::from_millis(100);

/// Hands on what comes, until there is no more or nobody takes it.
fn forward(mut output: impl Read, blocks: &SyncSender<Vec<u8>>) {
    loop {
        let mut block = vec![0; BLOCK];
        match output.read(&mut block) {
            Ok(0) => return,
            Ok(read) => {
                block.truncate(read);
                if blocks.send(block).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                log::error!("cannot read what a command says: error={error}");
                return;
            }
        }
    }
}

fn log_lines(name: &str, errors: impl Read) {
    for line in BufReader::new(errors).split(b'\n') {
        match line {
            Ok(line) => log::info!("source {name} says: {}", String::from_utf8_lossy(&line)),
            Err(error) => {
                log::warn!("cannot read the errors of a command: error={error}");
                return;
            }
        }
    }
}

/// Waits for a command that says nothing more, or asks it and all that it has started to end; makes them end
/// if they do not.
fn end(child: &mut Child, group: Pid, asks: bool) {
    let signal = |signal: Signal| {
        if let Err(error) = rustix::process::kill_process_group(group, signal)
            && error != rustix::io::Errno::SRCH
        {
            log::warn!("cannot end a command: error={error}");
        }
    };
    let ends = |child: &mut Child| {
        let (begun, never) = (Instant::now(), Stop::default());
        while matches!(child.try_wait(), Ok(None)) {
            if begun.elapsed() >= PATIENCE {
                return false;
            }
            never.wait(Duration::from_millis(5));
        }
        true
    };
    if !asks && ends(child) {
        return;
    }
    signal(Signal::TERM);
    ends(child);
    signal(Signal::KILL);
}

/// Cuts what comes into lines, as Java's `readLine` does: they end with \n, \r or both.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// How much of it holds no end.
    looked_to: usize,
    /// Whether a \r ended the last line, and a \n that follows belongs to it.
    after_return: bool,
}

impl Lines {
    fn add(&mut self, block: &[u8]) {
        self.bytes.extend_from_slice(block);
    }

    /// The lines that have ended; also the one that has not, if nothing follows.
    fn ended(&mut self, all: bool) -> impl Iterator<Item = Bytes> + use<> {
        let mut ends = Vec::new();
        let mut begin = 0;
        let from = self.looked_to;
        for place in memchr::memchr2_iter(b'\n', b'\r', &self.bytes[from..]) {
            let place = from + place;
            if self.after_return && self.bytes[place] == b'\n' && place == begin {
                begin = place + 1;
            } else {
                ends.push((begin, place));
                begin = place + 1;
            }
            self.after_return = self.bytes[place] == b'\r';
        }
        // A \n that comes later still belongs to the \r before it, but only if nothing stands between.
        if begin < self.bytes.len() {
            self.after_return = false;
            if all || self.bytes.len() - begin >= LONGEST {
                ends.push((begin, self.bytes.len()));
                begin = self.bytes.len();
            }
        }
        let block = Bytes::copy_from_slice(&self.bytes[..begin]);
        self.bytes.drain(..begin);
        self.looked_to = self.bytes.len();
        ends.into_iter().map(move |(begin, end)| block.slice(begin..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_in_java_wherever_blocks_end() {
        let text = b"a\nb\r\nc\rd\n\n\r\r\ne\r\n\nf";
        let expected = ["a", "b", "c", "d", "", "", "", "e", "", "f"];
        for step in 1..=text.len() {
            let mut lines = Lines::default();
            let mut all = Vec::new();
            for block in text.chunks(step) {
                lines.add(block);
                all.extend(lines.ended(false));
            }
            all.extend(lines.ended(true));
            assert_eq!(all, expected, "{step}");
        }
    }
}
