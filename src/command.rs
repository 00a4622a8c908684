//! The commands of the program, a file a command.

mod avro_client;
pub mod check;
mod collect;
mod consume;
mod ending;
mod export;
mod in_hbase;
mod incarnations;
mod launch;
mod member;
mod produce;
mod replay;
mod run;
mod show;
mod tables;
mod topics;
mod work;

use std::io;
use std::path::{Path, PathBuf};

use dataflows::Settings;

use crate::cli::{self, Command};
use crate::config::{self, Config, Mistakes, Need};
use crate::kafka::Access;
use crate::retry::Ended;
use crate::source::files;
use crate::store::{self, Store};
use crate::{cluster, hbase, http, job, kafka, ledger, redis, source, text};

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was told something that it cannot do.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Mistakes),
    /// `check` has found mistakes, and has printed them.
    #[error("the configuration has mistakes")]
    Checked,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// HBase failed.
    #[error(transparent)]
    Hbase(#[from] hbase::Error),
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] redis::Error),
    /// The live servers failed.
    #[error(transparent)]
    Live(#[from] crate::live::Error),
    /// The processes of a cluster do not work together.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The topics cannot be read.
    #[error(transparent)]
    Source(#[from] source::kafka::Error),
    /// Nothing is answered over HTTP.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// The files to be read are not as they should be.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The job failed.
    #[error(transparent)]
    Job(#[from] job::Error),
    /// Kafka failed.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// A topic could not be made or deleted.
    #[error(transparent)]
    Topics(#[from] topics::Error),
    /// Lines could not be sent.
    #[error(transparent)]
    Produce(#[from] produce::Error),
    /// Messages could not be read.
    #[error(transparent)]
    Consume(#[from] consume::Error),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The result could not be printed.
    #[error("cannot print the result")]
    Print(#[source] io::Error),
    /// The processes of a cluster could not be started, or one of them fails again and again.
    #[error(transparent)]
    Launch(#[from] launch::Error),
    /// The file of an agent cannot be read.
    #[error(transparent)]
    Properties(#[from] collector::properties::Error),
    /// The file of an agent has mistakes, which were told.
    #[error("the agent is not started: its file has {0}")]
    Agent(String),
    /// An agent could not be started.
    #[error(transparent)]
    Collector(#[from] collector::running::Error),
    /// Lines could not be sent to an avro source.
    #[error(transparent)]
    AvroClient(#[from] collector::avro::lines::Error),
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] collector::tls::Error),
    /// Signals could not be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    /// A signal ended it before it was done.
    #[error("ended by signal {0} before all was done; run the same command again to complete it")]
    Interrupted(i32),
}

impl From<Ended<hbase::Error>> for Error {
    fn from(ended: Ended<hbase::Error>) -> Error {
        match ended {
            Ended::Failed(error) => Error::Hbase(error),
            Ended::Stopped => unreachable!("a command makes one attempt, and is stopped by nobody"),
        }
    }
}

impl Error {
    fn write(path: &Path, source: io::Error) -> Error {
        Error::Write { path: path.to_owned(), source }
    }

    /// The exit status that tells it: 1 failed, 2 wrong usage or configuration, 3 fenced, 128 and the signal's
    /// number where one ended it.
    pub fn status(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Config(_) | Error::Checked => 2,
            Error::Properties(_) | Error::Agent(_) => 2,
            Error::Kafka(error) if error.is_of_configuration() => 2,
            Error::Produce(produce::Error::Interrupted { signal, .. }) => {
                128 + u8::try_from(*signal).unwrap_or(0)
            }
            Error::Live(crate::live::Error::Ledger(error))
                if error.then() == ledger::Then::Fenced =>
            {
                3
            }
            Error::Job(error) if error.is_fenced() => 3,
            Error::Cluster(error) if error.is_of_configuration() => 2,
            Error::Launch(error) => error.status(),
            Error::Interrupted(signal) => 128 + u8::try_from(*signal).unwrap_or(0),
            _ => 1,
        }
    }
}

/// Does what the command line says; returns what is to be printed.
///
/// # Errors
///
/// If it cannot be done; [`Error::status`] is the exit status.
pub fn run(command: &Command) -> Result<String, Error> {
    match command {
        Command::Replay(args) => replay::replay(args),
        Command::Run(args) => run::run(args),
        Command::Launch(args) => launch::launch(args),
        Command::Show(args) => show::show(&args.what),
        Command::Export(args) => {
            let settled = Settled::of(&args.outside)?;
            match &settled.place {
                Place::Store(dir) => export::stored(&Store::open(dir)?, &args.out)?,
                Place::Servers(servers) => export::live(servers, &settled.config, &args.out)?,
            }
            Ok(String::new())
        }
        Command::Tables(cli::Tables::Create(args)) => tables::create(args),
        Command::Tables(cli::Tables::Load(args)) => tables::load(args),
        Command::Topics(topics) => topics::topics(topics),
        Command::Produce(args) => produce::produce(args).map(|()| String::new()),
        Command::Consume(args) => consume::consume(args),
        Command::Collect(args) => collect::collect(args),
        Command::AvroClient(args) => avro_client::avro_client(args).map(|()| String::new()),
        Command::Check(args) => {
            let check = if args.offline { check::offline } else { check::online };
            let report = check(Some(&args.config), &args.set);
            let text = if args.json {
                serde_json::to_string(&report).expect("a report is plain")
            } else {
                report.to_string()
            };
            if report.is_well() {
                return Ok(text + "\n");
            }
            print(&(text + "\n"))?;
            Err(Error::Checked)
        }
    }
}

/// Prints to standard output; a reader that has gone away, such as `head`, is no failure.
///
/// # Errors
///
/// If it cannot be written otherwise.
pub fn print(text: &str) -> Result<(), Error> {
    use io::Write;
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Print(error)),
        _ => Ok(()),
    }
}

/// What the options that name a place and settings come to.
struct Settled {
    place: Place,
    config: Config,
}

/// Where effects stand.
enum Place {
    /// In the embedded store in this folder.
    Store(PathBuf),
    /// In live servers.
    Servers(Box<Servers>),
}

/// Live servers, as the configuration names them.
struct Servers {
    redis: config::Redis,
    hbase: Option<config::Hbase>,
}

impl Settled {
    fn of(outside: &cli::Outside) -> Result<Settled, Error> {
        let need = if outside.store.is_some() { Need::Nothing } else { Need::Outside };
        let config = Config::load(outside.config.as_deref(), &outside.set, need)?;
        let place = match (&outside.store, &config.outside) {
            (Some(dir), _) => Place::Store(dir.clone()),
            (None, Some(config::Outside::Embedded { path })) => Place::Store(path.as_str().into()),
            (None, Some(config::Outside::Servers { redis, hbase })) => {
                Place::Servers(Box::new(Servers { redis: redis.clone(), hbase: hbase.clone() }))
            }
            (None, None) => unreachable!("a configuration without a place was refused"),
        };
        Ok(Settled { place, config })
    }

    fn settings(&self) -> &Settings {
        &self.config.settings
    }
}

impl Servers {
    /// HBase, which must be named.
    fn hbase(&self) -> Result<in_hbase::Hbase, Error> {
        let config = self.hbase.as_ref().ok_or_else(|| {
            Error::Usage("the configuration names no servers of HBase: hbase.thrift".to_owned())
        })?;
        in_hbase::Hbase::of(config)
    }
}

/// The job whose ledger a replay into live servers has for its own.
fn replay_of(config: &Config) -> String {
    format!("{}.replay", config.job.as_str())
}

/// How Kafka is reached, and the topics of the job where its configuration says so.
fn reach(brokers: &cli::Brokers) -> Result<(Access, Vec<String>), Error> {
    if let Some(servers) = &brokers.bootstrap_server {
        return Ok((Access::to(servers, brokers.command_config.as_deref())?, Vec::new()));
    }
    let kafka = Config::load(brokers.config.as_deref(), &brokers.set, Need::Kafka)?.kafka;
    let topics = [&kafka.clicks, &kafka.articles].map(|topic| topic.as_str().to_owned());
    Ok((Access::of(&kafka), topics.into()))
}

/// A time as people read it: RFC 3339 in UTC, to the millisecond.
fn date(milliseconds: u64) -> String {
    match i64::try_from(milliseconds).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
    {
        Some(date) => format!("{date:.3}"),
        // Beyond the year 9999.
        None => format!("{} s", text::seconds(milliseconds)),
    }
}
