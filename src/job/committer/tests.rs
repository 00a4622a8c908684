use std::sync::Mutex;

use crossbeam_channel::{Sender, unbounded};
use dataflows::Recall;

use super::*;
use crate::health::Health;
use crate::job::{Counted, Part};
use crate::outside::Effects;
use crate::retry::Stop;
use crate::sink::Scores;

/// Tells at the very end what became of a binding: when nobody else has anything to say any more.
struct Late {
    cuts: Receiver<Cut>,
    shares: Receiver<Share>,
    tell: Sender<Told>,
}

impl Effects for Late {
    fn scores(&mut self, binding: &Arc<Binding>, _: Scores) {
        self.tell.send(Told::Scored(binding.epoch, Vec::new())).unwrap();
    }

    fn recalls(&mut self, binding: &Arc<Binding>, _: Vec<Recall>) {
        self.tell.send(Told::Recalled(binding.epoch)).unwrap();
    }
}

impl Outside for Late {
    fn bind(&mut self, binding: &Arc<Binding>) {
        let Late { cuts, shares, tell } = self;
        let (cuts, shares, tell, epoch) =
            (cuts.clone(), shares.clone(), tell.clone(), binding.epoch);
        std::thread::spawn(move || {
            while !cuts.is_empty() || !shares.is_empty() {
                std::thread::yield_now();
            }
            tell.send(Told::Bound(epoch)).unwrap();
        });
    }

    fn dead_letters(&mut self, binding: &Arc<Binding>, _: Vec<DeadLetter>) {
        self.tell.send(Told::Kept(binding.epoch, 0)).unwrap();
    }

    fn mark(&mut self, done: Done) {
        self.tell.send(Told::Marked(done.binding.epoch)).unwrap();
    }
}

#[test]
fn an_epoch_that_is_bound_after_all_else_has_ended_is_done() {
    // Which of several channels is heard first is left to chance.
    for _ in 0..200 {
        let (cut, cuts) = unbounded();
        let (share, shares) = unbounded();
        let (tell, told) = unbounded();
        let (feed_cut, _cuts) = unbounded();
        let feed = Arc::new(Feed::new(Epoch(0), 1, feed_cut));
        cut.send(Cut { epoch: Epoch(1), ranges: Vec::new() }).unwrap();
        let counted = Part::Counted(Counted::default());
        share.send(Share { epoch: Epoch(1), part: counted }).unwrap();
        share.send(Share { epoch: Epoch(1), part: Part::Recalled(Vec::new()) }).unwrap();
        drop((cut, share));
        let failure = Failure {
            first: Mutex::new(None),
            health: Health::default(),
            feed: Arc::clone(&feed),
            stop: Stop::default(),
        };
        let committer = Committer {
            outside: Late { cuts: cuts.clone(), shares: shares.clone(), tell },
            feed,
            workers: 1,
            settings: Arc::default(),
            names: Arc::default(),
            bound: VecDeque::new(),
            dates: Dates::at(0, 0),
            mark: Mark::default(),
            records: Arc::default(),
            others: None,
        };
        assert_eq!(committer.run(&cuts, &shares, &told, &failure).epoch, Epoch(1));
    }
}
