//! The input of a site, as users click: some, by and by, or all at once; with dates as they come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use online_recall::ledger;
use testing::kafka::Sender;
use testing::random::Random;

use super::input::partition_of_user;
use super::job::Job;
use super::site::{Site, pause};

/// The input of a site on its way into the topics.
pub struct Flow<'a> {
    site: &'a Site,
    sender: Sender,
    random: Random,
    keyed_by_user: bool,
    partitions: usize,
    now: i64,
    clicks: usize,
    articles: usize,
}

/// Dates that records may well carry.
const ODD_DATES: [i64; 4] = [1, 999, 4_102_444_800_000, 253_402_300_799_999];

impl<'a> Flow<'a> {
    /// Of this site, over so many partitions of clicks.
    pub fn new(site: &'a Site, seed: u64, keyed_by_user: bool, partitions: usize) -> Flow<'a> {
        let now = i64::try_from(ledger::now()).unwrap();
        let (sender, random) = (site.sender(), Random::new(seed));
        Flow { site, sender, random, keyed_by_user, partitions, now, clicks: 0, articles: 0 }
    }

    /// From now on, clicks go into so many partitions.
    pub fn over(&mut self, partitions: usize) {
        // A producer that knows of the former ones would learn of these by and by.
        self.sender = self.site.sender();
        self.partitions = partitions;
    }

    /// Produces so many clicks, and new articles in proportion; waits until all are written.
    #[track_caller]
    pub fn some(&mut self, clicks: usize) {
        let input = &self.site.input;
        let until = (self.clicks + clicks).min(input.clicks.len());
        let articles = input.articles.len() * until / input.clicks.len();
        while self.clicks < until || self.articles < articles {
            // Both topics move on together.
            let behind = self.articles * until < self.clicks * articles;
            if self.articles < articles && (behind || self.clicks == until) {
                let partition = self.random.below(2);
                let topic = &self.site.topics.articles;
                self.send(topic, partition, &input.articles[self.articles]);
                self.articles += 1;
            } else {
                let click = &input.clicks[self.clicks];
                let partition = match self.keyed_by_user {
                    true => partition_of_user(click, self.partitions),
                    false => self.random.below(self.partitions),
                };
                self.send(&self.site.topics.clicks, partition, click);
                self.clicks += 1;
            }
        }
        self.sender.flush();
        self.site.flowed(self.clicks);
    }

    /// Produces so many clicks, and waits until the job has marked so many epochs more than before.
    #[track_caller]
    pub fn some_marked(&mut self, clicks: usize, job: &mut Job, epochs: u64) {
        let standing = self.site.mark();
        self.some(clicks);
        self.site.wait_for_mark(job, standing + epochs);
    }

    /// Produces the rest.
    #[track_caller]
    pub fn rest(&mut self) {
        self.some(usize::MAX / 2);
    }

    /// Produces the rest by and by, as users click.
    pub fn rest_slowly(&mut self, clicks: usize, between: Duration) {
        while self.site.flows() {
            self.some(clicks);
            pause(between);
        }
    }

    /// Produces some by and by, the fewer the less is left, so that it lasts; and then the rest.
    pub fn rest_slowly_until(&mut self, is_over: &AtomicBool) {
        let between = Duration::from_millis(if testing::all() { 300 } else { 50 });
        while !is_over.load(Ordering::Relaxed) {
            let left = self.site.input.clicks.len() - self.clicks;
            self.some((left / 400).max(1));
            pause(between);
        }
        self.rest();
    }

    fn send(&mut self, topic: &str, partition: usize, bytes: &[u8]) {
        let odd = self.random.percent(5);
        self.now += self.random.below(3) as i64;
        let date = if odd { *self.random.one_of(&ODD_DATES) } else { self.now };
        // A record without bytes is now a tombstone, now empty.
        let value = if bytes.is_empty() && self.random.percent(50) { None } else { Some(bytes) };
        self.sender.send(topic, i32::try_from(partition).unwrap(), value, Some(date));
    }
}
