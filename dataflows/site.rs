//! A small site for tests: feeds the dataflows by hand, answers what they ask, collects what comes out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use timely::CommunicationConfig;

use crate::{
    Action, Article, Ask, Cell, Channel, Epoch, History, Hit, NewArticle, Place, Recall, Row,
    Settings, User, build,
};

/// What is done to the dataflows, and how they run.
#[derive(Clone)]
pub(crate) struct Site {
    pub workers: usize,
    /// Whether records travel as between processes.
    pub apart: bool,
    pub settings: Settings,
    /// How many bytes of histories each worker keeps.
    pub history_bytes: usize,
    /// How many epochs the mark stays behind.
    pub lag: u64,
    /// The last epoch that may have run before.
    pub bound: u64,
    /// The changes of the table of similar articles, by the epoch from which on they count.
    pub similar: Vec<(u64, i64, Option<Vec<i64>>)>,
    /// What stands in histories before the first epoch.
    pub history: Vec<(Cell, Vec<i64>)>,
    /// The hits of epoch 1, 2, …
    pub hits: Vec<Vec<Hit>>,
    /// The new articles of epoch 1, 2, …
    pub articles: Vec<Vec<NewArticle>>,
}

/// All that has come out, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Epoch, channel, article, weight.
    pub hot: Vec<(u64, u32, i64, u64)>,
    /// Epoch, channel, article, timestamp.
    pub new: Vec<(u64, u32, i64, Option<u64>)>,
    /// Epoch and recall.
    pub recalls: Vec<(u64, Recall)>,
    /// How often a history was asked for.
    pub asks: usize,
}

impl Default for Site {
    fn default() -> Self {
        Site {
            workers: 1,
            apart: false,
            settings: Settings::default(),
            history_bytes: 1 << 20,
            lag: 0,
            bound: 0,
            similar: Vec::new(),
            history: Vec::new(),
            hits: Vec::new(),
            articles: Vec::new(),
        }
    }
}

pub(crate) fn cell(user: u64, channel: u32) -> Cell {
    Cell { user: User::from_decimal(user), channel: Channel(channel) }
}

/// A click at an offset of the one partition.
pub(crate) fn click(offset: u64, user: u64, channel: u32, article: i64) -> Hit {
    let Cell { user, channel } = cell(user, channel);
    let place = Place { partition: 0, offset };
    Hit { user, channel, article: Article(article), action: Action::Click, place }
}

pub(crate) fn ids(articles: &[i64]) -> Vec<Article> {
    articles.iter().copied().map(Article).collect()
}

impl Site {
    /// Runs all epochs, the records spread over the workers.
    pub(crate) fn run(&self) -> Effects {
        let effects = Arc::new(Mutex::new(Effects::default()));
        let (site, out) = (self.clone(), Arc::clone(&effects));
        let config = match self.apart {
            true => timely::Config {
                communication: CommunicationConfig::ProcessBinary(self.workers),
                worker: timely::WorkerConfig::default(),
            },
            false => timely::Config::process(self.workers),
        };
        let guards = timely::execute(config, move |worker| {
            let (index, peers) = (worker.index(), worker.peers());
            let here = |nth: usize| nth % peers == index;
            let (mut inputs, outputs) =
                build(worker, &site.settings, site.history_bytes, Epoch(site.bound));
            // What is durable outside, of the cells that this worker owns.
            let mut stands: BTreeMap<Cell, (Vec<Article>, u32)> = BTreeMap::new();
            for (cell, articles) in &site.history {
                let (standing, versions) = stands.entry(cell.clone()).or_default();
                standing.extend(ids(articles));
                *versions += 1;
            }
            inputs.hits.advance_to(Epoch(1));
            inputs.articles.advance_to(Epoch(1));
            let mut computed: BTreeMap<u64, Vec<Recall>> = BTreeMap::new();
            for epoch in 1..=site.hits.len().max(site.articles.len()) as u64 {
                let mark = epoch.saturating_sub(1 + site.lag);
                for (_, recalls) in computed.extract_if(..=mark, |_, _| true) {
                    for Recall { cell, articles, version, .. } in recalls {
                        let (standing, versions) = stands.entry(cell).or_default();
                        assert_eq!(*versions, version, "versions are numbered without a gap");
                        standing.extend(articles);
                        *versions += 1;
                    }
                }
                inputs.history.advance_to(Epoch(mark + 1));
                let rows = site.similar.iter().enumerate();
                for (_, (from, article, row)) in
                    rows.filter(|(nth, row)| here(*nth) && row.0.max(1) == epoch)
                {
                    let row: Row =
                        (Article(*article), row.as_ref().map(|row| ids(row).into()), Epoch(*from));
                    inputs.similar.send(row);
                }
                let nth = (epoch - 1) as usize;
                let hits = site.hits.get(nth).into_iter().flatten().cloned();
                for (_, hit) in hits.enumerate().filter(|(nth, _)| here(*nth)) {
                    inputs.hits.send(hit);
                }
                let articles = site.articles.get(nth).into_iter().flatten().cloned();
                for (_, article) in articles.enumerate().filter(|(nth, _)| here(*nth)) {
                    inputs.articles.send(article);
                }
                inputs.hits.advance_to(Epoch(epoch + 1));
                inputs.articles.advance_to(Epoch(epoch + 1));
                inputs.similar.advance_to(Epoch(epoch + 1));
                while outputs.counted.less_equal(&Epoch(epoch))
                    || outputs.recalled.less_equal(&Epoch(epoch))
                {
                    // For a moment: what other workers do need not wake this one.
                    worker.step_or_park(Some(Duration::from_millis(1)));
                    for Ask { cell, ticket } in outputs.asks.take_all() {
                        let (articles, versions) = stands.get(&cell).cloned().unwrap_or_default();
                        let receipts = Vec::new();
                        inputs.history.send(History { ticket, articles, versions, receipts });
                        out.lock().unwrap().asks += 1;
                    }
                    inputs.history.flush();
                }
                let recalls = outputs.recalls.take(Epoch(epoch));
                let mut out = out.lock().unwrap();
                out.recalls.extend(recalls.iter().map(|recall| (epoch, recall.clone())));
                computed.insert(epoch, recalls);
                out.hot.extend(
                    outputs
                        .hot
                        .take(Epoch(epoch))
                        .into_iter()
                        .map(|gain| (epoch, gain.channel.0, gain.article.0, gain.weight)),
                );
                out.new.extend(
                    outputs
                        .new
                        .take(Epoch(epoch))
                        .into_iter()
                        .map(|new| (epoch, new.channel.0, new.article.0, new.timestamp)),
                );
            }
        });
        drop(guards.expect("the workers start").join());
        let mut effects = std::mem::take(&mut *effects.lock().unwrap());
        effects.hot.sort();
        effects.new.sort();
        effects.recalls.sort();
        effects
    }
}
