//! The command line: every command, option and help text.

mod collector;
mod kafka;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use collector::{AvroClient, AvroCompression, Collect};
pub use kafka::{
    Brokers, Compression, Consume, CreateTopic, DeleteTopic, DescribeTopic, ListTopics, Produce,
    Topics,
};

/// The version, with the commit.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("ONLINE_RECALL_COMMIT"), ")");

/// Turns a news site's click stream into fresh recommendations, exactly once.
#[derive(Debug, Parser)]
#[command(name = "online-recall", version = VERSION, propagate_version = true)]
#[command(after_help = "Examples:
  online-recall replay userClick.log --similar similar.tsv --store ./store
  online-recall show hot 18 --store ./store

Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 fenced by a newer start of the job.
The level of the log is set by RUST_LOG: off, error, warn, info (the default) or debug.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the job over log files, into the embedded store or into live servers.
    Replay(Replay),
    /// Run the live job: from Kafka into HBase and Redis, or into the embedded store.
    Run(Run),
    /// Run the live job in several processes on this machine, and start them again when one fails.
    Launch(Launch),
    /// Show what stands in the store or in the live servers.
    Show(Show),
    /// Write everything that stands in the store or in the live servers as sorted text files.
    Export(Export),
    /// Make and load the tables that the job reads.
    #[command(subcommand)]
    Tables(Tables),
    /// Make, list, describe and delete topics of Kafka.
    #[command(subcommand)]
    Topics(Topics),
    /// Send lines to a topic of Kafka, each as a message.
    Produce(Produce),
    /// Print the messages of a topic of Kafka, each as a line.
    Consume(Consume),
    /// Carry events from sources to sinks, as a Flume agent's file says.
    Collect(Collect),
    /// Send the lines of files to an avro source, each as an event.
    AvroClient(AvroClient),
    /// Say what is wrong with a configuration, all of it.
    Check(Check),
}

/// Run the job over log files, into the embedded store or into live servers.
///
/// Running the same command again applies only what has been added to the files since; after a kill
/// it completes what was begun. Every record counts exactly once.
///
/// Live servers are those of --config: dates are the clock's, the ledger is one of its own, JOB.replay, and
/// what Kafka has delivered to JOB too counts twice. With `recall` it does not run beside JOB.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall replay userClick.log --store ./store
  online-recall replay logs/ 'old/*.log.gz' --articles new-article.log \\
      --similar similar.tsv --store ./store -w 2
  zcat dump.gz | online-recall replay - --store ./store --at 2019-04-11T00:00:00+08:00
  online-recall replay hdfs://nameservice/flume/2019-04-10 --store ./store
  online-recall replay userClick.log --similar similar.tsv --config job.toml

A line may begin with the timestamp that Kafka's console consumer prints (CreateTime:MILLISECONDS<tab>).
A folder means its files, recursively; names that begin with `.` or `_` or end with `.tmp` are skipped.")]
pub struct Replay {
    /// Files of clicks: plain or .gz, folders, globs, URLs hdfs://, or `-` for standard input.
    #[arg(value_name = "CLICKS")]
    pub clicks: Vec<OsString>,
    /// A file of new articles, `CHANNEL,ARTICLE` a line, likewise; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub articles: Vec<OsString>,
    /// Load this table of similar articles first: `ARTICLE<tab>NEIGHBOUR<tab>VALUE` a line.
    #[arg(long, value_name = "FILE")]
    pub similar: Option<PathBuf>,
    /// Where effects go.
    #[command(flatten)]
    pub outside: Outside,
    /// How many workers compute.
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// How many lines of clicks, and of new articles, make an epoch [default: 10000, or epoch.records].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub epoch_records: Option<u64>,
    /// The replay's clock (RFC 3339): epochs are dated from here on [default: now]. Not with live servers.
    #[arg(long, value_name = "TIME")]
    pub at: Option<jiff::Timestamp>,
    /// Print the closing summary as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Run the live job: from Kafka into HBase and Redis, or into the embedded store.
///
/// Goes on where the last run has ended, however that ended. Every record counts exactly once. SIGTERM
/// and SIGINT end it when what was read is done; kill -9 is safe at any time.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall run --config job.toml
  online-recall run --config job.toml -w 4 --set epoch.interval=20ms
  online-recall run --config job.toml -w 4 -n 2 -p 0 --hostfile hosts     (on the host of its first line)
  online-recall run --config job.toml -w 4 -n 2 -p 1 --hostfile hosts     (on that of its second)

Exit status: 0 ended by a signal, 1 failed, 2 wrong configuration, 3 fenced by a newer start of the job.
When one process of a cluster ends, all do.")]
pub struct Run {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Set a key of the configuration, such as `epoch.interval=20ms`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How many workers compute.
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Delete the job's ledger and key marks first, leave the scores, and begin at kafka.start: what was
    /// counted before and is read again counts again.
    #[arg(long)]
    pub reset: bool,
    /// Take score keys as they stand where a part of Redis went back too far to be made good.
    #[arg(long)]
    pub after_loss: bool,
    /// Where it is one process of a cluster.
    #[command(flatten)]
    pub cluster: Option<InCluster>,
    /// The process that has started this one, and without which it ends.
    #[arg(long, value_name = "PID", hide = true)]
    pub launched_by: Option<u32>,
}

/// Which process of a cluster it is.
#[derive(Debug, Args)]
#[group(requires_all = ["processes", "process", "hostfile"], multiple = true)]
pub struct InCluster {
    /// How many processes there are.
    #[arg(short = 'n', long, value_name = "PROCESSES", required = false, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub processes: u16,
    /// Which of them this is, from 0.
    #[arg(short = 'p', long, value_name = "INDEX", required = false)]
    pub process: u16,
    /// Where they listen for each other: a line `HOST:PORT` a process, in order.
    #[arg(long, value_name = "FILE", required = false)]
    pub hostfile: PathBuf,
}

/// Run the live job in several processes on this machine, and start them again when one fails.
///
/// When one process fails, all end; then all are started again, after a wait that grows up to
/// cluster.restart_wait. SIGTERM and SIGINT end them when what was read is done. Their logs come through,
/// each line with the index of its process. Where cluster.secret is not set, one is drawn.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall launch --config job.toml -n 2 -w 1
  online-recall launch --config job.toml -n 4 -w 2 --set epoch.records=40000

Exit status: 0 ended by a signal, 2 wrong configuration, 3 fenced by a newer start of the job.")]
pub struct Launch {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Set a key of the configuration, such as `epoch.interval=20ms`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How many processes are started.
    #[arg(short = 'n', long, value_name = "PROCESSES", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub processes: u16,
    /// How many workers compute in each.
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// As of `run`, at the first start.
    #[arg(long)]
    pub reset: bool,
    /// As of `run`, at the first start.
    #[arg(long)]
    pub after_loss: bool,
}

/// Where effects go, and what is shown comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Outside {
    /// The directory of the embedded store.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// A configuration: its settings, and its servers or store where --store names none.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a key of the configuration, such as `hot.weights.share=3`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", group = "settings")]
    pub set: Vec<String>,
}

/// Show what stands in the store or in the live servers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall show hot 18 --store ./store
  online-recall show hot 18 --config job.toml
  online-recall show recall 1115629498121846784 --store ./store --json
  online-recall show job --store ./store")]
pub struct Show {
    /// What to show.
    #[command(subcommand)]
    pub what: What,
}

/// What to show.
#[derive(Debug, Subcommand)]
pub enum What {
    /// The hot articles of a channel, by score.
    Hot(ShowChannel),
    /// The new articles of a channel, latest first.
    New(ShowChannel),
    /// What was recalled to a user and not yet taken.
    Recall(ShowUser),
    /// What a user was recalled, ever.
    History(ShowUser),
    /// The neighbours of an article, nearest first.
    Similar(ShowArticle),
    /// How far the job has got, and what it has counted.
    Job(ShowJob),
}

/// Show a list of a channel.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  online-recall show hot 18 --top 5 --store ./store")]
pub struct ShowChannel {
    /// The channel's number.
    #[arg(value_name = "CHANNEL")]
    pub channel: String,
    /// How many articles the table shows; --json gives all.
    #[arg(long, value_name = "N", default_value = "20")]
    pub top: NonZeroUsize,
    /// What to look into.
    #[command(flatten)]
    pub view: View,
}

/// Show cells of a user.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  online-recall show recall 1115629498121846784 --store ./store")]
pub struct ShowUser {
    /// The user's id, as it stands in the clicks.
    #[arg(value_name = "USER", allow_hyphen_values = true)]
    pub user: OsString,
    /// What to look into.
    #[command(flatten)]
    pub view: View,
}

/// Show a row of similar articles.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  online-recall show similar 18005 --store ./store")]
pub struct ShowArticle {
    /// The article's id.
    #[arg(value_name = "ARTICLE", allow_hyphen_values = true)]
    pub article: String,
    /// What to look into.
    #[command(flatten)]
    pub view: View,
}

/// Show the job.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  online-recall show job --json --store ./store")]
pub struct ShowJob {
    /// What to look into.
    #[command(flatten)]
    pub view: View,
}

/// What to look into, and how to print it.
#[derive(Debug, Args)]
pub struct View {
    /// Where it stands.
    #[command(flatten)]
    pub outside: Outside,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Write everything that stands in the store or in the live servers as sorted text files.
///
/// Of live servers: what all jobs have put there, and the dead letters of the job that the configuration
/// names and of its replays, up to their marks, where they are kept in files. A job without `recall` has no
/// tables.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall export --store ./store --out ./export
  online-recall export --config job.toml --out ./export

Writes hot.tsv, new.tsv, cb_recall.tsv, history_recall.tsv, similar.tsv and dead_letters.tsv.")]
pub struct Export {
    /// Where it stands.
    #[command(flatten)]
    pub outside: Outside,
    /// The directory to write into; it is made, and files of these names are replaced.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Make and load the tables that the job reads.
#[derive(Debug, Subcommand)]
pub enum Tables {
    /// Make the tables of HBase as the site has them.
    Create(Create),
    /// Load neighbours and histories; each row that a file names is replaced.
    Load(Load),
}

/// Make the tables of HBase as the site has them: article_similar, cb_recall, history_recall.
///
/// A table that stands is left as it is; in what it differs is said. A store needs no tables.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  online-recall tables create --config job.toml")]
pub struct Create {
    /// Where they are made.
    #[command(flatten)]
    pub outside: Outside,
}

/// Load neighbours and histories; each row that a file names is replaced.
///
/// All or nothing: one bad line refuses the file. In HBase, which cannot take away one version of
/// several, a version of a history that is replaced becomes `[]`, which counts as nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall tables load --similar similar.tsv --history history_recall.tsv --store ./store
  online-recall tables load --similar similar.tsv --config job.toml")]
pub struct Load {
    /// Similar articles: `ARTICLE<tab>NEIGHBOUR<tab>VALUE` a line, plain or .gz.
    #[arg(long, value_name = "FILE", required_unless_present = "history")]
    pub similar: Option<PathBuf>,
    /// Histories: `USER<tab>CHANNEL<tab>TIMESTAMP<tab>LIST` a line, plain or .gz.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Where they go.
    #[command(flatten)]
    pub outside: Outside,
    /// Print what was loaded as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Say what is wrong with a configuration, all of it, and with the servers that it names.
///
/// Brokers and topics, tables and families, Redis's version, persistence, eviction and clock are looked
/// at; nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall check --config job.toml
  online-recall check --config job.toml --set epoch.interval=10ms --offline

Exit status: 0 nothing is wrong, 2 mistakes were found.")]
pub struct Check {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Set a key of the configuration; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Ask no server.
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}
