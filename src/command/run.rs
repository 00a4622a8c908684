//! `run`: the live job, from Kafka into live servers or the embedded store.
//!
//! ```text
//!  incarnation: take the ledger ─┬─▶ score keys that went back: their epochs again ─┐
//!      ▲                         ├─▶ bound epochs of other settings: only those ────┤
//!      │                         └─▶ bound epochs, then what comes                  │
//!      └─────────── Redis went back, or there is more to begin with ◀───────────────┘
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::unbounded;
use dataflows::Settings;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Error;
use crate::config::{self, Config, Need, Start};
use crate::health::Health;
use crate::job::{self, Job, Rooms, Standing};
use crate::ledger::{self, Dates, Freshness, Names, Opened, Then};
use crate::live::{self, Servers, watch_freshness};
use crate::outside::Outside;
use crate::retry::{Stop, chain};
use crate::sink::Failed;
use crate::source::{Feed, Kafka, Reached};
use crate::store::Store;
use crate::tables::Tables;
use crate::{cli, http, metrics, sink, tables};

/// How many bytes of histories stay in memory beside those of the epochs in flight.
const HISTORY_BYTES: usize = 48 << 20;

/// How many threads ask for histories at once.
const LOADERS: usize = 2;

/// How long what is read may take to be done once a signal asks the job to end. What is not done then is
/// bound, and done by the next start.
const DRAIN: Duration = Duration::from_secs(10);

pub(super) fn run(args: &cli::Run) -> Result<String, Error> {
    let config = Config::load(Some(&args.config), &args.set, Need::Everything)?;
    let ending = Ending::listen()?;
    let health = Health::default();
    let _http = http::Server::start(&config.listen, health.clone())?;
    metrics::topics(config.kafka.clicks.as_str(), config.kafka.articles.as_str());
    let run = Run { config: &config, workers: args.workers.into(), health, ending };
    match &config.outside {
        Some(config::Outside::Embedded { path }) => run.with_store(path.as_str().as_ref()),
        Some(config::Outside::Servers { redis, hbase }) => {
            let servers = Servers::new(&config, config.job.as_str(), redis, hbase.as_ref())?;
            if args.reset {
                ledger::reset(redis, config.job.as_str(), &run.ending.stop())
                    .map_err(live::Error::from)?;
            }
            run.with_servers(&servers, redis, args.after_loss)
        }
        None => unreachable!("a configuration without a place was refused"),
    }
    .map(|()| String::new())
}

/// A run of the live job.
struct Run<'a> {
    config: &'a Config,
    workers: usize,
    health: Health,
    ending: Ending,
}

/// What follows when an incarnation is at its end.
enum Next {
    Ended,
    Incarnation,
}

impl Run<'_> {
    fn with_servers(
        &self,
        servers: &Servers,
        redis: &config::Redis,
        after_loss: bool,
    ) -> Result<(), Error> {
        loop {
            self.health.begin();
            let stop = self.ending.begin();
            let next = match self.incarnation(servers, redis, after_loss, &stop) {
                // A signal has come.
                Err(_) if self.ending.is_asked() => return Ok(()),
                Err(error) => match then(&error) {
                    Then::StartAgain { .. } => {
                        log::warn!("beginning again: {}", chain(&error));
                        Next::Incarnation
                    }
                    Then::Stop | Then::Fenced => return Err(error),
                },
                Ok(next) => next,
            };
            if matches!(next, Next::Ended) || self.ending.is_asked() {
                return Ok(());
            }
        }
    }

    fn incarnation(
        &self,
        servers: &Servers,
        redis: &config::Redis,
        after_loss: bool,
        stop: &Stop,
    ) -> Result<Next, Error> {
        servers.require_tables(stop)?;
        let mut found = match servers.open(after_loss, stop)? {
            Opened::Found(found) => *found,
            Opened::Vacant(vacant) => {
                let mut reached = Kafka::start(&self.config.kafka, stop)?;
                if let Start::Job(other) = &self.config.kafka.start {
                    reached
                        .extend(ledger::reached_by(redis, other, stop).map_err(live::Error::from)?);
                }
                vacant.begin(reached).map_err(live::Error::from)?
            }
        };
        self.health.ledger_taken();
        log::info!(
            "begun: job={} incarnation={} mark={} bound={}",
            self.config.job.as_str(),
            found.incarnation(),
            found.standing.mark.epoch,
            found.standing.bound.len()
        );

        // 1. Score keys that went back come first: no later epoch may be applied to them before.
        if let Some(mut again) = found.again.take() {
            let (settings, _) = alike(&mut again.standing).expect("something is to run again");
            let settings = Settings { recall: false, ..(*settings).clone() };
            let source = self.open_source(&again.reached, &again.standing, stop)?;
            let (outside, told) = servers.again(&again, stop)?;
            let rooms = (Arc::new(tables::Unread) as _, (outside, told));
            let job = self.job(Arc::new(settings), servers.names(), &again.standing, stop);
            self.work(&job, again.standing, rooms, source, Kafka::read_bound)?;
            return Ok(Next::Incarnation);
        }

        // 2. What was bound is done with the settings that it was bound with.
        let now = (Arc::new(self.config.settings.clone()), Arc::clone(servers.names()));
        let only_bound = alike(&mut found.standing).filter(|bound| *bound != now);
        let (settings, names) = only_bound.clone().unwrap_or(now);
        let source = self.open_source(&found.reached, &found.standing, stop)?;
        let tables = servers.tables(&found.standing.bound, stop);
        let freshness = Arc::new(Freshness::default());
        let (outside, told, standing) =
            servers.outside(found, &freshness, Some(source.group()), stop)?;
        let job = self.job(settings, &names, &standing, stop);
        let rooms = (tables, (outside, told));
        if only_bound.is_some() {
            self.work(&job, standing, rooms, source, Kafka::read_bound)?;
            return Ok(Next::Incarnation);
        }

        // 3. Bound epochs, and then what comes.
        self.work_watched(&job, standing, rooms, source, &freshness)?;
        Ok(Next::Ended)
    }

    /// The live job with everything in one store: binding, effects and mark are one transaction.
    fn with_store(&self, path: &std::path::Path) -> Result<(), Error> {
        let store = Arc::new(Store::create(path)?);
        let stop = self.ending.begin();
        let (mark, mut reached) = (store.mark()?, store.reached()?);
        if mark.epoch.0 == 0 && reached.is_empty() {
            if let Start::Job(_) = self.config.kafka.start {
                let why = "kafka.start: a job begins at another's mark only in the same servers";
                return Err(Error::Usage(why.to_owned()));
            }
            reached = Kafka::start(&self.config.kafka, &stop)?;
            store.begin(&reached)?;
        }
        self.health.ledger_taken();
        let standing = Standing { mark, ..Standing::default() };
        let source = self.open_source(&reached, &standing, &stop)?;
        let (tell, told) = unbounded();
        let time = ledger::now();
        let outside = (sink::Embedded::new(Arc::clone(&store), time, tell)?, told);
        let tables: Arc<dyn Tables> = Arc::new(tables::Embedded::new(Arc::clone(&store), time));
        let settings = Arc::new(self.config.settings.clone());
        let mut job = self.job(settings, &Arc::default(), &standing, &stop);
        (job.history_age, job.refresh) = (None, None);
        let worked =
            self.work_watched(&job, standing, (tables, outside), source, &Freshness::default());
        store.settle()?;
        match worked {
            Err(_) if self.ending.is_asked() => Ok(()),
            worked => worked,
        }
    }

    fn open_source(
        &self,
        reached: &Reached,
        standing: &Standing,
        stop: &Stop,
    ) -> Result<Kafka, Error> {
        let Config { kafka, epoch, .. } = self.config;
        Ok(Kafka::open(kafka, *epoch, reached, &standing.bound, stop.clone())?)
    }

    fn job(
        &self,
        settings: Arc<Settings>,
        names: &Arc<Names>,
        standing: &Standing,
        stop: &Stop,
    ) -> Job {
        let last = standing.bound.back().map_or(standing.mark.time, |binding| binding.time);
        Job {
            workers: self.workers,
            loaders: LOADERS,
            settings,
            names: Arc::clone(names),
            history_bytes: HISTORY_BYTES,
            history_age: Some(self.config.history_age),
            refresh: Some(self.config.refresh),
            dates: Dates::live(last),
            undated: None,
            records: Arc::default(),
            health: self.health.clone(),
            stop: stop.clone(),
        }
    }

    /// Does the job while somebody says how fresh everything is.
    fn work_watched<O: Outside>(
        &self,
        job: &Job,
        standing: Standing,
        rooms: Effects<O>,
        source: Kafka,
        freshness: &Freshness,
    ) -> Result<(), Error> {
        let watched = Stop::default();
        self.work(job, standing, rooms, source, |source, feed| {
            std::thread::scope(|threads| {
                threads.spawn(|| watch_freshness(feed, freshness, &watched));
                let read = source.read(feed);
                watched.stop();
                read
            })
        })
    }

    fn work<O: Outside, E: Into<Failed>>(
        &self,
        job: &Job,
        standing: Standing,
        (tables, outside): Effects<O>,
        source: Kafka,
        read: impl FnOnce(Kafka, &Feed) -> Result<(), E> + Send,
    ) -> Result<(), Error> {
        let (cut, cuts) = unbounded();
        let in_flight = self.config.epoch.in_flight.max(standing.bound.len() as u64);
        let feed = Arc::new(Feed::new(standing.mark.epoch, in_flight, cut));
        self.ending.attend(&feed);
        let rooms = Rooms { tables, outside, feed: (feed, cuts) };
        let reached = job.run(standing, rooms, |feed| read(source, feed))?;
        log::info!("ended: mark={}", reached.epoch);
        Ok(())
    }
}

/// What a job reads beside its records, and where its effects go.
type Effects<O> = (Arc<dyn Tables>, (O, crossbeam_channel::Receiver<crate::outside::Told>));

/// Keeps of the bound epochs the first ones that were bound with the same settings and names; returns
/// those, if any is bound.
fn alike(standing: &mut Standing) -> Option<(Arc<Settings>, Arc<Names>)> {
    let first = standing.bound.front()?;
    let of = (Arc::clone(&first.settings), Arc::clone(&first.names));
    let same =
        standing.bound.iter().take_while(|it| (&it.settings, &it.names) == (&of.0, &of.1)).count();
    standing.bound.truncate(same);
    Some(of)
}

/// What follows from a failure.
fn then(error: &Error) -> Then {
    match error {
        Error::Live(live::Error::Ledger(error)) => error.then(),
        Error::Job(job::Error::Outside { source, .. }) => {
            source.downcast_ref::<ledger::Error>().map_or(Then::Stop, ledger::Error::then)
        }
        _ => Then::Stop,
    }
}

/// Whether a signal has asked the job to end, and what it ends.
struct Ending(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    /// How often.
    signals: u32,
    stop: Stop,
    /// While a job is at work.
    feed: Option<Arc<Feed>>,
}

impl Ending {
    /// Listens to signals from now on. The first asks for what is read to be done, the second does not
    /// wait for that.
    fn listen() -> Result<Ending, Error> {
        let ending = Ending(Arc::default());
        let asked = Arc::clone(&ending.0);
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::Signals)?;
        std::thread::spawn(move || {
            for _ in &mut signals {
                let first = hear(&asked);
                if first {
                    let asked = Arc::clone(&asked);
                    std::thread::spawn(move || {
                        let stop = lock(&asked).stop.clone();
                        if !stop.wait(DRAIN) {
                            log::warn!("not everything that was read could be done: it is bound");
                            hear(&asked);
                        }
                    });
                }
            }
        });
        Ok(ending)
    }

    /// What stops the next incarnation.
    fn begin(&self) -> Stop {
        let mut asked = lock(&self.0);
        if asked.signals == 0 {
            asked.stop = Stop::default();
        }
        asked.feed = None;
        asked.stop.clone()
    }

    /// What stops the present one.
    fn stop(&self) -> Stop {
        lock(&self.0).stop.clone()
    }

    /// Ends this feed by and by when a signal comes.
    fn attend(&self, feed: &Arc<Feed>) {
        let mut asked = lock(&self.0);
        if asked.signals > 0 {
            feed.finish();
        }
        asked.feed = Some(Arc::clone(feed));
    }

    fn is_asked(&self) -> bool {
        lock(&self.0).signals > 0
    }
}

/// Passes a signal on; says whether it is the first.
fn hear(asked: &Mutex<Asked>) -> bool {
    let mut asked = lock(asked);
    asked.signals += 1;
    match (&asked.feed, asked.signals) {
        (Some(feed), 1) => feed.finish(),
        (feed, _) => {
            asked.stop.stop();
            feed.iter().for_each(|feed| feed.stop());
        }
    }
    asked.signals == 1
}

fn lock(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    // What it guards is whole at any time.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
