//! A proxy on loopback between the job and a server, which does to their connections what networks do
//! and real servers can't be made to show.
//!
//! ```text
//!         requests                requests
//!  job ────────────▶  proxy  ────────────▶ server
//!      ◀────────────    │    ◀────────────
//!         replies       │         replies
//!                  does what its Fault says, and counts it
//! ```
//!
//! A test that throws a fault asks [`Proxy::until`] the [`Counts`] show that it really happened.
//!
//! What it can't do: it knows no protocol. Where a server names its own address to clients, as Kafka's
//! brokers and the nodes of a Redis Cluster do, it must be told to name the proxy's
//! (`stack/kafka`: `PROXY`).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::kafka::LONG;
use crate::random::Random;

/// How many bytes are passed on at once.
const PIECE: usize = 64 << 10;

/// How many pieces may be on their way in one direction of a connection: as much as a line holds.
const ON_THE_WAY: usize = 64;

/// What befalls connections, those that stand and new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: all bytes pass.
    None,
    /// New connections are reset; those that stand go on.
    Refuse,
    /// Half-open: connections are accepted and kept, and nothing passes either way, no end either. What
    /// was held passes when the fault is over, however late, unless the connection is cut.
    Hold,
    /// Requests pass, replies are held likewise.
    HoldReplies,
    /// The same of the reply to a request in which these bytes stand; of a client that waits for each reply
    /// before it asks again.
    HoldRepliesTo(Vec<u8>),
    /// Requests pass; a reply is lost with this probability, in percent, and its connection cut then:
    /// whatever was asked has happened, and nobody was told.
    ///
    /// With `to`, only the reply to a request in which these bytes stand; of a client that waits for each
    /// reply before it asks again.
    LoseReplies {
        /// The probability.
        percent: usize,
        /// What stands in the request.
        to: Option<Vec<u8>>,
    },
    /// All that is sent comes so much later; a far line, not a narrow one.
    Delay(Duration),
}

impl Fault {
    /// Every reply is lost.
    pub fn lose_replies() -> Fault {
        Fault::LoseReplies { percent: 100, to: None }
    }

    /// Every reply to a request in which these bytes stand is lost.
    pub fn lose_replies_to(request: &[u8]) -> Fault {
        Fault::LoseReplies { percent: 100, to: Some(request.to_owned()) }
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted, the refused ones among them.
    pub accepted: u64,
    /// Connections that stand.
    pub open: u64,
    /// New connections that were reset by [`Fault::Refuse`].
    pub refused: u64,
    /// New connections that were reset because no server answered.
    pub unanswered: u64,
    /// Connections that [`Proxy::cut`] has reset.
    pub cut: u64,
    /// Replies that were lost, each with its connection.
    pub lost: u64,
    /// New connections, and pieces of what was sent, that had to wait.
    pub held: u64,
    /// Pieces of what was sent that came later.
    pub delayed: u64,
    /// Bytes that came through to the server.
    pub requested: u64,
    /// Bytes that came through to clients.
    pub replied: u64,
}

/// A proxy; it ends, with all its connections, when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    rule: watch::Sender<Rule>,
    counts: Mutex<Counts>,
    counted: Condvar,
    random: Mutex<Random>,
}

#[derive(Clone, Debug)]
struct Rule {
    fault: Fault,
    server: Option<String>,
    /// How often all connections have been cut.
    cuts: u64,
}

impl Proxy {
    /// Starts a proxy before the server at `HOST:PORT`. The seed decides which replies are lost where
    /// not all are.
    pub fn before(server: &str, seed: u64) -> Proxy {
        let proxy = Proxy::start(seed);
        proxy.lead_to(server);
        proxy
    }

    /// Starts a proxy before no server yet, for one that must be told the proxy's port.
    pub fn start(seed: u64) -> Proxy {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (rule, _) = watch::channel(Rule { fault: Fault::None, server: None, cuts: 0 });
        let shared = Arc::new(Shared {
            rule,
            counts: Mutex::default(),
            counted: Condvar::new(),
            random: Mutex::new(Random::new(seed)),
        });
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let here = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = ended => {}
                    () = accept(&listener, &here) => {}
                }
            });
        });
        Proxy { address, shared, end: Some(end), thread: Some(thread) }
    }

    /// Leads new connections to the server at `HOST:PORT`.
    pub fn lead_to(&self, server: &str) {
        self.shared.rule.send_modify(|rule| rule.server = Some(server.to_owned()));
    }

    /// Where it listens: what the job is to be told in place of the server's address.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on, this befalls connections.
    pub fn fault(&self, fault: Fault) {
        self.shared.rule.send_modify(|rule| rule.fault = fault);
    }

    /// From now on, nothing befalls connections; what was held passes.
    pub fn pass(&self) {
        self.fault(Fault::None);
    }

    /// Resets all connections that stand, on both sides; what they held is lost. New ones are not
    /// concerned.
    pub fn cut(&self) {
        self.shared.rule.send_modify(|rule| rule.cuts += 1);
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.lock().unwrap()
    }

    /// Waits until so much has happened; returns what has.
    ///
    /// # Panics
    ///
    /// If it does not happen for long.
    #[track_caller]
    pub fn until(&self, so_much: impl Fn(&Counts) -> bool) -> Counts {
        let counts = self.shared.counts.lock().unwrap();
        let waited =
            self.shared.counted.wait_timeout_while(counts, LONG, |counts| !so_much(counts));
        let (counts, waited) = waited.unwrap();
        assert!(!waited.timed_out(), "no more has happened than {counts:?}");
        *counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap());
        self.counted.notify_all();
    }

    fn draws(&self, percent: usize) -> bool {
        self.random.lock().unwrap().percent(percent)
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        // Before it is counted: a cut after that concerns it.
        let rules = shared.rule.subscribe();
        shared.count(|counts| {
            counts.accepted += 1;
            counts.open += 1;
        });
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            serve(client, rules, &shared).await;
            shared.count(|counts| counts.open -= 1);
        });
    }
}

/// Why a connection ends.
enum Ended {
    /// One side has closed it, or it broke.
    Closed,
    Refused,
    Unanswered,
    Cut,
    Lost,
}

async fn serve(mut client: TcpStream, rules: watch::Receiver<Rule>, shared: &Shared) {
    let born = rules.borrow().cuts;
    let mut cut = std::pin::pin!(cut_since(born, rules.clone()));
    let mut server = None;
    // A cut comes before all else: what is held is not let through by what comes after the cut.
    let mut ended = tokio::select! {
        biased;
        () = &mut cut => Ended::Cut,
        connected = connect(rules.clone(), shared) => match connected {
            Ok(stream) => {
                server = Some(stream);
                Ended::Closed
            }
            Err(ended) => ended,
        },
    };
    if let Some(server) = &mut server {
        ended = tokio::select! {
            biased;
            () = &mut cut => Ended::Cut,
            ended = carry(&mut client, server, &rules, shared) => ended,
        };
    }
    if !matches!(ended, Ended::Closed) {
        // Closed with nothing to linger for, a socket is reset.
        for stream in [Some(&client), server.as_ref()].into_iter().flatten() {
            stream.set_zero_linger().unwrap();
        }
    }
    drop((client, server));
    shared.count(|counts| match ended {
        Ended::Closed => {}
        Ended::Refused => counts.refused += 1,
        Ended::Unanswered => counts.unanswered += 1,
        Ended::Cut => counts.cut += 1,
        Ended::Lost => counts.lost += 1,
    });
}

async fn cut_since(born: u64, mut rules: watch::Receiver<Rule>) {
    while rules.borrow_and_update().cuts == born {
        changed(&mut rules).await;
    }
}

async fn changed(rules: &mut watch::Receiver<Rule>) {
    // The sender goes when the runtime has gone.
    rules.changed().await.unwrap();
}

async fn connect(mut rules: watch::Receiver<Rule>, shared: &Shared) -> Result<TcpStream, Ended> {
    let mut held = false;
    loop {
        let Rule { fault, server, .. } = rules.borrow_and_update().clone();
        match fault {
            Fault::Refuse => return Err(Ended::Refused),
            Fault::Hold => {
                if !std::mem::replace(&mut held, true) {
                    shared.count(|counts| counts.held += 1);
                }
                changed(&mut rules).await;
            }
            _ => {
                let server = server.ok_or(Ended::Unanswered)?;
                return TcpStream::connect(server).await.map_err(|_| Ended::Unanswered);
            }
        }
    }
}

/// Carries bytes both ways until both have ended, or the connection has.
async fn carry(
    client: &mut TcpStream,
    server: &mut TcpStream,
    rules: &watch::Receiver<Rule>,
    shared: &Shared,
) -> Ended {
    for stream in [&*client, &*server] {
        stream.set_nodelay(true).unwrap();
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let asked = Asked::default();
    let way =
        |requests| Way { requests, asked: &asked, tail: Vec::new(), rules: rules.clone(), shared };
    let both = tokio::try_join!(
        way(true).carry(from_client, to_server),
        way(false).carry(from_server, to_client),
    );
    both.err().unwrap_or(Ended::Closed)
}

/// What has passed to the server, of which no reply has come back.
#[derive(Default)]
struct Asked {
    anything: AtomicBool,
    /// That to which the reply is to be lost.
    named: AtomicBool,
}

/// One direction of a connection.
struct Way<'a> {
    requests: bool,
    asked: &'a Asked,
    /// The last bytes of the requests so far: what is looked for may stand in two pieces.
    tail: Vec<u8>,
    rules: watch::Receiver<Rule>,
    shared: &'a Shared,
}

impl Way<'_> {
    async fn carry(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Ended> {
        let (sender, mut pieces) = mpsc::channel(ON_THE_WAY);
        let read = async move {
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                // An end is a piece without bytes. Where it broke, what was sent before still comes.
                let end = from.read_buf(&mut piece).await.unwrap_or(0) == 0;
                if sender.send((Instant::now(), piece)).await.is_err() || end {
                    return Ok(());
                }
            }
        };
        let write = async {
            while let Some((came, piece)) = pieces.recv().await {
                self.pass(came, &piece).await?;
                // A reply that comes in pieces is lost with the first one, or not at all.
                self.asked.anything.store(self.requests, Ordering::Relaxed);
                if piece.is_empty() {
                    return to.shutdown().await.map_err(|_| Ended::Closed);
                }
                to.write_all(&piece).await.map_err(|_| Ended::Closed)?;
                let bytes = piece.len() as u64;
                self.shared.count(|counts| match self.requests {
                    true => counts.requested += bytes,
                    false => counts.replied += bytes,
                });
            }
            Ok(())
        };
        tokio::try_join!(read, write).map(|_| ())
    }

    /// Waits until a piece may pass.
    async fn pass(&mut self, came: Instant, piece: &[u8]) -> Result<(), Ended> {
        let mut held = false;
        loop {
            let fault = self.rules.borrow_and_update().fault.clone();
            match fault {
                Fault::None | Fault::Refuse => return Ok(()),
                Fault::HoldReplies if self.requests => return Ok(()),
                Fault::Hold | Fault::HoldReplies => {
                    if !std::mem::replace(&mut held, true) {
                        self.shared.count(|counts| counts.held += 1);
                    }
                    changed(&mut self.rules).await;
                }
                Fault::Delay(delay) => tokio::select! {
                    () = tokio::time::sleep_until(came + delay) => {
                        self.shared.count(|counts| counts.delayed += 1);
                        return Ok(());
                    }
                    () = changed(&mut self.rules) => {}
                },
                Fault::HoldRepliesTo(to) if self.requests => {
                    if self.is_in(&to, piece) {
                        self.asked.named.store(true, Ordering::Relaxed);
                    }
                    return Ok(());
                }
                Fault::HoldRepliesTo(_) => {
                    if !held && !self.asked.named.swap(false, Ordering::Relaxed) {
                        return Ok(());
                    }
                    if !std::mem::replace(&mut held, true) {
                        self.shared.count(|counts| counts.held += 1);
                    }
                    changed(&mut self.rules).await;
                }
                Fault::LoseReplies { to, .. } if self.requests => {
                    if to.is_some_and(|to| self.is_in(&to, piece)) {
                        self.asked.named.store(true, Ordering::Relaxed);
                    }
                    return Ok(());
                }
                Fault::LoseReplies { .. } if piece.is_empty() => return Ok(()),
                Fault::LoseReplies { percent, to } => {
                    let asked = match to {
                        None => self.asked.anything.load(Ordering::Relaxed),
                        Some(_) => self.asked.named.swap(false, Ordering::Relaxed),
                    };
                    let lost = asked && self.shared.draws(percent);
                    return if lost { Err(Ended::Lost) } else { Ok(()) };
                }
            }
        }
    }

    /// Whether these bytes end in this piece of the requests.
    fn is_in(&mut self, bytes: &[u8], piece: &[u8]) -> bool {
        let mut seen = std::mem::take(&mut self.tail);
        seen.extend_from_slice(piece);
        let is_in = seen.windows(bytes.len()).any(|window| window == bytes);
        // Found again it would be another one.
        self.tail = match is_in {
            true => Vec::new(),
            false => seen.split_off(seen.len().saturating_sub(bytes.len() - 1)),
        };
        is_in
    }
}
