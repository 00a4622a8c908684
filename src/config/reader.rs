//! Reads the values of keys, and gathers what is wrong with them.

use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use super::raw::{PROPERTIES, RawConfig, Written};
use super::{Fault, Finding, Mistake, Origin, Risk, Text, Unresolved, Warning};

const INTERVAL: &str = r#"a whole number of ms, s, m or h up to a year, such as "50ms""#;
pub(super) const NOT_EMPTY: &str = "a string that is not empty";

/// A value, its references resolved.
pub(super) enum Value {
    Text(Text),
    Texts(Vec<Text>),
    /// A number or a boolean, and its text: a word on the command line may yet mean a string.
    Scalar {
        value: toml::Value,
        text: Text,
        on_command_line: bool,
    },
    Other,
}

impl Value {
    pub fn text(&self) -> Option<&Text> {
        match self {
            Value::Text(text) | Value::Scalar { text, on_command_line: true, .. } => Some(text),
            _ => None,
        }
    }

    /// The value as a list: a single string is a list of one.
    pub fn list(&self) -> Option<&[Text]> {
        match self {
            Value::Texts(texts) => Some(texts),
            _ => self.text().map(std::slice::from_ref),
        }
    }

    pub fn scalar(&self) -> Option<&toml::Value> {
        if let Value::Scalar { value, .. } = self { Some(value) } else { None }
    }
}

/// Reads the values of keys.
///
/// Every method takes the default where the key is not written, and also where it is a mistake: then
/// the whole is refused, and reading goes on only to find the other mistakes.
pub(super) struct Reader {
    raw: RawConfig,
    mistakes: Vec<Mistake>,
    warnings: Vec<Warning>,
}

impl Reader {
    /// Begins with what was written, and with the mistakes of the writing.
    pub fn new(raw: RawConfig, mistakes: Vec<Mistake>) -> Reader {
        Reader { raw, mistakes, warnings: Vec::new() }
    }

    /// The file.
    pub fn file(&self) -> Option<&Path> {
        self.raw.path.as_ref().map(|path| path.as_path())
    }

    /// What was found on the way.
    pub fn findings(self) -> (Vec<Mistake>, Vec<Warning>) {
        (self.mistakes, self.warnings)
    }

    /// Whether this key or table is written.
    pub fn has(&self, key: &str) -> bool {
        self.raw.values.contains_key(key) || self.raw.tables.contains_key(key)
    }

    /// The keys of properties that are written.
    pub fn properties(&self) -> Vec<String> {
        let below = |key: &&String| key.starts_with(PROPERTIES);
        self.raw.values.keys().filter(below).cloned().collect()
    }

    /// Reads the value of `key`, if one is written; `parse` knows what it may be.
    pub fn read<T>(
        &mut self,
        key: &str,
        allowed: &'static str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let written = self.raw.values.get(key)?;
        let what = match self.value(written) {
            Ok(value) => match parse(&value) {
                Some(parsed) => return Some(parsed),
                None => {
                    let found = (!is_secret(key)).then(|| written.value.to_string());
                    Fault::Unfit { key: key.to_owned(), found, allowed }
                }
            },
            Err(why) => Fault::Unresolved { key: key.to_owned(), why },
        };
        let at = written.at.clone();
        self.mistakes.push(Finding { at, what });
        None
    }

    fn value(&self, written: &Written) -> Result<Value, Unresolved> {
        let folder = match &written.at {
            Origin::Line(file, _) => file.parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        };
        let text = |text: &str| Text::resolve(text, folder);
        Ok(match &written.value {
            toml::Value::String(string) => Value::Text(text(string)?),
            toml::Value::Datetime(time) => Value::Text(Text::from(time.to_string())),
            toml::Value::Array(list) if list.iter().all(toml::Value::is_str) => Value::Texts(
                list.iter().filter_map(toml::Value::as_str).map(text).collect::<Result<_, _>>()?,
            ),
            toml::Value::Array(_) | toml::Value::Table(_) => Value::Other,
            value => Value::Scalar {
                value: value.clone(),
                text: Text::from(written.argument.clone().unwrap_or_else(|| value.to_string())),
                on_command_line: written.argument.is_some(),
            },
        })
    }

    pub fn parsed<T>(
        &mut self,
        key: &str,
        allowed: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(key, allowed, |value| parse(value.text()?.as_str()))
    }

    pub fn name(
        &mut self,
        key: &str,
        default: &str,
        allowed: &'static str,
        fits: impl FnOnce(&str) -> bool,
    ) -> Text {
        let name =
            self.read(key, allowed, |value| value.text().filter(|t| fits(t.as_str())).cloned());
        name.unwrap_or_else(|| Text::from(default.to_owned()))
    }

    pub fn whole<T: TryFrom<i64> + PartialOrd>(
        &mut self,
        key: &str,
        default: T,
        range: RangeInclusive<T>,
        allowed: &'static str,
    ) -> T {
        let number = self.read(key, allowed, |value| {
            T::try_from(value.scalar()?.as_integer()?).ok().filter(|number| range.contains(number))
        });
        number.unwrap_or(default)
    }

    pub fn interval(&mut self, key: &str, default: Duration) -> Duration {
        self.parsed(key, INTERVAL, interval).unwrap_or(default)
    }

    pub fn secret(&mut self, key: &str) -> Option<Text> {
        let mut secret = self.read(key, NOT_EMPTY, |value| {
            value.text().filter(|text| !text.as_str().is_empty()).cloned()
        })?;
        self.conceal(key, &mut secret, |shown| Some(0..shown.len()));
        Some(secret)
    }

    /// Hides the secret part of a value where it was written as it is, and warns of that.
    pub fn conceal(&mut self, key: &str, text: &mut Text, part: fn(&str) -> Option<Range<usize>>) {
        if part(text.shown()).is_some_and(|part| text.hide(part)) {
            self.warn(key, Risk::PlainSecret { key: key.to_owned() });
        }
    }

    pub fn require(&mut self, key: &'static str, why: &'static str) {
        // What could not be read may hold the key.
        let unread =
            |mistake: &Mistake| matches!(mistake.what, Fault::Unreadable(_) | Fault::Syntax(_));
        if !self.raw.values.contains_key(key) && !self.mistakes.iter().any(unread) {
            let at = self.origin(&[]);
            self.mistakes.push(Finding { at, what: Fault::Missing { key, why } });
        }
    }

    pub fn both(&mut self, one: &'static str, other: &'static str, why: &'static str) {
        let at = self.origin(&[one, other]);
        self.mistakes.push(Finding { at, what: Fault::Both { one, other, why } });
    }

    pub fn warn(&mut self, key: &str, what: Risk) {
        let at = self.origin(&[key]);
        self.warnings.push(Finding { at, what });
    }

    /// Where the first of these keys and tables stands that is written; else the whole.
    fn origin(&self, keys: &[&str]) -> Origin {
        let written = |key: &&str| {
            let value = self.raw.values.get(*key).map(|written| &written.at);
            value.or_else(|| self.raw.tables.get(*key)).cloned()
        };
        keys.iter().find_map(written).unwrap_or_else(|| match &self.raw.path {
            Some(path) => Origin::File(path.clone()),
            None => Origin::CommandLine,
        })
    }
}

/// Whether the value of `key` is not to be shown.
pub(super) fn is_secret(key: &str) -> bool {
    let of_property = ["password", "passphrase", "secret", "key.pem", "oauthbearer.config"];
    ["cluster.secret", "redis.url"].contains(&key)
        || (key.starts_with(PROPERTIES) && of_property.iter().any(|word| key.contains(word)))
}

/// Reads a duration as [`INTERVAL`] says.
fn interval(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=365 * 24 * 3_600_000).contains(&millis).then(|| Duration::from_millis(millis))
}
