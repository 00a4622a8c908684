//! The calls of Thrift that this program makes, each with what was found out about it.

use std::time::Duration;

use hbase_thrift::hbase::{BatchMutation, Mutation, TCell, THbaseSyncClient, TRowResult, TScan};

use super::Error;
use super::client::{Client, Lease, none};
use super::table::{Spot, Table};

/// A version of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its date, in milliseconds since 1970.
    pub timestamp: u64,
    /// What it holds.
    pub value: Vec<u8>,
}

/// A row: of each column of the family the newest version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// What stands behind the family in the column's name, and the newest version, sorted.
    pub columns: Vec<(Vec<u8>, Version)>,
}

/// A change of a column.
#[derive(Clone, Debug)]
pub enum Change {
    /// Puts a version.
    Put(Spot, Vec<u8>),
    /// Deletes all versions up to the date of the change.
    Delete(Spot),
}

impl Client {
    /// All versions of a cell, the newest first.
    ///
    /// `getVer` for all: of zero versions it is an error.
    ///
    /// # Errors
    ///
    /// If HBase does not answer with them.
    pub fn versions(
        &self,
        table: &Table,
        spot: &Spot,
        patience: Duration,
    ) -> Result<Vec<Version>, Error> {
        let column = table.column(&spot.qualifier);
        let cells = self.call(table, "getVer", patience, |thrift| {
            thrift.get_ver(name(table), spot.row.clone(), column, i32::MAX, none())
        })?;
        Ok(cells.into_iter().map(Version::from).collect())
    }

    /// Those of the rows that have anything in the family, each with the newest versions.
    ///
    /// # Errors
    ///
    /// If HBase does not answer with them.
    pub fn rows(
        &self,
        table: &Table,
        rows: &[Vec<u8>],
        patience: Duration,
    ) -> Result<Vec<Row>, Error> {
        let found = self.call(table, "getRowsWithColumns", patience, |thrift| {
            let family = vec![table.kind.family().into()];
            thrift.get_rows_with_columns(name(table), rows.to_vec(), family, none())
        })?;
        Ok(found.into_iter().map(Row::from).collect())
    }

    /// Makes changes, dated `at`, or by the region server. Those of a row that follow each other are
    /// made together; of the rows some may be changed though the call fails.
    ///
    /// A row must not put and delete the same column: nothing would be left of it.
    ///
    /// # Errors
    ///
    /// If HBase does not say that all are made.
    pub fn change(
        &self,
        table: &Table,
        changes: &[Change],
        at: Option<u64>,
        patience: Duration,
    ) -> Result<(), Error> {
        let rows = changes
            .chunk_by(|a, b| a.spot().row == b.spot().row)
            .map(|row| BatchMutation {
                row: Some(row[0].spot().row.clone()),
                mutations: Some(row.iter().map(|change| change.mutation(table)).collect()),
            })
            .collect();
        match at {
            None => self.call(table, "mutateRows", patience, |thrift| {
                thrift.mutate_rows(name(table), rows, none())
            }),
            Some(at) => self.call(table, "mutateRowsTs", patience, |thrift| {
                thrift.mutate_rows_ts(name(table), rows, at.cast_signed(), none())
            }),
        }
    }
}

impl Lease<'_> {
    /// Begins to read the family of a table from this row on; `rows` is how many the server fetches at
    /// once. A table that does not exist is told by [`Lease::scanned`].
    pub(super) fn scan(
        &mut self,
        table: &Table,
        from: &[u8],
        rows: i32,
        patience: Duration,
    ) -> Result<i32, Error> {
        // No batch size: rows come whole. Nothing of it is kept in the region server's cache.
        let scan = TScan {
            start_row: Some(from.to_owned()),
            stop_row: None,
            timestamp: None,
            columns: Some(vec![table.kind.family().into()]),
            caching: Some(rows),
            filter_string: None,
            batch_size: None,
            sort_columns: None,
            reversed: None,
            cache_blocks: Some(false),
        };
        self.call(table, "scannerOpenWithScan", patience, |thrift| {
            thrift.scanner_open_with_scan(name(table), scan, none())
        })
    }

    /// The next rows; none at the end of the table.
    pub(super) fn scanned(
        &mut self,
        table: &Table,
        scanner: i32,
        rows: i32,
        patience: Duration,
    ) -> Result<Vec<Row>, Error> {
        let found = self.call(table, "scannerGetList", patience, |thrift| {
            thrift.scanner_get_list(scanner, rows)
        });
        match found {
            Ok(found) => Ok(found.into_iter().map(Row::from).collect()),
            // It is the number of the scanner that is not accepted: the server does not know it.
            Err(Error::Illegal { table, server, .. }) => Err(Error::ScanLost { table, server }),
            Err(error) => Err(error),
        }
    }

    /// Ends the reading.
    pub(super) fn end_scan(
        &mut self,
        table: &Table,
        scanner: i32,
        patience: Duration,
    ) -> Result<(), Error> {
        self.call(table, "scannerClose", patience, |thrift| thrift.scanner_close(scanner))
    }
}

pub(super) fn name(table: &Table) -> Vec<u8> {
    table.name.clone().into_bytes()
}

impl Change {
    fn spot(&self) -> &Spot {
        match self {
            Change::Put(spot, _) | Change::Delete(spot) => spot,
        }
    }

    fn mutation(&self, table: &Table) -> Mutation {
        let value = match self {
            Change::Put(_, value) => Some(value.clone()),
            Change::Delete(_) => None,
        };
        Mutation {
            is_delete: Some(value.is_none()),
            column: Some(table.column(&self.spot().qualifier)),
            value,
            // Left out, the crate says no: what was acknowledged would be lost with a region server.
            write_to_w_a_l: Some(true),
        }
    }
}

impl From<TCell> for Version {
    fn from(cell: TCell) -> Version {
        // Dates before 1970 are as old as 1970.
        let timestamp = u64::try_from(cell.timestamp.unwrap_or_default()).unwrap_or(0);
        Version { timestamp, value: cell.value.unwrap_or_default() }
    }
}

impl From<TRowResult> for Row {
    fn from(row: TRowResult) -> Row {
        let columns = row.columns.unwrap_or_default().into_iter();
        Row {
            key: row.row.unwrap_or_default(),
            columns: columns
                .map(|(column, cell)| (Table::qualifier(&column).to_owned(), cell.into()))
                .collect(),
        }
    }
}
