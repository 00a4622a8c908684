//! Fuzzes the reading of Java properties: no bytes may make it panic; what it reads is what Java reads; and
//! what was read, written again, is read alike.

#![no_main]
#![allow(dead_code)]

#[path = "../collector"]
mod collector {
    pub mod findings;
    pub mod keys;
    pub mod properties;
}
#[path = "properties/java.rs"]
mod java;

use std::collections::BTreeMap;
use std::time::Duration;

use collector::findings::Findings;
use collector::keys::Keys;
use collector::properties::{Error, Oddity, Properties, Property, Variables};
pub use collector::*;

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    let none = Variables::default();
    let some = Variables {
        environment: pairs(&[("HOME", "/home/flume"), ("EMPTY", ""), ("AGAIN", "${HOME}")]),
        system: pairs(&[("port", "4141")]),
    };
    judge(file, Properties::parse(file, &some));
    let read = Properties::parse(file, &none);
    judge(file, Properties::parse(file, &none));
    as_java(file, &read);
    if let Ok(read) = read {
        written_again(&read, &none);
        asked(&read);
    }
});

fn pairs(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What holds of every file.
fn judge(file: &[u8], read: Result<Properties, Error>) {
    let is_end = |byte: &&u8| matches!(byte, b'\n' | b'\r');
    let lines = 1..=file.iter().filter(is_end).count() + 1;
    let is_far = |line: usize| !lines.contains(&line);
    match read {
        Ok(read) => {
            let mut names = BTreeMap::new();
            for property in &read.all {
                assert!(!is_far(property.line), "{property:?}");
                assert_eq!(names.insert(&property.key, property.line), None, "{property:?}");
            }
            for (line, oddity) in &read.oddities {
                assert!(!is_far(*line), "{oddity:?}");
                if let Oddity::Again { key, before } = oddity {
                    assert!(before < line && names[key] >= *line, "{oddity:?}");
                }
            }
        }
        Err(Error::Syntax(malformed)) => assert!(!is_far(malformed.line), "{malformed}"),
        Err(error) => panic!("bytes are there to be read: {error}"),
    }
}

/// Against Java's own way, written down a second time.
fn as_java(file: &[u8], read: &Result<Properties, Error>) {
    let Ok(text) = str::from_utf8(file) else { return };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Some(all) = java::load(text) else {
        assert!(read.is_err(), "Java refuses this");
        return;
    };
    let Ok(read) = read else { panic!("Java reads this: {read:?}") };
    let mut expected: Vec<Property> = Vec::new();
    for (key, value, line) in all {
        let value = trimmed(&value).to_owned();
        let property = Property { key, value, line };
        match expected.iter_mut().find(|known| known.key == property.key) {
            Some(known) => *known = property,
            None => expected.push(property),
        }
    }
    assert_eq!(read.all.len(), expected.len());
    for (read, expected) in read.all.iter().zip(&expected) {
        assert_eq!((&read.key, read.line), (&expected.key, expected.line));
        if !expected.value.contains("${") {
            assert_eq!(read.value, expected.value);
        }
    }
}

fn trimmed(value: &str) -> &str {
    value.trim_matches(|char| char <= ' ')
}

/// Writes all of it again, a property a line.
fn written_again(read: &Properties, variables: &Variables) {
    let mut text = String::new();
    for property in &read.all {
        escape(&mut text, &property.key);
        text.push('=');
        escape(&mut text, &property.value);
        text.push('\n');
    }
    let again = Properties::parse(text.as_bytes(), variables).expect("it was just written");
    assert_eq!(again.all.len(), read.all.len());
    for (at, (again, read)) in again.all.iter().zip(&read.all).enumerate() {
        assert_eq!((&again.key, again.line), (&read.key, at + 1));
        // A default may make another variable, and end in blanks.
        if !read.value.contains("${") {
            assert_eq!(again.value, trimmed(&read.value));
        }
    }
}

fn escape(to: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '$' | '{' | '}' => to.push(char),
            '\u{80}'..='\u{ffff}' => to.push_str(&format!("\\u{:04x}", u32::from(char))),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '\x0c' => to.push_str("\\f"),
            _ => to.extend(['\\', char]),
        }
    }
}

/// Every kind of key is asked for, by the names that are there.
fn asked(read: &Properties) {
    let findings = Findings::default();
    let given = read.all.iter().map(|property| (property.key.clone(), property));
    let keys = Keys::new("a1", "sources.r1", given, &findings);
    for (at, Property { key, .. }) in read.all.iter().enumerate() {
        match at % 9 {
            0 => drop(keys.text(key)),
            1 => assert!(keys.count(key, 5) > 0),
            2 => drop(keys.flag(key, true)),
            3 => drop(keys.port(key)),
            4 => drop(keys.time(key, Duration::from_secs(60), 3)),
            5 => drop(keys.choice(key, "Yes", &[("yes", 1), ("no", 0)])),
            6 => assert!(keys.words(key).iter().all(|word| !word.contains(' '))),
            7 => keys.part(&format!("{key}.")).finish().clear(),
            _ => {}
        }
    }
    keys.finish();
    for finding in findings.into_sorted() {
        assert!(finding.line.is_none_or(|line| line > 0), "{finding}");
    }
}
