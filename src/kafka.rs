//! Kafka's clients: how one is configured, and what it says when it fails.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;

use crate::config::Text;

/// A client's configuration from librdkafka's own property names, as `[kafka.properties]` has them.
pub fn client(properties: &BTreeMap<String, Text>) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (name, value) in properties {
        client.set(name, value.as_str());
    }
    client
}
