//! The tables as the site has them: families, row keys, columns.

use dataflows::{Article, Cell, UserBuffer};
use hbase_thrift::hbase::ColumnDescriptor;

use crate::tables::TIME_TO_LIVE;
use crate::text;

/// What stands in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neighbours: a row an article, a column a neighbour.
    Similar,
    /// Mailboxes: a row a user, a column a channel, a version a list.
    CbRecall,
    /// Histories, likewise.
    HistoryRecall,
}

/// A table, by what stands in it and the name that the configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What stands in it.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// A cell's place in its table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The key of the row.
    pub row: Vec<u8>,
    /// What stands behind the family in the column's name.
    pub qualifier: Vec<u8>,
}

/// A family, and how its versions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// How many versions of a cell are kept.
    pub versions: i32,
    /// For how many seconds they are; `FOREVER` for good.
    pub seconds: i32,
}

/// What HBase takes for no end of the time to live.
pub const FOREVER: i32 = i32::MAX;

const fn kept(name: &'static str) -> Family {
    Family { name, versions: 999_999, seconds: (TIME_TO_LIVE / 1000) as i32 }
}

const SIMILAR: [Family; 1] = [Family { name: "similar", versions: 1, seconds: FOREVER }];
const CB_RECALL: [Family; 3] = [kept("als"), kept("content"), kept("online")];
const HISTORY_RECALL: [Family; 1] = [kept("channel")];

impl Kind {
    /// The families that the table must have.
    pub fn families(self) -> &'static [Family] {
        match self {
            Kind::Similar => &SIMILAR,
            Kind::CbRecall => &CB_RECALL,
            Kind::HistoryRecall => &HISTORY_RECALL,
        }
    }

    /// The family that this program reads and writes.
    pub fn family(self) -> &'static str {
        match self {
            Kind::Similar => "similar",
            Kind::CbRecall => "online",
            Kind::HistoryRecall => "channel",
        }
    }

    /// What the keys of all rows begin with.
    fn prefix(self) -> &'static [u8] {
        match self {
            Kind::Similar => b"",
            Kind::CbRecall => b"recall:user:",
            Kind::HistoryRecall => b"reco:his:",
        }
    }
}

impl Table {
    /// The table of this name in which such things stand.
    pub fn new(kind: Kind, name: &str) -> Table {
        Table { kind, name: name.to_owned() }
    }

    /// The row of a user, or of an article, whose id is written so.
    pub fn row(&self, id: &[u8]) -> Vec<u8> {
        [self.kind.prefix(), id].concat()
    }

    /// The id of the user or article whose row it is; `None` for a row of something else.
    pub fn id<'a>(&self, row: &'a [u8]) -> Option<&'a [u8]> {
        row.strip_prefix(self.kind.prefix()).filter(|id| !id.is_empty())
    }

    /// Where a user's list of a channel stands.
    pub fn spot(&self, cell: &Cell) -> Spot {
        let row = self.row(cell.user.bytes(&mut UserBuffer::default()));
        Spot { row, qualifier: cell.channel.to_string().into_bytes() }
    }

    /// The name of a column.
    pub(super) fn column(&self, qualifier: &[u8]) -> Vec<u8> {
        [self.kind.family().as_bytes(), b":", qualifier].concat()
    }

    /// What stands behind the family in a column's name.
    pub(super) fn qualifier(column: &[u8]) -> &[u8] {
        let colon = memchr::memchr(b':', column);
        colon.map_or(&[], |colon| &column[colon + 1..])
    }

    /// The line of the HBase shell that makes the table.
    pub fn shell_create(&self) -> String {
        let families: Vec<_> = self.kind.families().iter().map(Family::in_shell).collect();
        format!("create '{}', {}", self.name, families.join(", "))
    }

    /// The line of the HBase shell that gives the table all families as they should be.
    pub fn shell_alter(&self) -> String {
        let families: Vec<_> = self.kind.families().iter().map(Family::in_shell).collect();
        format!("alter '{}', {}", self.name, families.join(", "))
    }
}

impl Family {
    fn in_shell(&self) -> String {
        let Family { name, versions, seconds } = self;
        match *seconds {
            FOREVER => format!("'{name}'"),
            _ => format!("{{NAME=>'{name}', TTL=>{seconds}, VERSIONS=>{versions}}}"),
        }
    }

    /// The family as it is made: what is not said here is as the shell makes it.
    pub(super) fn descriptor(&self) -> ColumnDescriptor {
        ColumnDescriptor {
            name: Some(format!("{}:", self.name).into_bytes()),
            max_versions: Some(self.versions),
            compression: Some("NONE".to_owned()),
            in_memory: Some(false),
            bloom_filter_type: Some("ROW".to_owned()),
            bloom_filter_vector_size: None,
            bloom_filter_nb_hashes: None,
            block_cache_enabled: Some(true),
            time_to_live: Some(self.seconds),
        }
    }
}

/// A list as it stands in a cell: `[116644, 18577]`.
pub fn list(articles: &[Article]) -> Vec<u8> {
    text::list(articles).into_bytes()
}

#[cfg(test)]
mod tests {
    use dataflows::{Channel, User};

    use super::*;

    #[test]
    fn the_shell_lines_are_those_by_which_the_site_makes_its_tables() {
        let lines = [
            (Kind::Similar, "article_similar", "create 'article_similar', 'similar'"),
            (
                Kind::CbRecall,
                "cb_recall",
                "create 'cb_recall', {NAME=>'als', TTL=>7776000, VERSIONS=>999999}, \
                 {NAME=>'content', TTL=>7776000, VERSIONS=>999999}, \
                 {NAME=>'online', TTL=>7776000, VERSIONS=>999999}",
            ),
            (
                Kind::HistoryRecall,
                "history_recall",
                "create 'history_recall', {NAME=>'channel', TTL=>7776000, VERSIONS=>999999}",
            ),
        ];
        for (kind, name, line) in lines {
            assert_eq!(Table::new(kind, name).shell_create(), line);
        }
    }

    #[test]
    fn rows_and_columns_are_those_that_the_readers_look_for() {
        let cell = Cell { user: User::from_bytes(b"2"), channel: Channel(18) };
        let mailbox = Table::new(Kind::CbRecall, "cb_recall");
        let history = Table::new(Kind::HistoryRecall, "history_recall");
        assert_eq!(mailbox.spot(&cell).row, b"recall:user:2");
        assert_eq!(history.spot(&cell).row, b"reco:his:2");
        assert_eq!(mailbox.column(b"18"), b"online:18");
        assert_eq!(history.column(b"18"), b"channel:18");
        assert_eq!(Table::qualifier(b"channel:1:8"), b"1:8");
        assert_eq!(history.id(b"reco:his:a:b"), Some(&b"a:b"[..]));
        assert_eq!(history.id(b"reco:his:"), None);
        assert_eq!(history.id(b"recall:user:2"), None);
    }
}
