//! The command line of the collector.

use std::path::PathBuf;

use clap::Args;

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
