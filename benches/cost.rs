//! The COST baseline, frozen: what one thread does with the standard library.
//!
//! "Scalability! But at what COST?" (McSherry, Isard, Murray, 2015) asks which configuration of a
//! system outperforms a competent single thread. This is that thread: `BufRead::lines`, serde_json
//! into owned strings, `HashMap` and `HashSet`, as an engineer writes it who needs the result and has
//! other things to do. It counts hot scores, keeps the new articles, and recalls neighbours that are
//! not in the user's history, all in memory: no store, no epochs, no second run.
//!
//! It has neither been slowed down nor tuned, and stays as it is: a figure relative to it means the
//! same in every version. What it takes more simply than the job are dead letters, of which it keeps
//! none: a line that does not parse into the structs is one, which also holds for the few good records
//! in which a number stands for a string or the like.
//!
//! ```text
//! cost CLICKS ARTICLES SIMILAR
//! ```
//!
//! The clock starts when SIMILAR is loaded.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use serde::Deserialize;

mod figures;

use figures::{Figures, Stopwatch};

const NEIGHBOURS: usize = 10;
const TIME: u64 = 1_554_940_800_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Click {
    channel_id: u32,
    param: Param,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Param {
    action: String,
    user_id: String,
    article_id: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, clicks, articles, similar] = &args[..] else {
        return Err("usage: cost CLICKS ARTICLES SIMILAR".into());
    };
    let similar = load_similar(similar)?;

    let stopwatch = Stopwatch::start()?;
    let mut figures = Figures::default();
    let mut hot: HashMap<(u32, i64), u64> = HashMap::new();
    let mut history: HashMap<(String, u32), HashSet<i64>> = HashMap::new();
    for line in BufReader::new(File::open(clicks)?).lines() {
        let Some(click) = parse_click(line)? else {
            figures.dead_letters += 1;
            continue;
        };
        let Click { channel_id, param } = click;
        if !matches!(&param.action[..], "click" | "collect" | "share") {
            figures.others += 1;
            continue;
        }
        let Ok(article) = param.article_id.parse::<i64>() else {
            figures.dead_letters += 1;
            continue;
        };
        figures.hits += 1;
        *hot.entry((channel_id, article)).or_default() += 1;
        if let Some(neighbours) = similar.get(&article) {
            let seen = history.entry((param.user_id, channel_id)).or_default();
            let recall: Vec<i64> =
                neighbours.iter().copied().filter(|neighbour| seen.insert(*neighbour)).collect();
            figures.recalled += recall.len() as u64;
            for article in recall {
                figures.recalled_sum = figures.recalled_sum.wrapping_add(article as u64);
            }
        }
    }

    let mut new: HashMap<(u32, i64), u64> = HashMap::new();
    for line in BufReader::new(File::open(articles)?).lines() {
        let Some((channel, article, timestamp)) = parse_new_article(line)? else {
            figures.dead_letters += 1;
            continue;
        };
        figures.new_articles += 1;
        new.insert((channel, article), timestamp);
    }

    for ((_, article), score) in &hot {
        figures.hot_sum += score * article.rem_euclid(1000) as u64;
    }
    stopwatch.print(&figures)?;
    Ok(())
}

fn parse_click(line: io::Result<String>) -> io::Result<Option<Click>> {
    match line {
        Ok(line) => Ok(serde_json::from_str(&line).ok()),
        // Not UTF-8.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_new_article(line: io::Result<String>) -> io::Result<Option<(u32, i64, u64)>> {
    let line = match line {
        Ok(line) => line,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        Err(error) => return Err(error),
    };
    let (timestamp, record) = match line.strip_prefix("CreateTime:") {
        Some(stamped) => match stamped.split_once('\t') {
            Some((timestamp, record)) => (timestamp.parse().ok(), record),
            None => return Ok(None),
        },
        None => (Some(TIME), &line[..]),
    };
    let Some((channel, article)) = record.split_once(',') else {
        return Ok(None);
    };
    let channel = channel.trim().parse().ok();
    let article = article.trim().parse().ok();
    Ok(channel
        .zip(article)
        .zip(timestamp)
        .map(|((channel, article), time)| (channel, article, time)))
}

/// The nearest neighbours of each article, nearest first.
fn load_similar(path: &str) -> Result<HashMap<i64, Vec<i64>>, Box<dyn Error>> {
    let mut rows: HashMap<i64, Vec<(i64, f64)>> = HashMap::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        let fields: Vec<&str> = line.split('\t').collect();
        let [article, neighbour, value] = fields[..] else {
            return Err(format!("{path}: not ARTICLE<tab>NEIGHBOUR<tab>VALUE: {line}").into());
        };
        rows.entry(article.parse()?).or_default().push((neighbour.parse()?, value.parse()?));
    }
    let nearest = rows.into_iter().map(|(article, mut row)| {
        row.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
        row.truncate(NEIGHBOURS);
        (article, row.into_iter().map(|(neighbour, _)| neighbour).collect())
    });
    Ok(nearest.collect())
}
