//! What travels: a body, and headers that say something of it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A name or value of a header. Clones share it.
pub type Text = Arc<str>;

/// A body with its headers. Clones share the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What is said of it.
    pub headers: Headers,
    /// Its bytes.
    pub body: Bytes,
}

impl Event {
    /// An event without headers.
    pub fn new(body: impl Into<Bytes>) -> Event {
        Event { headers: Headers::default(), body: body.into() }
    }
}

/// Names and values, each name once, in the order in which the names were first set. They are few: what
/// is looked for is looked for one by one.
#[derive(Clone, Default)]
pub struct Headers(Vec<(Text, Text)>);

impl Headers {
    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }

    /// Sets a value; one that was there is replaced.
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Keeps the headers of which this holds.
    pub fn retain(&mut self, mut keeps: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|(name, value)| keeps(name, value));
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Text)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Text, Text)> for Headers {
    /// Of a name that comes twice the last value counts.
    fn from_iter<I: IntoIterator<Item = (Text, Text)>>(all: I) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in all {
            headers.set(name, value);
        }
        headers
    }
}

/// In any order.
impl PartialEq for Headers {
    fn eq(&self, other: &Headers) -> bool {
        self.len() == other.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_value_and_keeps_its_place() {
        let mut headers = Headers::default();
        headers.set("b", "1");
        headers.set("a", "2");
        headers.set("b", "3");
        let all: Vec<_> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(all, [("b", "3"), ("a", "2")]);
        let other: Headers = [("a", "2"), ("b", "0"), ("b", "3")]
            .map(|(name, value)| (name.into(), value.into()))
            .into_iter()
            .collect();
        assert_eq!(headers, other);
        headers.retain(|name, _| name != "b");
        assert_eq!((headers.len(), headers.get("b")), (1, None));
    }
}
