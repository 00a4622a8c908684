//! The load: which cells, scores and bytes an epoch has, computed from its number alone.

use hashbrown::HashSet;

const RECALLS: u64 = 3_000;
const SCORES: usize = 1_500;
const CHANNELS: u64 = 25;
const ARTICLES: f64 = 30_000.0;
/// Bytes of a recall: ten ids as varints, flags and a timestamp.
pub const LIST: usize = 45;

/// The whole load.
pub struct Pattern {
    users: u64,
}

/// What one epoch reads and writes.
pub struct Epoch {
    pub number: u64,
    pub cells: Vec<Cell>,
    pub scores: Vec<Score>,
}

/// The recalls of a user in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell {
    user: u32,
    channel: u32,
}

/// An article in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Score {
    channel: u32,
    article: u32,
}

/// SplitMix64: every number of the load is the hash of its place in it.
fn hash(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The key of one version of a cell.
pub fn row_key(cell: &[u8], version: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(cell.len() + 4);
    key.extend_from_slice(cell);
    key.extend_from_slice(&version.to_be_bytes());
    key
}

impl Pattern {
    /// The load of a site with so many users.
    pub fn new(users: u64) -> Self {
        Self { users }
    }

    /// Two recalls of five go to the cell of an earlier recall: so no memory of cells is needed.
    fn cell(&self, mut recall: u64) -> Cell {
        loop {
            let draw = hash(recall);
            if recall > 0 && draw % 100 < 40 {
                recall = hash(draw) % recall;
                continue;
            }
            let draw = hash(draw);
            let user = 1_000_000 + draw % self.users;
            let channel = hash(draw) % CHANNELS;
            return Cell { user: user as u32, channel: channel as u32 };
        }
    }

    /// Everything that one epoch reads and writes.
    pub fn epoch(&self, number: u64) -> Epoch {
        let mut seen = HashSet::new();
        let mut cells: Vec<_> =
            (number * RECALLS..(number + 1) * RECALLS).map(|recall| self.cell(recall)).collect();
        cells.retain(|cell| seen.insert(*cell));
        let mut scores = HashSet::new();
        let mut draw = hash(!number);
        while scores.len() < SCORES {
            draw = hash(draw);
            // The inverse of Zipf's distribution with exponent 1, as if ranks were continuous.
            let unit = (draw >> 11) as f64 / (1u64 << 53) as f64;
            let article = ARTICLES.powf(unit) as u32;
            draw = hash(draw);
            scores.insert(Score { channel: (draw % CHANNELS) as u32, article });
        }
        Epoch { number, cells, scores: scores.into_iter().collect() }
    }
}

impl Epoch {
    /// A list that does not compress better than a real one.
    pub fn list(&self, cell: Cell) -> [u8; LIST] {
        let mut list = [0; LIST];
        let mut draw = hash(self.number ^ (u64::from(cell.user) << 20) ^ u64::from(cell.channel));
        for bytes in list.chunks_mut(8) {
            draw = hash(draw);
            bytes.copy_from_slice(&draw.to_le_bytes()[..bytes.len()]);
        }
        list
    }

    /// The ledger's row, some 300 bytes.
    pub fn ledger(&self) -> Vec<u8> {
        (0..38).flat_map(|n| hash(self.number ^ (n << 32)).to_le_bytes()).collect()
    }
}

impl Cell {
    /// What the keys of all its versions begin with.
    pub fn key(self) -> Vec<u8> {
        format!("{}\t{}\t", self.user, self.channel).into_bytes()
    }
}

impl Score {
    /// A number for the key, as short as it can be.
    pub fn id(self) -> u32 {
        self.channel << 16 | self.article
    }

    /// Its only slot in a cache of 65,536.
    pub fn slot(self) -> usize {
        (hash(u64::from(self.id())) & 0xffff) as usize
    }

    /// The key of its row.
    pub fn key(self) -> Vec<u8> {
        format!("{}\t{}", self.channel, 100_000 + self.article).into_bytes()
    }
}
