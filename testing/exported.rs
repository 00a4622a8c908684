//! The files that `export` writes, and the oracle: compared.

use std::path::Path;
use std::{fs, iter};

use serde_json::Value;

use crate::program;

/// Their names.
pub const FILES: [&str; 6] = [
    "hot.tsv",
    "new.tsv",
    "cb_recall.tsv",
    "history_recall.tsv",
    "similar.tsv",
    "dead_letters.tsv",
];

/// Everything that stands in a store, as `export` writes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Exported([Vec<u8>; 6]);

impl Exported {
    /// Exports a store.
    #[track_caller]
    pub fn of(store: &Path) -> Exported {
        let out = crate::folder();
        let store = store.as_os_str();
        let args = ["export".as_ref(), "--store".as_ref(), store, "--out".as_ref()];
        let args = args.into_iter().chain(iter::once(out.path().as_os_str()));
        let outcome = program::run(out.path(), args).done();
        assert!(outcome.printed.is_empty(), "{outcome:#?}");
        Exported::read(out.path())
    }

    /// Reads what was written into a directory.
    #[track_caller]
    pub fn read(folder: &Path) -> Exported {
        Exported(FILES.map(|name| fs::read(folder.join(name)).unwrap()))
    }

    /// One of the files.
    pub fn file(&self, name: &str) -> &[u8] {
        &self.0[FILES.iter().position(|file| *file == name).unwrap()]
    }

    /// The lines of one of the files, each as its fields.
    pub fn rows(&self, name: &str) -> Vec<Vec<&str>> {
        let text = std::str::from_utf8(self.file(name)).unwrap();
        text.lines().map(|line| line.split('\t').collect()).collect()
    }

    /// What is wrong, beside what must come out; nothing, if they are the same bytes.
    pub fn difference(&self, expected: &Exported) -> Option<String> {
        let mut found = String::new();
        for ((name, is), expected) in FILES.iter().zip(&self.0).zip(&expected.0) {
            let lines = |bytes: &[u8]| -> Vec<String> {
                bytes.split(|byte| *byte == b'\n').map(|it| it.escape_ascii().to_string()).collect()
            };
            if is == expected {
                continue;
            }
            let (is, expected) = (lines(is), lines(expected));
            let first = is.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            let show = |lines: &[String]| -> String {
                let shown = lines.iter().skip(first).take(3);
                shown.map(|line| format!("\n      {line:.300}")).collect()
            };
            found += &format!(
                "  {name}: {} lines, expected {}; from line {} on it is{}\n    expected{}\n",
                is.len() - 1,
                expected.len() - 1,
                first + 1,
                show(&is),
                show(&expected)
            );
        }
        (!found.is_empty()).then_some(found)
    }

    /// Requires the same bytes.
    #[track_caller]
    pub fn must_be(&self, expected: &Exported, what: &str) {
        if let Some(difference) = self.difference(expected) {
            panic!("{what}\n{difference}");
        }
    }
}

/// Requires that what `show job --json` says of a store is what the oracle counted.
#[track_caller]
pub fn totals_must_be(store: &Path, totals: &Path) {
    let args = ["show".as_ref(), "job".as_ref(), "--json".as_ref(), "--store".as_ref()];
    let args = args.into_iter().chain(iter::once(store.as_os_str()));
    let job = program::run(store, args).done().json();
    let expected: Value = serde_json::from_slice(&fs::read(totals).unwrap()).unwrap();
    let sum = |counts: &Value| -> u64 {
        counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
    };
    let records = &job["records_total"];
    assert_eq!(sum(records), sum(&expected["records"]), "records: {job} {expected}");
    assert_eq!(records["hit"], expected["hits"], "{job}");
    assert_eq!(records["other"], expected["others"], "{job}");
    assert_eq!(records["new_article"], expected["new_articles"], "{job}");
    assert_eq!(records["dead_letter"], sum(&expected["dead_letters"]), "{job}");
    assert_eq!(job["recalls_total"], expected["recalls"], "{job}");
    assert_eq!(job["epoch_mark"], expected["epochs"], "{job}");
    for (reason, count) in job["dead_letters_total"].as_object().unwrap() {
        let expected = expected["dead_letters"].get(reason).unwrap_or(&Value::from(0)).clone();
        assert_eq!(*count, expected, "{reason}: {job}");
    }
}
