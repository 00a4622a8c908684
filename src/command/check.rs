//! `check`: says what is wrong with a configuration, all of it.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::config::{Examined, Mistake, Need, Warning};

/// What was found without asking any server. Displayed for people; serialised for `--json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What makes the configuration unusable for the live job; none: it can be used.
    pub mistakes: Vec<Mistake>,
    /// What is allowed, and yet worth a second look.
    pub warnings: Vec<Warning>,
    /// What is known of the servers.
    pub servers: Servers,
}

/// What is known of the servers that the configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Servers {
    /// Nothing.
    NotAsked,
}

/// Checks a configuration as the live job would load it.
pub fn offline(path: Option<&Path>, sets: &[String]) -> Report {
    let Examined { config, warnings } = Examined::new(path, sets, Need::Everything);
    Report { mistakes: config.err().unwrap_or_default(), warnings, servers: Servers::NotAsked }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            writeln!(f, "{mistake}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let count =
            |count: usize, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mistakes = count(self.mistakes.len(), "mistake");
        let warnings = count(self.warnings.len(), "warning");
        let Servers::NotAsked = self.servers;
        write!(f, "{mistakes}, {warnings}; the servers were not asked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_people_and_programs_the_same() {
        let sets = ["store.path=s", "http.listen=0.0.0.0:80", "epoch.records=100000000", "job=a b"];
        let report = offline(None, &sets.map(str::to_owned));
        let expected = r#"command line: kafka.properties.bootstrap.servers is missing; Kafka's servers, such as "127.0.0.1:9092"
--set job: job is "a b"; allowed: 1 to 64 letters, digits, _, . and -
warning: --set epoch.records: epoch.records x epoch.in_flight is 800000000: as many records may be held in memory
warning: --set http.listen: http.listen 0.0.0.0:80 is reachable from other machines; nothing there asks for a password
2 mistakes, 2 warnings; the servers were not asked"#;
        assert_eq!(report.to_string(), expected);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["mistakes"][1]["at"], "--set job");
        assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
        assert_eq!(json["servers"], "not_asked");
    }

    #[test]
    fn nothing_is_wrong_with_the_example() {
        let report =
            offline(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/job.toml"))), &[]);
        assert_eq!(report.to_string(), "0 mistakes, 0 warnings; the servers were not asked");
    }
}
