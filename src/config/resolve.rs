//! From what was written to what is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use dataflows::{Order, Settings, Weights};

use super::raw::{PROPERTIES, RawConfig};
use super::reader::{NOT_EMPTY, Reader, Value, is_secret};
use super::servers::{is_job, is_score_key, is_table, is_topic, redis_database, redis_password};
use super::{
    Address, Cluster, Config, DeadLetters, Epoch, Examined, Fault, Hbase, Kafka, Mistake, Need,
    Nodes, OnGap, Outside, Redis, Risk, Start, Text,
};

/// The properties that a file may write, though only as the job sets them anyway: design §2.
const FIXED: [(&str, &str, &str); 5] = [
    ("auto.offset.reset", "error", r#"only "error": the job itself says where it reads"#),
    ("isolation.level", "read_committed", r#"only "read_committed""#),
    ("enable.auto.commit", "false", "only false: the job's place stands in its ledger"),
    ("auto.commit.enable", "false", "only false: the job's place stands in its ledger"),
    ("enable.auto.offset.store", "false", "only false: the job's place stands in its ledger"),
];

const SERVERS: &str = r#"a list of HOST:PORT, such as ["127.0.0.1:9090"]"#;
const SCORE_KEY: &str =
    r#"a key with {channel} in it once, no other brace, not below "online-recall:""#;
const TOPIC: &str = "a topic: 1 to 249 letters, digits, _, . and -";
const TABLE: &str = "a table: TABLE or NAMESPACE:TABLE";

/// Checks and resolves what was written. `mistakes` are those of the writing.
pub(super) fn resolve(raw: RawConfig, mistakes: Vec<Mistake>, need: Need) -> Examined {
    let mut keys = Reader::new(raw, mistakes);
    let config = config(&mut keys, need);
    let (mut mistakes, mut warnings) = keys.findings();
    // A line that is no TOML says nothing about values; what was guessed there is no mistake.
    let is_syntax = |mistake: &Mistake| matches!(mistake.what, Fault::Syntax(_));
    let garbled: BTreeSet<_> =
        mistakes.iter().filter(|m| is_syntax(m)).map(|m| m.at.clone()).collect();
    mistakes.retain(|mistake| is_syntax(mistake) || !garbled.contains(&mistake.at));
    mistakes.sort_by(|a, b| a.at.cmp(&b.at));
    warnings.sort_by(|a, b| a.at.cmp(&b.at));
    Examined { config: if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }, warnings }
}

fn config(keys: &mut Reader, need: Need) -> Config {
    let job = keys.name("job", "recall", "1 to 64 letters, digits, _, . and -", is_job);
    let settings = settings(keys);
    let kafka = kafka(keys, &job, matches!(need, Need::Kafka | Need::Everything));
    let config = Config {
        outside: outside(keys, settings.recall, matches!(need, Need::Outside | Need::Everything)),
        settings,
        refresh: keys.interval("recall.refresh", Duration::from_secs(600)),
        history_age: keys.interval("recall.history_age", Duration::from_secs(3600)),
        epoch: Epoch {
            interval: keys.interval("epoch.interval", Duration::from_millis(50)),
            records: keys.whole("epoch.records", 10_000, 1..=u64::MAX, "a whole number from 1"),
            in_flight: keys.whole("epoch.in_flight", 8, 1..=u64::MAX, "a whole number from 1"),
        },
        cluster: Cluster {
            secret: keys.secret("cluster.secret"),
            silence: keys.interval("cluster.silence", Duration::from_secs(5)),
            restart_wait: keys.interval("cluster.restart_wait", Duration::from_secs(30)),
        },
        dead_letters: dead_letters(keys, &kafka),
        listen: keys
            .parsed("http.listen", r#"ADDRESS:PORT, such as "127.0.0.1:9464""#, Address::parse)
            .unwrap_or(Address { host: "127.0.0.1".to_owned(), port: 9464 }),
        kafka,
        job,
    };
    look_twice(keys, &config);
    config
}

fn settings(keys: &mut Reader) -> Settings {
    let default = Settings::default();
    let allowed = r#"a list of "hot", "new" and "recall", at least one, none twice"#;
    let dataflows = keys.read("dataflows", allowed, |value| {
        let names: Vec<_> = value.list()?.iter().map(Text::as_str).collect();
        let set: BTreeSet<_> = names.iter().copied().collect();
        let known = names.iter().all(|name| ["hot", "new", "recall"].contains(name));
        let has = ["hot", "new", "recall"].map(|name| set.contains(name));
        (known && set.len() == names.len() && !set.is_empty()).then_some(has)
    });
    let [hot, new, recall] = dataflows.unwrap_or([default.hot, default.new, default.recall]);
    let mut weight =
        |key, default| keys.whole(key, default, 0..=1_000_000, "a whole number from 0 to 1000000");
    let weights = Weights {
        click: weight("hot.weights.click", default.weights.click),
        collect: weight("hot.weights.collect", default.weights.collect),
        share: weight("hot.weights.share", default.weights.share),
    };
    let neighbours = keys.whole(
        "recall.neighbours",
        default.neighbours,
        1..=usize::MAX,
        "a whole number from 1",
    );
    let order =
        keys.parsed("recall.order", r#""descending" or "ascending""#, |order| match order {
            "descending" => Some(Order::Descending),
            "ascending" => Some(Order::Ascending),
            _ => None,
        });
    let order = order.unwrap_or(default.order);
    Settings { hot, new, recall, weights, neighbours, order }
}

fn kafka(keys: &mut Reader, job: &Text, needed: bool) -> Kafka {
    let clicks = keys.name("kafka.clicks", "click-trace", TOPIC, is_topic);
    let articles = keys.name("kafka.articles", "new-article", TOPIC, is_topic);
    if clicks.as_str() == articles.as_str() {
        let why = "a topic holds records of one kind";
        keys.both("kafka.clicks", "kafka.articles", why);
    }
    let allowed = r#""earliest", "latest", a time such as "2019-04-10T18:15:32Z", or "job:NAME" of another job"#;
    let start = keys.parsed("kafka.start", allowed, |start| match start {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        _ => match start.strip_prefix("job:") {
            Some(name) if is_job(name) && name != job.as_str() => Some(Start::Job(name.to_owned())),
            Some(_) => None,
            None => start.parse().ok().map(Start::Time),
        },
    });
    let on_gap = keys.parsed("kafka.on_gap", r#""stop" or "skip""#, |what| match what {
        "stop" => Some(OnGap::Stop),
        "skip" => Some(OnGap::Skip),
        _ => None,
    });
    let mut properties = properties(keys);
    if needed {
        let why = r#"Kafka's servers, such as "127.0.0.1:9092""#;
        keys.require("kafka.properties.bootstrap.servers", why);
    }
    Kafka {
        clicks,
        articles,
        start: start.unwrap_or(Start::Earliest),
        on_gap: on_gap.unwrap_or(OnGap::Stop),
        group: properties.remove("group.id").unwrap_or_else(|| job.clone()),
        properties,
        file: keys.file().map(Path::to_owned),
    }
}

fn properties(keys: &mut Reader) -> BTreeMap<String, Text> {
    let mut properties = BTreeMap::new();
    for key in keys.properties() {
        let name = &key[PROPERTIES.len() + 1..];
        let fixed = FIXED.iter().find(|(fixed, ..)| *fixed == name);
        let filled = ["bootstrap.servers", "group.id"].contains(&name);
        let allowed = match fixed {
            Some((_, _, allowed)) => allowed,
            None if filled => NOT_EMPTY,
            None => "a string, a number or a boolean",
        };
        let property = keys.read(&key, allowed, |value| {
            let text = match value {
                Value::Text(text) | Value::Scalar { text, .. } => text.clone(),
                Value::Texts(_) | Value::Other => return None,
            };
            let fits = fixed.is_none_or(|(_, only, _)| text.as_str() == *only);
            (fits && !(filled && text.as_str().is_empty())).then_some(text)
        });
        if let Some(mut text) = property {
            if is_secret(&key) {
                keys.conceal(&key, &mut text, |shown| Some(0..shown.len()));
            }
            properties.insert(name.to_owned(), text);
        }
    }
    properties
}

fn outside(keys: &mut Reader, recall: bool, needed: bool) -> Option<Outside> {
    let path = keys.name("store.path", "./store", NOT_EMPTY, |path| !path.is_empty());
    let hbase = hbase(keys);
    let redis = redis(keys);
    if keys.has("store") {
        for other in ["hbase", "redis"] {
            if keys.has(other) {
                keys.both("store", other, "the embedded store takes the place of both servers");
            }
        }
        return Some(Outside::Embedded { path });
    }
    if needed && recall {
        keys.require("hbase.thrift", r#"such as ["127.0.0.1:9090"], unless there is [store]"#);
    }
    if needed {
        keys.require(
            "redis.url",
            r#"such as "redis://127.0.0.1:6379/10", unless there is [store]"#,
        );
    }
    redis.filter(|_| hbase.is_some() || !recall).map(|redis| Outside::Servers { redis, hbase })
}

fn hbase(keys: &mut Reader) -> Option<Hbase> {
    let thrift = keys.read("hbase.thrift", SERVERS, |value| {
        let servers = value.list()?.iter().map(|server| Address::parse(server.as_str()));
        let servers: Vec<_> = servers.collect::<Option<_>>()?;
        let fit = !servers.is_empty() && servers.iter().all(|server| server.port != 0);
        fit.then_some(servers)
    });
    let tls = keys.read("hbase.tls", "true or false", |value| value.scalar()?.as_bool());
    let tls = tls.unwrap_or(false);
    let mut table = |key, default| keys.name(key, default, TABLE, is_table);
    let similar = table("hbase.tables.similar", "article_similar");
    let cb_recall = table("hbase.tables.cb_recall", "cb_recall");
    let history_recall = table("hbase.tables.history_recall", "history_recall");
    thrift.map(|thrift| Hbase { thrift, tls, similar, cb_recall, history_recall })
}

fn redis(keys: &mut Reader) -> Option<Redis> {
    let allowed = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// likewise, or for a \
                   Cluster a list of them, without a database but 0";
    let nodes =
        keys.read("redis.url", allowed, |value| {
            let urls = value.list()?;
            let alone = !matches!(value, Value::Texts(_));
            let fits = |url: &Text| {
                redis_database(url.as_str()).is_some_and(|database| alone || database == 0)
            };
            let fit = !urls.is_empty() && urls.iter().all(fits);
            fit.then(|| {
                if alone { Nodes::Server(urls[0].clone()) } else { Nodes::Cluster(urls.into()) }
            })
        });
    let hot = keys.name("redis.hot", "ch:{channel}:hot", SCORE_KEY, is_score_key);
    let new = keys.name("redis.new", "ch:{channel}:new", SCORE_KEY, is_score_key);
    if hot.as_str() == new.as_str() {
        keys.both("redis.hot", "redis.new", "they would be one key");
    }
    let replicas =
        keys.whole("redis.replicas", 0, 0..=u32::MAX, "a whole number from 0 to 4294967295");
    let mut nodes = nodes?;
    let urls = match &mut nodes {
        Nodes::Server(url) => std::slice::from_mut(url),
        Nodes::Cluster(urls) => urls,
    };
    for url in urls {
        keys.conceal("redis.url", url, redis_password);
    }
    Some(Redis { nodes, hot, new, replicas })
}

fn dead_letters(keys: &mut Reader, kafka: &Kafka) -> DeadLetters {
    let folder = "dead_letters.path";
    let path = keys.name(folder, "./dead-letters", NOT_EMPTY, |path| !path.is_empty());
    let key = "dead_letters.topic";
    let topic =
        keys.read(key, TOPIC, |value| value.text().filter(|t| is_topic(t.as_str())).cloned());
    let Some(topic) = topic else { return DeadLetters::Folder(path) };
    if keys.has(folder) {
        keys.both(key, folder, "dead letters go to one of them");
    }
    for (source, read) in [("kafka.clicks", &kafka.clicks), ("kafka.articles", &kafka.articles)] {
        if read.as_str() == topic.as_str() {
            keys.both(key, source, "the job would read its own dead letters");
        }
    }
    DeadLetters::Topic(topic)
}

/// Warns of what is allowed, and yet worth a second look.
fn look_twice(keys: &mut Reader, config: &Config) {
    if !config.listen.is_loopback() {
        keys.warn("http.listen", Risk::Open(config.listen.to_string()));
    }
    let held = config.epoch.records.saturating_mul(config.epoch.in_flight);
    if held > 10_000_000 {
        let of_records = keys.has("epoch.records");
        let key = if of_records { "epoch.records" } else { "epoch.in_flight" };
        keys.warn(key, Risk::Large(held));
    }
}
