//! What was recalled already: the histories of the cells that were touched lately, in bounded memory.
//!
//! ```text
//!            touch: unknown               answer               extend
//!  (nothing) ──────────────▶ asked for ──────────▶ known ◀───────────┐
//!      ▲                                             │ └─────────────┘
//!      └────────── dropped, once the last ───────────┘
//!                 epoch that touched it is durable
//! ```
//!
//! A cell that was answered long ago is asked for again, since others may write into it. What is known
//! stays until then, and what is added meanwhile stays after.
//!
//! A cell is never dropped while an epoch that touches it is open, nor before what that epoch adds is
//! durable outside: whoever asks for it again must find there all that was known here.
//!
//! Nearly all time here is spent waiting for memory. So an entry is one cache line, and the table
//! beside the entries knows enough of a cell to tell it from others, and to grow, without reading them.
//! A long history is sorted, but for what the epoch that recalls just now has added: it takes no more
//! room than its articles, where an index beside it would take twice as much again.

use std::cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::rc::Rc;

use hashbrown::{HashMap, HashSet, HashTable};
use rustc_hash::FxBuildHasher;

use crate::articles::Articles;
use crate::route::{mix, route};
use crate::{Article, Cell, Channel, Epoch, History, Neighbours, Recall, Ticket, User};

/// Up to this length articles are searched one by one: they fit a few cache lines.
const SEARCHED: usize = 48;

/// What a cell takes beside its articles: an entry, and its spot in a table that is half full.
const ENTRY_BYTES: usize = size_of::<Entry>() + 2 * size_of::<Spot>();

/// Entries are allocated so many at a time, and never moved.
const CHUNK: usize = 4096;

/// A history is too old when so many generations have begun since the one it was answered in.
pub const GENERATIONS: u16 = 8;

/// What the histories in memory have been good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cached {
    /// The cells that are held.
    pub cells: u64,
    /// How many candidates found their cell known, or asked for already.
    pub hits: u64,
    /// How many had to ask.
    pub misses: u64,
}

/// Where a cell stands among the [`Histories`]; valid while an open epoch touches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(u32);

/// The histories of some cells.
pub(crate) struct Histories {
    table: HashTable<Spot>,
    chunks: Vec<Vec<Entry>>,
    free: Vec<Slot>,
    /// What the epoch that recalls has added, again, where it is too much to be searched one by one.
    added: HashMap<Slot, HashSet<Article, FxBuildHasher>, FxBuildHasher>,
    /// What epochs that are run again have left.
    receipts: BTreeMap<(Slot, Epoch), Vec<Article>>,
    /// The generation that now begins to be answered in.
    generation: Rc<cell::Cell<u16>>,
    /// What was told of all this.
    cached: Rc<cell::Cell<Cached>>,
    /// What all cells take together, in bytes.
    bytes: usize,
    /// How much they may take before some are dropped.
    capacity: usize,
    /// The next entry that may be dropped: the hand of a clock.
    hand: u32,
}

/// A cell in the table: half of its hash, and where its entry is.
#[derive(Clone, Copy)]
struct Spot {
    hash: u32,
    slot: Slot,
}

/// Where a cell may stand.
#[derive(Clone, Copy)]
pub(crate) struct Glance {
    hash: u32,
    slot: Option<Slot>,
}

struct Entry {
    user: User,
    articles: Articles,
    /// The last epoch that touched the cell.
    touched: Epoch,
    channel: Channel,
    versions: u32,
    /// How many articles stood before the epoch that recalls; [`IDLE`] while none does.
    before: u32,
    /// The generation that it was last asked for in.
    generation: u16,
    state: State,
    /// Used since the clock's hand last passed: not dropped this time round.
    used: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Asked,
    Known,
}

/// How an entry was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touched {
    /// It is new, or too old: it must be asked for.
    New,
    /// It was asked for, and is not answered yet.
    Asked,
    /// Its history is known.
    Known,
}

/// No epoch is recalling into the cell.
const IDLE: u32 = u32::MAX;

impl Histories {
    /// Makes room for histories of `capacity` bytes; more only while epochs that are not durable hold
    /// them.
    pub(crate) fn new(
        capacity: usize,
        generation: Rc<cell::Cell<u16>>,
        cached: Rc<cell::Cell<Cached>>,
    ) -> Histories {
        Histories {
            table: HashTable::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            added: HashMap::default(),
            receipts: BTreeMap::new(),
            generation,
            cached,
            bytes: 0,
            capacity,
            hand: 0,
        }
    }

    /// Looks where each of some cells may stand: what [`Histories::touch`] wants to know beforehand.
    ///
    /// Nothing hangs on the answer but time. Asked for many cells in a row, the processor waits for all
    /// of their memory at once, and not for one after another.
    pub(crate) fn glance<'a>(
        &self,
        cells: impl Iterator<Item = &'a Cell> + Clone,
        glances: &mut Vec<Glance>,
    ) {
        glances.extend(cells.clone().map(|cell| {
            let hash = hash(cell);
            let spot = self.table.find(spread(hash), |spot| spot.hash == hash);
            Glance { hash, slot: spot.map(|spot| spot.slot) }
        }));
        for (glance, cell) in glances.iter_mut().zip(cells) {
            glance.slot = glance.slot.filter(|slot| at(&self.chunks, *slot).is_of(cell));
        }
    }

    /// Brings what some cells hold near, for the same reason.
    pub(crate) fn expect(&self, slots: &[Slot]) {
        for slot in slots {
            black_box(at(&self.chunks, *slot).articles.first());
        }
    }

    /// Finds or makes the entry of a cell, on behalf of an epoch.
    pub(crate) fn touch(&mut self, cell: &Cell, glance: Glance, epoch: Epoch) -> (Slot, Touched) {
        let Glance { hash, slot } = glance;
        let found = slot.or_else(|| {
            let is_it = |spot: &Spot| spot.hash == hash && at(&self.chunks, spot.slot).is_of(cell);
            self.table.find(spread(hash), is_it).map(|spot| spot.slot)
        });
        let now = self.generation.get();
        if let Some(slot) = found {
            let entry = self.entry(slot);
            entry.touched = epoch;
            entry.used = true;
            if entry.state == State::Asked {
                return (slot, Touched::Asked);
            }
            if now.wrapping_sub(entry.generation) < GENERATIONS {
                return (slot, Touched::Known);
            }
            entry.state = State::Asked;
            entry.generation = now;
            return (slot, Touched::New);
        }
        let entry = Entry {
            user: cell.user.clone(),
            articles: Articles::none(),
            touched: epoch,
            channel: cell.channel,
            versions: 0,
            before: IDLE,
            generation: now,
            state: State::Asked,
            used: true,
        };
        self.bytes += entry.bytes();
        let slot = self.put(entry);
        self.table.insert_unique(spread(hash), Spot { hash, slot }, |spot| spread(spot.hash));
        (slot, Touched::New)
    }

    /// Takes the answer to a question.
    ///
    /// # Panics
    ///
    /// If nobody asked.
    pub(crate) fn answer(&mut self, history: History) {
        let History { ticket: Ticket(slot), articles, versions, receipts } = history;
        let slot = Slot(slot);
        for (epoch, list) in receipts {
            self.receipts.insert((slot, epoch), list);
        }
        let entry = self.entry(slot);
        assert!(entry.state == State::Asked, "a question is answered once");
        let before = entry.bytes();
        entry.state = State::Known;
        // Asked for again, it may lack what epochs that are not durable have added.
        entry.versions = entry.versions.max(versions);
        entry.articles.unite(articles);
        entry.articles.sort_if_longer(SEARCHED);
        let after = entry.bytes();
        self.bytes += after;
        self.bytes -= before;
    }

    /// Counts the candidates of an epoch, of which so many had to ask.
    pub(crate) fn count(&self, candidates: usize, asked: usize) {
        let Cached { hits, misses, .. } = self.cached.get();
        self.cached.set(Cached {
            cells: self.table.len() as u64,
            hits: hits + (candidates - asked) as u64,
            misses: misses + asked as u64,
        });
    }

    /// Whether epochs that are run again have left anything that was not taken yet.
    pub(crate) fn have_receipts(&self) -> bool {
        !self.receipts.is_empty()
    }

    /// Takes what an earlier run of the epoch has recalled into the cell; it is a part of the history.
    pub(crate) fn take_receipt(&mut self, slot: Slot, epoch: Epoch) -> Option<Recall> {
        let articles = self.receipts.remove(&(slot, epoch))?;
        let Entry { user, channel, .. } = at(&self.chunks, slot);
        let cell = Cell { user: user.clone(), channel: *channel };
        Some(Recall { cell, articles, version: 0, stands: true })
    }

    /// Forgets what an earlier run has recalled in epochs up to this one: none of them will recall again.
    pub(crate) fn forget_receipts(&mut self, last: Epoch) {
        self.receipts.retain(|(_, epoch), _| *epoch > last);
    }

    /// Whether the cell's history is known.
    pub(crate) fn is_known(&self, slot: Slot) -> bool {
        at(&self.chunks, slot).state == State::Known
    }

    /// Adds to the history those neighbours that do not stand in it. Says whether it is the first time
    /// since the last [`Histories::version`].
    pub(crate) fn extend(&mut self, slot: Slot, neighbours: Neighbours) -> bool {
        let entry = &mut self.chunks[slot.0 as usize / CHUNK][slot.0 as usize % CHUNK];
        let first = entry.before == IDLE;
        if first {
            entry.before = entry.articles.len() as u32;
        }
        let bytes_before = entry.bytes();
        if entry.articles.is_empty() {
            // A row names no neighbour twice.
            entry.articles = Articles::Row(neighbours);
            self.bytes += entry.bytes() - bytes_before;
            return first;
        }
        let before = entry.before as usize;
        let mut index = match &entry.articles[before..] {
            added if added.len() > SEARCHED => {
                let index = self.added.entry(slot);
                Some(index.or_insert_with(|| added.iter().copied().collect()))
            }
            _ => None,
        };
        for article in &*neighbours {
            let (known, added) = entry.articles.split_at(before);
            let stands = match known.len() > SEARCHED {
                true => known.binary_search(article).is_ok(),
                false => known.contains(article),
            } || match &mut index {
                Some(index) => !index.insert(*article),
                None => added.contains(article),
            };
            if !stands {
                entry.articles.push(*article, neighbours.len());
            }
        }
        self.bytes += entry.bytes() - bytes_before;
        first
    }

    /// Takes what has been added to the history since the last version as one more; `None` if that is
    /// nothing.
    pub(crate) fn version(&mut self, slot: Slot) -> Option<Recall> {
        let entry = self.entry(slot);
        let before = std::mem::replace(&mut entry.before, IDLE);
        let articles = entry.articles[before as usize..].to_vec();
        if articles.is_empty() {
            return None;
        }
        let version = entry.versions;
        entry.versions += 1;
        let cell = Cell { user: entry.user.clone(), channel: entry.channel };
        if entry.articles.len() > SEARCHED {
            let bytes_before = entry.bytes();
            entry.articles.sort_if_longer(SEARCHED);
            let bytes = entry.bytes();
            self.bytes += bytes;
            self.bytes -= bytes_before;
            self.added.remove(&slot);
        }
        Some(Recall { cell, articles, version, stands: false })
    }

    /// Drops cells until the histories fit their room, as far as they may be dropped: those that were
    /// last touched by a `durable` epoch.
    pub(crate) fn shrink(&mut self, durable: impl Fn(Epoch) -> bool) {
        let entries = self.chunks.iter().map(Vec::len).sum::<usize>() as u32;
        // The second time round even a cell that was in use goes; then only held ones are left.
        let mut looks = 2 * entries;
        while self.bytes > self.capacity && looks > 0 {
            looks -= 1;
            self.hand = (self.hand + 1) % entries;
            let slot = Slot(self.hand);
            let entry = self.entry(slot);
            let held = entry.state != State::Known || !durable(entry.touched);
            if held || std::mem::take(&mut entry.used) {
                continue;
            }
            let entry = std::mem::replace(entry, Entry::free());
            self.bytes -= entry.bytes();
            // Left by an epoch that is durable now: nobody will ask.
            while let Some(((of, epoch), _)) = self.receipts.range((slot, Epoch(0))..).next()
                && *of == slot
            {
                let key = (slot, *epoch);
                self.receipts.remove(&key);
            }
            let hash = hash(&Cell { user: entry.user, channel: entry.channel });
            match self.table.find_entry(spread(hash), |spot| spot.slot == slot) {
                Ok(found) => drop(found.remove()),
                Err(_) => unreachable!("an entry that is not free stands in the table"),
            }
            self.free.push(slot);
        }
    }

    fn entry(&mut self, slot: Slot) -> &mut Entry {
        &mut self.chunks[slot.0 as usize / CHUNK][slot.0 as usize % CHUNK]
    }

    fn put(&mut self, entry: Entry) -> Slot {
        if let Some(slot) = self.free.pop() {
            *self.entry(slot) = entry;
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("a chunk was just made sure of");
        chunk.push(entry);
        Slot(u32::try_from(full + chunk.len() - 1).expect("memory ends before slots do"))
    }
}

impl Slot {
    /// What a question for the cell carries.
    pub(crate) fn ticket(self) -> Ticket {
        Ticket(self.0)
    }
}

impl Entry {
    fn free() -> Entry {
        Entry {
            user: User::from_decimal(0),
            articles: Articles::none(),
            touched: Epoch(0),
            channel: Channel(0),
            versions: 0,
            before: IDLE,
            generation: 0,
            state: State::Free,
            used: false,
        }
    }

    fn is_of(&self, cell: &Cell) -> bool {
        self.user == cell.user && self.channel == cell.channel
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.user.heap_bytes() + self.articles.heap_bytes()
    }
}

fn at(chunks: &[Vec<Entry>], slot: Slot) -> &Entry {
    &chunks[slot.0 as usize / CHUNK][slot.0 as usize % CHUNK]
}

/// What is kept of a cell's hash. All cells of a worker share what [`route`] leaves when it is divided
/// by the number of workers, so the other half is taken.
fn hash(cell: &Cell) -> u32 {
    (route(cell) >> 32) as u32
}

/// Makes the bits that the table looks at of what is kept.
fn spread(hash: u32) -> u64 {
    mix(u64::from(hash))
}
