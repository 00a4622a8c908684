//! What operators ask over HTTP, on one port.
//!
//! Of a job:
//!
//! | path | answers |
//! | --- | --- |
//! | `/metrics` | all numbers to watch, as OpenMetrics has them |
//! | `/health` | 200; 503 and why, once the job has failed |
//! | `/ready` | 200 once the job has its ledger and its table; 503 and what it waits for, before |

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::task::AbortHandle;

use crate::config::Address;
use crate::health::Health;
use crate::metrics;
use crate::retry::{Stop, chain};

/// The type of a text of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A server, until it is dropped. It has a thread of its own, which sleeps while nobody asks.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    serving: AbortHandle,
    thread: Option<JoinHandle<()>>,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody can listen there.
    #[error("cannot listen on {address}; {setting} names another address")]
    Listen {
        /// Where.
        address: Address,
        /// What says so.
        setting: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start a thread that answers over HTTP")]
    Thread(#[source] io::Error),
}

impl Server {
    /// Begins to answer at this address, which a setting of this name has said.
    ///
    /// # Errors
    ///
    /// If nobody can listen there, or the system has no room for a thread.
    pub fn start(
        address: &Address,
        setting: &'static str,
        router: Router,
    ) -> Result<Server, Error> {
        let refuse = |source| Error::Listen { address: address.clone(), setting, source };
        let listener = TcpListener::bind((address.host.as_str(), address.port)).map_err(refuse)?;
        listener.set_nonblocking(true).map_err(refuse)?;
        let bound = listener.local_addr().map_err(refuse)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(refuse)?
        };
        let serving = runtime.spawn(axum::serve(listener, router).into_future());
        let abort = serving.abort_handle();
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            // It ends when it is aborted, and all connections with the runtime.
            if let Ok(Err(error)) = runtime.block_on(serving) {
                log::error!("nothing is answered over HTTP any more: error={error}");
            }
        });
        let thread = Some(thread.map_err(Error::Thread)?);
        Ok(Server { address: bound, serving: abort, thread })
    }

    /// Where it listens: the port that the system chose, where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a panic ends the process");
        }
    }
}

/// A server that answers, or will.
#[derive(Debug)]
pub enum Serving {
    /// It answers.
    Now(Server),
    /// It answers as soon as another process, which listens there still, has ended.
    Later(Waiting),
}

/// A thread that waits for an address to be free, and answers there then.
#[derive(Debug)]
pub struct Waiting {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

/// How often it is tried whether an address is free.
const RETRIED: Duration = Duration::from_millis(500);

impl Serving {
    /// Begins to answer for a job at this address, at once or when it is free: a process that is about to be fenced
    /// may listen there until then.
    ///
    /// # Errors
    ///
    /// If nobody can listen there whoever else does, or the system has no room for a thread.
    pub fn start(address: &Address, health: &Health) -> Result<Serving, Error> {
        const SETTING: &str = "http.listen";
        let router = of_job(health.clone());
        match Server::start(address, SETTING, router.clone()) {
            Err(Error::Listen { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {}
            started => return started.map(Serving::Now),
        }
        log::warn!(
            "another process listens on {address}: nothing is answered over HTTP until it ends; \
             {SETTING} names another address"
        );
        let (stop, address) = (Stop::default(), address.clone());
        let ends = stop.clone();
        let wait = move || {
            while !ends.wait(RETRIED) {
                match Server::start(&address, SETTING, router.clone()) {
                    Ok(server) => {
                        log::info!("answers over HTTP now: address={}", server.address());
                        ends.wait(Duration::MAX);
                    }
                    Err(error) => log::debug!("not yet: error={}", chain(&error)),
                }
            }
        };
        let thread = std::thread::Builder::new().name("http-later".to_owned()).spawn(wait);
        let thread = Some(thread.map_err(Error::Thread)?);
        Ok(Serving::Later(Waiting { stop, thread }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a panic ends the process");
        }
    }
}

/// What is answered of a job.
pub fn of_job(health: Health) -> Router {
    Router::new()
        .route("/metrics", get(numbers))
        .route("/health", get(is_well))
        .route("/ready", get(is_ready))
        .with_state(health)
}

async fn numbers() -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics::text())
}

async fn is_well(State(health): State<Health>) -> impl IntoResponse {
    answer("ok", health.failure())
}

async fn is_ready(State(health): State<Health>) -> impl IntoResponse {
    answer("ready", health.unready().map(|why| why.to_string()))
}

fn answer(yes: &str, why_not: Option<String>) -> (StatusCode, String) {
    match why_not {
        None => (StatusCode::OK, format!("{yes}\n")),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// How long whoever is asked may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How much of an answer is read.
const LONGEST: u64 = 16 << 20;

/// Asks the server of another process; returns what it answers.
///
/// # Errors
///
/// If nobody answers, or not with success.
pub fn ask(address: &Address, path: &str) -> io::Result<String> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in (address.host.as_str(), address.port).to_socket_addrs()? {
        match ask_at(address, path) {
            Ok(answer) => return Ok(answer),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn ask_at(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // In this version the body ends with the connection, and comes in one piece.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(answer.lines().next().unwrap_or("no answer").to_owned())),
    }
}
