//! A file of Java properties, read as Flume reads it: the same comments, separators, continuations and
//! escapes, values trimmed, `${…}` replaced. Of every key the line is known.
//!
//! The format: `java.util.Properties.load`; the lookups: Flume's `EnvVarResolverProperties` (`${NAME}`) and
//! commons-text (`${env:NAME}`, `${sys:NAME}`, each also with `:-DEFAULT`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub mod java;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key.
    pub key: String,
    /// The value, trimmed, with what `${…}` stands for.
    pub value: String,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// A file, read.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    /// Every key once, with the value that counts: the last; in the file's order.
    pub all: Vec<Property>,
    /// What is odd, with its line.
    pub oddities: Vec<(usize, Oddity)>,
}

/// What is odd about a property.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// The key stood before: that value does not count.
    #[error("{key} stands here again; its value on line {before} does not count")]
    Again {
        /// The key.
        key: String,
        /// Where it stood before.
        before: usize,
    },
    /// A name that may mean a variable of the environment, which is not set: it is left as it stands.
    #[error("${{{0}}} is left as it stands: the environment has no variable {0}")]
    Unset(String),
    /// A variable that is asked for by `env:` or `sys:` and is not set.
    #[error("${{{0}}} is not set, and has no default (write ${{{0}:-DEFAULT}})")]
    Missing(String),
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read at all.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is no file of properties.
    #[error(transparent)]
    Syntax(#[from] java::Malformed),
}

/// Where `${…}` finds its values.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// The environment: `${NAME}` and `${env:NAME}`.
    pub environment: BTreeMap<String, String>,
    /// What the command line has set by `-DNAME=VALUE`: `${sys:NAME}`.
    pub system: BTreeMap<String, String>,
}

impl Variables {
    /// Those of this process, and what the command line has set.
    pub fn of_process(system: BTreeMap<String, String>) -> Variables {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Variables { environment: std::env::vars_os().filter_map(utf8).collect(), system }
    }
}

impl Properties {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is no file of properties.
    pub fn read(path: &Path, variables: &Variables) -> Result<Properties, Error> {
        let read = |source| Error::Read { path: path.display().to_string(), source };
        Properties::parse(&std::fs::read(path).map_err(read)?, variables)
    }

    /// Reads the bytes of a file, which are taken for UTF-8; what is none is replaced, as Java does.
    ///
    /// # Errors
    ///
    /// If it is no file of properties.
    pub fn parse(bytes: &[u8], variables: &Variables) -> Result<Properties, Error> {
        let mut properties = Properties::default();
        let mut places = BTreeMap::new();
        let text = String::from_utf8_lossy(bytes);
        for mut property in java::load(text.strip_prefix('\u{feff}').unwrap_or(&text))? {
            let number = property.line;
            property.value = properties.resolved(trimmed(&property.value), number, variables);
            match places.get(&property.key) {
                Some(&place) => {
                    let old: &mut Property = &mut properties.all[place];
                    let before = old.line;
                    let again = Oddity::Again { key: property.key.clone(), before };
                    properties.oddities.push((number, again));
                    *old = property;
                }
                None => {
                    places.insert(property.key.clone(), properties.all.len());
                    properties.all.push(property);
                }
            }
        }
        Ok(properties)
    }

    /// What a value is when every `${…}` is replaced; what is not known stays, and is noted.
    fn resolved(&mut self, value: &str, line: usize, variables: &Variables) -> String {
        let mut resolved = String::with_capacity(value.len());
        let mut rest = value;
        while let Some((before, behind)) = rest.split_once("${") {
            resolved.push_str(before);
            // A configuration filter's `${name['key']}` is not ours to judge here.
            let Some((name, after)) = behind.split_once('}') else {
                resolved.push_str("${");
                rest = behind;
                continue;
            };
            let (asked, default) = match name.split_once(":-") {
                Some((asked, default)) => (asked, Some(default)),
                None => (name, None),
            };
            let (found, oddity): (_, fn(String) -> Oddity) = match asked.split_once(':') {
                Some(("env", name)) => (variables.environment.get(name), Oddity::Missing),
                Some(("sys", name)) => (variables.system.get(name), Oddity::Missing),
                _ => (variables.environment.get(asked), Oddity::Unset),
            };
            match found.map(String::as_str).or(default) {
                Some(found) => resolved.push_str(found),
                None => {
                    resolved.push_str(&format!("${{{name}}}"));
                    if !name.contains('[') {
                        self.oddities.push((line, oddity(name.to_owned())));
                    }
                }
            }
            rest = after;
        }
        resolved.push_str(rest);
        resolved
    }
}

/// As Java trims.
fn trimmed(value: &str) -> &str {
    value.trim_matches(|char| char <= ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Properties {
        let pairs = |all: &[(&str, &str)]| {
            all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let variables = Variables {
            environment: pairs(&[("HOME", "/home/flume"), ("EMPTY", "")]),
            system: pairs(&[("port", "4141")]),
        };
        Properties::parse(text.as_bytes(), &variables).unwrap()
    }

    fn values(text: &str) -> Vec<(String, String, usize)> {
        parsed(text).all.into_iter().map(|p| (p.key, p.value, p.line)).collect()
    }

    #[test]
    fn what_java_reads_is_read() {
        let text = "# a comment\n! another\n\na1.sources = r1 \\\n    r2\n  a1.channels:c1\na1.sinks\tk1\n\
                    a.regex = ^\\\\d+\\d$\na.umlaut=\\u00fc ü\na.path = /x/%H%M   \na.empty =\n\
                    a.key\\ with\\:odd = x\n";
        let expected = [
            ("a1.sources", "r1 r2", 4),
            ("a1.channels", "c1", 6),
            ("a1.sinks", "k1", 7),
            ("a.regex", "^\\d+d$", 8),
            ("a.umlaut", "ü ü", 9),
            ("a.path", "/x/%H%M", 10),
            ("a.empty", "", 11),
            ("a.key with:odd", "x", 12),
        ];
        let expected: Vec<_> =
            expected.map(|(key, value, line)| (key.to_owned(), value.to_owned(), line)).into();
        assert_eq!(values(text), expected);
    }

    #[test]
    fn a_value_is_trimmed_as_java_trims() {
        let expected = ("a".to_owned(), "\u{a0}x\u{2003}".to_owned(), 1);
        assert_eq!(values("a = \\u0001 \u{a0}x\u{2003} \\t\n"), [expected]);
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_value_counts_and_both_lines_are_named() {
        let read = parsed("a = 1\nb = 2\na = 3\n");
        assert_eq!(read.all[0], Property { key: "a".into(), value: "3".into(), line: 3 });
        assert_eq!(read.oddities, [(3, Oddity::Again { key: "a".into(), before: 1 })]);
    }

    #[test]
    fn variables_stand_for_their_values() {
        let text = "a = ${HOME}/x\nb = ${env:HOME}${env:EMPTY}\nc = ${sys:port}\nd = ${env:NO:-dflt}\n\
                    e = ${NO} ${env:NO}\nf = ${f1['key']}\ng = 5 ${ $\n";
        let read = parsed(text);
        let values: Vec<_> = read.all.iter().map(|property| &*property.value).collect();
        let expected = [
            "/home/flume/x",
            "/home/flume",
            "4141",
            "dflt",
            "${NO} ${env:NO}",
            "${f1['key']}",
            "5 ${ $",
        ];
        assert_eq!(values, expected);
        let odd = [(5, Oddity::Unset("NO".into())), (5, Oddity::Missing("env:NO".into()))];
        assert_eq!(read.oddities, odd);
    }

    #[test]
    fn an_escape_that_is_none_is_told_with_its_line() {
        let error = Properties::parse(b"a = 1\nb = \\u12", &Variables::default()).unwrap_err();
        assert!(matches!(error, Error::Syntax(java::Malformed { line: 2 })), "{error:?}");
    }
}
