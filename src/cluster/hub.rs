//! Process 0: it gathers the others, begins runs with them, and ends with them.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::door::{Circle, Door, settle};
use super::handshake::Purpose;
use super::link::{Heard, Link};
use super::network::Network;
use super::said::{Plan, ToHub, ToMember};
use super::{Error, FAREWELL, OVERDUE, end, leave};
use crate::retry::Stop;

/// How often it is looked who has joined.
const LOOKED_EVERY: Duration = Duration::from_millis(20);

/// How often it is logged who is missing.
const LOGGED_EVERY: Duration = Duration::from_secs(30);

/// Process 0, as it speaks with the others, its members.
pub struct Hub {
    circle: Circle,
    door: Door,
    members: Arc<Members>,
    heard: Receiver<(usize, ToHub)>,
    /// Whose part of a run is over.
    over: Receiver<usize>,
}

/// What the threads that listen to members share.
struct Members {
    /// By index; none of this process, and of those that are missing.
    links: Mutex<Vec<Option<Joined>>>,
    /// Up to when all is done of what each reads, as it has said last.
    fresh: Mutex<Vec<Option<u64>>>,
    /// All have joined: from here on a loss is the end.
    complete: AtomicBool,
    /// The cluster ends: a loss is none.
    ending: AtomicBool,
    hears: Sender<(usize, ToHub)>,
    over: Sender<usize>,
}

/// A member that has joined.
struct Joined {
    /// Which of all that ever have: what is heard of one that is gone is not of the next.
    nth: u64,
    link: Link<ToMember>,
}

impl Hub {
    /// Waits until all others have joined; so long, or as long as it takes.
    pub(super) fn gather(
        circle: Circle,
        door: Door,
        patience: Option<Duration>,
        stop: &Stop,
    ) -> Result<Hub, Error> {
        let processes = circle.agreed.processes;
        let (hears, heard) = crossbeam_channel::unbounded();
        let (says_over, over) = crossbeam_channel::unbounded();
        let members = Arc::new(Members {
            links: Mutex::new((0..processes).map(|_| None).collect()),
            fresh: Mutex::default(),
            complete: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            hears,
            over: says_over,
        });
        let hub = Hub { circle, door, members, heard, over };
        let begun = Instant::now();
        let (mut logged, mut quiet) = (begun, Duration::from_secs(1));
        let mut ends = false;
        for nth in 0.. {
            let missing = hub.missing();
            for index in &missing {
                // Also one that has joined, was lost, and joins again.
                if let Some(socket) = hub.door.take(*index, Purpose::Control, Duration::ZERO)
                    && let Err(error) = hub.attend(*index, nth, socket)
                {
                    log::warn!("lost at once: process={index}: {error}");
                }
            }
            if ends {
                break;
            }
            if hub.members.complete_if_all_joined() {
                return Ok(hub);
            }
            if let Some(&index) = missing.first()
                && patience.is_some_and(|patience| begun.elapsed() >= patience)
            {
                let late = Error::Late { index, what: "join" };
                hub.leave(1, Some(late.to_string()));
                return Err(late);
            }
            if logged.elapsed() >= quiet {
                let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
                log::info!("waiting for the other processes: missing={}", missing.join(","));
                (logged, quiet) = (Instant::now(), LOGGED_EVERY);
            }
            // Whoever has come at last is told of the end as well.
            ends = stop.wait(LOOKED_EVERY);
        }
        hub.leave(0, None);
        Err(Error::Stopped)
    }

    fn missing(&self) -> Vec<usize> {
        let links = lock(&self.members.links);
        (1..links.len()).filter(|index| links[*index].is_none()).collect()
    }

    fn attend(&self, index: usize, nth: u64, socket: TcpStream) -> io::Result<()> {
        settle(&socket, self.circle.silence)?;
        let members = Arc::clone(&self.members);
        let hear = move |heard| members.hear(index, nth, heard);
        // Under the lock, so that it is not lost before it stands there.
        let mut links = lock(&self.members.links);
        let link = Link::start(socket, self.circle.silence, hear)?;
        log::info!("joined: process={index}");
        links[index] = Some(Joined { nth, link });
        Ok(())
    }

    /// How many processes there are, this one included.
    pub fn processes(&self) -> usize {
        self.circle.agreed.processes
    }

    /// What members say, each in its order.
    pub fn heard(&self) -> &Receiver<(usize, ToHub)> {
        &self.heard
    }

    /// Says something to all members; never waits.
    pub fn say(&self, what: &ToMember) {
        for joined in lock(&self.members.links).iter().flatten() {
            joined.link.say(what);
        }
    }

    /// Begins a run with all members.
    ///
    /// # Errors
    ///
    /// If one is not there in time.
    pub fn begin(&self, plan: &Plan) -> Result<Network, Error> {
        *lock(&self.members.fresh) = vec![None; self.processes()];
        self.door.expect(plan.run);
        self.say(&ToMember::Begin(Box::new(plan.clone())));
        let mut sockets = vec![None];
        for index in 1..self.processes() {
            let came = self.door.take(index, Purpose::Data(plan.run), OVERDUE);
            let socket = came.ok_or(Error::Late { index, what: "connect for a run" })?;
            settle(&socket, self.circle.silence)?;
            sockets.push(Some(socket));
        }
        Ok(Network { sockets })
    }

    /// Ends a run, done or not: nothing that is said later is of it.
    ///
    /// # Errors
    ///
    /// If a member does not come to its end.
    pub fn finish(&self) -> Result<(), Error> {
        self.say(&ToMember::Stop);
        let mut left: Vec<usize> = (1..self.processes()).collect();
        let until = Instant::now() + OVERDUE;
        while let Some(first) = left.first() {
            match self.over.recv_deadline(until) {
                Ok(index) => left.retain(|it| *it != index),
                Err(_) => {
                    return Err(Error::Late { index: *first, what: "end a run" });
                }
            }
        }
        // What they have said before.
        self.heard.try_iter().for_each(drop);
        Ok(())
    }

    /// Up to when all is done of what the members read, in milliseconds since 1970; none before all have
    /// said so.
    pub fn fresh(&self) -> Option<u64> {
        let fresh = lock(&self.members.fresh);
        let mut all = fresh.get(1..)?.iter().copied();
        all.try_fold(u64::MAX, |least, time| Some(least.min(time?)))
    }

    /// Tells the members that the cluster ends: with this status, and why, unless all is well.
    pub fn leave(&self, status: u8, why: Option<String>) {
        self.members.say_last(status, why);
    }
}

impl Members {
    /// Whether all have joined; then none may be lost any more.
    fn complete_if_all_joined(&self) -> bool {
        // Under the lock, so that no loss falls in between.
        let links = lock(&self.links);
        let all = links[1..].iter().all(Option::is_some);
        self.complete.store(all, Ordering::SeqCst);
        all
    }

    fn hear(&self, index: usize, nth: u64, heard: Heard<ToHub>) {
        match heard {
            Heard::Message(ToHub::Fresh(time)) => {
                if let Some(fresh) = lock(&self.fresh).get_mut(index) {
                    *fresh = Some(time);
                }
            }
            Heard::Message(ToHub::Over) => {
                if self.over.send(index).is_err() {
                    log::debug!("nobody hears that a run is over");
                }
            }
            Heard::Message(ToHub::Failed(status, why)) => {
                if self.forgets(index, nth, &why) {
                    return;
                }
                if status > 0 {
                    return self.fail(status, &format!("process {index} has failed: {why}"));
                }
                log::warn!("ending, as process {index} does: {why}");
                if self.say_last(0, None) {
                    leave();
                }
            }
            Heard::Message(message) => {
                if self.hears.send((index, message)).is_err() {
                    log::debug!("nobody hears the members any more");
                }
            }
            Heard::Lost(why) => {
                if !self.forgets(index, nth, &why) {
                    self.fail(1, &format!("process {index} is lost: {why}"));
                }
            }
        }
    }

    /// One that is gone before all have joined is missing again; says whether it is, or was before.
    fn forgets(&self, index: usize, nth: u64, why: &str) -> bool {
        let mut links = lock(&self.links);
        if links[index].as_ref().is_none_or(|joined| joined.nth != nth) {
            return true;
        }
        if self.complete.load(Ordering::SeqCst) {
            return false;
        }
        links[index] = None;
        log::warn!("lost again before all have joined: process={index}: {why}");
        true
    }

    /// Ends this process, and all others with it.
    fn fail(&self, status: u8, why: &str) {
        if self.say_last(status, Some(why.to_owned())) {
            end(status, why);
        }
    }

    /// Says the end to all; whether it was not said before.
    fn say_last(&self, status: u8, why: Option<String>) -> bool {
        if self.ending.swap(true, Ordering::SeqCst) {
            return false;
        }
        let joined: Vec<_> = lock(&self.links).iter_mut().filter_map(Option::take).collect();
        let exit = ToMember::Exit(status, why);
        joined.iter().for_each(|joined| joined.link.say(&exit));
        let until = Instant::now() + FAREWELL;
        for Joined { link, .. } in joined {
            link.close(until.saturating_duration_since(Instant::now()));
        }
        true
    }
}

/// A number that no other run has.
pub(super) fn draw() -> io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole at any time.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
