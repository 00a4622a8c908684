//! Compares embedded stores under the one pattern in which online-recall uses its store.
//!
//! ```text
//! reader  ── versions of 3,000 cells ──▶ (at most two epochs ahead) ──▶  writer
//!            three of five are absent                                     3,000 recalls, 1,500
//!                                                                         scores, a ledger row:
//!                                                                         one durable commit
//! ```
//!
//! An epoch is one durable transaction. Its recalls have new keys all over the key space, two of
//! five of them in cells that have versions already; its scores are read, grown and written, with
//! a small cache of old values; its ledger row is written anew. Everything is computed from the
//! epoch's number, so that the load itself takes no memory that grows.
//!
//! `cargo run --release --manifest-path benches/stores/Cargo.toml -- --dir DIR` prints a line a
//! store, each run in a process of its own, so that its peak of memory is its own. DIR should lie
//! on the disk that is to be judged. `--epochs 400 --users 2000000` shows what grows.
//! `--features mimalloc` takes another allocator.
//!
//! At the end a run counts the recalls that stand: a lost or doubled one fails it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use hashbrown::HashMap;

mod fjall_store;
mod measure;
mod pattern;
mod redb_store;
mod sqlite_store;

use measure::Figures;
use pattern::{Cell, Epoch, Pattern};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A store, as one reader and one writer use it, each on its own thread.
trait Store: Sync {
    /// A reader that sees all that is committed when it is made, at least.
    fn reader(&self) -> Result<Box<dyn Reader + '_>>;
    /// A writer; there is only one at a time.
    fn writer(&self) -> Result<Box<dyn Writer + '_>>;
    /// Number of recalls that stand in the store.
    fn recalls(&self) -> Result<u64>;
}

/// What the dataflow asks of a store before an epoch is computed.
trait Reader {
    /// Number of committed versions of a cell, all of them read.
    fn versions(&mut self, cell: &[u8]) -> Result<u32>;
}

/// What an epoch asks of a store when its effects are known.
trait Writer {
    /// The score that stands under a key, 0 without one.
    fn score(&mut self, key: &[u8]) -> Result<u64>;
    /// Applies all of the batch or nothing; durable when it returns.
    fn commit(&mut self, batch: &Batch) -> Result<()>;
}

/// One durable transaction.
#[derive(Default)]
struct Batch {
    recalls: Vec<Recall>,
    scores: Vec<(Vec<u8>, u64)>,
    ledger: Vec<u8>,
}

/// One more version of a cell.
struct Recall {
    cell: Vec<u8>,
    version: u32,
    list: [u8; pattern::LIST],
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Fjall,
    FjallUntuned,
    Redb,
    Sqlite,
}

/// Compares embedded stores: a process a store, a line of the table each.
#[derive(Parser)]
struct Arguments {
    /// Durable transactions to make.
    #[arg(long, default_value_t = 200)]
    epochs: u64,
    /// Users among whom the recalls are spread.
    #[arg(long, default_value_t = 1_000_000)]
    users: u64,
    /// Only this store, in this process.
    #[arg(long)]
    store: Option<Kind>,
    /// Folder for the stores; it should lie on the disk to be judged.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(kind) = arguments.store {
        let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = tempfile::tempdir_in(parent)?;
        let name = kind.to_possible_value().context("a kind has a name")?;
        println!("| {} | {} |", name.get_name(), run(kind, &arguments, dir.path())?);
        return Ok(());
    }
    println!("{}", Figures::HEADER);
    for kind in Kind::value_variants() {
        let name = kind.to_possible_value().context("a kind has a name")?;
        let status = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .args(["--store", name.get_name()])
            .status()?;
        ensure!(status.success(), "the run of {} failed: {status}", name.get_name());
    }
    Ok(())
}

fn run(kind: Kind, arguments: &Arguments, dir: &Path) -> Result<Figures> {
    let begin = Instant::now();
    let store: Box<dyn Store> = match kind {
        Kind::Fjall => Box::new(fjall_store::Fjall::tuned(dir)?),
        Kind::FjallUntuned => Box::new(fjall_store::Fjall::untuned(dir)?),
        Kind::Redb => Box::new(redb_store::Redb::open(dir)?),
        Kind::Sqlite => Box::new(sqlite_store::Sqlite::open(dir)?),
    };
    let mut figures = Figures { epochs: arguments.epochs, ..Figures::default() };
    let pattern = Pattern::new(arguments.users);
    let (sender, receiver) = mpsc::sync_channel::<(Epoch, Vec<u32>)>(1);
    let (gets, puts) = std::thread::scope(|scope| -> Result<_> {
        let reading = {
            let (store, pattern, epochs) = (&store, &pattern, arguments.epochs);
            scope.spawn(move || read(store.as_ref(), pattern, epochs, &sender))
        };
        let puts = write(store.as_ref(), &receiver);
        drop(receiver);
        let gets = reading.join().expect("the reader does not panic");
        Ok((gets?, puts?))
    })?;
    figures.wall = begin.elapsed();
    figures.gets = gets;
    figures.puts = puts;
    let written = figures.puts.recalls;
    figures.finish(dir)?;
    let standing = store.recalls()?;
    ensure!(standing == written, "{standing} recalls stand, {written} were written");
    drop(store);
    Ok(figures)
}

/// Loads the versions of each epoch's cells, one or two epochs ahead of the writer.
fn read(
    store: &dyn Store,
    pattern: &Pattern,
    epochs: u64,
    sender: &mpsc::SyncSender<(Epoch, Vec<u32>)>,
) -> Result<measure::Gets> {
    // What may not be committed yet when it is looked up: the program's own cache knows it.
    let mut recent: VecDeque<HashMap<Cell, u32>> = VecDeque::new();
    let mut gets = measure::Gets::default();
    for number in 0..epochs {
        let epoch = pattern.epoch(number);
        let mut reader = store.reader()?;
        let mut written = HashMap::new();
        let mut next = Vec::with_capacity(epoch.cells.len());
        for cell in &epoch.cells {
            let begin = Instant::now();
            let found = reader.versions(&cell.key())?;
            gets.count(found, begin.elapsed());
            let version =
                recent.iter().find_map(|cells| cells.get(cell)).map_or(found, |n| found.max(*n));
            written.insert(*cell, version + 1);
            next.push(version);
        }
        recent.push_front(written);
        recent.truncate(4);
        if sender.send((epoch, next)).is_err() {
            break;
        }
    }
    Ok(gets)
}

/// Writes an epoch after the other, each durably.
fn write(store: &dyn Store, receiver: &mpsc::Receiver<(Epoch, Vec<u32>)>) -> Result<measure::Puts> {
    let mut writer = store.writer()?;
    let mut puts = measure::Puts::default();
    // Direct mapped: the old values of the keys that were last here.
    let mut known = vec![(u32::MAX, 0u64); 1 << 16];
    for (epoch, versions) in receiver {
        let begin = Instant::now();
        let mut batch = Batch { ledger: epoch.ledger(), ..Batch::default() };
        for (cell, version) in epoch.cells.iter().zip(versions) {
            batch.recalls.push(Recall { cell: cell.key(), version, list: epoch.list(*cell) });
        }
        for score in &epoch.scores {
            let slot = &mut known[score.slot()];
            if slot.0 != score.id() {
                *slot = (score.id(), writer.score(&score.key())?);
            }
            slot.1 += 1;
            batch.scores.push((score.key(), slot.1));
        }
        puts.stage += begin.elapsed();
        let begin = Instant::now();
        writer.commit(&batch)?;
        puts.commit += begin.elapsed();
        puts.longest = puts.longest.max(begin.elapsed());
        puts.recalls += batch.recalls.len() as u64;
    }
    Ok(puts)
}
