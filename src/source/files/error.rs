//! What may be wrong with files.

use std::io;
use std::path::PathBuf;

use collector::hdfs;
use dataflows::Epoch;

use crate::source::Stopped;

/// Why files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be found or looked at.
    #[error("cannot find {}", path.display())]
    Missing {
        /// The file as given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be opened, or not read up to where its records were to begin.
    #[error("cannot open {}, or not find where its new lines begin", path.display())]
    Open {
        /// The file as given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file breaks off: it is torn, damaged or can no longer be read.
    #[error(
        "cannot read {} beyond line {line}; the epochs before it stay applied: repair the file and \
         give the same command again",
        path.display()
    )]
    Torn {
        /// The file as given.
        path: PathBuf,
        /// The last whole line before the damage.
        line: u64,
        /// What the system or the unpacking says.
        source: io::Error,
    },
    /// A file is no longer what was read of it.
    #[error("cannot go on in {}{}: {change}", path.display(), formerly(known_as.as_ref()))]
    Changed {
        /// The file as given.
        path: PathBuf,
        /// The name by which the ledger knows it, if that is another.
        known_as: Option<PathBuf>,
        /// What changed.
        change: Change,
    },
    /// Folders cannot be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// The folder, or what stands in it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A glob cannot be understood.
    #[error("cannot find {0}, and it is no glob either: {1}", pattern.display(), source.msg)]
    Glob {
        /// The glob as given.
        pattern: PathBuf,
        /// What is wrong with it.
        source: glob::PatternError,
    },
    /// A glob is not UTF-8.
    #[error("cannot find {}, and a glob must be UTF-8: give the folder", pattern.display())]
    GlobNotUtf8 {
        /// The glob as given.
        pattern: PathBuf,
    },
    /// A glob matches no file.
    #[error("no file matches {}", pattern.display())]
    NoMatch {
        /// The glob as given.
        pattern: PathBuf,
    },
    /// Standard input is given more than once.
    #[error("standard input (-) is given twice: it can be read once")]
    StdinTwice,
    /// What a bound epoch is made of is gone.
    #[error(
        "epoch {epoch} is bound to lines of {}, which is gone: put it back, or name the file that it \
         has become",
        path.display()
    )]
    BoundGone {
        /// The epoch.
        epoch: Epoch,
        /// The file, as it was given then.
        path: PathBuf,
    },
    /// What a bound epoch is made of was changed while it was read.
    #[error(
        "epoch {epoch} is bound to other lines than stand in {} now; nothing of it was applied",
        path.display()
    )]
    NotAsBound {
        /// The epoch.
        epoch: Epoch,
        /// The file, or the first one.
        path: PathBuf,
    },
    /// The ledger speaks of what is no file.
    #[error("the ledger's {0} is no file: this ledger is a live job's, and no replay's")]
    Foreign(String),
    /// A thread cannot be started.
    #[error("cannot start a thread that reads files")]
    Thread(#[source] io::Error),
    /// The job is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Error {
    /// Whether it says that a file is still being written.
    pub(super) fn says_being_written(&self) -> bool {
        let Error::Open { source, .. } = self else { return false };
        matches!(hdfs::Error::within(source), Some(hdfs::Error::BeingWritten))
    }
}

/// How a file differs from what the ledger says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Change {
    /// It has fewer bytes.
    #[error(
        "the ledger says that {known} bytes of it ({lines} lines) were read, and it has only \
         {found} now; nothing was applied: put the whole file back, or give what is new under a \
         name of its own"
    )]
    Shorter {
        /// How many bytes were read, unpacked.
        known: u64,
        /// How many lines they were.
        lines: u64,
        /// How many it has.
        found: u64,
    },
    /// It begins otherwise.
    #[error(
        "the ledger says that {lines} lines of it were read, and its first {compared} bytes are \
         others now; nothing was applied: put the file back that stood there, or give this one \
         under a name of its own"
    )]
    BegunOtherwise {
        /// How many lines were read.
        lines: u64,
        /// How many bytes were compared.
        compared: u64,
    },
    /// It begins alike, but is another before the place up to which it was read.
    #[error(
        "the ledger says that {lines} lines of it were read, and the {compared} bytes before byte \
         {known}, where they ended, are others now; nothing was applied: put the file back that \
         stood there, or give this one under a name of its own"
    )]
    Rewritten {
        /// How many lines were read.
        lines: u64,
        /// How many bytes were compared.
        compared: u64,
        /// How many bytes were read, unpacked.
        known: u64,
    },
    /// Its last line, which had no newline, goes on.
    #[error(
        "the ledger says that line {line} was its last one, read without a newline, and it is \
         longer now; nothing was applied: put a newline at byte {known}, where it ended, so that \
         what follows is a line of its own"
    )]
    LineLonger {
        /// The line.
        line: u64,
        /// How many bytes were read, unpacked.
        known: u64,
    },
}

fn formerly(path: Option<&PathBuf>) -> String {
    path.map_or_else(String::new, |path| {
        format!(
            " (taken for {0}, which it begins like and which is gone; if it is another file, put \
             {0} back)",
            path.display()
        )
    })
}
