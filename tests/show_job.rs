//! `show job` of the live job: its ledger, and its numbers while it runs.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};
use testing::place::{CLICK, Place};
use testing::program;
use testing::servers;

#[test]
fn a_job_is_shown_by_its_ledger_and_while_it_runs_by_its_numbers() {
    let place = Place::empty();
    let (kafka, redis) = (servers::kafka().address(), servers::redis().address());
    // Taken by somebody else in between, the job would say so and end.
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.write(
        "job.toml",
        format!(
            "job = \"shown\"\ndataflows = [\"hot\", \"new\"]\n\
             [kafka]\nclicks = \"shown-clicks\"\narticles = \"shown-articles\"\n\
             [kafka.properties]\n\"bootstrap.servers\" = \"{kafka}\"\n\
             [redis]\nurl = \"redis://{redis}/10\"\nhot = \"shown:{{channel}}:hot\"\n\
             new = \"shown:{{channel}}:new\"\n[http]\nlisten = \"{listen}\"\n"
        ),
    );
    let show = "show job --config job.toml --json";
    let before = place.run(show).done().json();
    assert!(before["incarnation"].is_null() && before["epoch_mark"] == 0, "{before}");
    for topic in ["shown-clicks", "shown-articles"] {
        place
            .run(&format!("topics create {topic} --partitions 1 --bootstrap-server {kafka}"))
            .done();
    }
    place.write("clicks.log", format!("{CLICK}\nbad\n{CLICK}\n"));
    place.run(&format!("produce shown-clicks clicks.log --bootstrap-server {kafka}")).done();

    let run = program::command(place.folder(), ["run", "--config", "job.toml"]).spawn().unwrap();
    let pid = Pid::from_raw(run.id().try_into().unwrap()).unwrap();
    let running = loop {
        let job = place.run(show).done().json();
        if job["records_total"]["hit"] == 2 && !job["numbers"].is_null() {
            break job;
        }
    };
    assert_eq!(running["records_total"]["dead_letter"], 1, "{running}");
    assert_eq!(running["dead_letters_total"]["not_json"], 1, "{running}");
    let clicks = &running["partitions"].as_array().unwrap()[0];
    let expected = serde_json::json!({
        "topic": "clicks", "partition": "shown-clicks/0", "offset": 3,
    });
    assert_eq!(*clicks, expected);
    assert_eq!(running["incarnation"], 1, "{running}");
    let numbers = &running["numbers"];
    assert_eq!(numbers["dead_letters_total{reason=\"not_json\"}"], 1, "{running}");
    let hits = "records_total{topic=\"shown-clicks\",outcome=\"hit\"}";
    assert_eq!(numbers[hits], 2, "{running}");

    kill_process(pid, Signal::TERM).unwrap();
    program::outcome_of(run, "run".to_owned()).done();
    let ended = place.run(show).done().json();
    assert!(ended["numbers"].is_null(), "{ended}");
    assert_eq!(ended["epoch_mark"], ended["epoch"], "{ended}");
    let table = place.run("show job --config job.toml").done();
    assert!(table.text().contains("shown-clicks/0"), "{table:?}");
}
