//! The bar that a person who waits is shown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// What a person who waits is shown.
pub(super) struct Progress {
    /// How many bytes there are to read, if that is known.
    pub total: Option<u64>,
    /// How many are read.
    pub bytes: Arc<AtomicU64>,
    /// How many records are done.
    pub records: Arc<AtomicU64>,
}

impl Progress {
    /// Shows a bar while `work` goes on; nothing where standard error is no terminal.
    pub fn shown_during<T>(&self, work: impl FnOnce() -> T) -> T {
        let bar = ProgressBar::new(0);
        if bar.is_hidden() {
            return work();
        }
        let (done, until) = mpsc::channel::<()>();
        std::thread::scope(|threads| {
            threads.spawn(move || {
                let bar = self.style(bar);
                let tick = Duration::from_millis(100);
                while until.recv_timeout(tick) == Err(mpsc::RecvTimeoutError::Timeout) {
                    bar.set_position(self.bytes.load(Ordering::Relaxed));
                    let records = self.records.load(Ordering::Relaxed);
                    let rate = records as f64 / bar.elapsed().as_secs_f64();
                    let (records, rate) = (HumanCount(records), HumanCount(rate as u64));
                    bar.set_message(format!("{records} records, {rate}/s"));
                }
                bar.finish_and_clear();
            });
            let result = work();
            drop(done);
            result
        })
    }

    fn style(&self, bar: ProgressBar) -> ProgressBar {
        let template = match self.total {
            Some(total) => {
                bar.set_length(total);
                "{bar:30} {percent:>3}%  {bytes}/{total_bytes}  {msg}  {eta} left"
            }
            None => "{spinner} {bytes}  {msg}  {elapsed}",
        };
        bar.with_style(ProgressStyle::with_template(template).expect("the template is one"))
    }
}
