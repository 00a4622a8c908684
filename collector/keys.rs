//! The keys of one component: whoever asks for a key makes it known, judges its value, and has it
//! printed. What nobody has asked for is a key that Flume ignores too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::findings::{Finding, Findings, Weight};
use crate::properties::Property;

/// The keys of one component, below its name.
#[derive(Debug)]
pub struct Keys<'a> {
    agent: &'a str,
    /// As `sources.r1`, or `sources.r1.interceptors.i1` for a part of one.
    path: String,
    /// The component that a mistake spoils: the path of the whole.
    component: String,
    given: BTreeMap<String, &'a Property>,
    /// What old names say of keys that are not given.
    older: RefCell<BTreeMap<String, &'a Property>>,
    findings: &'a Findings,
    asked: RefCell<BTreeMap<String, Asked>>,
}

/// What somebody has asked for.
#[derive(Clone, Debug)]
enum Asked {
    /// A key: what it comes to, if anything, and whether it was given.
    Key { value: Option<String>, given: bool },
    /// All keys that begin so.
    Below,
    /// A key that means nothing here.
    Ignored,
}

/// What a key comes to, as `collect --print` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, below the component's name.
    pub key: String,
    /// What counts; `None` where a key without a default is not given.
    pub value: Option<String>,
    /// Whether it was given; otherwise it is the default.
    pub given: bool,
}

impl<'a> Keys<'a> {
    /// The keys of the component of this path, each without the path.
    pub fn new(
        agent: &'a str,
        path: &str,
        given: impl IntoIterator<Item = (String, &'a Property)>,
        findings: &'a Findings,
    ) -> Keys<'a> {
        Keys {
            agent,
            path: path.to_owned(),
            component: path.to_owned(),
            given: given.into_iter().collect(),
            older: RefCell::default(),
            findings,
            asked: RefCell::default(),
        }
    }

    /// The keys below a prefix, as a part of the component with keys of its own: `interceptors.i1.`, say.
    pub fn part(&self, prefix: &str) -> Keys<'a> {
        self.asked.borrow_mut().insert(prefix.to_owned(), Asked::Below);
        let below = self
            .given
            .iter()
            .filter_map(|(key, property)| Some((key.strip_prefix(prefix)?.to_owned(), *property)));
        Keys {
            agent: self.agent,
            path: format!("{}.{}", self.path, prefix.trim_end_matches('.')),
            component: self.component.clone(),
            given: below.collect(),
            older: RefCell::default(),
            findings: self.findings,
            asked: RefCell::default(),
        }
    }

    /// The name of the agent.
    pub fn agent(&self) -> &str {
        self.agent
    }

    /// The component's path, as `sources.r1`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name of the component: the last part of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// The text of a key, if it is given and not empty. An empty one is a mistake, as in Flume.
    pub fn text(&self, key: &str) -> Option<String> {
        let value = self.raw(key);
        self.note(key, value.clone(), value.is_some());
        value
    }

    /// The text of a key, or its default.
    pub fn text_or(&self, key: &str, default: &str) -> String {
        let value = self.raw(key);
        let given = value.is_some();
        let value = value.unwrap_or_else(|| default.to_owned());
        self.note(key, Some(value.clone()), given);
        value
    }

    /// The text of a key, which may be empty: Flume complains of that, and takes it as empty.
    pub fn text_or_empty(&self, key: &str) -> String {
        let value = self.property(key).map(|property| property.value.clone());
        let given = value.is_some();
        let value = value.unwrap_or_default();
        self.note(key, Some(value.clone()), given);
        value
    }

    /// The text of a key that must be there; where it is not, that is a mistake, and the text empty.
    pub fn required(&self, key: &str) -> String {
        self.text(key).unwrap_or_else(|| {
            if !self.is_given(key) {
                self.mistake(None, format!("{}.{key} is missing: it has no default", self.path));
            }
            String::new()
        })
    }

    /// A number or the like, or its default; `allowed` says in words what `judge` lets pass.
    pub fn number<T: FromStr + Display + Copy>(
        &self,
        key: &str,
        default: T,
        allowed: &str,
        judge: impl FnOnce(T) -> bool,
    ) -> T {
        let value = match self.raw(key) {
            None => None,
            Some(text) => match text.parse::<T>() {
                Ok(number) if judge(number) => Some(number),
                _ => {
                    self.wrong(key, &text, allowed);
                    None
                }
            },
        };
        self.note(key, Some(value.unwrap_or(default).to_string()), value.is_some());
        value.unwrap_or(default)
    }

    /// A whole number, from 1 on.
    pub fn count(&self, key: &str, default: usize) -> usize {
        self.number(key, default, "a whole number from 1", |number| number >= 1)
    }

    /// A port.
    pub fn port(&self, key: &str) -> u16 {
        let text = self.required(key);
        if text.is_empty() {
            return 0;
        }
        text.parse().unwrap_or_else(|_| {
            self.wrong(key, &text, "a port: 0 to 65535");
            0
        })
    }

    /// A time that is given in this unit; `allowed` from 0.
    pub fn time(&self, key: &str, unit: Duration, default: u32) -> Duration {
        unit * self.number(key, default, "a whole number from 0", |_| true)
    }

    /// Yes or no, as Java reads it: all but `true` is no. What is neither `true` nor `false` is warned of.
    pub fn flag(&self, key: &str, default: bool) -> bool {
        let text = self.raw(key);
        let value = match &text {
            None => default,
            Some(text) => {
                if !["true", "false"].contains(&&*text.to_ascii_lowercase()) {
                    let path = &self.path;
                    self.warn(
                        self.line(key),
                        format!("{path}.{key} is {text}, which counts as false"),
                    );
                }
                text.eq_ignore_ascii_case("true")
            }
        };
        self.note(key, Some(value.to_string()), text.is_some());
        value
    }

    /// One of some words, in any case; the default is one of them.
    pub fn choice<T: Copy>(&self, key: &str, default: &str, choices: &[(&str, T)]) -> T {
        let text = self.raw(key);
        let (wanted, given) = (text.as_deref().unwrap_or(default), text.is_some());
        let of = |wanted: &str| choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(wanted));
        let found = of(wanted).or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.wrong(key, wanted, &words.join(", "));
            of(default)
        });
        let (word, value) = *found.expect("the default is one of the choices");
        self.note(key, Some(word.to_owned()), given);
        value
    }

    /// Words, separated by white space.
    pub fn words(&self, key: &str) -> Vec<String> {
        let words = self.text(key).unwrap_or_default();
        words.split_whitespace().map(str::to_owned).collect()
    }

    /// All keys below a prefix, without it, in order: `headers.` and the like, where any name may stand.
    pub fn below(&self, prefix: &str) -> Vec<(String, String)> {
        self.asked.borrow_mut().insert(prefix.to_owned(), Asked::Below);
        let below = self.given.iter().filter_map(|(key, property)| {
            Some((key.strip_prefix(prefix)?.to_owned(), property.value.clone()))
        });
        let below: Vec<_> = below.collect();
        for (key, value) in &below {
            self.note(&format!("{prefix}{key}"), Some(value.clone()), true);
        }
        below
    }

    /// A key by an old name: what it says counts where the new one is not given. It is warned of.
    pub fn renamed(&self, old: &str, new: &str) -> Option<String> {
        let value = self.text(old)?;
        let path = &self.path;
        if self.given.contains_key(new) {
            self.warn(self.line(old), format!("{path}.{old} does not count beside {new}"));
            return None;
        }
        self.warn(self.line(old), format!("{path}.{old} is an old name of {new}"));
        Some(value)
    }

    /// A key that goes by an old name, too: likewise, and whoever asks for the new one hears what the old one says.
    pub fn also(&self, old: &str, new: &str) {
        if self.renamed(old, new).is_some() {
            self.older.borrow_mut().insert(new.to_owned(), self.given[old]);
        }
    }

    /// A key that Flume obeys and the collector does not: a mistake where it is given.
    pub fn refuse(&self, key: &str, instead: &str) {
        self.asked.borrow_mut().insert(key.to_owned(), Asked::Ignored);
        if self.given.contains_key(key) {
            let path = &self.path;
            self.mistake(self.line(key), format!("{path}.{key} is not supported; {instead}"));
        }
    }

    /// A key that has no meaning here and needs none: a warning where it is given.
    pub fn ignore(&self, key: &str, why: &str) {
        self.asked.borrow_mut().insert(key.to_owned(), Asked::Ignored);
        if self.given.contains_key(key) {
            self.warn(self.line(key), format!("{}.{key} has no effect: {why}", self.path));
        }
    }

    /// Notes that the value of a key cannot be what it is, and what is allowed.
    pub fn wrong(&self, key: &str, value: &str, allowed: &str) {
        let text = format!("{}.{key} is {value}; allowed: {allowed}", self.path);
        self.mistake(self.line(key), text);
    }

    /// Notes a mistake about a key, in the words given.
    pub fn mistaken(&self, key: &str, text: impl Display) {
        self.mistake(self.line(key), format!("{}.{key}: {text}", self.path));
    }

    /// Notes a warning about a key, in the words given.
    pub fn doubtful(&self, key: &str, text: impl Display) {
        self.warn(self.line(key), format!("{}.{key}: {text}", self.path));
    }

    /// Notes something that is worth to be known before it happens.
    pub fn advise(&self, key: &str, text: impl Display) {
        self.found(Weight::Advice, self.line(key), format!("{}: {text}", self.path));
    }

    /// Whether the key was given.
    pub fn is_given(&self, key: &str) -> bool {
        self.property(key).is_some()
    }

    /// The line of a key, where it is given.
    pub fn line(&self, key: &str) -> Option<usize> {
        self.property(key).map(|property| property.line)
    }

    /// Ends the asking: warns of all keys that nobody has asked for, with the nearest known one, and
    /// returns what the others came to.
    pub fn finish(self) -> Vec<Setting> {
        let asked = self.asked.borrow();
        for (key, property) in &self.given {
            if asked.contains_key(key)
                || asked.iter().any(|(prefix, asked)| {
                    matches!(asked, Asked::Below) && key.starts_with(&**prefix)
                })
            {
                continue;
            }
            let path = &self.path;
            let mut text = format!("{path}.{key} is no key that is known here: it has no effect");
            let known = asked.iter().filter(|(_, asked)| matches!(asked, Asked::Key { .. }));
            if let Some(nearest) = nearest(key, known.map(|(key, _)| &**key)) {
                text += &format!("; did you mean {nearest}?");
            }
            self.warn(Some(property.line), text);
        }
        let settings = asked.iter().filter_map(|(key, asked)| match asked {
            Asked::Key { value, given } => {
                Some(Setting { key: key.clone(), value: value.clone(), given: *given })
            }
            Asked::Below | Asked::Ignored => None,
        });
        settings.collect()
    }

    fn property(&self, key: &str) -> Option<&'a Property> {
        self.given.get(key).or(self.older.borrow().get(key)).copied()
    }

    fn raw(&self, key: &str) -> Option<String> {
        let property = self.property(key)?;
        if property.value.is_empty() {
            self.mistake(Some(property.line), format!("{}.{key} has no value", self.path));
            return None;
        }
        Some(property.value.clone())
    }

    fn note(&self, key: &str, value: Option<String>, given: bool) {
        let value = value.map(|value| if is_secret(key) { HIDDEN.to_owned() } else { value });
        self.asked.borrow_mut().insert(key.to_owned(), Asked::Key { value, given });
    }

    fn mistake(&self, line: Option<usize>, text: String) {
        self.found(Weight::Mistake, line, text);
    }

    fn warn(&self, line: Option<usize>, text: String) {
        self.found(Weight::Warning, line, text);
    }

    fn found(&self, weight: Weight, line: Option<usize>, text: String) {
        let component = Some(self.component.clone());
        self.findings.add(Finding { weight, line, component, text });
    }
}

/// What is shown in place of a secret.
const HIDDEN: &str = "(hidden)";

/// Whether the value of a key is for nobody's eyes: it is not printed.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "jaas.config", "keystore.key"].iter().any(|secret| key.ends_with(secret))
}

/// The name that this one may have been meant to be, if there is one.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let lower = name.to_lowercase();
    let near =
        known.into_iter().map(|known| (strsim::osa_distance(&lower, &known.to_lowercase()), known));
    let (distance, nearest) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= (name.len() / 3).max(1)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(all: &[(&str, &str)]) -> Vec<Property> {
        let property = |(at, (key, value)): (usize, &(&str, &str))| Property {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            line: at + 1,
        };
        all.iter().enumerate().map(property).collect()
    }

    fn with<T>(all: &[(&str, &str)], ask: impl FnOnce(&Keys<'_>) -> T) -> (T, Vec<String>) {
        let (properties, findings) = (properties(all), Findings::default());
        let given = properties.iter().map(|property| (property.key.clone(), property));
        let keys = Keys::new("a1", "sources.r1", given, &findings);
        let answer = ask(&keys);
        keys.finish();
        (answer, findings.into_sorted().iter().map(Finding::to_string).collect())
    }

    #[test]
    fn a_key_that_nobody_asks_for_is_warned_of_with_the_nearest() {
        let given = [("batchsize", "5"), ("headers.g.x", "1"), ("zzzzzz", "1")];
        let (batch, found) = with(&given, |keys| {
            keys.below("headers.");
            keys.count("batchSize", 100)
        });
        assert_eq!(batch, 100);
        let expected = [
            "line 1: warning: sources.r1.batchsize is no key that is known here: it has no effect; did you \
             mean batchSize?",
            "line 3: warning: sources.r1.zzzzzz is no key that is known here: it has no effect",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_wrong_value_is_a_mistake_with_what_is_allowed() {
        let given = [("port", "99999"), ("batchSize", "ten"), ("mode", "fast"), ("empty", "")];
        let (_, found) = with(&given, |keys| {
            keys.port("port");
            keys.count("batchSize", 100);
            keys.choice("mode", "slow", &[("slow", 1), ("slower", 2)]);
            keys.text("empty");
            keys.required("command");
        });
        let expected = [
            "line 1: sources.r1.port is 99999; allowed: a port: 0 to 65535",
            "line 2: sources.r1.batchSize is ten; allowed: a whole number from 1",
            "line 3: sources.r1.mode is fast; allowed: slow, slower",
            "line 4: sources.r1.empty has no value",
            "sources.r1.command is missing: it has no default",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_old_name_counts_where_the_new_one_is_not_given() {
        let given = [("oldFlag", "true"), ("port", "7"), ("oldPort", "8"), ("oldNumber", "none")];
        let (read, found) = with(&given, |keys| {
            for (old, new) in [("oldFlag", "flag"), ("oldPort", "port"), ("oldNumber", "number")] {
                keys.also(old, new);
            }
            (keys.flag("flag", false), keys.port("port"), keys.count("number", 5))
        });
        assert_eq!(read, (true, 7, 5));
        let expected = [
            "line 1: warning: sources.r1.oldFlag is an old name of flag",
            "line 3: warning: sources.r1.oldPort does not count beside port",
            "line 4: warning: sources.r1.oldNumber is an old name of number",
            "line 4: sources.r1.number is none; allowed: a whole number from 1",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let given =
            [("keystore-password", "x"), ("kafka.producer.sasl.jaas.config", "y"), ("a", "z")];
        let (properties, findings) = (properties(&given), Findings::default());
        let given = properties.iter().map(|property| (property.key.clone(), property));
        let keys = Keys::new("a1", "sinks.k1", given, &findings);
        assert_eq!(keys.text("keystore-password").as_deref(), Some("x"));
        keys.below("kafka.producer.");
        keys.text("a");
        let shown: Vec<_> = keys.finish().into_iter().filter_map(|setting| setting.value).collect();
        assert_eq!(shown, ["z", HIDDEN, HIDDEN]);
    }

    #[test]
    fn flags_are_javas() {
        let given = [("a", "TRUE"), ("b", "yes")];
        let (flags, found) = with(&given, |keys| [keys.flag("a", false), keys.flag("b", true)]);
        assert_eq!(flags, [true, false]);
        assert_eq!(found, ["line 2: warning: sources.r1.b is yes, which counts as false"]);
    }
}
