//! Every key, every rule and every mistake of the configuration. What the keys do in the job is
//! tested where they act.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::raw::KEYS;
use super::*;

const SERVERS: [&str; 3] = [
    "kafka.properties.bootstrap.servers=127.0.0.1:9092",
    "hbase.thrift=127.0.0.1:9090",
    "redis.url=redis://127.0.0.1:6379/10",
];

/// For every key a value that is not its default.
const OTHER: [(&str, &str); 34] = [
    ("job", "trial"),
    ("dataflows", r#"["hot", "recall"]"#),
    ("kafka.clicks", "clicks"),
    ("kafka.articles", "articles"),
    ("kafka.start", "2019-04-10T18:15:32+08:00"),
    ("kafka.on_gap", "skip"),
    ("kafka.properties.bootstrap.servers", "kafka:9092"),
    ("kafka.properties.group.id", "tools"),
    ("hbase.thrift", r#"["a:1", "[::1]:2"]"#),
    ("hbase.tls", "true"),
    ("hbase.tables.similar", "trial:article_similar"),
    ("hbase.tables.cb_recall", "trial_recall"),
    ("hbase.tables.history_recall", "trial_history"),
    ("redis.url", r#"["redis://a", "redis://b:6380/0"]"#),
    ("redis.hot", "trial:{channel}:hot"),
    ("redis.new", "trial:{channel}:new"),
    ("redis.replicas", "1"),
    ("store.path", "/var/lib/store"),
    ("recall.neighbours", "20"),
    ("recall.order", "ascending"),
    ("recall.refresh", "1h"),
    ("recall.history_age", "5m"),
    ("hot.weights.click", "0"),
    ("hot.weights.collect", "5"),
    ("hot.weights.share", "1000000"),
    ("epoch.interval", "10ms"),
    ("epoch.records", "1"),
    ("epoch.in_flight", "1"),
    ("cluster.secret", "1234"),
    ("cluster.silence", "10s"),
    ("cluster.restart_wait", "1m"),
    ("dead_letters.path", "/var/lib/dead"),
    ("dead_letters.topic", "dead"),
    ("http.listen", "[::1]:0"),
];

fn strings(sets: &[&str]) -> Vec<String> {
    sets.iter().map(|set| (*set).to_owned()).collect()
}

fn live(sets: &[&str]) -> Result<Config, Mistakes> {
    Config::load(None, &strings(&[&SERVERS, sets].concat()), Need::Everything)
}

/// What is said of these arguments alone, but for missing servers.
fn said(sets: &[&str]) -> String {
    Config::load(None, &strings(sets), Need::Nothing)
        .map_or_else(|m| m.to_string(), |_| String::new())
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// What is said of a file with this text, its folder left out.
fn said_of(text: &str, need: Need) -> Vec<String> {
    let (folder, path) = file(text);
    let folder = format!("{}/", folder.path().display());
    match Config::load(Some(&path), &[], need) {
        Ok(_) => Vec::new(),
        Err(mistakes) => {
            mistakes.to_string().replace(&folder, "").lines().map(str::to_owned).collect()
        }
    }
}

fn example() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/job.toml"))
}

#[test]
fn the_example_holds_the_defaults() {
    let mut example = Config::load(Some(&example()), &[], Need::Everything).unwrap();
    assert_eq!(example.kafka.file.take(), Some(self::example()));
    assert_eq!(example, live(&[]).unwrap());
    assert_eq!(example.settings, Settings::default());
}

#[test]
fn the_example_names_every_key_with_its_default_and_a_comment() {
    let text = fs::read_to_string(example()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let mut table = String::new();
    let mut found = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = format!("{name}.");
        } else if let Some((name, value)) = line.split_once(" = ") {
            let block = lines[..index].iter().rposition(|line| line.is_empty()).unwrap();
            let explained = lines[block..index].iter().any(|line| line.starts_with("# "));
            assert!(explained, "{line}");
            found.insert(format!("{table}{}", name.replace('"', "")), value);
        }
    }
    for key in KEYS {
        assert!(found.contains_key(key), "{key}");
    }
    let store = Config::load(None, &strings(&["store={}"]), Need::Outside).unwrap();
    let written = format!("store.path={}", found["store.path"]);
    assert_eq!(store, Config::load(None, &[written], Need::Outside).unwrap());
}

#[test]
fn every_key_can_be_set_and_changes_the_configuration() {
    let keys = KEYS.iter().filter(|key| !OTHER.iter().any(|(other, _)| other == *key));
    assert_eq!(keys.collect::<Vec<_>>(), Vec::<&&str>::new(), "keys without a test");
    for (key, value) in OTHER {
        let of_servers = |set: &&&str| key != "store.path" && !set.starts_with(key);
        let mut sets: Vec<_> = SERVERS.iter().filter(of_servers).map(ToString::to_string).collect();
        let toml = value.parse::<toml::Value>().is_ok() && key != "cluster.secret";
        let value = if toml { value.to_owned() } else { format!("{value:?}") };
        let (_folder, path) = file(&format!("{key} = {value}"));
        let written = Config::load(Some(&path), &sets, Need::Nothing).unwrap();

        fs::write(&path, if key == "store.path" { "[store]" } else { "" }).unwrap();
        sets.extend(SERVERS.iter().filter(|_| key != "store.path").map(ToString::to_string));
        let default = Config::load(Some(&path), &sets, Need::Nothing).unwrap();
        sets.push(format!("{key}={value}"));
        let set = Config::load(Some(&path), &sets, Need::Nothing).unwrap();
        assert_ne!(set, default, "{key}");
        assert_eq!(set, written, "{key}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_line() {
    let text = r#"jop = "recall"
dataflows = ["hot", "hot"]
interval = "10ms"
[kafka]
on_gap = "skipp"
topics = ["a"]
[epochs]
interval = "5s"
[epoch]
intervall = "50ms"
records = 0
in_flight = "8"
[redis]
url = ["redis://a/1"]
hot = "ch:hot"
tables = 1
[hot]
weights = { click = -1, share = 0.5, like = 1 }
[recall]
refresh = 10
[recal]
[http]
listen = "9464"
"#;
    let expected = r#"
job.toml:1: unknown key jop; did you mean job?
job.toml:2: dataflows is ["hot", "hot"]; allowed: a list of "hot", "new" and "recall", at least one, none twice
job.toml:3: unknown key interval; did you mean epoch.interval?
job.toml:5: kafka.on_gap is "skipp"; allowed: "stop" or "skip"
job.toml:6: unknown key kafka.topics; did you mean dead_letters.topic?
job.toml:7: unknown key epochs; did you mean epoch?
job.toml:10: unknown key epoch.intervall; did you mean epoch.interval?
job.toml:11: epoch.records is 0; allowed: a whole number from 1
job.toml:12: epoch.in_flight is "8"; allowed: a whole number from 1
job.toml:14: redis.url is not what it may be; allowed: redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// likewise, or for a Cluster a list of them, without a database but 0
job.toml:15: redis.hot is "ch:hot"; allowed: a key with {channel} in it once, no other brace, not below "online-recall:"
job.toml:16: unknown key redis.tables; did you mean hbase.tables?
job.toml:18: unknown key hot.weights.like
job.toml:18: hot.weights.click is -1; allowed: a whole number from 0 to 1000000
job.toml:18: hot.weights.share is 0.5; allowed: a whole number from 0 to 1000000
job.toml:20: recall.refresh is 10; allowed: a whole number of ms, s, m or h up to a year, such as "50ms"
job.toml:21: unknown key recal; did you mean recall?
job.toml:23: http.listen is "9464"; allowed: ADDRESS:PORT, such as "127.0.0.1:9464"
job.toml: kafka.properties.bootstrap.servers is missing; Kafka's servers, such as "127.0.0.1:9092"
job.toml: hbase.thrift is missing; such as ["127.0.0.1:9090"], unless there is [store]"#;
    assert_eq!(
        said_of(text, Need::Everything).join(
            "
"
        ),
        expected.trim_start()
    );
}

#[test]
fn every_rule_of_a_value_holds() {
    let long = "x".repeat(65);
    let refused = [
        ("job", &["", "a b", "ü", &long, r#"["a"]"#] as &[&str]),
        ("dataflows", &["[]", "hott", "5", r#"["hot", 1]"#]),
        ("kafka.clicks", &["", "a/b", "..", "new-article"]),
        ("kafka.start", &["first", "2019-04-10", "job:", "job:recall", "job:a b"]),
        ("kafka.on_gap", &["true", ""]),
        ("kafka.properties.auto.offset.reset", &["earliest", "latest"]),
        ("kafka.properties.isolation.level", &["read_uncommitted"]),
        ("kafka.properties.enable.auto.commit", &["true", "1"]),
        ("kafka.properties.enable.auto.offset.store", &["true"]),
        ("kafka.properties.bootstrap.servers", &["", "[]"]),
        ("kafka.properties", &["1"]),
        (
            "hbase.thrift",
            &["[]", "a", "a:0", "a:+1", "a:99999", "a b:1", "::1:9090", r#"["a:1", 5]"#],
        ),
        ("hbase.tls", &[r#""true""#, "1"]),
        ("hbase.tables.similar", &["", "a b", ":a", "-a"]),
        (
            "redis.url",
            &[
                "",
                "[]",
                "127.0.0.1:6379",
                "http://a",
                "redis://",
                "redis://a:b",
                "redis://a/x",
                r#"["redis://a", "redis://b/10"]"#,
            ],
        ),
        (
            "redis.hot",
            &[
                "ch",
                "{channel}{channel}",
                "{ch}:{channel}",
                "online-recall:{channel}",
                "ch:{channel}:new",
            ],
        ),
        ("redis.replicas", &["-1", "4294967296", "one"]),
        ("store.path", &["", "[]"]),
        ("recall.neighbours", &["0", "-1", "1.0", "99999999999999999999"]),
        ("recall.order", &["Descending", "down"]),
        ("hot.weights.click", &["-1", "1000001", "0.5", r#""1""#]),
        (
            "epoch.interval",
            &[
                "0ms",
                "50",
                "ms",
                "-5s",
                "1d",
                "1.5s",
                "5 s",
                "8761h",
                "99999999999999999999ms",
                "9999999999999999999h",
            ],
        ),
        ("epoch.records", &["0"]),
        ("epoch.in_flight", &["0"]),
        ("cluster.secret", &[r#""""#]),
        ("dead_letters.topic", &["a b", "click-trace", "new-article"]),
        ("http.listen", &["9464", "a:b", ":9464", "[a]:1"]),
    ];
    for (key, values) in refused {
        for value in values {
            let said = said(&[&format!("{key}={value}")]);
            assert!(said.starts_with(&format!("--set {key}: ")), "{key}={value}: {said}");
            assert!(said.contains(key) && !said.contains('\n'), "{key}={value}: {said}");
        }
    }
    let taken = [
        "job=7",
        "dataflows=new",
        "kafka.start=job:other",
        "kafka.start=latest",
        "kafka.properties.auto.offset.reset=error",
        "kafka.properties.enable.auto.commit=false",
        "redis.url=rediss://me:p%40ss@[::1]:6379/10?protocol=resp3",
        "redis.url=redis://localhost",
        "epoch.interval=8760h",
        "http.listen=localhost:0",
        "hot.weights={click=2}",
    ];
    for set in taken {
        assert_eq!(said(&[set]), "", "{set}");
    }
}

#[test]
fn what_excludes_each_other_cannot_stand_together() {
    let both = [
        (vec!["store.path=s", "hbase.tls=true"], "--set store.path: store and hbase cannot"),
        (vec!["redis.replicas=1", "store={}"], "--set store: store and redis cannot"),
        (
            vec!["dead_letters.path=d", "dead_letters.topic=t"],
            "--set dead_letters.topic: dead_letters",
        ),
        (
            vec!["kafka.articles=click-trace"],
            "--set kafka.articles: kafka.clicks and kafka.articles",
        ),
    ];
    for (sets, expected) in both {
        assert!(said(&sets).starts_with(expected), "{sets:?}: {}", said(&sets));
    }
}

#[test]
fn only_what_a_command_needs_must_be_named() {
    let missing = |sets: &[&str], need| match Config::load(None, &strings(sets), need) {
        Ok(_) => 0,
        Err(mistakes) => mistakes.0.len(),
    };
    let none: [&str; 0] = [];
    assert_eq!(missing(&none, Need::Nothing), 0);
    assert_eq!(missing(&none, Need::Kafka), 1);
    assert_eq!(missing(&none, Need::Outside), 2);
    assert_eq!(missing(&none, Need::Everything), 3);
    assert_eq!(missing(&["store.path=s"], Need::Outside), 0);
    assert_eq!(missing(&["redis.url=redis://a", "dataflows=hot"], Need::Outside), 0);
    assert_eq!(live(&[]).unwrap().kafka.group, live(&[]).unwrap().job);
    let nothing = Config::load(None, &[], Need::Nothing).unwrap();
    assert_eq!(nothing.outside, None);
}

#[test]
fn an_argument_replaces_the_file_and_an_earlier_argument() {
    let (_folder, path) = file(
        "job = 'a'
[epoch]
records = 1",
    );
    let sets = strings(&["epoch.records=2", " epoch . records = 3 ", "job=\"b=c\"", "job='c'"]);
    let config = Config::load(Some(&path), &sets, Need::Nothing).unwrap();
    assert_eq!((config.job.as_str(), config.epoch.records), ("c", 3));
    assert_eq!(said(&["job"]), "--set job: write KEY=VALUE, such as epoch.interval=10ms");
    assert!(said(&["=1"]).starts_with("--set : "), "{}", said(&["=1"]));
    assert!(said(&["a b=1"]).starts_with("--set a b: "));
    assert!(
        said(&["epoch.record=1"])
            .ends_with("unknown key epoch.record; did you mean epoch.records?")
    );
}

#[test]
fn properties_are_taken_as_text_with_or_without_quotes() {
    let (_folder, path) = file(
        "[kafka.properties]\n'a.b' = 10_000\nc.d = true\nc.e = 'x'\n[kafka.properties.f]\ng = 0.5",
    );
    let sets = [r#"kafka.properties."bootstrap.servers"=h:1"#, "kafka.properties.f.g=01"];
    let config = Config::load(Some(&path), &strings(&sets), Need::Kafka).unwrap();
    let properties: Vec<_> = config
        .kafka
        .properties
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("a.b", "10000"),
        ("bootstrap.servers", "h:1"),
        ("c.d", "true"),
        ("c.e", "x"),
        ("f.g", "01"),
    ];
    assert_eq!(properties, expected);
    let twice = said_of("[kafka.properties]\n'a.b' = 1\na.b = 2", Need::Nothing);
    assert_eq!(twice, ["job.toml:3: kafka.properties.a.b is written twice"]);
}

#[test]
fn all_that_is_no_toml_is_told_and_nothing_else_is_called_missing() {
    let text = "job = \n[kafka\nclicks = 'a'\njob = 'b'\n[epoch]\nrecords = 0\nrecords = 1\nx";
    let expected = [
        "job.toml:1: string values must be quoted, expected literal string",
        "job.toml:2: unclosed table, expected `]`",
        "job.toml:6: epoch.records is 0; allowed: a whole number from 1",
        "job.toml:7: duplicate key",
        "job.toml:8: key with no value, expected `=`",
    ];
    assert_eq!(said_of(text, Need::Everything), expected);
}

#[test]
fn a_secret_is_put_in_and_never_shown() {
    let (folder, path) = file(
        r#"
        job = "${env:CARGO_PKG_NAME}"
        redis.url = "redis://me:${file:password}@localhost/10"
        cluster.secret = "${file:./secret}"
        kafka.properties."sasl.password" = "plain-password"
        kafka.properties."bootstrap.servers" = "${env:CARGO_PKG_NAME}:9092"
        kafka.properties."client.id" = "a-${file:secret}"
        hbase.thrift = ["${env:CARGO_PKG_NAME}:9090"]
        "#,
    );
    fs::write(folder.path().join("secret"), "hush hush\r\n").unwrap();
    fs::write(folder.path().join("password"), "p@ss\n").unwrap();
    let config = Config::load(Some(&path), &[], Need::Everything).unwrap();
    assert_eq!(config.job.as_str(), env!("CARGO_PKG_NAME"));
    assert_eq!(config.cluster.secret.as_ref().unwrap().as_str(), "hush hush");
    assert_eq!(config.kafka.properties["client.id"].as_str(), "a-hush hush");
    assert_eq!(config.kafka.properties["sasl.password"].as_str(), "plain-password");
    let Some(Outside::Servers { redis: Redis { nodes: Nodes::Server(url), .. }, .. }) =
        &config.outside
    else {
        panic!("servers are named");
    };
    assert_eq!(url.as_str(), "redis://me:p@ss@localhost/10");
    assert_eq!(url.shown(), "redis://me:${file:password}@localhost/10");
    let shown = format!("{config:?} {config:#?}");
    for secret in ["hush", "p@ss", "plain-password"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_secret_that_is_written_out_is_hidden_and_warned_of() {
    let sets = [
        "cluster.secret=hush",
        r#"redis.url=["redis://me:hush@a", "redis://:h${env:CARGO_PKG_NAME}ush@b/0"]"#,
        "kafka.properties.ssl.key.password=hush",
    ];
    let examined = Examined::new(None, &strings(&sets), Need::Nothing);
    let shown = format!("{examined:?}");
    assert!(!shown.contains("hush") && !shown.contains("ush@"), "{shown}");
    let warned: Vec<_> = examined.warnings.iter().map(|warning| warning.at.to_string()).collect();
    let expected =
        ["cluster.secret", "kafka.properties.ssl.key.password", "redis.url", "redis.url"];
    assert_eq!(warned, expected.map(|key| format!("--set {key}")));
    let said = said(&["cluster.secret=['hush']", "redis.url=redis://me:hush@", "redis.url=hush"]);
    assert!(!said.contains("hush"), "{said}");
}

#[test]
fn a_reference_that_leads_nowhere_is_a_mistake_with_its_line() {
    let text = "job = '${env:NO_SUCH_VARIABLE}'\n[cluster]\nsecret = '${file:none}'\n[store]\npath = '${evn:X}'";
    let said = said_of(text, Need::Nothing);
    assert_eq!(
        said[0],
        r#"job.toml:1: job: the environment has no variable "NO_SUCH_VARIABLE" that is UTF-8"#
    );
    assert!(said[1].starts_with("job.toml:3: cluster.secret: cannot read none: "), "{}", said[1]);
    let reference = "job.toml:5: store.path: `${` begins neither ${env:NAME} nor ${file:PATH}";
    assert_eq!(said[2..], [reference]);
}

#[test]
fn a_file_that_cannot_be_read_is_the_only_mistake() {
    let mistakes =
        Config::load(Some(Path::new("no/such.toml")), &[], Need::Everything).unwrap_err();
    assert!(mistakes.to_string().starts_with("no/such.toml: cannot read the configuration: "));
    assert_eq!(mistakes.0.len(), 1);
}
