//! The command line of Kafka's everyday tools.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// How Kafka is reached.
#[derive(Debug, Args)]
pub struct Brokers {
    /// Kafka's servers, divided by commas.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "config")]
    pub bootstrap_server: Option<String>,
    /// A file of properties as Kafka's own tools take it: security.protocol, sasl.jaas.config and the
    /// like, with certificates as PEM.
    #[arg(long, value_name = "FILE", requires = "bootstrap_server")]
    pub command_config: Option<PathBuf>,
    /// A configuration of the job: its [kafka.properties] say how Kafka is reached.
    #[arg(long, value_name = "FILE", conflicts_with = "bootstrap_server")]
    pub config: Option<PathBuf>,
    /// Set a key of the configuration; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", requires = "config")]
    pub set: Vec<String>,
}

/// Make, list, describe and delete topics.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:
  online-recall topics create click-trace --partitions 4 --bootstrap-server 127.0.0.1:9092")]
pub enum Topics {
    /// Make a topic; without a name, the topics that the configuration names.
    Create(CreateTopic),
    /// List all topics.
    List(ListTopics),
    /// Describe the partitions and settings of a topic.
    Describe(DescribeTopic),
    /// Delete a topic with all its records.
    Delete(DeleteTopic),
}

/// Make a topic; without a name, the topics that the configuration names.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall topics create click-trace --partitions 4 --bootstrap-server 127.0.0.1:9092
  online-recall topics create new-article --setting retention.ms=604800000 --config job.toml")]
pub struct CreateTopic {
    /// The topic's name.
    #[arg(value_name = "TOPIC", required_unless_present = "config")]
    pub topic: Option<String>,
    /// How many partitions it has [default: what the servers take].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// How many servers keep each partition [default: what the servers take].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub replication_factor: Option<i32>,
    /// A setting of the topic, such as `retention.ms=86400000`; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub setting: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub brokers: Brokers,
}

/// List all topics.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  online-recall topics list --bootstrap-server 127.0.0.1:9092")]
pub struct ListTopics {
    /// Where.
    #[command(flatten)]
    pub brokers: Brokers,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Describe the partitions and settings of a topic.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  online-recall topics describe click-trace --bootstrap-server 127.0.0.1:9092

Of its settings those are shown that are not the servers' own.")]
pub struct DescribeTopic {
    /// The topic's name [default: the topics that the configuration names].
    #[arg(value_name = "TOPIC", required_unless_present = "config")]
    pub topic: Option<String>,
    /// Where.
    #[command(flatten)]
    pub brokers: Brokers,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Delete a topic with all its records.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  online-recall topics delete click-trace --bootstrap-server 127.0.0.1:9092")]
pub struct DeleteTopic {
    /// The topic's name.
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Where.
    #[command(flatten)]
    pub brokers: Brokers,
}

/// Send lines to a topic, each as a message.
///
/// What `consume` prints may be sent again: a timestamp before a line becomes the message's. Each
/// message is written once, and in order; equal keys go where a producer in Java sends them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall produce click-trace userClick.log --bootstrap-server 127.0.0.1:9092
  tail -n +1 -F userClick.log | online-recall produce click-trace --json --config job.toml
  online-recall produce keyed --key-separator : --compression lz4 --bootstrap-server 127.0.0.1:9092
  online-recall produce arrived --file-names /data/in --bootstrap-server 127.0.0.1:9092

A line may begin with the timestamp that Kafka's console consumer prints (CreateTime:MILLISECONDS<tab>).")]
pub struct Produce {
    /// The topic.
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Files of lines, plain or .gz [default: standard input].
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// What stands before this in a line is the message's key.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub key_separator: Option<String>,
    /// Stop at the first line that is no JSON document; nothing of it or behind it is sent.
    #[arg(long)]
    pub json: bool,
    /// How messages are packed [default: not, or as `kafka.properties` says].
    #[arg(long, value_name = "KIND")]
    pub compression: Option<Compression>,
    /// Send the names of the files in this directory, in their order, in place of lines.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["files", "key_separator", "json"])]
    pub file_names: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub brokers: Brokers,
}

/// How messages are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Not.
    None,
    /// Small, slow.
    Gzip,
    /// Fast.
    Snappy,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

impl Compression {
    /// Its name in Kafka.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Print the messages of a topic, each as a line.
///
/// Goes on until it is interrupted, or so many are printed. What a transaction has not committed is not
/// printed; a message without a value is an empty line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall consume click-trace --bootstrap-server 127.0.0.1:9092
  online-recall consume click-trace --from-beginning --timestamps --max 1000 --config job.toml > day.log
  online-recall consume click-trace --since 2019-04-10T18:00:00+08:00 --bootstrap-server 127.0.0.1:9092
  online-recall consume click-trace --lag recall --bootstrap-server 127.0.0.1:9092")]
pub struct Consume {
    /// The topic.
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Begin with the first message [default: with the next one to come].
    #[arg(long, group = "start")]
    pub from_beginning: bool,
    /// Begin with this offset of each partition.
    #[arg(long, value_name = "N", group = "start")]
    pub offset: Option<u64>,
    /// Begin with the first message of this time (RFC 3339) or later.
    #[arg(long, value_name = "TIME", group = "start")]
    pub since: Option<jiff::Timestamp>,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    pub max: Option<NonZeroU64>,
    /// Print each message's timestamp before it, as Kafka's console consumer does.
    #[arg(long)]
    pub timestamps: bool,
    /// Only this partition; may be repeated.
    #[arg(long, value_name = "N")]
    pub partition: Vec<i32>,
    /// Print instead how far this group is behind.
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["start", "max", "timestamps"])]
    pub lag: Option<String>,
    /// Print that as one JSON document.
    #[arg(long, requires = "lag")]
    pub json: bool,
    /// Where.
    #[command(flatten)]
    pub brokers: Brokers,
}
