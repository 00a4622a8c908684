//! What looks at every event between source and channels: changes its headers or body, or drops it.

pub mod fixed;
pub mod host;
pub mod regex_extractor;
pub mod regex_filter;
pub mod remove_header;
pub mod search_replace;
pub mod timestamp;
pub mod uuid;

use std::fmt::Debug;

use crate::event::Event;
use crate::java_regex::JavaRegex;
use crate::keys::Keys;

/// Changes events, or drops them.
pub trait Interceptor: Debug + Send + Sync {
    /// Looks at an event; says whether it goes on.
    fn intercept(&self, event: &mut Event) -> bool;

    /// Whether every event that goes on has this header.
    fn sets(&self, header: &str) -> bool {
        let _ = header;
        false
    }
}

/// Reads the keys of an interceptor of this type. None for a type that is not known.
pub fn read(kind: &str, keys: &Keys<'_>) -> Option<Box<dyn Interceptor>> {
    let name = kind.strip_prefix("org.apache.flume.interceptor.").unwrap_or(kind);
    let name = name.strip_suffix("$Builder").unwrap_or(name);
    Some(match &*name.to_ascii_lowercase() {
        "host" | "hostinterceptor" => Box::new(host::Host::read(keys)),
        "org.apache.flume.sink.solr.morphline.uuidinterceptor" => Box::new(uuid::Id::read(keys)),
        "regex_extractor" | "regexextractorinterceptor" => {
            Box::new(regex_extractor::RegexExtractor::read(keys))
        }
        "regex_filter" | "regexfilteringinterceptor" => {
            Box::new(regex_filter::RegexFilter::read(keys))
        }
        "remove_header" | "removeheaderinterceptor" => {
            Box::new(remove_header::RemoveHeader::read(keys))
        }
        "search_replace" | "searchandreplaceinterceptor" => {
            Box::new(search_replace::SearchReplace::read(keys))
        }
        "static" | "staticinterceptor" => Box::new(fixed::Fixed::read(keys)),
        "timestamp" | "timestampinterceptor" => Box::new(timestamp::Timestamp::read(keys)),
        _ => return None,
    })
}

/// The types that [`read`] knows.
pub const TYPES: &[&str] = &[
    "host",
    "regex_extractor",
    "regex_filter",
    "remove_header",
    "search_replace",
    "static",
    "timestamp",
    "org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder",
];

/// Understands the pattern that a key has; notes a mistake where it is none.
fn pattern(keys: &Keys<'_>, key: &str, pattern: &str) -> Option<JavaRegex> {
    match JavaRegex::parse(pattern) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            keys.mistaken(key, error);
            None
        }
    }
}

#[cfg(test)]
mod tests;
