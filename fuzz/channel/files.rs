//! The files of a channel, made of what the fuzzer says: as a channel writes them, and then as it never would.
//!
//! The first byte says which takes are committed, and whether something is put behind them; then step after step, each a byte with what belongs to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// How the formats begin.
const SEGMENT: &[u8; 8] = b"ORLOG002";
const TAKEN: &[u8; 8] = b"ORTAKEN2";
/// A channel draws one for each segment.
const TAG: &[u8; 8] = b"some tag";

/// No channel comes so far.
pub const LAST: u64 = 1 << 62;

/// The folders within those that a file of an agent names.
pub const DATA: &str = "data/online-recall/";
pub const CHECKPOINT: &str = "checkpoint/online-recall/";

/// Names that are none of a segment's, or may be.
const NAMES: [&str; 15] = [
    "identity",
    "identity.new",
    "lock",
    "taken",
    "taken.new",
    "5.log",
    "+5.log",
    "x.log",
    "new.log",
    "log-1",
    "00000000000000000000.log",
    "00000000000000000005.log",
    "00000000000000000009.log",
    "18446744073709551615.log",
    "damaged-00000000000000000000-32",
];

#[derive(Debug, Default)]
pub struct Files {
    all: BTreeMap<String, Vec<u8>>,
    folders: Vec<String>,
    /// The segment that is written, and the number of its next event.
    segment: Option<String>,
    next: u64,
    commits: u8,
    is_unsound: bool,
}

impl Files {
    pub fn made_of(bytes: &[u8]) -> Files {
        let mut said = Said(bytes);
        let mut files = Files { commits: said.byte(), ..Files::default() };
        while !said.0.is_empty() {
            files.step(&mut said);
        }
        files
    }

    /// All of them, by their places in the folder of all.
    pub fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let folders = self.folders.iter().map(|name| (&**name, &[][..]));
        self.all.iter().map(|(name, bytes)| (&**name, &**bytes)).chain(folders)
    }

    /// Whether a channel could have left them so.
    pub fn is_sound(&self) -> bool {
        !self.is_unsound
    }

    /// Whether the nth take is committed.
    pub fn commits(&self, nth: usize) -> bool {
        self.commits & (1 << (nth % 7)) != 0
    }

    /// Whether something is put afterwards: that takes most of the time.
    pub fn puts(&self) -> bool {
        self.commits & 0x80 != 0
    }

    /// Writes them, in place of those that are there.
    pub fn write(&self, folder: &Path) {
        if folder.exists() {
            fs::remove_dir_all(folder).expect("it is ours");
        }
        for ours in [DATA, CHECKPOINT] {
            fs::create_dir_all(folder.join(ours)).expect("there is room");
        }
        for (name, bytes) in &self.all {
            fs::write(folder.join(name), bytes).expect("there is room");
        }
        for name in &self.folders {
            fs::create_dir(folder.join(name)).expect("there is room");
        }
    }

    fn step(&mut self, said: &mut Said<'_>) {
        match said.byte() % 13 {
            0..2 => {
                let origins = origins(said.byte());
                let events = (0..=said.byte() % 3).map(|_| event(said)).collect::<Vec<_>>();
                let frame =
                    frame(&[origins, events.concat()].concat(), events.len() as u32, self.next);
                self.append(&frame);
                self.next = self.next.wrapping_add(events.len() as u64);
            }
            2 => self.begin(said.byte()),
            3 => {
                let (from, many) = (said.number(), u64::from(said.byte() % 8));
                let record = record(from, from.saturating_add(many));
                self.is_unsound |= from.saturating_add(many) > LAST;
                self.taken(0).extend(record);
            }
            4 => {
                let mark = said.number();
                let is_new = !self.all.contains_key(&format!("{CHECKPOINT}taken"));
                self.is_unsound |= mark > LAST || mark > self.next && self.segment.is_some();
                if is_new {
                    self.taken(mark);
                }
            }
            5 => {
                // Room that nothing was written to yet; what follows is in another segment.
                let many = usize::from(said.byte()) * 16;
                self.append(&vec![0; many]);
                self.segment = None;
            }
            6 => {
                let bytes = said.bytes();
                self.unsound().append(bytes);
            }
            7 => {
                let bytes = said.bytes();
                self.unsound().taken(0).extend(bytes);
            }
            8 => {
                let (which, at, with) = (said.byte(), said.short(), said.byte());
                if let Some(bytes) = self.unsound().some(which)
                    && !bytes.is_empty()
                {
                    let at = at % bytes.len();
                    bytes[at] ^= with;
                }
            }
            9 => {
                let (which, at) = (said.byte(), said.short());
                if let Some(bytes) = self.unsound().some(which) {
                    bytes.truncate(at % (bytes.len() + 1));
                }
            }
            10 => {
                // Its checksum holds, and what it says does not.
                let (count, first) = (u32::from(said.byte()), said.number());
                let frame = frame(said.bytes(), count, first);
                self.unsound().append(&frame);
            }
            11 => {
                let name = self.unsound().name(said.byte());
                if !self.folders.contains(&name) {
                    self.all.insert(name, said.bytes().to_vec());
                }
            }
            _ => {
                let name = self.unsound().name(said.byte());
                if !self.all.contains_key(&name) && !self.folders.contains(&name) {
                    self.folders.push(name);
                }
            }
        }
    }

    fn unsound(&mut self) -> &mut Files {
        self.is_unsound = true;
        self
    }

    fn name(&self, said: u8) -> String {
        let folder = if said & 0x80 == 0 { DATA } else { CHECKPOINT };
        format!("{folder}{}", NAMES[usize::from(said & 0x7f) % NAMES.len()])
    }

    /// Begins a segment, so many numbers on.
    fn begin(&mut self, gap: u8) {
        let gap = match gap {
            0..200 => u64::from(gap % 4),
            200..255 => 1 << (gap - 192),
            255 => (LAST - 3).saturating_sub(self.next),
        };
        self.is_unsound |= gap > 0;
        self.next = self.next.wrapping_add(gap);
        self.segment = None;
        let origins = frame(&origins(gap as u8), 0, self.next);
        self.append(&origins);
    }

    fn append(&mut self, bytes: &[u8]) {
        let next = self.next;
        let name = self.segment.get_or_insert_with(|| format!("{DATA}{next:020}.log"));
        let head = || [&SEGMENT[..], &next.to_le_bytes(), TAG, &[0; 8]].concat();
        if self.folders.contains(name) {
            return;
        }
        self.all.entry(name.clone()).or_insert_with(head).extend(bytes);
    }

    fn taken(&mut self, mark: u64) -> &mut Vec<u8> {
        let name = format!("{CHECKPOINT}taken");
        self.folders.retain(|folder| *folder != name);
        self.all.entry(name).or_insert_with(|| [&TAKEN[..], &record(0, mark)].concat())
    }

    fn some(&mut self, which: u8) -> Option<&mut Vec<u8>> {
        let many = self.all.len();
        self.all.values_mut().nth(usize::from(which) % many.max(1))
    }
}

/// Of which source the batch is, if that is said.
fn origins(said: u8) -> Vec<u8> {
    if said & 1 == 0 { vec![0] } else { vec![2, 2, b's', 2, said] }
}

/// Some headers, and a body.
fn event(said: &mut Said<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let headers = said.byte() % 3;
    bytes.push(headers * 2);
    for nth in 0..headers {
        bytes.extend([4, b'h', b'0' + nth, 2, b'a' + said.byte() % 4]);
    }
    let body = said.bytes();
    let body = &body[..body.len().min(63)];
    bytes.push(body.len() as u8 * 2);
    bytes.extend(body);
    bytes
}

fn frame(events: &[u8], count: u32, first: u64) -> Vec<u8> {
    let sizes =
        [&(events.len() as u64).to_le_bytes()[..], &count.to_le_bytes(), &first.to_le_bytes()];
    let rest = [&sizes.concat()[..], events].concat();
    let crc = crc32fast::hash(&[&TAG[..], &rest].concat());
    [&TAG[..], &crc.to_le_bytes(), &rest].concat()
}

fn record(from: u64, to: u64) -> Vec<u8> {
    let both = [from.to_le_bytes(), to.to_le_bytes()].concat();
    let crc = crc32fast::hash(&both).to_le_bytes();
    [&both[..], &crc].concat()
}

/// What the fuzzer says; zeros behind its end.
struct Said<'a>(&'a [u8]);

impl<'a> Said<'a> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn short(&mut self) -> usize {
        usize::from(self.byte()) | usize::from(self.byte()) << 8
    }

    /// A number: mostly a small one, or one near the greatest.
    fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..240 => small.into(),
            250.. => u64::MAX - u64::from(self.byte() % 4),
            high => 1 << (4 * (high - 239)),
        }
    }

    /// Some bytes, behind how many they are.
    fn bytes(&mut self) -> &'a [u8] {
        let many = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(many);
        self.0 = rest;
        bytes
    }
}
