//! Gives every event an id of its own.

use ::uuid::Uuid;

use crate::event::{Event, Text};
use crate::keys::Keys;

/// Sets the header `id`, or another, to a random id.
#[derive(Debug)]
pub struct Id {
    header: Text,
    preserves: bool,
    prefix: String,
}

impl Id {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Id {
        Id {
            header: keys.text_or("headerName", "id").into(),
            preserves: keys.flag("preserveExisting", true),
            prefix: keys.text_or_empty("prefix"),
        }
    }
}

impl super::Interceptor for Id {
    fn intercept(&self, event: &mut Event) -> bool {
        if !self.preserves || event.headers.get(&self.header).is_none() {
            event.headers.set(self.header.clone(), format!("{}{}", self.prefix, Uuid::new_v4()));
        }
        true
    }

    fn sets(&self, header: &str) -> bool {
        *self.header == *header
    }
}
