//! The command line of the collector.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

/// Carry events from sources to sinks, as a Flume agent's file says.
///
/// The file is Flume's, as it stands. Everything that is wrong with it is told at once, and nothing starts
/// before it is mended. SIGTERM ends the agent when what waits in memory is delivered.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  online-recall collect -f agent.properties -n a1
  online-recall collect -f agent.properties -n a1 --check
  online-recall collect --conf-file agent.properties --name a1 -c conf -Dflume.monitoring.type=http -Dflume.monitoring.port=34545

Exit status: 0 ended by a signal, or nothing is wrong (--check); 1 failed; 2 the file has mistakes.")]
pub struct Collect {
    /// The agent's file: Java properties.
    #[arg(short = 'f', long = "conf-file", visible_alias = "config-file", value_name = "FILE")]
    pub file: PathBuf,
    /// The agent: the first part of its keys.
    #[arg(short, long, value_name = "AGENT")]
    pub name: String,
    /// Only say what is wrong with the file, and what is worth to be known of it.
    #[arg(long)]
    pub check: bool,
    /// Show the configuration as it is understood, with its defaults, and end.
    #[arg(long, conflicts_with = "check")]
    pub print: bool,
    /// Refuse also what has no effect: keys that nobody knows, components that are not listed.
    #[arg(long, conflicts_with = "lenient")]
    pub strict: bool,
    /// Start what has no mistakes, as Flume does.
    #[arg(long)]
    pub lenient: bool,
    /// Set a system property, for `${sys:KEY}` in the file; may be repeated. flume.monitoring.type=http
    /// with flume.monitoring.port is obeyed.
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub define: Vec<String>,
    /// Answer over HTTP: /metrics for Prometheus, /flume as Flume does, /health.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// A folder of Flume's: taken, and not needed.
    #[arg(short = 'c', long = "conf", value_name = "DIR")]
    pub conf: Option<PathBuf>,
    /// Never read the file again when it changes.
    #[arg(long)]
    pub no_reload_conf: bool,
}

/// Send the lines of files to an avro source, ours or Flume's, each as an event.
///
/// It ends when the other side has taken all of them. A file that is sent from a folder gets a name that ends
/// in .COMPLETED, and is not sent again.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("input").args(["file", "directory"])))]
#[command(after_help = "Examples:
  online-recall avro-client -H localhost -p 4141 -F access.log
  tail -n +1 -F access.log | online-recall avro-client -H localhost -p 4141 -R headers.properties
  online-recall avro-client -H localhost -p 4141 --dirname /var/spool/logs --compression deflate

Exit status: 0 all lines were taken, 1 not all were; 2 wrong usage.")]
pub struct AvroClient {
    /// The host of the source.
    #[arg(short = 'H', long)]
    pub host: String,
    /// Its port.
    #[arg(short, long)]
    pub port: u16,
    /// The file; standard input where it is `-`, or is not given.
    #[arg(short = 'F', long = "filename", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A folder, whose files are sent, the oldest first.
    #[arg(long = "dirname", value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// A file of headers that every event gets, a line NAME=VALUE each.
    #[arg(short = 'R', long = "headerFile", visible_alias = "header-file", value_name = "FILE")]
    pub headers: Option<PathBuf>,
    /// How many lines are sent at once: no more than the channels of the source take at once.
    #[arg(short, long, value_name = "EVENTS", default_value = "100")]
    pub batch_size: NonZeroUsize,
    /// Compress what is sent; the source must be told the same.
    #[arg(long, value_enum, default_value_t)]
    pub compression: AvroCompression,
    /// Speak TLS.
    #[arg(long)]
    pub ssl: bool,
    /// Whom to trust: PKCS12 or PEM. Without it, the system's authorities, and the host's name is checked.
    #[arg(long, value_name = "FILE", requires = "ssl")]
    pub truststore: Option<PathBuf>,
    /// The password of the truststore.
    #[arg(long, value_name = "PASSWORD", requires = "truststore", default_value = "")]
    pub truststore_password: String,
    /// How long an answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "20")]
    pub timeout: NonZeroU32,
}

/// How what is sent is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AvroCompression {
    /// Not at all.
    #[default]
    None,
    /// By zlib.
    Deflate,
}
