//! `show`: what stands in the store, as a table for people or a JSON document for programs.

mod job;

use std::cmp::Reverse;
use std::os::unix::ffi::OsStrExt;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, TableComponent};
use dataflows::{Article, Channel, Order};
use serde_json::{Value, json};

use super::{Error, Place, Settled, date, live};
use crate::cli::{ShowArticle, ShowChannel, ShowUser, What};
use crate::hbase::Kind;
use crate::store::Store;
use crate::store::rows::{self, List};
use crate::text;

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
    let store = Settled::of(&args.view.outside)?.open()?;
    let scores = by_score(&store, &store.hot, channel(&args.channel)?)?;
    if args.view.json {
        return Ok(document(
            scores.iter().map(|(article, score)| json!({ "article": article, "score": score })),
        ));
    }
    let most = scores.first().map_or(0, |(_, score)| *score).max(1);
    let mut table = table(["#", "article", "score", ""]);
    for ((article, score), rank) in scores.iter().zip(1..).take(args.top.get()) {
        let bar = "█".repeat((*score as u128 * 24 / u128::from(most)) as usize);
        table.add_row([right(rank), right(article), right(score), Cell::new(bar)]);
    }
    Ok(titled(&format!("hot in channel {}", args.channel), scores.len(), args.top.get(), &table))
}

fn new(args: &ShowChannel) -> Result<String, Error> {
    let store = Settled::of(&args.view.outside)?.open()?;
    let scores = by_score(&store, &store.new, channel(&args.channel)?)?;
    if args.view.json {
        return Ok(document(scores.iter().map(|(article, timestamp)| {
            let whole = timestamp.is_multiple_of(1000);
            let seconds =
                if whole { json!(timestamp / 1000) } else { json!(*timestamp as f64 / 1000.0) };
            json!({ "article": article, "score": seconds })
        })));
    }
    let mut table = table(["#", "article", "since"]);
    for ((article, timestamp), rank) in scores.iter().zip(1..).take(args.top.get()) {
        table.add_row([right(rank), right(article), Cell::new(date(*timestamp))]);
    }
    Ok(titled(&format!("new in channel {}", args.channel), scores.len(), args.top.get(), &table))
}

/// The articles of a channel in Redis's order: score down, then member up as bytes.
fn by_score(
    store: &Store,
    scores: &fjall::Keyspace,
    channel: Channel,
) -> Result<Vec<(String, u64)>, Error> {
    let prefix = rows::score_prefix(channel);
    let mut found = Vec::new();
    for score in store.scores(scores, &prefix) {
        let (key, score) = score?;
        found.push((key[prefix.len()..].to_owned(), score));
    }
    found.sort_by(|(a, x), (b, y)| Reverse(x).cmp(&Reverse(y)).then_with(|| a.cmp(b)));
    Ok(found)
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

fn live_cells(hbase: &live::Hbase, kind: Kind, user: &[u8]) -> Result<Vec<Version>, Error> {
    let read = |version: live::Version| {
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

fn live_neighbours(hbase: &live::Hbase, article: &str) -> Result<Vec<Neighbour>, Error> {
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
