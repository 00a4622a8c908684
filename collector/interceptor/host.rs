//! Puts this machine's address or name into a header.

use crate::event::{Event, Text};
use crate::keys::Keys;
use crate::machine;

/// Sets the header `host`, or another, to the machine.
#[derive(Debug)]
pub struct Host {
    header: Text,
    preserves: bool,
    /// None where it could not be found out.
    host: Option<Text>,
}

impl Host {
    /// Reads its keys, and finds out the address or name.
    pub fn read(keys: &Keys<'_>) -> Host {
        let header = keys.text_or("hostHeader", "host").into();
        let host = if keys.flag("useIP", true) {
            machine::address().map(|address| address.to_string())
        } else {
            Some(machine::full_name())
        };
        if host.is_none() {
            keys.doubtful(
                "useIP",
                format_args!(
                    "the name of this machine, {}, has no address: the header is not set",
                    machine::name()
                ),
            );
        }
        let preserves = keys.flag("preserveExisting", false);
        Host { header, preserves, host: host.map(Text::from) }
    }
}

impl super::Interceptor for Host {
    fn intercept(&self, event: &mut Event) -> bool {
        if let Some(host) = &self.host
            && !(self.preserves && event.headers.get(&self.header).is_some())
        {
            event.headers.set(self.header.clone(), host.clone());
        }
        true
    }

    fn sets(&self, header: &str) -> bool {
        self.host.is_some() && *self.header == *header
    }
}

#[cfg(test)]
mod tests {
    use super::super::Interceptor;
    use super::*;

    #[test]
    fn what_is_there_may_stay() {
        let mut event = Event::new("");
        let host = |preserves| Host { header: "host".into(), preserves, host: Some("h".into()) };
        host(true).intercept(&mut event);
        assert_eq!(event.headers.get("host").map(|host| &**host), Some("h"));
        event.headers.set("host", "other");
        host(true).intercept(&mut event);
        assert_eq!(event.headers.get("host").map(|host| &**host), Some("other"));
        host(false).intercept(&mut event);
        assert_eq!(event.headers.get("host").map(|host| &**host), Some("h"));
    }
}
