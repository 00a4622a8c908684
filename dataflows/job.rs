//! All dataflows of the job, wired: inputs in, outputs out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Input as _, Probe as _};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

use crate::history::{Cached, Histories};
use crate::hot::hot;
use crate::new_article::new_article;
use crate::recall::recall;
use crate::records::{Builder, Input, Stream};
use crate::similar::{Row, lookup, similar};
use crate::{Ask, Epoch, History, Hit, HotIncrement, NewArticle, Recall, Settings};

/// What one worker feeds the dataflows with.
///
/// An epoch's effects are final when `hits`, `articles` and `similar` have advanced beyond it on every
/// worker and every question of it is answered.
pub struct Inputs {
    /// The clicks that count, in any order, on any worker.
    pub hits: Input<Hit>,
    /// The new articles, likewise.
    pub articles: Input<NewArticle>,
    /// The changes of the table of similar articles, on any worker: at most one a row and epoch.
    pub similar: InputHandle<Epoch, CapacityContainerBuilder<Vec<Row>>>,
    /// The answers to this worker's questions. It stands at the first epoch that is not durable
    /// outside, and advances with the mark.
    pub history: InputHandle<Epoch, CapacityContainerBuilder<Vec<History>>>,
    /// The generation of the histories that are answered from now on. One that was answered
    /// [`crate::GENERATIONS`] or more before is asked for again when it is needed.
    pub generation: Rc<Cell<u16>>,
}

/// What one worker gets from the dataflows.
pub struct Outputs {
    /// What the score keys that this worker owns gain.
    pub hot: Outbox<HotIncrement>,
    /// The last record of each new article, of the score keys that this worker owns.
    pub new: Outbox<NewArticle>,
    /// What is recalled to the cells that this worker owns.
    pub recalls: Outbox<Recall>,
    /// The cells whose history this worker must be told.
    pub asks: Outbox<Ask>,
    /// Where `hot` and `new` stand, on all workers together: what is below its frontier is final.
    pub counted: ProbeHandle<Epoch>,
    /// Where `recalls` stands, likewise.
    pub recalled: ProbeHandle<Epoch>,
    /// What the histories that this worker holds have been good for.
    pub cached: Rc<Cell<Cached>>,
}

/// What has come out of a dataflow on this worker, by epoch.
pub struct Outbox<R>(Rc<RefCell<BTreeMap<Epoch, Vec<R>>>>);

impl<R: Clone + 'static> Outbox<R> {
    /// Takes all that is here of `epoch`.
    pub fn take(&self, epoch: Epoch) -> Vec<R> {
        self.0.borrow_mut().remove(&epoch).unwrap_or_default()
    }

    /// Takes all that is here, whatever its epoch.
    pub fn take_all(&self) -> Vec<R> {
        let mut all = std::mem::take(&mut *self.0.borrow_mut()).into_values();
        let mut first = all.next().unwrap_or_default();
        all.for_each(|mut more| first.append(&mut more));
        first
    }

    fn new() -> Outbox<R> {
        Outbox(Rc::default())
    }

    fn collect(&self, stream: Stream<'_, R>, name: &str, probe: &ProbeHandle<Epoch>) {
        let here = Rc::clone(&self.0);
        stream
            .unary::<Builder<()>, _, _, _>(Pipeline, name, move |_, _| {
                move |input, _| {
                    input.for_each(|capability, batch| {
                        let epoch = capability.least().expect("a message has a time");
                        here.borrow_mut().entry(*epoch).or_default().append(batch);
                    });
                }
            })
            .probe_with(probe);
    }
}

/// Builds the dataflows that `settings` ask for on this worker.
///
/// `history_bytes` is how much memory the histories of this worker may take beside those of the
/// epochs in flight. Epochs up to `bound` may have run before: a hit of theirs whose article has no
/// neighbours any more asks for the history all the same, since what was recalled then may stand there.
pub fn build(
    worker: &mut Worker,
    settings: &Settings,
    history_bytes: usize,
    bound: Epoch,
) -> (Inputs, Outputs) {
    worker.dataflow(|scope| {
        let (hits, hit_stream) = scope.new_input();
        let (articles, article_stream) = scope.new_input();
        let (rows, row_stream) = scope.new_input();
        let (history, history_stream) = scope.new_input();
        let generation = Rc::default();
        let outputs = Outputs {
            hot: Outbox::new(),
            new: Outbox::new(),
            recalls: Outbox::new(),
            asks: Outbox::new(),
            counted: ProbeHandle::new(),
            recalled: ProbeHandle::new(),
            cached: Rc::default(),
        };
        if settings.hot {
            let hot = hot(hit_stream.clone(), settings.weights);
            outputs.hot.collect(hot, "hot: out", &outputs.counted);
        }
        if settings.new {
            outputs.new.collect(new_article(article_stream), "new: out", &outputs.counted);
        }
        if settings.recall {
            let candidates = lookup(hit_stream, similar(row_stream), bound);
            let cached = Rc::clone(&outputs.cached);
            let histories = Histories::new(history_bytes, Rc::clone(&generation), cached);
            let (recalls, asks) = recall(candidates, history_stream, histories);
            outputs.recalls.collect(recalls, "recall: out", &outputs.recalled);
            outputs.asks.collect(asks, "recall: asks", &outputs.recalled);
        }
        (Inputs { hits, articles, similar: rows, history, generation }, outputs)
    })
}
