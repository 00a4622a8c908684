//! How a file gets its end and its last name, beside the writing of others.
//!
//! A file that was written to its end is closed. One whose writer has failed, or is dead, is taken from it at the
//! NameNode ([`Storage::recover`]), which keeps what was synced. Then it is renamed; a
//! name that another file has is left to that one, and the next number taken. A file of which nothing was
//! promised is removed, so that its events are not there twice.
//!
//! Each step may fail for as long as the file system is away: it is tried again, `hdfs.closeTries` times, and sooner
//! than after `hdfs.retryInterval` while these are not counted. A file that was not ended stays in the list of open
//! files, for the next run.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::{Report, Shared};
use super::open_files::Names;
use super::{Action, Error};
use crate::counters::Sink as Count;
use crate::stop::chain;
use crate::storage::{Out, Storage};

/// How long between two questions whether a file is taken from its writer.
const ASKED: Duration = Duration::from_millis(500);

/// How often it is asked in one try, and how often when the sink ends. The NameNode needs some seconds; where a
/// DataNode has died, thirty of its heartbeats.
const QUESTIONS: (u32, u32) = (240, 6);

/// The first wait between tries that are not counted.
const WAIT: Duration = Duration::from_secs(1);

/// What is known of what a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Events that are committed, or may be.
    Something,
    /// Nothing that was synced: its events are written elsewhere.
    Nothing,
    /// Whatever a dead run has left.
    Unknown,
}

/// A file that is to be ended.
pub struct Ending {
    /// Its names.
    pub names: Names,
    /// Its file system.
    pub storage: Arc<dyn Storage>,
    /// The file, where it was written well.
    pub out: Option<Box<dyn Out>>,
    /// What it holds.
    pub holds: Holds,
}

impl Ending {
    /// Ends the file, however often it must be tried.
    pub async fn run(mut self, shared: Arc<Shared>) {
        let settings = &shared.settings;
        let path = self.names.in_use();
        let (mut tries, mut wait) = (0, WAIT);
        loop {
            tries += 1;
            let tried = self.end(&shared).await;
            let error = match tried {
                Ok(()) => break,
                Err(error) => error,
            };
            shared.report(Report::Count(Count::ConnectionFailedCount));
            if settings.close_tries.is_some_and(|most| tries >= most) {
                log::error!(
                    "a file is left as it is until the next start, after {tries} tries to end it: path={path} \
                     error={}",
                    chain(&error)
                );
                return;
            }
            log::warn!(
                "a file is not ended yet: path={path} tries={tries} error={}",
                chain(&error)
            );
            let longest = settings.retry_interval;
            let pause = if settings.close_tries.is_some() { longest } else { wait.min(longest) };
            if shared.is_ended_within(pause).await {
                return;
            }
            wait *= 2;
        }
        let names = self.names;
        let ended = Arc::clone(&shared);
        let removed = tokio::task::spawn_blocking(move || ended.open_files.remove(&names)).await;
        match removed {
            Ok(Err(error)) => log::warn!("path={path} error={}", chain(&error)),
            Err(error) => log::warn!("path={path} error={error}"),
            Ok(Ok(())) => {}
        }
    }

    async fn end(&mut self, shared: &Shared) -> Result<(), Error> {
        let path = self.names.in_use();
        if let Some(mut out) = self.out.take() {
            // Held for the close alone: what waits must not keep others from being ended.
            let closed = {
                let _permit = shared.endings.acquire().await;
                shared.call(Action::Close, &path, out.close()).await
            };
            shared.report(Report::Count(Count::ConnectionClosedCount));
            if let Err(error) = closed {
                log::warn!("a file is taken from its writer: error={}", chain(&error));
                drop(out);
                self.recover(shared, &path).await?;
            }
        } else if !self.recover(shared, &path).await? {
            // Nobody has made it, or somebody has ended it.
            return Ok(());
        }
        let is_worthless = match self.holds {
            Holds::Something => false,
            Holds::Nothing => true,
            Holds::Unknown => {
                shared.call(Action::Look, &path, self.storage.length(&path)).await? == Some(0)
            }
        };
        if is_worthless {
            shared.call(Action::Remove, &path, self.storage.remove(&path)).await?;
            log::info!("removed an empty file: path={path}");
            return Ok(());
        }
        self.rename(shared, &path).await
    }

    /// Says whether it is there.
    async fn recover(&mut self, shared: &Shared, path: &str) -> Result<bool, Error> {
        for asked in 1..=QUESTIONS.0 {
            match shared.call(Action::Recover, path, self.storage.recover(path)).await {
                Ok(true) => return Ok(true),
                Ok(false) => tokio::time::sleep(ASKED).await,
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
            if asked >= QUESTIONS.1 && shared.is_ending() {
                break;
            }
        }
        let source = io::Error::other("the NameNode does not take it from its writer");
        Err(Error { action: Action::Recover, path: path.to_owned(), source })
    }

    async fn rename(&mut self, shared: &Shared, path: &str) -> Result<(), Error> {
        if !self.names.changes() {
            return Ok(());
        }
        let mut number = self.names.number;
        loop {
            let last = self.names.last(number);
            match shared.call(Action::Rename, path, self.storage.rename(path, &last)).await {
                Ok(()) => {
                    log::debug!("ended a file: path={last}");
                    return Ok(());
                }
                Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => number += 1,
                // An answer may have been lost, and the call repeated.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                    if shared.call(Action::Look, &last, self.storage.length(&last)).await?.is_none()
                    {
                        log::error!("a file is gone before it had its last name: path={path}");
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}
