//! What an answer of Redis means for the next attempt.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::config::Address;
use crate::retry::{Fault, Faulty};

/// Why a request of Redis was not answered as hoped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The url is none.
    #[error("cannot use the url {shown} of redis: {reason}")]
    Url {
        /// The url, without its password.
        shown: String,
        /// What is wrong.
        reason: String,
    },
    /// No connection came about: nothing was sent.
    #[error("cannot connect to {node}")]
    Connect {
        /// Where.
        node: Address,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The other end is not who it should be, or speaks no TLS.
    #[error("cannot speak TLS with {node}")]
    Tls {
        /// Where.
        node: Address,
        /// Why.
        source: Arc<native_tls::Error>,
    },
    /// The connection was lost before the answer.
    #[error("no answer from {node}")]
    Unanswered {
        /// Where.
        node: Address,
        /// Why.
        source: Arc<io::Error>,
    },
    /// It said no.
    #[error("{node} {refusal}: {text}")]
    Refused {
        /// Where.
        node: Address,
        /// What that means.
        refusal: Refusal,
        /// What it said.
        text: String,
    },
    /// Too few replicas have what was written.
    #[error("{have} of {wanted} replicas have what was written to {node}")]
    Replicas {
        /// Where.
        node: Address,
        /// How many have it.
        have: i64,
        /// How many must.
        wanted: u32,
    },
    /// No master serves a hash slot that is needed.
    #[error("no master of the Cluster serves the slot of {key}")]
    Unserved {
        /// The key that was asked for.
        key: String,
    },
    /// Slots move faster than one can follow.
    #[error("the slot of {key} moves from node to node")]
    Moving {
        /// The key that was asked for.
        key: String,
    },
    /// One url, and it is a node of a Cluster.
    #[error(
        "{node} is a node of a Cluster, where redis.url must be a list of urls, such as \
         [\"redis://{node}\"]"
    )]
    IsCluster {
        /// Where.
        node: Address,
    },
    /// A list of urls, and there is no Cluster.
    #[error("{node} is no node of a Cluster, where redis.url must be one url and not a list")]
    NoCluster {
        /// Where.
        node: Address,
    },
    /// A key of ours holds what we never write.
    #[error("{key} of redis holds what this version never writes there: {what}")]
    Damaged {
        /// The key.
        key: String,
        /// What stands there, or where in it.
        what: String,
    },
    /// An answer that its command never has.
    #[error("redis answers otherwise than it should: {what}")]
    Garbled {
        /// What came.
        what: String,
    },
}

impl Faulty for Error {
    fn fault(&self) -> Fault {
        match self {
            Error::Connect { .. } | Error::Unserved { .. } | Error::Moving { .. } => Fault::Retry,
            Error::Unanswered { .. } | Error::Replicas { .. } => Fault::Unknown,
            Error::Refused { refusal, .. } => refusal.fault(),
            Error::Url { .. }
            | Error::Tls { .. }
            | Error::IsCluster { .. }
            | Error::NoCluster { .. }
            | Error::Damaged { .. }
            | Error::Garbled { .. } => Fault::Fatal,
        }
    }
}

impl Error {
    /// The error of a handshake: of the network, or of what was found there.
    pub(super) fn of_handshake(node: &Address, error: native_tls::Error) -> Error {
        let node = node.clone();
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<io::Error>() {
                let kind = io.kind();
                return Error::Connect { node, source: Arc::new(io::Error::new(kind, error)) };
            }
            cause = inner.source();
        }
        // A connection that ends meanwhile, as those of a proxy without its server do, has no cause.
        if error.to_string().to_ascii_lowercase().contains("unexpected eof") {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, error);
            return Error::Connect { node, source: Arc::new(source) };
        }
        Error::Tls { node, source: Arc::new(error) }
    }
}

/// What a server means that says no. What it refused surely did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is a replica.
    ReadOnly,
    /// It reads its data.
    Loading,
    /// `maxmemory` is reached.
    OutOfMemory,
    /// Somebody's script runs too long.
    Busy,
    /// It is a replica without its master.
    MasterDown,
    /// The Cluster is not whole.
    ClusterDown,
    /// A slot is being moved, and its keys stand in two places.
    TryAgain,
    /// The slot stands at another node.
    Moved,
    /// The slot is about to stand at another node.
    Ask,
    /// It does not know the script.
    NoScript,
    /// It cannot save its data, and takes no writes until it can.
    CannotSave,
    /// It has too few replicas to take writes.
    NoReplicas,
    /// It has as many clients as it may.
    TooManyClients,
    /// User or password are wrong, or missing.
    Login,
    /// The user may not do that.
    NoPermission,
    /// A key is of another type.
    WrongType,
    /// It has no such database.
    NoDatabase,
    /// It has no such command.
    NoCommand,
    /// A Cluster was expected, or none.
    NoCluster,
    /// Anything else that it calls an error.
    Failed,
    /// Anything that it has a word of its own for.
    Other,
}

impl Refusal {
    /// What an answer means that begins with this word.
    pub(super) fn of(code: &str, detail: &str) -> Refusal {
        // Redis 6 says what refused a command of a script behind the line of the script.
        if code.starts_with("@user_script")
            && let Some((_, said)) = detail.split_once(": -")
        {
            let (code, detail) = said.split_once(' ').unwrap_or((said, ""));
            return Refusal::of(code, detail);
        }
        match code {
            "READONLY" => Refusal::ReadOnly,
            "LOADING" => Refusal::Loading,
            "OOM" => Refusal::OutOfMemory,
            "BUSY" => Refusal::Busy,
            "MASTERDOWN" => Refusal::MasterDown,
            "CLUSTERDOWN" => Refusal::ClusterDown,
            "TRYAGAIN" => Refusal::TryAgain,
            "MOVED" => Refusal::Moved,
            "ASK" => Refusal::Ask,
            "NOSCRIPT" => Refusal::NoScript,
            "MISCONF" => Refusal::CannotSave,
            "NOREPLICAS" => Refusal::NoReplicas,
            "NOAUTH" | "WRONGPASS" | "DENIED" => Refusal::Login,
            "NOPERM" => Refusal::NoPermission,
            "WRONGTYPE" => Refusal::WrongType,
            // The rest have one word for all, and are told by what follows it.
            "ERR" if detail.starts_with("max number of clients") => Refusal::TooManyClients,
            "ERR" if detail.starts_with("AUTH") || detail.starts_with("invalid password") => {
                Refusal::Login
            }
            "ERR" if detail.starts_with("DB index") => Refusal::NoDatabase,
            "ERR" if detail.contains("nknown Redis command") => Refusal::NoCommand,
            "ERR" if detail.starts_with("unknown command") => Refusal::NoCommand,
            "ERR" if detail.contains("cluster support disabled") => Refusal::NoCluster,
            "ERR" | "CROSSSLOT" => Refusal::Failed,
            _ => Refusal::Other,
        }
    }

    fn fault(self) -> Fault {
        match self {
            Refusal::ReadOnly
            | Refusal::Loading
            | Refusal::OutOfMemory
            | Refusal::Busy
            | Refusal::MasterDown
            | Refusal::ClusterDown
            | Refusal::TryAgain
            | Refusal::Moved
            | Refusal::Ask
            | Refusal::NoScript
            | Refusal::CannotSave
            | Refusal::NoReplicas
            | Refusal::TooManyClients
            | Refusal::Other => Fault::Retry,
            Refusal::Login
            | Refusal::NoPermission
            | Refusal::WrongType
            | Refusal::NoDatabase
            | Refusal::NoCommand
            | Refusal::NoCluster
            | Refusal::Failed => Fault::Fatal,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::ReadOnly => "is a replica, which takes no writes",
            Refusal::Loading => "is reading its data",
            Refusal::OutOfMemory => "is out of memory: raise its maxmemory, or free some",
            Refusal::Busy => "runs somebody's script and answers nobody",
            Refusal::MasterDown => "is a replica without its master",
            Refusal::ClusterDown => "says that the Cluster is not whole",
            Refusal::TryAgain => "is handing over a slot, whose keys stand in two places",
            Refusal::Moved | Refusal::Ask => "has handed over a slot",
            Refusal::NoScript => "does not know a script",
            Refusal::CannotSave => "cannot save its data, and takes no writes until it can",
            Refusal::NoReplicas => "has too few replicas to take writes",
            Refusal::TooManyClients => "has as many clients as it may: raise its maxclients",
            Refusal::Login => "lets us not in: see user and password in redis.url",
            Refusal::NoPermission => "does not let this user do that: see its ACL",
            Refusal::WrongType => "has a key of another type",
            Refusal::NoDatabase => "has no such database: see the number in redis.url",
            Refusal::NoCommand => "is too old: Redis 6.2 or later is needed",
            Refusal::NoCluster => "is no node of a Cluster",
            Refusal::Failed | Refusal::Other => "refused",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_taken_for_what_it_is() {
        use Fault::{Fatal, Retry};
        use Refusal as R;
        for (line, refusal, fault) in [
            ("READONLY You can't write against a read only replica.", R::ReadOnly, Retry),
            ("@user_script: 18: -READONLY You can't write against", R::ReadOnly, Retry),
            ("LOADING Redis is loading the dataset in memory", R::Loading, Retry),
            ("OOM command not allowed when used memory > 'maxmemory'.", R::OutOfMemory, Retry),
            ("BUSY Redis is busy running a script.", R::Busy, Retry),
            ("MASTERDOWN Link with MASTER is down", R::MasterDown, Retry),
            ("CLUSTERDOWN Hash slot not served", R::ClusterDown, Retry),
            ("TRYAGAIN Multiple keys request during rehashing of slot", R::TryAgain, Retry),
            ("MOVED 3999 127.0.0.1:6381", R::Moved, Retry),
            ("ASK 3999 127.0.0.1:6381", R::Ask, Retry),
            ("NOSCRIPT No matching script. Please use EVAL.", R::NoScript, Retry),
            ("MISCONF Redis is configured to save RDB snapshots, but", R::CannotSave, Retry),
            ("NOREPLICAS Not enough good replicas to write.", R::NoReplicas, Retry),
            ("ERR max number of clients reached", R::TooManyClients, Retry),
            ("INPROG Failover already in progress.", R::Other, Retry),
            ("NOAUTH Authentication required.", R::Login, Fatal),
            ("WRONGPASS invalid username-password pair", R::Login, Fatal),
            ("ERR AUTH <password> called without any password configured", R::Login, Fatal),
            ("NOPERM this user has no permissions to run", R::NoPermission, Fatal),
            ("WRONGTYPE Operation against a key", R::WrongType, Fatal),
            ("ERR DB index is out of range", R::NoDatabase, Fatal),
            ("ERR unknown command 'ZMSCORE', with args", R::NoCommand, Fatal),
            ("ERR Unknown Redis command called from script", R::NoCommand, Fatal),
            ("ERR This instance has cluster support disabled", R::NoCluster, Fatal),
            ("CROSSSLOT Keys in request don't hash to the same slot", R::Failed, Fatal),
            ("ERR value is not a valid float", R::Failed, Fatal),
        ] {
            let (code, detail) = line.split_once(' ').unwrap();
            assert_eq!(Refusal::of(code, detail), refusal, "{line}");
            assert_eq!(refusal.fault(), fault, "{line}");
        }
    }
}
