//! Processes of a cluster that do not write the ledger, and must know that its token stands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::error::of;
use super::{Doubts, Error};
use crate::config;
use crate::ledger::Fence;
use crate::outside::Told;
use crate::redis::{self, Job, Token};
use crate::retry::{Ended, Peer, Stop, persist};

/// How often it is asked.
const BEAT: Duration = Duration::from_secs(1);

/// Asks on a thread of its own, until the job stops, whether this token stands, and confirms it to the fence.
/// Where another one stands, whoever writes the ledger is to find out why.
///
/// # Errors
///
/// If a url of the configuration is none.
pub fn confirm(
    redis: &config::Redis,
    job: &str,
    token: Token,
    fence: &Arc<Fence>,
    doubts: Doubts,
    told: Sender<Told>,
    stop: &Stop,
) -> Result<(), redis::Error> {
    let mut job = Job::new(redis, job)?;
    let (fence, stop) = (Arc::clone(fence), stop.clone());
    let ask = move || {
        if let Err(Ended::Failed(error)) = ask(&mut job, token, &fence, &doubts, &stop)
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

fn ask(
    job: &mut Job,
    ours: Token,
    fence: &Fence,
    doubts: &Doubts,
    stop: &Stop,
) -> Result<(), Ended<Error>> {
    let mut has_said = false;
    loop {
        let mut asked = Instant::now();
        // Asking changes nothing.
        let found = persist(stop, Peer::Redis, "asking whether the token stands", |_| {
            asked = Instant::now();
            job.look()
        });
        match found.map_err(of)? {
            Some(stands) if stands.token == ours => fence.confirm(asked),
            // A newer start, or Redis went back, or has lost everything.
            _ if has_said => {}
            _ => {
                has_said = true;
                doubts.disowned();
            }
        }
        if stop.wait(BEAT) {
            return Err(Ended::Stopped);
        }
    }
}
