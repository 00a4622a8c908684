//! Names and addresses of servers, and of what stands in them.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

/// Where a server listens: `HOST:PORT`, an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Reads `HOST:PORT`.
    pub fn parse(text: &str) -> Option<Address> {
        let (host, port) = text.rsplit_once(':')?;
        let port = decimal(port)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6).map(|_| host)?,
            None => Some(host).filter(|host| is_host(host))?,
        };
        Some(Address { host: host.to_owned(), port })
    }

    /// Whether only this machine can reach it.
    pub(super) fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        ip.map_or(self.host == "localhost", |ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A number as people write it: digits only.
fn decimal<T: std::str::FromStr>(digits: &str) -> Option<T> {
    digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// Checks a url `redis[s]://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE][?…]` of Redis and gives its
/// database; the rest is read by Redis's client.
pub(super) fn redis_database(url: &str) -> Option<u32> {
    let rest = url.strip_prefix("redis://").or_else(|| url.strip_prefix("rediss://"))?;
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    if has_port {
        Address::parse(server).filter(|server| server.port != 0)?;
    } else {
        Address::parse(&format!("{server}:6379"))?;
    }
    if database.is_empty() { Some(0) } else { decimal(database) }
}

/// Where the password stands in a url of Redis as it was written, references and all.
pub(super) fn redis_password(url: &str) -> Option<Range<usize>> {
    let login = url.find("://")? + 3;
    let end = url.rfind('@')?;
    let start = login + url.get(login..end)?.find(':')? + 1;
    Some(start..end)
}

/// The name of a job, as it stands in the ledger's keys.
pub(super) fn is_job(name: &str) -> bool {
    (1..=64).contains(&name.len()) && is_word(name)
}

/// The name of a topic, as Kafka has it.
pub(super) fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len()) && is_word(name) && name != "." && name != ".."
}

/// The name of a table, as HBase has it: `TABLE` or `NAMESPACE:TABLE`.
pub(super) fn is_table(name: &str) -> bool {
    let (space, table) = name.split_once(':').unwrap_or(("default", name));
    let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !space.is_empty()
        && space.bytes().all(letters)
        && is_word(table)
        && table.bytes().next().is_some_and(letters)
}

fn is_word(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// What makes a score key: `{channel}` once. Another brace would tear the key from its key mark,
/// which stands in the same hash slot by `{KEY}`; and one prefix is the ledger's.
pub(super) fn is_score_key(template: &str) -> bool {
    let braces = |text: &str| text.contains(['{', '}']);
    !template.starts_with("online-recall:")
        && template
            .split_once("{channel}")
            .is_some_and(|(before, after)| !braces(before) && !braces(after))
}
