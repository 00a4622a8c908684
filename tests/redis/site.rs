//! A job that counts, driven epoch by epoch, and what must stand in Redis then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::{Receiver, Sender};
use dataflows::{Article, Channel, Epoch, HotIncrement, NewArticle, Place};
use online_recall::config::{self, Config, Need, Outside};
use online_recall::ledger::{self, Binding, Fence, Found, Freshness, Mark, Names, Opened, Room};
use online_recall::outside::{Done, Told};
use online_recall::redis::Token;
use online_recall::retry::{Ended, Stop};
use online_recall::sink::{self, Begin, Failed, Scores};
use online_recall::source::{Position, Range, Reached, Topic};
use testing::kafka::{LONG, wait_for};

/// The configuration of a Redis, single or by a list of urls.
pub fn config(url: &str, more: &[&str]) -> config::Redis {
    let mut sets = vec![r#"dataflows=["hot","new"]"#.to_owned(), format!("redis.url={url}")];
    sets.extend(more.iter().map(|&set| set.to_owned()));
    let config = Config::load(None, &sets, Need::Outside).unwrap();
    match config.outside.unwrap() {
        Outside::Servers { redis, .. } => redis,
        outside => panic!("{outside:?}"),
    }
}

/// A connection of a test's own.
pub fn client(url: &str) -> redis::Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

/// Asks Redis for something, in words.
pub fn ask<T: redis::FromRedisValue>(connection: &mut redis::Connection, words: &str) -> T {
    let (name, args) = words.split_once(' ').unwrap_or((words, ""));
    let mut command = redis::cmd(name);
    command.arg(args.split_ascii_whitespace().collect::<Vec<_>>());
    command.query(connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Waits until something has happened.
#[track_caller]
pub fn until(mut happened: impl FnMut() -> bool) {
    wait_for("what is waited for", || happened().then_some(()));
}

/// How often a server has answered with this error.
pub fn refusals(connection: &mut redis::Connection, code: &str) -> u64 {
    let stats: String = ask(connection, "INFO errorstats");
    let line =
        stats.lines().find_map(|line| line.strip_prefix(&format!("errorstat_{code}:count=")));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

/// Where a job's keys stand, by names that no other test has.
#[derive(Clone)]
pub struct Site {
    pub redis: config::Redis,
    pub job: String,
    pub names: Arc<Names>,
}

impl Site {
    pub fn new(url: &str) -> Site {
        Site::with(url, &[])
    }

    pub fn with(url: &str, more: &[&str]) -> Site {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let (hot, new) = (format!("t{nth}:{{channel}}:hot"), format!("t{nth}:{{channel}}:new"));
        let names = Names { hot, new, ..Names::default() };
        Site { redis: config(url, more), job: format!("test-{nth}"), names: Arc::new(names) }
    }

    /// The score key of a channel's hot articles.
    pub fn hot(&self, channel: u32) -> String {
        self.names.hot.replace("{channel}", &channel.to_string())
    }

    pub fn new_key(&self, channel: u32) -> String {
        self.names.new.replace("{channel}", &channel.to_string())
    }

    pub fn key_mark(&self, key: &str) -> String {
        format!("online-recall:{}:{{{key}}}", self.job)
    }

    pub fn try_open(&self, after_loss: bool) -> Result<Opened, ledger::Error> {
        self.try_open_after(None, after_loss)
    }

    /// The same, for an incarnation that goes on from one of the same process.
    pub fn try_open_after(
        &self,
        before: Option<Token>,
        after_loss: bool,
    ) -> Result<Opened, ledger::Error> {
        ledger::open(&self.redis, &self.job, after_loss, before, &Stop::default()).map_err(failed)
    }

    /// Starts the job, where there was none or one.
    pub fn start(&self) -> Live {
        match self.try_open(false).unwrap() {
            Opened::Vacant(vacant) => self.go_on(vacant.begin(beginning()).unwrap()),
            Opened::Found(found) => self.go_on(*found),
        }
    }

    /// Starts the job where it must have a ledger.
    pub fn found(&self) -> Found {
        match self.try_open(false).unwrap() {
            Opened::Found(found) => *found,
            Opened::Vacant(_) => panic!("there is no ledger"),
        }
    }

    pub fn go_on(&self, found: Found) -> Live {
        assert!(found.again.is_none(), "nothing went back");
        let (stop, fence, (tell, told)) =
            (Stop::default(), Arc::new(Fence::default()), crossbeam_channel::unbounded());
        let freshness = Arc::new(Freshness::default());
        let mark = found.standing.mark.clone();
        let bound: VecDeque<_> = found.standing.bound.iter().cloned().map(Arc::new).collect();
        let begin = Begin::of(&found);
        let room = Room {
            told: tell.clone(),
            fence: Arc::clone(&fence),
            freshness: Arc::clone(&freshness),
            stop: stop.clone(),
        };
        let ledger = found.start(room);
        let scores = self.scores(begin, tell, stop.clone(), Some(ledger.doubts()));
        let last = bound.back().map_or((mark.epoch, mark.time), |last| (last.epoch, last.time));
        let site = self.clone();
        Live { site, ledger, scores, told, stop, fence, freshness, mark, bound, last }
    }

    pub fn scores(
        &self,
        begin: Begin,
        tell: Sender<Told>,
        stop: Stop,
        doubts: Option<ledger::Doubts>,
    ) -> sink::Redis {
        sink::Redis::new(&self.redis, &self.job, begin, tell, stop, doubts).unwrap()
    }

    /// What must stand in the hot list of a channel.
    pub fn must_be(&self, connection: &mut impl redis::ConnectionLike, counted: &Counted) {
        let channels: std::collections::BTreeSet<_> = counted.keys().map(|(c, _)| *c).collect();
        for channel in channels {
            let expected: BTreeMap<_, _> = counted
                .range((channel, i64::MIN)..=(channel, i64::MAX))
                .map(|((_, a), n)| (*a, *n as f64))
                .collect();
            let found: Vec<(i64, f64)> = redis::cmd("ZRANGE")
                .arg(self.hot(channel))
                .arg(0)
                .arg(-1)
                .arg("WITHSCORES")
                .query(connection)
                .unwrap();
            assert_eq!(
                found.into_iter().collect::<BTreeMap<_, _>>(),
                expected,
                "channel {channel}"
            );
        }
    }
}

/// Of an attempt that no one stopped.
pub fn failed<E: std::error::Error + 'static>(ended: Ended<E>) -> E {
    match ended {
        Ended::Failed(error) => error,
        Ended::Stopped => panic!("nobody stopped it"),
    }
}

/// The hits of an epoch: channel, article, weight.
pub type Hits<'a> = &'a [(u32, i64, u64)];

/// What was counted: channel and article, sum.
pub type Counted = BTreeMap<(u32, i64), u64>;

pub fn count(counted: &mut Counted, hits: Hits<'_>) {
    for (channel, article, weight) in hits {
        *counted.entry((*channel, *article)).or_default() += weight;
    }
}

/// Before the first record of one partition.
pub fn beginning() -> Reached {
    Reached::from([((Topic::Clicks, b"clicks/0".to_vec()), (100, Position::Topic(0)))])
}

/// A running job.
pub struct Live {
    pub site: Site,
    pub ledger: ledger::Redis,
    pub scores: sink::Redis,
    pub told: Receiver<Told>,
    pub stop: Stop,
    pub fence: Arc<Fence>,
    pub freshness: Arc<Freshness>,
    pub mark: Mark,
    /// What is bound and not marked.
    pub bound: VecDeque<Arc<Binding>>,
    last: (Epoch, u64),
}

impl Live {
    /// What the next epoch is bound to.
    pub fn next(&mut self) -> Arc<Binding> {
        let (epoch, time) = self.last;
        let (epoch, time) = (epoch.next(), ledger::now().max(time + 1));
        self.last = (epoch, time);
        let range = Range {
            topic: Topic::Clicks,
            partition: b"clicks/0".to_vec(),
            from: 100 + 10 * (epoch.0 - 1),
            to: 100 + 10 * epoch.0,
            position: Position::Topic(epoch.0),
        };
        Arc::new(Binding {
            epoch,
            time,
            settings: Arc::default(),
            names: Arc::clone(&self.site.names),
            ranges: vec![range],
        })
    }

    /// Hears of one thing; a failure fails the test.
    pub fn hear(&self) -> Told {
        match self.told.recv_timeout(LONG).unwrap() {
            Told::Failed(error) => panic!("{}", online_recall::retry::chain(&*error)),
            told => told,
        }
    }

    /// Hears until something fails.
    pub fn failure(&self) -> Failed {
        loop {
            if let Told::Failed(error) = self.told.recv_timeout(LONG).unwrap() {
                return error;
            }
        }
    }

    /// The same, of what the ledger fails with.
    pub fn ledger_failure(&self) -> ledger::Error {
        *self.failure().downcast().unwrap()
    }

    pub fn bind(&mut self) -> Arc<Binding> {
        let binding = self.next();
        self.ledger.bind(&binding);
        assert!(matches!(self.hear(), Told::Bound(epoch) if epoch == binding.epoch));
        self.bound.push_back(Arc::clone(&binding));
        binding
    }

    pub fn score(&mut self, binding: &Arc<Binding>, hits: Hits<'_>) -> Vec<Arc<str>> {
        self.scores.scores(binding, hot(hits));
        match self.hear() {
            Told::Scored(epoch, keys) if epoch == binding.epoch => keys,
            told => panic!("{told:?}"),
        }
    }

    pub fn done(&self, binding: &Arc<Binding>, keys: Vec<Arc<str>>) -> Done {
        let mut mark = Mark { epoch: binding.epoch, time: binding.time, ..self.mark.clone() };
        mark.totals.hits += 10;
        Done { binding: Arc::clone(binding), mark, keys, letters: 7 * binding.epoch.0 }
    }

    pub fn mark(&mut self, binding: &Arc<Binding>, keys: Vec<Arc<str>>) {
        let done = self.done(binding, keys);
        self.mark = done.mark.clone();
        self.ledger.mark(done);
        assert!(matches!(self.hear(), Told::Marked(epoch) if epoch == binding.epoch));
        self.bound.pop_front();
    }

    /// A whole epoch.
    pub fn epoch(&mut self, hits: Hits<'_>) {
        let binding = self.bind();
        let keys = self.score(&binding, hits);
        self.mark(&binding, keys);
    }

    /// Runs the first bound epoch again.
    pub fn run_again(&mut self, hits: Hits<'_>) {
        let binding = Arc::clone(self.bound.front().unwrap());
        let keys = self.score(&binding, hits);
        self.mark(&binding, keys);
    }
}

/// Hits as scores.
pub fn hot(hits: Hits<'_>) -> Scores {
    let hot = hits.iter().map(|&(channel, article, weight)| HotIncrement {
        channel: Channel(channel),
        article: Article(article),
        weight,
    });
    Scores { hot: hot.collect(), new: Vec::new() }
}

/// New articles as scores: channel, article, timestamp.
pub fn new(articles: &[(u32, i64, Option<u64>)]) -> Scores {
    let new = articles.iter().map(|&(channel, article, timestamp)| NewArticle {
        channel: Channel(channel),
        article: Article(article),
        timestamp,
        place: Place { partition: 0, offset: 0 },
    });
    Scores { hot: Vec::new(), new: new.collect() }
}

impl Drop for Live {
    /// Ends as a process that dies: what was not told is not waited for.
    fn drop(&mut self) {
        self.stop.stop();
    }
}
