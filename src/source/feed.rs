//! What stands between the source's threads and the workers: a bounded queue that knows epochs.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use crossbeam_channel::Sender;
use dataflows::Epoch;

use super::{Chunk, Cut};
use crate::failpoint;
use crate::metrics::{self, Stage};

/// How many bytes of records may wait in the queue; one chunk always may.
const QUEUE_BYTES: usize = 4 << 20;

/// How many bytes are left when the source is woken to fill the queue: seldom, and for many chunks.
const REFILL_BYTES: usize = QUEUE_BYTES / 2;

/// How many bytes of records may be in epochs in flight before the next is begun: what an epoch keeps
/// of its records, its dead letters, it keeps until it is durable.
const IN_FLIGHT_BYTES: usize = 64 << 20;

/// The queue of chunks, open at one end for the source and at the other for every worker.
pub struct Feed {
    state: Mutex<State>,
    /// Signals the source: room in the queue, a moved mark, or the end.
    room: Condvar,
    /// How many epochs beyond the mark may be begun, and how many bytes these may have.
    in_flight: u64,
    in_flight_bytes: usize,
}

struct State {
    queue: VecDeque<Chunk>,
    queued_bytes: usize,
    /// The epochs beyond the mark that have been begun, with the bytes of their records.
    flying: VecDeque<(Epoch, usize)>,
    /// The first epoch that may still get a chunk.
    open: Epoch,
    /// When its first chunk came.
    begun: Option<Instant>,
    mark: Epoch,
    /// The source is to end by itself.
    finishing: bool,
    ended: bool,
    stopped: bool,
    /// Up to when every record stood in epochs below one that was open then: that epoch, and the time
    /// in milliseconds since 1970. The first is about what is marked, if there was any.
    fresh: VecDeque<(Epoch, u64)>,
    /// Hears of every closed epoch; gone when there will be no more.
    cuts: Option<Sender<Cut>>,
    workers: Vec<Thread>,
    /// In a cluster: what is known of the epochs of the others.
    others: Option<Others>,
}

/// What a process of a cluster knows of the epochs of the others.
struct Others {
    /// The last epoch that was closed elsewhere.
    closed: Epoch,
    /// Hears when the source has ended here: of the first epoch that is not closed.
    left: Sender<Epoch>,
    /// The source has ended: what is closed elsewhere is closed here too, without a record.
    has_left: bool,
}

/// What a worker finds in the feed.
#[derive(Debug)]
pub enum Next {
    /// A chunk. No worker will find one of an epoch below its.
    Chunk(Chunk),
    /// Nothing yet, and never again anything of an epoch below this one.
    Idle(Epoch),
    /// Nothing any more: this epoch is the first that will never be.
    End(Epoch),
    /// The job is stopping: what is not done stays undone.
    Stopped,
}

/// Says that the job is stopping: the source ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job is stopping")]
pub struct Stopped;

impl State {
    /// Counts bytes to the open epoch.
    fn fly(&mut self, bytes: usize) {
        let open = self.open;
        match self.flying.back_mut() {
            Some((epoch, sum)) if *epoch == open => *sum += bytes,
            _ => self.flying.push_back((open, bytes)),
        }
    }

    /// Forgets what is known to be fresh where more is, so that the first is what is marked.
    fn settle_freshness(&mut self) {
        let marked = self.mark.next();
        while self.fresh.get(1).is_some_and(|(below, _)| *below <= marked) {
            self.fresh.pop_front();
        }
    }

    /// Closes the open epoch.
    fn close(&mut self, cut: Cut) -> Result<(), Stopped> {
        let cuts = self.cuts.as_ref().ok_or(Stopped)?;
        let epoch = cut.epoch;
        // Told before the workers are: whoever applies an epoch knows what it is. Never waits, since
        // the channel is unbounded; the number of epochs in flight is what bounds it.
        cuts.send(cut).map_err(|_| Stopped)?;
        failpoint::reach("cut-sent");
        self.open = epoch.next();
        if let Some(begun) = self.begun.take() {
            metrics::stage(Stage::Read, begun.elapsed());
        }
        Ok(())
    }

    /// Where the source has ended, closes what is closed elsewhere.
    fn follow(&mut self) {
        while let Some(others) = &self.others
            && others.has_left
            && others.closed >= self.open
        {
            let (epoch, ranges) = (self.open, Vec::new());
            if self.close(Cut { epoch, ranges }).is_err() {
                return;
            }
        }
    }

    /// Whether few enough epochs, and bytes of them, are closed and not marked.
    fn may_begin(&self, in_flight: u64, in_flight_bytes: usize) -> bool {
        let closed = self.flying.iter().filter(|(epoch, _)| *epoch < self.open);
        self.open.0 <= self.mark.0 + in_flight
            && closed.map(|(_, bytes)| bytes).sum::<usize>() <= in_flight_bytes
    }
}

impl Feed {
    /// Makes a feed of one process of a cluster, whose epochs are those of all. `left` hears when the source
    /// ends here: of the first epoch that it has not closed. Then nothing ends before
    /// [`Feed::end_at`].
    pub fn of_cluster(
        mark: Epoch,
        in_flight: u64,
        cuts: Sender<Cut>,
        left: Sender<Epoch>,
        processes: usize,
    ) -> Feed {
        let mut feed = Feed::new(mark, in_flight, cuts);
        // One of them keeps the dead letters of all.
        feed.in_flight_bytes = IN_FLIGHT_BYTES / processes;
        let state = feed.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.others = Some(Others { closed: mark, left, has_left: false });
        feed
    }

    /// Makes a feed for a job whose last marked epoch is `mark`; `cuts` hears of every closed epoch.
    pub fn new(mark: Epoch, in_flight: u64, cuts: Sender<Cut>) -> Feed {
        Feed {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                queued_bytes: 0,
                flying: VecDeque::new(),
                open: mark.next(),
                begun: None,
                mark,
                finishing: false,
                ended: false,
                stopped: false,
                fresh: VecDeque::new(),
                cuts: Some(cuts),
                workers: Vec::new(),
                others: None,
            }),
            room: Condvar::new(),
            in_flight,
            in_flight_bytes: IN_FLIGHT_BYTES,
        }
    }

    /// Waits until the open epoch may be begun, and names it.
    pub fn begin(&self) -> Result<Epoch, Stopped> {
        let mut state = self.lock();
        while !state.stopped && !state.may_begin(self.in_flight, self.in_flight_bytes) {
            state = self.wait(state);
        }
        if state.stopped { Err(Stopped) } else { Ok(state.open) }
    }

    /// Waits as [`Feed::begin`] does, but no longer than until the source is to end by itself: `None`,
    /// if the open epoch may not be begun then.
    pub fn begin_or_finish(&self) -> Result<Option<Epoch>, Stopped> {
        let mut state = self.lock();
        while !state.stopped
            && !state.finishing
            && !state.may_begin(self.in_flight, self.in_flight_bytes)
        {
            state = self.wait(state);
        }
        match state.stopped {
            true => Err(Stopped),
            false => {
                Ok(state.may_begin(self.in_flight, self.in_flight_bytes).then_some(state.open))
            }
        }
    }

    /// Gives the workers a chunk of the open epoch; waits while the queue is full.
    pub fn push(&self, chunk: Chunk) -> Result<(), Stopped> {
        let mut state = self.lock();
        while !state.stopped
            && !state.queue.is_empty()
            && state.queued_bytes + chunk.bytes() > QUEUE_BYTES
        {
            state = self.wait(state);
        }
        if state.stopped {
            return Err(Stopped);
        }
        assert_eq!(chunk.epoch, state.open, "a chunk belongs to the open epoch");
        state.queued_bytes += chunk.bytes();
        state.fly(chunk.bytes());
        state.begun.get_or_insert_with(Instant::now);
        state.queue.push_back(chunk);
        wake(&state);
        Ok(())
    }

    /// Closes the open epoch: it is what `cut` says.
    pub fn close(&self, cut: Cut) -> Result<(), Stopped> {
        let mut state = self.lock();
        assert_eq!(cut.epoch, state.open, "the open epoch is closed");
        state.close(cut)?;
        wake(&state);
        Ok(())
    }

    /// Hears that another process of the cluster has closed an epoch.
    pub fn closed_elsewhere(&self, epoch: Epoch) {
        let mut state = self.lock();
        let Some(others) = &mut state.others else { return };
        others.closed = others.closed.max(epoch);
        state.follow();
        wake(&state);
    }

    /// Whether another process has closed the epoch that is open here.
    pub fn is_due(&self) -> bool {
        let state = self.lock();
        state.others.as_ref().is_some_and(|others| others.closed >= state.open)
    }

    /// Whether there are other processes.
    pub fn is_of_cluster(&self) -> bool {
        self.lock().others.is_some()
    }

    /// Says that this epoch is the first that no process will ever close: all before it are closed here.
    pub fn end_at(&self, epoch: Epoch) {
        let mut state = self.lock();
        if let Some(others) = &mut state.others {
            others.closed = Epoch(epoch.0.saturating_sub(1));
            state.follow();
        }
        state.ended |= !state.stopped;
        state.cuts = None;
        wake(&state);
    }

    /// Says that every record up to this time, in milliseconds since 1970, stands in epochs below the
    /// open one.
    pub fn fresh(&self, time: u64) {
        let mut state = self.lock();
        let open = state.open;
        match state.fresh.back_mut() {
            Some((_, last)) if *last >= time => {}
            Some((below, last)) if *below == open => *last = time,
            _ => state.fresh.push_back((open, time)),
        }
        state.settle_freshness();
    }

    /// The latest time up to which every record stands in epochs that are wholly done, in milliseconds
    /// since 1970; `None` while there is none, and for sources that do not tell.
    pub fn freshness(&self) -> Option<u64> {
        let state = self.lock();
        let (below, time) = *state.fresh.front()?;
        (below <= state.mark.next()).then_some(time)
    }

    /// Says that no epoch will be begun any more.
    pub fn end(&self) {
        let mut state = self.lock();
        let stopped = state.stopped;
        if let (Some(others), false) = (&mut state.others, stopped) {
            others.has_left = true;
            state.follow();
            let open = state.open;
            let told = state.others.as_ref().is_some_and(|others| others.left.send(open).is_ok());
            if told {
                return;
            }
        }
        // A source that was stopped ends, too, but not because there was nothing more.
        state.ended |= !state.stopped;
        state.cuts = None;
        wake(&state);
    }

    /// Says that all epochs up to this one are wholly done.
    pub fn marked(&self, mark: Epoch) {
        let mut state = self.lock();
        state.mark = mark;
        while state.flying.front().is_some_and(|(epoch, _)| *epoch <= mark) {
            state.flying.pop_front();
        }
        state.settle_freshness();
        self.room.notify_all();
        wake(&state);
    }

    /// The last epoch that is wholly done.
    pub fn mark(&self) -> Epoch {
        self.lock().mark
    }

    /// Whether the source has ended, and all that it has read is done.
    pub fn is_done(&self) -> bool {
        let state = self.lock();
        state.ended && state.mark.next() == state.open
    }

    /// Asks the source to close the open epoch and to end; what is read is still done.
    pub fn finish(&self) {
        self.lock().finishing = true;
        self.room.notify_all();
    }

    /// Whether the source is to end by itself.
    pub fn is_finishing(&self) -> bool {
        self.lock().finishing
    }

    /// Whether the job goes on.
    ///
    /// # Errors
    ///
    /// If it is stopping.
    pub fn goes_on(&self) -> Result<(), Stopped> {
        if self.lock().stopped { Err(Stopped) } else { Ok(()) }
    }

    /// Whether the open epoch may be begun now; where not, [`Feed::begin`] would wait.
    pub fn may_begin(&self) -> bool {
        self.lock().may_begin(self.in_flight, self.in_flight_bytes)
    }

    /// Stops the source, which finds out at its next call, and wakes all workers.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.cuts = None;
        self.room.notify_all();
        wake(&state);
    }

    /// Lets the calling thread, a worker, be unparked when there is something for it.
    pub fn attend(&self) {
        self.lock().workers.push(std::thread::current());
    }

    /// Takes what is next for the calling worker. Never waits.
    pub fn next(&self) -> Next {
        let mut state = self.lock();
        if state.stopped {
            return Next::Stopped;
        }
        match state.queue.pop_front() {
            Some(chunk) => {
                state.queued_bytes -= chunk.bytes();
                if state.queued_bytes <= REFILL_BYTES {
                    self.room.notify_all();
                }
                Next::Chunk(chunk)
            }
            None if state.ended => Next::End(state.open),
            None => Next::Idle(state.open),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock but an assertion that ends the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.room.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(state: &State) {
    for worker in &state.workers {
        worker.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::{Batch, Partition, Topic};

    #[test]
    fn an_epoch_waits_for_the_bytes_of_those_before_it() {
        let (cuts, _cuts) = crossbeam_channel::unbounded();
        let feed = Feed::new(Epoch(0), 3, cuts);
        let name = b"a".to_vec();
        let partition =
            Arc::new(Partition { topic: Topic::Clicks, name, separator: b':', ordinal: 0 });
        let fill = |bytes| {
            let epoch = feed.begin().unwrap();
            let (partition, lines) = (Arc::clone(&partition), vec![b'\n'; bytes].into());
            let batch = Batch::Lines { first: 1, lines };
            feed.push(Chunk { epoch, partition, batch }).unwrap();
            assert!(matches!(feed.next(), Next::Chunk(_)));
            assert!(
                feed.lock().may_begin(3, IN_FLIGHT_BYTES),
                "its own bytes do not count while it is open"
            );
            feed.close(Cut { epoch, ranges: Vec::new() }).unwrap();
            feed.lock().may_begin(3, IN_FLIGHT_BYTES)
        };
        assert!(fill(IN_FLIGHT_BYTES));
        assert!(!fill(1), "these are too many bytes");
        feed.marked(Epoch(1));
        assert!(fill(1) && !fill(1), "these are too many epochs");
        feed.marked(Epoch(4));
        assert!(!fill(IN_FLIGHT_BYTES + 1));
    }
    #[test]
    fn what_is_fresh_is_what_is_marked() {
        let (cuts, _cuts) = crossbeam_channel::unbounded();
        let feed = Feed::new(Epoch(4), 8, cuts);
        assert_eq!(feed.freshness(), None);
        feed.fresh(10);
        assert_eq!(feed.freshness(), Some(10), "nothing is under way");
        let close = |epoch| feed.close(Cut { epoch: Epoch(epoch), ranges: Vec::new() }).unwrap();
        close(5);
        feed.fresh(20);
        close(6);
        feed.fresh(30);
        feed.fresh(40);
        feed.fresh(35);
        assert_eq!(feed.freshness(), Some(10), "epoch 5 is not done");
        feed.marked(Epoch(5));
        assert_eq!(feed.freshness(), Some(20));
        feed.marked(Epoch(6));
        assert_eq!(feed.freshness(), Some(40));
        feed.fresh(50);
        assert_eq!(feed.freshness(), Some(50));
    }

    #[test]
    fn a_source_that_is_to_end_does_not_wait_for_marks() {
        let (cuts, _cuts) = crossbeam_channel::unbounded();
        let feed = Feed::new(Epoch(0), 1, cuts);
        assert_eq!(feed.begin_or_finish(), Ok(Some(Epoch(1))));
        feed.close(Cut { epoch: Epoch(1), ranges: Vec::new() }).unwrap();
        std::thread::scope(|threads| {
            let waits = threads.spawn(|| feed.begin_or_finish());
            feed.finish();
            assert_eq!(waits.join().unwrap(), Ok(None));
        });
        feed.marked(Epoch(1));
        assert_eq!(feed.begin_or_finish(), Ok(Some(Epoch(2))));
        feed.stop();
        assert_eq!(feed.begin_or_finish(), Err(Stopped));
    }
}
