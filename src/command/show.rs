//! `show`: what stands outside, as a table for people or a JSON document for programs.

mod job;

use std::os::unix::ffi::OsStrExt;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, TableComponent};
use dataflows::{Article, Channel, Order};
use serde_json::{Number, Value, json};

use super::{Error, Place, Settled, date, in_hbase};
use crate::cli::{ShowArticle, ShowChannel, ShowUser, What};
use crate::hbase::Kind;
use crate::store::Store;
use crate::store::rows::{self, List};
use crate::{config, redis, text};

/// How many columns a table takes at most; longer lists go on in the next line.
const WIDTH: u16 = 100;

/// Prints what is asked for.
pub(super) fn show(what: &What) -> Result<String, Error> {
    match what {
        What::Hot(args) => hot(args),
        What::New(args) => new(args),
        What::Recall(args) => cells(args, Kind::CbRecall),
        What::History(args) => cells(args, Kind::HistoryRecall),
        What::Similar(args) => similar(args),
        What::Job(args) => job::job(args),
    }
}

fn hot(args: &ShowChannel) -> Result<String, Error> {
    let settled = Settled::of(&args.view.outside)?;
    let channel = channel(&args.channel)?;
    let listed = match &settled.place {
        Place::Store(dir) => {
            let store = Store::open(dir)?;
            by_score(stored(&store, &store.hot, channel, Number::from)?)
        }
        Place::Servers(servers) => live(&servers.redis, servers.redis.hot.as_str(), channel)?,
    };
    if args.view.json {
        return Ok(scores(&listed));
    }
    let most = listed.first().map_or(1.0, |(_, score)| real(score)).max(1.0);
    let mut table = table(["#", "article", "score", ""]);
    for ((article, score), rank) in listed.iter().zip(1..).take(args.top.get()) {
        let bar = "█".repeat((real(score) / most * 24.0) as usize);
        table.add_row([right(rank), right(article), right(score), Cell::new(bar)]);
    }
    Ok(titled(&format!("hot in channel {}", args.channel), listed.len(), args.top.get(), &table))
}

fn new(args: &ShowChannel) -> Result<String, Error> {
    let settled = Settled::of(&args.view.outside)?;
    let channel = channel(&args.channel)?;
    let listed = match &settled.place {
        Place::Store(dir) => {
            let store = Store::open(dir)?;
            let seconds = |timestamp: u64| match timestamp.is_multiple_of(1000) {
                true => Number::from(timestamp / 1000),
                false => number(timestamp as f64 / 1000.0),
            };
            by_score(stored(&store, &store.new, channel, seconds)?)
        }
        Place::Servers(servers) => live(&servers.redis, servers.redis.new.as_str(), channel)?,
    };
    if args.view.json {
        return Ok(scores(&listed));
    }
    let mut table = table(["#", "article", "since"]);
    for ((article, seconds), rank) in listed.iter().zip(1..).take(args.top.get()) {
        // What is before 1970 was written by somebody else.
        let milliseconds = (real(seconds) * 1000.0).round().max(0.0) as u64;
        table.add_row([right(rank), right(article), Cell::new(date(milliseconds))]);
    }
    Ok(titled(&format!("new in channel {}", args.channel), listed.len(), args.top.get(), &table))
}

/// An article of a list, and its score.
type Listed = (String, Number);

/// Sorts as Redis does, turned round: score down, then member up as bytes.
fn by_score(mut listed: Vec<Listed>) -> Vec<Listed> {
    let descending = |x: &Number, y: &Number| match (x.as_u64(), y.as_u64()) {
        (Some(x), Some(y)) => y.cmp(&x),
        _ => real(y).total_cmp(&real(x)),
    };
    listed.sort_by(|(a, x), (b, y)| descending(x, y).then_with(|| a.cmp(b)));
    listed
}

/// A list as it stands in the store, in any order.
fn stored(
    store: &Store,
    scores: &fjall::Keyspace,
    channel: Channel,
    score: impl Fn(u64) -> Number,
) -> Result<Vec<Listed>, Error> {
    let prefix = rows::score_prefix(channel);
    let mut found = Vec::new();
    for row in store.scores(scores, &prefix) {
        let (key, stands) = row?;
        found.push((key[prefix.len()..].to_owned(), score(stands)));
    }
    Ok(found)
}

/// A list as it stands in Redis.
fn live(redis: &config::Redis, template: &str, channel: Channel) -> Result<Vec<Listed>, Error> {
    let key = template.replacen("{channel}", &channel.to_string(), 1);
    let listed = redis::Client::new(redis)?.list(&key)?.into_iter();
    let listed = listed
        .map(|(member, score)| (String::from_utf8_lossy(&member).into_owned(), number(score)));
    Ok(by_score(listed.collect()))
}

/// A score as it is written: whole where it has no fraction.
fn number(score: f64) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if score.fract() == 0.0 && score.abs() <= EXACT {
        return Number::from(score as i64);
    }
    // JSON has no infinity, and Redis nothing else that is no number.
    Number::from_f64(score.clamp(f64::MIN, f64::MAX)).unwrap_or_else(|| Number::from(0))
}

fn real(score: &Number) -> f64 {
    score.as_f64().unwrap_or(0.0)
}

fn scores(listed: &[Listed]) -> String {
    document(listed.iter().map(|(article, score)| json!({ "article": article, "score": score })))
}

/// A version of a cell: its channel, its date and its list, read.
type Version = (Channel, u64, Vec<Article>);

fn cells(args: &ShowUser, kind: Kind) -> Result<String, Error> {
    let settled = Settled::of(&args.view.outside)?;
    let user = args.user.as_bytes();
    let mut versions = match &settled.place {
        Place::Store(dir) => stored_cells(&Store::open(dir)?, kind, user)?,
        Place::Servers(servers) => live_cells(&servers.hbase()?, kind, user)?,
    };
    let what = if kind == Kind::CbRecall { "recalled" } else { "in the history" };
    versions.sort();
    if args.view.json {
        return Ok(document(versions.iter().map(|(channel, timestamp, articles)| {
            let articles: Vec<_> = articles.iter().map(Article::to_string).collect();
            json!({ "channel": channel.0, "timestamp": timestamp, "articles": articles })
        })));
    }
    let mut table = table(["channel", "at", "articles"]);
    for (channel, timestamp, articles) in &versions {
        let articles: Vec<_> = articles.iter().map(Article::to_string).collect();
        table.add_row([
            right(channel),
            Cell::new(date(*timestamp)),
            Cell::new(articles.join("  ")),
        ]);
    }
    let title = format!("{what}: user {}", args.user.display());
    Ok(titled(&title, versions.len(), usize::MAX, &table))
}

fn stored_cells(store: &Store, kind: Kind, user: &[u8]) -> Result<Vec<Version>, Error> {
    let mut versions = Vec::new();
    for row in store.versions(rows::user_prefix(user)) {
        let (key, version) = row?;
        let channel = rows::cell_fields(&key).and_then(|(_, channel, _)| text::channel(channel));
        let channel = channel.ok_or_else(|| store.damaged("cells", &key))?;
        let articles = match (kind, version.list) {
            (_, List::Recalled(articles)) | (Kind::CbRecall, List::Mailbox(articles)) => articles,
            (Kind::HistoryRecall, List::Loaded(text)) => {
                text::parse_list(&text).unwrap_or_default()
            }
            _ => continue,
        };
        versions.push((channel, version.timestamp, articles));
    }
    Ok(versions)
}

fn live_cells(hbase: &in_hbase::Hbase, kind: Kind, user: &[u8]) -> Result<Vec<Version>, Error> {
    let read = |version: in_hbase::Version| {
        let channel = text::channel(&version.channel)?;
        Some((channel, version.timestamp, text::parse_list(&version.list).unwrap_or_default()))
    };
    Ok(hbase.of_user(kind, user)?.into_iter().filter_map(read).collect())
}

/// The neighbours of an article, with their values as numbers and as they were written.
type Neighbour = (Article, f64, String);

fn stored_neighbours(store: &Store, article: &str) -> Result<Vec<Neighbour>, Error> {
    let mut neighbours = Vec::new();
    for row in store.similar(Some(article)) {
        let (key, row) = row?;
        for (neighbour, text) in row {
            let value = text::similar_value(text.as_bytes());
            let value = value.ok_or_else(|| store.damaged("similar", &key))?;
            neighbours.push((neighbour, value, text));
        }
    }
    Ok(neighbours)
}

fn live_neighbours(hbase: &in_hbase::Hbase, article: &str) -> Result<Vec<Neighbour>, Error> {
    let read = |(neighbour, value): (Vec<u8>, Vec<u8>)| {
        let number = text::similar_value(&value)?;
        Some((text::article(&neighbour)?, number, String::from_utf8(value).ok()?))
    };
    Ok(hbase.of_article(article)?.into_iter().filter_map(read).collect())
}

fn similar(args: &ShowArticle) -> Result<String, Error> {
    let settled = Settled::of(&args.view.outside)?;
    let article = text::article(args.article.as_bytes())
        .ok_or_else(|| Error::Usage(format!("ARTICLE must be an integer, not `{}`", args.article)))?
        .to_string();
    let mut neighbours = match &settled.place {
        Place::Store(dir) => stored_neighbours(&Store::open(dir)?, &article)?,
        Place::Servers(servers) => live_neighbours(&servers.hbase()?, &article)?,
    };
    let order = settled.settings().order;
    neighbours.sort_by(|(a, x, _), (b, y, _)| {
        // As the job orders them: 0 and -0 are one number.
        let near = (x + 0.0).total_cmp(&(y + 0.0));
        if order == Order::Descending { near.reverse() } else { near }.then(a.cmp(b))
    });
    if args.view.json {
        return Ok(document(neighbours.iter().map(
            |(neighbour, value, _)| json!({ "article": neighbour.to_string(), "value": value }),
        )));
    }
    let mut table = table(["#", "article", "value"]);
    for ((neighbour, _, text), rank) in neighbours.iter().zip(1..) {
        table.add_row([right(rank), right(neighbour), right(text)]);
    }
    let title = format!("similar to article {article}");
    Ok(titled(&title, neighbours.len(), usize::MAX, &table))
}

fn channel(text: &str) -> Result<Channel, Error> {
    text::channel(text.as_bytes()).ok_or_else(|| {
        Error::Usage(format!("CHANNEL must be an integer from 0 to 2147483647, not `{text}`"))
    })
}

pub(super) fn document(items: impl Iterator<Item = Value>) -> String {
    format!("{}\n", Value::Array(items.collect()))
}

pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = plain();
    table.set_header(header).set_style(TableComponent::HeaderLines, '─');
    table
}

fn plain() -> Table {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH);
    table
}

/// The lines of a table, without the blanks behind them.
pub(super) fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

pub(super) fn right(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}

pub(super) fn titled(title: &str, found: usize, shown: usize, table: &Table) -> String {
    match found {
        0 => format!("{title}: nothing\n"),
        _ if found > shown => format!("{title}: {shown} of {found}\n{}", lines(table)),
        _ => format!("{title}: {found}\n{}", lines(table)),
    }
}
