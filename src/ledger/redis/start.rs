//! A start: which ledger stands, a new token, and whether all key marks stand where it says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read;

use dataflows::Epoch;

use super::error::of;
use super::recover::{self, KeyStep};
use super::writer::{Room, Writer, read_to};
use super::{Error, Kept, Redis};
use crate::config;
use crate::failpoint;
use crate::job::Standing;
use crate::ledger::{Binding, Mark};
use crate::redis::{self, At, Commit, Dated, Job, KeyMark, Rows, Stands, Token, Written};
use crate::retry::{Ended, Peer, Stop, persist};
use crate::source::{Position, Range, Reached};

/// What a start finds in Redis; its token is taken.
pub enum Opened {
    /// No ledger: whoever starts resolves offsets, and begins with them.
    Vacant(Box<Vacant>),
    /// A ledger.
    Found(Box<Found>),
}

/// A job without a ledger.
pub struct Vacant {
    opening: Opening,
    /// The key marks that are taken as they stand.
    keys: BTreeMap<String, KeyMark>,
}

/// A ledger to go on from.
pub struct Found {
    /// The mark, and what is bound above it.
    pub standing: Standing,
    /// How far every partition had been read at the mark.
    pub reached: Reached,
    /// How long the file of dead letters was at the mark, in bytes.
    pub letters: u64,
    /// The last epoch that was applied to each score key; what the scores begin with.
    pub keys: BTreeMap<String, KeyMark>,
    /// Of score keys that a bound epoch was applied to, the last one that was.
    pub touched: BTreeMap<String, Epoch>,
    /// All epochs that are bound above the mark, also where only the first of them are run: any of them
    /// may have been applied.
    pub bound: Vec<Dated>,
    /// Epochs up to the mark that have to run again before anything else, for score keys that went
    /// back.
    pub again: Option<Again>,
    writer: Writer,
}

/// Epochs that are done, and run again for the scores alone: nothing else of them is missing.
pub struct Again {
    /// Where that begins, and the epochs up to the mark.
    pub standing: Standing,
    /// Where each partition of a topic that they touch is read from; files are read from their
    /// beginnings.
    pub reached: Reached,
    /// The last epoch that was applied to each score key; what the scores begin with. Of keys that
    /// did not go back it is one behind which nothing runs again.
    pub keys: BTreeMap<String, KeyMark>,
    /// Of those that went back, the last one that the ledger knows of.
    pub touched: BTreeMap<String, Epoch>,
}

/// A job in Redis, its waits, and its new token.
struct Opening {
    job: Job,
    stop: Stop,
    replicas: u32,
    /// That of the incarnation which this one goes on from.
    before: Option<Token>,
    token: Token,
}

/// Begins an incarnation of a job: waits for Redis, refuses what must not be begun with, and takes a
/// new token, from which on no earlier incarnation writes. `after_loss` takes score keys as they stand
/// where they stand at another time than the ledger and nothing can be run again. An incarnation that goes
/// on from one of this process, with the token `before`, begins only if nobody else has begun since.
///
/// # Errors
///
/// If the job stops meanwhile; if Redis fails for good, throws keys away, or has key marks that must
/// not be gone on with; if somebody else has begun.
pub fn open(
    redis: &config::Redis,
    name: &str,
    after_loss: bool,
    before: Option<Token>,
    stop: &Stop,
) -> Result<Opened, Ended<Error>> {
    let mut opening = Opening::new(redis, name, stop)?;
    opening.before = before;
    for (node, policy) in opening.ask("reading its eviction policy", Job::policies)? {
        if policy.starts_with("allkeys-") {
            return Err(Ended::Failed(Error::Evicts { node, policy }));
        }
    }
    let stands = opening.ask("reading the ledger", Job::look)?;
    if !after_loss && stands.is_none_or(|stands| stands.at.is_none()) {
        let found = opening.ask("looking for key marks", Job::all_key_marks)?;
        if let Some((key, mark)) = found.first_key_value() {
            let (job, count, key, found) = (name.to_owned(), found.len(), key.clone(), *mark);
            return Err(Ended::Failed(Error::KeyMarks { job, count, key, found }));
        }
    }
    opening.take_token(stands)?;
    // Nobody else writes from here on; but somebody may have, until here.
    let rows = opening.ask("reading the ledger", Job::read)?;
    let mut found = opening.ask("looking for key marks", Job::all_key_marks)?;
    if let Some(rows) = &rows {
        // One whose slot moves meanwhile may be passed over.
        let known = rows.keys.keys().filter(|key| !found.contains_key(*key));
        let missed: Vec<_> = known.cloned().collect();
        let marks = opening.ask("looking for key marks", |job| {
            job.key_marks_of(missed.iter().map(String::as_str))
        })?;
        found.extend(missed.into_iter().zip(marks).filter_map(|(key, mark)| Some((key, mark?))));
    }
    match rows {
        Some(rows) => opening.found(rows, found, after_loss).map(|f| Opened::Found(Box::new(f))),
        None => Ok(Opened::Vacant(Box::new(Vacant { opening, keys: found }))),
    }
}

/// How far a job has read, for another one that begins there.
///
/// # Errors
///
/// If the job stops meanwhile; if Redis fails for good, or the other job has no ledger, or has bound
/// more than it has done.
pub fn reached_by(redis: &config::Redis, name: &str, stop: &Stop) -> Result<Reached, Ended<Error>> {
    let mut opening = Opening::new(redis, name, stop)?;
    let job = || name.to_owned();
    let Some(rows) = opening.ask("reading the ledger to begin like", Job::read)? else {
        return Err(Ended::Failed(Error::NoLedger { job: job() }));
    };
    if rows.at.bound != rows.at.mark {
        return Err(Ended::Failed(Error::NotEnded { job: job(), at: rows.at }));
    }
    Ok(rows.reached)
}

/// Deletes the ledger and all key marks of a job, and leaves the scores; an incarnation that still
/// runs is fenced. Repeating it is harmless.
///
/// # Errors
///
/// If the job stops meanwhile, or Redis fails for good.
pub fn reset(redis: &config::Redis, name: &str, stop: &Stop) -> Result<(), Ended<Error>> {
    let mut opening = Opening::new(redis, name, stop)?;
    let stands = opening.ask("reading the ledger", Job::look)?;
    let token = token_after(stands.map_or(0, |stands| stands.token.number))?;
    opening.ask("resetting the job", |job| job.reset(token))
}

/// A token above that number.
pub(super) fn token_after(number: u64) -> Result<Token, Error> {
    let mut bits = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bits));
    read.map_err(Error::Random)?;
    Ok(Token { number: number + 1, bits: u128::from_le_bytes(bits) })
}

impl Opening {
    fn new(redis: &config::Redis, name: &str, stop: &Stop) -> Result<Opening, Error> {
        let job = Job::new(redis, name)?;
        let (stop, replicas) = (stop.clone(), redis.replicas);
        Ok(Opening { job, stop, replicas, before: None, token: Token { number: 0, bits: 0 } })
    }

    /// Asks, however long that takes. What is asked for here is harmless to repeat.
    fn ask<T>(
        &mut self,
        what: &str,
        mut ask: impl FnMut(&mut Job) -> Result<T, redis::Error>,
    ) -> Result<T, Ended<Error>> {
        let job = &mut self.job;
        persist(&self.stop, Peer::Redis, &format!("starting, {what}"), |_| ask(job)).map_err(of)
    }

    fn take_token(&mut self, mut stands: Option<Stands>) -> Result<(), Ended<Error>> {
        let replicas = self.replicas;
        loop {
            let found = stands.map(|stands| stands.token);
            if let (Some(ours), Some(newer)) = (self.before, found)
                && newer != ours
                && newer.number >= ours.number
            {
                let job = self.job.name().to_owned();
                return Err(Ended::Failed(Error::Fenced { job, ours, newer }));
            }
            let token = token_after(found.map_or(0, |found| found.number))?;
            let taken = self.ask("taking a new token", |job| job.take(found, token, replicas))?;
            if taken == token {
                let name = self.job.name();
                log::info!("began: job={name} incarnation={}", token.number);
                failpoint::reach("token-taken");
                self.token = token;
                return Ok(());
            }
            // Another start was quicker; this one is later.
            stands = self.ask("reading the ledger", Job::look)?;
        }
    }

    /// Compares all key marks with the ledger, and makes of both what to go on from.
    fn found(
        self,
        rows: Rows,
        marks: BTreeMap<String, KeyMark>,
        after_loss: bool,
    ) -> Result<Found, Ended<Error>> {
        let mark = rows.mark();
        let Rows { at, letters, mut bindings, reached, keys, .. } = rows;
        let kept = self.kept(at, &bindings)?;
        let Opening { job, stop, replicas, token, .. } = self;
        let mut writer = Writer { job, token, at, kept, keys, replicas };

        let mut known: BTreeMap<_, _> =
            writer.keys.iter().map(|(key, last)| (key.clone(), KeyMark::whole(*last))).collect();
        let mut lagging: BTreeMap<String, Option<KeyMark>> = BTreeMap::new();
        let mut taken: BTreeMap<String, KeyMark> = BTreeMap::new();
        let mut applied: BTreeMap<String, KeyMark> = BTreeMap::new();
        let mut after = at.mark.epoch;
        let all: BTreeSet<_> = known.keys().chain(marks.keys()).cloned().collect();
        for key in all {
            let (knew, found) = (known.get(&key).copied(), marks.get(&key).copied());
            let step = recover::key(knew, found, at, &writer.kept);
            let Some(error) = writer.error_of(step, &key, knew, found) else {
                applied.extend(found.filter(|_| found != knew).map(|found| (key, found)));
                continue;
            };
            match (step, knew) {
                // It was taken as it stood, beyond the mark, and lost that again: nothing of it runs.
                (KeyStep::Again(last), Some(knew)) if last >= at.mark.epoch => {
                    taken.insert(key, knew);
                    continue;
                }
                (KeyStep::Again(last), _) => {
                    log::warn!("{error}");
                    after = after.min(last);
                    lagging.insert(key, found);
                    continue;
                }
                (_, _) if !after_loss => return Err(Ended::Failed(error)),
                (KeyStep::TooOld, Some(knew)) => taken.insert(key, knew),
                // All that is bound counts as applied, and nothing of it is.
                _ => taken.insert(key, KeyMark::whole(at.bound)),
            };
            log::warn!("taken as it stands, after a loss: {error}");
        }
        if !taken.is_empty() {
            writer.take(&taken, &stop)?;
            known.extend(taken);
        }

        let above = bindings.split_off(&at.mark.epoch.next());
        let bound: VecDeque<_> = above.into_values().collect();
        let dates = bound.iter().map(Dated::of).collect();
        let again = (!lagging.is_empty()).then(|| {
            let bound = bindings.split_off(&after.next()).into_values().collect();
            Again::new(after, bound, &known, lagging)
        });
        let touched = applied.iter().map(|(key, mark)| (key.clone(), mark.last.epoch)).collect();
        known.extend(applied);
        Ok(Found {
            standing: Standing { mark, bound },
            reached,
            letters,
            keys: known,
            touched,
            bound: dates,
            again,
            writer,
        })
    }

    /// The bindings that are kept, up to the last one; all above the mark are among them.
    fn kept(&self, at: At, bindings: &BTreeMap<Epoch, Binding>) -> Result<Kept, Error> {
        let damaged = |epoch| Error::Damaged { job: self.job.name().to_owned(), epoch };
        let mut first = at.bound.epoch.next();
        while first.0 > 0 && bindings.contains_key(&Epoch(first.0 - 1)) {
            first = Epoch(first.0 - 1);
        }
        if first > at.mark.epoch.next() {
            return Err(damaged(Epoch(first.0 - 1)));
        }
        let before = (first == at.mark.epoch.next()).then_some(at.mark);
        let mut kept = Kept::after(before);
        for binding in bindings.range(first..=at.bound.epoch).map(|(_, binding)| binding) {
            kept.push(Dated::of(binding), redis::pack(binding).into());
        }
        let is_last = at.bound == at.mark || kept.binds(at.bound) == Some(true);
        if is_last { Ok(kept) } else { Err(damaged(at.bound.epoch)) }
    }
}

impl Writer {
    /// Puts key marks where they are taken, and the ledger with them. A death between the two is
    /// found again by the next start.
    fn take(&mut self, taken: &BTreeMap<String, KeyMark>, stop: &Stop) -> Result<(), Ended<Error>> {
        let Writer { job, token, at, .. } = self;
        let set =
            persist(stop, Peer::Redis, "starting, setting key marks", |_| job.set_key_marks(taken));
        set.map_err(of)?;
        let last = |(key, mark): (&String, &KeyMark)| (key.clone(), mark.last);
        let keys: BTreeMap<_, _> = taken.iter().map(last).collect();
        let nothing = Commit::nothing(*token, Some(*at), *at);
        let prepared = job.prepare(&Commit { keys: keys.clone(), ..nothing });
        let written =
            persist(stop, Peer::Redis, "starting, writing the ledger", |_| job.commit(&prepared));
        let ours = *token;
        match written.map_err(of)? {
            Written::Done => {
                self.keys.extend(keys);
                Ok(())
            }
            Written::Refused(found) => {
                let name = self.job.name().to_owned();
                Err(Ended::Failed(begun_by_another(name, ours, found)))
            }
        }
    }
}

/// Between taking the token and writing, somebody else has written.
fn begun_by_another(job: String, ours: Token, found: Option<Stands>) -> Error {
    match found {
        Some(Stands { token: newer, .. }) if newer != ours => Error::Fenced { job, ours, newer },
        _ => Error::Lost { job, done: Epoch(0) },
    }
}

impl Again {
    fn new(
        after: Epoch,
        bound: VecDeque<Binding>,
        known: &BTreeMap<String, KeyMark>,
        lagging: BTreeMap<String, Option<KeyMark>>,
    ) -> Again {
        let (mut keys, mut touched) = (known.clone(), BTreeMap::new());
        for (key, found) in lagging {
            touched.extend(known.get(&key).map(|mark| (key.clone(), mark.last.epoch)));
            match found {
                Some(found) => keys.insert(key, found),
                None => keys.remove(&key),
            };
        }
        let mut reached = Reached::new();
        for range in bound.iter().flat_map(|binding| &binding.ranges) {
            if let Position::Topic(_) = range.position {
                let partition = (range.topic, range.partition.clone());
                // Nothing is known of the record before.
                reached.entry(partition).or_insert((range.from, Position::Topic(0)));
            }
        }
        let mark = Mark { epoch: after, ..Mark::default() };
        Again { standing: Standing { mark, bound }, reached, keys, touched }
    }
}

impl Vacant {
    /// Makes the first write: a mark below all epochs, with how far every partition counts as read.
    ///
    /// # Errors
    ///
    /// If the job stops meanwhile; if Redis fails for good, or somebody else has begun.
    pub fn begin(self, reached: Reached) -> Result<Found, Ended<Error>> {
        let Vacant { mut opening, keys } = self;
        // Where key marks are taken as they stand, epochs are numbered above all of them.
        let highest = keys.values().map(|mark| mark.last).max().unwrap_or_default();
        let keys: BTreeMap<_, _> =
            keys.into_iter().map(|(key, mark)| (key, KeyMark::whole(mark.last))).collect();
        opening.ask("setting key marks", |job| job.set_key_marks(&keys))?;
        let at = At { bound: highest, mark: highest };
        let mark = Mark { epoch: highest.epoch, time: highest.time, ..Mark::default() };
        let (token, replicas) = (opening.token, opening.replicas);
        let touched: BTreeMap<_, _> = keys.iter().map(|(key, m)| (key.clone(), m.last)).collect();
        let commit = Commit {
            progress: Some((mark.totals, 0)),
            reached: reached.clone(),
            keys: touched.clone(),
            replicas,
            ..Commit::nothing(token, None, at)
        };
        let prepared = opening.job.prepare(&commit);
        match opening.ask("beginning the ledger", |job| job.commit(&prepared))? {
            Written::Done => failpoint::reach("ledger-begun"),
            Written::Refused(found) => {
                let name = opening.job.name().to_owned();
                return Err(Ended::Failed(begun_by_another(name, token, found)));
            }
        }
        let Opening { job, .. } = opening;
        let kept = Kept::after(Some(highest));
        let writer = Writer { job, token, at, kept, keys: touched, replicas };
        let standing = Standing { mark, bound: VecDeque::new() };
        let (touched, bound) = (BTreeMap::new(), Vec::new());
        Ok(Found { standing, reached, letters: 0, keys, touched, bound, again: None, writer })
    }
}

impl Found {
    /// Keeps the new names of files: ranges without a record, of files of which nothing is bound.
    ///
    /// # Errors
    ///
    /// If the job stops meanwhile; if Redis fails for good, or somebody else has begun.
    pub fn rename(&mut self, files: &[Range], stop: &Stop) -> Result<(), Ended<Error>> {
        if files.is_empty() {
            return Ok(());
        }
        let Writer { job, token, at, .. } = &mut self.writer;
        let mut commit = Commit::nothing(*token, Some(*at), *at);
        read_to(&mut commit, files);
        let prepared = job.prepare(&commit);
        let what = "start: new names of files";
        match persist(stop, Peer::Redis, what, |_| job.commit(&prepared)).map_err(of)? {
            Written::Done => Ok(()),
            Written::Refused(found) => {
                Err(Ended::Failed(begun_by_another(job.name().to_owned(), *token, found)))
            }
        }
    }

    /// The token of this incarnation.
    pub fn token(&self) -> Token {
        self.writer.token
    }

    /// The ledger of the running job.
    pub fn start(self, room: Room) -> Redis {
        self.writer.start(room)
    }
}
