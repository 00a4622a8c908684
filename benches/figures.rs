//! What the measured programs print, and how they measure it: the same for each of them.

use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;

/// What a program has done. Two programs that did the same work have the same figures.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// Clicks that count.
    pub hits: u64,
    /// Other clicks.
    pub others: u64,
    /// New articles, every record of one.
    pub new_articles: u64,
    /// Records that are no events.
    pub dead_letters: u64,
    /// The sum of all hot scores, each times the last three digits of its article.
    pub hot_sum: u64,
    /// How many articles were recalled, over all users and channels.
    pub recalled: u64,
    /// The sum of all recalled articles, modulo 2^64.
    pub recalled_sum: u64,
}

/// What a program has done, and what it took.
#[derive(Serialize)]
struct Document<'a> {
    seconds: f64,
    cpu_seconds: f64,
    #[serde(flatten)]
    figures: &'a Figures,
}

/// Measures from its start on.
pub struct Stopwatch {
    started: Instant,
    cpu_before: f64,
}

impl Stopwatch {
    pub fn start() -> io::Result<Stopwatch> {
        Ok(Stopwatch { cpu_before: cpu_seconds()?, started: Instant::now() })
    }

    /// Prints what was done since the start as one JSON document.
    pub fn print(&self, figures: &Figures) -> io::Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu_seconds = cpu_seconds()? - self.cpu_before;
        let document = serde_json::to_string(&Document { seconds, cpu_seconds, figures })?;
        writeln!(io::stdout(), "{document}")
    }
}

/// What all threads of this process have used so far, in user and system mode.
fn cpu_seconds() -> io::Result<f64> {
    /// The unit of `/proc`, whatever the kernel's own is.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in parentheses, may hold anything: fields are counted behind it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = |index| fields.split_whitespace().nth(index)?.parse::<u64>().ok();
    let used = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    used.map(|ticks| ticks as f64 / TICKS_PER_SECOND)
        .ok_or_else(|| io::Error::other(format!("cannot read /proc/self/stat: {stat}")))
}
