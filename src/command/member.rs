//! `run` as a process that is not process 0: it takes part in one run after the other.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use super::Error;
use super::run::share;
use super::work::{Work, watched};
use crate::cluster::{Member, Network, Plan, Reads, ToHub, ToMember};
use crate::job::{Apart, Job, Rooms};
use crate::ledger::Dates;
use crate::live::Servers;
use crate::metrics;
use crate::outside::{Effects, Told};
use crate::retry::{Stop, chain};
use crate::sink::Failed;
use crate::source::{Feed, Kafka};
use crate::tables::{self, Tables};

/// How often it is looked whether a signal has come while no run is at work.
const LOOKED_EVERY: Duration = Duration::from_millis(100);

/// Takes part until the cluster ends.
///
/// # Errors
///
/// If this process cannot do its part: then the cluster ends.
pub(super) fn follow(work: &Work<'_>, servers: &Servers, member: Member) -> Result<(), Error> {
    loop {
        work.health.begin();
        let stop = work.ending.begin();
        let heard = member.heard().recv_timeout(LOOKED_EVERY);
        if work.ending.signal().is_some() {
            member.fail(0, "it was ended by a signal".to_owned());
            return Ok(());
        }
        let came = match heard {
            Ok(ToMember::Begin(plan)) => take_part(work, servers, &member, &plan, &stop),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            // What is said of a run that is over, or nothing.
            Ok(_) | Err(RecvTimeoutError::Timeout) => Ok(()),
        };
        match came {
            Ok(()) => {}
            Err(error) if work.ending.signal().is_some() => {
                member.fail(0, format!("it was cut short by a signal: {}", chain(&error)));
                return Ok(());
            }
            Err(error) => {
                member.fail(error.status(), chain(&error));
                return Err(error);
            }
        }
    }
}

fn take_part(
    work: &Work<'_>,
    servers: &Servers,
    member: &Member,
    plan: &Plan,
    stop: &Stop,
) -> Result<(), Error> {
    let network = member.connect(plan.run, stop)?;
    work.health.ledger_taken();
    log::info!(
        "begun: job={} incarnation={} mark={} bound={}",
        servers.job(),
        plan.token.number,
        plan.standing.mark.epoch,
        plan.bound().len()
    );
    let run = Run { work, member, plan, stop };
    let none = Arc::new(tables::Unread);
    match plan.reads {
        Reads::Again => run.work(network, none, servers.of_member_again(plan, work.here, stop)?),
        Reads::Bound | Reads::All => {
            let tables = servers.tables(&plan.settings, &plan.names, plan.bound(), stop)?;
            let doubts = member.doubts();
            run.work(network, tables, servers.of_member(plan, work.here, doubts, stop)?)
        }
    }?;
    member.say(&ToHub::Over);
    Ok(())
}

/// A run, as this process takes part in it.
struct Run<'a> {
    work: &'a Work<'a>,
    member: &'a Member,
    plan: &'a Plan,
    stop: &'a Stop,
}

impl Run<'_> {
    fn work<E: Effects>(
        &self,
        network: Network,
        tables: Arc<dyn Tables>,
        outside: (E, Receiver<Told>),
    ) -> Result<(), Error> {
        let Run { work, member, plan, .. } = *self;
        let (cut, cuts) = unbounded();
        let (leave, left) = unbounded();
        let in_flight = plan.epoch.in_flight.max(plan.bound().len() as u64);
        let (mark, processes) = (plan.standing.mark.epoch, member.processes());
        let feed = Arc::new(Feed::of_cluster(mark, in_flight, cut, leave, processes));
        work.ending.attend(&feed);
        let settings = Arc::new(plan.settings.clone());
        let names = Arc::new(plan.names.clone());
        let job = Job {
            history_age: Some(plan.history_age),
            dates: Dates::live(0),
            ..work.job(settings, &names, &plan.standing, self.stop)
        };
        let rooms = Rooms { tables, outside, feed: (feed, cuts) };
        let goes_on = plan.reads == Reads::All;
        let apart = Apart { with: member, network, here: work.here, left, goes_on };
        let say = |time| {
            member.say(&ToHub::Fresh(time));
            metrics::visible(time);
        };
        let read = |feed: &Feed| watched(feed, |feed| self.read(feed), say);
        job.follow(plan.standing.clone(), rooms, read, apart)?;
        log::info!("ended: incarnation={}", plan.token.number);
        Ok(())
    }

    /// Reads what this process reads of the topics.
    fn read(&self, feed: &Feed) -> Result<(), Failed> {
        let Run { work, plan, stop, .. } = *self;
        let spread = work.here.spread();
        let epoch = share(plan.epoch, spread);
        let (kafka, stop) = (&work.config.kafka, stop.clone());
        let source = Kafka::open(kafka, epoch, &plan.reached, plan.bound(), spread, stop)?;
        match plan.reads {
            Reads::Again | Reads::Bound => source.read_bound(feed)?,
            Reads::All => source.read(feed)?,
        }
        Ok(())
    }
}
