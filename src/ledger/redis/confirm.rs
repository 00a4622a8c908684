//! Processes of a cluster that do not write the ledger, and must know that its token stands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::Error;
use super::error::of;
use crate::config;
use crate::ledger::Fence;
use crate::outside::Told;
use crate::redis::{self, Job, Token};
use crate::retry::{Ended, Peer, Stop, persist};

/// How often it is asked.
const BEAT: Duration = Duration::from_secs(1);

/// Asks on a thread of its own, until the job stops, whether this token stands, and confirms it to the fence.
/// That a newer one stands is told.
///
/// # Errors
///
/// If a url of the configuration is none.
pub fn confirm(
    redis: &config::Redis,
    job: &str,
    token: Token,
    fence: &Arc<Fence>,
    told: Sender<Told>,
    stop: &Stop,
) -> Result<(), redis::Error> {
    let mut job = Job::new(redis, job)?;
    let (fence, stop) = (Arc::clone(fence), stop.clone());
    let ask = move || {
        if let Err(Ended::Failed(error)) = ask(&mut job, token, &fence, &stop)
            && told.send(Told::Failed(error.into())).is_err()
        {
            log::debug!("nobody hears whether the token stands: the job is stopping");
        }
    };
    std::thread::Builder::new()
        .name("token".to_owned())
        .spawn(ask)
        .expect("the system has room for a thread");
    Ok(())
}

fn ask(job: &mut Job, ours: Token, fence: &Fence, stop: &Stop) -> Result<(), Ended<Error>> {
    loop {
        let mut asked = Instant::now();
        // Asking changes nothing.
        let found = persist(stop, Peer::Redis, "asking whether the token stands", |_| {
            asked = Instant::now();
            job.look()
        });
        match found.map_err(of)? {
            Some(stands) if stands.token == ours => fence.confirm(asked),
            Some(stands) if stands.token.number >= ours.number => {
                let (job, newer) = (job.name().to_owned(), stands.token);
                return Err(Ended::Failed(Error::Fenced { job, ours, newer }));
            }
            // Redis went back, or has lost everything: who writes the ledger finds that out.
            _ => {}
        }
        if stop.wait(BEAT) {
            return Err(Ended::Stopped);
        }
    }
}
