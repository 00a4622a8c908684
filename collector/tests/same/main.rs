//! The same file and the same input, given to an agent of Flume 1.11 and to ours: what their sinks write is the
//! same, file by file and record by record; and so is what peers are answered.
//!
//! ```text
//! flows ──▶ file ──┬──▶ Flume ──▶ files ──▶ readers ──┐
//!                  │                                  ├── the same?
//! inputs ──────────┴──▶ ours  ──▶ files ──▶ readers ──┘
//! ```
//!
//! Catches what we would misunderstand about Flume. Of time it says nothing: files roll here by count and size. Where
//! the two differ on purpose, a test says how.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod flows;
mod inputs;
mod readers;
mod sides;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use flows::FLOWS;
use readers::Written;
use sides::Side;

/// What has come of the flows with one agent.
struct Outcome {
    /// By sink.
    written: BTreeMap<String, Written>,
    talked: Vec<String>,
    /// The statuses of what was posted.
    posted: Vec<String>,
    /// Of what was posted to the chain, and to the channel that has no room.
    chain: String,
    full: Vec<String>,
    /// The names that are left in the folders of the input.
    left: Vec<String>,
}

impl Outcome {
    /// Lets all flows flow with an agent, and ends it.
    fn of(side: Side, late: u64) -> Outcome {
        let place = side.place.clone();
        let talked = inputs::talk(&side);
        let post = |&(head, body): &(&str, &[u8])| inputs::post(&side, 3, head, body);
        let posted = inputs::POSTS.iter().map(post).collect();
        let chain = inputs::post(&side, 1, "application/json", &inputs::chain());
        let many = |body: &[u8]| inputs::post(&side, 4, "application/json", body);
        let full = vec![
            many(br#"[{"body":"1"},{"body":"2"},{"body":"3"}]"#),
            many(br#"[{"body":"4"},{"body":"5"}]"#),
        ];
        inputs::rotate(&side);
        for flow in FLOWS {
            for (part, sink) in flow.parts().zip(flow.sinks) {
                let late = if ["tail", "talk"].contains(&flow.name) { late } else { 0 };
                side.await_delivered(&part, sink.events + late);
            }
        }
        side.end();
        let mut written = BTreeMap::new();
        for flow in FLOWS {
            for (part, sink) in flow.parts().zip(flow.sinks) {
                let folder = place.join("out").join(&part);
                written.insert(part, readers::written(&place, &folder, sink.form));
            }
        }
        let all = walkdir::WalkDir::new(place.join("in")).sort_by_file_name().into_iter();
        let left = all
            .map(|entry| entry.unwrap().path().strip_prefix(&place).unwrap().display().to_string());
        Outcome { written, talked, posted, chain, full, left: left.collect() }
    }
}

/// What has come of the flows with Flume, and with ours.
static OUTCOMES: LazyLock<[Outcome; 2]> = LazyLock::new(|| {
    let text = flows::file();
    std::fs::write("/tmp/w/h/same.properties", &text).unwrap();
    let folder = testing::folder();
    let places = ["flume", "ours"].map(|name| folder.path().join(name));
    for place in &places {
        inputs::lay(place);
        for part in FLOWS.iter().flat_map(flows::Flow::parts) {
            std::fs::create_dir_all(place.join("out").join(part)).unwrap();
        }
    }
    let flume = || Outcome::of(Side::flume(&text, &places[0], &flows::counted()), 0);
    let ours = || {
        let (side, _) = Side::ours(&text, &places[1]);
        Outcome::of(side, 1)
    };
    std::thread::scope(|threads| {
        let flume = threads.spawn(flume);
        let ours = ours();
        [flume.join().unwrap(), ours]
    })
});

#[test]
fn dump() {
    let [flume, ours] = &*OUTCOMES;
    for name in flume.written.keys() {
        let same = flume.written[name] == ours.written[name];
        println!("== {name} {same}\nF {:#?}", flume.written[name]);
        if !same {
            println!("O {:#?}", ours.written[name]);
        }
    }
    println!("{:#?}\n{:#?}", flume.talked, ours.talked);
    for ((post, f), o) in inputs::POSTS.iter().zip(&flume.posted).zip(&ours.posted) {
        println!("{f} {o} {} {}", post.0, post.1.escape_ascii());
    }
    println!("{} {} {:?} {:?}", flume.chain, ours.chain, flume.full, ours.full);
    println!("{:#?}\n{:#?}", flume.left, ours.left);
}
