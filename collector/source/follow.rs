//! Follows files that grow, are renamed, copied, cut and deleted, and loses and doubles no line of them.
//!
//! A file is known by its device and inode, and by its [print](mod@print): what stands in it at its beginning
//! and just before the position. Before each read the bytes before the position are read again and compared,
//! so that a file which was cut and has grown again, or another one on the same inode, is noticed whatever
//! its length.
//!
//! | what happens | what is done |
//! | --- | --- |
//! | the file is renamed, a new one begins | the old one is read to its end, wherever it lies in the folder, then the new one from its start |
//! | that, while nobody looked | likewise: it is found by inode and print; what came and was renamed in between is read too, by its name |
//! | it is copied and cut | what was not read yet is read from the copy, then the file from its start; the copy is not read otherwise |
//! | it is cut | it is read from its start; what was not read is gone, which is logged |
//! | its inode is used again | the print does not fit: it is a new file |
//! | it is deleted | it is read to its end while it is open, then closed |
//!
//! **Positions.** [`Follower::note`] is called when the channels have the lines; the position is then written
//! in place, and synced if the channels outlive the machine. Channels that do keep the last [batch](mod@batch)
//! with its events: one that has it and was not noted is read again as it was, and put only where it is not.
//! So nothing is lost or doubled, as long as it stands in the file, in the file it was renamed to, or in its
//! copy in the same folder. Where channels are in memory, a crash between their commit and the note doubles
//! nothing that is not lost with them.
//!
//! **What cannot be told.** Lines that are written between a copy and the cut that follows are gone unless
//! they were read before. Two files that begin with the same bytes and whose names are those of a rotation
//! are taken for copies as long as they do not differ. What was packed before it was read is not read.
//!
//! The last line is held back until it ends; that of a file which was renamed or deleted is handed over when
//! nothing was written for a while.

pub mod batch;
pub mod folder;
pub mod positions;
pub mod print;
mod reconcile;
mod rotation;
pub mod start;
pub mod tracked;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use batch::Batch;
use bytes::Bytes;
use folder::{Entry, Id, Listing, Subject};
use positions::{Cell, Place, Positions};
use print::Print;
use start::Start;
pub use tracked::Lines;
use tracked::Tracked;

/// How many files are open at once, if all are read to their ends.
const MOST_OPEN: usize = 256;

/// How many files are remembered that are gone.
const MOST_GONE: usize = 64;

/// What is followed, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which files.
    pub subject: Subject,
    /// Where positions are kept.
    pub positions: PathBuf,
    /// Where reading begins in what is there at the very first start.
    pub start: Start,
    /// Likewise, in what is there at a later start and was never read.
    pub restart: Start,
    /// By inode: positions that another program has left.
    pub taken_over: BTreeMap<u64, u64>,
    /// Whether a folder that has not changed is not listed again.
    pub cached: bool,
    /// How long a file must be quiet that was renamed or deleted, until its last line is ended and it is
    /// closed.
    pub linger: Duration,
    /// Likewise for one that lies where it is written; none ends without it.
    pub idle: Option<Duration>,
    /// How often it is looked whether a copy is none.
    pub relist: Duration,
    /// The last batches that channels have, which may not have been noted.
    pub last_batches: Vec<Bytes>,
}

impl Settings {
    /// The usual ones.
    pub fn new(subject: Subject, positions: PathBuf) -> Settings {
        Settings {
            subject,
            positions,
            start: Start::Beginning,
            restart: Start::Beginning,
            taken_over: BTreeMap::new(),
            cached: true,
            linger: Duration::from_secs(10),
            idle: None,
            relist: Duration::from_secs(1),
            last_batches: Vec::new(),
        }
    }
}

/// Follows files.
#[derive(Debug)]
pub struct Follower {
    settings: Settings,
    listing: Listing,
    positions: Positions,
    files: Vec<Tracked>,
    /// Whether a file waits to be told from a copy, or to be readable.
    deferred: bool,
    /// Files that cannot be read, which was said.
    unreadable: BTreeSet<PathBuf>,
    listed: Instant,
    looked: Instant,
    /// Where it is noted what another program's positions are.
    mark: Option<Cell>,
    /// A batch that channels have, some at least, and that was not noted; and where it stands, once that is
    /// known.
    unnoted: Option<(Batch, Option<Cell>)>,
    block: Vec<u8>,
}

/// Why nothing can be followed for now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Positions cannot be kept.
    #[error(transparent)]
    Positions(#[from] positions::Error),
    /// A folder cannot be read.
    #[error("cannot look at the files of {subject}")]
    Look {
        /// What is followed.
        subject: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Follower {
    /// Begins where the positions stand; at the very first start, where the settings say.
    ///
    /// # Errors
    ///
    /// If the positions or the folders cannot be read.
    pub fn open(settings: Settings) -> Result<Follower, Error> {
        let mut listing = Listing::new(settings.subject.clone(), settings.cached);
        let subject = settings.subject.text();
        let look = |source| Error::Look { subject: subject.clone(), source };
        let entries = listing.list().map_err(look)?;
        let (positions, known, first) = match Positions::open(&settings.positions, &subject)? {
            Some((positions, known)) => (positions, known, false),
            None => {
                let mut places = Vec::new();
                for entry in &entries {
                    places.extend(first_place(&settings, &listing, entry)?);
                }
                let (positions, cells) = Positions::create(&settings.positions, &subject, &places)?;
                (positions, cells.into_iter().zip(places).collect(), true)
            }
        };
        let mut last = settings.last_batches.iter().filter_map(|batch| Batch::read(batch));
        let unnoted = last.find(|batch| batch.number == positions.next_batch());
        let mut follower = Follower {
            unnoted: unnoted.map(|batch| (batch, None)),
            listing,
            positions,
            files: Vec::new(),
            deferred: false,
            unreadable: BTreeSet::new(),
            listed: Instant::now(),
            looked: Instant::now(),
            mark: None,
            block: Vec::new(),
            settings,
        };
        for (cell, place) in known {
            if place.inode == 0 {
                follower.mark = Some(cell);
            } else {
                follower.files.push(Tracked::new(cell, place, None));
            }
        }
        follower.reconcile(entries, !first)?;
        follower.find_unnoted();
        if !first {
            follower.take_over()?;
        }
        Ok(follower)
    }

    /// Looks where the batch stands that was not noted.
    fn find_unnoted(&mut self) {
        let Some((batch, at)) = &mut self.unnoted else { return };
        let block = &mut self.block;
        // A file that cannot be read is read anew later.
        let mut holds = |file: &mut Tracked| matches!(file.read_again(batch, block), Ok(Some(_)));
        *at = self.files.iter_mut().find_map(|file| holds(file).then_some(file.cell));
    }

    /// Looks at the folders and files: what has come, gone, grown, moved or was cut.
    ///
    /// # Errors
    ///
    /// If that cannot be seen, or noted.
    pub fn look(&mut self) -> Result<(), Error> {
        self.looked = Instant::now();
        let again = self.deferred && self.listed.elapsed() >= self.settings.relist;
        if self.listing.has_changed() || again || !self.refresh()? {
            let entries = self.list()?;
            self.reconcile(entries, false)?;
            self.find_unnoted();
        }
        self.let_go()
    }

    fn list(&mut self) -> Result<Vec<Entry>, Error> {
        self.listed = Instant::now();
        let look = |source| Error::Look { subject: self.settings.subject.text(), source };
        self.listing.list().map_err(look)
    }

    /// Looks, if nobody has for a second: for whoever reads for long.
    ///
    /// # Errors
    ///
    /// If that cannot be seen, or noted.
    pub fn look_at_times(&mut self) -> Result<(), Error> {
        if self.looked.elapsed() < Duration::from_secs(1) { Ok(()) } else { self.look() }
    }

    /// Looks at the known files alone; says whether each is where it was, and at least as long.
    fn refresh(&mut self) -> Result<bool, Error> {
        for file in &mut self.files {
            let Some(path) = file.lies.clone() else {
                if file.look().is_err() {
                    return Ok(false);
                }
                continue;
            };
            let Ok(metadata) = std::fs::metadata(&path) else { return Ok(false) };
            let Ok(modified) = metadata.modified() else { return Ok(false) };
            let (id, size) = (Id::of(&metadata), metadata.len());
            let is_calm = size > file.size || (size == file.size && modified == file.modified);
            if id != file.id() || !is_calm || file.suspect {
                return Ok(false);
            }
            // Which group wants it has not changed.
            file.lies_at(&Entry { id, path, size, modified, wanted: None });
        }
        Ok(true)
    }

    /// The files that may have lines, in the order in which they are to be read: the older ones first.
    pub fn due(&self) -> Vec<Cell> {
        let due = self.files.iter().filter(|file| {
            file.may_have_lines() || file.has_rest() && !file.suspect && self.has_ended(file)
        });
        let unnoted = self.unnoted.as_ref().and_then(|(_, at)| *at);
        let is_new = |file: &Tracked| unnoted != Some(file.cell);
        let mut due: Vec<_> =
            due.map(|file| (is_new(file), file.is_home(), file.modified, file.cell)).collect();
        due.sort();
        due.into_iter().map(|(.., cell)| cell).collect()
    }

    /// Whether what has no end in this file gets none any more.
    fn has_ended(&self, file: &Tracked) -> bool {
        let quiet = file.quiet();
        (!file.is_home() && quiet >= self.settings.linger)
            || self.settings.idle.is_some_and(|idle| quiet >= idle)
    }

    /// The next lines of a file, so many at most; none where it has no whole one.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(&mut self, cell: Cell, most: usize) -> Result<Option<Lines>, Error> {
        let Some(at) = self.at(cell) else { return Ok(None) };
        let has_ended = self.has_ended(&self.files[at]);
        let (file, block) = (&mut self.files[at], &mut self.block);
        let again = match &self.unnoted {
            Some((batch, at)) if *at == Some(cell) => file.read_again(batch, block),
            _ => Ok(None),
        };
        let lines = again.and_then(|again| match again {
            Some(lines) => Ok(Some(lines)),
            None => {
                // If it stood here, it does no more.
                self.unnoted.take_if(|(_, at)| *at == Some(cell));
                file.read(most, has_ended, block)
            }
        });
        lines.map_err(|source| Error::Read { path: file.lies.clone().unwrap_or_default(), source })
    }

    /// By what these lines are known again, once channels have them and until that is noted.
    pub fn batch(&self, lines: &Lines) -> Bytes {
        let to = lines.place.position();
        let from = lines.offsets.first().copied().unwrap_or(to);
        let batch = Batch { number: self.positions.next_batch(), from, to, crc: lines.crc };
        let unnoted = self.unnoted.as_ref().filter(|(_, at)| *at == Some(lines.cell));
        unnoted.map_or(&batch, |(batch, _)| batch).bytes()
    }

    /// Notes that the channels have these lines.
    ///
    /// # Errors
    ///
    /// If it cannot be noted: they come again after a start.
    pub fn note(&mut self, lines: Lines, synced: bool) -> Result<(), Error> {
        let at = self.at(lines.cell).expect("what was read is followed");
        self.unnoted = None;
        // Whatever becomes of the note: they are in the channels.
        self.files[at].place = lines.place;
        Ok(self.positions.note_batch(lines.cell, &self.files[at].place, synced)?)
    }

    /// Every file with its position, under the name where it lies.
    pub fn places(&self) -> impl Iterator<Item = (&Path, &Place)> {
        self.files.iter().filter_map(|file| Some((&**file.lies.as_ref()?, &file.place)))
    }

    /// Whether this is what was noted of another program's positions when they were written here.
    ///
    /// # Errors
    ///
    /// If the positions cannot be read.
    pub fn has_marked(settings: &Settings, mark: u64) -> Result<bool, Error> {
        let positions = Positions::open(&settings.positions, &settings.subject.text())?;
        let mut places = positions.into_iter().flat_map(|(_, places)| places);
        Ok(places.any(|(_, place)| place.inode == 0 && place.name == mark))
    }

    /// Notes what another program's positions are, as they were written here.
    ///
    /// # Errors
    ///
    /// If it cannot be noted.
    pub fn mark(&mut self, mark: u64) -> Result<(), Error> {
        let place = Place { name: mark, ..Place::default() };
        match self.mark {
            Some(cell) => self.positions.note(cell, &place, false)?,
            None => self.mark = Some(self.positions.add(&place, false)?),
        }
        Ok(())
    }

    fn at(&self, cell: Cell) -> Option<usize> {
        self.files.iter().position(|file| file.cell == cell)
    }

    /// Goes on where another program, which has read on since, stands.
    fn take_over(&mut self) -> Result<(), Error> {
        for file in &mut self.files {
            let Some(&position) = self.settings.taken_over.get(&file.place.inode) else { continue };
            if position <= file.place.position() || position > file.size {
                continue;
            }
            let print = match file.file() {
                Ok(Some(open)) => Print::of(open, position),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match print {
                Ok(print) => {
                    file.place.print = print;
                    self.positions.note(file.cell, &file.place, true)?;
                }
                Err(error) => unreadable(file, &error),
            }
        }
        Ok(())
    }

    /// Closes what is not needed open, and forgets what is gone.
    fn let_go(&mut self) -> Result<(), Error> {
        let mut open = self.files.iter().filter(|file| file.is_open()).count();
        let (linger, idle) = (self.settings.linger, self.settings.idle);
        for file in &mut self.files {
            if !file.is_open() || file.may_have_lines() {
                continue;
            }
            let quiet = file.quiet();
            let rests = !file.has_rest() && !file.is_home() && quiet >= linger;
            if rests || idle.is_some_and(|idle| quiet >= idle) || open > MOST_OPEN {
                file.close();
                open -= 1;
            }
        }
        // A folder may be gone for a while, with all that is in it.
        let gone = |file: &Tracked| file.lies.is_none() && !file.is_open();
        let mut many = self.files.iter().filter(|file| gone(file)).count();
        while many > MOST_GONE {
            let places = (0..self.files.len()).filter(|at| gone(&self.files[*at]));
            let oldest = places.max_by_key(|at| self.files[*at].quiet());
            let file = self.files.remove(oldest.expect("there are many"));
            self.positions.forget(file.cell)?;
            many -= 1;
        }
        Ok(())
    }
}

/// Where reading begins in a file that is there at the very first start; None where it is not followed.
fn first_place(
    settings: &Settings,
    listing: &Listing,
    entry: &Entry,
) -> Result<Option<Place>, Error> {
    let start = match entry.wanted {
        Some(_) => settings.start,
        // What was rotated before is past.
        None if listing.wants_rotated(&entry.path) => Start::End,
        None => return Ok(None),
    };
    let print = || -> io::Result<Option<Print>> {
        let Some(file) = tracked::open(&entry.path, entry.id)? else { return Ok(None) };
        let taken_over = settings.taken_over.get(&entry.id.inode);
        let position = match taken_over.filter(|position| **position <= entry.size) {
            Some(position) => *position,
            None => start.position(&file, entry.size)?,
        };
        Print::of(&file, position).map(Some)
    };
    match print() {
        Ok(print) => Ok(print.map(|print| place(entry, &entry.path, print))),
        // One of many holds up no other: it begins at its start, when it can be read.
        Err(error) if entry.wanted.is_none() || matches!(settings.subject, Subject::Groups(_)) => {
            log::warn!("cannot read a file: path={} error={error}", entry.path.display());
            Ok(None)
        }
        // Where it cannot be read now, where to begin cannot be known later.
        Err(source) => Err(Error::Read { path: entry.path.clone(), source }),
    }
}

/// The place of a file that is followed under this name.
fn place(entry: &Entry, base: &Path, print: Print) -> Place {
    Place { device: entry.id.device, inode: entry.id.inode, name: number(base), print }
}

/// A path as a number: 64 bits of FNV-1a.
fn number(path: &Path) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn unreadable(file: &Tracked, error: &io::Error) {
    log::warn!("cannot read a file: path={:?} error={error}", file.lies);
}

#[cfg(test)]
mod tests;
