//! Java's patterns of file names: a name matches as a whole.

use fancy_regex::Regex;

use crate::keys::Keys;

/// A pattern that names match or do not.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads the pattern that is the value of a key; one that cannot be had is a mistake, and matches
    /// nothing.
    pub fn read(keys: &Keys<'_>, key: &str, pattern: &str) -> Pattern {
        let nothing = || Regex::new("[^\\s\\S]").expect("it is a pattern");
        let regex = Regex::new(&format!("\\A(?:{pattern})\\z")).unwrap_or_else(|error| {
            keys.mistaken(key, format_args!("{pattern} cannot be used as a pattern: {error}"));
            nothing()
        });
        Pattern(regex)
    }

    /// Whether a name matches, as a whole. One that takes too long to be judged does not.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name).unwrap_or_else(|error| {
            log::warn!("cannot judge a file's name: name={name} pattern={} error={error}", self.0);
            false
        })
    }
}
