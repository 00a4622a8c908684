//! What a run has cost.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

#[derive(Default)]
pub struct Figures {
    pub epochs: u64,
    pub wall: Duration,
    pub gets: Gets,
    pub puts: Puts,
    /// User and system, of all threads.
    pub cpu: f64,
    pub peak: u64,
    pub resident: u64,
    pub disk: u64,
}

#[derive(Default)]
pub struct Gets {
    absent: (u64, Duration),
    present: (u64, Duration),
}

#[derive(Default)]
pub struct Puts {
    pub stage: Duration,
    pub commit: Duration,
    pub longest: Duration,
    pub recalls: u64,
}

impl Gets {
    pub fn count(&mut self, found: u32, took: Duration) {
        let place = if found == 0 { &mut self.absent } else { &mut self.present };
        place.0 += 1;
        place.1 += took;
    }
}

impl Figures {
    /// The table's first two lines.
    pub const HEADER: &str = "\
| store | wall s | epochs/s | CPU s | peak MiB | end MiB | disk MiB | absent µs | present µs \
| stage ms | commit ms | longest ms |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

    pub fn finish(&mut self, dir: &Path) -> Result<()> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        self.cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let kilobytes = |name: &str| -> Result<u64> {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).context("no line")?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        self.peak = kilobytes("VmHWM:")?;
        self.resident = kilobytes("VmRSS:")?;
        self.disk = size(dir)?;
        Ok(())
    }
}

fn size(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        sum += match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path())?,
            // What is allocated: files set aside in advance are sparse.
            Ok(meta) => meta.blocks() * 512,
            // A compaction has taken it away.
            Err(_) => 0,
        };
    }
    Ok(sum)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wall = self.wall.as_secs_f64();
        let each = |(n, took): (u64, Duration)| took.as_secs_f64() * 1e6 / n.max(1) as f64;
        let ms = |took: Duration| took.as_secs_f64() * 1e3 / self.epochs as f64;
        write!(
            f,
            "{wall:.2} | {:.1} | {:.2} | {:.1} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0}",
            self.epochs as f64 / wall,
            self.cpu,
            self.peak as f64 / 1024.0,
            self.resident as f64 / 1024.0,
            self.disk as f64 / 1048576.0,
            each(self.gets.absent),
            each(self.gets.present),
            ms(self.puts.stage),
            ms(self.puts.commit),
            self.puts.longest.as_secs_f64() * 1e3,
        )
    }
}
