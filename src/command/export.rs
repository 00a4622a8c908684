//! `export`: everything that stands, as sorted text files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use dataflows::Channel;

use super::{Error, Servers, in_hbase, replay_of};
use crate::config::{self, Config};
use crate::hbase::Kind;
use crate::sink::dead_letters;
use crate::store::Store;
use crate::store::rows::{self, List};
use crate::{redis, text};

/// Writes every file of the export of live servers into `out`: what a job has that runs without
/// `recall`, or sends its dead letters to a topic, and no more.
pub(super) fn live(servers: &Servers, config: &Config, out: &Path) -> Result<(), Error> {
    fs::create_dir_all(out).map_err(|error| Error::write(out, error))?;
    let mut redis = redis::Client::new(&servers.redis)?;
    let config::Redis { hot, new, .. } = &servers.redis;
    let score = |score: f64| score.to_string();
    write(out, "hot.tsv", |lines| lists(&mut redis, hot.as_str(), score, lines))?;
    let seconds = |score: f64| text::decimal(score, 3);
    write(out, "new.tsv", |lines| lists(&mut redis, new.as_str(), seconds, lines))?;
    match &config.dead_letters {
        config::DeadLetters::Folder(folder) => {
            let mut all = Vec::new();
            for job in [config.job.as_str().to_owned(), replay_of(config)] {
                kept_letters(servers, folder.as_str().as_ref(), &job, &mut all)?;
            }
            write(out, "dead_letters.tsv", |lines| lines.put_sorted(&mut all))?;
        }
        config::DeadLetters::Topic(topic) => {
            log::warn!("dead letters stand in the topic {}, and are not exported", topic.as_str());
        }
    }
    if config.settings.recall {
        tables(&servers.hbase()?, out)?;
    }
    Ok(())
}

/// Writes the lists of one kind of all channels. Memory is bounded by the longest.
fn lists(
    redis: &mut redis::Client,
    template: &str,
    score: impl Fn(f64) -> String,
    lines: &mut Lines<'_>,
) -> Result<(), Error> {
    // As the lines are sorted, not by number.
    let channels = redis.channels(template)?;
    let channels: BTreeSet<_> = channels.iter().map(Channel::to_string).collect();
    for channel in channels {
        let mut list = Vec::new();
        for (member, stands) in redis.list(&template.replacen("{channel}", &channel, 1))? {
            let mut line = [channel.as_bytes(), b"\t"].concat();
            text::escape(&member, &mut line);
            line.push(b'\t');
            line.extend_from_slice(score(stands).as_bytes());
            list.push(line);
        }
        lines.put_sorted(&mut list)?;
    }
    Ok(())
}

/// Adds the lines of a job's dead letters up to its mark.
fn kept_letters(
    servers: &Servers,
    folder: &Path,
    job: &str,
    all: &mut Vec<Vec<u8>>,
) -> Result<(), Error> {
    // The ledger first: what it says is marked is not cut off any more.
    let mut ledger = redis::Job::new(&servers.redis, job)?;
    let Some(rows) = ledger.read()? else { return Ok(()) };
    let incarnation = ledger.look()?.map_or(0, |stands| stands.token.number);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let files =
        dead_letters::marked(folder, job, incarnation, rows.letters).map_err(failed(folder))?;
    let mut there = 0;
    for (path, length) in files {
        let file = File::open(&path).map_err(failed(&path))?;
        for line in BufReader::new(file.take(length)).split(b'\n') {
            let line = line.map_err(failed(&path))?;
            there += line.len() as u64 + 1;
            all.push(line);
        }
    }
    if there < rows.letters {
        let (folder, marked) = (folder.display(), rows.letters);
        log::warn!(
            "dead letters are missing here: job={job} path={folder} length={there} marked={marked}"
        );
    }
    Ok(())
}

/// Writes the tables of HBase.
fn tables(hbase: &in_hbase::Hbase, out: &Path) -> Result<(), Error> {
    for (name, kind) in
        [("cb_recall.tsv", Kind::CbRecall), ("history_recall.tsv", Kind::HistoryRecall)]
    {
        let mut odd = Vec::new();
        write(out, name, |lines| {
            hbase.each_user(kind, |user, versions| {
                let mut escaped = Vec::new();
                text::escape(user, &mut escaped);
                let versions = versions.iter().map(|version| version.line(&escaped));
                // HBase sorts users as they are, the lines stand as they are escaped.
                if escaped == user {
                    lines.put_sorted(&mut versions.collect())
                } else {
                    odd.extend(versions);
                    Ok(())
                }
            })
        })?;
        merge(out, name, odd)?;
    }
    write(out, "similar.tsv", |lines| {
        hbase.each_article(|article, neighbours| {
            neighbours
                .iter()
                .try_for_each(|(neighbour, value)| lines.put(&[article, neighbour, value]))
        })
    })
}

/// Puts lines among those of a file, all sorted.
fn merge(out: &Path, name: &str, mut lines: Vec<Vec<u8>>) -> Result<(), Error> {
    if lines.is_empty() {
        return Ok(());
    }
    lines.sort_unstable();
    let mut lines = lines.into_iter().peekable();
    let place = out.join(name);
    let failed = |error| Error::Read { path: place.clone(), source: error };
    let file = BufReader::new(File::open(&place).map_err(failed)?);
    write(out, name, |merged| {
        for line in file.split(b'\n') {
            let line = line.map_err(failed)?;
            while let Some(before) = lines.next_if(|other| *other < line) {
                merged.put(&[&before])?;
            }
            merged.put(&[&line])?;
        }
        lines.try_for_each(|line| merged.put(&[&line]))
    })
}

/// Writes every file of the export of a store into `out`. Memory is bounded by the versions of one cell.
pub(super) fn stored(store: &Store, out: &Path) -> Result<(), Error> {
    fs::create_dir_all(out).map_err(|error| Error::write(out, error))?;
    write(out, "hot.tsv", |lines| {
        for score in store.scores(&store.hot, "") {
            let (key, score) = score?;
            lines.put(&[key.as_bytes(), score.to_string().as_bytes()])?;
        }
        Ok(())
    })?;
    write(out, "new.tsv", |lines| {
        for score in store.scores(&store.new, "") {
            let (key, timestamp) = score?;
            lines.put(&[key.as_bytes(), text::seconds(timestamp).as_bytes()])?;
        }
        Ok(())
    })?;
    write(out, "cb_recall.tsv", |lines| {
        cells(store, lines, |list| list.in_cb_recall().map(String::into_bytes))
    })?;
    write(out, "history_recall.tsv", |lines| cells(store, lines, List::in_history))?;
    write(out, "similar.tsv", |lines| {
        for row in store.similar(None) {
            let (article, neighbours) = row?;
            for (neighbour, value) in neighbours {
                lines.put(&[&article, neighbour.to_string().as_bytes(), value.as_bytes()])?;
            }
        }
        Ok(())
    })?;
    write(out, "dead_letters.tsv", |lines| letters(store, lines))
}

/// Writes all dead letters. The store's order is that of place and reason; those that share both are
/// sorted here.
fn letters(store: &Store, lines: &mut Lines<'_>) -> Result<(), Error> {
    let mut place: (Vec<u8>, Vec<Vec<u8>>) = Default::default();
    for letter in store.pairs(&store.letters, "") {
        let (key, bytes) = letter?;
        let here = rows::letter_fields(&key).ok_or_else(|| store.damaged("letters", &key))?;
        if place.0 != here {
            lines.put_sorted(&mut place.1)?;
            place.0 = here.to_owned();
        }
        let mut line = [here, b"\t"].concat();
        text::escape(&bytes, &mut line);
        place.1.push(line);
    }
    lines.put_sorted(&mut place.1)
}

/// Writes the versions of all cells that `list` finds to stand. The store's order is that of the
/// cells; within one, the lines are sorted here.
fn cells(
    store: &Store,
    lines: &mut Lines<'_>,
    list: impl Fn(&List) -> Option<Vec<u8>>,
) -> Result<(), Error> {
    let mut cell: (Vec<u8>, Vec<Vec<u8>>) = Default::default();
    for row in store.versions("") {
        let (key, version) = row?;
        let damaged = || store.damaged("cells", &key);
        let (user, channel, _) = rows::cell_fields(&key).ok_or_else(damaged)?;
        let here = [user, channel].join(&b'\t');
        if cell.0 != here {
            lines.put_sorted(&mut cell.1)?;
            cell.0 = here;
        }
        if let Some(list) = list(&version.list) {
            let timestamp = version.timestamp.to_string();
            cell.1.push([&cell.0, timestamp.as_bytes(), &list].join(&b'\t'));
        }
    }
    lines.put_sorted(&mut cell.1)
}

/// A file of the export that is being written.
struct Lines<'a> {
    file: BufWriter<File>,
    path: &'a Path,
}

impl Lines<'_> {
    fn put(&mut self, fields: &[&[u8]]) -> Result<(), Error> {
        let mut line = fields.join(&b'\t');
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| Error::write(self.path, error))
    }

    fn put_sorted(&mut self, lines: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        lines.sort_unstable();
        lines.drain(..).try_for_each(|line| self.put(&[&line]))
    }
}

/// Writes a file beside its place and then moves it there: what stands there is always whole.
fn write(
    out: &Path,
    name: &str,
    lines: impl FnOnce(&mut Lines<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let (place, temporary) = (out.join(name), out.join(format!("{name}.tmp")));
    let failed = |error| Error::write(&temporary, error);
    let file = BufWriter::with_capacity(1 << 16, File::create(&temporary).map_err(failed)?);
    let mut to = Lines { file, path: &temporary };
    lines(&mut to)?;
    let file = to.file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary, &place).map_err(|error| Error::write(&place, error))
}
