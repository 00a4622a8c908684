//! What lies in the folders, and what is followed, brought together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{Entry, Id, Subject, is_rotated, may_hold};
use super::positions::{Cell, Place};
use super::print::{self, Print};
use super::tracked::{self, Tracked};
use super::{Error, Follower, MOST_OPEN, Start, number, place, unreadable};

impl Follower {
    /// Finds every followed file again, and what is new; `starting` where nobody has looked before in this
    /// run.
    pub(super) fn reconcile(
        &mut self,
        mut entries: Vec<Entry>,
        starting: bool,
    ) -> Result<(), Error> {
        // STEP 1: every file that lies there under its inode is known to be the same, or to be cut. The
        // others lie nowhere.
        let mut cut = self.find(&entries);
        if !cut.is_empty() {
            // A copy is there before the file is cut: a listing that is made afterwards has it.
            entries = self.list()?;
            let mut again = self.find(&entries);
            for (cell, _, long) in &mut again {
                let was = cut.iter().find(|(known, ..)| known == cell).map(|(_, _, was)| *was);
                *long = was.unwrap_or(*long);
            }
            cut = again;
        }
        // STEP 2: what lies nowhere and was never seen in this run may lie there under another inode: it was
        // moved here, or the device has another number since the machine was started.
        if starting {
            self.find_moved(&entries)?;
        }
        // STEP 3: what was cut goes on in its copy; the file itself begins anew.
        self.deferred = false;
        for (cell, entry, was) in cut {
            self.go_on_in_copy(cell, &entry, was, &entries)?;
        }
        if self.deferred {
            // What is a copy is not known yet.
            return Ok(());
        }
        // STEP 4: what is new begins, unless it is a copy of what is followed.
        let known: BTreeSet<Id> = self.files.iter().map(Tracked::id).collect();
        for entry in entries.iter().filter(|entry| !known.contains(&entry.id)) {
            self.begin(entry, &entries, starting)?;
        }
        Ok(())
    }

    /// Finds every followed file; returns those that were cut, with how long they were.
    fn find(&mut self, entries: &[Entry]) -> Vec<(Cell, Entry, u64)> {
        let mut cut = Vec::new();
        let by_id: BTreeMap<Id, &Entry> = entries.iter().map(|entry| (entry.id, entry)).collect();
        for at in 0..self.files.len() {
            let base = self.base(&self.files[at], entries);
            let subject = self.listing.subject();
            let file = &mut self.files[at];
            let Some(&entry) = by_id.get(&file.id()) else {
                file.is_gone();
                if let Err(error) = file.look() {
                    unreadable(file, &error);
                }
                continue;
            };
            // It may be readable later where it is not now, and is what it was until then.
            let is_same = is_same(file, entry).unwrap_or_else(|error| {
                unreadable(file, &error);
                true
            });
            let concerns = entry.wanted.is_some()
                || base.as_deref().is_some_and(|base| is_rotated(base, &entry.path));
            if !is_same && !concerns {
                // Its inode is another's now.
                file.is_gone();
                continue;
            }
            let was = file.size;
            file.lies_at(entry);
            if let (None, None, Some(base)) = (entry.wanted, &file.base, &base) {
                file.group = subject.wants(base).unwrap_or(file.group);
            }
            if !is_same {
                cut.push((file.cell, entry.clone(), was));
            }
        }
        cut
    }

    fn find_moved(&mut self, entries: &[Entry]) -> Result<(), Error> {
        for at in 0..self.files.len() {
            let file = &self.files[at];
            if file.lies.is_some() || file.place.position() == 0 {
                continue;
            }
            let base = self.base(file, entries);
            let found = entries.iter().find(|entry| {
                let is_free = self.files.iter().all(|other| other.id() != entry.id);
                let by_name = base.as_deref().is_some_and(|base| holds(base, &entry.path));
                let by_inode = entry.id.inode == file.place.inode;
                is_free && (by_name || by_inode) && fits(&file.place.print, entry)
            });
            if let Some(entry) = found {
                log::info!("a followed file is found again: path={}", entry.path.display());
                let file = &mut self.files[at];
                (file.place.device, file.place.inode) = (entry.id.device, entry.id.inode);
                file.verified = true;
                file.lies_at(entry);
                self.positions.note(file.cell, &file.place, true)?;
            }
        }
        Ok(())
    }

    fn go_on_in_copy(
        &mut self,
        cell: Cell,
        entry: &Entry,
        was: u64,
        entries: &[Entry],
    ) -> Result<(), Error> {
        let at = self.at(cell).expect("it is followed");
        let file = &self.files[at];
        let base = self.base(file, entries);
        let old = file.place.clone();
        let position = old.position();
        let copies = entries.iter().filter(|copy| {
            self.files.iter().all(|file| file.id() != copy.id)
                && base
                    .as_deref()
                    .is_some_and(|base| base != copy.path && may_hold(base, &copy.path))
        });
        let (mut rest, mut read) = (None, Vec::new());
        for copy in copies {
            if opened(copy).is_none() {
                // It was renamed since it was listed.
                self.files[at].suspect = true;
                self.deferred = true;
                return Ok(());
            }
            if fits(&old.print, copy) && position > 0 {
                // Of several, the one that was made last.
                rest = Some(copy);
            } else if copy.size < position
                && copy.size > 0
                && head(copy).is_some_and(|head| old.print.begins(&head))
            {
                read.push(copy);
            }
        }
        // A crash leaves, of what follows, a beginning. Of a file that is cut, whose copies are read and which
        // begins anew already, the same follows again.
        for copy in read {
            if let Some(print) = print_of(copy, copy.size) {
                let base = base.as_deref().unwrap_or(&copy.path);
                self.track(copy, base, print)?;
            }
        }
        let begins_already =
            self.files.iter().any(|file| file.cell != cell && file.id() == entry.id);
        let anew = place(entry, base.as_deref().unwrap_or(&entry.path), Print::default());
        if let Some(copy) = rest {
            log::info!(
                "a file was copied and cut: path={} copy={} unread={}",
                entry.path.display(),
                copy.path.display(),
                copy.size - position
            );
            if !begins_already {
                let cell = self.positions.add(&anew, true)?;
                let mut file = Tracked::new(cell, anew, None);
                file.lies_at(entry);
                file.verified = true;
                self.files.push(file);
            }
            let place = Place { device: copy.id.device, inode: copy.id.inode, ..old };
            self.positions.note(cell, &place, true)?;
            let mut file = Tracked::new(cell, place, base);
            file.lies_at(copy);
            self.files[at] = file;
        } else {
            let seen = was.saturating_sub(position);
            if seen > 0 && was > entry.size {
                log::error!(
                    "a file was cut before all of it was read: path={} position={position} lost={seen}",
                    entry.path.display()
                );
            } else {
                log::info!("a file was cut: path={} position={position}", entry.path.display());
            }
            if begins_already {
                self.positions.forget(cell)?;
                self.files.remove(at);
            } else {
                self.positions.note(cell, &anew, true)?;
                let mut file = Tracked::new(cell, anew, None);
                file.lies_at(entry);
                file.verified = true;
                self.files[at] = file;
            }
        }
        Ok(())
    }

    fn begin(&mut self, entry: &Entry, entries: &[Entry], starting: bool) -> Result<(), Error> {
        if entry.wanted.is_none() && !self.listing.wants_rotated(&entry.path) {
            return Ok(());
        }
        // What it may be a copy of.
        let mut base = None;
        for at in 0..self.files.len() {
            let Some(log) = self.base(&self.files[at], entries) else { continue };
            if !is_rotated(&log, &entry.path) {
                continue;
            }
            let file = &mut self.files[at];
            let Some(head) = head(entry) else {
                self.deferred = true;
                return Ok(());
            };
            let live = match file.file() {
                Ok(Some(file)) => print::head(file).unwrap_or_default(),
                Ok(None) | Err(_) => Vec::new(),
            };
            // One that holds nothing yet may be about to become one.
            if head.is_empty() || file.place.print.begins(&head) || live.starts_with(&head) {
                self.deferred = true;
                return Ok(());
            }
            base = Some(log);
        }
        let base = base.unwrap_or_else(|| match self.listing.subject() {
            Subject::File(path) => path.clone(),
            Subject::Groups(_) => entry.path.clone(),
        });
        let taken_over = self.settings.taken_over.get(&entry.id.inode).copied();
        let start = if starting && entry.wanted.is_some() {
            self.settings.restart
        } else {
            Start::Beginning
        };
        let file = match tracked::open(&entry.path, entry.id) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(()),
            Err(error) => {
                if self.unreadable.insert(entry.path.clone()) {
                    log::warn!("cannot read a file: path={} error={error}", entry.path.display());
                }
                self.deferred = true;
                return Ok(());
            }
        };
        self.unreadable.remove(&entry.path);
        let begins = match taken_over.filter(|position| starting && *position <= entry.size) {
            Some(position) => Some(position),
            None if start == Start::Beginning => Some(0),
            None => start.position(&file, entry.size).ok(),
        };
        if let Some(print) = begins.and_then(|position| Print::of(&file, position).ok()) {
            log::info!(
                "a file is followed: path={} position={}",
                entry.path.display(),
                print.position
            );
            self.track(entry, &base, print)?;
        }
        Ok(())
    }

    /// Follows a file from here.
    fn track(&mut self, entry: &Entry, base: &Path, print: Print) -> Result<(), Error> {
        let place = place(entry, base, print);
        let cell = self.positions.add(&place, true)?;
        let mut file = Tracked::new(cell, place, Some(base.to_owned()));
        file.lies_at(entry);
        file.verified = true;
        // What is renamed and deleted between two looks is read all the same.
        if self.files.iter().filter(|file| file.is_open()).count() < MOST_OPEN
            && let Err(error) = file.file()
        {
            unreadable(&file, &error);
        }
        self.files.push(file);
        Ok(())
    }

    /// The name under which a file is followed, if it can be known.
    fn base(&self, file: &Tracked, entries: &[Entry]) -> Option<PathBuf> {
        if let Some(base) = self.listing.base() {
            return Some(base.to_owned());
        }
        let by_name = || {
            let found = entries.iter().find(|entry| number(&entry.path) == file.place.name);
            found.map(|entry| entry.path.clone())
        };
        file.base.clone().or_else(by_name)
    }
}

/// Whether what was read of a file still stands in it.
fn is_same(file: &mut Tracked, entry: &Entry) -> io::Result<bool> {
    if entry.size < file.place.position() {
        return Ok(false);
    }
    // What has grown is compared when it is read.
    let is_calm =
        entry.size > file.size || (entry.size == file.size && entry.modified == file.modified);
    if file.verified && !file.suspect && is_calm {
        return Ok(true);
    }
    let print = file.place.print.clone();
    let Some(open) = tracked::open(&entry.path, entry.id)? else { return Ok(true) };
    let fits = print.fits(&open)?;
    file.verified = fits;
    file.suspect = false;
    Ok(fits)
}

/// Whether a file is this one or may hold what it held, by its name.
fn holds(base: &Path, path: &Path) -> bool {
    base == path || may_hold(base, path)
}

fn opened(entry: &Entry) -> Option<std::fs::File> {
    tracked::open(&entry.path, entry.id)
        .inspect_err(|error| {
            log::warn!("cannot read a file: path={} error={error}", entry.path.display());
        })
        .ok()
        .flatten()
}

fn fits(print: &Print, entry: &Entry) -> bool {
    entry.size >= print.position
        && opened(entry).is_some_and(|file| print.fits(&file).unwrap_or(false))
}

fn head(entry: &Entry) -> Option<Vec<u8>> {
    opened(entry).and_then(|file| print::head(&file).ok())
}

fn print_of(entry: &Entry, position: u64) -> Option<Print> {
    opened(entry).and_then(|file| Print::of(&file, position).ok())
}
