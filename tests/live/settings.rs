//! What sites set: TLS and passwords to every server, a Cluster of Redis, a topic of dead letters, where a
//! job begins; and starts that are refused.

use testing::kafka::wait_for;
use testing::oracle::Oracle;
use testing::servers::Server;
use testing::tls::Certified;

use super::input::Input;
use super::judge::Doubts;
use super::site::{Plan, Servers, Site};

/// A plan whose program speaks TLS to a broker that wants a password, and to HBase, and puts dead letters
/// into a topic.
fn secured(kafka: &Server, certified: &Certified) -> Plan {
    let servers = Servers { kafka: kafka.address(), ..Servers::shared() };
    let mut plan = Plan::on(servers, 3);
    plan.told.kafka = format!("127.0.0.1:{}", kafka.port() + 2);
    plan.told.hbase = certified.before(&plan.servers.hbase);
    plan.trusts = Some(certified.certificate.clone());
    plan.letters_in_topic = true;
    let authority = kafka.data().join("tls/ca.pem");
    plan.lines = vec![
        "kafka.properties.'security.protocol' = 'SASL_SSL'".to_owned(),
        "kafka.properties.'sasl.mechanism' = 'SCRAM-SHA-256'".to_owned(),
        "kafka.properties.'sasl.username' = 'alice'".to_owned(),
        "kafka.properties.'sasl.password' = '${file:password}'".to_owned(),
        format!("kafka.properties.'ssl.ca.location' = '{}'", authority.display()),
        "hbase.tls = true".to_owned(),
    ];
    plan
}

/// Runs it over some input, with a kill in between.
fn must_count_once(plan: Plan, seed: u64, oracle: &mut Oracle) {
    let site = Site::without_tables(plan, Input::usual(seed, 2000, oracle));
    std::fs::write(site.folder().join("password"), "alice-secret\n").unwrap();
    let letters = site.letters.as_ref().unwrap();
    site.run(&format!("topics create {letters} --partitions 2 --config job.toml")).done();
    site.make_tables();
    let mut flow = site.flow(seed, false);
    let mut job = site.start(2);
    flow.some(1000);
    site.wait_until_done(&mut job);
    let killed = site.kill(job).0;
    assert!(!killed.log.contains("alice-secret"), "a secret is logged: {killed}");
    flow.rest();
    let mut job = site.start(1);
    site.wait_until_done(&mut job);
    site.must_be_right(oracle, &Doubts::None);
    job.stop();
}

#[test]
fn with_a_cluster_of_redis_and_tls_to_kafka_and_hbase_every_effect_is_there_once() {
    let mut oracle = Oracle::start();
    let folder = testing::folder();
    let certified = Certified::make(folder.path());
    let kafka = Server::start("kafka", &[("TLS", "1")]);
    let redis = Server::start("redis", &[("CLUSTER", "1")]);
    let mut plan = secured(&kafka, &certified);
    let nodes: Vec<_> = (0..3).map(|nth| format!("127.0.0.1:{}", redis.port() + nth)).collect();
    plan.servers.redis = nodes.join(",");
    plan.told.redis.clone_from(&plan.servers.redis);
    must_count_once(plan, 61, &mut oracle);
}

#[test]
fn with_tls_to_every_server_and_passwords_every_effect_is_there_once() {
    let mut oracle = Oracle::start();
    let folder = testing::folder();
    let certified = Certified::make(folder.path());
    let kafka = Server::start("kafka", &[("TLS", "1")]);
    let redis = Server::start("redis", &[]);
    let client = redis::Client::open(format!("redis://{}", redis.address())).unwrap();
    let mut connection = client.get_connection().unwrap();
    let port = redis.port() + 5;
    let (certificate, key) = (certified.certificate.display(), certified.key.display());
    for command in [
        format!("CONFIG SET tls-cert-file {certificate} tls-key-file {key}"),
        format!("CONFIG SET tls-ca-cert-file {certificate} tls-auth-clients no tls-port {port}"),
        "ACL SETUSER teller on >secret ~* +@all".to_owned(),
    ] {
        let words: Vec<_> = command.split(' ').collect();
        let _: String = redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap();
    }
    let mut plan = secured(&kafka, &certified);
    plan.servers.redis = redis.address();
    plan.told.redis = format!("rediss://teller:secret@127.0.0.1:{port}/10");
    must_count_once(plan, 62, &mut oracle);
}

#[test]
fn a_job_goes_on_where_another_one_has_ended_and_counts_nothing_of_that_again() {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(3), Input::usual(63, 1500, &mut oracle));
    let mut flow = site.flow(63, false);
    let mut job = site.start(2);
    flow.some(700);
    site.wait_until_done(&mut job);
    job.stop();
    flow.rest();
    // It writes the same lists, so that together they must be those of one job.
    let other = format!("{}-other", site.name);
    let sets = [format!("job={other}"), format!("kafka.start=job:{}", site.name)];
    let mut job = site.start_with(2, None, &["--set", &sets[0], "--set", &sets[1]]);
    let show = format!("show job --json --config job.toml --set job={other}");
    let ends = site.ends();
    site.wait_while_it_runs("the end of what was produced", &mut job, || {
        let shown = site.run(&show).done().json();
        let reached = shown["partitions"].as_array().unwrap();
        let reached: Vec<_> = reached.iter().filter_map(|it| it["offset"].as_u64()).collect();
        // Where it has read nothing it has reached the place of the other one.
        let total: u64 = reached.iter().sum();
        (total == ends.iter().flatten().sum::<u64>()).then_some(())
    });
    job.stop();
    let mut bindings = site.bindings();
    let former = bindings.len();
    bindings.extend(site.bindings_of(&other));
    assert!(former > 0 && bindings.len() > former, "both have bound some");
    let (mut found, mut expected) = (site.scores("hot"), site.hot_of(&mut oracle, &bindings));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_reset_begins_anew_and_counts_again_what_is_read_again() {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(3), Input::usual(64, 1000, &mut oracle));
    site.flow(64, false).rest();
    let mut job = site.start(2);
    site.wait_until_done(&mut job);
    job.stop();
    let doubled = |line: String| {
        let (article, score) = line.rsplit_once(' ').unwrap();
        format!("{article} {}", 2.0 * score.parse::<f64>().unwrap())
    };
    let mut expected: Vec<_> = site.scores("hot").into_iter().map(doubled).collect();
    let mailed = site.mailboxes();
    assert!(!expected.is_empty() && !mailed.is_empty());
    let mut job = site.start_with(1, None, &["--reset"]);
    // Until it has begun, the ledger is the former one.
    job.says("begun: ");
    site.wait_until_done(&mut job);
    job.stop();
    let mut found = site.scores("hot");
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(site.mailboxes(), mailed, "the history knows what was recalled");
}

#[test]
fn a_list_beyond_the_ledger_stops_a_start_unless_it_is_taken_as_it_stands() {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(2), Input::usual(65, 1000, &mut oracle));
    let mut flow = site.flow(65, false);
    let mut job = site.start(2);
    flow.some(300);
    site.wait_until_done(&mut job);
    job.stop();
    let ledger = format!("online-recall:{{{}}}:ledger", site.name);
    let older: Vec<u8> = site.ask(redis::cmd("DUMP").arg(&ledger)).unwrap();
    let mark = site.mark();
    let mut job = site.start(2);
    flow.some(300);
    site.wait_until_done(&mut job);
    job.stop();
    let counted = site.scores("hot");
    let put_back = redis::cmd("RESTORE").arg(&ledger).arg(0).arg(older).arg("REPLACE").clone();
    let _: String = site.ask(&put_back).unwrap();
    assert_eq!(site.mark(), mark, "it went back");
    // What is bound next takes the numbers of epochs that the lists have already.
    let refused = site.start(1).wait().with(1);
    refused.says(&site.name).says("--after-loss");
    assert_eq!(site.scores("hot"), counted);
    let mut job = site.start_with(1, None, &["--after-loss"]);
    flow.rest();
    site.wait_until_done(&mut job);
    job.stop();
}

#[test]
fn a_start_without_what_it_needs_ends_at_once_and_says_how_to_get_it() {
    let mut oracle = Oracle::start();
    let input = Input::usual(66, 10, &mut oracle);
    let redis = Server::start("redis", &[]);
    let servers = Servers { redis: redis.address(), ..Servers::shared() };
    let site = Site::without_tables(Plan::on(servers, 1), input);
    let refused = |more: &[&str]| {
        let mut job = site.start_with(1, None, more);
        wait_for("a refusal", || job.over()).with(1)
    };
    refused(&[]).says(&format!("create '{}-", site.name));
    site.make_tables();
    refused(&["--set", "kafka.clicks=nowhere"]).says("topics create nowhere");
    refused(&["--set", "kafka.start=job:nobody"]).says("nobody");
    let config = |policy| {
        let set = redis::cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg(policy).clone();
        let _: String = site.ask(&set).unwrap();
    };
    config("allkeys-lru");
    refused(&[]).says("maxmemory-policy");
    config("noeviction");
    let mut job = site.start(1);
    site.flow(66, false).rest();
    site.wait_until_done(&mut job);
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::None);
}
