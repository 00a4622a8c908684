//! What is found about a sink's keys.

use super::*;

fn found(keys: &[(&str, &str)]) -> Vec<String> {
    read(keys).1
}

#[test]
fn defaults_are_flumes() {
    let (sink, found) = read(&[("hdfs.path", "hdfs://h:1/a")]);
    let settings = &sink.settings;
    assert_eq!(settings.batch, 100);
    assert_eq!(settings.max_open, 5000);
    let rolling = settings::Rolling {
        interval: Some(Duration::from_secs(30)),
        idle: None,
        size: Some(1024),
        count: Some(10),
    };
    assert_eq!(settings.rolling, rolling);
    assert_eq!(settings.format, format::Format::Sequence(sequence::Values::Writable, None));
    assert_eq!((settings.close_tries, settings.retry_interval), (None, Duration::from_secs(180)));
    assert_eq!(settings.call_timeout, Some(Duration::from_secs(30)));
    assert_eq!(&*settings.naming.in_use_suffix, ".tmp");
    assert!(!sink.needs("timestamp"));
    let advice = [
        "warning: sinks.k1: files are Hadoop's SequenceFiles, which is Flume's default: text needs hdfs.fileType = \
         DataStream",
        "warning: sinks.k1: hdfs.rollSize = 1024, Flume's default, makes 16875000 files a day of 1,000 events of \
         200 bytes a second (hdfs.rollCount = 0, hdfs.rollSize = 134217728 and an hdfs.rollInterval of minutes \
         make large ones)",
    ];
    assert_eq!(found, advice);
}

#[test]
fn a_site_that_has_learnt_is_left_in_peace() {
    let keys = [
        ("hdfs.path", "hdfs://site/logs/%Y"),
        ("hdfs.fileType", "DataStream"),
        ("hdfs.rollCount", "0"),
        ("hdfs.rollSize", "134217728"),
        ("hdfs.rollInterval", "600"),
        ("hdfs.useLocalTimeStamp", "true"),
    ];
    assert_eq!(found(&keys), [""; 0]);
}

#[test]
fn what_cannot_be_is_a_mistake_and_says_what_can() {
    let quiet = [("hdfs.rollCount", "0"), ("hdfs.rollSize", "0"), ("hdfs.fileType", "DataStream")];
    let of = |more: &[(&str, &str)]| {
        let path = [("hdfs.path", "hdfs://h:1/a")];
        let path = if more.iter().any(|(key, _)| *key == "hdfs.path") { &path[1..] } else { &path };
        let quiet = quiet.iter().filter(|(key, _)| more.iter().all(|(given, _)| given != key));
        let all: Vec<_> = more.iter().chain(path).chain(quiet).copied().collect();
        found(&all).join("\n")
    };
    for (more, expected) in [
        (&[("hdfs.path", "s3a://b/a")][..], "there is no file system s3a: here"),
        (&[("hdfs.path", "hdfs://%{h}/a")], "a host cannot have escapes"),
        (&[("hdfs.path", "hdfs://h/%c")], "no file of HDFS can have a colon"),
        (&[("hdfs.path", "hdfs://h/%[mac]")], "%[mac] stands for nothing"),
        (&[("hdfs.path", "hdfs://h/%q")], "warning: sinks.k1.hdfs.path: %q is no escape"),
        (&[("hdfs.codeC", "gzip")], "hdfs.fileType = DataStream is never compressed"),
        (&[("hdfs.fileType", "CompressedStream")], "CompressedStream needs hdfs.codeC"),
        (
            &[("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "snappy")],
            "snappy is not supported; use gzip or bzip2",
        ),
        (&[("hdfs.timeZone", "UTC+8")], "hdfs.timeZone is UTC+8; allowed: a time zone"),
        (&[("hdfs.roundValue", "5")], "hdfs.roundValue has no effect: hdfs.round is not true"),
        (
            &[("hdfs.round", "true"), ("hdfs.roundUnit", "day")],
            "warning: sinks.k1.hdfs.roundUnit: it is none of second, minute, hour",
        ),
        (
            &[("hdfs.round", "true"), ("hdfs.roundUnit", "hour"), ("hdfs.roundValue", "30")],
            "hdfs.roundValue is 30; allowed: 1 to 24",
        ),
        (&[("hdfs.writeFormat", "Text")], "hdfs.writeFormat has no effect: it is of SequenceFiles"),
        (&[("hdfs.minBlockReplicas", "1")], "hdfs.minBlockReplicas has no effect"),
        (&[("serializer", "com.acme.Mine$Builder")], "allowed: TEXT, HEADER_AND_TEXT, AVRO_EVENT"),
        (&[("hdfs.kerberosKeytab", "/nowhere/k")], "it needs hdfs.kerberosPrincipal"),
        (&[("hdfs.inUseSuffix", "/x")], "hdfs.inUseSuffix: it is of a name"),
        (&[("hdfs.rollInterval", "0")], "no file ends before the agent does"),
        (&[("hdfs.filepath", "/a")], "did you mean"),
    ] {
        let found = of(more);
        assert!(found.contains(expected), "{more:?}: {found}");
    }
}

#[test]
fn who_writes_is_known() {
    let keytab = tempfile::NamedTempFile::new().unwrap();
    let path = keytab.path().to_str().unwrap();
    let (sink, _) = read(&[
        ("hdfs.path", "hdfs://site/a"),
        ("hdfs.kerberosPrincipal", "flume/_HOST@SITE"),
        ("hdfs.kerberosKeytab", path),
        ("hdfs.proxyUser", "web"),
    ]);
    let credentials = &sink.settings.credentials;
    assert_eq!(credentials.user.as_deref(), Some("web"));
    assert_eq!(credentials.keytab.as_deref(), Some(path));
    let principal = credentials.principal.as_deref().unwrap();
    assert!(principal.starts_with("flume/") && !principal.contains("_HOST"), "{principal}");
}
