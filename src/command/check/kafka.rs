//! Kafka, judged by its topics.

use std::collections::BTreeMap;

use super::servers::{Found, Server};
use crate::config;
use crate::kafka::Access;
use crate::retry::chain;

/// Asks the brokers for the topics that the job reads, and for that of dead letters.
pub(super) fn ask(config: &config::Kafka, letters: &config::DeadLetters) -> Vec<Found> {
    let access = Access::of(config);
    let at = Server::Kafka(access.servers().to_owned());
    let topics = access.consumer(config.group.as_str()).and_then(|consumer| {
        consumer.topics(|topic| {
            let leaders = topic.partitions().iter().map(|partition| partition.leader()).collect();
            (topic.name().to_owned(), leaders)
        })
    });
    let topics: BTreeMap<String, Vec<i32>> = match topics {
        Ok(topics) => topics.into_iter().collect(),
        Err(error) => {
            let todo = match error.is_of_configuration() {
                true => "mend kafka.properties",
                false => "start the brokers, or mend kafka.properties",
            };
            return vec![at.mistake(chain(&error), todo)];
        }
    };
    let letters = match letters {
        config::DeadLetters::Topic(topic) => Some(topic),
        config::DeadLetters::Folder(_) => None,
    };
    let needed = [&config.clicks, &config.articles].into_iter().chain(letters);
    needed
        .map(|name| {
            let name = name.as_str().to_owned();
            Topic { leaders: topics.get(&name).cloned(), name }.judge(&at, access.options())
        })
        .collect()
}

/// A topic that the job reads or writes.
pub(super) struct Topic {
    /// Its name.
    pub name: String,
    /// The leader of each of its partitions, negative where it has none; nothing if there is no such
    /// topic.
    pub leaders: Option<Vec<i32>>,
}

impl Topic {
    /// Says what is good about it, what is not, and what is to be done.
    pub fn judge(&self, at: &Server, options: &str) -> Found {
        let name = &self.name;
        match &self.leaders {
            None => at.mistake(
                format!("there is no topic {name}"),
                &format!("online-recall topics create {name} --partitions 4 {options}"),
            ),
            Some(leaders) => {
                let led = leaders.iter().filter(|leader| **leader >= 0).count();
                let count = leaders.len();
                let plural = if count == 1 { "" } else { "s" };
                if led < count {
                    at.warning(
                        format!(
                            "topic {name} has {count} partition{plural}, {} without a leader",
                            count - led
                        ),
                        "see which brokers are away; the job would wait for them",
                    )
                } else {
                    at.well(format!("topic {name} has {count} partition{plural}"))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_well_misses_leaders_or_is_missing_with_the_command_that_makes_it() {
        let judged = |leaders: Option<&[i32]>| {
            let leaders = leaders.map(<[i32]>::to_vec);
            Topic { name: "click-trace".into(), leaders }
                .judge(&Server::Kafka("h:9092".to_owned()), "--config job.toml")
                .to_string()
        };
        assert_eq!(judged(Some(&[1])), "kafka h:9092: topic click-trace has 1 partition");
        assert_eq!(
            judged(Some(&[1, -1, 2])),
            "warning: kafka h:9092: topic click-trace has 3 partitions, 1 without a leader; see which \
             brokers are away; the job would wait for them"
        );
        assert_eq!(
            judged(None),
            "mistake: kafka h:9092: there is no topic click-trace; online-recall topics create \
             click-trace --partitions 4 --config job.toml"
        );
    }
}
