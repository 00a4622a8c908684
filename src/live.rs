//! Live servers, put together: what a start finds in the ledger becomes the rooms of a job.
//!
//! ```text
//!  Config ─▶ Servers ── open ─▶ Opened ─▶ Found ── outside ─▶ sink::Live
//!                │                                            (ledger, scores, recalls, dead letters)
//!                └── tables ─▶ tables::Hbase
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use dataflows::{Epoch, Settings};

use crate::cluster::{self, Place};
use crate::config::{self, Config};
use crate::hbase::{self, Client, Kind, Table, Trying};
use crate::job::Standing;
use crate::kafka::Access;
use crate::ledger::{self, Binding, Fence, Freshness, Names, Opened, Room};
use crate::outside::Told;
use crate::redis::{self, Token};
use crate::retry::{Ended, Stop};
use crate::sink::{self, dead_letters};
use crate::source::{Feed, Group};
use crate::tables::{self, Tables};

/// Over how many connections histories are read, and over how many recalls are put.
const CONNECTIONS: usize = 4;

/// How often it is looked how fresh everything is.
const FRESHNESS: Duration = Duration::from_millis(200);

/// The servers that a configuration names, for one job.
pub struct Servers {
    job: String,
    redis: config::Redis,
    hbase: Option<Arc<Client>>,
    names: Arc<Names>,
    letters: config::DeadLetters,
    kafka: Access,
}

/// Why the rooms of a job cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger cannot be taken, or not be gone on from.
    #[error(transparent)]
    Ledger(Box<ledger::Error>),
    /// Redis cannot be spoken to.
    #[error(transparent)]
    Redis(#[from] redis::Error),
    /// HBase cannot be spoken to, or lacks a table.
    #[error(transparent)]
    Hbase(#[from] hbase::Error),
    /// Bound epochs recall, and no HBase is configured.
    #[error(
        "epochs are bound that recall into hbase, and none is configured: set hbase.thrift until they are done"
    )]
    NoHbase,
    /// Dead letters cannot be kept.
    #[error(transparent)]
    DeadLetters(#[from] dead_letters::Error),
    /// The job ends.
    #[error("the job is stopping")]
    Stopped,
}

impl From<ledger::Error> for Error {
    fn from(error: ledger::Error) -> Error {
        Error::Ledger(Box::new(error))
    }
}

impl<E: Into<Error> + std::error::Error + 'static> From<Ended<E>> for Error {
    fn from(ended: Ended<E>) -> Error {
        match ended {
            Ended::Stopped => Error::Stopped,
            Ended::Failed(error) => error.into(),
        }
    }
}

impl Servers {
    /// The servers that effects of `job` go to; connects to none yet.
    ///
    /// # Errors
    ///
    /// If a client cannot be made.
    pub fn new(
        config: &Config,
        job: &str,
        redis: &config::Redis,
        hbase: Option<&config::Hbase>,
    ) -> Result<Servers, Error> {
        let name = |of: fn(&config::Hbase) -> &config::Text| {
            hbase.map_or_else(String::new, |hbase| of(hbase).as_str().to_owned())
        };
        let names = Names {
            hot: redis.hot.as_str().to_owned(),
            new: redis.new.as_str().to_owned(),
            similar: name(|hbase| &hbase.similar),
            cb_recall: name(|hbase| &hbase.cb_recall),
            history_recall: name(|hbase| &hbase.history_recall),
        };
        Ok(Servers {
            job: job.to_owned(),
            redis: redis.clone(),
            hbase: hbase.map(Client::new).transpose()?.map(Arc::new),
            names: Arc::new(names),
            letters: config.dead_letters.clone(),
            kafka: Access::of(&config.kafka),
        })
    }

    /// The name of the job.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// The names of what effects go into.
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Begins an incarnation: see [`ledger::open`].
    ///
    /// # Errors
    ///
    /// If it cannot be begun, or the job stops.
    pub fn open(
        &self,
        after_loss: bool,
        before: Option<Token>,
        stop: &Stop,
    ) -> Result<Opened, Error> {
        Ok(ledger::open(&self.redis, &self.job, after_loss, before, stop)?)
    }

    /// Makes sure that the tables of HBase stand, and waits for HBase, for a job of these settings and names.
    ///
    /// # Errors
    ///
    /// If a table or a family is missing, no HBase is configured, or the job stops.
    pub fn require_tables(
        &self,
        settings: &Settings,
        names: &Names,
        stop: &Stop,
    ) -> Result<(), Error> {
        let Some(client) = self.hbase_of(settings)? else { return Ok(()) };
        client.attend(stop);
        for (kind, name) in [
            (Kind::Similar, &names.similar),
            (Kind::CbRecall, &names.cb_recall),
            (Kind::HistoryRecall, &names.history_recall),
        ] {
            let table = Table::new(kind, name);
            for difference in client.require(Trying::UntilItWorks(stop), &table)? {
                log::warn!("table {name} is not as it should be: {difference}");
            }
        }
        Ok(())
    }

    /// The tables, for a job of these settings and names; versions at the dates of `bound` epochs are their
    /// receipts.
    ///
    /// # Errors
    ///
    /// If no HBase is configured that they must be read from.
    pub fn tables(
        &self,
        settings: &Settings,
        names: &Names,
        bound: &VecDeque<Binding>,
        stop: &Stop,
    ) -> Result<Arc<dyn Tables>, Error> {
        let Some(client) = self.hbase_of(settings)? else { return Ok(Arc::new(tables::Unread)) };
        let bound = bound.iter().map(|binding| (binding.time, binding.epoch)).collect();
        let client = Arc::clone(client);
        Ok(Arc::new(tables::Hbase::new(client, names, bound, CONNECTIONS, stop.clone())))
    }

    /// HBase, which is asked for only where the job recalls: as it was bound, not as it is configured now.
    fn hbase_of(&self, settings: &Settings) -> Result<Option<&Arc<Client>>, Error> {
        match (settings.recall, &self.hbase) {
            (false, _) => Ok(None),
            (true, None) => Err(Error::NoHbase),
            (true, Some(client)) => Ok(Some(client)),
        }
    }

    /// What stands outside of a job of these settings that goes on from what was found, with its scores from
    /// `begin` on; and where it begins.
    ///
    /// # Errors
    ///
    /// If dead letters of former starts cannot be made ready, or a client not be made.
    pub fn outside(
        &self,
        settings: &Settings,
        found: ledger::Found,
        begin: sink::Begin,
        freshness: &Arc<Freshness>,
        group: Option<Group>,
        stop: &Stop,
    ) -> Result<(sink::Live, Receiver<Told>, Standing), Error> {
        let (told, hears) = unbounded();
        let standing = found.standing.clone();
        let (incarnation, length) = (found.token().number, found.letters);
        let fence = Arc::new(Fence::default());
        let letters = sink::DeadLetters::new(
            &self.letters,
            dead_letters::Start { job: &self.job, incarnation, length, fence: Some(&fence) },
            &self.kafka,
            told.clone(),
            stop.clone(),
        )?;
        let ran_before = standing.bound.back().map_or(standing.mark.epoch, |last| last.epoch);
        let ledger = found.start(Room {
            told: told.clone(),
            fence: Arc::clone(&fence),
            freshness: Arc::clone(freshness),
            stop: stop.clone(),
        });
        let doubts = Some(ledger.doubts());
        let owned = self.owned(settings, (begin, ran_before), &fence, doubts, told, stop)?;
        Ok((sink::Live { ledger, owned, letters, group }, hears, standing))
    }

    /// What writes the effects that a process makes durable by itself.
    fn owned(
        &self,
        settings: &Settings,
        (begin, ran_before): (sink::Begin, Epoch),
        fence: &Arc<Fence>,
        doubts: Option<ledger::Doubts>,
        told: Sender<Told>,
        stop: &Stop,
    ) -> Result<sink::Owned, Error> {
        let (told_scores, stops) = (told.clone(), stop.clone());
        let scores = sink::Redis::new(&self.redis, &self.job, begin, told_scores, stops, doubts)?;
        let recalls = self.hbase_of(settings)?.map(|client| {
            sink::Hbase::start(client, fence, ran_before, CONNECTIONS, stop, told.clone())
        });
        Ok(sink::Owned { scores, recalls, told })
    }

    /// What stands outside of a member of a cluster in a run.
    ///
    /// # Errors
    ///
    /// If a client cannot be made.
    pub fn of_member(
        &self,
        plan: &cluster::Plan,
        here: Place,
        doubts: ledger::Doubts,
        stop: &Stop,
    ) -> Result<(sink::Owned, Receiver<Told>), Error> {
        let (told, hears) = unbounded();
        let fence = Arc::new(Fence::default());
        let begin = plan.begin.clone().of_process(&plan.names, here);
        let ran_before =
            plan.bound().back().map_or(plan.standing.mark.epoch, |binding| binding.epoch);
        let (said, to) = (doubts.clone(), told.clone());
        ledger::confirm(&self.redis, &self.job, plan.token, &fence, said, to, stop)?;
        let began = (begin, ran_before);
        Ok((self.owned(&plan.settings, began, &fence, Some(doubts), told, stop)?, hears))
    }

    /// The same while done epochs run again for score keys that went back.
    ///
    /// # Errors
    ///
    /// If a client cannot be made.
    pub fn of_member_again(
        &self,
        plan: &cluster::Plan,
        here: Place,
        stop: &Stop,
    ) -> Result<(sink::Again, Receiver<Told>), Error> {
        self.again(plan.begin.clone().of_process(&plan.names, here), stop)
    }

    /// What stands outside while done epochs run again for score keys that went back.
    ///
    /// # Errors
    ///
    /// If a client cannot be made.
    pub fn again(
        &self,
        begin: sink::Begin,
        stop: &Stop,
    ) -> Result<(sink::Again, Receiver<Told>), Error> {
        let (told, hears) = unbounded();
        let scores =
            sink::Redis::new(&self.redis, &self.job, begin, told.clone(), stop.clone(), None)?;
        Ok((sink::Again::new(scores, told), hears))
    }
}

/// Says how fresh everything is that is read here, until the job stops.
pub fn watch_freshness(feed: &Feed, stop: &Stop, mut say: impl FnMut(u64)) {
    while !stop.wait(FRESHNESS) {
        if let Some(time) = feed.freshness() {
            say(time);
        }
    }
}
