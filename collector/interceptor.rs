//! What looks at every event between source and channels: changes its headers or body, or drops it.

pub mod timestamp;

use std::fmt::Debug;

use crate::event::Event;
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
        "timestamp" | "timestampinterceptor" => Box::new(timestamp::Timestamp::read(keys)),
        _ => return None,
    })
}

/// The types that [`read`] knows.
pub const TYPES: &[&str] = &["timestamp"];
