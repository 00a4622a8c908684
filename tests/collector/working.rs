//! An agent at work: it is watched, takes up a changed file, and ends in order.

use std::collections::BTreeSet;
use std::fs;

use testing::kafka::wait_for;
use testing::place::Place;

use super::agent::{Agent, free, get};

const COUNTS: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.totalEvents = 5000
a1.sources.r1.batchSize = 50
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
";

fn agent_log(place: &Place) -> String {
    fs::read_to_string(place.path("log")).unwrap()
}

#[test]
fn its_numbers_are_there_for_prometheus_and_as_flume_has_them() {
    let place = Place::empty();
    place.write("agent.properties", COUNTS);
    let (ours, flumes) = (free(), free());
    let options = format!(
        "--listen {ours} -Dflume.monitoring.type=http -Dflume.monitoring.port={}",
        flumes.port()
    );
    let agent = Agent::start(&place, &options);
    let answer = wait_for("all to be delivered", || {
        let answer = get(flumes, "/metrics");
        answer.contains(r#""EventDrainSuccessCount":"5000""#).then_some(answer)
    });
    let json: serde_json::Value =
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(json["SOURCE.r1"]["EventAcceptedCount"], "5000");
    assert_eq!(json["CHANNEL.c1"]["ChannelCapacity"], "10000");
    assert_eq!(json["CHANNEL.c1"]["EventTakeSuccessCount"], "5000");
    let text = get(ours, "/metrics");
    for line in [
        r#"online_recall_collector_events_read_total{source="r1"} 5000"#,
        r#"online_recall_collector_events_delivered_total{sink="k1"} 5000"#,
        r#"online_recall_collector_channel_events{channel="c1"} 0"#,
    ] {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
    assert!(agent.stop().success());
    assert!(agent_log(&place).contains("read=5000 put=5000 delivered=5000 waiting=0 missing=0"));
}

/// What the names in the document begin with.
fn documented() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/collector.md");
    let text = fs::read_to_string(path).unwrap();
    let numbers = text.split("\n## ").find(|part| part.starts_with("Numbers")).unwrap();
    let rows = numbers.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('{').next().unwrap().to_owned()).collect()
}

#[test]
fn every_number_is_documented_and_every_documented_number_is_there() {
    let place = Place::empty();
    // There is something of everything: no event has the time that the path needs.
    let dies = "type = hdfs\na1.sinks.k1.hdfs.path = file:///nowhere/%Y";
    let filters = "\na1.sources.r1.interceptors = i1\n\
                   a1.sources.r1.interceptors.i1.type = regex_filter\n";
    place.write("agent.properties", COUNTS.replace("type = null", dies) + filters);
    let ours = free();
    let agent = Agent::start(&place, &format!("--listen {ours}"));
    let text = wait_for("a dead letter", || {
        let text = get(ours, "/metrics");
        text.contains("dead_letters_total{").then_some(text)
    });
    let types =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE online_recall_collector_"));
    let names = types.map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), documented());
    agent.ends();
}

#[test]
fn what_waits_in_memory_is_handed_over_to_the_agent_of_a_changed_file() {
    let place = Place::empty();
    // Nobody takes from c1 yet.
    let waits = COUNTS.replace("a1.sinks = k1", "a1.sinks = k2").replace(".k1.", ".k2.").replace(
        "a1.sinks.k2.channel = c1",
        "a1.sinks.k2.channel = c2\na1.channels.c2.type = memory",
    );
    place.write("agent.properties", waits.replace("a1.channels = c1", "a1.channels = c1 c2"));
    let mut agent = Agent::start(&place, "");
    agent.says("source r1 has come to its end");
    place.write("agent.properties", COUNTS.replace("totalEvents = 5000", "totalEvents = ten"));
    agent.says("is refused: the agent goes on as before");
    place.write("agent.properties", COUNTS.replace("totalEvents = 5000", "totalEvents = 1"));
    agent.says("has changed: the agent starts anew");
    assert!(agent.stop().success());
    let log = agent_log(&place);
    assert!(log.contains("read=1 put=1 delivered=5001 waiting=0 missing=0"), "{log}");
}

/// A folder is one channel's at a time, and who watches the agent holds its channels too.
#[test]
fn a_file_channel_with_other_settings_goes_on_in_its_folder() {
    let place = Place::empty();
    let file = COUNTS.replace("type = memory", "type = file\na1.channels.c1.dataDirs = data")
        + "a1.channels.c1.checkpointDir = checkpoint\n";
    place.write("agent.properties", &file);
    let mut agent = Agent::start(&place, "");
    agent.delivers("k1", 5000);
    // Refused by its text; then by what is found when it is started; then well.
    place.write("agent.properties", file.replace("totalEvents = 5000", "totalEvents = ten"));
    agent.says("is refused: the agent goes on as before");
    let elsewhere = file.replace("dataDirs = data", "dataDirs = log/data");
    place.write("agent.properties", elsewhere);
    agent.says("the changed file is refused: error=cannot open channel c1");
    agent.delivers("k1", 5000);
    place.write("agent.properties", file.replace("capacity = 10000", "capacity = 20000"));
    wait_for("another start", || {
        (agent.log().matches("channel c1 opened").count() == 3).then_some(())
    });
    agent.delivers("k1", 5000);
    assert!(agent.stop().success());
    let log = agent_log(&place);
    assert_eq!(log.matches("the changed file is refused").count(), 1, "{log}");
    assert!(!log.contains("events are missing"), "{log}");
}

#[test]
fn a_configuration_with_mistakes_starts_in_part_where_that_is_asked_for() {
    let place = Place::empty();
    let more = "a1.sinks.k2.type = nosuch\na1.sinks.k2.channel = c1\n";
    place.write("agent.properties", COUNTS.replace("a1.sinks = k1", "a1.sinks = k1 k2") + more);
    let mut agent = Agent::start(&place, "--lenient");
    agent.says("agent a1 has started");
    agent.says("source r1 has come to its end");
    assert!(agent.stop().success());
    let log = agent_log(&place);
    assert!(log.contains("delivered=5000"), "{log}");
}
