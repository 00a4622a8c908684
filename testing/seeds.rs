//! Runs a test for many seeds, and says how to run it again for one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::oracle::Oracle;

/// The variable that names the one seed to run.
const SEED: &str = "ONLINE_RECALL_TEST_SEED";

/// Runs `test` for the seeds from 1 on, so many, or for the one that `ONLINE_RECALL_TEST_SEED` names;
/// on as many threads as the machine has cores, each with an oracle. `name` is the test's file.
#[track_caller]
pub fn each(name: &str, count: u64, test: impl Fn(u64, &mut Oracle) + Sync) {
    let one = std::env::var(SEED).ok().map(|seed| seed.parse::<u64>().unwrap());
    let (next, last) = one.map_or((1, count), |seed| (seed, seed));
    let next = AtomicU64::new(next);
    let failed = Mutex::new(Vec::new());
    thread::scope(|threads| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(|| {
                let mut oracle = Oracle::start();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| test(seed, &mut oracle))).is_err() {
                        eprintln!(
                            "seed {seed} failed; to run it alone:\n    {}",
                            again(name, seed)
                        );
                        failed.lock().unwrap().push(seed);
                        oracle = Oracle::start();
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let shown: Vec<_> = failed.iter().map(|seed| again(name, *seed)).collect();
    assert!(failed.is_empty(), "{} seeds failed:\n    {}", failed.len(), shown.join("\n    "));
}

/// Whether one seed is run alone, and what only many show cannot be asked for.
pub fn is_one() -> bool {
    std::env::var_os(SEED).is_some()
}

fn again(name: &str, seed: u64) -> String {
    format!("{SEED}={seed} cargo test --release --features failpoints --test {name}")
}
