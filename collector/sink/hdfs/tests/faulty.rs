//! The file system of this machine, with faults by a plan.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch;

use super::super::Action;
use crate::storage::{Later, Local, Out, Storage};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and has no effect.
    Fails,
    /// It has its effect, and fails.
    HasEffectAndFails,
    /// It has its effect, and fails because nobody is there to say so: it may be tried again.
    IsAway,
    /// It stands still until the plan is released.
    Stands,
}

const AWAY: io::ErrorKind = io::ErrorKind::HostUnreachable;

/// Which calls suffer what.
#[derive(Debug)]
pub struct Plan {
    /// An action on paths that contain this, so many times.
    faults: Mutex<Vec<(Action, &'static str, Fault, usize)>>,
    released: watch::Sender<bool>,
}

impl Plan {
    pub fn new(faults: &[(Action, &'static str, Fault, usize)]) -> Arc<Plan> {
        let released = watch::channel(false).0;
        Arc::new(Plan { faults: Mutex::new(faults.to_vec()), released })
    }

    /// One more fault.
    pub fn add(&self, action: Action, part: &'static str, fault: Fault) {
        self.faults.lock().unwrap().push((action, part, fault, 1));
    }

    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Whether all faults have happened.
    pub fn is_used_up(&self) -> bool {
        self.faults.lock().unwrap().iter().all(|(.., times)| *times == 0)
    }

    async fn apply<T>(
        &self,
        action: Action,
        path: &str,
        call: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            let is_meant = |(of, part, _, times): &&mut (Action, &str, Fault, usize)| {
                *of == action && path.contains(*part) && *times > 0
            };
            faults.iter_mut().find(is_meant).map(|(.., fault, times)| {
                *times -= 1;
                *fault
            })
        };
        match fault {
            None => call.await,
            Some(Fault::Fails) => Err(io::Error::other("planned")),
            Some(Fault::HasEffectAndFails) => {
                call.await?;
                Err(io::Error::other("planned, with effect"))
            }
            Some(Fault::IsAway) => {
                call.await?;
                Err(AWAY.into())
            }
            Some(Fault::Stands) => {
                self.released.subscribe().wait_for(|released| *released).await.unwrap();
                call.await
            }
        }
    }
}

#[derive(Debug)]
pub struct Faulty(pub Arc<Plan>);

struct FaultyOut {
    plan: Arc<Plan>,
    path: String,
    out: Box<dyn Out>,
    is_away: bool,
}

impl Storage for Faulty {
    fn create<'a>(&'a self, path: &'a str) -> Later<'a, Box<dyn Out>> {
        Box::pin(self.0.apply(Action::Create, path, async move {
            let out = Local.create(path).await?;
            let plan = Arc::clone(&self.0);
            let path = path.to_owned();
            let out: Box<dyn Out> = Box::new(FaultyOut { plan, path, out, is_away: false });
            Ok(out)
        }))
    }

    fn length<'a>(&'a self, path: &'a str) -> Later<'a, Option<u64>> {
        Box::pin(self.0.apply(Action::Look, path, Local.length(path)))
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> Later<'a, ()> {
        Box::pin(self.0.apply(Action::Rename, from, Local.rename(from, to)))
    }

    fn remove<'a>(&'a self, path: &'a str) -> Later<'a, ()> {
        Box::pin(self.0.apply(Action::Remove, path, Local.remove(path)))
    }

    fn recover<'a>(&'a self, path: &'a str) -> Later<'a, bool> {
        Box::pin(self.0.apply(Action::Recover, path, Local.recover(path)))
    }
}

impl Out for FaultyOut {
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()> {
        Box::pin(self.plan.apply(Action::Write, &self.path, self.out.write(bytes)))
    }

    fn sync(&mut self) -> Later<'_, ()> {
        Box::pin(async move {
            let synced = self.plan.apply(Action::Sync, &self.path, self.out.sync()).await;
            self.is_away = synced.as_ref().is_err_and(|error| error.kind() == AWAY);
            synced
        })
    }

    fn may_sync_again(&self) -> bool {
        self.is_away
    }

    fn close(&mut self) -> Later<'_, ()> {
        Box::pin(self.plan.apply(Action::Close, &self.path, self.out.close()))
    }

    fn give_up(self: Box<Self>) -> Later<'static, ()> {
        self.out.give_up()
    }
}
