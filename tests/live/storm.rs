//! A storm: a cluster under load, and a seeded series of all that befalls one: processes that are killed or
//! stand still, starts with other numbers, servers that die, stand still or are away. What is left behind is
//! judged once, at the end.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Signal, kill_process};
use testing::kafka::wait_for;
use testing::oracle::Oracle;
use testing::random::Random;
use testing::seeds;
use testing::servers::Server;

use super::input::Input;
use super::job::Job;
use super::judge::Doubts;
use super::site::{Plan, Servers, Site, pause};

/// What a process of a storm may have of memory at most, in MB.
const MEMORY: u64 = 300;

/// Servers of a storm's own: it kills them.
struct Weather {
    kafka: Server,
    redis: Server,
    hbase: Server,
}

impl Weather {
    fn start() -> Weather {
        std::thread::scope(|threads| {
            let started = ["kafka", "redis", "hbase"]
                .map(|name| threads.spawn(move || Server::start(name, &[])));
            let [kafka, redis, hbase] = started.map(|it| it.join().unwrap());
            Weather { kafka, redis, hbase }
        })
    }

    fn servers(&self) -> Servers {
        let Weather { kafka, redis, hbase } = self;
        Servers { kafka: kafka.address(), redis: redis.address(), hbase: hbase.address() }
    }
}

/// What may befall a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gust {
    /// One process is killed.
    Kill,
    /// One stands still for longer than the others wait for it.
    StandStill,
    /// All are killed at once, and started in another number.
    KillAll,
    /// All are asked to end, and started in another number.
    Rescale,
    /// All are asked to end, killed before they could, and started in another number.
    Hurry,
    /// One loses its terminal.
    HangUp,
    RedisDies,
    RedisStandsStill,
    BrokerDies,
    BrokerStandsStill,
    ThriftDies,
    HbaseDies,
}

const GUSTS: [Gust; 12] = [
    Gust::Kill,
    Gust::StandStill,
    Gust::KillAll,
    Gust::Rescale,
    Gust::Hurry,
    Gust::HangUp,
    Gust::RedisDies,
    Gust::RedisStandsStill,
    Gust::BrokerDies,
    Gust::BrokerStandsStill,
    Gust::ThriftDies,
    Gust::HbaseDies,
];

/// Processes and workers that a cluster may have.
const NUMBERS: [(u32, u32); 5] = [(2, 1), (2, 2), (3, 1), (4, 1), (1, 2)];

fn launch(site: &Site, random: &mut Random) -> Job {
    let (processes, workers) = *random.one_of(&NUMBERS);
    if processes == 1 { site.start(workers) } else { site.launch(processes, workers) }
}

/// Lets one process of a cluster have this signal, if there is one.
fn strike(job: &Job, signal: Signal, random: &mut Random) {
    let launched: Vec<_> = job.launched().into_values().collect();
    if !launched.is_empty()
        && let Err(error) = kill_process(*random.one_of(&launched), signal)
    {
        assert_eq!(error, Errno::SRCH, "one that has ended meanwhile need not be killed");
    }
}

fn befall(gust: Gust, weather: &Weather, site: &Site, job: &mut Job, random: &mut Random) {
    let Weather { kafka, redis, hbase } = weather;
    match gust {
        Gust::Kill => strike(job, Signal::KILL, random),
        Gust::StandStill => strike(job, Signal::STOP, random),
        Gust::HangUp => strike(job, Signal::HUP, random),
        Gust::KillAll | Gust::Hurry => {
            if gust == Gust::Hurry {
                job.signal(Signal::TERM);
                pause(Duration::from_millis(random.below(100) as u64));
            }
            job.kill_if_it_runs();
            wait_for("the end of the job", || job.over());
            *job = launch(site, random);
        }
        Gust::Rescale => {
            job.signal(Signal::TERM);
            wait_for("the end of the job", || job.over());
            *job = launch(site, random);
        }
        Gust::RedisDies => {
            redis.kill(&[]);
            short(random);
            redis.restart(&[]);
        }
        Gust::RedisStandsStill => {
            redis.stand_still("redis");
            short(random);
            redis.go_on("redis");
        }
        Gust::BrokerDies => {
            kafka.kill(&[]);
            short(random);
            kafka.restart(&[]);
        }
        Gust::BrokerStandsStill => {
            kafka.stand_still("broker");
            short(random);
            kafka.go_on("broker");
        }
        Gust::ThriftDies => {
            hbase.kill(&["thrift"]);
            short(random);
            hbase.restart(&["thrift"]);
        }
        Gust::HbaseDies => {
            hbase.kill(&["hbase"]);
            short(random);
            hbase.restart(&["hbase"]);
        }
    }
}

/// For so long a server is away.
fn short(random: &mut Random) {
    pause(Duration::from_millis(100 + random.below(2000) as u64));
}

/// Weathers a storm; returns the most memory that a process had, in MB.
fn storm(seed: u64, gusts: usize, oracle: &mut Oracle) -> u64 {
    let weather = Weather::start();
    let mut random = Random::new(seed);
    let mut plan = Plan::on(weather.servers(), 5);
    plan.sets.extend(["cluster.silence=2s", "cluster.restart_wait=1s"].map(str::to_owned));
    let site = Site::new(plan, Input::usual(seed, 150 * gusts, oracle));
    let mut job = launch(&site, &mut random);
    let mut series: Vec<Gust> = Vec::new();
    while series.len() < gusts {
        // Each comes as often as any other, or once less.
        let mut more = GUSTS.to_vec();
        random.shuffle(&mut more);
        series.extend(more);
    }
    series.truncate(gusts);
    let mut most = 0;
    site.meanwhile(seed, &mut job, |job| {
        for gust in series {
            befall(gust, &weather, &site, job, &mut random);
            // Most come before the one before is over.
            if random.percent(30) {
                site.wait_for_more(job, 2);
            } else {
                pause(Duration::from_millis(random.below(1500) as u64));
            }
            most = most.max(job.peak_mb());
        }
    });
    most = most.max(job.peak_mb());
    job.stop();
    site.must_be_right(oracle, &Doubts::Any);
    assert!(most < MEMORY, "a process had {most} MB");
    most
}

#[test]
fn after_a_storm_everything_is_there_once() {
    let (count, gusts) = if testing::all() { (20, 50) } else { (1, 14) };
    seeds::each("live", count, |seed, oracle| {
        storm(seed, gusts, oracle);
    });
}

#[test]
#[ignore = "it takes as long as it is told: ./run.sh soak --minutes N"]
fn soak() {
    let minutes: u64 = std::env::var("ONLINE_RECALL_SOAK_MINUTES").unwrap().parse().unwrap();
    let begun = Instant::now();
    let again = std::env::var("ONLINE_RECALL_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let mut seed = again.unwrap_or_else(online_recall::ledger::now);
    let mut oracle = Oracle::start();
    eprintln!("{:>15}  {:>8}  {:>12}", "seed", "seconds", "peak MB");
    while begun.elapsed() < Duration::from_secs(60 * minutes) {
        let started = Instant::now();
        // Said before, for where it fails.
        eprint!("{seed:>15}  ");
        let most = storm(seed, 50, &mut oracle);
        eprintln!("{:>8}  {most:>12}", started.elapsed().as_secs());
        seed += 1;
    }
}
