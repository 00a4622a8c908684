//! What can go wrong with HBase, and whether it may be tried again.
//!
//! The server's own hint, `canRetry`, is wrong in both directions: during an outage a read is said not to
//! be worth trying again, and a put into a table that does not exist is. So the text is read, of which
//! the first line counts: what follows is the server's stack.

use std::io;

use hbase_thrift::hbase::{AlreadyExists, IOError, IllegalArgument};

use super::table::Table;
use crate::config::Address;
use crate::retry::{Fault, Faulty};

/// Why HBase did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server cannot be reached.
    #[error("cannot connect to HBase's Thrift server at {server}")]
    Connect {
        /// The server.
        server: Address,
        /// Why.
        source: io::Error,
    },
    /// A server cannot be spoken to over TLS.
    #[error("cannot speak TLS with HBase's Thrift server at {server}")]
    Tls {
        /// The server.
        server: Address,
        /// Why.
        source: native_tls::Error,
    },
    /// The system's TLS cannot be had.
    #[error("cannot set up TLS for HBase's Thrift servers")]
    NoTls(#[source] native_tls::Error),
    /// A call was broken off: it was late, or the connection ended, or the reply was none.
    #[error("{call} of {table} at HBase's Thrift server {server} was broken off: {reason}")]
    Broken {
        /// The call.
        call: &'static str,
        /// The table that it was for.
        table: String,
        /// The server.
        server: Address,
        /// Whether the request had gone out.
        sent: bool,
        /// Why.
        reason: String,
    },
    /// HBase has failed.
    #[error("HBase failed in {call} of {table}, by way of {server}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// The table that it was for.
        table: String,
        /// The server.
        server: Address,
        /// The first line of what HBase says.
        message: String,
    },
    /// There is no such table.
    #[error(
        "HBase has no table {table}; `online-recall tables create --config job.toml` makes \
         it, or in the HBase shell: {shell}"
    )]
    NoTable {
        /// The table.
        table: String,
        /// What makes it.
        shell: String,
    },
    /// A table lacks a family.
    #[error("table {table} of HBase lacks a family: {message}; in the HBase shell: {shell}")]
    NoFamily {
        /// The table.
        table: String,
        /// The first line of what HBase says.
        message: String,
        /// What adds what it must have.
        shell: String,
    },
    /// A table stands already.
    #[error("HBase has a table {table} already")]
    Exists {
        /// The table.
        table: String,
    },
    /// A server does not know a scanner any more: it was started again, or nobody has asked for long.
    #[error("HBase's Thrift server {server} has lost the scan of {table}")]
    ScanLost {
        /// The table.
        table: String,
        /// The server.
        server: Address,
    },
    /// HBase does not understand what it was asked.
    #[error("HBase does not accept {call} of {table}, by way of {server}: {message}")]
    Illegal {
        /// The call.
        call: &'static str,
        /// The table that it was for.
        table: String,
        /// The server.
        server: Address,
        /// What HBase says.
        message: String,
    },
}

impl Faulty for Error {
    fn fault(&self) -> Fault {
        match self {
            Error::Connect { .. }
            | Error::Tls { .. }
            | Error::ScanLost { .. }
            | Error::Broken { sent: false, .. } => Fault::Retry,
            // Of many rows some may have been written.
            Error::Broken { .. } | Error::Refused { .. } => Fault::Unknown,
            Error::NoTls(_)
            | Error::NoTable { .. }
            | Error::NoFamily { .. }
            | Error::Exists { .. }
            | Error::Illegal { .. } => Fault::Fatal,
        }
    }
}

impl Error {
    /// What an error of a call means; `sent` says whether its request had gone out.
    pub(super) fn of(
        error: thrift::Error,
        call: &'static str,
        table: &Table,
        server: &Address,
        sent: bool,
    ) -> Error {
        let name = table.name.clone();
        let server = server.clone();
        let reason = match error {
            thrift::Error::User(user) => {
                return if let Some(error) = user.downcast_ref::<IOError>() {
                    Error::told(error.message.as_deref().unwrap_or_default(), call, table, server)
                } else if let Some(error) = user.downcast_ref::<IllegalArgument>() {
                    let message = first_line(error.message.as_deref().unwrap_or_default());
                    Error::Illegal { call, table: name, server, message }
                } else if user.is::<AlreadyExists>() {
                    Error::Exists { table: name }
                } else {
                    Error::Broken { call, table: name, server, sent, reason: user.to_string() }
                };
            }
            thrift::Error::Transport(error) => error.message,
            thrift::Error::Protocol(error) => error.message,
            thrift::Error::Application(error) => first_line(&error.message),
        };
        Error::Broken { call, table: name, server, sent, reason }
    }

    /// What an IOError means.
    fn told(message: &str, call: &'static str, table: &Table, server: Address) -> Error {
        let message = first_line(message);
        let name = table.name.clone();
        let says = |text| message.contains(text);
        if says("NoSuchColumnFamilyException") {
            return Error::NoFamily { table: name, message, shell: table.shell_alter() };
        }
        // Of many rows, the cause is told by its text alone, which is the table's name.
        let alone = format!(": {name}: ");
        if says("TableNotFoundException")
            || says("RetriesExhaustedWithDetailsException: Failed ") && says(&alone)
        {
            return Error::NoTable { table: name, shell: table.shell_create() };
        }
        Error::Refused { call, table: name, server, message }
    }

    /// Whether the connection can still be used: its reply was read to its end.
    pub(super) fn leaves_connection(&self) -> bool {
        !matches!(self, Error::Connect { .. } | Error::Tls { .. } | Error::Broken { .. })
    }
}

/// The first line of a text, as far as people read.
fn first_line(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = text.lines().next().unwrap_or_default().trim_end();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
