//! What stands in HBase, for the commands that show, export and load: each asks once, and fails when
//! HBase does.

use std::collections::{BTreeMap, BTreeSet};

use crate::config;
use crate::hbase::{Change, Client, Difference, Kind, Row, Spot, Table, Trying, patience};
use crate::store::Store;
use crate::store::rows::{self, List};
use crate::text;

use super::Error;

/// Over how many connections a command reads and writes.
const CONNECTIONS: usize = 4;

/// How many rows are looked at together.
const ROWS: usize = 200;

/// How many changes are made together.
const CHANGES: usize = 4096;

/// HBase, as a command uses it.
pub(super) struct Hbase {
    client: Client,
    similar: Table,
    cb_recall: Table,
    history_recall: Table,
}

/// A version of a user's cell.
pub(super) struct Version {
    /// The channel, as the column is named.
    pub channel: Vec<u8>,
    /// Its date, in milliseconds since 1970.
    pub timestamp: u64,
    /// The list, as it was written.
    pub list: Vec<u8>,
}

impl Version {
    /// The line that it makes in an export, without its end; `user` is escaped.
    ///
    /// An end of a line within a list, which only others write, becomes a blank: it means no more.
    pub(super) fn line(&self, user: &[u8]) -> Vec<u8> {
        let mut line = [user, b"\t"].concat();
        text::escape(&self.channel, &mut line);
        line.extend_from_slice(format!("\t{}\t", self.timestamp).as_bytes());
        let plain = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
        line.extend(self.list.iter().map(plain));
        line
    }
}

impl Hbase {
    /// Knows the servers that the configuration names.
    pub(super) fn of(config: &config::Hbase) -> Result<Hbase, Error> {
        Ok(Hbase {
            client: Client::new(config)?,
            similar: Table::new(Kind::Similar, config.similar.as_str()),
            cb_recall: Table::new(Kind::CbRecall, config.cb_recall.as_str()),
            history_recall: Table::new(Kind::HistoryRecall, config.history_recall.as_str()),
        })
    }

    fn table(&self, kind: Kind) -> &Table {
        match kind {
            Kind::Similar => &self.similar,
            Kind::CbRecall => &self.cb_recall,
            Kind::HistoryRecall => &self.history_recall,
        }
    }

    fn rows(&self, table: &Table, keys: &[Vec<u8>]) -> Result<Vec<Row>, Error> {
        let rows = Trying::COMMAND
            .run("reading rows", |failures| self.client.rows(table, keys, patience(failures)))?;
        Ok(rows)
    }

    /// All versions of all cells of these rows, with the places where they stand.
    fn versions(&self, table: &Table, rows: &[Row]) -> Result<Vec<(Spot, Version)>, Error> {
        let spots: Vec<_> = rows
            .iter()
            .flat_map(|Row { key, columns }| {
                let spot =
                    |qualifier: &Vec<u8>| Spot { row: key.clone(), qualifier: qualifier.clone() };
                columns.iter().map(move |(qualifier, _)| spot(qualifier))
            })
            .collect();
        let found = self.client.standing_versions(Trying::COMMAND, table, &spots, CONNECTIONS)?;
        let mut all = Vec::new();
        for (spot, versions) in spots.into_iter().zip(found) {
            all.extend(versions.into_iter().map(|version| {
                let channel = spot.qualifier.clone();
                let (timestamp, list) = (version.timestamp, version.value);
                (spot.clone(), Version { channel, timestamp, list })
            }));
        }
        Ok(all)
    }

    /// All versions of a user's cells.
    pub(super) fn of_user(&self, kind: Kind, user: &[u8]) -> Result<Vec<Version>, Error> {
        let table = self.table(kind);
        let rows = self.rows(table, &[table.row(user)])?;
        let versions = self.versions(table, &rows)?;
        Ok(versions.into_iter().map(|(_, version)| version).collect())
    }

    /// The neighbours of an article and their values, as they stand.
    pub(super) fn of_article(&self, article: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let rows = self.rows(&self.similar, &[self.similar.row(article.as_bytes())])?;
        let columns = rows.into_iter().flat_map(|row| row.columns);
        Ok(columns.map(|(neighbour, version)| (neighbour, version.value)).collect())
    }

    /// Calls `each` with every user and all versions of the user's cells, in HBase's order of users.
    pub(super) fn each_user(
        &self,
        kind: Kind,
        mut each: impl FnMut(&[u8], Vec<Version>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let table = self.table(kind);
        let mut read = |rows: &mut Vec<Row>| {
            let versions = self.versions(table, rows)?;
            let mut versions = versions.into_iter().peekable();
            for Row { key, .. } in rows.drain(..) {
                let next = || versions.next_if(|(spot, _)| spot.row == key);
                let of_row = std::iter::from_fn(next).map(|(_, version)| version).collect();
                each(table.id(&key).expect("rows of others were left out"), of_row)?;
            }
            Ok::<_, Error>(())
        };
        let mut rows = Vec::new();
        self.client.scan(Trying::COMMAND, table, |row| {
            // Whoever else keeps rows in the table names them otherwise.
            if table.id(&row.key).is_some() {
                rows.push(row);
            }
            if rows.len() == ROWS { read(&mut rows) } else { Ok(()) }
        })?;
        read(&mut rows)
    }

    /// Calls `each` with every article and its neighbours with their values, sorted as they are written.
    /// What is no number is left out, as the job leaves it out.
    pub(super) fn each_article(
        &self,
        mut each: impl FnMut(&[u8], &[(Vec<u8>, Vec<u8>)]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.client.scan(Trying::COMMAND, &self.similar, |Row { key, columns }| {
            if text::article(&key).is_none() {
                return Ok(());
            }
            let mut neighbours = columns
                .into_iter()
                .map(|(neighbour, version)| (neighbour, version.value))
                .filter(|(neighbour, value)| {
                    text::article(neighbour).is_some() && text::similar_value(value).is_some()
                })
                .collect::<Vec<_>>();
            neighbours.sort_unstable();
            each(&key, &neighbours)
        })
    }

    /// Makes the tables that are missing; of each, whether it was made, and in what it differs from
    /// what it should be.
    pub(super) fn create_tables(&self) -> Result<Vec<(&Table, bool, Vec<Difference>)>, Error> {
        [&self.similar, &self.cb_recall, &self.history_recall]
            .into_iter()
            .map(|table| {
                let made = self.client.create(Trying::COMMAND, table)?;
                Ok((table, made, self.client.differences(Trying::COMMAND, table)?))
            })
            .collect()
    }

    /// Loads what stands in a store: of neighbours and of histories, what is wanted. Each row that stands
    /// there is replaced here.
    pub(super) fn load(&self, store: &Store, similar: bool, history: bool) -> Result<(), Error> {
        // A table that is missing is told before the other one is written.
        for (wanted, table) in [(similar, &self.similar), (history, &self.history_recall)] {
            if wanted {
                self.client.require(Trying::COMMAND, table)?;
            }
        }
        if similar {
            self.load_similar(store)?;
        }
        if history {
            self.load_histories(store)?;
        }
        Ok(())
    }

    fn load_similar(&self, store: &Store) -> Result<(), Error> {
        let mut rows = Vec::new();
        let mut neighbours = 0;
        for row in store.similar(None) {
            let (article, row) = row?;
            neighbours += row.len();
            rows.push((article, row));
            if rows.len() == ROWS || neighbours >= CHANGES {
                self.replace_similar(std::mem::take(&mut rows))?;
                neighbours = 0;
            }
        }
        self.replace_similar(rows)
    }

    /// Puts all neighbours of these articles, and deletes the others. A row is never without neighbours
    /// meanwhile: HBase makes the puts of a call before its deletes.
    fn replace_similar(&self, rows: Vec<(Vec<u8>, rows::SimilarRow)>) -> Result<(), Error> {
        let table = &self.similar;
        let keys: Vec<_> = rows.iter().map(|(article, _)| table.row(article)).collect();
        let standing: BTreeMap<_, _> =
            self.rows(table, &keys)?.into_iter().map(|row| (row.key, row.columns)).collect();
        let mut changes = Vec::new();
        for (key, (_, neighbours)) in keys.into_iter().zip(rows) {
            let spot = |qualifier| Spot { row: key.clone(), qualifier };
            let mut named = BTreeSet::new();
            for (neighbour, value) in neighbours {
                let qualifier = neighbour.to_string().into_bytes();
                named.insert(qualifier.clone());
                changes.push(Change::Put(spot(qualifier), value.into_bytes()));
            }
            let columns = standing.get(&key).into_iter().flatten().map(|(qualifier, _)| qualifier);
            let gone = columns.filter(|qualifier| !named.contains(*qualifier));
            changes.extend(gone.map(|qualifier| Change::Delete(spot(qualifier.clone()))));
        }
        if !changes.is_empty() {
            Trying::COMMAND.run("loading neighbours", |failures| {
                self.client.change(table, &changes, None, patience(failures))
            })?;
        }
        Ok(())
    }

    fn load_histories(&self, store: &Store) -> Result<(), Error> {
        let table = &self.history_recall;
        let mut loaded: Vec<(Spot, u64, Vec<u8>)> = Vec::new();
        for row in store.versions("") {
            let (key, version) = row?;
            let damaged = || store.damaged("cells", &key);
            let (user, channel, _) = rows::cell_fields(&key).ok_or_else(damaged)?;
            let user = text::unescape(user).ok_or_else(damaged)?;
            let List::Loaded(list) = version.list else { return Err(damaged().into()) };
            let spot = Spot { row: table.row(&user), qualifier: channel.to_vec() };
            // A user's versions are replaced together.
            if loaded.len() >= CHANGES
                && loaded.last().is_some_and(|(last, ..)| last.row != spot.row)
            {
                self.replace_histories(std::mem::take(&mut loaded))?;
            }
            loaded.push((spot, version.timestamp, list));
        }
        self.replace_histories(loaded)
    }

    /// Replaces the versions of all cells of these users.
    ///
    /// Thrift deletes a cell's versions up to a date, and such a delete hides what is put there later:
    /// also what is being loaded. So a version that is to go becomes an empty list, which counts as
    /// nothing to every reader.
    fn replace_histories(&self, loaded: Vec<(Spot, u64, Vec<u8>)>) -> Result<(), Error> {
        let table = &self.history_recall;
        let users: BTreeSet<_> = loaded.iter().map(|(spot, ..)| &spot.row).collect();
        let users: Vec<_> = users.into_iter().cloned().collect();
        let mut dated: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
        let named: BTreeSet<_> = loaded.iter().map(|(spot, at, _)| (spot, *at)).collect();
        for users in users.chunks(ROWS) {
            for (spot, Version { timestamp, list, .. }) in
                self.versions(table, &self.rows(table, users)?)?
            {
                if !named.contains(&(&spot, timestamp)) && list != NOTHING {
                    let gone = Change::Put(spot, NOTHING.to_owned());
                    dated.entry(timestamp).or_default().push(gone);
                }
            }
        }
        for (spot, at, list) in loaded {
            dated.entry(at).or_default().push(Change::Put(spot, list));
        }
        let dated: Vec<_> = dated.into_iter().collect();
        self.client.change_dated(Trying::COMMAND, table, &dated, CONNECTIONS)?;
        Ok(())
    }
}

/// The list that counts as nothing.
const NOTHING: &[u8] = b"[]";
