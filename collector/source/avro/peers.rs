//! Which peers may connect: `ipFilterRules`.

use std::net::{IpAddr, ToSocketAddrs};

use crate::keys::Keys;

/// Rules, of which the first that fits counts; where none does, a peer may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allows: bool,
    of: Of,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    /// An address, of which `*` stands for any part, and `?` for one character.
    Address(String),
    /// A host's name, whose addresses count.
    Host(String),
}

/// How a rule is written.
const FORM: &str = "allow or deny, ip or name, and a pattern, as in allow:ip:10.0.*,allow:name:localhost,deny:ip:*";

impl Rules {
    /// Reads `ipFilter` and `ipFilterRules`.
    pub fn read(keys: &Keys<'_>) -> Rules {
        const KEY: &str = "ipFilterRules";
        let is_on = keys.flag("ipFilter", false);
        let Some(text) = keys.text(KEY) else {
            if is_on {
                keys.mistaken("ipFilter", format_args!("there are no ipFilterRules: {FORM}"));
            }
            return Rules::default();
        };
        if !is_on {
            keys.doubtful(KEY, "without ipFilter = true it has no effect");
        }
        let mut rules = Vec::new();
        for rule in text.split(',') {
            let parts: Vec<_> = rule.trim().splitn(3, ':').map(str::trim).collect();
            let rule = match parts[..] {
                [verb @ ("allow" | "deny"), kind @ ("ip" | "name"), pattern]
                    if !pattern.is_empty() =>
                {
                    (verb == "allow", kind, pattern)
                }
                _ => {
                    keys.wrong(KEY, rule, FORM);
                    continue;
                }
            };
            let of = match rule {
                (_, "ip", pattern) => Of::Address(pattern.to_owned()),
                (_, _, name) if name.contains(['*', '?']) => {
                    keys.mistaken(
                        KEY,
                        format_args!(
                            "{name}: the name of a peer is whatever its owner says; write its addresses, as \
                             ip:10.0.*"
                        ),
                    );
                    continue;
                }
                (_, _, name) => Of::Host(name.to_owned()),
            };
            rules.push(Rule { allows: rule.0, of });
        }
        Rules(if is_on { rules } else { Vec::new() })
    }

    /// Whether a peer of this address may connect.
    pub fn allow(&self, peer: IpAddr) -> bool {
        // An address of the older kind is the same whichever kind the socket is of.
        let peer = peer.to_canonical();
        self.0.iter().find(|rule| rule.of.is(peer)).is_none_or(|rule| rule.allows)
    }
}

impl Of {
    fn is(&self, peer: IpAddr) -> bool {
        match self {
            Of::Address(pattern) => fits(pattern.as_bytes(), peer.to_string().as_bytes()),
            Of::Host(name) if name == "localhost" && peer.is_loopback() => true,
            Of::Host(name) => match (name.as_str(), 0).to_socket_addrs() {
                Ok(mut addresses) => addresses.any(|known| known.ip().to_canonical() == peer),
                Err(error) => {
                    log::warn!("ipFilterRules: cannot find the host {name}: error={error}");
                    false
                }
            },
        }
    }
}

fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| fits(rest, &text[at..])),
        ([b'?', pattern @ ..], [_, text @ ..]) => fits(pattern, text),
        ([one, pattern @ ..], [other, text @ ..]) => one == other && fits(pattern, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{Finding, Findings};
    use crate::properties::Property;

    fn rules(text: &str) -> (Rules, Vec<String>) {
        let findings = Findings::default();
        let properties = [("ipFilter", "true"), ("ipFilterRules", text)]
            .map(|(key, value)| Property { key: key.to_owned(), value: value.to_owned(), line: 1 });
        let given = properties.iter().map(|property| (property.key.clone(), property));
        let rules = Rules::read(&Keys::new("a1", "sources.r1", given, &findings));
        (rules, findings.into_sorted().iter().map(Finding::to_string).collect())
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let (rules, found) =
            rules("allow:ip:127.0.0.?, deny:ip:127.*,allow:name:localhost,deny:ip:*");
        assert!(found.is_empty(), "{found:?}");
        for (peer, allowed) in [
            ("127.0.0.1", true),
            ("127.0.0.10", false),
            ("::ffff:127.0.0.1", true),
            ("::1", true),
            ("10.1.2.3", false),
        ] {
            assert_eq!(rules.allow(peer.parse().unwrap()), allowed, "{peer}");
        }
        assert!(self::rules("deny:ip:10.*").0.allow("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_rule_that_is_none_is_a_mistake() {
        for text in ["permit:ip:*", "allow:ip", "allow:ip:", "allow:name:*.example.org"] {
            assert_eq!(rules(text).1.len(), 1, "{text}");
        }
    }
}
