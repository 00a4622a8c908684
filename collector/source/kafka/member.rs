//! A member of a group of readers: what it has been given, and what was taken from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::Error;
use super::record::Part;
use crate::kafka::client::Properties;
use crate::kafka::ear::Ear;

/// How long brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Hears what becomes of the group.
pub(super) struct Group {
    pub ear: Ear,
    /// The partitions that were taken away and not yet looked at.
    lost: Mutex<Vec<(String, i32)>>,
    /// Whether nothing may be read: what is given meanwhile stands still.
    stands: AtomicBool,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.ear.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.ear.error(&error, reason);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _: &BaseConsumer<Group>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let elements = list.elements();
            log::info!("partitions were taken away: count={}", elements.len());
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.extend(elements.iter().map(|one| (one.topic().to_owned(), one.partition())));
        }
    }

    fn post_rebalance(&self, client: &BaseConsumer<Group>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            log::info!("partitions were given: count={}", list.count());
            if self.stands.load(Ordering::Relaxed)
                && let Err(error) = client.pause(list)
            {
                log::debug!("cannot pause what was given: error={error}");
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result
            && error.rdkafka_error_code() != Some(Code::NoOffset)
        {
            self.ear.warn(format_args!(
                "offsets were not committed, and are with the next: error={error}"
            ));
        }
    }
}

/// A member; it leaves the group when it is dropped.
pub(super) struct Member(Option<BaseConsumer<Group>>);

impl Member {
    /// Makes a client; nothing is asked of a broker yet.
    pub fn new(owner: String, properties: &Properties) -> Result<Member, Error> {
        let group =
            Group { ear: Ear::new(owner), lost: Mutex::default(), stands: AtomicBool::new(false) };
        let client = properties.config().create_with_context(group);
        Ok(Member(Some(client.map_err(|error| Error::Configuration(error.into()))?)))
    }

    /// The client.
    pub fn client(&self) -> &BaseConsumer<Group> {
        self.0.as_ref().expect("it is there until the end")
    }

    /// What the client says by itself.
    pub fn ear(&self) -> &Ear {
        &self.client().context().ear
    }

    /// The topics that there are.
    pub fn topics(&self) -> Result<Vec<String>, Error> {
        let found = self.client().fetch_metadata(None, ANSWER);
        let found = found
            .map_err(|error| Error::Away { heard: self.ear().last(), source: error.into() })?;
        Ok(found.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }

    /// The partitions that were taken away since this was asked.
    pub fn lost(&self) -> Vec<(String, i32)> {
        let lost = &self.client().context().lost;
        std::mem::take(&mut lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets all partitions stand still, or go on, also those that are given meanwhile.
    pub fn stand(&self, stands: bool) {
        let client = self.client();
        client.context().stands.store(stands, Ordering::Relaxed);
        // The list must not outlive the call: it would keep the client from ending.
        let done = client
            .assignment()
            .and_then(|list| if stands { client.pause(&list) } else { client.resume(&list) });
        if let Err(error) = done {
            log::debug!("cannot pause or resume: error={error}");
        }
    }

    /// Commits that all before these offsets is read.
    pub fn commit(&self, next: &[(Part, i64)], mode: CommitMode) {
        let mut list = TopicPartitionList::with_capacity(next.len());
        for (part, offset) in next {
            let added =
                list.add_partition_offset(&part.topic, part.number, Offset::Offset(*offset));
            added.expect("an offset of a record is one");
        }
        if list.count() > 0
            && let Err(error) = self.client().commit(&list, mode)
        {
            self.ear().warn(format_args!("offsets were not committed: error={error}"));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            crate::kafka::end(move || drop(client));
        }
    }
}
