//! Trying again: servers that are away come back, and a job waits for them.
//!
//! A failed attempt asks one question: did it surely not happen? Its error answers with a [`Fault`].
//! Waits grow to a few seconds; what goes on failing is logged once a minute, not once a try.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How threads of a job are told to end, and how errors are said, is as in the collector.
pub use collector::stop::{Stop, chain};

use crate::metrics;

/// What a failed attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It surely did not happen; it may be tried again.
    Retry,
    /// It may have happened. Whoever tries again says why repeating it is harmless.
    Unknown,
    /// Trying again cannot mend it.
    Fatal,
}

/// An error that knows what it means for the next attempt.
pub trait Faulty: Error + 'static {
    /// What the failed attempt means for the next one.
    fn fault(&self) -> Fault;
}

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The brokers.
    Kafka,
    /// The Thrift servers.
    Hbase,
    /// The server or Cluster.
    Redis,
    /// The disk that dead letters are written to.
    Disk,
}

impl Peer {
    /// Every peer.
    pub const ALL: [Peer; 4] = [Peer::Kafka, Peer::Hbase, Peer::Redis, Peer::Disk];

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Kafka => "kafka",
            Peer::Hbase => "hbase",
            Peer::Redis => "redis",
            Peer::Disk => "disk",
        }
    }
}

/// Why an attempt was not brought to its end.
#[derive(Debug, thiserror::Error)]
pub enum Ended<E: Error + 'static> {
    /// The job ends.
    #[error("the job is stopping")]
    Stopped,
    /// Trying again cannot mend it.
    #[error(transparent)]
    Failed(#[from] E),
}

/// The first wait after a failure; each later one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(50);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(3);

/// A failure that took longer is worth a line, also the first one: who waits for it, waits already.
const QUICK: Duration = Duration::from_secs(2);

/// How often what goes on failing is logged.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// Tries until it works, cannot work, or the job ends. `attempt` is told how often it has failed; it
/// must be harmless to repeat, as the caller says where it calls.
///
/// # Errors
///
/// If the job ends, or an attempt fails for good.
pub fn persist<T, E: Faulty>(
    stop: &Stop,
    peer: Peer,
    what: &str,
    mut attempt: impl FnMut(u32) -> Result<T, E>,
) -> Result<T, Ended<E>> {
    let begun = Instant::now();
    let mut logged = false;
    let mut wait = FIRST;
    for failures in 0.. {
        if stop.is_stopped() {
            return Err(Ended::Stopped);
        }
        let tried = Instant::now();
        let error = match attempt(failures) {
            Ok(done) => {
                if logged {
                    let seconds = begun.elapsed().as_secs();
                    log::info!("{} is back: {what} after {seconds} s", peer.name());
                }
                return Ok(done);
            }
            Err(error) if error.fault() == Fault::Fatal => return Err(Ended::Failed(error)),
            Err(error) => error,
        };
        let in_a_row = failures + u32::from(tried.elapsed() > QUICK);
        logged |= log_failure(peer, in_a_row, || format!("{what}: error={}", chain(&error)));
        if stop.wait(wait) {
            return Err(Ended::Stopped);
        }
        wait = (2 * wait).min(LONGEST);
    }
    unreachable!("attempts do not end by themselves")
}

/// Counts an attempt that failed, after so many others in a row, and logs it where it is time for that;
/// says whether it was.
pub fn log_failure(peer: Peer, failures: u32, what: impl FnOnce() -> String) -> bool {
    metrics::retried(peer);
    // The first failure may be over at once; a second one in a row is worth a line.
    let logs = failures > 0 && may_log(peer);
    if logs {
        log::warn!("waiting for {}: {}", peer.name(), what());
    }
    logs
}

/// Whether it is time for another line about a peer, however many threads wait for it.
fn may_log(peer: Peer) -> bool {
    static LOGGED: Mutex<[Option<Instant>; Peer::ALL.len()]> = Mutex::new([None; Peer::ALL.len()]);
    // A moment is always whole.
    is_time(&mut LOGGED.lock().unwrap_or_else(PoisonError::into_inner)[peer as usize])
}

fn is_time(last: &mut Option<Instant>) -> bool {
    let is_time = last.is_none_or(|at| at.elapsed() >= LOGGED_EVERY);
    if is_time {
        *last = Some(Instant::now());
    }
    is_time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("attempt {0} failed")]
    struct Failed(u32, Fault);

    impl Faulty for Failed {
        fn fault(&self) -> Fault {
            self.1
        }
    }

    #[test]
    fn what_may_be_tried_again_is_and_what_may_not_is_not() {
        let stop = Stop::default();
        let third = |nth| if nth < 2 { Err(Failed(nth, Fault::Unknown)) } else { Ok(nth) };
        assert_eq!(persist(&stop, Peer::Redis, "a test", third).unwrap(), 2);
        let fatal = |nth| -> Result<(), _> { Err(Failed(nth, Fault::Fatal)) };
        assert!(matches!(
            persist(&stop, Peer::Redis, "a test", fatal),
            Err(Ended::Failed(Failed(0, _)))
        ));
    }

    #[test]
    fn of_what_goes_on_failing_there_is_a_line_a_minute() {
        let mut last = None;
        assert_eq!([(); 3].map(|()| is_time(&mut last)), [true, false, false]);
        last = Instant::now().checked_sub(LOGGED_EVERY);
        assert_eq!([(); 2].map(|()| is_time(&mut last)), [true, false]);
    }

    #[test]
    fn a_job_that_ends_waits_for_nobody() {
        let stop = Stop::default();
        let ends = |nth| -> Result<(), _> {
            stop.stop();
            Err(Failed(nth, Fault::Retry))
        };
        assert!(matches!(persist(&stop, Peer::Kafka, "a test", ends), Err(Ended::Stopped)));
        assert!(stop.wait(Duration::MAX) && stop.is_stopped());
    }
}
