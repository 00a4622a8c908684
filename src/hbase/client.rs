//! Connections to several servers: one a call, kept for the next; another server where one fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hbase_thrift::hbase::HbaseSyncClient;
use native_tls::TlsConnector;
use thrift::protocol::TBinaryOutputProtocol;

use super::table::Table;
use super::wire::{self, Replies, Requests, Wire};
use super::{Error, Spot};
use crate::config::{Address, Hbase};
use crate::metrics;
use crate::retry::Stop;

/// After how long without a call a connection is given up: the server does so after 60 s.
const IDLE: Duration = Duration::from_secs(45);

/// For how long a server that has failed is only asked where no other is there.
const AVOIDED: Duration = Duration::from_secs(5);

/// How long the first attempt of a call may take; each later one twice as long, up to [`LONGEST`].
///
/// A server that stands still is left soon; one that is slow is waited for in the end.
const FIRST: Duration = Duration::from_secs(10);

/// The longest that an attempt may take.
const LONGEST: Duration = Duration::from_secs(80);

/// How long an attempt may take after so many failures.
pub fn patience(failures: u32) -> Duration {
    FIRST.saturating_mul(2u32.saturating_pow(failures)).min(LONGEST)
}

/// What the generated client speaks through.
pub(super) type Thrift = HbaseSyncClient<Replies, TBinaryOutputProtocol<Requests>>;

/// No attributes: what every call of the protocol carries.
pub(super) fn none() -> BTreeMap<Vec<u8>, Vec<u8>> {
    BTreeMap::new()
}

/// HBase, by way of its Thrift servers. Calls may come from many threads; each has a connection for
/// itself meanwhile.
pub struct Client {
    servers: Vec<Server>,
    tls: Option<TlsConnector>,
    /// Whose turn it is.
    turn: AtomicUsize,
    /// Breaks off calls that are under way.
    stop: Mutex<Stop>,
}

struct Server {
    address: Address,
    idle: Mutex<Vec<Connection>>,
    /// When it last failed, or was last tried after that.
    failed: Mutex<Option<Instant>>,
}

struct Connection {
    thrift: Thrift,
    wire: Arc<Mutex<Wire>>,
    used: Instant,
}

/// A connection, for some calls in a row to one server.
pub(super) struct Lease<'a> {
    client: &'a Client,
    server: &'a Server,
    /// Nothing after a call that has left it useless.
    connection: Option<Connection>,
}

impl Client {
    /// Knows the servers; connects to none yet.
    ///
    /// # Errors
    ///
    /// If TLS is wanted and the system has none.
    pub fn new(config: &Hbase) -> Result<Client, Error> {
        let tls = config.tls.then(TlsConnector::new).transpose().map_err(Error::NoTls)?;
        let server = |address: &Address| Server {
            address: address.clone(),
            idle: Mutex::default(),
            failed: Mutex::default(),
        };
        let servers = config.thrift.iter().map(server).collect();
        Ok(Client { servers, tls, turn: AtomicUsize::new(0), stop: Mutex::default() })
    }

    /// From now on, calls are broken off when this stops.
    pub fn attend(&self, stop: &Stop) {
        *lock(&self.stop) = stop.clone();
    }

    /// Takes a connection that is idle, or makes one: to the first server that can be reached.
    pub(super) fn lease(&self) -> Result<Lease<'_>, Error> {
        let mut failed = None;
        for server in self.by_turn() {
            server.begin_probe();
            let connection = match server.take_idle() {
                Some(connection) => Ok(connection),
                None => Connection::open(&server.address, self.tls.as_ref()),
            };
            match connection {
                Ok(connection) => {
                    return Ok(Lease { client: self, server, connection: Some(connection) });
                }
                Err(error) => {
                    server.note_failure();
                    failed = Some(error);
                }
            }
        }
        Err(failed.expect("a configuration names at least one server"))
    }

    /// Makes one call.
    pub(super) fn call<T>(
        &self,
        table: &Table,
        name: &'static str,
        patience: Duration,
        call: impl FnOnce(&mut Thrift) -> thrift::Result<T>,
    ) -> Result<T, Error> {
        self.lease()?.call(table, name, patience, call)
    }

    /// All servers, another one first each time; those that have failed lately come last.
    fn by_turn(&self) -> Vec<&Server> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.servers.len();
        let (before, from) = self.servers.split_at(turn);
        let (last, mut servers): (Vec<_>, Vec<_>) =
            from.iter().chain(before).partition(|server| server.failed_lately());
        servers.extend(last);
        servers
    }
}

impl Server {
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|connection| connection.used.elapsed() < IDLE);
        while let Some(connection) = idle.pop() {
            if !wire::lock(&connection.wire).is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn failed_lately(&self) -> bool {
        lock(&self.failed).is_some_and(|at| at.elapsed() < AVOIDED)
    }

    /// While one finds out whether a server that has failed is well again, others go on avoiding it.
    fn begin_probe(&self) {
        let mut failed = lock(&self.failed);
        if failed.is_some() {
            *failed = Some(Instant::now());
        }
    }

    fn note_failure(&self) {
        *lock(&self.failed) = Some(Instant::now());
    }
}

impl Connection {
    fn open(server: &Address, tls: Option<&TlsConnector>) -> Result<Connection, Error> {
        let (wire, requests, replies) = wire::connect(server, tls)?;
        let thrift = Thrift::new(replies, TBinaryOutputProtocol::new(requests, true));
        Ok(Connection { thrift, wire, used: Instant::now() })
    }
}

impl Lease<'_> {
    /// Makes a call. After an error that breaks the connection the lease is of no more use.
    pub(super) fn call<T>(
        &mut self,
        table: &Table,
        name: &'static str,
        patience: Duration,
        call: impl FnOnce(&mut Thrift) -> thrift::Result<T>,
    ) -> Result<T, Error> {
        let server = self.server;
        let connection = self.connection.as_mut().expect("a broken lease is not used again");
        let begun = Instant::now();
        let stop = lock(&self.client.stop).clone();
        wire::lock(&connection.wire).begin(patience, stop);
        let result = call(&mut connection.thrift);
        connection.used = Instant::now();
        metrics::hbase(name, result.is_ok(), begun.elapsed());
        let error = match result {
            Ok(done) => {
                *lock(&server.failed) = None;
                return Ok(done);
            }
            Err(error) => error,
        };
        let sent = wire::lock(&connection.wire).is_sent();
        let error = Error::of(error, name, table, &server.address, sent);
        server.note_failure();
        if !error.leaves_connection() {
            // What is idle was connected to the same process, which may be gone or stand still.
            self.connection = None;
            lock(&server.idle).clear();
        }
        Err(error)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            lock(&self.server.idle).push(connection);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole whenever a thread could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spot {
    /// Where it stands, as people read it.
    pub fn in_words(&self) -> String {
        format!("row={} column={}", self.row.escape_ascii(), self.qualifier.escape_ascii())
    }
}
