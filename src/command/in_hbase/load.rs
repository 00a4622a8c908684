//! Tables loaded into HBase, each row that is named replaced.

use std::collections::{BTreeMap, BTreeSet};

use super::{CONNECTIONS, Error, Hbase, ROWS, Version};
use crate::hbase::{Change, Spot, Trying, patience};
use crate::store::Store;
use crate::store::rows::{self, List};
use crate::text;

/// How many changes are made together.
const CHANGES: usize = 4096;

/// The list that counts as nothing.
const NOTHING: &[u8] = b"[]";

impl Hbase {
    /// Loads what stands in a store: of neighbours and of histories, what is wanted. Each row that stands
    /// there is replaced here.
    pub(in crate::command) fn load(
        &self,
        store: &Store,
        similar: bool,
        history: bool,
    ) -> Result<(), Error> {
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
