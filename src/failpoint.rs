//! Points at which a crash test stops the process, as `kill -9` would.
//!
//! Compiled in only with the feature `failpoints`. `ONLINE_RECALL_STOP_AT=LABEL:N` stops the process the
//! N-th time it reaches the point LABEL.

/// Says that the process has reached a point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_label: &str) {}

/// Says that the process has reached a point, and stops it there if it was asked to.
#[cfg(feature = "failpoints")]
pub fn reach(label: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static STOP_AT: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let at = std::env::var("ONLINE_RECALL_STOP_AT").ok()?;
        let (label, nth) = at.split_once(':').expect("ONLINE_RECALL_STOP_AT is LABEL:N");
        Some((label.to_owned(), nth.parse().expect("ONLINE_RECALL_STOP_AT is LABEL:N")))
    });
    static REACHED: AtomicU64 = AtomicU64::new(0);

    if let Some((stop_at, nth)) = &*STOP_AT
        && stop_at == label
        && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        // Nothing is flushed, no destructor runs, nobody is told.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .expect("a process may kill itself");
    }
}
