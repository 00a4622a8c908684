//! What stands in HBase, for the commands that show, export and load: each asks once, and fails when
//! HBase does.

mod load;

use crate::config;
use crate::hbase::{Client, Difference, Kind, Row, Spot, Table, Trying, patience};
use crate::text;

use super::Error;

/// Over how many connections a command reads and writes.
const CONNECTIONS: usize = 4;

/// How many rows are looked at together.
const ROWS: usize = 200;

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

/// A neighbour and its value, as they stand.
pub(super) type Neighbour = (Vec<u8>, Vec<u8>);

/// What became of making a table.
pub(super) struct Made<'a> {
    /// The table.
    pub table: &'a Table,
    /// It was not there before.
    pub is_new: bool,
    /// In what it differs from what it should be.
    pub differences: Vec<Difference>,
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
    pub(super) fn of_article(&self, article: &str) -> Result<Vec<Neighbour>, Error> {
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
        mut each: impl FnMut(&[u8], &[Neighbour]) -> Result<(), Error>,
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

    /// Makes the tables that are missing.
    pub(super) fn create_tables(&self) -> Result<Vec<Made<'_>>, Error> {
        [&self.similar, &self.cb_recall, &self.history_recall]
            .into_iter()
            .map(|table| {
                let is_new = self.client.create(Trying::COMMAND, table)?;
                let differences = self.client.differences(Trying::COMMAND, table)?;
                Ok(Made { table, is_new, differences })
            })
            .collect()
    }
}
