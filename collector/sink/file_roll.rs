//! Files of this machine, a new one every so often.
//!
//! A batch is one write, and committed when the system has it, as in Flume: what a crash of the machine can take is
//! what the system had not yet written. A file is synced when it ends. A write that fails is cut off again, so that
//! what goes back to the channel is not there twice, and a new file is begun.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::serializer::{self, Serializer};
use super::{Failure, Sink, Tap, Turn};
use crate::counters::Sink as Count;
use crate::keys::Keys;

/// Writes what it takes into files.
#[derive(Debug)]
pub struct FileRoll {
    folder: PathBuf,
    interval: Option<Duration>,
    batch: usize,
    serializer: serializer::Settings,
    naming: Naming,
    /// When the file is to end next, on the clock of all files.
    rolls: Option<Instant>,
    open: Option<Open>,
    buffer: Vec<u8>,
}

/// How files are named.
#[derive(Debug)]
struct Naming {
    prefix: String,
    /// With its dot.
    extension: String,
    /// Whether the time of its beginning names a file, not that of the sink.
    by_roll: bool,
    stamp: String,
    number: u64,
}

/// The file that is written.
struct Open {
    path: PathBuf,
    file: File,
    serializer: Box<dyn Serializer>,
    length: u64,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why something is not done to a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileRoll {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> FileRoll {
        let folder = PathBuf::from(keys.required("sink.directory"));
        if keys.is_given("sink.directory") && !folder.is_dir() {
            keys.doubtful("sink.directory", "there is no such folder, and the sink makes none");
        }
        let seconds =
            keys.number("sink.rollInterval", 30_i64, "a whole number; 0 for never", |_| true);
        let interval = u64::try_from(seconds).ok().filter(|&seconds| seconds > 0);
        if interval.is_none() {
            keys.advise(
                "sink.rollInterval",
                "the file never ends, and grows as long as there is room",
            );
        }
        FileRoll {
            folder,
            interval: interval.map(Duration::from_secs),
            batch: keys.count("sink.batchSize", 100),
            serializer: serializer::Settings::read(keys, "sink."),
            naming: Naming::read(keys),
            rolls: None,
            open: None,
            buffer: Vec::new(),
        }
    }

    /// Ends the file where its time is over, and begins the next where there is none.
    fn roll(&mut self, tap: &Tap) -> Result<(), Error> {
        let now = Instant::now();
        if let (Some(interval), Some(rolls)) = (self.interval, self.rolls)
            && now >= rolls
        {
            let late = now.duration_since(rolls).as_nanos() / interval.as_nanos().max(1);
            self.rolls = Some(rolls + interval * (u32::try_from(late).unwrap_or(u32::MAX) + 1));
            self.end(tap)?;
        }
        if self.open.is_none() {
            self.begin().inspect_err(|_| tap.counters().add(Count::ConnectionFailedCount, 1))?;
            tap.counters().add(Count::ConnectionCreatedCount, 1);
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Error> {
        loop {
            let path = self.folder.join(self.naming.next());
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut serializer = self.serializer.open();
                    self.buffer.clear();
                    serializer.begin(&mut self.buffer);
                    self.open = Some(Open { path, file, serializer, length: 0 });
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error { action: "create", path, source }),
            }
        }
    }

    fn end(&mut self, tap: &Tap) -> Result<(), Error> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        // The head of a file without events.
        let written = open.file.write_all(&self.buffer).and_then(|()| open.file.sync_data());
        self.buffer.clear();
        let count = match written {
            Ok(()) => Count::ConnectionClosedCount,
            Err(_) => Count::ConnectionFailedCount,
        };
        tap.counters().add(count, 1);
        written.map_err(|source| Error { action: "sync", path: open.path, source })
    }

    /// Writes what is in the buffer; what fails is cut off again, and the file ended.
    fn write(&mut self) -> Result<(), Error> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let written = open.file.write_all(&self.buffer);
        match written {
            Ok(()) => {
                open.length += self.buffer.len() as u64;
                self.buffer.clear();
                Ok(())
            }
            Err(source) => {
                self.buffer.clear();
                let Some(open) = self.open.take() else { return Ok(()) };
                if let Err(error) = open.file.set_len(open.length) {
                    let path = open.path.display();
                    log::error!("what was half written stays: path={path} error={error}");
                }
                Err(Error { action: "write into", path: open.path, source })
            }
        }
    }
}

impl Naming {
    fn read(keys: &Keys<'_>) -> Naming {
        const CLASSES: &str = "org.apache.flume.formatter.output.";
        let by_roll = keys.choice(
            "sink.pathManager",
            "default",
            &[
                ("default", false),
                ("rolltime", true),
                (&format!("{CLASSES}DefaultPathManager$Builder"), false),
                (&format!("{CLASSES}RollTimePathManager$Builder"), true),
            ],
        );
        let extension = keys.text("sink.pathManager.extension").unwrap_or_default();
        let prefix = keys.text("sink.pathManager.prefix").unwrap_or_default();
        let extension = if extension.is_empty() { extension } else { format!(".{extension}") };
        Naming { prefix, extension, by_roll, stamp: String::new(), number: 0 }
    }

    fn next(&mut self) -> String {
        if self.by_roll {
            let stamp = jiff::Zoned::now().strftime("%Y%m%d%H%M%S").to_string();
            if stamp != self.stamp {
                (self.stamp, self.number) = (stamp, 0);
            }
        } else if self.stamp.is_empty() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.stamp = now.as_millis().to_string();
        }
        self.number += 1;
        let Naming { prefix, extension, stamp, number, .. } = self;
        format!("{prefix}{stamp}-{number}{extension}")
    }
}

impl Sink for FileRoll {
    fn batch(&self) -> usize {
        self.batch
    }

    fn start(&mut self, _: &Tap) -> Result<(), Failure> {
        if self.rolls.is_none() {
            self.rolls = self.interval.map(|interval| Instant::now() + interval);
        }
        Ok(())
    }

    fn turn(&mut self, tap: &Tap) -> Result<Turn, Failure> {
        self.roll(tap)?;
        let taken = tap.take(self.batch)?;
        if taken.events().is_empty() {
            return Ok(Turn::Idle);
        }
        if let Some(open) = &mut self.open {
            for event in taken.events() {
                open.serializer.write(event, &mut self.buffer);
            }
            open.serializer.flush(&mut self.buffer);
        }
        self.write().inspect_err(|_| tap.counters().add(Count::EventWriteFail, 1))?;
        tap.commit(taken, Vec::new())?;
        Ok(Turn::Ready)
    }

    fn close(&mut self, tap: &Tap) -> Result<(), Failure> {
        // The next start names its files anew.
        (self.rolls, self.naming.stamp, self.naming.number) = (None, String::new(), 0);
        Ok(self.end(tap)?)
    }
}

#[cfg(test)]
mod tests;
