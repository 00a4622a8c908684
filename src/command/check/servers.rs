//! What was found at servers, and how people are told.

use std::fmt;

use serde::{Serialize, Serializer};

/// A server, by the name under which it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Kafka(String),
    Hbase(String),
    Redis(String),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Kafka(name) => write!(f, "kafka {name}"),
            Server::Hbase(name) => write!(f, "hbase {name}"),
            Server::Redis(name) => write!(f, "redis {name}"),
        }
    }
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// It is as it should be.
    Well,
    /// The job runs, and yet it is worth a second look.
    Warning,
    /// The job would not run, or not do what it is for.
    Mistake,
}

/// What was found at a server: `mistake: redis 127.0.0.1:6379: it is a replica …; name its master …`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// How much it matters.
    pub weight: Weight,
    at: Server,
    text: String,
    /// What to do about it.
    todo: Option<String>,
}

impl Server {
    /// It is as it should be.
    pub fn well(&self, text: String) -> Found {
        Found { weight: Weight::Well, at: self.clone(), text, todo: None }
    }

    /// It is worth a second look.
    pub fn warning(&self, text: String, todo: &str) -> Found {
        Found { weight: Weight::Warning, at: self.clone(), text, todo: Some(todo.to_owned()) }
    }

    /// It must be mended.
    pub fn mistake(&self, text: String, todo: &str) -> Found {
        Found { weight: Weight::Mistake, ..self.warning(text, todo) }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.weight {
            Weight::Well => "",
            Weight::Warning => "warning: ",
            Weight::Mistake => "mistake: ",
        })?;
        write!(f, "{}: {}", self.at, self.text)?;
        self.todo.iter().try_for_each(|todo| write!(f, "; {todo}"))
    }
}
