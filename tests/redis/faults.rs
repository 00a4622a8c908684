//! A server that is killed, stands still, refuses, or goes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use dataflows::Epoch;
use online_recall::ledger::{Error, Opened, Then};
use online_recall::outside::Told;
use testing::servers::Server;
use testing::tls::Certified;

use crate::site::{Counted, Live, Site, ask, client, count, hot, refusals, until};

const HITS: &[(u32, i64, u64)] = &[(1, 1, 1), (1, 2, 2), (2, 1, 1), (3, 9, 5)];

fn alone() -> (Server, String) {
    let server = Server::start("redis", &[]);
    let url = format!("redis://{}", server.address());
    (server, url)
}

/// Runs an epoch that has to wait until the server no longer answers so.
fn epoch_through(live: &mut Live, url: &str, code: &str, end: impl FnOnce(&mut redis::Connection)) {
    let binding = live.next();
    live.ledger.bind(&binding);
    let mut redis = client(url);
    until(|| refusals(&mut redis, code) >= 2);
    assert!(live.told.is_empty(), "nothing is bound while the server says {code}");
    end(&mut redis);
    assert!(matches!(live.hear(), Told::Bound(_)));
    let keys = live.score(&binding, HITS);
    let done = live.done(&binding, keys);
    live.mark = done.mark.clone();
    live.ledger.mark(done);
    assert!(matches!(live.hear(), Told::Marked(_)));
}

#[test]
fn kills_of_the_server_at_any_time_lose_and_double_nothing() {
    let (server, url) = alone();
    let site = Site::new(&url);
    let mut live = site.start();
    let mut counted = Counted::new();
    for _ in 0..4 {
        let killing = thread::scope(|threads| {
            let killing = threads.spawn(|| {
                server.kill(&[]);
                server.restart(&[]);
            });
            let mut epochs = 0;
            while !killing.is_finished() || epochs < 20 {
                live.epoch(HITS);
                count(&mut counted, HITS);
                epochs += 1;
            }
            killing.join()
        });
        killing.unwrap();
    }
    site.must_be(&mut client(&url), &counted);
    drop(live);
    let mut live = site.start();
    live.epoch(HITS);
    count(&mut counted, HITS);
    site.must_be(&mut client(&url), &counted);
}

#[test]
fn a_server_that_stands_still_is_waited_for_and_its_late_work_is_harmless() {
    let (server, url) = alone();
    let site = Site::new(&url);
    let mut live = site.start();
    live.epoch(HITS);
    let binding = live.bind();
    server.stand_still("redis");
    // Both are sent anew each time that no answer comes, and all of that lands in the end.
    live.scores.scores(&binding, hot(HITS));
    let next = live.next();
    live.ledger.bind(&next);
    let connections = || fs::read_to_string("/proc/net/tcp").unwrap();
    let waiting = format!(":{:04X} ", server.port());
    let to_it = || connections().lines().filter(|line| line.contains(&waiting)).count();
    let before = to_it();
    // A new connection for each, beside what stood: they have given up once at least.
    until(|| to_it() >= before + 4);
    server.go_on("redis");
    let told = [live.hear(), live.hear()];
    assert!(told.iter().any(|told| matches!(told, Told::Bound(_))), "{told:?}");
    assert!(told.iter().any(|told| matches!(told, Told::Scored(..))), "{told:?}");
    let counted = HITS.iter().map(|&(c, a, n)| ((c, a), 2 * n)).collect();
    site.must_be(&mut client(&url), &counted);
}

#[test]
fn refusals_are_waited_through() {
    let (server, url) = alone();
    let site = Site::new(&url);
    let mut live = site.start();
    let mut redis = client(&url);
    live.epoch(HITS);

    // As a replica it takes no writes.
    ask::<()>(&mut redis, "REPLICAOF 127.0.0.1 1");
    epoch_through(&mut live, &url, "READONLY", |redis| ask(redis, "REPLICAOF NO ONE"));

    // Full, and nothing may be thrown away.
    ask::<()>(&mut redis, "CONFIG SET maxmemory 1");
    epoch_through(&mut live, &url, "OOM", |redis| ask(redis, "CONFIG SET maxmemory 0"));

    // Somebody's script runs and runs.
    ask::<()>(&mut redis, "CONFIG SET busy-reply-threshold 50");
    let somebody = {
        let url = url.clone();
        thread::spawn(move || {
            let mut redis = client(&url);
            let endless = redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut redis);
            assert!(endless.unwrap_err().to_string().contains("killed"));
        })
    };
    let mut mine = 0;
    let mut is_busy = |redis: &mut redis::Connection| {
        let busy = redis::cmd("GET").arg("x").query::<Option<String>>(redis);
        let busy = busy.is_err_and(|error| error.code() == Some("BUSY"));
        mine += u64::from(busy);
        busy
    };
    until(|| is_busy(&mut redis));
    let binding = live.next();
    live.ledger.bind(&binding);
    let mut asked = 0;
    until(|| {
        asked += u32::from(is_busy(&mut redis));
        asked == 50
    });
    assert!(live.told.is_empty(), "nothing is bound while the server is busy");
    ask::<()>(&mut redis, "SCRIPT KILL");
    somebody.join().unwrap();
    assert!(refusals(&mut redis, "BUSY") > mine, "the job was told so too");
    assert!(matches!(live.hear(), Told::Bound(_)));
    let keys = live.score(&binding, HITS);
    let done = live.done(&binding, keys);
    live.ledger.mark(done);
    assert!(matches!(live.hear(), Told::Marked(_)));

    // Forgotten scripts.
    let flushed = refusals(&mut redis, "NOSCRIPT");
    ask::<()>(&mut redis, "SCRIPT FLUSH");
    live.epoch(HITS);
    assert!(refusals(&mut redis, "NOSCRIPT") > flushed);

    let counted = HITS.iter().map(|&(c, a, n)| ((c, a), 5 * n)).collect();
    site.must_be(&mut redis, &counted);
    drop(server);
}

#[test]
fn a_server_that_reads_its_data_is_waited_for() {
    let (server, url) = alone();
    let site = Site::new(&url);
    let mut live = site.start();
    live.epoch(HITS);
    let mut redis = client(&url);
    // It looks for clients every thousand commands.
    let mut sets = redis::pipe();
    for n in 0..4000 {
        sets.cmd("SET").arg(n).arg(n).ignore();
    }
    sets.exec(&mut redis).unwrap();
    server.kill(&[]);
    let binding = live.next();
    live.ledger.bind(&binding);
    let mut slow = Command::new("redis-server")
        .arg(server.data().join("redis.conf"))
        .args(["--key-load-delay", "1000"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(matches!(live.hear(), Told::Bound(_)));
    let mut redis = client(&url);
    assert!(refusals(&mut redis, "LOADING") > 0, "it has said that it is loading");
    live.score(&binding, HITS);
    let counted = HITS.iter().map(|&(c, a, n)| ((c, a), 2 * n)).collect();
    site.must_be(&mut redis, &counted);
    slow.kill().unwrap();
    slow.wait().unwrap();
}

/// The data of a server, copied while it is down.
pub fn files(server: &Server, part: &str) -> PathBuf {
    server.data().join(part)
}

/// Copies the data of a part as it stands, for later.
pub fn keep(server: &Server, part: &str, to: &Path) {
    server.stop(&[part]);
    testing::copy(&files(server, part), to);
    server.restart(&[part]);
}

/// Puts a part back to what was kept.
pub fn put_back(server: &Server, part: &str, kept: &Path) {
    server.kill(&[part]);
    fs::remove_dir_all(files(server, part)).unwrap();
    testing::copy(kept, &files(server, part));
    server.restart(&[part]);
}

#[test]
fn a_redis_that_went_back_gets_its_bindings_back_and_every_epoch_counts_once() {
    let (server, url) = alone();
    let site = Site::new(&url);
    let place = testing::folder();
    let kept = place.path().join("kept");
    let mut live = site.start();
    let mut epochs = Vec::new();
    let mut counted = Counted::new();
    for nth in 0..4 {
        let hits = [(1, nth, 1), (2, 7, 2)];
        live.epoch(&hits);
        count(&mut counted, &hits);
    }
    keep(&server, "redis", &kept);
    for nth in 4..9 {
        let hits = [(1, nth, 1), (2, 7, 2), (nth as u32, 5, 1)];
        let binding = live.bind();
        let keys = live.score(&binding, &hits);
        if nth < 7 {
            live.mark(&binding, keys);
        }
        epochs.push((binding, hits));
    }
    put_back(&server, "redis", &kept);
    // It finds out by itself, and binds again what was lost.
    let error = live.ledger_failure();
    assert!(matches!(error, Error::WentBack { .. }), "{error}");
    assert_eq!(error.then(), Then::StartAgain { done: Some(Epoch(7)) });
    drop(live);

    let mut live = site.start();
    assert_eq!(live.mark.epoch, Epoch(4));
    assert!(live.bound.iter().eq(epochs.iter().map(|(binding, _)| binding)));
    for (_, hits) in &epochs {
        live.run_again(hits);
        count(&mut counted, hits);
    }
    live.epoch(HITS);
    count(&mut counted, HITS);
    site.must_be(&mut client(&url), &counted);
}

#[test]
fn a_redis_that_went_back_while_nobody_ran_is_gone_on_from_as_it_stands() {
    let (server, url) = alone();
    let site = Site::new(&url);
    let place = testing::folder();
    let kept = place.path().join("kept");
    let mut live = site.start();
    live.epoch(HITS);
    keep(&server, "redis", &kept);
    live.epoch(HITS);
    drop(live);
    put_back(&server, "redis", &kept);
    let mut live = site.start();
    assert_eq!(live.mark.epoch, Epoch(1));
    // Its records are read again.
    live.epoch(HITS);
    let counted = HITS.iter().map(|&(c, a, n)| ((c, a), 2 * n)).collect();
    site.must_be(&mut client(&url), &counted);
}

#[test]
fn scores_that_see_first_that_redis_went_back_leave_it_to_the_ledger() {
    let (server, url) = alone();
    let site = Site::new(&url);
    let place = testing::folder();
    let kept = place.path().join("kept");
    let mut live = site.start();
    live.epoch(HITS);
    keep(&server, "redis", &kept);
    live.epoch(HITS);
    let binding = live.bind();
    put_back(&server, "redis", &kept);
    live.scores.scores(&binding, hot(HITS));
    let error = live.ledger_failure();
    assert!(matches!(error, Error::WentBack { .. }), "{error}");
    drop(live);
    let mut live = site.start();
    live.run_again(HITS);
    live.run_again(HITS);
    let counted = HITS.iter().map(|&(c, a, n)| ((c, a), 3 * n)).collect();
    site.must_be(&mut client(&url), &counted);
}

#[test]
fn a_redis_that_lost_everything_is_said_and_begun_as_on_the_first_day() {
    let (_server, url) = alone();
    let site = Site::new(&url);
    let mut live = site.start();
    live.epoch(HITS);
    live.epoch(HITS);
    ask::<()>(&mut client(&url), "FLUSHALL");
    let error = live.ledger_failure();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    assert_eq!(error.then(), Then::StartAgain { done: Some(Epoch(2)) });
    drop(live);
    assert!(matches!(site.try_open(false).unwrap(), Opened::Vacant(_)));
}

#[test]
fn a_single_key_that_went_back_is_found_when_it_is_touched_and_runs_again() {
    let (_server, url) = alone();
    let site = Site::new(&url);
    let mut redis = client(&url);
    let mut live = site.start();
    let mut counted = Counted::new();
    live.epoch(HITS);
    count(&mut counted, HITS);
    let key = site.hot(1);
    let mark: String = ask(&mut redis, &format!("GET {}", site.key_mark(&key)));
    let second = [(1, 1, 3), (2, 1, 4)];
    live.epoch(&second);
    count(&mut counted, &second);
    // As the node of a Cluster would that went back: the key and its mark, together.
    ask::<String>(&mut redis, &format!("ZINCRBY {key} -3 1"));
    redis::cmd("SET").arg(site.key_mark(&key)).arg(mark).exec(&mut redis).unwrap();
    let binding = live.bind();
    live.scores.scores(&binding, hot(HITS));
    let error = live.ledger_failure();
    assert!(matches!(&error, Error::Behind { key: named, .. } if *named == key), "{error}");
    assert_eq!(error.then(), Then::StartAgain { done: None });
    drop(live);

    let mut found = site.found();
    let again = found.again.take().expect("epochs run again");
    crate::cluster::run_again(&site, again, found.token(), &[&second]);
    let mut live = site.go_on(found);
    live.run_again(HITS);
    count(&mut counted, HITS);
    site.must_be(&mut redis, &counted);
}

#[test]
fn a_key_that_went_back_is_brought_up_to_the_ledger_also_where_the_records_are_gone() {
    let (_server, url) = alone();
    let site = Site::new(&url);
    let mut redis = client(&url);
    let mut live = site.start();
    (0..3).for_each(|_| live.epoch(HITS));
    drop(live);
    let key = site.hot(1);
    ask::<u64>(&mut redis, &format!("DEL {} {key}", site.key_mark(&key)));
    let mut found = site.found();
    let again = found.again.take().expect("epochs run again");
    crate::cluster::run_again(&site, again, found.token(), &[&[], &[], &[]]);
    // It does not run again for ever.
    let mut live = site.start();
    live.epoch(HITS);
    let mut counted = Counted::new();
    count(&mut counted, HITS);
    counted.retain(|(channel, _), _| *channel == 1);
    site.must_be(&mut redis, &counted);
}

#[test]
fn a_key_taken_as_it_stands_counts_as_applied_up_to_the_last_binding() {
    let (_server, url) = alone();
    let site = Site::new(&url);
    let mut redis = client(&url);
    let mut live = site.start();
    live.epoch(&[(1, 1, 1)]);
    let live_time = live.mark.time;
    (0..3).for_each(|_| drop(live.bind()));
    drop(live);
    // As if the ledger had been at epoch 9 before it went back.
    let mark = site.key_mark(&site.hot(1));
    redis::cmd("SET").arg(&mark).arg("9 5").exec(&mut redis).unwrap();
    assert!(matches!(site.try_open(false), Err(Error::Beyond { .. })));
    let Opened::Found(found) = site.try_open(true).unwrap() else { panic!("there is a ledger") };
    drop(found);
    // What was taken is taken again where the key has lost that.
    let (time, bound) = (live_time, site.found().bound);
    redis::cmd("SET").arg(&mark).arg(format!("1 {time}")).exec(&mut redis).unwrap();
    assert_eq!(bound.len(), 3);
    let found = site.found();
    assert!(found.again.is_none());
    let mut live = site.go_on(found);
    live.run_again(&[(1, 1, 1)]);
    live.run_again(&[(1, 1, 1)]);
    live.run_again(&[(2, 1, 1)]);
    drop(live);
    let mut live = site.start();
    live.epoch(&[(1, 1, 10)]);
    site.must_be(&mut redis, &Counted::from([((1, 1), 11), ((2, 1), 1)]));
}

#[test]
fn a_key_that_went_back_and_is_not_touched_is_found_within_a_minute() {
    if !testing::all() {
        println!("skipped: it takes a minute; ONLINE_RECALL_TEST_ALL=1 runs it");
        return;
    }
    let (_server, url) = alone();
    let site = Site::new(&url);
    let mut live = site.start();
    live.epoch(HITS);
    live.epoch(HITS);
    let key = site.hot(1);
    ask::<u64>(&mut client(&url), &format!("DEL {} {key}", site.key_mark(&key)));
    let error = live.ledger_failure();
    assert!(matches!(&error, Error::Behind { key: named, .. } if *named == key), "{error}");
}

#[test]
fn a_password_lets_in_and_a_wrong_one_is_said_at_once() {
    let (server, url) = alone();
    let mut redis = client(&url);
    ask::<()>(&mut redis, "CONFIG SET requirepass right");
    ask::<()>(&mut redis, "ACL SETUSER teller on >secret ~* +@all");
    let address = server.address();
    for login in [":right@", "teller:secret@"] {
        Site::new(&format!("redis://{login}{address}")).start().epoch(HITS);
    }
    for login in ["", ":wrong@", "teller:wrong@", "nobody:right@"] {
        let site = Site::new(&format!("redis://{login}{address}"));
        let Err(error) = site.try_open(false) else { panic!("{login} is let in") };
        assert!(error.to_string().contains("redis.url"), "{login}: {error}");
        assert!(!error.to_string().contains("wrong@"), "{error}");
    }
    ask::<()>(&mut redis, "ACL SETUSER teller -eval -evalsha");
    let site = Site::new(&format!("redis://teller:secret@{address}"));
    let Err(error) = site.try_open(false) else { panic!("it may") };
    assert!(error.to_string().contains("ACL"), "{error}");
    let beyond = Site::new(&format!("redis://:right@{address}/99"));
    let Err(error) = beyond.try_open(false) else { panic!("there is no database 99") };
    assert!(error.to_string().contains("no such database"), "{error}");
}

#[test]
fn tls_is_spoken_with_whom_it_may_be() {
    let (server, url) = alone();
    let place = testing::folder();
    let Certified { certificate, key } = Certified::make(place.path());
    let mut redis = client(&url);
    for (name, value) in
        [("cert-file", &certificate), ("key-file", &key), ("ca-cert-file", &certificate)]
    {
        ask::<()>(&mut redis, &format!("CONFIG SET tls-{name} {}", value.display()));
    }
    ask::<()>(&mut redis, "CONFIG SET tls-auth-clients no");
    let port = server.port() + 5;
    ask::<()>(&mut redis, &format!("CONFIG SET tls-port {port}"));
    let unknown = Site::new(&format!("rediss://127.0.0.1:{port}"));
    let Err(error) = unknown.try_open(false) else { panic!("anybody may have signed it") };
    assert!(error.to_string().contains("TLS"), "{error}");
    let site = Site::new(&format!("rediss://127.0.0.1:{port}/3?#insecure"));
    let mut live = site.start();
    live.epoch(HITS);
    let mut there = client(&format!("{url}/3"));
    let counted = HITS.iter().map(|&(c, a, n)| ((c, a), n)).collect();
    site.must_be(&mut there, &counted);
}
