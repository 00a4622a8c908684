//! A disk that fails, or dies, when a test says so. It knows the writes, renamings and removals that were not
//! synced, and can undo them: so a machine's power goes.
//!
//! All is of the thread that runs the test.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use testing::random::Random;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Making a file, or room for it.
    Create,
    /// Writing.
    Write,
    /// Syncing a file or folder.
    Sync,
    /// Renaming and removing.
    Name,
    /// Reading.
    Read,
}

/// What becomes of a write.
pub enum Written {
    /// It is done.
    Whole,
    /// So many bytes of it, and then this.
    Torn(usize, io::Error),
}

#[derive(Default)]
struct Faults {
    is_on: bool,
    undo: Vec<Undo>,
    /// So many steps, and the disk is dead.
    left: Option<usize>,
    fails: Option<(Step, Errno)>,
    torn: usize,
    read: usize,
}

enum Undo {
    Write { file: fs::File, at: u64, before: Vec<u8> },
    Rename { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
    Remove { path: PathBuf, content: Vec<u8> },
}

thread_local! {
    static FAULTS: RefCell<Faults> = RefCell::default();
}

fn with<T>(work: impl FnOnce(&mut Faults) -> T) -> T {
    FAULTS.with_borrow_mut(work)
}

/// Notes what is not synced, from now on; forgets what was before.
pub fn begin() {
    with(|faults| *faults = Faults { is_on: true, ..Faults::default() });
}

/// Lets the disk die after so many steps.
pub fn die_after(steps: usize, torn: usize) {
    with(|faults| (faults.left, faults.torn) = (Some(steps), torn));
}

/// Whether it is dead.
pub fn is_dead() -> bool {
    with(|faults| faults.left == Some(0))
}

/// Lets every such step fail, until it is told otherwise.
pub fn fail(what: Option<(Step, Errno)>) {
    with(|faults| faults.fails = what);
}

/// How many bytes were read since the beginning.
pub fn bytes_read() -> usize {
    with(|faults| faults.read)
}

/// The power goes: of what was not synced some is lost. The disk is alive again.
pub fn lose_power(random: &mut Random) {
    let undo = with(|faults| {
        faults.left = None;
        std::mem::take(&mut faults.undo)
    });
    // Names change in their order: all from some change on is lost.
    let names = undo.iter().filter(|undo| !matches!(undo, Undo::Write { .. })).count();
    let mut kept = names - random.below(names + 1);
    let mut lost = names - kept;
    for undo in undo.into_iter().rev() {
        match undo {
            Undo::Write { file, at, before } => {
                for (sector, bytes) in before.chunks(512).enumerate() {
                    if random.percent(50) {
                        file.write_all_at(bytes, at + sector as u64 * 512).unwrap();
                    }
                }
            }
            _ if lost == 0 => kept -= 1,
            Undo::Rename { from, to, replaced } => {
                lost -= 1;
                fs::rename(&to, from).unwrap();
                if let Some(replaced) = replaced {
                    fs::write(to, replaced).unwrap();
                }
            }
            Undo::Remove { path, content } => {
                lost -= 1;
                fs::write(path, content).unwrap();
            }
        }
    }
    assert_eq!((kept, lost), (0, 0));
}

/// The process dies, and the disk lives on: nothing is lost.
pub fn revive() {
    with(|faults| {
        faults.left = None;
        faults.undo.clear();
    });
}

pub fn before(step: Step) -> io::Result<()> {
    with(|faults| {
        if let Some(left) = &mut faults.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(Errno::IO.into());
            }
        }
        match faults.fails {
            Some((what, error)) if what == step => Err(error.into()),
            _ => Ok(()),
        }
    })
}

pub fn write(file: &fs::File, bytes: &[u8], at: u64) -> io::Result<Written> {
    let was_dead = is_dead();
    let failed = before(Step::Write).err();
    if was_dead {
        return Err(Errno::IO.into());
    }
    with(|faults| {
        if faults.is_on {
            let mut before = vec![0; bytes.len()];
            let read = file.read_at(&mut before, at)?;
            before.truncate(read);
            let file = file.try_clone()?;
            faults.undo.push(Undo::Write { file, at, before });
        }
        Ok(match failed {
            Some(error) => Written::Torn(faults.torn.min(bytes.len()), error),
            None => Written::Whole,
        })
    })
}

pub fn read(length: usize) -> io::Result<()> {
    with(|faults| {
        faults.read += length;
        match faults.fails {
            Some((Step::Read, error)) => Err(error.into()),
            _ => Ok(()),
        }
    })
}

pub fn sync(file: &fs::File) -> io::Result<()> {
    before(Step::Sync)?;
    let number = file.metadata()?.ino();
    let is_other = |undo: &Undo| match undo {
        Undo::Write { file, .. } => file.metadata().unwrap().ino() != number,
        _ => true,
    };
    with(|faults| faults.undo.retain(is_other));
    Ok(())
}

pub fn sync_folder(folder: &Path) -> io::Result<()> {
    before(Step::Sync)?;
    let is_other = |undo: &Undo| match undo {
        Undo::Write { .. } => true,
        Undo::Rename { to, .. } => to.parent() != Some(folder),
        Undo::Remove { path, .. } => path.parent() != Some(folder),
    };
    with(|faults| faults.undo.retain(is_other));
    Ok(())
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    before(Step::Name)?;
    with(|faults| {
        if faults.is_on {
            let replaced = fs::read(to).ok();
            faults.undo.push(Undo::Rename { from: from.into(), to: to.into(), replaced });
        }
    });
    Ok(())
}

pub fn remove(path: &Path) -> io::Result<()> {
    before(Step::Name)?;
    with(|faults| {
        if faults.is_on
            && let Ok(content) = fs::read(path)
        {
            faults.undo.push(Undo::Remove { path: path.into(), content });
        }
    });
    Ok(())
}
