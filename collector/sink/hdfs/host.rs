//! What `%[localhost]`, `%[IP]` and `%[FQDN]` stand for: this machine's name, address, and full name.

use std::net::{IpAddr, ToSocketAddrs};

/// What one of them stands for, in any case; none for another word. What the system does not know of itself,
/// stands for its name.
pub fn named(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase();
    if !["localhost", "ip", "fqdn"].contains(&&*word) {
        return None;
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if word == "localhost" {
        return Some(name);
    }
    let address = address(&name);
    Some(match (&*word, address) {
        ("ip", Some(address)) => address.to_string(),
        ("ip", None) => "127.0.0.1".to_owned(),
        (_, Some(address)) => full_name(address).unwrap_or(name),
        (_, None) => name,
    })
}

/// This machine's full name, for `_HOST` in a principal.
pub fn fqdn() -> String {
    named("fqdn").expect("it is one of them")
}

/// The first address of a name, rather one of IPv4, as Java prefers.
fn address(name: &str) -> Option<IpAddr> {
    let all: Vec<IpAddr> = (name, 0).to_socket_addrs().ok()?.map(|address| address.ip()).collect();
    all.iter().find(|address| address.is_ipv4()).or_else(|| all.first()).copied()
}

fn full_name(address: IpAddr) -> Option<String> {
    dns_lookup::lookup_addr(&address).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_name_and_an_address_in_any_case() {
        let name = named("LocalHost").unwrap();
        assert!(!name.is_empty() && !name.contains('%'));
        assert!(named("ip").unwrap().parse::<IpAddr>().is_ok());
        assert!(!named("FQDN").unwrap().is_empty());
        assert_eq!(named("mac"), None);
    }
}
