//! Puts the time, in milliseconds since 1970, into a header.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::{Event, Text};
use crate::keys::Keys;

/// Sets the header `timestamp`, or another, to now.
#[derive(Debug)]
pub struct Timestamp {
    header: Text,
    preserves: bool,
}

impl Timestamp {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Timestamp {
        let header = keys.text_or("headerName", "timestamp").into();
        Timestamp { header, preserves: keys.flag("preserveExisting", false) }
    }
}

impl super::Interceptor for Timestamp {
    fn intercept(&self, event: &mut Event) -> bool {
        if !self.preserves || event.headers.get(&self.header).is_none() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            event.headers.set(self.header.clone(), now.as_millis().to_string());
        }
        true
    }

    fn sets(&self, header: &str) -> bool {
        *self.header == *header
    }
}
