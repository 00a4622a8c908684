//! `run`: the live job, from Kafka into live servers or the embedded store.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::unbounded;

use super::Error;
use super::ending::{Ending, Manner};
use super::incarnations::{Ready, Records};
use super::work::Work;
use crate::config::{self, Config, Need, Start};
use crate::health::Health;
use crate::job::Standing;
use crate::ledger::{self, Binding, Found, Freshness};
use crate::live::{self, Servers};
use crate::retry::Stop;
use crate::source::{Kafka, Reached};
use crate::store::Store;
use crate::tables::Tables;
use crate::{cli, http, metrics, sink, tables};

/// How long what is read may take to be done once a signal asks the job to end. What is not done then is
/// bound, and done by the next start.
const DRAIN: Duration = Duration::from_secs(10);

pub(super) fn run(args: &cli::Run) -> Result<String, Error> {
    let config = Config::load(Some(&args.config), &args.set, Need::Everything)?;
    let ending = Ending::listen(Manner::Drain(DRAIN))?;
    let health = Health::default();
    let _http = http::Serving::start(&config.listen, &health)?;
    metrics::topics(config.kafka.clicks.as_str(), config.kafka.articles.as_str());
    let workers = args.workers.into();
    let work = Work { config: &config, workers, health, ending, records: Arc::default() };
    work.unless_ended(run_into(args, &work))?;
    Ok(String::new())
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
            let topics = Topics { config, redis };
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
}

impl Topics<'_> {
    fn open(
        &self,
        reached: &Reached,
        bound: &VecDeque<Binding>,
        stop: &Stop,
    ) -> Result<Kafka, Error> {
        let Config { kafka, epoch, .. } = self.config;
        Ok(Kafka::open(kafka, *epoch, reached, bound, stop.clone())?)
    }
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
    let source = Kafka::open(kafka, *epoch, &reached, &standing.bound, stop.clone())?;
    let (tell, told) = unbounded();
    let sink = sink::Embedded::new(Arc::clone(&store), None, tell)?.telling(source.group());
    let tables: Arc<dyn Tables> = Arc::new(tables::Embedded::new(Arc::clone(&store), None));
    let mut job = work.job(Arc::new(settings.clone()), &Arc::default(), &standing, &stop);
    // Nobody else can write what stands in the store.
    (job.history_age, job.refresh) = (None, None);
    let read = Box::new(|feed: &_| Ok(source.read(feed)?));
    let freshness = Freshness::default();
    let worked = work.run_watched(&job, standing, (tables, (sink, told)), read, &freshness);
    store.settle()?;
    worked.map(drop)
}
