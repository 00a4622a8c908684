//! Signals that end a command which works for long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Error;
use crate::retry::Stop;
use crate::source::Feed;

/// How a signal ends what is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// What was read is done, if that takes no longer than this; a second signal does not wait.
    Drain(Duration),
    /// At once: what is not done is done by the next run.
    AtOnce,
}

/// Whether a signal has asked the command to end, and what it ends.
pub(super) struct Ending(Arc<Mutex<Asked>>);

struct Asked {
    manner: Manner,
    /// The first signal that came.
    first: Option<i32>,
    stop: Stop,
    /// While a job is at work.
    feed: Option<Arc<Feed>>,
}

impl Ending {
    /// Listens to signals from now on.
    pub fn listen(manner: Manner) -> Result<Ending, Error> {
        let asked = Asked { manner, first: None, stop: Stop::default(), feed: None };
        let ending = Ending(Arc::new(Mutex::new(asked)));
        let asked = Arc::clone(&ending.0);
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::Signals)?;
        std::thread::spawn(move || {
            for signal in &mut signals {
                hear(&asked, signal);
            }
        });
        Ok(ending)
    }

    /// What stops the next incarnation.
    pub fn begin(&self) -> Stop {
        let mut asked = lock(&self.0);
        if asked.first.is_none() {
            asked.stop = Stop::default();
        }
        asked.feed = None;
        asked.stop.clone()
    }

    /// What stops the present one.
    pub fn stop(&self) -> Stop {
        lock(&self.0).stop.clone()
    }

    /// Ends this feed, or lets it end by and by, when a signal comes.
    pub fn attend(&self, feed: &Arc<Feed>) {
        let mut asked = lock(&self.0);
        match (asked.first, asked.manner) {
            (None, _) => {}
            (Some(_), Manner::Drain(_)) if !asked.stop.is_stopped() => feed.finish(),
            (Some(_), Manner::Drain(_)) => feed.stop(),
            (Some(_), Manner::AtOnce) => feed.stop(),
        }
        asked.feed = Some(Arc::clone(feed));
    }

    /// The first signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        lock(&self.0).first
    }
}

/// Passes a signal on.
fn hear(of: &Arc<Mutex<Asked>>, signal: i32) {
    let mut asked = lock(of);
    let is_first = asked.first.is_none();
    asked.first.get_or_insert(signal);
    match (&asked.feed, asked.manner) {
        (Some(feed), Manner::Drain(patience)) if is_first => {
            feed.finish();
            let (stop, of) = (asked.stop.clone(), Arc::clone(of));
            std::thread::spawn(move || {
                if !stop.wait(patience) {
                    log::warn!("not everything that was read could be done: it is bound");
                    end(&lock(&of));
                }
            });
        }
        _ => end(&asked),
    }
}

fn end(asked: &Asked) {
    asked.stop.stop();
    asked.feed.iter().for_each(|feed| feed.stop());
}

fn lock(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    // What it guards is whole at any time.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
