//! What was recalled already: the histories of the cells that were touched lately, in bounded memory.
//!
//! ```text
//!            touch: unknown               answer                   recall
//!  (nothing) ──────────────▶ asked for ──────────▶ known ◀─────────────────┐
//!      ▲                                             │ └──▶ extended by e ─┘
//!      └──────── dropped: not pinned by an ──────────┘
//!                open epoch, and e is durable
//! ```
//!
//! A cell is never dropped before its last version is durable outside: whoever asks for it again
//! must find there all that was known here.

use hashbrown::{HashSet, HashTable};
use rustc_hash::FxBuildHasher;

use crate::route::{mix, route};
use crate::{Article, Cell, Channel, Epoch, History, Recall, User};

/// Up to this length a history is searched one by one: it fits a few cache lines.
const SEARCHED: usize = 48;

/// What a cell takes beside its articles: an entry, and its slot in the table.
const ENTRY_BYTES: usize = size_of::<Entry>() + 8;

/// Where a cell stands among the [`Histories`]; valid while an open epoch pins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// The histories of some cells.
pub(crate) struct Histories {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// What all entries take together, in bytes.
    bytes: usize,
    /// How much they may take before some are dropped.
    capacity: usize,
    /// The next entry that may be dropped: the hand of a clock.
    hand: usize,
}

struct Entry {
    cell: Cell,
    state: State,
    /// Used since the clock's hand last passed: not dropped this time round.
    used: bool,
    versions: u32,
    /// How many open epochs hold its slot.
    pins: u32,
    /// The last epoch that looked what it can add here, and how many articles stood before.
    extended: Epoch,
    before: usize,
    /// The last epoch that added a version.
    changed: Epoch,
    articles: Vec<Article>,
    /// All articles again, to be found at once, where there are many.
    index: Option<Box<HashSet<Article, FxBuildHasher>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Asked,
    Known,
}

impl Histories {
    /// Makes room for histories of `capacity` bytes; more only while open epochs pin them.
    pub(crate) fn new(capacity: usize) -> Histories {
        Histories {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            capacity,
            hand: 0,
        }
    }

    /// Finds or makes the entry of a cell, and pins it. Says whether it is new: then it must be
    /// asked for.
    pub(crate) fn touch(&mut self, cell: &Cell) -> (Slot, bool) {
        let hash = spot(cell);
        let found = self.table.find(hash, |&slot| self.entries[slot as usize].cell == *cell);
        let (slot, new) = match found {
            Some(&slot) => (slot, false),
            None => {
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.entries.push(Entry::free());
                    u32::try_from(self.entries.len() - 1).expect("memory ends before slots do")
                });
                self.entries[slot as usize] = Entry { cell: cell.clone(), state: State::Asked, ..Entry::free() };
                self.bytes += ENTRY_BYTES + self.entries[slot as usize].heap_bytes();
                let entries = &self.entries;
                self.table
                    .insert_unique(hash, slot, |&slot| spot(&entries[slot as usize].cell));
                (slot, true)
            }
        };
        let entry = &mut self.entries[slot as usize];
        entry.pins += 1;
        entry.used = true;
        (Slot(slot), new)
    }

    /// Takes the answer to a question.
    ///
    /// # Panics
    ///
    /// If nobody asked.
    pub(crate) fn answer(&mut self, history: History) {
        let History { cell, articles, versions } = history;
        let slot = self.table.find(spot(&cell), |&slot| self.entries[slot as usize].cell == cell);
        let entry = slot.map(|&slot| &mut self.entries[slot as usize]);
        let entry = entry.filter(|entry| entry.state == State::Asked);
        let entry = entry.expect("an answer comes once, for a cell that was asked for");
        self.bytes -= entry.heap_bytes();
        entry.state = State::Known;
        entry.versions = versions;
        entry.articles = articles;
        entry.index_if_long();
        self.bytes += entry.heap_bytes();
    }

    /// Whether the cell's history is known.
    pub(crate) fn is_known(&self, slot: Slot) -> bool {
        self.entries[slot.0 as usize].state == State::Known
    }

    /// Adds to the history those of `articles` that do not stand in it, as part of what `epoch`
    /// recalls. Says whether it is the first part.
    pub(crate) fn extend(&mut self, slot: Slot, epoch: Epoch, articles: &[Article]) -> bool {
        let entry = &mut self.entries[slot.0 as usize];
        let first = entry.extended != epoch;
        if first {
            entry.extended = epoch;
            entry.before = entry.articles.len();
        }
        let bytes_before = entry.heap_bytes();
        for article in articles {
            let stands = match &entry.index {
                Some(index) => index.contains(article),
                None => entry.articles.contains(article),
            };
            if !stands {
                if entry.articles.len() == entry.articles.capacity() {
                    entry.articles.reserve_exact(articles.len().max(entry.articles.len() / 4));
                }
                entry.articles.push(*article);
                if let Some(index) = &mut entry.index {
                    index.insert(*article);
                }
            }
        }
        entry.index_if_long();
        self.bytes += entry.heap_bytes() - bytes_before;
        first
    }

    /// Takes what the last epoch has added to the history as a version of its own; `None` if that is
    /// nothing.
    pub(crate) fn version(&mut self, slot: Slot) -> Option<Recall> {
        let entry = &mut self.entries[slot.0 as usize];
        let articles = entry.articles[entry.before..].to_vec();
        if articles.is_empty() {
            return None;
        }
        let version = entry.versions;
        entry.versions += 1;
        entry.changed = entry.extended;
        Some(Recall { cell: entry.cell.clone(), articles, version })
    }

    /// Lets go of a slot: the open epoch that pinned it is closed.
    pub(crate) fn unpin(&mut self, slot: Slot) {
        self.entries[slot.0 as usize].pins -= 1;
    }

    /// Drops cells until the histories fit their room, as far as they may be dropped: not those that
    /// are pinned, nor those that an epoch changed which is not yet `durable`.
    pub(crate) fn shrink(&mut self, durable: impl Fn(Epoch) -> bool) {
        // The second time round even a cell that was in use goes; then only held ones are left.
        let mut looks = 2 * self.entries.len();
        while self.bytes > self.capacity && looks > 0 {
            looks -= 1;
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &mut self.entries[self.hand];
            let held = entry.state != State::Known || entry.pins > 0 || !durable(entry.changed);
            if held || std::mem::take(&mut entry.used) {
                continue;
            }
            let entry = std::mem::replace(entry, Entry::free());
            self.bytes -= ENTRY_BYTES + entry.heap_bytes();
            let hand = self.hand as u32;
            match self.table.find_entry(spot(&entry.cell), |&slot| slot == hand) {
                Ok(found) => drop(found.remove()),
                Err(_) => unreachable!("an entry that is not free stands in the table"),
            }
            self.free.push(hand);
        }
    }
}

impl Entry {
    fn free() -> Entry {
        Entry {
            cell: Cell { user: User::from_decimal(0), channel: Channel(0) },
            state: State::Free,
            used: false,
            versions: 0,
            pins: 0,
            extended: Epoch(0),
            before: 0,
            changed: Epoch(0),
            articles: Vec::new(),
            index: None,
        }
    }

    fn index_if_long(&mut self) {
        if self.index.is_none() && self.articles.len() > SEARCHED {
            self.index = Some(Box::new(self.articles.iter().copied().collect()));
        }
    }

    fn heap_bytes(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |index| index.allocation_size());
        self.articles.capacity() * size_of::<Article>() + index + self.cell.user.heap_bytes()
    }
}

/// Where a cell is looked for. All cells of a worker share what [`route`] leaves when it is divided
/// by the number of workers, so its bits are mixed once more.
fn spot(cell: &Cell) -> u64 {
    mix(route(cell).rotate_left(32))
}
