//! A job on live servers: incarnation after incarnation, until there is no reason to begin again.
//!
//! ```text
//!  incarnation: take the ledger ─┬─▶ score keys that went back: their epochs again ─┐
//!      ▲                         ├─▶ bound epochs, where they come alone ───────────┤
//!      │                         └─▶ bound epochs, then what comes                  │
//!      └─────────── Redis went back, or there is more to begin with ◀───────────────┘
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dataflows::Settings;

use super::Error;
use super::work::{Read, Work};
use crate::cluster::{self, Plan, Reads};
use crate::job::{self, Standing};
use crate::ledger::{self, Binding, Found, Freshness, Mark, Names, Opened, Then};
use crate::live::{self, Servers};
use crate::redis::Token;
use crate::retry::{Stop, chain};
use crate::sink;
use crate::source::{Group, Reached};
use crate::tables;

/// How long is waited before another incarnation, where one has failed.
const RESPITE: Duration = Duration::from_millis(200);

/// Where the records of a job on live servers come from.
pub(super) trait Records {
    /// Whether bound epochs are read by an incarnation of their own, before anything new is.
    const BOUND_ALONE: bool;

    /// Where a job begins that has no ledger.
    fn beginning(&self, stop: &Stop) -> Result<Reached, Error>;

    /// Makes ready to read bound epochs again, and nothing else; `reached` is how far everything had
    /// been read before them, as far as that is known.
    fn bound(
        &self,
        reached: &Reached,
        bound: &VecDeque<Binding>,
        stop: &Stop,
    ) -> Result<Ready, Error>;

    /// Makes ready to read the bound epochs, if there are any, and then what comes.
    fn all(&self, found: &mut Found, stop: &Stop) -> Result<Ready, Error>;
}

/// Records that are ready to be read.
pub(super) struct Ready {
    pub read: Read,
    /// Whom lag tools ask how far the mark has come.
    pub group: Option<Group>,
}

/// What follows when an incarnation is at its end.
#[derive(Clone, Copy)]
enum Next {
    Nothing,
    Incarnation,
}

/// What an incarnation, or all of them together, have come to.
#[derive(Default)]
pub(super) struct Done {
    /// The mark before.
    pub from: Mark,
    /// The mark that is reached.
    pub to: Mark,
    /// All that was there to be read is done.
    pub is_all: bool,
}

impl Work<'_> {
    /// Works until all is read, or a signal comes.
    ///
    /// # Errors
    ///
    /// If an incarnation fails, and there is no sense in beginning another.
    pub fn with_servers<R: Records>(
        &self,
        servers: &Servers,
        mut after_loss: bool,
        records: &R,
    ) -> Result<Done, Error> {
        let mut done: Option<Done> = None;
        let mut token = None;
        let mut has_failed = false;
        loop {
            self.health.begin();
            let stop = self.ending.begin();
            // What goes wrong again and again does so no faster than this.
            if std::mem::take(&mut has_failed) {
                stop.wait(RESPITE);
            }
            let came = self.incarnation(servers, &mut after_loss, &mut token, records, &stop);
            let (now, next) = match came {
                Ok(came) => came,
                Err(error) if self.ending.signal().is_some() => {
                    return self.unless_ended(Err(error)).map(|()| done.unwrap_or_default());
                }
                Err(error) => match then(&error) {
                    Then::StartAgain { .. } => {
                        log::warn!("beginning again: {}", chain(&error));
                        token = match of_ledger(&error) {
                            Some(ledger::Error::WentBack { token, .. }) => Some(*token),
                            Some(ledger::Error::Lost { .. }) => None,
                            _ => token,
                        };
                        has_failed = true;
                        continue;
                    }
                    Then::Stop | Then::Fenced => return Err(error),
                },
            };
            // Redis may have gone back behind where we began.
            let first = done.map(|done| done.from).filter(|from| from.epoch <= now.from.epoch);
            let now = Done { from: first.unwrap_or(now.from), ..now };
            if matches!(next, Next::Nothing) || self.ending.signal().is_some() {
                return Ok(now);
            }
            done = Some(now);
        }
    }

    fn incarnation<R: Records>(
        &self,
        servers: &Servers,
        after_loss: &mut bool,
        token: &mut Option<Token>,
        records: &R,
        stop: &Stop,
    ) -> Result<(Done, Next), Error> {
        servers.require_tables(&self.config.settings, servers.names(), stop)?;
        let mut found = match servers.open(*after_loss, *token, stop)? {
            Opened::Found(found) => *found,
            Opened::Vacant(vacant) => {
                vacant.begin(records.beginning(stop)?).map_err(live::Error::from)?
            }
        };
        // What is lost later was not meant.
        *after_loss = false;
        self.health.ledger_taken();
        log::info!(
            "begun: job={} incarnation={} mark={} bound={}",
            servers.job(),
            found.token().number,
            found.standing.mark.epoch,
            found.standing.bound.len()
        );
        let from = found.standing.mark.clone();
        *token = Some(found.token());

        // 1. Score keys that went back come first: no later epoch may be applied to them before.
        if let Some(mut again) = found.again.take() {
            let (settings, names) = alike(&mut again.standing).expect("something is to run again");
            let settings = Settings { recall: false, ..(*settings).clone() };
            let ready = records.bound(&again.reached, &again.standing.bound, stop)?;
            let begin = sink::Begin::again(&again, found.token());
            let planned = (&again.standing, &again.reached, &begin);
            let plan = self.plan(&settings, &names, planned, found.token(), Reads::Again)?;
            let (outside, told) = servers.again(begin.of_process(&names, self.here), stop)?;
            let rooms = (Arc::new(tables::Unread) as _, (outside, told));
            let job = self.job(Arc::new(settings), &names, &again.standing, stop);
            self.run(&job, again.standing, rooms, plan, ready.read)?;
            let done = Done { from: from.clone(), to: from, is_all: false };
            return Ok((done, Next::Incarnation));
        }

        // 2. What was bound is done with the settings that it was bound with.
        let now = (Arc::new(self.config.settings.clone()), Arc::clone(servers.names()));
        let all_bound = found.standing.bound.len();
        let bound = alike(&mut found.standing);
        let is_cut = found.standing.bound.len() < all_bound;
        let only_bound = bound.filter(|bound| R::BOUND_ALONE || is_cut || *bound != now);
        let ready = match &only_bound {
            Some(_) => records.bound(&found.reached, &found.standing.bound, stop)?,
            None => records.all(&mut found, stop)?,
        };
        let next = if only_bound.is_some() { Next::Incarnation } else { Next::Nothing };
        let (settings, names) = only_bound.unwrap_or(now);
        if matches!(next, Next::Incarnation) {
            servers.require_tables(&settings, &names, stop)?;
        }
        let tables = servers.tables(&settings, &names, &found.standing.bound, stop)?;
        let freshness = Arc::new(Freshness::default());
        let begin = sink::Begin::of(&found);
        let reads = if matches!(next, Next::Incarnation) { Reads::Bound } else { Reads::All };
        let planned = (&found.standing, &found.reached, &begin);
        let plan = self.plan(&settings, &names, planned, found.token(), reads)?;
        let begin = begin.of_process(&names, self.here);
        let (outside, told, standing) =
            servers.outside(&settings, found, begin, &freshness, ready.group, stop)?;
        let job = self.job(settings, &names, &standing, stop);
        let rooms = (tables, (outside, told));
        let ended = match next {
            Next::Incarnation => self.run(&job, standing, rooms, plan, ready.read)?,
            // 3. Bound epochs, and then what comes.
            Next::Nothing => {
                self.run_watched(&job, standing, rooms, plan, ready.read, &freshness)?
            }
        };
        let is_all = ended.is_all && matches!(next, Next::Nothing);
        Ok((Done { from, to: ended.mark, is_all }, next))
    }
}

impl Work<'_> {
    /// What the other processes of a cluster are told of a run; nothing where there are none.
    fn plan(
        &self,
        settings: &Settings,
        names: &Names,
        (standing, reached, begin): (&Standing, &Reached, &sink::Begin),
        token: Token,
        reads: Reads,
    ) -> Result<Option<Plan>, Error> {
        if self.hub.is_none() {
            return Ok(None);
        }
        Ok(Some(Plan {
            run: cluster::draw().map_err(cluster::Error::from)?,
            token,
            settings: settings.clone(),
            names: names.clone(),
            standing: standing.clone(),
            reached: reached.clone(),
            begin: begin.clone(),
            reads,
            epoch: self.config.epoch,
            history_age: self.config.history_age,
        }))
    }
}

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
pub(super) fn then(error: &Error) -> Then {
    match (of_ledger(error), error) {
        (Some(error), _) => error.then(),
        // Why, the start finds out.
        (None, Error::Job(job::Error::Outside { source, .. })) if source.is::<sink::Changed>() => {
            Then::StartAgain { done: None }
        }
        _ => Then::Stop,
    }
}

/// The ledger's error, if it is one.
fn of_ledger(error: &Error) -> Option<&ledger::Error> {
    match error {
        Error::Live(live::Error::Ledger(error)) => Some(error),
        Error::Job(job::Error::Outside { source, .. }) => source.downcast_ref(),
        _ => None,
    }
}
