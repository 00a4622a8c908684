//! Puts this machine's address or name into a header.

use std::net::{IpAddr, ToSocketAddrs};

use crate::event::{Event, Text};
use crate::keys::Keys;

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
        let by_address = keys.flag("useIP", true);
        let own = name();
        let host =
            if by_address { address(&own).map(|ip| ip.to_string()) } else { Some(own.clone()) };
        let host = if by_address { host } else { host.map(|name| full(&name)) };
        if host.is_none() {
            keys.doubtful(
                "useIP",
                format_args!(
                    "the name of this machine, {own}, has no address: the header is not set"
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

fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The address of a name; of several one of the fourth version, as Java takes it.
fn address(name: &str) -> Option<IpAddr> {
    let all: Vec<_> = (name, 0).to_socket_addrs().ok()?.map(|found| found.ip()).collect();
    all.iter().find(|ip| ip.is_ipv4()).or(all.first()).copied()
}

/// The name with its domain, where it has one or the table of hosts knows it.
fn full(name: &str) -> String {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    canonical(name, &hosts).unwrap_or(name).to_owned()
}

fn canonical<'h>(name: &'h str, hosts: &'h str) -> Option<&'h str> {
    if name.contains('.') {
        return Some(name);
    }
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut found = lines.filter_map(|line| {
        let mut names = line.split_whitespace().skip(1);
        let first = names.clone().next()?;
        (names.any(|other| other == name) && first.contains('.')).then_some(first)
    });
    found.next()
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

    #[test]
    fn the_table_of_hosts_knows_the_full_name() {
        let hosts = "127.0.0.1 localhost\n10.0.0.1  web1.example.org web1 # web2\n";
        assert_eq!(canonical("web1", hosts), Some("web1.example.org"));
        assert_eq!(canonical("web2", hosts), None);
        assert_eq!(canonical("localhost", hosts), None);
        assert_eq!(canonical("a.b", hosts), Some("a.b"));
    }
}
