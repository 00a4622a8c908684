//! Looks whether partitions can be read on where they were left, and decides about those that cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::Error;
use super::judge::{Verdict, judge};
use super::part;
use super::reader::{OVERDUE, PATIENCE, Reader, TAKEN, place};
use crate::config::OnGap;
use crate::kafka::{At, Code, Partition, What};
use crate::metrics;
use crate::retry::{self, Peer, chain, persist};
use crate::source::Stopped;

/// How long a partition that cannot be read is left alone.
const BACKOFF: Duration = Duration::from_millis(500);

impl Reader {
    /// What a failure of a partition means: an error, or that it is to be asked what there is.
    pub(super) fn judge_failure(&mut self, nth: usize, code: Code) -> Result<(), Error> {
        let part = &mut self.parts[nth];
        let (partition, next) = (part.partition.clone(), part.next);
        retry::log_failure(Peer::Kafka, part.failures, || {
            format!("records: partition={partition} offset={next} error={code}")
        });
        part.failures += 1;
        match code {
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedCompressionType
            | Code::BadCompression
            | Code::Fatal => return Err(Error::Read { partition, code }),
            _ => {}
        }
        if self.stop.wait(BACKOFF) { Err(Stopped.into()) } else { Ok(()) }
    }

    /// Judges whether every partition can be read on where it was left, and passes over what is gone, if
    /// that is wanted.
    ///
    /// # Errors
    ///
    /// If one cannot be read on.
    pub(super) fn look(&mut self) -> Result<(), Error> {
        loop {
            self.look_for_gone()?;
            let open: Vec<usize> = (0..self.parts.len())
                .filter(|nth| !self.parts[*nth].gone && !self.lost.contains_key(nth))
                .collect();
            let all: Vec<_> = open.iter().map(|nth| self.parts[*nth].partition.clone()).collect();
            let earliest = self.offsets(At::Beginning, &all)?;
            let end = self.offsets(At::End, &all)?;
            let ids = self.topic_ids()?;
            for part in self.parts.iter_mut().filter(|part| part.topic_id == 0) {
                // That of the first look: what the ledger has is compared by it.
                part.topic_id = ids[&*part.partition.topic];
            }
            let mut compare = BTreeMap::new();
            for nth in open {
                let part = &self.parts[nth];
                let (partition, wanted) = (part.partition.clone(), part.next);
                let (earliest, end) = (earliest[&partition], end[&partition]);
                let topic_id = ids[&*partition.topic];
                if part.is_of_another(topic_id) {
                    self.pass(Error::Anew { partition, wanted, earliest }, 0)?;
                    self.lost.insert(nth, (topic_id, earliest));
                    continue;
                }
                match judge(wanted, part.mark(), earliest, end) {
                    Verdict::Whole => {}
                    Verdict::Compare => {
                        compare.insert(nth, (wanted - 1, part.mark()));
                    }
                    Verdict::Gap => {
                        self.pass(Error::Gap { partition, wanted, earliest }, earliest - wanted)?;
                        self.parts[nth].pass_to(earliest);
                    }
                    Verdict::Shrunk => {
                        self.pass(Error::Shrunk { partition, wanted, earliest, end }, 0)?;
                        self.lost.insert(nth, (topic_id, earliest));
                    }
                }
            }
            // What went while it was looked at is judged again.
            let Some(others) = self.compare(&compare)? else { continue };
            for nth in others {
                let part = &self.parts[nth];
                let (partition, wanted) = (part.partition.clone(), part.next);
                let (topic_id, earliest) = (part.topic_id, earliest[&partition]);
                self.pass(Error::Anew { partition, wanted, earliest }, 0)?;
                self.lost.insert(nth, (topic_id, earliest));
            }
            return Ok(());
        }
    }

    /// The ids of all topics, by name.
    fn topic_ids(&self) -> Result<BTreeMap<Arc<str>, u128>, Error> {
        let names: Vec<_> = self.topics().into_iter().collect();
        let asked: Vec<_> = names.iter().map(|name| &**name).collect();
        // Asking changes nothing.
        let ask = |_| self.ask.topic_ids(&asked);
        let ids = persist(&self.stop, Peer::Kafka, "the topics", ask)?;
        Ok(names.into_iter().zip(ids).collect())
    }

    /// The id of the topic of a partition, as it is now.
    pub(super) fn topic_id_of(&self, nth: usize) -> Result<u128, Error> {
        let topic = Arc::clone(&self.parts[nth].partition.topic);
        Ok(self.topic_ids()?[&topic])
    }

    fn topics(&self) -> BTreeSet<Arc<str>> {
        self.parts.iter().map(|part| Arc::clone(&part.partition.topic)).collect()
    }

    /// Judges whether every partition is there.
    fn look_for_gone(&mut self) -> Result<(), Error> {
        for name in self.topics() {
            // Asking changes nothing.
            let asked = |_| self.ask.partitions(&name);
            let there = persist(&self.stop, Peer::Kafka, "the partitions of the topics", asked)?;
            for nth in 0..self.parts.len() {
                let part = &self.parts[nth];
                let (partition, wanted) = (part.partition.clone(), part.next);
                if partition.topic != name || part.gone || there.contains(&partition) {
                    continue;
                }
                self.shared.forget(&partition);
                self.pass(Error::Gone { partition, wanted }, 0)?;
                self.parts[nth].gone = true;
            }
        }
        Ok(())
    }

    /// Reads a record of each of these partitions, at an offset that it has; returns those where it does
    /// not have that checksum, or `None` if something went meanwhile.
    pub(super) fn compare(
        &mut self,
        records: &BTreeMap<usize, (u64, u64)>,
    ) -> Result<Option<Vec<usize>>, Error> {
        let mut others = Vec::new();
        if records.is_empty() {
            return Ok(Some(others));
        }
        let mut open: Vec<usize> = records.keys().copied().collect();
        let begun = Instant::now();
        let from = records.iter().map(|(nth, (at, _))| (&self.parts[*nth].partition, *at));
        self.messages.read(from)?;
        while !open.is_empty() {
            if self.stop.is_stopped() {
                return Err(Stopped.into());
            }
            if begun.elapsed() > OVERDUE {
                return Ok(None);
            }
            let mut went = false;
            let Reader { messages, parts, .. } = self;
            messages.poll(PATIENCE, TAKEN, |found| {
                let Some(nth) = place(parts, &found) else { return };
                let Some(at) = open.iter().position(|one| *one == nth) else { return };
                let part = &parts[nth];
                match found.what {
                    What::Record { timestamp, value } => {
                        let date = part::date(timestamp);
                        let checksum = part::checksum(part.topic_id, date, part::kept(value));
                        let same = (found.offset.unsigned_abs(), checksum) == records[&nth];
                        others.extend((!same).then_some(nth));
                        open.swap_remove(at);
                    }
                    // Whatever stands there, it is no record.
                    What::End => {
                        others.push(nth);
                        open.swap_remove(at);
                    }
                    What::Failed(_) => went = true,
                }
            });
            if went {
                if self.stop.wait(BACKOFF) {
                    return Err(Stopped.into());
                }
                return Ok(None);
            }
        }
        // What else was fetched is not wanted.
        self.messages.read([])?;
        Ok(Some(others))
    }

    /// Passes over what is gone, and counts it; an error where that is not wanted.
    pub(super) fn pass(&self, gap: Error, records: u64) -> Result<(), Error> {
        let partition = match &gap {
            Error::Gap { partition, .. }
            | Error::Shrunk { partition, .. }
            | Error::Anew { partition, .. }
            | Error::Gone { partition, .. } => partition,
            _ => return Err(gap),
        };
        match self.on_gap {
            OnGap::Stop => Err(gap),
            OnGap::Skip => {
                metrics::gap(&partition.topic, partition.number, records);
                log::warn!("passed over: {}", chain(&gap));
                Ok(())
            }
        }
    }

    /// Asks for offsets until there is an answer.
    pub(super) fn offsets(
        &self,
        at: At,
        of: &[Partition],
    ) -> Result<BTreeMap<Partition, u64>, Error> {
        // Asking changes nothing.
        let asked = |_| self.ask.offsets(at, of);
        Ok(persist(&self.stop, Peer::Kafka, "offsets of the topics", asked)?)
    }
}
