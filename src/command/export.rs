//! `export`: everything that stands, as sorted text files.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use crate::hbase::Kind;
use crate::store::Store;
use crate::store::rows::{self, List};
use crate::text;

use super::{Error, Servers};

/// Writes every file of the export of live servers into `out`.
pub(super) fn live(servers: &Servers, out: &Path) -> Result<(), Error> {
    fs::create_dir_all(out).map_err(|error| Error::write(out, error))?;
    let hbase = servers.hbase()?;
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
