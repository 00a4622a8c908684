//! `check`: says what is wrong with a configuration, all of it, and how the servers are that it names.

mod hbase;
mod kafka;
mod redis;
mod servers;

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::config::{self, Config, Examined, Mistake, Need, Warning};

pub use servers::{Found, Weight};

/// What was found. Displayed for people; serialised for `--json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What makes the configuration unusable for the live job; none: it can be used.
    pub mistakes: Vec<Mistake>,
    /// What is allowed, and yet worth a second look.
    pub warnings: Vec<Warning>,
    /// What was found at the servers; nothing where they were not asked.
    pub servers: Option<Vec<Found>>,
}

impl Report {
    /// Whether the live job can run so.
    pub fn is_well(&self) -> bool {
        self.mistakes.is_empty() && self.weighing(Weight::Mistake) == 0
    }

    fn weighing(&self, weight: Weight) -> usize {
        self.servers.iter().flatten().filter(|found| found.weight == weight).count()
    }
}

/// Checks a configuration as the live job would load it, and asks no server.
pub fn offline(path: Option<&Path>, sets: &[String]) -> Report {
    let Examined { config, warnings } = Examined::new(path, sets, Need::Everything);
    Report { mistakes: config.err().unwrap_or_default(), warnings, servers: None }
}

/// Checks a configuration likewise, and asks the servers that it names, if it can be used. Nothing is
/// changed there.
pub fn online(path: Option<&Path>, sets: &[String]) -> Report {
    let Examined { config, warnings } = Examined::new(path, sets, Need::Everything);
    match config {
        Ok(config) => Report { mistakes: Vec::new(), warnings, servers: Some(ask(&config)) },
        Err(mistakes) => Report { mistakes, warnings, servers: None },
    }
}

/// Asks all servers at the same time: those that do not answer make one wait alike.
fn ask(config: &Config) -> Vec<Found> {
    std::thread::scope(|threads| {
        let kafka = threads.spawn(|| kafka::ask(&config.kafka, &config.dead_letters));
        let (redis, hbase) = match &config.outside {
            Some(config::Outside::Servers { redis, hbase }) => {
                (Some(redis), hbase.as_ref().filter(|_| config.settings.recall))
            }
            _ => (None, None),
        };
        let hbase = hbase.map(|hbase| threads.spawn(|| hbase::ask(hbase)));
        let redis = redis.map(|redis| threads.spawn(|| redis::ask(redis)));
        let all = [Some(kafka), hbase, redis].into_iter().flatten();
        all.flat_map(|one| one.join().expect("a panic ends the process")).collect()
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            writeln!(f, "{mistake}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for found in self.servers.iter().flatten() {
            writeln!(f, "{found}")?;
        }
        let count =
            |count: usize, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mistakes = count(self.mistakes.len() + self.weighing(Weight::Mistake), "mistake");
        let warnings = count(self.warnings.len() + self.weighing(Weight::Warning), "warning");
        let asked = if self.servers.is_some() { "" } else { "; the servers were not asked" };
        write!(f, "{mistakes}, {warnings}{asked}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_people_and_programs_the_same() {
        let sets = ["store.path=s", "http.listen=0.0.0.0:80", "epoch.records=100000000", "job=a b"];
        let report = online(None, &sets.map(str::to_owned));
        let expected = r#"command line: kafka.properties.bootstrap.servers is missing; Kafka's servers, such as "127.0.0.1:9092"
--set job: job is "a b"; allowed: 1 to 64 letters, digits, _, . and -
warning: --set epoch.records: epoch.records x epoch.in_flight is 800000000: as many records may be held in memory
warning: --set http.listen: http.listen 0.0.0.0:80 is reachable from other machines; nothing there asks for a password
2 mistakes, 2 warnings; the servers were not asked"#;
        assert_eq!(report.to_string(), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["mistakes"][1]["at"], "--set job");
        assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
        assert!(json["servers"].is_null() && !report.is_well());
    }

    #[test]
    fn what_was_found_at_servers_counts_as_well() {
        let at = servers::Server::Redis("h:6379".to_owned());
        let found = vec![
            at.well("version 7".to_owned()),
            at.warning("it is loading its data".to_owned(), "wait"),
            at.mistake("it is a replica".to_owned(), "name its master"),
        ];
        let report = Report { mistakes: Vec::new(), warnings: Vec::new(), servers: Some(found) };
        let expected = "redis h:6379: version 7\n\
            warning: redis h:6379: it is loading its data; wait\n\
            mistake: redis h:6379: it is a replica; name its master\n\
            1 mistake, 1 warning";
        assert_eq!(report.to_string(), expected);
        assert!(!report.is_well());
        let json = serde_json::to_value(&report).unwrap();
        let last = serde_json::json!({
            "weight": "mistake", "at": "redis h:6379", "text": "it is a replica",
            "todo": "name its master",
        });
        assert_eq!(json["servers"][2], last);
    }

    #[test]
    fn nothing_is_wrong_with_the_example() {
        let report =
            offline(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/job.toml"))), &[]);
        assert_eq!(report.to_string(), "0 mistakes, 0 warnings; the servers were not asked");
    }
}
