//! Where events are put: frames at the end of the last segment.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame;
use super::gate::{Gate, Reach};
use super::round::{Round, Ticket};
use super::segment::{Id, Label, START, Segment};
use super::stock::Stock;

/// The segments, where they are written.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    id: Id,
    /// How many bytes a segment has; one with a larger frame has more.
    size: u64,
    syncs: bool,
    stock: Arc<Stock>,
    gate: Arc<Gate>,
    /// Held by whoever syncs: an error is told to one only. Taken before `tail`.
    turn: Mutex<()>,
    tail: Mutex<Tail>,
    durable: AtomicU64,
}

#[derive(Debug)]
struct Tail {
    segment: Arc<Segment>,
    /// Where the next frame goes.
    offset: u64,
    /// The number of the next event.
    next: u64,
    /// How far it stands on the disk.
    durable: Reach,
    /// Those who wait for the next sync.
    round: Arc<Round>,
    /// What stands behind the durable end is void: the next frame begins a segment.
    is_broken: bool,
}

impl Tail {
    fn reach(&self) -> Reach {
        Reach { sequence: self.next, segment: self.segment.first(), offset: self.offset }
    }

    fn has_room(&self, frame: usize) -> bool {
        !self.is_broken && self.offset + frame as u64 <= self.segment.size()
    }

    /// Takes back what was not synced. Whoever waits for it is told.
    fn give_up(&mut self, error: io::Error) -> io::Error {
        self.next = self.durable.sequence;
        self.is_broken = true;
        std::mem::take(&mut self.round).decide(Err(&error));
        error
    }
}

impl Writer {
    /// Goes on behind this place of a segment, all before which stands on the disk; in a new one, if something
    /// stands behind it.
    pub fn new(
        folder: &Path,
        (id, size, syncs): (Id, u64, bool),
        (segment, reach, is_broken): (Segment, Reach, bool),
        (stock, gate): (&Arc<Stock>, &Arc<Gate>),
    ) -> Writer {
        let tail = Tail {
            segment: Arc::new(segment),
            offset: reach.offset,
            next: reach.sequence,
            durable: reach,
            round: Arc::default(),
            is_broken,
        };
        Writer {
            folder: folder.to_owned(),
            id,
            size,
            syncs,
            stock: Arc::clone(stock),
            gate: Arc::clone(gate),
            turn: Mutex::new(()),
            tail: Mutex::new(tail),
            durable: AtomicU64::new(reach.sequence),
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        // It is changed only after what can fail.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All events below this one stand on the disk.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Puts a frame; when it returns its events stand on the disk, if every put is synced.
    pub fn put(&self, mut frame: Vec<u8>) -> io::Result<()> {
        let ticket = self.append(&mut frame)?;
        drop(frame);
        if !self.syncs {
            return Ok(());
        }
        if ticket.leads() {
            self.lead(&ticket);
        }
        ticket.wait()
    }

    fn append(&self, frame: &mut [u8]) -> io::Result<Ticket> {
        loop {
            let mut tail = self.tail();
            if tail.has_room(frame.len()) {
                frame::seal(frame, tail.next, tail.durable.sequence, tail.segment.salt());
                // After an error all is as before: the next frame is written over this one.
                tail.segment.file().write(frame, tail.offset)?;
                tail.offset += frame.len() as u64;
                tail.next += u64::from(frame::count(frame));
                let ticket = Round::join(&tail.round);
                if !self.syncs {
                    self.gate.open(tail.reach());
                }
                return Ok(ticket);
            }
            drop(tail);
            self.go_over(frame.len())?;
        }
    }

    /// Syncs for all who have joined the ticket's round.
    fn lead(&self, ticket: &Ticket) {
        let _turn = self.turn();
        if ticket.is_decided() {
            return;
        }
        let mut tail = self.tail();
        tail.round = Arc::default();
        let (segment, reach) = (Arc::clone(&tail.segment), tail.reach());
        drop(tail);
        let outcome = segment.file().sync();
        let mut tail = self.tail();
        let outcome = match outcome {
            Ok(()) => {
                self.note(&mut tail, reach);
                Ok(())
            }
            // Those who have written meanwhile stand behind what is given up.
            Err(error) => Err(tail.give_up(error)),
        };
        drop(tail);
        ticket.round().decide(outcome.as_ref().map(drop));
    }

    fn note(&self, tail: &mut Tail, reach: Reach) {
        tail.durable = reach;
        self.durable.store(reach.sequence, Ordering::Release);
        self.gate.open(reach);
    }

    /// Goes over to a new segment, if a frame of this size still needs one.
    fn go_over(&self, frame: usize) -> io::Result<()> {
        let _turn = self.turn();
        let mut tail = self.tail();
        if tail.has_room(frame) {
            return Ok(());
        }
        self.sync_tail(&mut tail)?;
        let next = tail.next;
        self.begin(&mut tail, next, frame)
    }

    fn sync_tail(&self, tail: &mut Tail) -> io::Result<()> {
        if tail.is_broken {
            return Ok(());
        }
        match tail.segment.file().sync() {
            Ok(()) => {
                let reach = tail.reach();
                self.note(tail, reach);
                Ok(())
            }
            Err(error) if self.syncs => Err(tail.give_up(error)),
            // It was put already; there is no one to tell.
            Err(error) => {
                log::error!(
                    "events may not stand on the disk: path={} error={error}",
                    tail.segment.file().path().display()
                );
                Ok(())
            }
        }
    }

    /// Begins a segment whose first event has this number.
    fn begin(&self, tail: &mut Tail, first: u64, frame: usize) -> io::Result<()> {
        let label = Label { id: self.id, first, after: tail.next, syncs: self.syncs };
        let size = self.size.max(START + frame as u64);
        let segment = Segment::create(&self.folder, label, size)?;
        self.stock.add(first, tail.next);
        tail.segment = Arc::new(segment);
        (tail.offset, tail.next, tail.is_broken) = (START, first, false);
        let reach = tail.reach();
        self.note(tail, reach);
        Ok(())
    }

    /// Lets the next event have this number, if it would have a lower one. What is void is so on the disk, too,
    /// when it returns.
    pub fn skip_to(&self, sequence: u64) -> io::Result<()> {
        let _turn = self.turn();
        let mut tail = self.tail();
        if tail.next >= sequence && !tail.is_broken {
            return Ok(());
        }
        self.sync_tail(&mut tail)?;
        let skipped = tail.next..sequence.max(tail.next);
        self.begin(&mut tail, skipped.end, 0)?;
        self.stock.skip(skipped);
        Ok(())
    }

    /// Syncs what is written.
    pub fn sync(&self) -> io::Result<()> {
        let _turn = self.turn();
        let tail = self.tail();
        let (segment, reach) = (Arc::clone(&tail.segment), tail.reach());
        if tail.is_broken || reach == tail.durable {
            return Ok(());
        }
        drop(tail);
        segment.file().sync()?;
        self.note(&mut self.tail(), reach);
        Ok(())
    }
}
