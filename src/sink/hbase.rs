//! Recalls, made durable in HBase: a receipt in the history, then the list in the mailbox.
//!
//! ```text
//!  recalls(e) ──▶ cells ──▶ batches ──▶ put receipts, put lists ─┐  on some threads, each with
//!                   ▲                                            │  a connection
//!                   └── nothing under way for a cell any more ◀──┘
//! ```
//!
//! For one cell epoch follows epoch: nothing of a later one is sent before both puts of this one are
//! acknowledged. Different cells do not wait for each other. What waits here is no more than the epochs
//! in flight recall.
//!
//! An epoch may be sent again. Its receipt is the same list at the same date. Its list in the mailbox
//! is looked for before it is sent a second time: see [`puts`].

mod cells;
mod puts;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select};
use dataflows::{Cell, Epoch, Recall, UserBuffer};

use crate::hbase::Client;
use crate::ledger::{Binding, Fence};
use crate::outside::Told;
use crate::retry::{Ended, Stop};

use cells::{Cells, Turn};
use puts::{Puts, Unsent};

/// A batch is not made smaller than this to use one more connection.
const LEAST: usize = 100;

/// The most lists of a batch: what is put by one call.
const MOST: usize = 300;

/// How long a cell of the mailbox rests between two puts: of two with the same date the later would hide
/// the earlier.
const REST: Duration = Duration::from_millis(2);

/// Puts recalls into HBase, on threads of its own. They end some time after this is dropped.
pub struct Hbase {
    epochs: Sender<(Arc<Binding>, Vec<Recall>)>,
}

/// Recalls of one epoch that are put together: each cell at most once.
struct Batch {
    binding: Arc<Binding>,
    recalls: Vec<Recall>,
}

/// A batch whose puts are all acknowledged.
struct Acknowledged {
    batch: Batch,
    at: Instant,
}

impl Hbase {
    /// Starts the threads, which put on so many connections and tell what becomes of the epochs, in
    /// their order. Nothing is put while `fence` is closed, and no more once the job stops.
    ///
    /// `ran_before` is the last epoch that was bound before this start: of those up to it, an earlier run
    /// may have put some.
    pub fn start(
        client: &Arc<Client>,
        fence: &Arc<Fence>,
        ran_before: Epoch,
        connections: usize,
        stop: &Stop,
        told: Sender<Told>,
    ) -> Hbase {
        // Unbounded, but never more than what the epochs in flight recall.
        let (epochs, begun) = crossbeam_channel::unbounded();
        let (batches, to_put) = crossbeam_channel::unbounded();
        let (done, put) = crossbeam_channel::unbounded();
        for _ in 0..connections {
            let puts = Puts {
                client: Arc::clone(client),
                fence: Arc::clone(fence),
                ran_before,
                stop: stop.clone(),
            };
            let (to_put, done) = (to_put.clone(), done.clone());
            spawn("hbase", move || work(&puts, &to_put, &done));
        }
        let order = Order {
            told,
            batches,
            connections,
            cells: Cells::default(),
            open: VecDeque::new(),
            resting: VecDeque::new(),
        };
        spawn("recalls", move || order.run(&begun, &put));
        Hbase { epochs }
    }

    /// Recalls lists: all of an epoch's, each cell at most once; epoch after epoch.
    pub fn recalls(&mut self, binding: &Arc<Binding>, recalls: Vec<Recall>) {
        if self.epochs.send((Arc::clone(binding), recalls)).is_err() {
            log::debug!("recalls are handed over to nobody: the job is stopping");
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .expect("the system has room for a thread");
}

/// Puts batch after batch, until there are no more or one cannot be put.
fn work(
    puts: &Puts,
    batches: &Receiver<Batch>,
    done: &Sender<Result<Acknowledged, Ended<Unsent>>>,
) {
    for batch in batches {
        let put = puts.put(&batch.binding, &batch.recalls);
        let ends = put.is_err();
        let put = put.map(|()| Acknowledged { batch, at: Instant::now() });
        if done.send(put).is_err() || ends {
            return;
        }
    }
}

/// What is under way, and what may be sent next.
struct Order {
    told: Sender<Told>,
    batches: Sender<Batch>,
    connections: usize,
    cells: Cells,
    /// The epochs that are not told yet, in order, and how many of their lists are not acknowledged.
    open: VecDeque<(Epoch, usize)>,
    /// The cells whose last put was acknowledged just now, and until when they rest.
    resting: VecDeque<(Instant, Vec<Cell>)>,
}

impl Order {
    fn run(
        mut self,
        begun: &Receiver<(Arc<Binding>, Vec<Recall>)>,
        put: &Receiver<Result<Acknowledged, Ended<Unsent>>>,
    ) {
        loop {
            let rested = self.resting.front().map_or_else(never, |(until, _)| at(*until));
            select! {
                recv(begun) -> begun => match begun {
                    Ok((binding, recalls)) => self.begin(&binding, recalls),
                    // The job has ended.
                    Err(_) => return,
                },
                recv(put) -> put => match put {
                    Ok(Ok(acknowledged)) => self.note(acknowledged),
                    Ok(Err(Ended::Failed(error))) => return self.tell(Told::Failed(error.into())),
                    Ok(Err(Ended::Stopped)) | Err(_) => return self.tell(Told::Stopped),
                },
                recv(rested) -> _ => self.go_on(),
            }
        }
    }

    fn begin(&mut self, binding: &Arc<Binding>, recalls: Vec<Recall>) {
        self.open.push_back((binding.epoch, recalls.len()));
        let turns = recalls.into_iter().map(|recall| Turn { binding: Arc::clone(binding), recall });
        let free = turns.filter_map(|turn| self.cells.begin(turn)).collect();
        self.send(free);
        self.tell_done();
    }

    /// Notes that both puts of these lists are acknowledged.
    fn note(&mut self, Acknowledged { batch: Batch { binding, recalls }, at }: Acknowledged) {
        let first = self.open.front().map_or(binding.epoch, |(epoch, _)| *epoch);
        let nth = usize::try_from(binding.epoch.0 - first.0).expect("few epochs are in flight");
        self.open[nth].1 -= recalls.len();
        let cells = recalls.into_iter().map(|recall| recall.cell).collect();
        self.resting.push_back((at + REST, cells));
        self.tell_done();
    }

    /// Lets the cells that have rested go on with what waits for them.
    fn go_on(&mut self) {
        let now = Instant::now();
        let mut free = Vec::new();
        while self.resting.front().is_some_and(|(until, _)| *until <= now)
            && let Some((_, cells)) = self.resting.pop_front()
        {
            free.extend(cells.iter().filter_map(|cell| self.cells.end(cell)));
        }
        self.send(free);
    }

    /// Hands over what may be sent, in batches of one epoch.
    fn send(&self, turns: Vec<Turn>) {
        let mut epochs: BTreeMap<Epoch, (Arc<Binding>, Vec<Recall>)> = BTreeMap::new();
        for Turn { binding, recall } in turns {
            let epoch = epochs.entry(binding.epoch).or_insert_with(|| (binding, Vec::new()));
            epoch.1.push(recall);
        }
        for (binding, mut recalls) in epochs.into_values() {
            // In the order of their rows a batch meets few regions, and one that is away holds up few.
            recalls.sort_by_cached_key(|recall| {
                recall.cell.user.bytes(&mut UserBuffer::default()).to_vec()
            });
            let size = recalls.len().div_ceil(self.connections).clamp(LEAST, MOST);
            let mut rest = recalls.into_iter();
            while rest.len() > 0 {
                let recalls = rest.by_ref().take(size).collect();
                let batch = Batch { binding: Arc::clone(&binding), recalls };
                if self.batches.send(batch).is_err() {
                    log::debug!("a batch is handed over to nobody: the job is stopping");
                }
            }
        }
    }

    fn tell_done(&mut self) {
        while let Some((epoch, 0)) = self.open.front().copied() {
            self.open.pop_front();
            self.tell(Told::Recalled(epoch));
        }
    }

    fn tell(&self, told: Told) {
        // Who is gone has heard of a failure before, and the job stops.
        if self.told.send(told).is_err() {
            log::debug!("nobody hears what became of an epoch: the job is stopping");
        }
    }
}
