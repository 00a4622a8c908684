//! Lets events pass, or drops them, by what stands in their bodies.

use crate::charset;
use crate::event::Event;
use crate::java_regex::JavaRegex;
use crate::keys::Keys;

/// Keeps the events in whose body a pattern is found, or those where it is not.
#[derive(Debug)]
pub struct RegexFilter {
    /// None where it could not be read: then the source is not started.
    regex: Option<JavaRegex>,
    excludes: bool,
}

impl RegexFilter {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> RegexFilter {
        let pattern = keys.text_or("regex", ".*");
        RegexFilter {
            regex: super::pattern(keys, "regex", &pattern),
            excludes: keys.flag("excludeEvents", false),
        }
    }
}

impl super::Interceptor for RegexFilter {
    fn intercept(&self, event: &mut Event) -> bool {
        let Some(regex) = &self.regex else { return true };
        regex.find(&charset::text(&event.body)) != self.excludes
    }
}
