//! Tokens, bindings, marks, and what a start makes of them.

use std::sync::Arc;
use std::thread;

use dataflows::Epoch;
use online_recall::ledger::{self, Error, Opened, Then};
use online_recall::outside::Told;
use online_recall::retry::Stop;
use online_recall::source::{Position, Topic};
use testing::kafka::LONG;
use testing::servers::{self, Server};

use crate::site::{Counted, Site, ask, beginning, client, count, failed, hot, refusals, until};

fn url() -> String {
    format!("redis://{}/10", servers::redis().address())
}

#[test]
fn a_first_start_begins_where_it_is_told_and_the_next_one_where_that_ended() {
    let site = Site::new(&url());
    let mut live = site.start();
    live.epoch(&[(18, 1, 1)]);
    live.epoch(&[(18, 1, 2), (19, 2, 1)]);
    let mark = live.mark.clone();
    drop(live);
    let found = site.found();
    assert_eq!((&found.standing.mark, found.standing.bound.len()), (&mark, 0));
    assert_eq!((mark.epoch, mark.totals.hits, found.letters), (Epoch(2), 20, 14));
    let reached = [((Topic::Clicks, b"clicks/0".to_vec()), (120, Position::Topic(2)))];
    assert_eq!(found.reached.into_iter().collect::<Vec<_>>(), reached);
    assert!(found.keys.keys().eq([&site.hot(18), &site.hot(19)]));
}

#[test]
fn what_is_bound_above_the_mark_runs_again_as_it_was_bound_and_counts_once() {
    let site = Site::new(&url());
    let mut counted = Counted::new();
    let epochs = [[(1, 5, 1), (2, 5, 1)], [(1, 5, 1), (2, 6, 3)], [(1, 7, 2), (2, 5, 1)]];
    let mut live = site.start();
    live.epoch(&[(1, 5, 1)]);
    count(&mut counted, &[(1, 5, 1)]);
    let bound: Vec<_> = epochs.iter().map(|_| live.bind()).collect();
    // The second one is applied to one key only, the third to none.
    live.score(&bound[0], &epochs[0]);
    live.score(&bound[1], &epochs[1][..1]);
    drop(live);

    let mut live = site.start();
    assert!(live.bound.iter().eq(&bound));
    for hits in &epochs {
        live.run_again(hits);
        count(&mut counted, hits);
    }
    live.epoch(&[(1, 5, 1)]);
    count(&mut counted, &[(1, 5, 1)]);
    site.must_be(&mut client(&url()), &counted);
    assert_eq!(live.mark.epoch, Epoch(5));
}

#[test]
fn bound_epochs_that_run_alone_know_that_later_ones_may_have_been_applied() {
    let site = Site::new(&url());
    let mut live = site.start();
    let bound = [live.bind(), live.bind()];
    bound.iter().for_each(|binding| drop(live.score(binding, &[(1, 5, 1)])));
    drop(live);
    // As where the later one was bound with other settings: it is run by an incarnation of its own.
    for _ in 0..2 {
        let mut found = site.found();
        found.standing.bound.truncate(1);
        let mut live = site.go_on(found);
        live.run_again(&[(1, 5, 1)]);
    }
    site.must_be(&mut client(&url()), &Counted::from([((1, 5), 2)]));
}

#[test]
fn what_was_applied_of_bound_epochs_is_known_also_where_they_run_again_without_their_records() {
    let site = Site::new(&url());
    let mut redis = client(&url());
    let mut live = site.start();
    live.epoch(&[(1, 5, 1)]);
    let bound = [live.bind(), live.bind(), live.bind()];
    live.score(&bound[0], &[(1, 5, 1), (2, 5, 1)]);
    live.score(&bound[1], &[(2, 5, 1)]);
    drop(live);
    // Of the last one a part, up to article 7.
    let (epoch, time) = (bound[2].epoch, bound[2].time);
    let in_parts = format!("{epoch} {time} 7");
    let mark = site.key_mark(&site.hot(3));
    redis::cmd("SET").arg(&mark).arg(in_parts).exec(&mut redis).unwrap();

    let mut live = site.start();
    bound.iter().for_each(|_| live.run_again(&[]));
    live.epoch(&[(1, 5, 1), (2, 5, 1), (3, 5, 1)]);
    drop(live);
    site.start().epoch(&[(1, 5, 1), (2, 5, 1), (3, 5, 1)]);
    let counted = Counted::from([((1, 5), 4), ((2, 5), 4), ((3, 5), 2)]);
    site.must_be(&mut redis, &counted);
}

#[test]
fn a_newer_incarnation_fences_the_older_one_which_changes_nothing_any_more() {
    let site = Site::new(&url());
    let mut older = site.start();
    older.epoch(&[(1, 1, 1)]);
    let mut newer = site.start();
    let binding = older.next();
    older.ledger.bind(&binding);
    let error = older.ledger_failure();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    assert_eq!(error.then(), Then::Fenced);
    newer.epoch(&[(1, 1, 1)]);
    assert_eq!(newer.mark.epoch, Epoch(2));
}

#[test]
fn an_incarnation_that_was_followed_by_anothers_is_not_followed_by_one_of_its_own() {
    let site = Site::new(&url());
    site.start().epoch(&[(1, 1, 1)]);
    let mut found = site.found();
    // As where bound epochs come alone, and nobody else has begun since.
    for _ in 0..2 {
        let Ok(Opened::Found(next)) = site.try_open_after(Some(found.token()), false) else {
            panic!("it does not begin")
        };
        found = *next;
    }
    let mut newer = site.start();
    let Err(error) = site.try_open_after(Some(found.token()), false) else { panic!("it begins") };
    assert_eq!(error.then(), Then::Fenced, "{error}");
    newer.epoch(&[(1, 1, 1)]);
}

#[test]
fn scores_of_an_incarnation_that_is_fenced_are_not_applied() {
    let site = Site::new(&url());
    let mut older = site.start();
    let binding = older.bind();
    let mut newer = site.start();
    // It would be the first to touch the key: no key mark says that it is late.
    older.scores.scores(&binding, hot(&[(1, 1, 1)]));
    assert_eq!(older.ledger_failure().then(), Then::Fenced);
    newer.run_again(&[(1, 1, 5)]);
    site.must_be(&mut client(&url()), &Counted::from([((1, 1), 5)]));
}

#[test]
fn where_everything_is_lost_before_the_first_scores_nothing_of_the_old_ledger_is_applied() {
    let site = Site::new(&url());
    let mut live = site.start();
    let binding = live.bind();
    let mut redis = client(&url());
    ask::<u64>(&mut redis, &format!("DEL online-recall:{{{}}}:ledger", site.job));
    live.scores.scores(&binding, hot(&[(1, 1, 1)]));
    let error = live.ledger_failure();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    drop(live);
    let mut live = site.start();
    live.epoch(&[(1, 1, 1)]);
    site.must_be(&mut redis, &Counted::from([((1, 1), 1)]));
}

#[test]
fn an_idle_incarnation_learns_by_itself_that_it_is_fenced() {
    let site = Site::new(&url());
    let older = site.start();
    let _newer = site.start();
    assert_eq!(older.ledger_failure().then(), Then::Fenced);
}

#[test]
fn of_starts_at_the_same_time_one_writes() {
    let site = Site::new(&url());
    site.start().epoch(&[(1, 1, 1)]);
    let start = || {
        let site = site.clone();
        thread::spawn(move || {
            let mut live = site.go_on(site.found());
            let binding = live.next();
            live.ledger.bind(&binding);
            matches!(live.told.recv_timeout(LONG).unwrap(), Told::Bound(_))
        })
    };
    let starts: Vec<_> = (0..6).map(|_| start()).collect();
    let bound = starts.into_iter().map(|start| start.join().unwrap()).filter(|bound| *bound);
    // An earlier one may have bound before a later one began; none does so in the same place.
    let bound = bound.count();
    let found = site.found();
    assert!(bound >= 1 && found.standing.bound.len() == bound, "{bound}");
}

#[test]
fn key_marks_without_a_ledger_are_refused_until_they_are_reset_or_taken_as_they_stand() {
    let mut redis = client(&url());
    let site = Site::new(&url());
    let mut live = site.start();
    live.epoch(&[(1, 1, 1)]);
    live.epoch(&[(1, 1, 1), (2, 1, 1)]);
    drop(live);
    let lose = |redis: &mut _| {
        ask::<u64>(redis, &format!("DEL online-recall:{{{}}}:ledger", site.job));
    };
    lose(&mut redis);
    let Err(error) = site.try_open(false) else { panic!("it begins") };
    assert!(matches!(&error, Error::KeyMarks { count: 2, .. }), "{error}");
    assert!(error.to_string().contains("--reset"), "{error}");

    // Taken as they stand: epochs are numbered above them.
    let Ok(Opened::Vacant(vacant)) = site.try_open(true) else { panic!("there is no ledger") };
    let mut live = site.go_on(vacant.begin(beginning()).unwrap());
    live.epoch(&[(1, 1, 1)]);
    assert_eq!(live.mark.epoch, Epoch(3));
    let counted = Counted::from([((1, 1), 3), ((2, 1), 1)]);
    site.must_be(&mut redis, &counted);
    drop(live);

    lose(&mut redis);
    ledger::reset(&site.redis, &site.job, &Stop::default()).unwrap();
    let mut live = site.start();
    live.epoch(&[(1, 1, 1)]);
    assert_eq!(live.mark.epoch, Epoch(1));
    // The scores are left, and go on.
    site.must_be(&mut redis, &Counted::from([((1, 1), 4), ((2, 1), 1)]));
}

#[test]
fn a_reset_fences_what_still_runs() {
    let site = Site::new(&url());
    let mut live = site.start();
    live.epoch(&[(1, 1, 1)]);
    ledger::reset(&site.redis, &site.job, &Stop::default()).unwrap();
    let mut after = site.start();
    assert_eq!(live.ledger_failure().then(), Then::Fenced);
    after.epoch(&[(1, 1, 1)]);
    assert_eq!(after.mark.epoch, Epoch(1));
}

#[test]
fn a_job_begins_at_the_mark_of_another_one_that_has_ended() {
    let site = Site::new(&url());
    let reached = || ledger::reached_by(&site.redis, &site.job, &Stop::default()).map_err(failed);
    assert!(matches!(reached(), Err(Error::NoLedger { .. })));
    let mut live = site.start();
    live.epoch(&[(1, 1, 1)]);
    let binding = live.bind();
    assert!(matches!(reached(), Err(Error::NotEnded { .. })));
    live.mark(&binding, Vec::new());
    let there = (120, Position::Topic(2));
    assert_eq!(reached().unwrap()[&(Topic::Clicks, b"clicks/0".to_vec())], there);
}

#[test]
fn a_redis_that_throws_keys_away_is_refused() {
    let server = Server::start("redis", &[]);
    let url = format!("redis://{}", server.address());
    let mut redis = client(&url);
    let site = Site::new(&url);
    ask::<()>(&mut redis, "CONFIG SET maxmemory-policy allkeys-lru");
    let Err(error) = site.try_open(false) else { panic!("it begins") };
    assert!(error.to_string().contains("maxmemory-policy allkeys-lru"), "{error}");
    ask::<()>(&mut redis, "CONFIG SET maxmemory-policy volatile-lru");
    site.start().epoch(&[(1, 1, 1)]);
}

#[test]
fn a_running_job_says_how_fresh_it_is_and_confirms_its_token() {
    let site = Site::new(&url());
    let live = site.start();
    live.fence.pass(&live.stop).unwrap();
    let mut redis = client(&url());
    for time in [1_600_000_000_001, 1_600_000_000_002] {
        live.freshness.is(time);
        let key = format!("GET online-recall:{{{}}}:freshness", site.job);
        until(|| ask::<Option<u64>>(&mut redis, &key) == Some(time));
    }
    let mut job = online_recall::redis::Job::new(&site.redis, &site.job).unwrap();
    assert!(job.is_running().unwrap());
}

#[test]
fn a_token_and_a_binding_count_when_the_replicas_have_them() {
    let (master, replica) = (Server::start("redis", &[]), Server::start("redis", &[]));
    let url = format!("redis://{}", master.address());
    let mut redis = client(&url);
    let site = Site::with(&url, &["redis.replicas=1"]);
    let starting = {
        let site = site.clone();
        thread::spawn(move || site.start())
    };
    // It has asked for replicas twice at least, and still waits.
    until(|| refused_waits(&mut redis) >= 2);
    assert!(!starting.is_finished());
    let mut copy = client(&format!("redis://{}", replica.address()));
    ask::<()>(&mut copy, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let mut live = starting.join().unwrap();
    let binding = live.bind();
    let mut exists = redis::cmd("HEXISTS");
    exists.arg(format!("online-recall:{{{}}}:ledger", site.job));
    exists.arg(format!("binding {}", binding.epoch));
    assert!(exists.query::<bool>(&mut copy).unwrap());

    // One that was made a replica itself refuses to wait for replicas; it is waited for all the same.
    let before = refusals(&mut redis, "READONLY");
    ask::<()>(&mut redis, "REPLICAOF 127.0.0.1 1");
    let binding = live.next();
    live.ledger.bind(&binding);
    until(|| refusals(&mut redis, "READONLY") >= before + 2);
    assert!(live.told.is_empty(), "nothing is bound by a replica");
    ask::<()>(&mut redis, "REPLICAOF NO ONE");
    assert!(matches!(live.hear(), Told::Bound(epoch) if epoch == binding.epoch));
}

fn refused_waits(redis: &mut redis::Connection) -> u64 {
    let stats: String = ask(redis, "INFO commandstats");
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_wait:calls="));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn many_calls_at_once_are_told_in_order() {
    let site = Site::new(&url());
    let mut live = site.start();
    let bindings: Vec<_> = (0..50).map(|_| live.next()).collect();
    bindings.iter().for_each(|binding| live.ledger.bind(binding));
    for binding in &bindings {
        assert!(matches!(live.hear(), Told::Bound(epoch) if epoch == binding.epoch));
    }
    for binding in &bindings {
        let done = live.done(binding, Vec::new());
        live.ledger.mark(done);
    }
    for binding in &bindings {
        assert!(matches!(live.hear(), Told::Marked(epoch) if epoch == binding.epoch));
    }
    drop(live);
    let found = site.found();
    assert_eq!(found.standing.mark.epoch, Epoch(50));
    assert_eq!(found.reached.values().next(), Some(&(600, Position::Topic(50))));
    assert!(Arc::ptr_eq(&bindings[0].names, &bindings[1].names));
}
