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

use dataflows::{Article, Ask, History, Settings};
use online_recall::job::Job;
use online_recall::ledger::{Binding, Ledger, Mark};
use online_recall::sink::{Failed, Share, Sink};
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
        settings: Arc::new(Settings::default()),
        history_bytes: HISTORY_BYTES,
        in_flight: EPOCHS_IN_FLIGHT,
        time: TIME,
        records: Arc::default(),
    };
    let figures = Arc::new(Mutex::new(Figures::default()));

    let stopwatch = Stopwatch::start()?;
    let plan = Plan::new(&[PathBuf::from(clicks)], &[PathBuf::from(articles)], |_| false, [])?;
    let mark = Mark::default();
    let (cut, cuts) = crossbeam_channel::unbounded();
    let feed = Arc::new(Feed::new(mark.epoch, job.in_flight, cut));
    let outside = Counting { figures: Arc::clone(&figures) };
    job.run(mark, tables, outside, (feed, cuts), |feed| plan.read(feed, EPOCH_RECORDS))?;
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
        let nothing = |Ask { ticket, .. }| History { ticket, articles: Vec::new(), versions: 0 };
        Ok(asks.into_iter().map(nothing).collect())
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
}

impl Ledger for Counting {
    fn bind(&mut self, _binding: &Binding) -> Result<(), Failed> {
        Ok(())
    }

    fn mark(&mut self, mark: &Mark) -> Result<(), Failed> {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.hits = mark.totals.hits;
        figures.others = mark.totals.others;
        figures.new_articles = mark.totals.new_articles;
        figures.dead_letters = mark.totals.all_dead_letters();
        Ok(())
    }
}

impl Sink for Counting {
    fn apply(&mut self, _binding: &Binding, share: Share) -> Result<(), Failed> {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        for increment in &share.hot {
            figures.hot_sum += increment.weight * increment.article.0.rem_euclid(1000) as u64;
        }
        for recall in &share.recalls {
            figures.recalled += recall.articles.len() as u64;
            let sum = recall.articles.iter().map(|article| article.0 as u64);
            figures.recalled_sum = sum.fold(figures.recalled_sum, u64::wrapping_add);
        }
        Ok(())
    }
}
