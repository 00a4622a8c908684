//! What was written: the values of known keys, each with where it stands.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{Fault, Finding, Mistake, Origin};

/// Every key there is, but for the names below [`PROPERTIES`], which are librdkafka's.
pub(super) const KEYS: [&str; 32] = [
    "job",
    "dataflows",
    "kafka.clicks",
    "kafka.articles",
    "kafka.start",
    "kafka.on_gap",
    "hbase.thrift",
    "hbase.tls",
    "hbase.tables.similar",
    "hbase.tables.cb_recall",
    "hbase.tables.history_recall",
    "redis.url",
    "redis.hot",
    "redis.new",
    "redis.replicas",
    "store.path",
    "recall.neighbours",
    "recall.order",
    "recall.refresh",
    "recall.history_age",
    "hot.weights.click",
    "hot.weights.collect",
    "hot.weights.share",
    "epoch.interval",
    "epoch.records",
    "epoch.in_flight",
    "cluster.secret",
    "cluster.silence",
    "cluster.restart_wait",
    "dead_letters.path",
    "dead_letters.topic",
    "http.listen",
];

/// The tables that hold them; whatever stands below the first is a property.
const TABLES: [&str; 13] = [
    PROPERTIES,
    "kafka",
    "hbase",
    "hbase.tables",
    "redis",
    "store",
    "recall",
    "hot",
    "hot.weights",
    "epoch",
    "cluster",
    "dead_letters",
    "http",
];

/// The table of what is given to librdkafka as it is.
pub(super) const PROPERTIES: &str = "kafka.properties";

/// A value, as written.
pub(super) struct Written {
    pub at: Origin,
    pub value: toml::Value,
    /// The text of the argument, where it came from a `--set`: what a string without quotes means.
    pub argument: Option<String>,
}

/// What was written.
pub(super) struct RawConfig {
    pub path: Option<Arc<PathBuf>>,
    /// By key; of properties by `kafka.properties.NAME`, whatever dots and quotes were written.
    pub values: BTreeMap<String, Written>,
    /// The tables that were written, or whose keys were: where first.
    pub tables: BTreeMap<&'static str, Origin>,
}

/// Where the values stand that are being taken.
struct Place<'a> {
    locate: &'a dyn Fn(Range<usize>) -> Origin,
    argument: Option<&'a str>,
}

impl RawConfig {
    /// Reads the file, where there is one, then the arguments of `--set`.
    pub fn read(path: Option<&Path>, sets: &[String]) -> (RawConfig, Vec<Mistake>) {
        let path = path.map(|path| Arc::new(path.to_owned()));
        let mut raw = RawConfig { path, values: BTreeMap::new(), tables: BTreeMap::new() };
        let mut mistakes = Vec::new();
        if let Some(path) = raw.path.clone() {
            raw.read_file(&path, &mut mistakes);
        }
        for argument in sets {
            raw.read_set(argument, &mut mistakes);
        }
        (raw, mistakes)
    }

    fn read_file(&mut self, path: &Arc<PathBuf>, mistakes: &mut Vec<Mistake>) {
        let text = match fs::read_to_string(path.as_path()) {
            Ok(text) => text,
            Err(error) => {
                let at = Origin::File(path.clone());
                return mistakes.push(Finding { at, what: Fault::Unreadable(error) });
            }
        };
        let locate = |span: Range<usize>| {
            let line = 1 + text.as_bytes()[..span.start].iter().filter(|&&b| b == b'\n').count();
            Origin::Line(path.clone(), line)
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let at = error.span().map_or_else(|| Origin::File(path.clone()), locate);
            mistakes.push(Finding { at, what: Fault::Syntax(error.message().to_owned()) });
        }
        let place = Place { locate: &locate, argument: None };
        self.take_table(&mut Vec::new(), table.into_inner(), &place, mistakes);
    }

    fn read_set(&mut self, argument: &str, mistakes: &mut Vec<Mistake>) {
        let mut quote = None;
        let equals = argument.find(|c| match (quote, c) {
            (None, '"' | '\'') => {
                quote = Some(c);
                false
            }
            (Some(open), _) => {
                quote = quote.filter(|_| open != c);
                false
            }
            (None, _) => c == '=',
        });
        let mut blame = |key: &str, what| {
            mistakes.push(Finding { at: Origin::Set(key.trim().to_owned()), what });
        };
        let Some(equals) = equals else {
            // Behind a lone quote may stand a secret.
            let key = argument.split('=').next().unwrap_or_default();
            return blame(key, Fault::NoValue);
        };
        let (key, text) = (&argument[..equals], argument[equals + 1..].trim());
        // A key is what TOML takes for one.
        let line = format!("{key} = 0");
        let mut table = match DeTable::parse(&line) {
            Ok(table) => table.into_inner(),
            Err(error) => return blame(key, Fault::Syntax(error.message().to_owned())),
        };
        let mut path = Vec::new();
        while let Some((key, value)) = table.into_iter().next() {
            path.push(key.into_inner().into_owned());
            table = match value.into_inner() {
                DeValue::Table(table) => table,
                _ => DeTable::new(),
            };
        }
        let value = DeValue::parse(text)
            .unwrap_or_else(|_| Spanned::new(0..0, DeValue::String(text.into())));
        let at = Origin::Set(key.trim().to_owned());
        let place = Place { locate: &|_| at.clone(), argument: Some(text) };
        self.take(&mut path, at.clone(), value, &place, mistakes);
    }

    fn take_table(
        &mut self,
        path: &mut Vec<String>,
        table: DeTable<'_>,
        place: &Place<'_>,
        mistakes: &mut Vec<Mistake>,
    ) {
        for (key, value) in table {
            let at = (place.locate)(key.span());
            path.push(key.into_inner().into_owned());
            self.take(path, at, value, place, mistakes);
            path.pop();
        }
    }

    /// Takes what stands at `path`: the value of a key, a table of them, or a mistake.
    fn take(
        &mut self,
        path: &mut Vec<String>,
        at: Origin,
        value: Spanned<DeValue<'_>>,
        place: &Place<'_>,
        mistakes: &mut Vec<Mistake>,
    ) {
        let property = path.len() > 2 && path[0] == "kafka" && path[1] == "properties";
        let key = if property {
            format!("{PROPERTIES}.{}", path[2..].join("."))
        } else {
            path.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(".")
        };
        if let Some(table) = path.first().and_then(|table| TABLES.iter().find(|t| *t == table)) {
            self.tables.entry(table).or_insert_with(|| at.clone());
        }
        let is_table = value.get_ref().is_table();
        let is_key = KEYS.contains(&key.as_str()) || (property && !is_table);
        let argument = place.argument.map(str::to_owned);
        if is_key {
            // A number beyond i64 is the one thing that TOML allows and a `Value` cannot be.
            let large = value.get_ref().as_integer().map_or("a large number", |n| n.as_str());
            let large = toml::Value::String(large.to_owned());
            let value = toml::Value::deserialize(ValueDeserializer::from(value)).unwrap_or(large);
            let written = Written { at: at.clone(), value, argument };
            if let Some(before) = self.values.insert(key.clone(), written)
                && place.argument.is_none()
            {
                let at = at.max(before.at);
                mistakes.push(Finding { at, what: Fault::Twice { key } });
            }
        } else if property || TABLES.contains(&key.as_str()) {
            match value.into_inner() {
                DeValue::Table(table) => self.take_table(path, table, place, mistakes),
                other => {
                    let found = Some(format!("of type {}", other.type_str()));
                    mistakes.push(Finding {
                        at,
                        what: Fault::Unfit { key, found, allowed: "a table" },
                    });
                }
            }
        } else {
            let nearest = nearest(&key);
            mistakes.push(Finding { at, what: Fault::Unknown { key, nearest } });
        }
    }
}

/// A name of a key as TOML wants it written.
fn quoted(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

/// The known key or table that `key` resembles, by its whole path, or by its name in another table.
fn nearest(key: &str) -> Option<&'static str> {
    let name = |key: &'_ str| key.rsplit_once('.').map_or(0, |(table, _)| table.len() + 1);
    let own = &key[name(key)..];
    KEYS.into_iter()
        .chain(TABLES)
        .map(|known| {
            let whole = strsim::osa_distance(key, known);
            let elsewhere = 1 + strsim::osa_distance(own, &known[name(known)..]);
            (whole.min(elsewhere), known)
        })
        .min()
        .filter(|(distance, _)| *distance <= 1 + own.chars().count() / 4)
        .map(|(_, known)| known)
}
