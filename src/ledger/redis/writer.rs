//! The thread that writes the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use dataflows::Epoch;

use super::error::of;
use super::recover::{self, KeyStep, Known, Step};
use super::start::token_after;
use super::{Call, Doubt, Error, Freshness, Kept, Redis};
use crate::failpoint;
use crate::ledger::{Binding, Fence};
use crate::outside::{Done, Told};
use crate::redis::{self, At, Commit, Dated, Job, KeyMark, Stands, Token, Written};
use crate::retry::{Ended, Peer, Stop, persist};
use crate::source::{Position, Range};

/// How often the thread says that the job runs; before, it asks whether its token stands.
const BEAT: Duration = Duration::from_secs(1);

/// How often all key marks are compared with the ledger.
const COMPARED: Duration = Duration::from_secs(60);

/// What surrounds the ledger of a running job.
pub struct Room {
    /// Hears what became of calls.
    pub told: Sender<Told>,
    /// Is confirmed whenever the token was found to stand.
    pub fence: Arc<Fence>,
    /// Is written beside the ledger.
    pub freshness: Arc<Freshness>,
    /// Ends every wait.
    pub stop: Stop,
}

/// What the thread knows of the ledger: how it left it.
pub(super) struct Writer {
    pub(super) job: Job,
    pub(super) token: Token,
    pub(super) at: At,
    pub(super) kept: Kept,
    /// Of each score key the last epoch up to the mark that touched it.
    pub(super) keys: BTreeMap<String, Dated>,
    pub(super) replicas: u32,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(self, room: Room) -> Redis {
        let (send, calls) = crossbeam_channel::unbounded();
        let stop = room.stop.clone();
        let run = move || Running { writer: self, room }.run(&calls);
        let writer = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(run)
            .expect("the system has room for a thread");
        Redis { calls: send, stop, writer: Some(writer) }
    }
}

struct Running {
    writer: Writer,
    room: Room,
}

/// What is written in one go.
#[derive(Default)]
struct Batch {
    bindings: Vec<Arc<Binding>>,
    marks: Vec<Done>,
}

impl Running {
    fn run(mut self, calls: &Receiver<Call>) {
        let told = match self.serve(calls) {
            Ok(()) => return,
            Err(Ended::Stopped) => Told::Stopped,
            Err(Ended::Failed(error)) => Told::Failed(error.into()),
        };
        self.tell(told);
    }

    fn serve(&mut self, calls: &Receiver<Call>) -> Result<(), Ended<Error>> {
        let mut compared = Instant::now();
        let mut said: Option<Instant> = None;
        loop {
            let wait = said.map_or(Duration::ZERO, |at| BEAT.saturating_sub(at.elapsed()));
            let first = match calls.recv_timeout(wait) {
                Ok(call) => Some(call),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let (mut batch, mut doubts, mut ends) = (Batch::default(), Vec::new(), false);
            for call in first.into_iter().chain(calls.try_iter()) {
                match call {
                    Call::Bind(binding) => batch.bindings.push(binding),
                    Call::Mark(done) => batch.marks.push(done),
                    Call::Doubt(doubt) => doubts.push(Some(doubt)),
                    Call::Disowned => doubts.push(None),
                    Call::End => ends = true,
                }
            }
            if !(ends && batch.is_empty()) {
                self.write(batch)?;
            }
            if said.is_none_or(|at| at.elapsed() >= BEAT) {
                self.say()?;
                said = Some(Instant::now());
            }
            for doubt in doubts {
                match doubt {
                    Some(doubt) => self.resolve(doubt)?,
                    None => self.find_out_whose_it_is()?,
                }
            }
            if ends {
                return Ok(());
            }
            if compared.elapsed() >= COMPARED {
                self.compare()?;
                compared = Instant::now();
            }
        }
    }

    /// Says that the job runs, after its token was found to stand. Saying so again is harmless.
    fn say(&mut self) -> Result<(), Ended<Error>> {
        let Running { writer, room } = self;
        let freshness = room.freshness.get();
        let said = persist(&room.stop, Peer::Redis, "saying that the job runs", |_| {
            writer.job.say(writer.token, freshness)
        });
        said.map_err(of)
    }

    /// Writes all that waits; nothing is a question whether everything stands.
    fn write(&mut self, batch: Batch) -> Result<(), Ended<Error>> {
        let Writer { token, at, replicas, .. } = self.writer;
        let Batch { bindings, marks } = batch;
        let after = At {
            bound: bindings.last().map_or(at.bound, |binding| Dated::of(binding)),
            mark: marks.last().map_or(at.mark, |done| Dated::of(&done.binding)),
        };
        let packed: Vec<_> = bindings.iter().map(|binding| redis::pack(binding)).collect();
        let mut commit = Commit::nothing(token, Some(at), after);
        commit.bindings =
            bindings.iter().map(|b| b.epoch).zip(packed.iter().map(|p| &p[..])).collect();
        commit.progress = marks.last().map(|done| (done.mark.totals, done.letters));
        marks.iter().for_each(|done| fold(&mut commit, done));
        // What was taken as it stands counts as applied beyond the mark.
        let known = &self.writer.keys;
        commit.keys.retain(|key, last| known.get(key).is_none_or(|known| known < last));
        if !marks.is_empty() {
            commit.forgotten = self.writer.kept.outlived_by(after.mark);
        }
        // A mark that replicas lack is found again by the bindings that they have.
        commit.replicas = if bindings.is_empty() { 0 } else { replicas };
        let prepared = self.writer.job.prepare(&commit);
        let keys = commit.keys;
        if !bindings.is_empty() {
            failpoint::reach("before-binding");
        }
        if !marks.is_empty() {
            failpoint::reach("before-mark");
        }
        self.commit(&prepared)?;
        if !bindings.is_empty() {
            failpoint::reach("after-binding");
        }
        if !marks.is_empty() {
            failpoint::reach("after-mark");
        }
        let writer = &mut self.writer;
        for (binding, packed) in bindings.iter().zip(packed) {
            writer.kept.push(Dated::of(binding), packed.into());
        }
        writer.at = after;
        writer.kept.forget(after.mark);
        writer.keys.extend(keys);
        for binding in bindings {
            self.tell(Told::Bound(binding.epoch));
        }
        for done in marks {
            self.tell(Told::Marked(done.binding.epoch));
        }
        Ok(())
    }

    /// Writes, however long that takes. Repeating it is harmless: it looks what stands there first.
    fn commit(&mut self, prepared: &redis::Command) -> Result<(), Ended<Error>> {
        let Running { writer, room } = self;
        let mut asked = Instant::now();
        let written = persist(&room.stop, Peer::Redis, "writing the ledger", |_| {
            asked = Instant::now();
            writer.job.commit(prepared)
        });
        match written.map_err(of)? {
            Written::Done => {
                room.fence.confirm(asked);
                Ok(())
            }
            Written::Refused(found) => Err(self.refused(found)),
        }
    }

    /// Says what follows from a ledger that does not stand as it was left.
    fn refused(&mut self, found: Option<Stands>) -> Ended<Error> {
        let Writer { token, at, kept, .. } = &self.writer;
        let (ours, done) = (*token, at.mark.epoch);
        let job = self.writer.job.name().to_owned();
        let error = match recover::ledger(&Known { token: ours, at: *at, kept }, found) {
            Step::Fenced(newer) => Error::Fenced { job, ours, newer },
            Step::Lost => Error::Lost { job, done },
            Step::Gap(found) => Error::Gap { job, found },
            Step::WriteBack(token, found) => match self.write_back(token, found) {
                Ok(token) => Error::WentBack { job, found, done, token },
                Err(ended) => return ended,
            },
            Step::Otherwise(found) => Error::Otherwise { job, found },
            // It was refused, and stands as it was left: it changes under our eyes.
            Step::GoOn => Error::Otherwise { job, found: *at },
        };
        Ended::Failed(error)
    }

    /// Binds again what Redis has lost of the bindings, behind what it has; returns the token that it took.
    fn write_back(&mut self, stands: Token, found: At) -> Result<Token, Ended<Error>> {
        let Running { writer, room } = self;
        let name = writer.job.name().to_owned();
        let number = stands.number.max(writer.token.number);
        let token = token_after(number).map_err(Ended::Failed)?;
        let fenced = |newer| {
            let job = name.clone();
            Err(Ended::Failed(Error::Fenced { job, ours: token, newer }))
        };
        let taken = persist(&room.stop, Peer::Redis, "taking a new token", |_| {
            writer.job.take(Some(stands), token, writer.replicas)
        });
        let taken = taken.map_err(of)?;
        if taken != token {
            return fenced(taken);
        }
        let lost = writer.kept.packed(found.bound).expect("recover has looked for them");
        let count = lost.len();
        let after = At { bound: writer.at.bound, ..found };
        let commit = Commit {
            bindings: lost,
            replicas: writer.replicas,
            ..Commit::nothing(token, Some(found), after)
        };
        let prepared = writer.job.prepare(&commit);
        let written = persist(&room.stop, Peer::Redis, "writing bindings back", |_| {
            writer.job.commit(&prepared)
        });
        match written.map_err(of)? {
            Written::Done => {
                failpoint::reach("written-back");
                log::warn!(
                    "redis went back: wrote {count} bindings back: job={name} mark={} bound={}",
                    after.mark.epoch,
                    after.bound.epoch
                );
                Ok(token)
            }
            Written::Refused(Some(Stands { token: newer, .. })) if newer != token => fenced(newer),
            Written::Refused(_) => Err(Ended::Failed(Error::Otherwise { job: name, found })),
        }
    }

    /// Finds out what went back where a key mark and the ledger disagree: always an error.
    fn resolve(&mut self, doubt: Doubt) -> Result<(), Ended<Error>> {
        // A ledger that went back too is dealt with there.
        self.write(Batch::default())?;
        let Doubt { key, known, found } = doubt;
        let writer = &self.writer;
        let step = recover::key(known, found, writer.at, &writer.kept);
        // What is bound and was never applied here is none of this job's doing.
        let step = if step == KeyStep::Stands { KeyStep::Beyond } else { step };
        Err(Ended::Failed(writer.error_of(step, &key, known, found).expect("it does not stand")))
    }

    /// Finds out why a script was refused whose token did not stand: always an error.
    fn find_out_whose_it_is(&mut self) -> Result<(), Ended<Error>> {
        self.write(Batch::default())?;
        Err(Ended::Failed(Error::Disowned { job: self.writer.job.name().to_owned() }))
    }

    /// Compares all key marks with what the ledger knows of them.
    fn compare(&mut self) -> Result<(), Ended<Error>> {
        let Running { writer, room } = self;
        let keys: Vec<_> = writer.keys.keys().cloned().collect();
        let found = persist(&room.stop, Peer::Redis, "comparing key marks", |_| {
            writer.job.key_marks_of(keys.iter().map(String::as_str))
        });
        let found = found.map_err(of)?;
        // A ledger that went back too is dealt with there.
        self.write(Batch::default())?;
        let writer = &self.writer;
        for (key, found) in keys.iter().zip(found) {
            let known = writer.keys.get(key).copied().map(KeyMark::whole);
            let step = recover::key(known, found, writer.at, &writer.kept);
            if let Some(error) = writer.error_of(step, key, known, found) {
                return Err(Ended::Failed(error));
            }
        }
        Ok(())
    }

    fn tell(&self, told: Told) {
        // Who is gone has heard of a failure before, and the job stops.
        if self.room.told.send(told).is_err() {
            log::debug!("nobody hears what became of the ledger: the job is stopping");
        }
    }
}

impl Writer {
    /// The error that a step about a key is, if it is one.
    pub(super) fn error_of(
        &self,
        step: KeyStep,
        key: &str,
        known: Option<KeyMark>,
        found: Option<KeyMark>,
    ) -> Option<Error> {
        let (job, key) = (self.job.name().to_owned(), key.to_owned());
        let epoch = |mark: Option<KeyMark>| mark.map_or(Epoch(0), |mark| mark.last.epoch);
        let (known, found) = (epoch(known), epoch(found));
        match step {
            KeyStep::Stands => None,
            KeyStep::Again(_) => Some(Error::Behind { job, key, known, found }),
            KeyStep::TooOld => Some(Error::TooOld { job, key, known, found }),
            KeyStep::Beyond => Some(Error::Beyond { job, key, found, bound: self.at.bound.epoch }),
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.marks.is_empty()
    }
}

/// Adds what a mark says of partitions and score keys.
fn fold(commit: &mut Commit<'_>, done: &Done) {
    let Done { binding, keys, .. } = done;
    read_to(commit, &binding.ranges);
    commit.keys.extend(keys.iter().map(|key| (key.to_string(), Dated::of(binding))));
}

/// Adds how far ranges have read their partitions, and which of these have another name now.
pub(super) fn read_to(commit: &mut Commit<'_>, ranges: &[Range]) {
    for range in ranges {
        let mut position = range.position.clone();
        if let Position::File(position) = &mut position
            && let Some(former) = position.renamed_from.take()
        {
            commit.reached.remove(&(range.topic, former.clone()));
            commit.renamed.push((range.topic, former));
        }
        commit.reached.insert((range.topic, range.partition.clone()), (range.to, position));
    }
}
