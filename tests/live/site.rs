//! A site of one test: topics, tables, keys and a job of its own, on servers that it may share.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use online_recall::config::{self, Config, Need, Outside};
use online_recall::ledger::Binding;
use online_recall::redis::Rows;
use online_recall::retry::Stop;
use rdkafka::consumer::BaseConsumer;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::kafka::{Sender, Topics};
use testing::program::{self, Outcome};
use testing::servers;

use super::flow::Flow;
use super::input::Input;
use super::job::{Ended, Job};
use super::topics;

/// How long something may take on a machine that is busy besides; only what hangs takes longer.
const LONG: Duration = Duration::from_secs(240);

/// How long is waited between two looks.
const SHORT: Duration = Duration::from_millis(50);

/// Lets time pass: for so long a fault lasts, or nobody clicks. Nothing is judged by it.
pub fn pause(time: Duration) {
    Stop::default().wait(time);
}

/// Where clients reach servers.
#[derive(Clone)]
pub struct Servers {
    /// Brokers, as `bootstrap.servers` takes them.
    pub kafka: String,
    /// Addresses, of which several are a Cluster; or a url.
    pub redis: String,
    pub hbase: String,
}

impl Servers {
    /// Those that all tests share.
    pub fn shared() -> Servers {
        std::thread::scope(|threads| {
            let kafka = threads.spawn(|| servers::kafka().address());
            let redis = threads.spawn(|| servers::redis().address());
            let hbase = threads.spawn(|| servers::hbase().address());
            let [kafka, redis, hbase] = [kafka, redis, hbase].map(|it| it.join().unwrap());
            Servers { kafka, redis, hbase }
        })
    }
}

/// What a site is like.
pub struct Plan {
    /// Where the servers are.
    pub servers: Servers,
    /// Where the job is told that they are: by way of a proxy, perhaps.
    pub told: Servers,
    /// How many partitions the topic of clicks has; that of new articles has two.
    pub partitions: i32,
    /// On how many brokers each partition stands.
    pub replicas: i32,
    /// Further lines of the job's file, with whole keys.
    pub lines: Vec<String>,
    /// Whether dead letters go to a topic.
    pub letters_in_topic: bool,
    /// The certificate that the program trusts, besides those of the file.
    pub trusts: Option<PathBuf>,
    /// Settings of the job, as `--set` takes them.
    pub sets: Vec<String>,
    /// The same, where the oracle must know them.
    pub settings: Value,
}

impl Plan {
    /// On shared servers.
    pub fn shared(partitions: i32) -> Plan {
        Plan::on(Servers::shared(), partitions)
    }

    /// On these.
    pub fn on(servers: Servers, partitions: i32) -> Plan {
        // Many small epochs: more between which something may happen.
        let sets = ["epoch.interval=10ms", "epoch.records=40", "recall.history_age=1h"];
        let sets = sets.map(str::to_owned).into();
        Plan {
            told: servers.clone(),
            servers,
            partitions,
            replicas: 1,
            lines: Vec::new(),
            letters_in_topic: false,
            trusts: None,
            sets,
            settings: json!({}),
        }
    }
}

/// The host file of a cluster.
pub struct Hosts {
    lines: Vec<String>,
    file: String,
}

impl Hosts {
    /// Its lines.
    pub fn addresses(&self) -> &[String] {
        &self.lines
    }

    /// The name of the file, where the job runs.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Another one, of a process that is to reach the others at these.
    pub fn with(&self, site: &Site, lines: &[&str]) -> Hosts {
        site.host_file(lines.iter().map(ToString::to_string).collect())
    }
}

/// A site.
pub struct Site {
    pub name: String,
    pub topics: Topics,
    pub servers: Servers,
    pub input: Input,
    pub settings: Value,
    sets: Vec<String>,
    /// The topic of dead letters; without one they go to files.
    pub letters: Option<String>,
    trusts: Option<PathBuf>,
    folder: TempDir,
    member: BaseConsumer,
    redis: Mutex<Option<Box<dyn redis::ConnectionLike + Send>>>,
    /// How often the job was started.
    starts: AtomicU32,
    /// How many clicks are produced.
    clicks: AtomicUsize,
}

/// Settings of topics: records of any date and size come in, and stay.
const TOPICS: [(&str, &str); 4] = [
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("max.message.bytes", "8388608"),
    ("retention.ms", "-1"),
];

impl Site {
    /// Makes topics and tables, and loads the tables.
    #[track_caller]
    pub fn new(plan: Plan, input: Input) -> Site {
        let site = Site::without_tables(plan, input);
        site.make_tables();
        site
    }

    /// Makes topics.
    #[track_caller]
    pub fn without_tables(plan: Plan, input: Input) -> Site {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let Plan {
            servers,
            told,
            partitions,
            replicas,
            mut lines,
            letters_in_topic,
            trusts,
            sets,
            settings,
        } = plan;
        let name = format!("live-{}-{nth}", std::process::id());
        let topics = Topics::make_on(&servers.kafka, replicas, partitions, 2, &TOPICS);
        let member = topics.member("whoever-looks");
        let folder = testing::folder();
        let letters = letters_in_topic.then(|| format!("{name}-letters"));
        lines.extend(letters.iter().map(|topic| format!("dead_letters.topic = '{topic}'")));
        let job = format!(
            "job = '{name}'\n\
             kafka.clicks = '{}'\nkafka.articles = '{}'\n\
             kafka.properties.'bootstrap.servers' = '{}'\n\
             hbase.thrift = ['{}']\n\
             hbase.tables = {{ similar = '{name}-s', cb_recall = '{name}-c', history_recall = '{name}-h' }}\n\
             redis.url = {}\n\
             redis.hot = '{name}:{{channel}}:hot'\nredis.new = '{name}:{{channel}}:new'\n\
             http.listen = '127.0.0.1:0'\n{}\n",
            topics.clicks,
            topics.articles,
            told.kafka,
            told.hbase,
            redis_url(&told.redis),
            lines.join("\n"),
        );
        fs::write(folder.path().join("job.toml"), job).unwrap();
        fs::write(folder.path().join("similar.tsv"), &input.similar).unwrap();
        fs::write(folder.path().join("history.tsv"), &input.history).unwrap();
        Site {
            name,
            topics,
            servers,
            input,
            settings,
            sets,
            letters,
            trusts,
            folder,
            member,
            redis: Mutex::default(),
            starts: AtomicU32::new(0),
            clicks: AtomicUsize::new(0),
        }
    }

    /// Makes tables, and loads them.
    #[track_caller]
    pub fn make_tables(&self) {
        self.run("tables create --config job.toml").done();
        self.run("tables load --config job.toml --similar similar.tsv --history history.tsv")
            .done();
    }

    /// The settings of the job, as `--set` takes them.
    pub fn sets(&self) -> &[String] {
        &self.sets
    }

    /// Where the job runs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the program where the job runs.
    #[track_caller]
    pub fn run(&self, line: &str) -> Outcome {
        let mut command = program::command(self.folder(), line.split_ascii_whitespace());
        self.trust(&mut command);
        program::end(command)
    }

    /// Starts the job.
    pub fn start(&self, workers: u32) -> Job {
        self.start_with(workers, None, &[])
    }

    /// Starts the job; it kills itself at this point, and has these arguments besides.
    pub fn start_with(&self, workers: u32, stop_at: Option<&str>, more: &[&str]) -> Job {
        self.begin("run", workers, &stopping(stop_at), more)
    }

    /// Starts the job as a cluster of so many processes, each with so many workers.
    pub fn launch(&self, processes: u32, workers: u32) -> Job {
        self.launch_with(processes, workers, None)
    }

    /// The same; each process kills itself at this point.
    pub fn launch_with(&self, processes: u32, workers: u32, stop_at: Option<&str>) -> Job {
        self.begin("launch", workers, &stopping(stop_at), &["-n", &processes.to_string()])
    }

    /// Starts one process of a cluster.
    pub fn start_in(&self, hosts: &Hosts, index: usize) -> Job {
        self.start_under(hosts, index, &[])
    }

    /// The same, under these variables of the environment.
    pub fn start_under(&self, hosts: &Hosts, index: usize, variables: &[(&str, &str)]) -> Job {
        let (processes, index) = (hosts.lines.len().to_string(), index.to_string());
        let more = ["-n", &processes, "-p", &index, "--hostfile", &hosts.file];
        self.begin("run", 1, variables, &more)
    }

    /// Where so many processes may listen.
    pub fn hosts(&self, processes: usize) -> Hosts {
        self.hosts_at(&vec!["127.0.0.1"; processes])
    }

    /// Where processes on these hosts may listen.
    pub fn hosts_at(&self, hosts: &[&str]) -> Hosts {
        let free: Vec<_> =
            hosts.iter().map(|host| TcpListener::bind((*host, 0)).unwrap()).collect();
        let lines: Vec<_> = free.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
        self.host_file(lines)
    }

    fn host_file(&self, lines: Vec<String>) -> Hosts {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let file = format!("hosts-{}", FILES.fetch_add(1, Ordering::Relaxed));
        fs::write(self.folder().join(&file), lines.join("\n")).unwrap();
        Hosts { lines, file }
    }

    fn begin(&self, command: &str, workers: u32, variables: &[(&str, &str)], more: &[&str]) -> Job {
        let nth = self.starts.fetch_add(1, Ordering::Relaxed);
        let workers = workers.to_string();
        let mut args = vec!["-w", &workers];
        args.extend(self.sets.iter().flat_map(|set| ["--set", set]));
        args.extend(more);
        let mut command = program::command(self.folder(), [command, "--config", "job.toml"]);
        command.args(args).envs(variables.iter().copied());
        self.trust(&mut command);
        Job::start(command, &self.folder().join(format!("log-{nth}")))
    }

    fn trust(&self, command: &mut Command) {
        if let Some(certificate) = &self.trusts {
            command.env("SSL_CERT_FILE", certificate);
        }
    }

    /// Produces the input, some at a time.
    pub fn flow(&self, seed: u64, keyed_by_user: bool) -> Flow<'_> {
        let partitions = topics::partitions(&self.member, &self.topics.clicks);
        Flow::new(self, seed, keyed_by_user, usize::try_from(partitions).unwrap())
    }

    /// Lets the job work on what comes by and by while this befalls it, and then on the rest.
    #[track_caller]
    pub fn meanwhile(&self, seed: u64, job: &mut Job, befalls: impl FnOnce(&mut Job)) {
        let mut flow = self.flow(seed, false);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| flow.rest_slowly_until(&is_over));
            // Also where it fails.
            let _over = OnDrop(|| is_over.store(true, Ordering::Relaxed));
            self.wait_for_mark(job, 3);
            befalls(job);
        });
        self.wait_until_done(job);
    }

    /// Sends to its topics.
    pub fn sender(&self) -> Sender {
        self.topics.producer(&[("message.max.bytes", "8388608")])
    }

    /// Notes that so many clicks are produced.
    pub fn flowed(&self, clicks: usize) {
        self.clicks.store(clicks, Ordering::Relaxed);
    }

    /// Where the partitions of clicks, and those of new articles, end.
    pub fn ends(&self) -> [Vec<u64>; 2] {
        [&self.topics.clicks, &self.topics.articles].map(|topic| topics::ends(&self.member, topic))
    }

    /// Waits until all that was produced is done, as the ledger says. Returns the job, unless it ended.
    #[track_caller]
    pub fn wait_until_done(&self, job: &mut Job) {
        let ends = self.ends();
        self.wait_while_it_runs("the end of what was produced", job, || {
            self.progress(&ends).is_some_and(|progress| progress.is_done).then_some(())
        });
    }

    /// Waits until the mark has passed so many epochs.
    #[track_caller]
    pub fn wait_for_mark(&self, job: &mut Job, epochs: u64) {
        self.wait_while_it_runs("a mark", job, || (self.mark() >= epochs).then_some(()));
    }

    /// Waits until the mark has passed so many epochs more.
    #[track_caller]
    pub fn wait_for_more(&self, job: &mut Job, epochs: u64) {
        let standing = self.mark();
        self.wait_for_mark(job, standing + epochs);
    }

    /// The last epoch wholly done; 0 before the first.
    #[track_caller]
    pub fn mark(&self) -> u64 {
        let nowhere = [Vec::new(), Vec::new()];
        self.progress(&nowhere).map_or(0, |progress| progress.mark)
    }

    /// Whether there is more to be produced.
    pub fn flows(&self) -> bool {
        self.clicks.load(Ordering::Relaxed) < self.input.clicks.len()
    }

    /// The epochs that the ledger binds.
    #[track_caller]
    pub fn bindings(&self) -> Vec<Binding> {
        self.bindings_of(&self.name)
    }

    /// The epochs that another job's ledger binds.
    #[track_caller]
    pub fn bindings_of(&self, job: &str) -> Vec<Binding> {
        self.ledger_of(job).bindings.into_values().collect()
    }

    /// The last epochs that were applied to score keys, as the key marks say.
    pub fn key_marks(&self) -> Vec<u64> {
        let pattern = format!("online-recall:{}:{{*}}", self.name);
        let keys: Vec<String> = self.ask(redis::cmd("KEYS").arg(pattern)).unwrap();
        let epoch = |key: String| {
            let mark: String = self.ask(redis::cmd("GET").arg(key)).unwrap();
            mark.split(' ').next().unwrap().parse().unwrap()
        };
        keys.into_iter().map(epoch).collect()
    }

    /// Waits for something that a running job brings about.
    #[track_caller]
    pub fn wait_while_it_runs<T>(
        &self,
        what: &str,
        job: &mut Job,
        mut look: impl FnMut() -> Option<T>,
    ) -> T {
        let begun = Instant::now();
        loop {
            let over = job.over();
            if let Some(found) = look() {
                return found;
            }
            if let Some(over) = over {
                panic!("{what} does not come: {over}");
            }
            assert!(begun.elapsed() < LONG, "{what} does not come:\n{}", job.log());
            std::thread::park_timeout(SHORT);
        }
    }

    /// How far the job has come, if Redis says so.
    pub fn progress(&self, ends: &[Vec<u64>; 2]) -> Option<Progress> {
        let mut fields = vec!["bound".to_owned(), "mark".to_owned()];
        let topics = [("clicks", &self.topics.clicks), ("articles", &self.topics.articles)];
        for ((kind, topic), ends) in topics.iter().zip(ends) {
            fields.extend((0..ends.len()).map(|partition| format!("{kind} {topic}/{partition}")));
        }
        let values: Vec<Option<String>> = self.ask(
            redis::cmd("HMGET").arg(format!("online-recall:{{{}}}:ledger", self.name)).arg(&fields),
        )?;
        let epoch = |dated: &str| dated.split(' ').next()?.parse::<u64>().ok();
        let (bound, mark) = (epoch(values[0].as_deref()?)?, epoch(values[1].as_deref()?)?);
        let reached = values[2..].iter().map(|value| {
            let value: Option<Value> = value.as_deref().map(|it| serde_json::from_str(it).unwrap());
            value.and_then(|value| value[0].as_u64()).unwrap_or(0)
        });
        let is_done = bound == mark && reached.eq(ends.iter().flatten().copied());
        Some(Progress { bound, mark, is_done })
    }

    /// Asks Redis; nothing, if it does not answer.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut kept = self.redis.lock().unwrap();
        if kept.is_none() {
            *kept = connect(&self.servers.redis);
        }
        let answer = command.query(&mut **kept.as_mut()?).ok();
        if answer.is_none() {
            *kept = None;
        }
        answer
    }

    /// The whole ledger.
    #[track_caller]
    pub fn ledger(&self) -> Rows {
        self.ledger_of(&self.name)
    }

    #[track_caller]
    fn ledger_of(&self, job: &str) -> Rows {
        let redis = redis_of(&self.folder().join("job.toml"), &self.servers.redis);
        let mut job = online_recall::redis::Job::new(&redis, job).unwrap();
        job.read().unwrap().expect("there is a ledger")
    }

    /// Kills the job, and says which epochs were under way: of those an effect may be in doubt.
    pub fn kill(&self, job: Job) -> (Ended, std::ops::RangeInclusive<u64>) {
        let ended = job.kill();
        (ended, self.under_way())
    }

    /// The epochs that are bound and not marked.
    #[track_caller]
    pub fn under_way(&self) -> std::ops::RangeInclusive<u64> {
        let none = [Vec::new(), Vec::new()];
        let progress =
            self.progress(&none).unwrap_or(Progress { bound: 0, mark: 0, is_done: false });
        progress.mark + 1..=progress.bound
    }
}

/// How far a job has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The last binding.
    pub bound: u64,
    /// The mark.
    pub mark: u64,
    /// Nothing is bound above the mark, and it has reached the ends of all partitions.
    pub is_done: bool,
}

/// The variable that lets a job kill itself at a point.
fn stopping(stop_at: Option<&str>) -> Vec<(&str, &str)> {
    stop_at.map(|point| (program::STOP_AT, point)).into_iter().collect()
}

/// What stands for the key `redis.url`.
fn redis_url(redis: &str) -> String {
    if redis.contains("://") {
        format!("'{redis}'")
    } else if redis.contains(',') {
        let urls: Vec<_> = redis.split(',').map(|node| format!("'redis://{node}'")).collect();
        format!("[{}]", urls.join(", "))
    } else {
        format!("'redis://{redis}/10'")
    }
}

fn connect(redis: &str) -> Option<Box<dyn redis::ConnectionLike + Send>> {
    let wait = Some(Duration::from_secs(5));
    if redis.contains(',') {
        let nodes = redis.split(',').map(|node| format!("redis://{node}"));
        let cluster = redis::cluster::ClusterClient::new(nodes).unwrap().get_connection().ok()?;
        cluster.set_read_timeout(wait).unwrap();
        return Some(Box::new(cluster));
    }
    let client = redis::Client::open(format!("redis://{redis}/10")).unwrap();
    let connection = client.get_connection_with_timeout(Duration::from_secs(2)).ok()?;
    connection.set_read_timeout(wait).unwrap();
    Some(Box::new(connection))
}

fn redis_of(job: &Path, redis: &str) -> config::Redis {
    let sets = [format!("redis.url={}", redis_url(redis))];
    let config = Config::load(Some(job), &sets, Need::Outside).unwrap();
    match config.outside.unwrap() {
        Outside::Servers { redis, .. } => redis,
        outside => panic!("{outside:?}"),
    }
}

/// Does something at the end of a block, however that ends.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
