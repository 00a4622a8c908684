//! What a cluster is asked: topics, partitions, offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use super::error::passes;
use super::native::topic_ids;
use super::{Code, Consumer, Error, Partition, list};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a client has to say what it has to say.
const LISTEN: Duration = Duration::from_millis(2);

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// That of the first record that is still there.
    Beginning,
    /// That behind the last record that may be read.
    End,
    /// That of the first record dated so, in milliseconds since 1970, or later; else the end.
    Time(i64),
}

impl Consumer {
    /// The partitions of a topic, in order.
    ///
    /// # Errors
    ///
    /// If there is no such topic, or nobody answers.
    pub fn partitions(&self, topic: &str) -> Result<Vec<Partition>, Error> {
        let attempt = "ask for the topics";
        let metadata = self.fetch_metadata(Some(topic), PATIENCE);
        let metadata = metadata.map_err(|error| self.failed(attempt, error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|found| (found, found.error().map(Code::from))) {
            Some((found, None | Some(Code::LeaderNotAvailable))) => {
                let name = std::sync::Arc::<str>::from(topic);
                let mut numbers: Vec<_> = found.partitions().iter().map(|one| one.id()).collect();
                numbers.sort_unstable();
                let named = |number| Partition { topic: name.clone(), number };
                Ok(numbers.into_iter().map(named).collect())
            }
            None | Some((_, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic))) => {
                let (servers, options) = (self.servers.clone(), self.options.clone());
                Err(Error::NoTopic { topic: topic.to_owned(), servers, options })
            }
            Some((_, Some(code))) => Err(self.failed(attempt, KafkaError::MetadataFetch(code))),
        }
    }

    /// The ids of topics, in their order: another topic of the same name has another. 0 where the
    /// servers give topics none.
    ///
    /// # Errors
    ///
    /// If one is missing, or nobody answers.
    pub fn topic_ids(&self, topics: &[&str]) -> Result<Vec<u128>, Error> {
        let failed = |code| self.failed("ask for the topics", KafkaError::MetadataFetch(code));
        let found = topic_ids(self, topics, PATIENCE).map_err(failed)?;
        let of = |topic: &&str| found.get(*topic).copied().ok_or(Code::UnknownTopicOrPartition);
        topics.iter().map(of).collect::<Result<_, _>>().map_err(failed)
    }

    /// Calls this with every topic there is.
    ///
    /// # Errors
    ///
    /// If nobody answers.
    pub fn topics<T>(&self, mut each: impl FnMut(&MetadataTopic) -> T) -> Result<Vec<T>, Error> {
        let metadata = self.fetch_metadata(None, PATIENCE);
        let metadata = metadata.map_err(|error| self.failed("ask for the topics", error))?;
        Ok(metadata.topics().iter().map(&mut each).collect())
    }

    /// Offsets of these partitions, all asked for at once.
    ///
    /// # Errors
    ///
    /// If nobody answers for one of them.
    pub fn offsets<'a>(
        &self,
        at: At,
        of: impl IntoIterator<Item = &'a Partition>,
    ) -> Result<BTreeMap<Partition, u64>, Error> {
        let attempt = "ask for offsets";
        let asked = match at {
            At::Beginning => Offset::Beginning,
            At::End => Offset::End,
            At::Time(time) => Offset::Offset(time),
        };
        let mut partitions = TopicPartitionList::new();
        for Partition { topic, number } in of {
            let added = partitions.add_partition_offset(topic, *number, asked);
            added.map_err(|error| self.failed(attempt, error))?;
        }
        if partitions.count() == 0 {
            return Ok(BTreeMap::new());
        }
        let answer = self.offsets_for_times(partitions, PATIENCE);
        let answer = answer.map_err(|error| self.failed(attempt, error))?;
        let mut found = BTreeMap::new();
        let mut behind_all = Vec::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.failed(attempt, error))?;
            let partition =
                Partition { topic: element.topic().into(), number: element.partition() };
            match element.offset() {
                Offset::Offset(offset) if offset >= 0 => {
                    found.insert(partition, offset.unsigned_abs());
                }
                // Nothing is dated so late.
                Offset::End if matches!(at, At::Time(_)) => behind_all.push(partition),
                _ => {
                    let code = Code::OffsetNotAvailable;
                    return Err(self.failed(attempt, KafkaError::OffsetFetch(code)));
                }
            }
        }
        drop(answer);
        if !behind_all.is_empty() {
            found.extend(self.offsets(At::End, &behind_all)?);
        }
        Ok(found)
    }

    /// The offsets that a group has committed of these partitions, where it has.
    ///
    /// # Errors
    ///
    /// If nobody answers for one of them.
    pub fn committed_of<'a>(
        &self,
        of: impl IntoIterator<Item = &'a Partition>,
    ) -> Result<BTreeMap<Partition, u64>, Error> {
        let attempt = "ask for the group's offsets";
        let mut partitions = TopicPartitionList::new();
        for Partition { topic, number } in of {
            partitions.add_partition(topic, *number);
        }
        let answer = self.committed_offsets(partitions, PATIENCE);
        let answer = answer.map_err(|error| self.failed(attempt, error))?;
        let mut found = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.failed(attempt, error))?;
            if let Offset::Offset(offset) = element.offset() {
                let partition =
                    Partition { topic: element.topic().into(), number: element.partition() };
                found.insert(partition, offset.unsigned_abs());
            }
        }
        Ok(found)
    }

    /// Tells the group how far it has come; what becomes of it is heard while the consumer is polled.
    ///
    /// # Errors
    ///
    /// If the client refuses.
    pub fn tell_group<'a>(
        &self,
        offsets: impl IntoIterator<Item = (&'a Partition, u64)>,
    ) -> Result<(), Error> {
        let list = list(offsets)?;
        let told = self.commit(&list, CommitMode::Async);
        told.map_err(|error| self.failed("tell the group its offsets", error))
    }

    /// Lets the client say what it has to say; for one that reads nothing.
    pub fn listen(&self) {
        // Errors have gone to its ear.
        if let Some(Ok(message)) = self.poll(LISTEN) {
            log::debug!("a client that reads nothing was given a record: {message:?}");
        }
    }

    /// What a failed call means.
    pub(super) fn failed(&self, attempt: &str, error: KafkaError) -> Error {
        self.listen();
        match error.rdkafka_error_code() {
            Some(code) if passes(code) => {
                let reason = self.heard.last.lock();
                let reason = reason.unwrap_or_else(std::sync::PoisonError::into_inner).take();
                let (attempt, servers) = (attempt.to_owned(), self.servers.clone());
                Error::Away { attempt, servers, code, reason }
            }
            _ => Error::of(attempt, error),
        }
    }
}
