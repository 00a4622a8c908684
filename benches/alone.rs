//! The dataflows alone: from the bytes of the files through decoding, computing and the committer,
//! with a sink that only counts.
//!
//! ```text
//! alone WORKERS CLICKS ARTICLES SIMILAR
//! ```
//!
//! All of it is the job that `replay` runs, in epochs of the same size, but for what stands outside:
//! the tables are read from SIMILAR into memory before the clock starts, no history stands in them,
//! and nothing is stored.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use dataflows::{Article, Ask, Epoch, History, Recall, Settings};
use online_recall::health::Health;
use online_recall::job::{Job, Rooms, Standing};
use online_recall::ledger::{Binding, Dates};
use online_recall::outside::{Done, Effects, Outside, Told};
use online_recall::retry::Stop;
use online_recall::sink::{DeadLetter, Failed, Scores};
use online_recall::source::Feed;
use online_recall::source::files::Plan;
use online_recall::tables::Tables;
use online_recall::text;

mod figures;

use figures::{Figures, Stopwatch};

/// The program's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const EPOCH_RECORDS: NonZeroU64 = NonZeroU64::new(10_000).expect("not zero");
const EPOCHS_IN_FLIGHT: u64 = 8;
const TIME: u64 = 1_554_940_800_000;

/// Histories are never dropped: what this run has recalled stands nowhere that it could be read from
/// again.
const HISTORY_BYTES: usize = usize::MAX;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, workers, clicks, articles, similar] = &args[..] else {
        return Err("usage: alone WORKERS CLICKS ARTICLES SIMILAR".into());
    };
    let tables = Arc::new(InMemory { similar: load_similar(similar)? });
    let job = Job {
        workers: workers.parse()?,
        loaders: workers.parse()?,
        settings: Arc::new(Settings::default()),
        names: Arc::default(),
        history_bytes: HISTORY_BYTES,
        history_age: None,
        refresh: None,
        dates: Dates::at(TIME, 0),
        undated: Some(TIME),
        records: Arc::default(),
        health: Health::default(),
        stop: Stop::default(),
    };
    let figures = Arc::new(Mutex::new(Figures::default()));

    let stopwatch = Stopwatch::start()?;
    let plan = Plan::new(&[PathBuf::from(clicks)], &[PathBuf::from(articles)], |_| false, [])?;
    let (cut, cuts) = crossbeam_channel::unbounded();
    let feed = Arc::new(Feed::new(Epoch(0), EPOCHS_IN_FLIGHT, cut));
    let (tell, told) = crossbeam_channel::unbounded();
    let outside = (Counting { figures: Arc::clone(&figures), tell }, told);
    let rooms = Rooms { tables, outside, feed: (feed, cuts) };
    job.run(Standing::default(), rooms, |feed| plan.read(feed, EPOCH_RECORDS))?;
    stopwatch.print(&figures.lock().unwrap_or_else(PoisonError::into_inner))?;
    Ok(())
}

/// The table of similar articles, and no history.
struct InMemory {
    similar: Similar,
}

/// Each article's neighbours with their values, in any order.
type Similar = HashMap<Article, Vec<(Article, f64)>>;

impl Tables for InMemory {
    fn similar(&self, row: &mut dyn FnMut(Article, Vec<(Article, f64)>)) -> Result<(), Failed> {
        self.similar.iter().for_each(|(article, neighbours)| row(*article, neighbours.clone()));
        Ok(())
    }

    fn history(&self, asks: Vec<Ask>) -> Result<Vec<History>, Failed> {
        Ok(asks.into_iter().map(|ask| History::of_nothing(ask.ticket)).collect())
    }
}

fn load_similar(path: &str) -> Result<Similar, Box<dyn Error>> {
    let mut similar = Similar::new();
    for line in fs::read_to_string(path)?.lines() {
        let bad = || format!("{path}: not ARTICLE<tab>NEIGHBOUR<tab>VALUE: {line}");
        let fields: Vec<&str> = line.split('\t').collect();
        let [article, neighbour, value] = fields[..] else { return Err(bad().into()) };
        let id = |field: &str| text::article(field.as_bytes()).ok_or_else(bad);
        similar.entry(id(article)?).or_default().push((id(neighbour)?, value.parse()?));
    }
    Ok(similar)
}

/// Takes everything, and keeps nothing but counts.
struct Counting {
    figures: Arc<Mutex<Figures>>,
    tell: Sender<Told>,
}

impl Counting {
    fn count(&self, told: Told, count: impl FnOnce(&mut Figures)) {
        count(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner));
        self.tell.send(told).expect("the job hears what it has asked for");
    }
}

impl Effects for Counting {
    fn scores(&mut self, binding: &Arc<Binding>, scores: Scores) {
        self.count(Told::Scored(binding.epoch, Vec::new()), |figures| {
            for increment in &scores.hot {
                figures.hot_sum += increment.weight * increment.article.0.rem_euclid(1000) as u64;
            }
        });
    }

    fn recalls(&mut self, binding: &Arc<Binding>, recalls: Vec<Recall>) {
        self.count(Told::Recalled(binding.epoch), |figures| {
            for recall in &recalls {
                figures.recalled += recall.articles.len() as u64;
                let sum = recall.articles.iter().map(|article| article.0 as u64);
                figures.recalled_sum = sum.fold(figures.recalled_sum, u64::wrapping_add);
            }
        });
    }
}

impl Outside for Counting {
    fn bind(&mut self, binding: &Arc<Binding>) {
        self.count(Told::Bound(binding.epoch), |_| ());
    }

    fn dead_letters(&mut self, binding: &Arc<Binding>, _: Vec<DeadLetter>) {
        self.count(Told::Kept(binding.epoch, 0), |_| ());
    }

    fn mark(&mut self, done: Done) {
        self.count(Told::Marked(done.binding.epoch), |figures| {
            figures.hits = done.mark.totals.hits;
            figures.others = done.mark.totals.others;
            figures.new_articles = done.mark.totals.new_articles;
            figures.dead_letters = done.mark.totals.all_dead_letters();
        });
    }
}
