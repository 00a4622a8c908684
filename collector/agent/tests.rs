use super::*;
use crate::properties::Variables;

fn read(text: &str) -> (Agent, Vec<String>) {
    let properties = Properties::parse(text.as_bytes(), &Variables::default()).unwrap();
    let (agent, findings) = super::read(&properties, "a1");
    (agent, findings.iter().map(Finding::to_string).collect())
}

const WELL: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
                    a1.sources.r1.type = seq\na1.sources.r1.channels = c1\n\
                    a1.channels.c1.type = memory\n\
                    a1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n";

#[test]
fn an_agent_that_is_well_has_all_its_components() {
    let (agent, found) = read(WELL);
    assert_eq!((agent.sources.len(), agent.channels.len(), agent.groups.len()), (1, 1, 1));
    let seq = "line 4: warning: sources.r1: when the agent is killed, it counts from 0 again, and all that waits \
               in channel c1, which is in memory (type = file keeps it)";
    assert_eq!(found, [seq]);
}

#[test]
fn every_mistake_is_found_at_once_and_spoils_what_needs_it() {
    let text = "a1.sources = r1 r2\na1.channels = c1 c2\na1.sinks = k1\na1.bogus = 1\n\
                a1.sources.r1.type = nosuch\na1.sources.r1.channels = c9\n\
                a1.sources.r2.channels = c1\n\
                a1.channels.c1.type = memory\na1.channels.c1.transactionCapacity = 500\n\
                a1.channels.c2.type = jdbc\n\
                a1.sinks.k1.type = null\na1.sinks.k1.chanel = c1\na1.sinks.k2.type = null\n";
    let (agent, found) = read(text);
    let expected = [
        "line 4: warning: a1.bogus is no key of an agent: it has no effect",
        "line 5: sources.r1.type: there is no source nosuch; there is:",
        "line 6: sources.r1.channels: a1.channels does not list c9; did you mean c1?",
        "line 8: warning: no sink takes from channel c1",
        "line 8: warning: no source puts into channel c1",
        "line 9: channels.c1.transactionCapacity: transactionCapacity (500) is more than capacity (100)",
        "line 10: channels.c2.type: the channel jdbc is not supported; use file",
        "line 12: warning: sinks.k1.chanel is no key that is known here: it has no effect; did you mean channel?",
        "line 13: warning: a1.sinks does not list k2: its keys have no effect; did you mean k1?",
        "sources.r2.type is missing: it has no default",
        "sinks.k1.channel is missing: it has no default",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert!(agent.is_empty() && agent.channels.is_empty());
}

#[test]
fn an_agent_that_is_not_there_is_missed_with_those_that_are() {
    let (agent, found) = read("b.sources = r1\nc.sources = r1\nodd = 1\n");
    let expected = [
        "line 3: warning: odd has no effect: a key begins with the name of an agent",
        "the file has no agent a1; it has: b, c",
    ];
    assert_eq!(found, expected);
    assert!(agent.is_empty());
}

#[test]
fn a_batch_must_fit_into_a_transaction_of_the_channel() {
    let text = format!("{WELL}a1.sources.r1.batchSize = 500\na1.sinks.k1.batchSize = 101\n");
    let (_, found) = read(&text);
    let batch = "line 9: sources.r1.batchSize: batches of 500 events are more than the transactionCapacity of \
                 channel c1, which is 100";
    assert!(found.iter().any(|found| found == batch), "{found:#?}");
    assert!(
        found.iter().any(|found| found.contains("sinks.k1") && found.contains("batches of 101"))
    );
}

#[test]
fn every_setting_is_known_with_what_it_comes_to() {
    let (agent, _) = read(&format!("{WELL}a1.channels.c1.capacity = 1000\n"));
    let (_, channel) = agent.settings.iter().find(|(path, _)| path == "channels.c1").unwrap();
    let capacity = channel.iter().find(|setting| setting.key == "capacity").unwrap();
    assert_eq!((capacity.value.as_deref(), capacity.given), (Some("1000"), true));
    let keep_alive = channel.iter().find(|setting| setting.key == "keep-alive").unwrap();
    assert_eq!((keep_alive.value.as_deref(), keep_alive.given), (Some("3"), false));
}

#[test]
fn two_channels_of_one_folder_are_a_mistake_that_names_it() {
    let text = format!(
        "{WELL}a1.sources.r1.channels = c1 c2\na1.channels = c1 c2\na1.channels.c1.type = FILE\n\
         a1.channels.c2.type = org.apache.flume.channel.file.FileChannel\na1.channels.c2.dataDirs = /x\n"
    );
    let (agent, found) = read(&text);
    let mistake = found.iter().find(|found| found.contains("has the folder")).unwrap();
    assert!(mistake.starts_with("line 13: channels.c2.dataDirs: channel c1 has the folder /"));
    assert!(mistake.contains(".flume/file-channel/checkpoint already; each needs"), "{mistake}");
    assert_eq!(agent.channels.len(), 1);
    let apart = format!("{text}a1.channels.c2.checkpointDir = /y\n");
    assert!(!read(&apart).1.iter().any(|found| found.contains("has the folder")));
}
