//! How long a record takes until it is visible outside, under a load that does not wait.
//!
//! ```text
//! latency SERVERS TOPIC REDIS THRIFT TABLE RATE FIRST PROBES LINES SKIP
//! ```
//!
//! Sends RATE records a second to TOPIC, each at a moment that is known beforehand and is its timestamp:
//! one that is sent late has waited already, and that counts. A hundred a second are probes, from number
//! FIRST on, so many as PROBES; the others are lines of the file LINES, from line SKIP on, again and again.
//!
//! A probe is a click of its own article (10^9 + its number) by one of a hundred users in the channel
//! 1000. The article has one neighbour, 10^9 further on. The probe is visible in Redis, at the address
//! REDIS, when `ch:1000:hot` (database 10) has its article; and in HBase, by the Thrift server THRIFT, when the newest
//! list in the user's cell of TABLE is not older: a cell's lists appear in order.
//!
//! Prints one JSON document: of each probe, in milliseconds since the first record was to be sent, when
//! it was to be sent, and when it was seen in Redis and in HBase.

#![allow(
    clippy::disallowed_methods,
    reason = "what is sent and looked for is due at moments of the clock"
)]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, unbounded};
use hbase_thrift::hbase::{HbaseSyncClient, THbaseSyncClient};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde::Serialize;
use thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use thrift::transport::{
    TBufferedReadTransport, TBufferedWriteTransport, TIoChannel as _, TTcpChannel,
};

const PROBES_A_SECOND: u64 = 100;
const USERS: u64 = 100;
const CHANNEL: u64 = 1000;
const ARTICLE: u64 = 1_000_000_000;

/// How long nobody looks between two looks: Redis answers in less than a millisecond, HBase in some.
const REDIS_PAUSE: Duration = Duration::from_millis(1);
const HBASE_PAUSE: Duration = Duration::from_millis(4);

/// The most probes that Redis is asked for at once.
const ASKED: usize = 200;

/// A probe that is not seen for so long is not waited for any more.
const LONG: Duration = Duration::from_secs(180);

type Failure = Box<dyn Error + Send + Sync>;

/// A probe, and when it was to be sent.
#[derive(Clone, Copy)]
struct Probe {
    number: u64,
    due: Instant,
}

impl Probe {
    fn article(self) -> u64 {
        ARTICLE + self.number
    }

    fn user(self) -> u64 {
        self.number % USERS
    }

    fn record(self) -> String {
        format!(
            "{{\"actionTime\":\"\",\"readTime\":\"\",\"channelId\":{CHANNEL},\"param\":\
             {{\"action\": \"click\", \"userId\": \"probe-{}\", \"articleId\": \"{}\", \
             \"algorithmCombine\": \"C2\"}}}}",
            self.user(),
            self.article()
        )
    }
}

/// What was seen, by the number of the probe.
type Seen = BTreeMap<u64, Instant>;

#[derive(Serialize)]
struct Document {
    seconds: f64,
    records: u64,
    /// How long the last record was sent after it was to be.
    late: f64,
    due: Vec<f64>,
    redis: Vec<Option<f64>>,
    hbase: Vec<Option<f64>>,
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, servers, topic, redis, thrift, table, rate, first, probes, lines, skip] = &args[..]
    else {
        return Err(
            "usage: latency SERVERS TOPIC REDIS THRIFT TABLE RATE FIRST PROBES LINES SKIP".into()
        );
    };
    let (rate, first, probes): (u64, u64, u64) = (rate.parse()?, first.parse()?, probes.parse()?);
    let every = rate / PROBES_A_SECOND;
    let text = fs::read(lines)?;
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|it| !it.is_empty()).collect();
    let skip = skip.parse::<usize>()? % lines.len();
    let load = lines[skip..].iter().chain(lines.iter().cycle());

    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "2000000")
        .create()?;
    producer.client().fetch_metadata(Some(topic), LONG)?;
    let (to_redis, for_redis) = unbounded();
    let (to_hbase, for_hbase) = unbounded();
    let redis = redis::Client::open(format!("redis://{redis}/10"))?;
    let mut thrift_channel = TTcpChannel::new();
    thrift_channel.open(thrift)?;

    let started = Instant::now() + Duration::from_millis(100);
    let started_at = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_millis(100);
    let (late, in_redis, in_hbase) = thread::scope(|threads| {
        let in_redis = threads.spawn(|| look_in_redis(&redis, &for_redis));
        let in_hbase = threads.spawn(|| look_in_hbase(thrift_channel, table, &for_hbase));
        let sent = send(
            &producer,
            topic,
            (rate, every),
            (first, probes),
            load,
            |probe, after| {
                let probe = Probe { number: probe, due: started + after };
                to_redis.send(probe)?;
                to_hbase.send(probe)?;
                Ok(probe)
            },
            (started, started_at),
        );
        drop((to_redis, to_hbase));
        let redis = in_redis.join().expect("the thread does not panic");
        let hbase = in_hbase.join().expect("the thread does not panic");
        Ok::<_, Failure>((sent?, redis?, hbase?))
    })?;

    let since = |moment: &Instant| moment.duration_since(started).as_secs_f64() * 1000.0;
    let due = |nth: u64| 1000.0 * (nth * every) as f64 / rate as f64;
    let seen = |seen: &Seen| (first..first + probes).map(|it| seen.get(&it).map(since)).collect();
    let document = Document {
        seconds: probes as f64 / PROBES_A_SECOND as f64,
        records: probes * every,
        late: late.as_secs_f64() * 1000.0,
        due: (0..probes).map(due).collect(),
        redis: seen(&in_redis),
        hbase: seen(&in_hbase),
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&document)?)?;
    Ok(())
}

/// Sends all records, each when it is due; returns how late the last one was.
fn send<'a>(
    producer: &BaseProducer,
    topic: &str,
    (rate, every): (u64, u64),
    (first, probes): (u64, u64),
    mut load: impl Iterator<Item = &'a &'a [u8]>,
    mut tell: impl FnMut(u64, Duration) -> Result<Probe, Failure>,
    (started, started_at): (Instant, Duration),
) -> Result<Duration, Failure> {
    let mut late = Duration::ZERO;
    for number in 0..probes * every {
        let after = Duration::from_nanos(number * 1_000_000_000 / rate);
        let due = started + after;
        let mut now = Instant::now();
        while now < due {
            producer.poll(Duration::ZERO);
            thread::sleep((due - now).min(Duration::from_millis(1)));
            now = Instant::now();
        }
        late = now - due;
        let probe;
        let payload = if number % every == 0 {
            probe = tell(first + number / every, after)?.record();
            probe.as_bytes()
        } else {
            load.next().expect("lines come again and again")
        };
        let timestamp = i64::try_from((started_at + after).as_millis())?;
        let mut record = BaseRecord::<(), _>::to(topic).payload(payload).timestamp(timestamp);
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            if error != full {
                return Err(error.into());
            }
            record = back;
            producer.poll(Duration::from_millis(1));
        }
    }
    producer.flush(LONG)?;
    Ok(late)
}

/// The probes that are not seen yet, the oldest first.
#[derive(Default)]
struct Awaited {
    probes: VecDeque<Probe>,
    ended: bool,
}

impl Awaited {
    /// Takes what was told; says whether there is something to look for, or will be.
    fn goes_on(&mut self, told: &Receiver<Probe>) -> bool {
        if self.probes.is_empty() && !self.ended {
            match told.recv() {
                Ok(probe) => self.probes.push_back(probe),
                Err(_) => self.ended = true,
            }
        }
        self.probes.extend(told.try_iter());
        self.probes.front().is_some_and(|oldest| oldest.due.elapsed() < LONG)
    }
}

fn look_in_redis(client: &redis::Client, told: &Receiver<Probe>) -> Result<Seen, Failure> {
    let mut connection = client.get_connection()?;
    let (mut awaited, mut seen) = (Awaited::default(), Seen::new());
    while awaited.goes_on(told) {
        let mut asks = redis::pipe();
        for probe in awaited.probes.iter().take(ASKED) {
            asks.cmd("ZSCORE").arg(format!("ch:{CHANNEL}:hot")).arg(probe.article());
        }
        let scores: Vec<Option<f64>> = asks.query(&mut connection)?;
        let now = Instant::now();
        let mut scores = scores.into_iter();
        awaited.probes.retain(|probe| match scores.next().flatten() {
            Some(_) => seen.insert(probe.number, now).is_some(),
            None => true,
        });
        thread::sleep(REDIS_PAUSE);
    }
    Ok(seen)
}

fn look_in_hbase(
    channel: TTcpChannel,
    table: &str,
    told: &Receiver<Probe>,
) -> Result<Seen, Failure> {
    let (read, write) = channel.split()?;
    let read = TBinaryInputProtocol::new(TBufferedReadTransport::new(read), true);
    let write = TBinaryOutputProtocol::new(TBufferedWriteTransport::new(write), true);
    let mut client = HbaseSyncClient::new(read, write);
    let column = vec![format!("online:{CHANNEL}").into_bytes()];
    let (mut awaited, mut seen) = (Awaited::default(), Seen::new());
    while awaited.goes_on(told) {
        let mut users: Vec<_> = awaited.probes.iter().map(|probe| probe.user()).collect();
        users.sort_unstable();
        users.dedup();
        let rows = users.iter().map(|user| format!("recall:user:probe-{user}").into_bytes());
        let (table, rows) = (table.as_bytes().to_vec(), rows.collect());
        let found = client.get_rows_with_columns(table, rows, column.clone(), BTreeMap::new())?;
        let now = Instant::now();
        // The newest probe in the newest list of each user.
        let mut newest = BTreeMap::new();
        for row in found {
            let name = row.row.unwrap_or_default();
            let user: u64 =
                str::from_utf8(&name)?.trim_start_matches("recall:user:probe-").parse()?;
            for cell in row.columns.unwrap_or_default().into_values() {
                let list = cell.value.unwrap_or_default();
                for id in str::from_utf8(&list)?.trim_matches(['[', ']']).split(", ") {
                    let number = id.parse::<u64>()?.saturating_sub(2 * ARTICLE);
                    let known = newest.entry(user).or_insert(number);
                    *known = number.max(*known);
                }
            }
        }
        awaited.probes.retain(|probe| match newest.get(&probe.user()) {
            Some(newest) if *newest >= probe.number => seen.insert(probe.number, now).is_some(),
            _ => true,
        });
        thread::sleep(HBASE_PAUSE);
    }
    Ok(seen)
}
