//! A channel that numbers its events, and keeps in a file how far they are forgotten: not at every commit, as
//! one that is killed right before it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::channel::{Channel, Failure, Refused, Room, Take};
use crate::counters::{self, Counters};
use crate::event::Event;

/// How many commits are noted at once.
const NOTED: usize = 3;

#[derive(Debug)]
pub struct Numbered {
    events: Vec<Event>,
    /// How many it says that it holds at most: so many are taken at once.
    shown: usize,
    identity: String,
    file: PathBuf,
    state: Mutex<State>,
    counters: Counters<counters::Channel>,
}

#[derive(Debug, Default)]
struct State {
    /// All before it are forgotten.
    forgotten: usize,
    next: usize,
    /// What is forgotten behind that, from where to where.
    ahead: BTreeMap<usize, usize>,
    commits: usize,
}

impl Numbered {
    /// That of a folder, filled anew with the same events but for those that are forgotten.
    pub fn new(folder: &Path, events: Vec<Event>, shown: usize) -> Arc<Numbered> {
        std::fs::create_dir_all(folder).unwrap();
        let (file, named) = (folder.join("forgotten"), folder.join("identity"));
        if !named.exists() {
            std::fs::write(&named, uuid::Uuid::new_v4().to_string()).unwrap();
        }
        let forgotten = std::fs::read_to_string(&file).ok().map_or(0, |text| text.parse().unwrap());
        Arc::new(Numbered {
            events,
            shown,
            identity: std::fs::read_to_string(&named).unwrap(),
            file,
            state: Mutex::new(State { forgotten, next: forgotten, ..State::default() }),
            counters: Counters::new("c1"),
        })
    }

    fn note(&self, state: &mut State) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, state.forgotten.to_string()).unwrap();
        std::fs::rename(&next, &self.file).unwrap();
    }
}

impl Channel for Numbered {
    fn reserve(self: Arc<Self>, _: &[Event]) -> Result<Box<dyn Room>, Refused> {
        panic!("it is filled already")
    }

    fn take(self: Arc<Self>, most: usize, _: Duration) -> Result<Box<dyn Take>, Failure> {
        let mut state = self.state.lock().unwrap();
        let from = state.next;
        let to = self.events.len().min(from + most.min(self.shown));
        state.next = to;
        drop(state);
        Ok(Box::new(Lent { channel: self, from, to, done: false }))
    }

    fn len(&self) -> usize {
        (self.events.len() - self.state.lock().unwrap().forgotten).min(self.shown)
    }

    fn capacity(&self) -> usize {
        self.events.len()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn identity(&self) -> Option<&str> {
        Some(&self.identity)
    }

    fn counters(&self) -> &Counters<counters::Channel> {
        &self.counters
    }

    fn forget_below(&self, position: u64) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.next, state.forgotten, "something is lent");
        state.forgotten = state.forgotten.max(position as usize);
        state.next = state.forgotten;
        self.note(&mut state);
        Ok(())
    }
}

struct Lent {
    channel: Arc<Numbered>,
    from: usize,
    to: usize,
    done: bool,
}

impl Take for Lent {
    fn events(&self) -> &[Event] {
        &self.channel.events[self.from..self.to]
    }

    fn end(&self) -> Option<u64> {
        Some(self.to as u64)
    }

    fn commit(mut self: Box<Self>) -> Result<(), Failure> {
        self.done = true;
        let mut state = self.channel.state.lock().unwrap();
        let (from, to) = (self.from, self.to);
        state.ahead.insert(from, to);
        while let Some((&from, &to)) = state.ahead.first_key_value()
            && from == state.forgotten
        {
            state.ahead.remove(&from);
            state.forgotten = to;
        }
        state.commits += 1;
        if state.commits.is_multiple_of(NOTED) {
            self.channel.note(&mut state);
        }
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.channel.state.lock().unwrap();
            assert_eq!(state.next, self.to, "the last goes back first");
            state.next = self.from;
        }
    }
}
