//! Where takes are committed: records of what is done with, and from time to time a checkpoint of all of it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::File;
use super::facts::{Checkpoint, Facts, RECORD, begin, record};
use super::round::{Round, Ticket};
use super::segment::{Id, START};
use super::stock::Stock;

/// The log of what is done with.
#[derive(Debug)]
pub struct Acks {
    folder: PathBuf,
    id: Id,
    size: u64,
    syncs: bool,
    stock: Arc<Stock>,
    /// Held by whoever syncs: an error is told to one only. Taken before `open`.
    turn: Mutex<()>,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: Arc<File>,
    generation: u64,
    offset: u64,
    round: Arc<Round>,
    /// What the round will have made done with.
    pending: Vec<Range<u64>>,
    /// The file does not tell the truth any more: a new one is needed.
    is_broken: bool,
}

impl Open {
    fn has_room(&self, bytes: usize, size: u64) -> bool {
        !self.is_broken && self.offset + bytes as u64 <= size
    }

    /// Whoever waits for the next sync is told that it failed.
    fn give_up(&mut self, error: io::Error) -> io::Error {
        self.is_broken = true;
        self.pending.clear();
        std::mem::take(&mut self.round).decide(Err(&error));
        error
    }
}

impl Acks {
    /// Begins the files behind those of `facts`, with what is done with.
    pub fn begin(
        folder: &Path,
        (id, size, syncs): (Id, u64, bool),
        facts: &Facts,
        stock: &Arc<Stock>,
    ) -> io::Result<Acks> {
        let generation = facts.generation + 1;
        let checkpoint = Checkpoint { generation, durable: facts.durable, is_closed: false };
        let file = begin(folder, id, size, checkpoint, &stock.acked())?;
        let open = Open {
            file: Arc::new(file),
            generation,
            offset: START,
            round: Arc::default(),
            pending: Vec::new(),
            is_broken: false,
        };
        let folder = folder.to_owned();
        let (turn, open) = (Mutex::new(()), Mutex::new(open));
        Ok(Acks { folder, id, size, syncs, stock: Arc::clone(stock), turn, open })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // It is changed only after what can fail.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that these are done with, and forgets them; when it returns that stands on the disk, if every
    /// take is synced. All events below `durable` stand there.
    pub fn commit(&self, ranges: &[Range<u64>], durable: u64) -> io::Result<()> {
        let most = (self.size - START) as usize / RECORD;
        ranges.chunks(most).try_for_each(|ranges| self.commit_some(ranges, durable))
    }

    fn commit_some(&self, ranges: &[Range<u64>], durable: u64) -> io::Result<()> {
        let records: Vec<u8> =
            ranges.iter().flat_map(|range| record(range, durable, self.id)).collect();
        let ticket = loop {
            let mut open = self.open();
            if open.has_room(records.len(), self.size) {
                // After an error all is as before: the next record is written over this one.
                open.file.write(&records, open.offset)?;
                open.offset += records.len() as u64;
                open.pending.extend(ranges.iter().cloned());
                break Round::join(&open.round);
            }
            drop(open);
            self.go_over(records.len(), durable)?;
        };
        if !self.syncs {
            self.stock.forget(ranges);
            return Ok(());
        }
        if ticket.leads() {
            self.lead(&ticket);
        }
        ticket.wait()
    }

    /// Syncs for all who have joined the ticket's round.
    fn lead(&self, ticket: &Ticket) {
        let _turn = self.turn();
        if ticket.is_decided() {
            return;
        }
        let mut open = self.open();
        open.round = Arc::default();
        let (file, pending) = (Arc::clone(&open.file), std::mem::take(&mut open.pending));
        drop(open);
        let outcome = match file.sync() {
            Ok(()) => {
                self.stock.forget(&pending);
                Ok(())
            }
            Err(error) => Err(self.open().give_up(error)),
        };
        ticket.round().decide(outcome.as_ref().map(drop));
    }

    /// Goes over to the next files, if records of this size still need them.
    fn go_over(&self, bytes: usize, durable: u64) -> io::Result<()> {
        let _turn = self.turn();
        let mut open = self.open();
        if open.has_room(bytes, self.size) {
            return Ok(());
        }
        self.sync_open(&mut open)?;
        self.next_files(&mut open, durable, false)
    }

    /// What is written is synced, and forgotten.
    fn sync_open(&self, open: &mut Open) -> io::Result<()> {
        if open.is_broken {
            return Ok(());
        }
        if let Err(error) = open.file.sync() {
            return Err(open.give_up(error));
        }
        let pending = std::mem::take(&mut open.pending);
        if self.syncs {
            self.stock.forget(&pending);
        }
        Ok(())
    }

    fn next_files(&self, open: &mut Open, durable: u64, is_closed: bool) -> io::Result<()> {
        let generation = open.generation + 1;
        let checkpoint = Checkpoint { generation, durable, is_closed };
        let file = begin(&self.folder, self.id, self.size, checkpoint, &self.stock.acked())?;
        (open.file, open.generation, open.offset) = (Arc::new(file), generation, START);
        open.is_broken = false;
        Ok(())
    }

    /// Syncs what is written.
    pub fn sync(&self) -> io::Result<()> {
        let _turn = self.turn();
        let mut open = self.open();
        open.pending.clear();
        let (file, is_broken) = (Arc::clone(&open.file), open.is_broken);
        drop(open);
        if is_broken { Ok(()) } else { file.sync() }
    }

    /// Makes the last checkpoint: all events are below `end`, and stand on the disk.
    pub fn close(&self, end: u64) -> io::Result<()> {
        let _turn = self.turn();
        let mut open = self.open();
        self.sync_open(&mut open)?;
        self.next_files(&mut open, end, true)
    }
}
