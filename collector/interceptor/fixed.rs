//! Puts the same value into a header of every event.

use crate::event::{Event, Text};
use crate::keys::Keys;

/// Sets a header, unless it is there.
#[derive(Debug)]
pub struct Fixed {
    key: Text,
    value: Text,
    preserves: bool,
}

impl Fixed {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Fixed {
        Fixed {
            key: keys.text_or("key", "key").into(),
            value: keys.text_or("value", "value").into(),
            preserves: keys.flag("preserveExisting", true),
        }
    }
}

impl super::Interceptor for Fixed {
    fn intercept(&self, event: &mut Event) -> bool {
        if !self.preserves || event.headers.get(&self.key).is_none() {
            event.headers.set(self.key.clone(), self.value.clone());
        }
        true
    }

    fn sets(&self, header: &str) -> bool {
        *self.key == *header
    }
}
