//! A Cluster of three: slots that move, nodes that are killed, and nodes that go back one by one.

use std::collections::BTreeMap;
use std::thread;

use dataflows::Epoch;
use online_recall::ledger::{Again, Error, Then};
use online_recall::outside::{Effects, Told};
use online_recall::redis::Token;
use online_recall::retry::Stop;
use online_recall::sink::{self, Begin};
use testing::kafka::LONG;
use testing::servers::Server;

use crate::faults::{keep, put_back};
use crate::site;
use crate::site::{Counted, Hits, Site, ask, client, count, failed, hot, refusals, until};

struct Three {
    server: Server,
}

impl Three {
    fn start() -> Three {
        Three { server: Server::start("redis", &[("CLUSTER", "1")]) }
    }

    /// All of them, as a configuration has them.
    fn urls(&self) -> String {
        let url = |nth| format!("\"redis://127.0.0.1:{}\"", self.server.port() + nth);
        format!("[{}, {}, {}]", url(0), url(1), url(2))
    }

    /// A connection to one.
    fn node(&self, nth: u16) -> redis::Connection {
        client(&format!("redis://127.0.0.1:{}", self.server.port() + nth))
    }

    fn all(&self) -> redis::cluster::ClusterConnection {
        let urls = (0..3).map(|nth| format!("redis://127.0.0.1:{}", self.server.port() + nth));
        redis::cluster::ClusterClient::new(urls).unwrap().get_connection().unwrap()
    }

    fn slot(&self, key: &str) -> u16 {
        ask(&mut self.node(0), &format!("CLUSTER KEYSLOT {key}"))
    }

    /// Which node has the key, as the Cluster was made.
    fn home(&self, key: &str) -> u16 {
        (self.slot(key) / 5461).min(2)
    }

    /// The first channel whose hot list stands on another node than the ledger, or on its.
    fn channel(&self, site: &Site, beside_the_ledger: bool) -> u32 {
        let ledger = self.home(&site.job);
        let stands =
            |channel: &u32| (self.home(&site.hot(*channel)) == ledger) == beside_the_ledger;
        (1..).find(stands).unwrap()
    }

    fn part(nth: u16) -> String {
        format!("redis-{}", nth + 1)
    }

    fn refusals(&self, code: &str) -> u64 {
        (0..3).map(|nth| refusals(&mut self.node(nth), code)).sum()
    }
}

/// Many channels, so that every node has some.
fn hits() -> Vec<(u32, i64, u64)> {
    (0..24).flat_map(|channel| [(channel, 1, 1), (channel, 2, 3)]).collect()
}

/// Runs epochs again for key marks that went back.
pub fn run_again(site: &Site, again: Again, token: Token, epochs: &[Hits<'_>]) {
    let (tell, told) = crossbeam_channel::unbounded();
    let Again { ref standing, .. } = again;
    assert_eq!(standing.bound.len(), epochs.len());
    let scores = site.scores(Begin::again(&again, token), tell.clone(), Stop::default(), None);
    let mut outside = sink::Again::new(scores, tell);
    for (binding, hits) in again.standing.bound.into_iter().zip(epochs) {
        let binding = std::sync::Arc::new(binding);
        outside.scores(&binding, hot(hits));
        let Told::Scored(epoch, _) = told.recv_timeout(LONG).unwrap() else {
            panic!("it is not scored")
        };
        assert_eq!(epoch, binding.epoch);
    }
}

#[test]
fn a_job_counts_on_all_nodes_and_goes_on_where_it_was() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    let mut counted = Counted::new();
    let mut live = site.start();
    for _ in 0..3 {
        live.epoch(&hits());
        count(&mut counted, &hits());
    }
    let binding = live.bind();
    live.score(&binding, &hits()[..20]);
    drop(live);
    let mut live = site.start();
    live.run_again(&hits());
    count(&mut counted, &hits());
    site.must_be(&mut three.all(), &counted);
    let spread = (0..3).map(|nth| ask::<u64>(&mut three.node(nth), "DBSIZE"));
    assert!(spread.into_iter().all(|keys| keys > 0));

    // One of its nodes is no server of its own, and a server is no Cluster.
    let one = Site::new(&format!("redis://127.0.0.1:{}", three.server.port()));
    let error = (0..50)
        .find_map(|nth| Site { job: format!("a{nth}"), ..one.clone() }.try_open(false).err());
    let error = error.expect("most ledgers stand on other nodes").to_string();
    assert!(error.contains("redis.url must be a list"), "{error}");
    let single = testing::servers::redis().address();
    let Err(error) =
        Site::new(&format!("[\"redis://{single}\", \"redis://{single}\"]")).try_open(false)
    else {
        panic!("it is no Cluster")
    };
    assert!(error.to_string().contains("one url and not a list"), "{error}");
}

#[test]
fn slots_that_move_are_followed() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    let mut live = site.start();
    let mut counted = Counted::new();
    let mut epoch = |live: &mut site::Live| {
        live.epoch(&hits());
        count(&mut counted, &hits());
    };
    epoch(&mut live);
    let ids: Vec<String> = (0..3).map(|n| ask(&mut three.node(n), "CLUSTER MYID")).collect();
    let ledger = format!("online-recall:{{{}}}:ledger", site.job);
    for key in [site.hot(1), site.hot(2), site.hot(3), ledger] {
        let (slot, from) = (three.slot(&key), three.home(&key));
        let to = (from + 1) % 3;
        let (mut source, mut target) = (three.node(from), three.node(to));
        let (from_id, to_id) = (&ids[usize::from(from)], &ids[usize::from(to)]);
        ask::<()>(&mut target, &format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}"));
        ask::<()>(&mut source, &format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}"));
        epoch(&mut live);
        let keys: Vec<String> = ask(&mut source, &format!("CLUSTER GETKEYSINSLOT {slot} 100"));
        assert!(!keys.is_empty());
        let port = three.server.port() + to;
        for key in keys {
            ask::<()>(&mut source, &format!("MIGRATE 127.0.0.1 {port} {key} 0 5000"));
        }
        // All keys stand there, and the slot does not yet: ASK.
        epoch(&mut live);
        for node in [&mut target, &mut source, &mut three.node((from + 2) % 3)] {
            ask::<()>(node, &format!("CLUSTER SETSLOT {slot} NODE {to_id}"));
        }
        // MOVED.
        epoch(&mut live);
    }
    assert!(three.refusals("ASK") > 0 && three.refusals("MOVED") > 0);
    site.must_be(&mut three.all(), &counted);
}

#[test]
fn a_slot_whose_keys_stand_in_two_places_is_waited_for() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    let mut live = site.start();
    live.epoch(&hits());
    let key = site.hot(1);
    let (slot, from) = (three.slot(&key), three.home(&key));
    let to = (from + 1) % 3;
    let (mut source, mut target) = (three.node(from), three.node(to));
    let ids: Vec<String> = (0..3).map(|n| ask(&mut three.node(n), "CLUSTER MYID")).collect();
    let (from_id, to_id) = (&ids[usize::from(from)], &ids[usize::from(to)]);
    ask::<()>(&mut target, &format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}"));
    ask::<()>(&mut source, &format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}"));
    let port = three.server.port() + to;
    ask::<()>(&mut source, &format!("MIGRATE 127.0.0.1 {port} {key} 0 5000"));
    let binding = live.bind();
    live.scores.scores(&binding, hot(&hits()));
    until(|| three.refusals("TRYAGAIN") >= 2);
    assert!(live.told.is_empty(), "it waits");
    ask::<()>(&mut source, &format!("MIGRATE 127.0.0.1 {port} {} 0 5000", site.key_mark(&key)));
    for node in [&mut target, &mut source, &mut three.node((from + 2) % 3)] {
        ask::<()>(node, &format!("CLUSTER SETSLOT {slot} NODE {to_id}"));
    }
    assert!(matches!(live.hear(), Told::Scored(..)));
    let mut counted = Counted::new();
    count(&mut counted, &hits());
    count(&mut counted, &hits());
    site.must_be(&mut three.all(), &counted);
}

#[test]
fn a_slot_that_nobody_serves_is_waited_for() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    let mut live = site.start();
    live.epoch(&hits());
    let key = site.hot(1);
    let (slot, node) = (three.slot(&key), three.home(&key));
    ask::<()>(&mut three.node(node), &format!("CLUSTER DELSLOTS {slot}"));
    let binding = live.next();
    live.scores.scores(&binding, hot(&hits()));
    until(|| three.refusals("CLUSTERDOWN") >= 2);
    assert!(live.told.is_empty(), "it waits");
    ask::<()>(&mut three.node(node), &format!("CLUSTER ADDSLOTS {slot}"));
    assert!(matches!(live.hear(), Told::Scored(..)));
    let mut counted = Counted::new();
    count(&mut counted, &hits());
    count(&mut counted, &hits());
    site.must_be(&mut three.all(), &counted);
}

#[test]
fn a_node_that_is_killed_is_waited_for() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    let mut live = site.start();
    let mut counted = Counted::new();
    for nth in 0..3 {
        let part = Three::part(nth);
        let killing = thread::scope(|threads| {
            let killing = threads.spawn(|| {
                three.server.kill(&[&part]);
                three.server.restart(&[&part]);
            });
            let mut epochs = 0;
            while !killing.is_finished() || epochs < 10 {
                live.epoch(&hits());
                count(&mut counted, &hits());
                epochs += 1;
            }
            killing.join()
        });
        killing.unwrap();
    }
    site.must_be(&mut three.all(), &counted);
}

#[test]
fn keys_of_a_node_that_went_back_run_again_alone() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    let place = testing::folder();
    let kept = place.path().join("kept");
    let elsewhere = three.channel(&site, false);
    let home = three.channel(&site, true);
    let node = three.home(&site.hot(elsewhere));
    let part = Three::part(node);
    let mut live = site.start();
    let mut counted = Counted::new();
    let epochs: Vec<_> =
        (0..6).map(|nth| [(elsewhere, nth, 1), (home, nth, 2), (elsewhere, 77, 1)]).collect();
    live.epoch(&epochs[0]);
    live.epoch(&epochs[1]);
    keep(&three.server, &part, &kept);
    live.epoch(&epochs[2]);
    live.epoch(&epochs[3]);
    let binding = live.bind();
    live.score(&binding, &epochs[4]);
    put_back(&three.server, &part, &kept);
    let next = live.bind();
    live.scores.scores(&next, hot(&epochs[5]));
    let error = live.ledger_failure();
    assert!(matches!(&error, Error::Behind { key, .. } if *key == site.hot(elsewhere)), "{error}");
    assert_eq!(error.then(), Then::StartAgain { done: None });
    drop(live);

    // A start finds the same, and a death before all has run again changes nothing.
    for _ in 0..2 {
        let again = site.found().again.expect("epochs run again");
        assert_eq!(again.standing.mark.epoch, Epoch(2));
        assert_eq!(again.reached.values().map(|(from, _)| *from).collect::<Vec<_>>(), [120]);
    }
    let mut found = site.found();
    run_again(&site, found.again.take().unwrap(), found.token(), &[&epochs[2], &epochs[3]]);
    let mut live = site.go_on(found);
    live.run_again(&epochs[4]);
    live.run_again(&epochs[5]);
    epochs.iter().for_each(|hits| count(&mut counted, hits));
    site.must_be(&mut three.all(), &counted);
}

#[test]
fn where_only_the_first_epochs_run_again_the_next_start_goes_on_behind_them() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    let mut live = site.start();
    let key = site.hot(1);
    let epochs = [[(1, 1, 1)], [(2, 1, 1)], [(1, 1, 1)]];
    epochs.iter().for_each(|hits| live.epoch(hits));
    drop(live);
    let mut node = three.node(three.home(&key));
    ask::<u64>(&mut node, &format!("DEL {key} {}", site.key_mark(&key)));
    // As where the last one was bound with other settings.
    let mut found = site.found();
    let mut again = found.again.take().expect("epochs run again");
    again.standing.bound.truncate(2);
    run_again(&site, again, found.token(), &[&epochs[0], &epochs[1]]);
    let mut found = site.found();
    let again = found.again.take().expect("one is left");
    assert_eq!(again.standing.mark.epoch, Epoch(2));
    run_again(&site, again, found.token(), &[&epochs[2]]);
    site.start().epoch(&[(1, 1, 1)]);
    site.must_be(&mut three.all(), &BTreeMap::from([((1, 1), 3), ((2, 1), 1)]));
}

#[test]
fn a_key_beyond_a_ledger_that_went_back_stops_the_job_unless_it_is_taken_as_it_stands() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    let place = testing::folder();
    let kept = place.path().join("kept");
    let elsewhere = three.channel(&site, false);
    let part = Three::part(three.home(&site.job));
    let mut live = site.start();
    live.epoch(&[(elsewhere, 1, 1)]);
    keep(&three.server, &part, &kept);
    live.epoch(&[(elsewhere, 1, 1)]);
    live.epoch(&[(elsewhere, 1, 1)]);
    drop(live);
    put_back(&three.server, &part, &kept);
    let Err(error) = site.try_open(false) else { panic!("it begins") };
    assert!(matches!(&error, Error::Beyond { .. }), "{error}");
    assert_eq!(error.then(), Then::Stop);
    for said in [&*site.hot(elsewhere), "epoch 3", "--after-loss"] {
        assert!(error.to_string().contains(said), "{error}");
    }
    let online_recall::ledger::Opened::Found(found) = site.try_open(true).unwrap() else {
        panic!("there is a ledger")
    };
    let mut live = site.go_on(*found);
    live.epoch(&[(elsewhere, 1, 10)]);
    site.must_be(&mut three.all(), &BTreeMap::from([((elsewhere, 1), 13)]));
    drop(live);
    // From then on it stands at the ledger's time.
    site.start().epoch(&[(elsewhere, 1, 10)]);
    site.must_be(&mut three.all(), &BTreeMap::from([((elsewhere, 1), 23)]));
}

#[test]
fn a_running_job_binds_again_what_the_node_of_its_ledger_lost() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    let place = testing::folder();
    let kept = place.path().join("kept");
    let elsewhere = three.channel(&site, false);
    let home = three.channel(&site, true);
    let part = Three::part(three.home(&site.job));
    let mut live = site.start();
    let mut counted = Counted::new();
    let epochs: Vec<_> = (0..4).map(|nth| [(elsewhere, nth, 1), (home, nth, 2)]).collect();
    live.epoch(&epochs[0]);
    keep(&three.server, &part, &kept);
    live.epoch(&epochs[1]);
    live.epoch(&epochs[2]);
    put_back(&three.server, &part, &kept);
    let error = live.ledger_failure();
    assert!(matches!(error, Error::WentBack { .. }), "{error}");
    drop(live);
    // Keys on the other nodes have the epochs already, keys beside the ledger have not.
    let mut live = site.start();
    live.run_again(&epochs[1]);
    live.run_again(&epochs[2]);
    live.epoch(&epochs[3]);
    epochs.iter().for_each(|hits| count(&mut counted, hits));
    site.must_be(&mut three.all(), &counted);
}

#[test]
fn a_reset_deletes_the_key_marks_on_all_nodes() {
    let three = Three::start();
    let site = Site::new(&three.urls());
    site.start().epoch(&hits());
    let reset = online_recall::ledger::reset(&site.redis, &site.job, &Stop::default());
    reset.map_err(failed).unwrap();
    let mut job = online_recall::redis::Job::new(&site.redis, &site.job).unwrap();
    assert!(job.all_key_marks().unwrap().is_empty());
    let mut live = site.start();
    live.epoch(&hits());
    let mut counted = Counted::new();
    count(&mut counted, &hits());
    count(&mut counted, &hits());
    site.must_be(&mut three.all(), &counted);
}
