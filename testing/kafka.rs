//! Topics on a real broker, as those outside of the job make and fill them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext,
};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

/// How long a broker may take that is busy besides; only what hangs takes longer.
pub const LONG: Duration = Duration::from_secs(120);

/// How long is waited between two looks.
pub const SHORT: Duration = Duration::from_millis(20);

/// Looks until there is what is looked for. A test that waits for what never comes fails in the end.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "{what} does not come");
        std::thread::park_timeout(SHORT);
    }
}

/// The two topics of a job, under names of their own.
pub struct Topics {
    /// The broker.
    pub servers: String,
    /// The topic of clicks.
    pub clicks: String,
    /// The topic of new articles.
    pub articles: String,
    replicas: i32,
    settings: Vec<(String, String)>,
}

impl Topics {
    /// Makes them with so many partitions.
    #[track_caller]
    pub fn make(servers: &str, clicks: i32, articles: i32) -> Topics {
        Topics::make_with(servers, clicks, articles, &[])
    }

    /// Makes them with settings of the broker.
    #[track_caller]
    pub fn make_with(
        servers: &str,
        clicks: i32,
        articles: i32,
        settings: &[(&str, &str)],
    ) -> Topics {
        Topics::make_on(servers, 1, clicks, articles, settings)
    }

    /// Makes them on so many brokers.
    #[track_caller]
    pub fn make_on(
        servers: &str,
        replicas: i32,
        clicks: i32,
        articles: i32,
        settings: &[(&str, &str)],
    ) -> Topics {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let name = |of: &str| format!("{of}-{}-{nth}", std::process::id());
        let topics = Topics {
            servers: servers.to_owned(),
            clicks: name("clicks"),
            articles: name("articles"),
            replicas,
            settings: settings.iter().map(|&(name, to)| (name.to_owned(), to.to_owned())).collect(),
        };
        topics.make_topic(&topics.clicks, clicks);
        topics.make_topic(&topics.articles, articles);
        topics
    }

    #[track_caller]
    fn make_topic(&self, name: &str, partitions: i32) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(self.replicas));
        // Else what is dated in the past is gone within a minute.
        let settings = self.settings.iter().map(|(name, to)| (&**name, &**to));
        topic.config = [("retention.ms", "-1")].into_iter().chain(settings).collect();
        let admin = self.admin();
        // A topic of that name may be on its way out.
        wait_for("a new topic", || {
            let made = block_on(admin.create_topics([&topic], &options())).unwrap();
            match &made[0] {
                Ok(_) => Some(()),
                Err((_, Code::TopicAlreadyExists)) => None,
                Err(error) => panic!("{error:?}"),
            }
        });
        self.wait_for_partitions(name, partitions);
    }

    #[track_caller]
    fn wait_for_partitions(&self, name: &str, partitions: i32) {
        let client = self.member("nobody");
        wait_for("a topic's partitions", || {
            let metadata = client.fetch_metadata(Some(name), LONG).unwrap();
            let found = metadata.topics()[0].partitions();
            let led = found.iter().filter(|partition| partition.leader() >= 0).count();
            (led == usize::try_from(partitions).unwrap()).then_some(())
        });
    }

    /// Gives the topic of clicks more partitions: so many in all.
    #[track_caller]
    pub fn grow(&self, partitions: i32) {
        let count = usize::try_from(partitions).unwrap();
        let more = NewPartitions::new(&self.clicks, count);
        let made = block_on(self.admin().create_partitions([&more], &options())).unwrap();
        assert!(made[0].is_ok(), "{made:?}");
        self.wait_for_partitions(&self.clicks, partitions);
    }

    /// Deletes the records of a partition of clicks before an offset.
    #[track_caller]
    pub fn delete_records(&self, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.clicks, partition, Offset::Offset(before)).unwrap();
        let deleted = block_on(self.admin().delete_records(&list, &options())).unwrap();
        deleted.elements()[0].error().unwrap();
    }

    /// Deletes the topic of clicks, and makes another of that name.
    #[track_caller]
    pub fn make_anew(&self, partitions: i32) {
        let deleted = block_on(self.admin().delete_topics(&[&self.clicks], &options())).unwrap();
        assert!(deleted[0].is_ok(), "{deleted:?}");
        self.make_topic(&self.clicks, partitions);
    }

    /// A producer with these properties.
    #[track_caller]
    pub fn producer(&self, properties: &[(&str, &str)]) -> Sender {
        let mut config = self.config();
        config.set("queue.buffering.max.messages", "1000000").set("linger.ms", "1");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        Sender { client: config.create_with_context(MustBeWritten).unwrap() }
    }

    /// A consumer of a group.
    #[track_caller]
    pub fn member(&self, group: &str) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", group).set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest").create().unwrap()
    }

    /// The offsets of clicks that a group has committed, by partition; -1 where it has not.
    #[track_caller]
    pub fn committed(&self, group: &str, partitions: i32) -> Vec<i64> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.clicks, 0, partitions - 1);
        let found = self.member(group).committed_offsets(list, LONG).unwrap();
        let raw = |offset| if let Offset::Offset(offset) = offset { offset } else { -1 };
        found.elements().iter().map(|element| raw(element.offset())).collect()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(LONG)).request_timeout(Some(LONG))
}

fn block_on<T>(answer: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer)
}

/// A producer whose messages must all be written.
pub struct Sender {
    /// Its client.
    pub client: BaseProducer<MustBeWritten>,
}

impl Sender {
    /// Sends a message; of no value, a tombstone; without a date, now.
    #[track_caller]
    pub fn send(&self, topic: &str, partition: i32, value: Option<&[u8]>, date: Option<i64>) {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        record.payload = value;
        record.timestamp = date;
        if value.is_none() {
            record.key = Some(b"gone");
        }
        self.client.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// Waits until all that was sent is written.
    #[track_caller]
    pub fn flush(&self) {
        self.client.flush(LONG).unwrap();
    }
}

/// Fails the test where a message is not written.
pub struct MustBeWritten;

impl ClientContext for MustBeWritten {
    /// Shown where the test fails: why its records did not arrive.
    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("a test's producer: {error}: {reason}");
    }
}

impl ProducerContext<NoCustomPartitioner> for MustBeWritten {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // What is dropped in a test that has failed is not written either.
        if let Err((error, _)) = result
            && !std::thread::panicking()
        {
            panic!("a message is not written: {error}");
        }
    }
}
