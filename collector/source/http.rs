//! Events that peers post over HTTP: answered when the channels have them.
//!
//! | answer | when |
//! | --- | --- |
//! | 200 | every required channel has them all |
//! | 400 | what was posted is no event; none of it is put |
//! | 403, 405, 501 | it came by another method than `POST` or `GET` (Flume's) |
//! | 413 | it is longer than 64 MiB |
//! | 503 | a channel has no room, or has failed: all of it may be posted again |
//!
//! With `ssl`, peers speak TLS: one that speaks anything else, or does not get its TLS done in half a minute, loses
//! its connection, and nobody else does.

mod blob;
mod complaints;
mod json;
mod query;
mod secured;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::serve::Listener;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use self::complaints::Complaints;
use self::secured::Secured;
use super::{Failure, Inlet};
use crate::counters::Source as Count;
use crate::event::Event;
use crate::keys::Keys;
use crate::stop::{Stop, chain};
use crate::tls::Shown;

/// A body that is longer is refused.
const LONGEST: usize = 64 << 20;

/// How many requests are put at once: each may wait for room.
const WORKERS: usize = 8;

/// How long what is posted already may take when it is stopped.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a peer may take for its TLS.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// How often it is looked whether it is stopped, and what there is to complain of.
const POLL: Duration = Duration::from_millis(200);

/// Listens, and makes events of what is posted.
#[derive(Debug)]
pub struct Http {
    bind: String,
    port: u16,
    takes: Takes,
    tls: Option<Shown>,
    handshake: Duration,
}

/// What is posted.
#[derive(Clone, Debug)]
enum Takes {
    Json,
    Blob(blob::Settings),
}

/// What was posted, before it is judged.
#[derive(Debug)]
struct Posted {
    content_type: Option<String>,
    /// What stands behind the question mark; of a name the first value.
    parameters: BTreeMap<String, String>,
    body: Bytes,
}

/// Why something that was posted is no event.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("there is no parameter {0}, which is mandatory")]
    Parameter(String),
    #[error("the charset {0} is none of UTF-8, UTF-16 and UTF-32")]
    Charset(String),
    #[error("the body is not of its charset")]
    Letters,
    #[error("the body is no array of events")]
    Json(#[from] serde_json::Error),
}

/// Why nobody can be listened to.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {bind}:{port}")]
struct Unheard {
    bind: String,
    port: u16,
    source: io::Error,
}

/// A request that waits for its events to be put.
type Waiting = (Vec<Event>, oneshot::Sender<(StatusCode, String)>);

#[derive(Clone)]
struct Served {
    takes: Takes,
    sender: SyncSender<Waiting>,
    complaints: Arc<Complaints>,
}

impl Http {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Http {
        const JSON: &str = "org.apache.flume.source.http.JSONHandler";
        let (name, own) = (keys.text_or("handler", JSON), keys.part("handler."));
        let takes = match &*name {
            JSON => Takes::Json,
            "org.apache.flume.sink.solr.morphline.BlobHandler" => {
                Takes::Blob(blob::Settings::of_morphline(&own))
            }
            "org.apache.flume.source.http.BLOBHandler" => {
                Takes::Blob(blob::Settings::of_flume(&own))
            }
            other => {
                let known = "org.apache.flume.source.http.JSONHandler, \
                             org.apache.flume.source.http.BLOBHandler, \
                             org.apache.flume.sink.solr.morphline.BlobHandler";
                keys.wrong("handler", other, known);
                Takes::Json
            }
        };
        own.finish();
        for (old, new) in [
            ("enableSSL", "ssl"),
            ("keystorePassword", "keystore-password"),
            ("excludeProtocols", "exclude-protocols"),
        ] {
            keys.also(old, new);
        }
        let tls = Shown::read(keys);
        for prefix in
            ["QueuedThreadPool.", "HttpConfiguration.", "ServerConnector.", "SslContextFactory."]
        {
            for (key, value) in keys.below(prefix) {
                let path = format!("{prefix}{key}");
                if key == "needClientAuth" && value.eq_ignore_ascii_case("true") {
                    let text = "no peer is asked for a certificate; put a proxy before it, as nginx or stunnel";
                    keys.mistaken(&path, text);
                } else {
                    keys.doubtful(&path, "it has no effect: the server is not Jetty");
                }
            }
        }
        let (bind, port) = (keys.text_or("bind", "0.0.0.0"), keys.port("port"));
        Http { bind, port, takes, tls, handshake: HANDSHAKE }
    }

    fn listen(&self) -> Result<TcpListener, Unheard> {
        let unheard = |source| Unheard { bind: self.bind.clone(), port: self.port, source };
        let listener = TcpListener::bind((&*self.bind, self.port)).map_err(unheard)?;
        listener.set_nonblocking(true).map_err(unheard)?;
        log::info!("listens: address={}", listener.local_addr().map_err(unheard)?);
        Ok(listener)
    }

    /// Answers until it is stopped.
    fn serve(&self, listener: TcpListener, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        let acceptor = self.tls.as_ref().map(Shown::acceptor).transpose()?;
        let (sender, waiting) = sync_channel(WORKERS);
        let complaints = Arc::<Complaints>::default();
        let served =
            Served { takes: self.takes.clone(), sender, complaints: Arc::clone(&complaints) };
        let router = Router::new().fallback(take).with_state(served);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (ends, ended) = oneshot::channel::<()>();
        let serving = match acceptor {
            None => runtime.spawn(answer(listener, router, ended)),
            Some(acceptor) => {
                let complaints = Arc::clone(&complaints);
                let secured = Secured::new(listener, acceptor, self.handshake, complaints);
                runtime.spawn(answer(secured, router, ended))
            }
        };
        let abort = serving.abort_handle();
        let waiting = Mutex::new(waiting);
        std::thread::scope(|threads| {
            let server = std::thread::Builder::new().name(format!("{}-http", inlet.name()));
            let server = server.spawn_scoped(threads, move || runtime.block_on(serving))?;
            // Whatever follows, the server ends before the threads are waited for.
            let abort = Aborts(abort);
            for _ in 0..WORKERS {
                let worker = std::thread::Builder::new().name(format!("{}-put", inlet.name()));
                worker.spawn_scoped(threads, || put(&waiting, inlet))?;
            }
            while !server.is_finished() && !stop.wait(POLL) {
                complaints.tell(inlet);
            }
            // What is posted already is answered.
            drop(ends);
            let (begun, never) = (Instant::now(), Stop::default());
            while !server.is_finished() && begun.elapsed() < PATIENCE {
                never.wait(Duration::from_millis(5));
            }
            drop(abort);
            complaints.tell(inlet);
            match server.join().expect("a panic ends the process") {
                Ok(ended) => Ok(ended?),
                Err(_) => Ok(()),
            }
        })
    }
}

/// Answers who comes, until it is told to end or the teller is gone.
async fn answer<L>(listener: L, router: Router, ended: oneshot::Receiver<()>) -> io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
{
    let ended = async { drop(ended.await) };
    axum::serve(listener, router).with_graceful_shutdown(ended).await
}

/// Ends a server, and all its connections with its runtime, when it is dropped.
struct Aborts(AbortHandle);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl super::Source for Http {
    fn batch(&self) -> usize {
        0
    }

    fn run(&mut self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        self.serve(self.listen()?, inlet, stop)
    }

    fn may_set(&self, _: &str) -> bool {
        true
    }
}

/// Puts what waits, and answers, until nobody asks any more.
fn put(waiting: &Mutex<Receiver<Waiting>>, inlet: &Inlet) {
    loop {
        // A receiver is always whole.
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((events, answer)) = next else { return };
        inlet.counters().add(Count::AppendBatchReceivedCount, 1);
        let said = match inlet.accept(events) {
            Ok(()) => {
                inlet.counters().add(Count::AppendBatchAcceptedCount, 1);
                (StatusCode::OK, String::new())
            }
            Err(refused) => {
                let why = chain(&refused);
                log::warn!("source {}: error={why}", inlet.name());
                (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
            }
        };
        if answer.send(said).is_err() {
            log::debug!("a peer has not waited for its answer");
        }
    }
}

async fn take(State(served): State<Served>, request: Request<Body>) -> (StatusCode, String) {
    let (head, body) = request.into_parts();
    if let Some(refused) = refused(&head.method) {
        return (refused, format!("events are posted, and {} is not\n", head.method));
    }
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let most = match &served.takes {
        Takes::Json => LONGEST,
        Takes::Blob(settings) => settings.longest.max(LONGEST),
    };
    let Ok(body) = to_bytes(body, most).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {most} bytes\n"));
    };
    let posted = Posted {
        content_type: content_type.map(str::to_owned),
        parameters: query::parameters(head.uri.query().unwrap_or_default()),
        body,
    };
    let events = match &served.takes {
        Takes::Json => json::events(&posted),
        Takes::Blob(settings) => settings.event(posted).map(|event| vec![event]),
    };
    let events = match events {
        Ok(events) => events,
        Err(bad) => {
            let why = chain(&bad);
            served.complaints.of_event(why.clone());
            return (StatusCode::BAD_REQUEST, format!("{why}\n"));
        }
    };
    if events.is_empty() {
        return (StatusCode::OK, String::new());
    }
    let (sender, answer) = oneshot::channel();
    let busy = || (StatusCode::SERVICE_UNAVAILABLE, "all channels are busy\n".to_owned());
    // The server's only thread does not wait.
    if served.sender.try_send((events, sender)).is_err() {
        return busy();
    }
    answer.await.unwrap_or_else(|_| busy())
}

/// What is answered to a method that brings no events, as Flume and its server do.
fn refused(method: &Method) -> Option<StatusCode> {
    match *method {
        Method::POST | Method::GET | Method::HEAD => None,
        Method::PUT | Method::DELETE => Some(StatusCode::METHOD_NOT_ALLOWED),
        Method::OPTIONS | Method::TRACE => Some(StatusCode::FORBIDDEN),
        _ => Some(StatusCode::NOT_IMPLEMENTED),
    }
}

#[cfg(test)]
mod tests;
