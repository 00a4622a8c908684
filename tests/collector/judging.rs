//! What is wrong with a file is told at once, with its line, and nothing starts. The mistakes are those that
//! Flume hides: it drops the component, runs on without it, and ends with 0 or not at all.

use testing::place::Place;
use testing::program::Outcome;

/// An agent that is well.
const WELL: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
";

fn collect(file: &str, options: &str) -> Outcome {
    let place = Place::empty();
    place.write("agent.properties", file);
    place.run(&format!("collect -f agent.properties -n a1 {options}"))
}

#[track_caller]
fn says(file: &str, options: &str, status: i32, said: &[&str]) {
    let outcome = collect(file, options);
    assert_eq!(outcome.status.code(), Some(status), "{outcome:#?}");
    let text = outcome.text().to_owned() + &outcome.log;
    for said in said {
        assert!(text.contains(said), "`{said}` is not in:\n{text}");
    }
}

#[test]
fn what_is_well_is_said_to_be() {
    says(WELL, "--check", 0, &["0 mistakes, 1 warning\n"]);
}

/// Each with the line, and what to do.
#[test]
fn mistakes_after_which_flume_runs_on_in_silence_are_refused() {
    let cases = [
        ("a1.sources.r1.channels = c1\n", "", "sources.r1.channels is missing"),
        ("type = seq", "type = nosuch", "line 4: sources.r1.type: there is no source nosuch"),
        ("type = memory", "type = nosuch", "line 6: channels.c1.type: there is no channel nosuch"),
        ("type = null", "type = nosuch", "line 7: sinks.k1.type: there is no sink nosuch"),
        ("a1.sources.r1.type = seq\n", "", "sources.r1.type is missing"),
        (
            "channel = c1",
            "channel = c9",
            "line 8: sinks.k1.channel: a1.channels does not list c9; did you mean c1?",
        ),
        (
            "channels = c1\na1.channels.c1",
            "channels = c9\na1.channels.c1",
            "line 5: sources.r1.channels: a1.channels does not list c9",
        ),
    ];
    for (from, to, said) in cases {
        let file = WELL.replacen(from, to, 1);
        assert_ne!(file, WELL);
        says(&file, "--check", 2, &[said, "1 mistake"]);
        says(&file, "", 2, &["error: the agent is not started"]);
    }
    let cases = [
        (
            "a1.channels.c1.transactionCapacity = 500\n",
            "line 9: channels.c1.transactionCapacity: transactionCapacity (500) is more than capacity (100)",
        ),
        (
            "a1.sources.r1.batchSize = 500\n",
            "line 9: sources.r1.batchSize: batches of 500 events are more than the transactionCapacity of \
             channel c1, which is 100",
        ),
        (
            "a1.sources.r1.batchSize = ten\n",
            "line 9: sources.r1.batchSize is ten; allowed: a whole number from 1",
        ),
        (
            "a1.sources.r1.interceptors = i1\na1.sources.r1.interceptors.i1.type = nosuch\n",
            "line 10: sources.r1.interceptors.i1.type: there is no interceptor nosuch",
        ),
        (
            "a1.sources.r1.selector.type = nosuch\n",
            "line 9: sources.r1.selector.type is nosuch; allowed: replicating",
        ),
        ("a1.sources.r1.batchSize =\n", "line 9: sources.r1.batchSize has no value"),
    ];
    for (line, said) in cases {
        says(&format!("{WELL}{line}"), "--check", 2, &[said]);
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let file = WELL.replace("type = seq", "type = nosuch").replace("type = null", "type = irc");
    says(
        &file,
        "--check",
        2,
        &[
            "line 4: ",
            "line 7: sinks.k1.type: the sink irc is not supported; use logger",
            "2 mistakes",
        ],
    );
}

#[test]
fn what_flume_ignores_is_a_warning_and_with_strict_a_mistake() {
    let file = format!("{WELL}a1.sources.r1.batchsize = 5\na1.bogus = 1\n");
    let said = "line 9: warning: sources.r1.batchsize is no key that is known here: it has no effect; did you \
                mean batchSize?";
    let bogus = "line 10: warning: a1.bogus is no key of an agent: it has no effect";
    says(&file, "--check", 0, &[said, bogus, "0 mistakes, 3 warnings"]);
    says(&file, "--check --strict", 2, &[said, bogus]);
    // Advice is no reason to refuse.
    says(WELL, "--check --strict", 0, &["1 warning"]);
    let file = format!("{WELL}a1.channels.c1.capacity = many\n");
    says(
        &file,
        "--check",
        0,
        &["line 9: warning: channels.c1.capacity: no whole number from 1; 100 counts"],
    );
}

#[test]
fn a_file_or_an_agent_that_is_not_there_is_no_success() {
    let place = Place::empty();
    let outcome = place.run("collect -f nosuch.properties -n a1");
    assert_eq!(outcome.status.code(), Some(2), "{outcome:#?}");
    assert!(outcome.log.contains("cannot read nosuch.properties"), "{outcome:#?}");
    place.write("agent.properties", WELL);
    let outcome = place.run("collect -f agent.properties -n zz");
    assert_eq!(outcome.status.code(), Some(2), "{outcome:#?}");
    assert!(outcome.log.contains("the file has no agent zz; it has: a1"), "{outcome:#?}");
}

#[test]
fn a_channel_that_nobody_reads_is_warned_of() {
    let file =
        WELL.replace("a1.channels = c1", "a1.channels = c1 c2") + "a1.channels.c2.type = memory\n";
    let said = ["no sink takes from channel c2", "no source puts into channel c2"];
    says(&file, "--check", 0, &said);
}

#[test]
fn the_configuration_is_shown_as_it_is_understood() {
    let file = format!("{WELL}a1.channels.c1.capacity = ${{env:NOSUCH:-1000}}\n");
    let said = [
        "a1.channels.c1.capacity = 1000\n",
        "#default# a1.channels.c1.keep-alive = 3\n",
        "a1.sources.r1.type = seq\n",
        "#default# a1.sinks.k1.batchSize = 100\n",
    ];
    says(&file, "--print", 0, &said);
}

#[test]
fn flumes_own_flags_are_taken() {
    let place = Place::empty();
    place.write("agent.properties", format!("{WELL}a1.channels.c1.capacity = ${{sys:many}}\n"));
    let flags = "collect --conf-file agent.properties --name a1 --conf conf -Dmany=700 \
                 -Dflume.root.logger=INFO,console --no-reload-conf --print";
    let outcome = place.run(flags);
    assert!(outcome.text().contains("a1.channels.c1.capacity = 700\n"), "{outcome:#?}");
}
