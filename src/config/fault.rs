//! What may be wrong with a configuration, and how people are told.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::Unresolved;

/// Where something of a configuration stands. Ordered as people read: down the file, then along the
/// command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In this line of the file, counted from 1.
    Line(Arc<PathBuf>, usize),
    /// In the file, or missing there.
    File(Arc<PathBuf>),
    /// On the command line, where there is no file.
    CommandLine,
    /// In the argument of `--set` that sets this key.
    Set(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::File(path) => path.display().fmt(f),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Set(key) => write!(f, "--set {key}"),
        }
    }
}

/// What was found, and where: `job.toml:12: unknown key …`. Serialised as `at`, `line` and `text`.
#[derive(Debug)]
pub struct Finding<T> {
    /// Where it stands.
    pub at: Origin,
    /// What it is.
    pub what: T,
}

/// What makes a configuration unusable.
pub type Mistake = Finding<Fault>;

/// What is allowed, and yet worth a second look.
pub type Warning = Finding<Risk>;

impl<T: fmt::Display> fmt::Display for Finding<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

impl<T: fmt::Display> Serialize for Finding<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written {
            at: String,
            line: Option<usize>,
            text: String,
        }
        let line = if let Origin::Line(_, line) = self.at { Some(line) } else { None };
        Written { at: self.at.to_string(), line, text: self.what.to_string() }.serialize(serializer)
    }
}

/// All mistakes of a configuration, one a line.
#[derive(Debug)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// What a mistake is. No text of it holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("cannot read the configuration: {0}")]
    Unreadable(io::Error),
    /// The file, or the key of a `--set`, is no TOML.
    #[error("{0}")]
    Syntax(String),
    /// A `--set` without `=`.
    #[error("write KEY=VALUE, such as epoch.interval=10ms")]
    NoValue,
    /// There is no such key or table.
    #[error("unknown key {key}{}", nearest.map(|known| format!("; did you mean {known}?")).unwrap_or_default())]
    Unknown {
        /// What was written.
        key: String,
        /// The known key or table that it resembles most.
        nearest: Option<&'static str>,
    },
    /// The value is of the wrong type or out of range.
    #[error("{key} is {}; allowed: {allowed}", found.as_deref().unwrap_or("not what it may be"))]
    Unfit {
        /// The key.
        key: String,
        /// The value as written; `None` where it may be a secret.
        found: Option<String>,
        /// What it may be.
        allowed: &'static str,
    },
    /// The key stands there twice, quoted and not.
    #[error("{key} is written twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// The key must be written, and is not.
    #[error("{key} is missing; {why}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What needs it, and what it may be.
        why: &'static str,
    },
    /// Two keys or tables that do not go together.
    #[error("{one} and {other} cannot stand together: {why}")]
    Both {
        /// The one that the mistake stands at.
        one: &'static str,
        /// The other.
        other: &'static str,
        /// Why they cannot.
        why: &'static str,
    },
    /// A reference to a secret leads nowhere.
    #[error("{key}: {why}")]
    Unresolved {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: Unresolved,
    },
}

/// What a warning is about.
#[derive(Debug, thiserror::Error)]
pub enum Risk {
    /// A secret can be read by whoever reads the file, or the list of processes.
    #[error("{key} holds a secret as it is; write ${{env:NAME}} or ${{file:PATH}} in its place")]
    PlainSecret {
        /// The key.
        key: String,
    },
    /// The page and the numbers are open to the network.
    #[error("http.listen {0} is reachable from other machines; nothing there asks for a password")]
    Open(String),
    /// Epochs in flight may need much memory.
    #[error("epoch.records x epoch.in_flight is {0}: as many records may be held in memory")]
    Large(u64),
}
