//! What Flume has and the collector has not, with what to use instead.

/// What takes the place of a component of this type, where Flume has one: `one` is a source, channel or
/// the like.
pub fn instead(one: &str, kind: &str) -> Option<&'static str> {
    let kind = kind.to_ascii_lowercase();
    let name = kind.rsplit('.').next().unwrap_or(&kind);
    Some(match (one, name) {
        (
            "source",
            "syslogtcp"
            | "multiport_syslogtcp"
            | "syslogudp"
            | "syslogtcpsource"
            | "syslogudpsource",
        ) => "let rsyslog write files, and read them by TAILDIR",
        ("source", "thrift" | "thriftsource") => "use avro, which Flume's clients speak too",
        ("source", "jms" | "jmssource") => "bridge the queue to Kafka, and use KafkaSource",
        ("source", "netcatudp") => "use netcat",
        ("channel", "jdbc" | "jdbcchannel") => "use file",
        ("channel", "kafkachannel") => "use file with a KafkaSink, or a KafkaSource",
        ("sink", "irc" | "ircsink") => "use logger",
        ("sink", "thrift" | "thriftsink") => "use avro",
        (
            "sink",
            "elasticsearch" | "elasticsearchsink" | "morphline_solr" | "morphlinesolrsink" | "http"
            | "httpsink",
        ) => "use KafkaSink, and what reads from Kafka there",
        ("sink", "hbase" | "hbase2" | "asynchbase" | "hive" | "hivesink" | "datasetsink") => {
            "use hdfs or KafkaSink, and load from there"
        }
        ("interceptor", "morphlineinterceptor$builder") => "use search_replace and regex_extractor",
        _ => return None,
    })
}
