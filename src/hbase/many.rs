//! Readings of more than one call: all versions of many cells, all rows of a table.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::calls::{Change, Row, Version};
use super::client::{Client, patience};
use super::table::{Spot, Table};
use super::{Error, Trying};
use crate::retry::Ended;

/// How many rows are asked for at once.
const ROWS: usize = 256;

/// How many rows of a scan are fetched at once. A row may hold thousands of columns.
const SCANNED: i32 = 200;

/// How many calls make another connection worth while.
const WORTH: usize = 8;

impl Client {
    /// The newest version of each of these cells that stands, in the order of the cells.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn newest_versions(
        &self,
        trying: Trying<'_>,
        table: &Table,
        spots: &[Spot],
        connections: usize,
    ) -> Result<Vec<Option<Version>>, Ended<Error>> {
        let rows: BTreeSet<_> = spots.iter().map(|spot| &spot.row).collect();
        let rows: Vec<_> = rows.into_iter().cloned().collect();
        let chunks: Vec<_> = rows.chunks(ROWS).collect();
        let what = format!("reading rows of {}", table.name);
        let found = spread(&chunks, connections, 1, |rows| {
            trying.run(&what, |failures| self.rows(table, rows, patience(failures)))
        })?;
        let mut standing = HashMap::new();
        for Row { key, columns } in found.into_iter().flatten() {
            for (qualifier, version) in columns {
                standing.insert(Spot { row: key.clone(), qualifier }, version);
            }
        }
        Ok(spots.iter().map(|spot| standing.get(spot).cloned()).collect())
    }

    /// All versions of each of these cells, the newest first, in the order of the cells.
    ///
    /// There is no call that reads several versions of several rows. So the rows are asked together
    /// which columns they have at all, and only the cells that stand are read one by one, over as many
    /// connections.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn all_versions(
        &self,
        trying: Trying<'_>,
        table: &Table,
        spots: &[Spot],
        connections: usize,
    ) -> Result<Vec<Vec<Version>>, Ended<Error>> {
        let newest = self.newest_versions(trying, table, spots, connections)?;
        let (places, standing): (Vec<_>, Vec<_>) =
            spots.iter().enumerate().filter(|(nth, _)| newest[*nth].is_some()).unzip();
        let read = self.standing_versions(trying, table, &standing, connections)?;
        let mut all = vec![Vec::new(); spots.len()];
        for (nth, versions) in places.into_iter().zip(read) {
            all[nth] = versions;
        }
        Ok(all)
    }

    /// All versions of each of these cells, likewise; of cells of which most stand.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn standing_versions<S: Borrow<Spot> + Sync>(
        &self,
        trying: Trying<'_>,
        table: &Table,
        spots: &[S],
        connections: usize,
    ) -> Result<Vec<Vec<Version>>, Ended<Error>> {
        let what = format!("reading versions of {}", table.name);
        spread(spots, connections, WORTH, |spot| {
            let spot = spot.borrow();
            trying.run(&what, |failures| self.versions(table, spot, patience(failures)))
        })
    }

    /// Makes changes of several dates, as [`Client::change`] does: those of each date by a call.
    ///
    /// # Errors
    ///
    /// If HBase does not say that all are made.
    pub fn change_dated(
        &self,
        trying: Trying<'_>,
        table: &Table,
        dated: &[(u64, Vec<Change>)],
        connections: usize,
    ) -> Result<(), Ended<Error>> {
        let what = format!("changing {}", table.name);
        spread(dated, connections, WORTH, |(at, changes)| {
            trying.run(&what, |failures| self.change(table, changes, Some(*at), patience(failures)))
        })?;
        Ok(())
    }

    /// Calls `each` with every row of the table that has anything in the family, once, in the order of
    /// their keys. A scan that is lost goes on behind the last row that was read.
    ///
    /// # Errors
    ///
    /// If the table cannot be read to its end, or `each` fails.
    pub fn scan<E: From<Ended<Error>>>(
        &self,
        trying: Trying<'_>,
        table: &Table,
        mut each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let what = format!("reading all of {}", table.name);
        let mut from = Vec::new();
        let mut open = None;
        loop {
            let rows = trying.run(&what, |failures| {
                let patience = patience(failures);
                let (mut lease, scanner) = match open.take() {
                    Some(open) => open,
                    None => {
                        let mut lease = self.lease()?;
                        let scanner = lease.scan(table, &from, SCANNED, patience)?;
                        (lease, scanner)
                    }
                };
                let rows = lease.scanned(table, scanner, SCANNED, patience)?;
                open = Some((lease, scanner));
                Ok(rows)
            })?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                from.clone_from(&row.key);
                // The least key behind it.
                from.push(0);
                each(row)?;
            }
        }
        if let Some((mut lease, scanner)) = open
            && let Err(error) = lease.end_scan(table, scanner, patience(0))
        {
            // The server gives it up by itself in a while.
            log::debug!("a scan is left open: error={error}");
        }
        Ok(())
    }
}

/// Does something with each of the items, on so many threads at most, of which each gets at least
/// `worth` items; the results are in the order of the items.
fn spread<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    worth: usize,
    each: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = threads.min(items.len().div_ceil(worth));
    if threads <= 1 {
        return items.iter().map(each).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(nth) else { return Ok(done) };
            match each(item) {
                Ok(result) => done.push((nth, result)),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join();
        threads.into_iter().map(|thread| join(thread).expect("a panic ends the process")).collect()
    });
    let mut all = Vec::with_capacity(items.len());
    for part in parts {
        all.extend(part?);
    }
    all.sort_unstable_by_key(|(nth, _)| *nth);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}
