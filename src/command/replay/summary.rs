//! What a replay says when it has ended.

use std::fmt::Write;
use std::time::Instant;

use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use crate::decode::Reason;
use crate::ledger::Mark;

/// What a run has done.
pub(super) struct Summary {
    /// Where the effects are: what that is, and which.
    pub place: (&'static str, String),
    /// How many files had something new, and how many had not.
    pub files: (usize, usize),
    pub begun: Instant,
    pub mark_before: Mark,
    pub mark: Mark,
}

impl Summary {
    /// As it is printed: a document, or a table.
    pub fn print(&self, json: bool) -> String {
        if json { self.document() } else { self.table() }
    }

    fn document(&self) -> String {
        let totals = self.mark.totals.since(&self.mark_before.totals);
        let reasons = Reason::ALL.into_iter().zip(totals.dead_letters);
        let letters: serde_json::Map<_, _> =
            reasons.map(|(reason, count)| (reason.name().to_owned(), json!(count))).collect();
        let document = json!({
            "records": totals.records(),
            "hits": totals.hits,
            "others": totals.others,
            "new_articles": totals.new_articles,
            "recalls": totals.recalls,
            "dead_letters": letters,
            "epochs": self.mark.epoch.0 - self.mark_before.epoch.0,
            "epoch_mark": self.mark.epoch.0,
            "files": { "read": self.files.0, "unchanged": self.files.1 },
            "seconds": self.begun.elapsed().as_secs_f64(),
            "peak_memory_bytes": peak_memory(),
        });
        format!("{document}\n")
    }

    fn table(&self) -> String {
        let totals = self.mark.totals.since(&self.mark_before.totals);
        let elapsed = self.begun.elapsed();
        let rate = totals.records() as f64 / elapsed.as_secs_f64().max(1e-9);
        let (read, unchanged) = self.files;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<16}{value:>14}").expect("a string takes all text");
        };
        line("files", format!("{read} read, {unchanged} unchanged"));
        line("records", HumanCount(totals.records()).to_string());
        line("  hits", HumanCount(totals.hits).to_string());
        line("  other events", HumanCount(totals.others).to_string());
        line("  new articles", HumanCount(totals.new_articles).to_string());
        line("  dead letters", HumanCount(totals.all_dead_letters()).to_string());
        for (reason, count) in Reason::ALL.into_iter().zip(totals.dead_letters) {
            if count > 0 {
                line(&format!("    {reason}"), HumanCount(count).to_string());
            }
        }
        line("lists recalled", HumanCount(totals.recalls).to_string());
        let epochs = self.mark.epoch.0 - self.mark_before.epoch.0;
        line("epochs", HumanCount(epochs).to_string());
        if totals.records() > 0 {
            line("rate", format!("{}/s", HumanCount(rate as u64)));
        }
        line("time", format!("{:.2} s", elapsed.as_secs_f64()));
        if let Some(peak) = peak_memory() {
            line("peak memory", HumanBytes(peak).to_string());
        }
        let (what, which) = &self.place;
        writeln!(text, "{what:<16}{which}").expect("a string takes all text");
        text
    }
}

/// The most memory that the process has held, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}
