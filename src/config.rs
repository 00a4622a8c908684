//! The configuration: what was written, then what is meant.
//!
//! ```text
//! job.toml ──┐
//!            ├─▶ RawConfig ─────────▶ Config
//! --set … ───┘   known keys,          checked, resolved, typed:
//!                where each stands    the only one that travels
//! ```
//!
//! Every key has a default but the servers, which a caller asks for with [`Need`]. All mistakes are
//! found at once, each with its line or `--set`. `deploy/job.toml` lists every key.
//!
//! Any string may hold `${env:NAME}` and `${file:PATH}`: see [`Text`].

mod fault;
mod raw;
mod reader;
mod resolve;
mod servers;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dataflows::Settings;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use fault::{Fault, Finding, Mistake, Mistakes, Origin, Risk, Warning};
pub use servers::Address;
pub use text::{Text, Unresolved};

use raw::RawConfig;

/// The configuration of a job. `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The name of the job: 1 to 64 letters, digits, `_`, `.` and `-`. It names the ledger.
    pub job: Text,
    /// What an epoch's effects depend on: the dataflows, weights, neighbours and order.
    pub settings: Settings,
    /// Where live records come from.
    pub kafka: Kafka,
    /// Where effects go; `None` only where [`Need`] does not ask for it and not all of it is named.
    pub outside: Option<Outside>,
    /// How often `article_similar` is read anew.
    pub refresh: Duration,
    /// After how long at the latest counts what others write into a history.
    pub history_age: Duration,
    /// How epochs are cut.
    pub epoch: Epoch,
    /// How the processes of a cluster live together.
    pub cluster: Cluster,
    /// Where dead letters go.
    pub dead_letters: DeadLetters,
    /// Where metrics, health and the page are served.
    pub listen: Address,
}

/// Which servers a command needs: those keys have no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// None, such as a replay into a store that the command line names.
    Nothing,
    /// Kafka's servers.
    Kafka,
    /// The store, or Redis and (for `recall`) HBase.
    Outside,
    /// Both of these, as the live job does.
    Everything,
}

/// Where live records come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Kafka {
    /// The topic of clicks.
    pub clicks: Text,
    /// The topic of new articles.
    pub articles: Text,
    /// Where to begin where there is no ledger yet.
    pub start: Start,
    /// What to do where needed offsets are gone.
    pub on_gap: OnGap,
    /// The group to which offsets are committed for lag tools: `group.id`, or the job's name.
    pub group: Text,
    /// What librdkafka gets as it is, by name, but for `group.id`. Holds nothing that contradicts
    /// how the job reads (`auto.offset.reset` and the like), and `bootstrap.servers` where [`Need`]
    /// asked for Kafka.
    pub properties: BTreeMap<String, Text>,
    /// The file that says so, for the commands that errors give; none where all is from `--set`.
    pub file: Option<PathBuf>,
}

/// Where a job without a ledger begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record of every partition.
    Earliest,
    /// Behind the last record of every partition.
    Latest,
    /// At the first record of this time or later.
    Time(Timestamp),
    /// At the mark of the job of this name.
    Job(String),
}

/// What to do where Kafka no longer has a bound or needed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// Stop with an error that names the gap.
    Stop,
    /// Go on behind the gap, and count it.
    Skip,
}

/// Where effects go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a job has one")]
pub enum Outside {
    /// Into the embedded store in this folder.
    Embedded {
        /// The folder.
        path: Text,
    },
    /// Into live servers.
    Servers {
        /// Scores and the ledger.
        redis: Redis,
        /// Recalls; `None` only where `recall` is not among the dataflows.
        hbase: Option<Hbase>,
    },
}

/// How HBase is reached, and the names of its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hbase {
    /// The Thrift servers, at least one.
    pub thrift: Vec<Address>,
    /// Whether they are spoken to over TLS.
    pub tls: bool,
    /// The table of neighbours.
    pub similar: Text,
    /// The table of mailboxes.
    pub cb_recall: Text,
    /// The table of histories.
    pub history_recall: Text,
}

/// How Redis is reached, and the names of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Where it is.
    pub nodes: Nodes,
    /// The key of a channel's hot articles: `{channel}` stands in it once, no other brace.
    pub hot: Text,
    /// The key of a channel's new articles, likewise.
    pub new: Text,
    /// How many replicas must have a token or binding before it counts as written.
    pub replicas: u32,
}

/// Where Redis is: urls `redis://` or `rediss://`, whose `Debug` shows no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// One server.
    Server(Text),
    /// A Cluster, by some of its nodes; none of the urls has a database number but 0.
    Cluster(Vec<Text>),
}

/// How epochs are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// How long an epoch stays open.
    pub interval: Duration,
    /// The most records of an epoch, over the whole cluster.
    pub records: u64,
    /// How many epochs may be begun beyond the mark.
    pub in_flight: u64,
}

/// How the processes of a cluster live together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// What a process proves to know to join; more than one process cannot do without.
    pub secret: Option<Text>,
    /// How long a process may be silent before the others give it up.
    pub silence: Duration,
    /// The longest wait of the launcher before a new start.
    pub restart_wait: Duration,
}

/// Where dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// Into files in this folder.
    Folder(Text),
    /// Into this topic.
    Topic(Text),
}

impl Config {
    /// Loads the file at `path`, where there is one, and then `sets`: the arguments of `--set`,
    /// each `KEY=VALUE`, of which a later one replaces an earlier one and what the file says.
    pub fn load(path: Option<&Path>, sets: &[String], need: Need) -> Result<Config, Mistakes> {
        Examined::new(path, sets, need).config.map_err(Mistakes)
    }
}

/// What there is to say about a configuration, read in one go.
#[derive(Debug)]
pub struct Examined {
    /// The configuration; or its mistakes, by line, then those of the command line.
    pub config: Result<Config, Vec<Mistake>>,
    /// What is allowed, and yet worth a second look.
    pub warnings: Vec<Warning>,
}

impl Examined {
    /// Reads a configuration as [`Config::load`] does.
    pub fn new(path: Option<&Path>, sets: &[String], need: Need) -> Examined {
        let (raw, mistakes) = RawConfig::read(path, sets);
        resolve::resolve(raw, mistakes, need)
    }
}
