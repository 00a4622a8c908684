//! Takes headers off events.

use crate::event::Event;
use crate::java_regex::JavaRegex;
use crate::keys::Keys;

/// Takes off headers with a name, with one of a list, or with one that matches.
#[derive(Debug)]
pub struct RemoveHeader {
    /// Those with these names.
    names: Vec<String>,
    matching: Option<JavaRegex>,
}

impl RemoveHeader {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> RemoveHeader {
        let mut names: Vec<_> = keys.text("withName").into_iter().collect();
        let separator = keys.text_or("fromListSeparator", r"\s*,\s*");
        let separator = super::pattern(keys, "fromListSeparator", &separator);
        if let (Some(list), Some(separator)) = (keys.text("fromList"), separator) {
            names.extend(separator.split(&list).into_iter().map(str::to_owned));
        }
        let matching = keys.text("matching");
        let matching = matching.and_then(|pattern| super::pattern(keys, "matching", &pattern));
        RemoveHeader { names, matching }
    }
}

impl super::Interceptor for RemoveHeader {
    fn intercept(&self, event: &mut Event) -> bool {
        event.headers.retain(|name, _| {
            !self.names.iter().any(|known| known == name)
                && !self.matching.as_ref().is_some_and(|matching| matching.matches(name))
        });
        true
    }
}
