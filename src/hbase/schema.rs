//! The tables made, and compared with what they should be.

use std::fmt;
use std::time::Duration;

use hbase_thrift::hbase::{ColumnDescriptor, THbaseSyncClient};

use super::calls::name;
use super::client::{Client, patience};
use super::table::{FOREVER, Family, Table};
use super::{Error, Trying};
use crate::retry::Ended;

/// How long a table may take to be made.
const MAKING: Duration = Duration::from_secs(120);

/// How a family is otherwise than it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is missing.
    Missing(Family),
    /// It keeps another number of versions, or for another time.
    Otherwise {
        /// As it should be.
        wanted: Family,
        /// How many versions it keeps.
        versions: i32,
        /// For how many seconds.
        seconds: i32,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Missing(family) => write!(f, "family {} is missing", family.name),
            Difference::Otherwise { wanted, versions, seconds } => write!(
                f,
                "family {} has VERSIONS {versions} and TTL {}, not {} and {}",
                wanted.name,
                Seconds(*seconds),
                wanted.versions,
                Seconds(wanted.seconds)
            ),
        }
    }
}

struct Seconds(i32);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FOREVER => f.write_str("FOREVER"),
            seconds => seconds.fmt(f),
        }
    }
}

impl Client {
    /// Makes a table as the site has it; says whether it did: a table that stands is left as it is.
    ///
    /// # Errors
    ///
    /// If HBase does not make it.
    pub fn create(&self, trying: Trying<'_>, table: &Table) -> Result<bool, Ended<Error>> {
        // Tried again it may find what the attempt before has made; then it stands as well.
        trying.run(&format!("making table {}", table.name), |_| {
            let families = table.kind.families().iter().map(Family::descriptor).collect();
            let made = self.call(table, "createTable", MAKING, |thrift| {
                thrift.create_table(name(table), families)
            });
            match made {
                Ok(()) => Ok(true),
                Err(Error::Exists { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// How the families of a table are otherwise than they should be.
    ///
    /// # Errors
    ///
    /// If there is no such table, or HBase does not say.
    pub fn differences(
        &self,
        trying: Trying<'_>,
        table: &Table,
    ) -> Result<Vec<Difference>, Ended<Error>> {
        let found = trying.run(&format!("looking at table {}", table.name), |failures| {
            self.call(table, "getColumnDescriptors", patience(failures), |thrift| {
                thrift.get_column_descriptors(name(table))
            })
        })?;
        let difference = |wanted: &Family| {
            let column = format!("{}:", wanted.name).into_bytes();
            let Some(found) = found.get(&column) else {
                return Some(Difference::Missing(*wanted));
            };
            let ColumnDescriptor { max_versions, time_to_live, .. } = found;
            let (versions, seconds) =
                (max_versions.unwrap_or_default(), time_to_live.unwrap_or_default());
            // How many versions of a value that is never read twice are kept is the site's own business.
            let same =
                seconds == wanted.seconds && (versions == wanted.versions || wanted.versions == 1);
            (!same).then_some(Difference::Otherwise { wanted: *wanted, versions, seconds })
        };
        Ok(table.kind.families().iter().filter_map(difference).collect())
    }

    /// Makes sure that a table can be worked with: it stands, with the family that the job reads or writes.
    /// Returns in what else it is otherwise than it should be.
    ///
    /// # Errors
    ///
    /// If the table or that family is missing, with the line of the HBase shell that mends it.
    pub fn require(
        &self,
        trying: Trying<'_>,
        table: &Table,
    ) -> Result<Vec<Difference>, Ended<Error>> {
        let differences = self.differences(trying, table)?;
        let ours = table.kind.family();
        let is_ours = |it: &&Difference| matches!(it, Difference::Missing(it) if it.name == ours);
        match differences.iter().find(is_ours) {
            None => Ok(differences),
            Some(missing) => Err(Ended::Failed(Error::NoFamily {
                table: table.name.clone(),
                message: missing.to_string(),
                shell: table.shell_alter(),
            })),
        }
    }
}
