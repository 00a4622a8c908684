//! The threads that read histories for the workers, which must not wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use crossbeam_channel::{Receiver, Sender};
use dataflows::{Ask, History};

use super::{Error, Failure};
use crate::tables::Tables;

/// How many questions are answered in one go: enough to be worth a hand-over, few enough to be spread.
const BATCH: usize = 2048;

/// The questions of all workers, and for each worker the answers that it has not taken.
pub(super) struct Loaders {
    asks: Mutex<Option<Sender<Asks>>>,
    asked: Receiver<Asks>,
    answers: Vec<Mutex<Vec<Vec<History>>>>,
}

struct Asks {
    worker: usize,
    thread: Thread,
    asks: Vec<Ask>,
}

impl Loaders {
    pub(super) fn new(workers: usize) -> Loaders {
        // Unbounded, but never more than what the epochs in flight ask for.
        let (asks, asked) = crossbeam_channel::unbounded();
        let answers = (0..workers).map(|_| Mutex::default()).collect();
        Loaders { asks: Mutex::new(Some(asks)), asked, answers }
    }

    /// Asks on behalf of a worker, on its thread.
    pub(super) fn ask(&self, worker: usize, asks: Vec<Ask>) {
        let to_loaders = lock(&self.asks);
        let Some(to_loaders) = &*to_loaders else { return };
        let mut rest = asks.into_iter();
        while rest.len() > 0 {
            let asks = rest.by_ref().take(BATCH).collect();
            let batch = Asks { worker, thread: std::thread::current(), asks };
            to_loaders.send(batch).expect("the receiver stands beside the sender");
        }
    }

    /// Takes what has been answered to a worker, as it was answered.
    pub(super) fn take(&self, worker: usize) -> Vec<Vec<History>> {
        std::mem::take(&mut lock(&self.answers[worker]))
    }

    /// Answers until there will be no more questions.
    pub(super) fn run(&self, tables: &dyn Tables, failure: &Failure) {
        for Asks { worker, thread, asks } in &self.asked {
            match tables.history(asks) {
                Ok(histories) => {
                    lock(&self.answers[worker]).push(histories);
                    thread.unpark();
                }
                // Who tries until the job stops has not failed.
                Err(_) if failure.stop.is_stopped() => return failure.feed.stop(),
                Err(error) => return failure.report(Error::Tables(error)),
            }
        }
    }

    /// Says that there will be no more questions.
    pub(super) fn close(&self) {
        lock(&self.asks).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole whenever a thread could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
