//! Properties by the names that they have in Java, told to librdkafka: how brokers are reached, and who may.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::properties;

/// What has the same name and meaning in librdkafka.
const SAME: [&str; 9] = [
    "client.id",
    "security.protocol",
    "sasl.mechanism",
    "ssl.key.password",
    "metadata.max.age.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "connections.max.idle.ms",
    "socket.connection.setup.timeout.ms",
];

/// What has another name there.
const RENAMED: [(&str, &str); 3] = [
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
];

const LOGIN: &str = "org.apache.kafka.common.security.(plain.Plain or scram.Scram)LoginModule \
                     required username=\"…\" password=\"…\";";

/// Why properties cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// They cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// They are no properties.
    #[error("{0}")]
    Syntax(String),
    /// They ask for a kind of security that is not understood here.
    #[error("the property {0} is not supported")]
    Unknown(String),
    /// A property has a value that is not understood here.
    #[error("the property {name} must be {allowed}")]
    Value {
        /// The property.
        name: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
}

/// What properties come to.
#[derive(Debug, Default)]
pub struct Translated {
    /// Name and value in librdkafka, with the name in Java.
    pub properties: BTreeMap<String, (String, String)>,
    /// What is not told of how brokers are reached: a client of one role may know it.
    pub left: BTreeMap<String, String>,
    /// What is asked for and not understood.
    pub mistakes: Vec<Unreadable>,
}

/// Whether a property decides who may connect and how.
pub fn is_of_security(name: &str) -> bool {
    ["security.", "sasl.", "ssl."].iter().any(|of| name.starts_with(of))
}

/// Reads a file as Kafka's own tools take it, and gives what librdkafka calls it. What asks for a kind of
/// security that is not understood is refused; anything else is passed over and said, as Kafka's own tools
/// do: one file often serves many clients.
///
/// # Errors
///
/// If the file cannot be read, or says something that is not understood.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>, Unreadable> {
    // Java takes it for Latin-1: a byte is a character.
    let text: String = std::fs::read(path)?.into_iter().map(char::from).collect();
    let properties = properties::java::load(&text);
    let properties = properties.map_err(|error| Unreadable::Syntax(error.to_string()))?;
    for_all(properties.into_iter().map(|property| (property.key, property.value)).collect())
}

fn for_all(java: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Unreadable> {
    let Translated { properties, left, mistakes } = translate(java);
    if let Some(mistake) = mistakes.into_iter().next() {
        return Err(mistake);
    }
    for name in left.into_keys() {
        // Servers come from the command line.
        if name != "bootstrap.servers" {
            log::warn!("a property is passed over: property={name}");
        }
    }
    Ok(properties.into_iter().map(|(name, (value, _))| (name, value)).collect())
}

/// Translates what all clients have in common.
pub fn translate(mut java: BTreeMap<String, String>) -> Translated {
    let (mut properties, mut mistakes) = (BTreeMap::new(), Vec::new());
    let mut set = |here: &str, value: String, name: &str| {
        properties.insert(here.to_owned(), (value, name.to_owned()));
    };
    let mut mistake = |name, allowed| mistakes.push(Unreadable::Value { name, allowed });
    for name in SAME {
        if let Some(value) = java.remove(name) {
            set(name, value, name);
        }
    }
    for (name, here) in RENAMED {
        if let Some(value) = java.remove(name) {
            set(here, value, name);
        }
    }
    if let Some(login) = java.remove("sasl.jaas.config") {
        match credentials(&login) {
            Some((user, password)) => {
                set("sasl.username", user, "sasl.jaas.config");
                set("sasl.password", password, "sasl.jaas.config");
            }
            None => mistake("sasl.jaas.config", LOGIN),
        }
    }
    if let Some(algorithm) = java.remove("ssl.endpoint.identification.algorithm") {
        let algorithm =
            if algorithm.is_empty() { "none".to_owned() } else { algorithm.to_ascii_lowercase() };
        let name = "ssl.endpoint.identification.algorithm";
        set(name, algorithm, name);
    }
    let kind = java.remove("ssl.truststore.type");
    if let Some(path) = java.remove("ssl.truststore.location") {
        if kind.as_deref() == Some("PEM") {
            set("ssl.ca.location", path, "ssl.truststore.location");
        } else {
            mistake("ssl.truststore.type", TRUSTED);
            java.remove("ssl.truststore.password");
        }
    }
    let kind = java.remove("ssl.keystore.type");
    if let Some(path) = java.remove("ssl.keystore.location") {
        match kind.as_deref() {
            // The one file holds both.
            Some("PEM") => {
                set("ssl.certificate.location", path.clone(), "ssl.keystore.location");
                set("ssl.key.location", path, "ssl.keystore.location");
            }
            Some("PKCS12") => {
                set("ssl.keystore.location", path, "ssl.keystore.location");
                if let Some(password) = java.remove("ssl.keystore.password") {
                    set("ssl.keystore.password", password, "ssl.keystore.password");
                }
            }
            _ => {
                mistake("ssl.keystore.type", KEYS);
                java.remove("ssl.keystore.password");
            }
        }
    }
    let (secure, left) = java.into_iter().partition(|(name, _)| is_of_security(name));
    let secure: BTreeMap<String, String> = secure;
    mistakes.extend(secure.into_keys().map(Unreadable::Unknown));
    Translated { properties, left, mistakes }
}

const KEYS: &str = "PEM or PKCS12; of another store: keytool -importkeystore -srckeystore STORE \
                    -destkeystore STORE.p12 -deststoretype PKCS12";
const TRUSTED: &str = "PEM; of a store of Java's: keytool -list -rfc -keystore STORE > STORE.pem";

/// Takes user and password out of a login as Java's login modules are configured.
fn credentials(login: &str) -> Option<(String, String)> {
    let mut rest = login.trim().strip_suffix(';')?.trim();
    let (module, options) = rest.split_once(char::is_whitespace)?;
    let known = ["plain.PlainLoginModule", "scram.ScramLoginModule"];
    let module = module.strip_prefix("org.apache.kafka.common.security.")?;
    if !known.contains(&module) {
        return None;
    }
    rest = options.trim_start().strip_prefix("required")?;
    let mut options = BTreeMap::new();
    while !rest.trim_start().is_empty() {
        let (name, value) = rest.trim_start().split_once('=')?;
        let value = value.trim_start();
        let (value, behind) = match value.strip_prefix(['"', '\'']) {
            Some(quoted) => quoted.split_once(&value[..1])?,
            None => value.split_once(char::is_whitespace).unwrap_or((value, "")),
        };
        options.insert(name.trim(), value.to_owned());
        rest = behind;
    }
    let both = (options.remove("username")?, options.remove("password")?);
    options.is_empty().then_some(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(properties: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let java = properties.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let translated = for_all(java).map_err(|error| error.to_string())?;
        Ok(translated.into_iter().collect())
    }

    #[test]
    fn what_kafkas_tools_are_told_is_told_to_librdkafka() {
        let login = "org.apache.kafka.common.security.scram.ScramLoginModule required \
                     username=\"alice\" password='se=cr\"et';";
        let found = translated(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.jaas.config", login),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", "/ca.pem"),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", "/me.pem"),
            ("ssl.endpoint.identification.algorithm", ""),
        ]);
        let expected = [
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.password", "se=cr\"et"),
            ("sasl.username", "alice"),
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", "/ca.pem"),
            ("ssl.certificate.location", "/me.pem"),
            ("ssl.endpoint.identification.algorithm", "none"),
            ("ssl.key.location", "/me.pem"),
        ];
        assert_eq!(found, Ok(expected.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec()));
    }

    #[test]
    fn security_that_is_not_understood_is_refused_by_its_name() {
        for (properties, named) in [
            (&[("ssl.truststore.location", "/ca.jks")][..], "ssl.truststore.type"),
            (&[("sasl.oauthbearer.scope", "x")], "sasl.oauthbearer.scope"),
            (&[("ssl.truststore.password", "x")], "ssl.truststore.password"),
            (
                &[("ssl.keystore.location", "/me.jks"), ("ssl.keystore.type", "JKS")],
                "ssl.keystore.type",
            ),
            (&[("sasl.jaas.config", "com.sun.Krb5LoginModule required;")], "sasl.jaas.config"),
            (
                &[(
                    "sasl.jaas.config",
                    "org.apache.kafka.common.security.plain.PlainLoginModule required username=a;",
                )],
                "sasl.jaas.config",
            ),
        ] {
            let error = translated(properties).unwrap_err();
            assert!(error.contains(named), "{named}: {error}");
        }
    }

    #[test]
    fn what_other_clients_are_told_is_passed_over_and_a_store_of_keys_is_taken_as_it_is() {
        let found = translated(&[
            ("bootstrap.servers", "h:9092"),
            ("max.poll.records", "5"),
            ("acks", "all"),
            ("ssl.keystore.type", "PKCS12"),
            ("ssl.keystore.location", "/me.p12"),
            ("ssl.keystore.password", "x"),
        ]);
        let expected = [("ssl.keystore.location", "/me.p12"), ("ssl.keystore.password", "x")];
        assert_eq!(found, Ok(expected.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec()));
    }

    #[test]
    fn a_login_may_be_written_without_quotes() {
        let login = " org.apache.kafka.common.security.plain.PlainLoginModule  required\n \
                     password=p username=u ; ";
        assert_eq!(credentials(login), Some(("u".to_owned(), "p".to_owned())));
    }
}
