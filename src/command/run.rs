//! `run`: the live job, from Kafka into live servers or the embedded store.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::unbounded;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::ending::{Ending, Manner};
use super::incarnations::{Ready, Records};
use super::work::Work;
use super::{Error, member};
use crate::cluster::{self, Joined, Place};
use crate::config::{self, Address, Config, Need, Start};
use crate::health::Health;
use crate::job::Standing;
use crate::ledger::{self, Binding, Found, Freshness};
use crate::live::{self, Servers};
use crate::retry::{Stop, chain};
use crate::source::{Kafka, Reached, Spread};
use crate::store::Store;
use crate::tables::Tables;
use crate::{cli, http, metrics, sink, tables};

/// How long what is read may take to be done once a signal asks the job to end. What is not done then is
/// bound, and done by the next start.
const DRAIN: Duration = Duration::from_secs(10);

pub(super) fn run(args: &cli::Run) -> Result<String, Error> {
    if let Some(launcher) = args.launched_by {
        end_with(launcher)?;
    }
    let config = Config::load(Some(&args.config), &args.set, Need::Everything)?;
    let workers = args.workers.into();
    let cluster = args.cluster.as_ref().filter(|cluster| cluster.processes > 1);
    let here = cluster.map_or(Place::alone(workers), |cluster| Place {
        index: cluster.process.into(),
        processes: cluster.processes.into(),
        workers,
    });
    if here.index >= here.processes {
        let (index, processes) = (here.index, here.processes);
        let why = format!("-p {index}: the {processes} processes are numbered from 0");
        return Err(Error::Usage(why));
    }
    let hosts = match cluster {
        Some(cluster) => {
            cluster::read_hosts(&cluster.hostfile, here.processes).map_err(cluster::Error::from)?
        }
        None => Vec::new(),
    };
    let ending = Ending::listen(Manner::Drain(DRAIN))?;
    let health = Health::default();
    let _http = http::Serving::start(&listen(&config.listen, here, &hosts), &health)?;
    metrics::topics(config.kafka.clicks.as_str(), config.kafka.articles.as_str());
    let work = Work { config: &config, here, hub: None, health, ending, records: Arc::default() };
    if cluster.is_none() {
        work.unless_ended(run_into(args, &work))?;
        return Ok(String::new());
    }
    let Some(config::Outside::Servers { redis, hbase }) = &config.outside else {
        let why = "a cluster works with live servers: a store has one process";
        return Err(Error::Usage(why.to_owned()));
    };
    let servers = Servers::new(&config, config.job.as_str(), redis, hbase.as_ref())?;
    let stop = work.ending.begin();
    let at_once = args.launched_by.is_some();
    match cluster::join(&config, here, &hosts, cli::VERSION, at_once, &stop) {
        Ok(Joined::Hub(hub)) => {
            let came = {
                let work = Work { hub: Some(&hub), ..work };
                let came = run_into(args, &work);
                work.unless_ended(came)
            };
            let status = came.as_ref().map_or_else(Error::status, |()| 0);
            hub.leave(status, came.as_ref().err().map(|error| chain(error)));
            came?;
        }
        Ok(Joined::Member(member)) => member::follow(&work, &servers, member)?,
        Err(cluster::Error::Stopped) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(String::new())
}

/// Ends this process when the one that has started it ends, however that does.
fn end_with(launcher: u32) -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Error::Signals(error.into()))?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    match parent == Some(launcher) {
        true => Ok(()),
        false => Err(Error::Usage("the process that has started this one has ended".to_owned())),
    }
}

/// Where a process answers over HTTP: of several on one host each has a port of its own, from that of the
/// configuration on.
fn listen(configured: &Address, here: Place, hosts: &[Address]) -> Address {
    let host = hosts.get(here.index).map(|at| &at.host);
    let before = hosts[..here.index].iter().filter(|at| Some(&at.host) == host).count();
    let mut listen = configured.clone();
    if listen.port != 0 {
        listen.port = listen.port.saturating_add(u16::try_from(before).unwrap_or(u16::MAX));
    }
    listen
}

/// The live job, with its effects where the configuration says.
fn run_into(args: &cli::Run, work: &Work<'_>) -> Result<(), Error> {
    let config = work.config;
    match &config.outside {
        Some(config::Outside::Embedded { path }) => {
            if args.reset || args.after_loss {
                let why = "--reset and --after-loss are about Redis: a store that is to begin anew \
                           is another folder";
                return Err(Error::Usage(why.to_owned()));
            }
            into_store(work, path.as_str().as_ref())
        }
        Some(config::Outside::Servers { redis, hbase }) => {
            let servers = Servers::new(config, config.job.as_str(), redis, hbase.as_ref())?;
            if args.reset {
                ledger::reset(redis, config.job.as_str(), &work.ending.stop())
                    .map_err(live::Error::from)?;
            }
            let topics = Topics { config, redis, spread: work.here.spread() };
            work.with_servers(&servers, args.after_loss, &topics).map(drop)
        }
        None => unreachable!("a configuration without a place was refused"),
    }
}

/// Topics of Kafka, read into live servers.
struct Topics<'a> {
    config: &'a Config,
    /// Where other jobs' ledgers stand.
    redis: &'a config::Redis,
    /// Which of them this process reads.
    spread: Spread,
}

impl Topics<'_> {
    fn open(
        &self,
        reached: &Reached,
        bound: &VecDeque<Binding>,
        stop: &Stop,
    ) -> Result<Kafka, Error> {
        let Config { kafka, epoch, .. } = self.config;
        let epoch = share(*epoch, self.spread);
        Ok(Kafka::open(kafka, epoch, reached, bound, self.spread, stop.clone())?)
    }
}

/// The epochs of one process, of which each has its share of the records.
pub(super) fn share(epoch: config::Epoch, spread: Spread) -> config::Epoch {
    let records = epoch.records.div_ceil(spread.processes as u64);
    config::Epoch { records, ..epoch }
}

impl Records for Topics<'_> {
    const BOUND_ALONE: bool = false;

    fn beginning(&self, stop: &Stop) -> Result<Reached, Error> {
        let mut reached = Kafka::start(&self.config.kafka, stop)?;
        if let Start::Job(other) = &self.config.kafka.start {
            let other = ledger::reached_by(self.redis, other, stop);
            reached.extend(other.map_err(live::Error::from)?);
        }
        Ok(reached)
    }

    fn bound(
        &self,
        reached: &Reached,
        bound: &VecDeque<Binding>,
        stop: &Stop,
    ) -> Result<Ready, Error> {
        let source = self.open(reached, bound, stop)?;
        let group = Some(source.group());
        Ok(Ready { read: Box::new(|feed| Ok(source.read_bound(feed)?)), group })
    }

    fn all(&self, found: &mut Found, stop: &Stop) -> Result<Ready, Error> {
        let source = self.open(&found.reached, &found.standing.bound, stop)?;
        let group = Some(source.group());
        Ok(Ready { read: Box::new(|feed| Ok(source.read(feed)?)), group })
    }
}

/// The live job with everything in one store: binding, effects and mark are one transaction.
fn into_store(work: &Work<'_>, path: &Path) -> Result<(), Error> {
    let Config { kafka, epoch, settings, .. } = work.config;
    let store = Arc::new(Store::create(path)?);
    let stop = work.ending.begin();
    let (mark, mut reached) = (store.mark()?, store.reached()?);
    // Also where files were replayed into the store before.
    if reached.is_empty() {
        if let Start::Job(_) = kafka.start {
            let why = "kafka.start: a job begins at another's mark only in the same servers";
            return Err(Error::Usage(why.to_owned()));
        }
        reached = Kafka::start(kafka, &stop)?;
        store.begin(&reached)?;
    }
    work.health.ledger_taken();
    let standing = Standing { mark, ..Standing::default() };
    let source = Kafka::open(kafka, *epoch, &reached, &standing.bound, Spread::ALL, stop.clone())?;
    let (tell, told) = unbounded();
    let sink = sink::Embedded::new(Arc::clone(&store), None, tell)?.telling(source.group());
    let tables: Arc<dyn Tables> = Arc::new(tables::Embedded::new(Arc::clone(&store), None));
    let mut job = work.job(Arc::new(settings.clone()), &Arc::default(), &standing, &stop);
    // Nobody else can write what stands in the store.
    (job.history_age, job.refresh) = (None, None);
    let read = Box::new(|feed: &_| Ok(source.read(feed)?));
    let freshness = Freshness::default();
    let worked = work.run_watched(&job, standing, (tables, (sink, told)), None, read, &freshness);
    store.settle()?;
    worked.map(drop)
}
