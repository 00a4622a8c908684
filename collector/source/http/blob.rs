//! A body as it is posted, an event; the request's parameters are its headers.

use super::{Bad, Posted};
use crate::event::{Event, Headers};
use crate::keys::Keys;

/// What is taken.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A longer body is cut.
    pub longest: usize,
    /// Parameters that must be there.
    mandatory: Vec<String>,
    /// Whether the content type is a header.
    tells_type: bool,
}

impl Settings {
    /// Reads the keys of `org.apache.flume.sink.solr.morphline.BlobHandler`.
    pub fn of_morphline(keys: &Keys<'_>) -> Settings {
        let longest = keys.number("maxBlobLength", 100_000_000, "1 to 2147483647", |number| {
            (1..=i32::MAX as usize).contains(&number)
        });
        Settings { longest, mandatory: Vec::new(), tells_type: true }
    }

    /// Reads the keys of `org.apache.flume.source.http.BLOBHandler`.
    pub fn of_flume(keys: &Keys<'_>) -> Settings {
        let mandatory = keys.text("mandatoryParameters").unwrap_or_default();
        let mandatory = mandatory.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
        // Flume has no bound.
        Settings { longest: super::LONGEST, mandatory: mandatory.collect(), tells_type: false }
    }

    /// The event of what was posted.
    pub fn event(&self, posted: Posted) -> Result<Event, Bad> {
        let missing = self.mandatory.iter().find(|name| !posted.parameters.contains_key(*name));
        if let Some(missing) = missing {
            return Err(Bad::Parameter(missing.clone()));
        }
        let mut headers = Headers::default();
        if let Some(content_type) = posted.content_type.filter(|_| self.tells_type) {
            headers.set("Content-Type", content_type);
        }
        for (name, value) in posted.parameters {
            headers.set(name, value);
        }
        let long = posted.body.len().min(self.longest);
        if long < posted.body.len() {
            log::warn!("a body is cut: bytes={} maxBlobLength={long}", posted.body.len());
        }
        Ok(Event { headers, body: posted.body.slice(..long) })
    }
}
