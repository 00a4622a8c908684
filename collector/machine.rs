//! This machine as it knows itself: its name, its address, its full name.

use std::net::{IpAddr, ToSocketAddrs};

/// Its name.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The address that its name has; of several one of the fourth version, as Java prefers.
pub fn address() -> Option<IpAddr> {
    let all: Vec<_> = (&*name(), 0).to_socket_addrs().ok()?.map(|found| found.ip()).collect();
    all.iter().find(|address| address.is_ipv4()).or(all.first()).copied()
}

/// The name that its address has, as Java looks for the full name; its name where there is none.
pub fn full_name() -> String {
    address().and_then(|address| dns_lookup::lookup_addr(&address).ok()).unwrap_or_else(name)
}

/// What `%[localhost]`, `%[IP]` and `%[FQDN]` stand for, in any case; none for another word.
pub fn named(word: &str) -> Option<String> {
    Some(match &*word.to_ascii_lowercase() {
        "localhost" => name(),
        "ip" => address().map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string()),
        "fqdn" => full_name(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_name_and_an_address_in_any_case() {
        assert!(!name().is_empty() && !name().contains('%'));
        assert_eq!(named("LocalHost"), Some(name()));
        assert!(named("ip").unwrap().parse::<IpAddr>().is_ok());
        assert_eq!(named("FQDN"), Some(full_name()));
        assert_eq!(named("mac"), None);
    }
}
