//! Java's patterns of file names: a name matches as a whole.

use std::sync::Arc;

use crate::java_regex::JavaRegex;
use crate::keys::Keys;
use crate::stop::chain;

/// A pattern that names match or do not.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<JavaRegex>);

impl Pattern {
    /// Reads the pattern that is the value of a key; one that cannot be had is a mistake, and matches
    /// nothing.
    pub fn read(keys: &Keys<'_>, key: &str, pattern: &str) -> Pattern {
        let regex = JavaRegex::parse(pattern).unwrap_or_else(|error| {
            let text = format_args!("{pattern} cannot be used as a pattern: {}", chain(&error));
            keys.mistaken(key, text);
            JavaRegex::parse("[^\\s\\S]").expect("it is a pattern")
        });
        Pattern(Arc::new(regex))
    }

    /// Whether a name matches, as a whole.
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}
