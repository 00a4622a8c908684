//! Servers that are killed, stand still and come back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dataflows::Article;
use hbase_thrift::hbase::THbaseSyncClient;
use online_recall::hbase::{Change, Spot, Table, Version, patience};
use online_recall::ledger::now;
use online_recall::retry::{self, Faulty};
use online_recall::tables::Tables;
use testing::proxy::{Fault, Proxy};
use testing::servers::Server;

use super::site::{Sink, Site, cell, client, recall, text};

/// Epochs of a few users each, all the while.
struct Story {
    recalled: u64,
    time: u64,
}

impl Story {
    const USERS: u64 = 20;

    fn new() -> Story {
        Story { recalled: 0, time: now() }
    }

    /// Whether an epoch recalls anything to a user.
    fn recalls(user: u64, epoch: u64) -> bool {
        !(user + epoch).is_multiple_of(3)
    }

    /// Some more epochs.
    fn go_on(&mut self, site: &Site, sink: &mut Sink, epochs: u64) {
        for _ in 0..epochs {
            self.recalled += 1;
            let epoch = self.recalled;
            let users = (0..Story::USERS).filter(|user| Story::recalls(*user, epoch));
            let recalls: Vec<_> = users
                .map(|user| recall(&user.to_string(), 18, &[epoch.cast_signed(), 7]))
                .collect();
            sink.recalls(&site.binding(epoch, self.time + epoch), &recalls);
        }
    }

    /// Every list stands once in both tables, in the order of the epochs.
    fn judge(&self, site: &Site) {
        self.judge_but_for(site, |_| {});
    }

    /// The same, but for what may be otherwise in a mailbox.
    fn judge_but_for(&self, site: &Site, allowed: impl Fn(&mut Vec<String>)) {
        for user in 0..Story::USERS {
            let epochs = (1..=self.recalled).filter(|epoch| Story::recalls(user, *epoch));
            let lists: Vec<_> =
                epochs.map(|epoch| (self.time + epoch, text(&[epoch.cast_signed(), 7]))).collect();
            let cell = cell(&user.to_string(), 18);
            assert_eq!(site.versions(&site.history, &cell), lists, "user {user}");
            let expected: Vec<_> = lists.into_iter().map(|(_, list)| list).collect();
            let mut mailed = site.mailed(&cell);
            allowed(&mut mailed);
            assert_eq!(mailed, expected, "user {user}");
        }
    }
}

/// A list comes again where a call was given up, and Thrift made it once HBase was back.
fn came_again(mailed: &mut Vec<String>) {
    let mut seen = HashSet::new();
    mailed.retain(|list| seen.insert(list.clone()));
}

#[test]
fn recalls_go_on_by_themselves_when_killed_servers_come_back() {
    let server = Server::start("hbase", &[]);
    let site = Site::on(&server, "killed");
    let mut sink = Sink::start(&site.client, 0);
    let mut story = Story::new();
    let mut told = 0;
    // Thrift alone, HBase behind a Thrift that answers, and both.
    for parts in [&["thrift"][..], &["hbase"], &[]] {
        story.go_on(&site, &mut sink, 3);
        server.kill(parts);
        story.go_on(&site, &mut sink, 3);
        // The fault is there: what was handed over after the kill cannot be done.
        site.client
            .versions(&site.history, &site.history.spot(&cell("2", 18)), Duration::from_secs(1))
            .unwrap_err();
        server.restart(&[]);
        while told < story.recalled {
            told += 1;
            sink.recalled(told);
        }
    }
    story.judge_but_for(&site, came_again);
}

#[test]
fn a_thrift_server_that_stands_still_is_left_for_another_one() {
    let server = Server::start("hbase", &[]);
    let site = Site::on(&server, "still");
    // Two ways to one HBase, of which the one will stand still.
    let proxy = Proxy::before(&server.address(), 1);
    let mut sink = Sink::start(&client(&[&proxy.address(), &server.address()]), 0);
    let mut story = Story::new();
    story.go_on(&site, &mut sink, 6);
    (1..=6).for_each(|epoch| sink.recalled(epoch));
    proxy.fault(Fault::Hold);
    story.go_on(&site, &mut sink, 30);
    // Whatever was on its way there is given up after a while; nothing else waits for it.
    (7..=36).for_each(|epoch| sink.recalled(epoch));
    assert!(proxy.counts().held > 0, "nothing was asked of the server that stands still");
    story.judge(&site);
}

#[test]
fn a_server_that_takes_half_a_minute_is_waited_for() {
    let seconds = if testing::all() { 30 } else { 11 };
    let site = Site::new("slow");
    let proxy = Proxy::before(&site.server, 1);
    let mut sink = Sink::start(&client(&[&proxy.address()]), 0);
    let mut story = Story::new();
    // Replies come later than a first attempt waits.
    proxy.fault(Fault::Delay(Duration::from_secs(seconds) / 2));
    story.go_on(&site, &mut sink, 1);
    sink.recalled(1);
    assert!(proxy.counts().delayed > 2);
    proxy.pass();
    story.judge(&site);
}

#[test]
fn a_table_that_is_disabled_is_waited_for() {
    let site = Site::new("disabled");
    let mut sink = Sink::start(&site.client, 0);
    let mut story = Story::new();
    let name = |table: &Table| table.name.clone().into_bytes();
    let mut thrift = site.thrift();
    for table in [&site.mailbox, &site.history] {
        story.go_on(&site, &mut sink, 2);
        (1..=2).for_each(|nth| sink.recalled(story.recalled - 2 + nth));
        thrift.disable_table(name(table)).unwrap();
        story.go_on(&site, &mut sink, 2);
        let spot = table.spot(&cell("2", 18));
        let error = site.client.versions(table, &spot, patience(2)).unwrap_err();
        assert_eq!(error.fault(), retry::Fault::Unknown, "{error}");
        thrift.enable_table(name(table)).unwrap();
        (1..=2).for_each(|nth| sink.recalled(story.recalled - 2 + nth));
    }
    story.judge(&site);
}

#[test]
fn a_scan_goes_on_where_it_was_when_its_server_is_started_again() {
    let server = Server::start("hbase", &[]);
    let site = Site::on(&server, "scanned");
    let puts: Vec<_> = (0..3000)
        .map(|article: i64| {
            let row = article.to_string().into_bytes();
            Change::Put(Spot { row, qualifier: b"1".into() }, b"0.5".into())
        })
        .collect();
    site.client.change(&site.similar, &puts, None, patience(1)).unwrap();
    let mut seen = Vec::new();
    site.tables(&site.client, &[])
        .similar(&mut |article: Article, _: Vec<_>| {
            seen.push(article.0);
            if seen.len() == 500 {
                server.kill(&["thrift"]);
                server.restart(&[]);
            }
        })
        .unwrap();
    assert_eq!(seen.len(), 3000, "no row twice");
    seen.sort_unstable();
    assert_eq!(seen, (0..3000).collect::<Vec<_>>());
}

#[test]
fn a_reader_that_empties_mailboxes_all_the_while_gets_every_list_once() {
    let site = Site::new("reader");
    let mut sink = Sink::start(&site.client, 0);
    let mut story = Story::new();
    let done = Arc::new(AtomicBool::new(false));
    let taken = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut taken = vec![Vec::new(); Story::USERS as usize];
            loop {
                // Looked at before the last round: nothing comes after that.
                let last = done.load(Ordering::SeqCst);
                for (user, taken) in taken.iter_mut().enumerate() {
                    taken.extend(take(&site, &user.to_string()));
                }
                if last {
                    return taken;
                }
            }
        });
        story.go_on(&site, &mut sink, 60);
        (1..=60).for_each(|epoch| sink.recalled(epoch));
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap()
    });
    for (user, taken) in taken.into_iter().enumerate() {
        let epochs = (1..=60).filter(|epoch| Story::recalls(user as u64, *epoch));
        let lists: Vec<_> = epochs.map(|epoch| text(&[epoch.cast_signed(), 7])).collect();
        assert_eq!(taken, lists, "user {user}");
    }
}

/// Takes all versions, oldest first, then deletes what was read: all that is no newer than the newest.
fn take(site: &Site, user: &str) -> Vec<String> {
    let spot = site.mailbox.spot(&cell(user, 18));
    let versions = site.client.versions(&site.mailbox, &spot, patience(0)).unwrap();
    let Some(Version { timestamp, .. }) = versions.first() else { return Vec::new() };
    let delete = [Change::Delete(spot)];
    site.client.change(&site.mailbox, &delete, Some(*timestamp), patience(0)).unwrap();
    versions.into_iter().rev().map(|it| String::from_utf8(it.value).unwrap()).collect()
}
