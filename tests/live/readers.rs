//! Those who read what the job writes: a reader that empties mailboxes all the while, and the libraries
//! of the site's own readers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use online_recall::config::{self, Config, Need, Outside};
use online_recall::hbase::{Change, Client, Error, Kind, Spot, Table, Trying, patience};
use online_recall::retry::Ended;
use serde_json::Value;
use testing::oracle::Oracle;
use testing::random::Random;

use super::input::Input;
use super::judge::{Doubts, Mail};
use super::site::{Plan, Site, pause};

/// The reader of mailboxes: it takes all versions, and deletes at the newest date that it read.
struct Reader {
    client: Arc<Client>,
    table: Table,
    /// How often it found something.
    times: usize,
    taken: Vec<Mail>,
}

impl Reader {
    fn of(site: &Site) -> Reader {
        let config = Config::load(Some(&site.folder().join("job.toml")), &[], Need::Outside);
        let hbase: config::Hbase = match config.unwrap().outside.unwrap() {
            Outside::Servers { hbase, .. } => hbase.unwrap(),
            outside => panic!("{outside:?}"),
        };
        let table = Table::new(Kind::CbRecall, hbase.cb_recall.as_str());
        let client = Arc::new(Client::new(&hbase).unwrap());
        Reader { client, table, times: 0, taken: Vec::new() }
    }

    /// Empties every mailbox once.
    fn take_all(&mut self) {
        let mut spots = Vec::new();
        self.client
            .scan(Trying::COMMAND, &self.table, |row| {
                let spot = |qualifier| Spot { row: row.key.clone(), qualifier };
                spots.extend(row.columns.into_iter().map(|(qualifier, _)| spot(qualifier)));
                Ok::<_, Ended<Error>>(())
            })
            .unwrap();
        for spot in spots {
            let versions = self.client.versions(&self.table, &spot, patience(0)).unwrap();
            let Some(newest) = versions.first() else { continue };
            let deleted = [Change::Delete(spot.clone())];
            let at = Some(newest.timestamp);
            self.client.change(&self.table, &deleted, at, patience(0)).unwrap();
            self.times += 1;
            let mut user = Vec::new();
            online_recall::text::escape(self.table.id(&spot.row).unwrap(), &mut user);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            self.taken.extend(versions.iter().map(|version| {
                ((text(&user), text(&spot.qualifier)), version.timestamp, text(&version.value))
            }));
        }
    }
}

#[test]
fn a_reader_that_empties_mailboxes_all_the_while_gets_every_list_and_none_twice_without_a_doubt() {
    let mut oracle = Oracle::start();
    for kills in [0, 4] {
        let site = Site::new(Plan::shared(3), Input::usual(31 + kills, 2500, &mut oracle));
        let mut doubts = std::collections::BTreeSet::new();
        let ends = AtomicBool::new(false);
        let reader = std::thread::scope(|threads| {
            let reading = threads.spawn(|| {
                let mut reader = Reader::of(&site);
                while !ends.load(Ordering::Relaxed) {
                    reader.take_all();
                }
                reader
            });
            let mut flow = site.flow(31, false);
            threads.spawn(move || flow.rest_slowly(20, Duration::from_millis(30)));
            let mut random = Random::new(kills);
            for _ in 0..kills {
                let mut job = site.start(2);
                site.wait_for_more(&mut job, 3);
                pause(Duration::from_millis(random.below(300) as u64));
                doubts.extend(site.kill(job).1);
            }
            let mut job = site.start(2);
            site.wait_for_more(&mut job, 3);
            while site.flows() {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            site.wait_until_done(&mut job);
            job.stop();
            ends.store(true, Ordering::Relaxed);
            reading.join().unwrap()
        });
        assert!(reader.times > 20, "it read {} times", reader.times);
        let doubts = if kills == 0 { Doubts::None } else { Doubts::Of(doubts) };
        site.must_be_right_with(&mut oracle, &doubts, reader.taken);
    }
}

/// A Python with the libraries of the site's readers.
pub fn python() -> PathBuf {
    let made = Command::new(testing::project().join("testing/readers/python")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().into()
}

#[test]
fn redis_py_and_happybase_read_what_the_job_has_written_as_the_sites_readers_do() {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(2), Input::usual(33, 1200, &mut oracle));
    let mut job = site.start(2);
    site.flow(33, false).rest();
    site.wait_until_done(&mut job);
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::None);

    let read = Command::new(python())
        .arg(testing::project().join("testing/readers/read.py"))
        .args([&site.servers.redis, &site.servers.hbase, &site.name])
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let read: Value = serde_json::from_slice(&read.stdout).unwrap();

    for kind in ["hot", "new"] {
        let mut found: Vec<String> = Vec::new();
        for (channel, articles) in read[kind].as_object().unwrap() {
            for it in articles.as_array().unwrap() {
                let score = it[1].as_f64().unwrap();
                found.push(format!("{channel} {} {score}", it[0].as_i64().unwrap()));
            }
        }
        found.sort();
        let mut expected = site.scores(kind);
        expected.sort();
        assert!(!expected.is_empty());
        assert_eq!(found, expected);
    }
    // As sets, and then the mailboxes are empty.
    let mut histories: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (cell, articles) in read["mailboxes"].as_object().unwrap() {
        let articles = articles.as_array().unwrap().iter().map(|it| it.as_i64().unwrap());
        histories.insert(cell.clone(), articles.collect());
    }
    assert!(histories.len() > 50, "{} mailboxes", histories.len());
    for (cell, mailed) in &histories {
        let history = read["histories"][cell].as_array().unwrap();
        let history: Vec<i64> = history.iter().map(|it| it.as_i64().unwrap()).collect();
        assert!(!mailed.is_empty(), "{cell}");
        assert!(mailed.iter().all(|article| history.contains(article)), "{cell}");
    }
    let mut left = Reader::of(&site);
    left.take_all();
    assert_eq!(left.taken, []);
}
