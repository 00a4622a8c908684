//! Files that grow, in folders, by patterns of their names: [`follow`](super::follow) reads them.
//!
//! Flume's file of positions is taken over, and written on as Flume does, so that Flume may go on from it.
//! What counts is a file of our own beside it, which holds every position as soon as the channels have the
//! lines; where Flume has read on since, its positions count.
//!
//! A file that is renamed is not read twice, whether its new name matches or not; Flume reads it again.

mod flumes;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::follow::folder::{Group, Subject};
use super::follow::start::Start;
use super::follow::{Follower, Lines, Settings};
use super::pattern::Pattern;
use super::{Failure, Inlet, Stopped};
use crate::event::{Event, Headers, Text};
use crate::keys::Keys;
use crate::stop::{Stop, chain};

/// Follows files of several groups.
#[derive(Debug)]
pub struct Taildir {
    settings: Settings,
    /// By group: what all its events have.
    headers: Vec<Headers>,
    /// Flume's file of positions.
    flumes: PathBuf,
    write_every: Duration,
    batch: usize,
    /// How many batches of one file come one after another.
    most_batches: u64,
    /// The waits when nothing comes: each so much longer, and the longest.
    waits: (Duration, Duration),
    offset_header: Option<Text>,
    file_header: Option<Text>,
}

impl Taildir {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Taildir {
        let names = keys.words("filegroups");
        if names.is_empty() && !keys.is_given("filegroups") {
            keys.required("filegroups");
        }
        let (mut groups, mut headers) = (Vec::new(), Vec::new());
        for name in &names {
            groups.extend(group(keys, &format!("filegroups.{name}")));
            let of_group = keys.below(&format!("headers.{name}."));
            headers.push(
                of_group.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            );
        }
        let known: Vec<_> = keys.below("filegroups.").into_iter().map(|(name, _)| name).collect();
        for name in known.iter().filter(|name| !names.contains(name)) {
            keys.doubtful(&format!("filegroups.{name}"), "filegroups does not list it");
        }
        for (key, _) in keys.below("headers.") {
            let group = key.split('.').next().unwrap_or_default();
            if !names.iter().any(|name| name == group) || !key.contains('.') {
                keys.doubtful(&format!("headers.{key}"), "filegroups lists no such group");
            }
        }
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let flumes = home.join(".flume/taildir_position.json");
        let flumes = PathBuf::from(keys.text_or("positionFile", &flumes.to_string_lossy()));
        let mut own = flumes.file_name().unwrap_or_default().to_owned();
        own.push(format!(".{}.{}", keys.agent(), keys.name()));
        let milliseconds = Duration::from_millis(1);
        let mut settings = Settings::new(Subject::Groups(groups), flumes.with_file_name(own));
        if keys.flag("skipToEnd", false) {
            (settings.start, settings.restart) = (Start::End, Start::End);
        }
        settings.idle = Some(keys.time("idleTimeout", milliseconds, 120_000));
        settings.cached = keys.flag("cachePatternMatching", true);
        let offset = keys.flag("byteOffsetHeader", false);
        let file = keys.flag("fileHeader", false);
        let file_key = keys.text_or("fileHeaderKey", "file");
        Taildir {
            settings,
            headers,
            flumes,
            write_every: keys.time("writePosInterval", milliseconds, 3000),
            batch: keys.count("batchSize", 100),
            most_batches: keys.number(
                "maxBatchCount",
                i64::MAX as u64,
                "a whole number from 1",
                |n| n >= 1,
            ),
            waits: (
                keys.time("backoffSleepIncrement", milliseconds, 1000),
                keys.time("maxBackoffSleep", milliseconds, 5000),
            ),
            offset_header: offset.then(|| "byteoffset".into()),
            file_header: file.then(|| file_key.into()),
        }
    }

    fn events(&self, lines: &Lines) -> Vec<Event> {
        let mut headers = self.headers.get(lines.group).cloned().unwrap_or_default();
        if let Some(header) = &self.file_header {
            headers.set(header.clone(), lines.path.clone());
        }
        let event = |(body, offset): (&bytes::Bytes, &u64)| {
            let mut event = Event { headers: headers.clone(), body: body.clone() };
            if let Some(header) = &self.offset_header {
                event.headers.set(header.clone(), offset.to_string());
            }
            event
        };
        lines.bodies.iter().zip(&lines.offsets).map(event).collect()
    }

    /// Reads what there is; says whether there was anything, or that it is stopped.
    fn read_files(
        &self,
        follower: &mut Follower,
        inlet: &Inlet,
        stop: &Stop,
    ) -> Result<Result<bool, Stopped>, Failure> {
        let mut any = false;
        for cell in follower.due() {
            for _ in 0..self.most_batches {
                let lines = match follower.read(cell, self.batch) {
                    Ok(Some(lines)) => lines,
                    Ok(None) => break,
                    // The others are read all the same.
                    Err(error) => {
                        log::warn!("source {}: error={}", inlet.name(), chain(&error));
                        inlet.counters().add(crate::counters::Source::EventReadFail, 1);
                        break;
                    }
                };
                let batch = follower.batch(&lines);
                if let Err(Stopped) = inlet.persist_once(self.events(&lines), batch, stop) {
                    return Ok(Err(Stopped));
                }
                follower.note(lines, inlet.is_durable())?;
                any = true;
                if stop.is_stopped() {
                    return Ok(Err(Stopped));
                }
                follower.look_at_times()?;
            }
        }
        Ok(Ok(any))
    }

    fn write(&self, follower: &mut Follower) {
        // Ours count; these are for whoever goes back to Flume.
        let written = flumes::write(&self.flumes, follower.places())
            .map_err(|error| format!("cannot write {}: error={error}", self.flumes.display()));
        let marked = written.and_then(|mark| follower.mark(mark).map_err(|error| chain(&error)));
        if let Err(error) = marked {
            log::warn!("{error}");
        }
    }
}

impl super::Source for Taildir {
    fn batch(&self) -> usize {
        self.batch
    }

    fn run(&mut self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        let mut settings = self.settings.clone();
        let mark = flumes::mark(&self.flumes)?;
        settings.taken_over = flumes::read(&self.flumes)?;
        settings.last_batches = inlet.last_batches();
        // What was written here says nothing new.
        if let Some(mark) = mark
            && Follower::has_marked(&settings, mark)?
        {
            settings.taken_over.clear();
        }
        let mut follower = Follower::open(settings)?;
        let (mut wait, mut written) = (Duration::ZERO, Instant::now());
        self.write(&mut follower);
        let mut changed = false;
        loop {
            follower.look()?;
            let any = self.read_files(&mut follower, inlet, stop)?;
            changed |= any != Ok(false);
            let ends = any.is_err();
            if changed && (ends || written.elapsed() >= self.write_every) {
                self.write(&mut follower);
                (written, changed) = (Instant::now(), false);
            }
            if ends {
                return Ok(());
            }
            wait = match any {
                Ok(true) => Duration::ZERO,
                _ => (wait + self.waits.0).min(self.waits.1),
            };
            if stop.wait(wait) {
                self.write(&mut follower);
                return Ok(());
            }
        }
    }

    fn may_set(&self, header: &str) -> bool {
        self.headers.iter().any(|headers| headers.get(header).is_some())
            || [&self.file_header, &self.offset_header]
                .into_iter()
                .flatten()
                .any(|own| **own == *header)
    }
}

/// Reads the folder and pattern of a group.
fn group(keys: &Keys<'_>, key: &str) -> Option<Group> {
    let text = keys.required(key);
    if text.is_empty() {
        return None;
    }
    let (folder, name) = text.rsplit_once('/').unwrap_or(("", &text));
    let folder = if folder.is_empty() && text.starts_with('/') { "/" } else { folder };
    if !Path::new(folder).is_absolute() || name.is_empty() {
        keys.wrong(key, &text, "an absolute folder, a slash, and a pattern of names");
        return None;
    }
    Some(Group { folder: folder.into(), pattern: Pattern::read(keys, key, name) })
}

#[cfg(test)]
mod tests;
