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

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use flows::parts;
use inputs::Post;
use readers::{Form, Written};
use sides::Side;

/// The places of the two wherever there are two.
const FLUME: usize = 0;
const OURS: usize = 1;

/// What has come of the flows with one agent.
struct Outcome {
    /// By sink.
    written: BTreeMap<String, Written>,
    /// What was answered to what was said to `netcat`.
    talked: Vec<String>,
    /// The statuses of what was posted.
    posted: Vec<String>,
    /// The same, of what was posted to `chain`, `access`, `full` and `nulls`.
    others: [Vec<String>; 4],
    /// The paths that are left of the input.
    left: Vec<String>,
}

impl Outcome {
    /// Lets all flows flow with an agent, and ends it.
    fn of(side: Side, which: usize) -> Outcome {
        let place = side.place.clone();

        let talked = inputs::talk(&side);
        let all = |port, posts: &[Post]| {
            posts.iter().map(|post| inputs::post(&side, port, post)).collect::<Vec<_>>()
        };
        let posted = all(3, inputs::POSTS);
        let others = [
            all(1, &[inputs::CHAIN]),
            all(6, &[inputs::ACCESS]),
            all(4, &inputs::MANY),
            all(5, &[inputs::NULL]),
        ];
        inputs::rotate(&side);
        let events = parts().map(|(part, sink)| (part, sink.events[which]));
        side.await_delivered(&events.collect::<Vec<_>>());
        side.end();
        let written = parts().map(|(part, sink)| {
            let folder = place.join("out").join(&part);
            (part, readers::written(&place, &folder, sink.form))
        });
        let written = written.collect();
        let left = walkdir::WalkDir::new(place.join("in")).sort_by_file_name().into_iter();
        let left = left
            .map(|entry| entry.unwrap().path().strip_prefix(&place).unwrap().display().to_string());
        Outcome { written, talked, posted, others, left: left.collect() }
    }

    /// The records of the only file of a sink.
    fn records(&self, sink: &str) -> Vec<&str> {
        let [files] = &self.written[sink].values().collect::<Vec<_>>()[..] else {
            panic!("{sink}: {:#?}", self.written[sink])
        };
        let [records] = &files[..] else { panic!("{sink}: {files:#?}") };
        records.iter().map(|record| &**record).collect()
    }
}

/// What comes of the same file and input with Flume, and with ours.
fn both<T: Send>(
    text: &str,
    sources: &str,
    lay: impl Fn(&Path),
    outcome: impl Fn(Side, usize) -> T + Sync,
) -> [T; 2] {
    let folder = testing::folder();
    let [flume, ours] = ["flume", "ours"].map(|name| folder.path().join(name));
    lay(&flume);
    lay(&ours);
    std::thread::scope(|threads| {
        let flume = threads.spawn(|| outcome(Side::flume(text, &flume, sources), FLUME));
        let ours = outcome(Side::ours(text, &ours), OURS);
        [flume.join().unwrap(), ours]
    })
}

/// What has come of the flows with Flume, and with ours.
static OUTCOMES: LazyLock<[Outcome; 2]> = LazyLock::new(|| {
    let lay = |place: &Path| {
        inputs::lay(place);
        for (part, _) in parts() {
            std::fs::create_dir_all(place.join("out").join(part)).unwrap();
        }
    };
    both(&flows::file(), &flows::counted(), lay, Outcome::of)
});

#[track_caller]
fn assert_same(flow: &str) {
    let [flume, ours] = &*OUTCOMES;
    let own = parts().map(|(part, _)| part).filter(|part| part.starts_with(&format!("{flow}-")));
    for part in own {
        assert!(!flume.written[&part].is_empty());
        assert_eq!(ours.written[&part], flume.written[&part], "{part}");
    }
}

#[test]
fn files_of_a_folder_become_the_same_events() {
    for flow in ["lines", "youngest", "latin", "replace", "ignore"] {
        assert_same(flow);
    }
    let [flume, ours] = OUTCOMES.each_ref().map(|outcome| {
        outcome.left.iter().filter(|path| !path.starts_with("in/bad/")).collect::<Vec<_>>()
    });
    assert_eq!(ours, flume);
}

/// Flume makes an empty event behind a line of as many letters as are allowed, and of a letter that is a pair in
/// UTF-16 two question marks where it cuts it.
#[test]
fn a_line_that_just_fits_is_one_event_and_no_letter_is_cut_in_two() {
    let [flume, ours] = &*OUTCOMES;
    let own = |records: &[&str]| {
        records.iter().map(|record| format!("{{}} {record:?}")).collect::<Vec<_>>()
    };
    let theirs = ["five.", "", "next", "ten a", "nd 10", "", "five.", "four?", "?"];
    assert_eq!(flume.records("cut-1"), own(&theirs));
    let ours_are = ["five.", "next", "ten a", "nd 10", "five.", "four", "\u{1d11e}"];
    assert_eq!(ours.records("cut-1"), own(&ours_are));
}

#[test]
fn what_commands_write_becomes_the_same_events() {
    assert_same("exec");
    assert_same("shell");
}

/// Flume's source ends with a file that it cannot decode, and never comes to the next.
#[test]
fn a_file_that_is_no_text_is_set_aside_and_the_next_is_read() {
    let [flume, ours] = &*OUTCOMES;
    assert_eq!(flume.records("bad-1"), [r#"{} "good""#, r#"{} "before""#]);
    assert_eq!(ours.records("bad-1"), [r#"{} "good""#, r#"{} "before""#, r#"{} "next""#]);
    let left = |outcome: &Outcome| {
        let left = outcome.left.iter().filter_map(|path| path.strip_prefix("in/bad/"));
        left.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        left(flume),
        [".flumespool", ".flumespool/.flumespool-main.meta", "1.COMPLETED", "2", "3"]
    );
    assert_eq!(left(ours), [".flumespool", "1.COMPLETED", "2.FAILED", "3.COMPLETED"]);
}

/// Flume loses what is no letter there, also where it is to be replaced.
#[test]
fn a_letter_that_the_end_of_a_file_cuts_is_replaced_as_any_other() {
    let [flume, ours] = &*OUTCOMES;
    assert_eq!(flume.records("end-1"), [r#"{} "cut ""#]);
    assert_eq!(ours.records("end-1"), ["{} \"cut \u{fffd}\""]);
}

#[test]
fn a_chain_of_interceptors_and_a_selector_fill_the_same_files() {
    for flow in ["chain", "access", "bytes", "full"] {
        assert_same(flow);
    }
    let [flume, ours] = &*OUTCOMES;
    assert_eq!(ours.others, flume.others);
    assert_eq!(ours.others[2], ["503", "200"]);
}

/// Which of several files is first is anyone's guess. What is written into a rotated file of another name is lost
/// with Flume.
#[test]
fn tailed_files_become_the_same_events_and_what_is_written_late_is_not_lost() {
    let [flume, ours] = OUTCOMES.each_ref().map(|outcome| {
        let mut records = outcome.records("tail-1");
        records.sort_unstable();
        records
    });
    let (late, same): (Vec<_>, Vec<_>) =
        ours.into_iter().partition(|record| record.contains("written late"));
    assert_eq!(same, flume);
    let expected = r#"{"byteoffset": "25", "file": "PLACE/in/tail/app.log.1", "kind": "app", "level": "1"} "written late""#;
    assert_eq!(late, [expected]);
}

/// Flume drops a last line that a peer has not ended.
#[test]
fn lines_of_peers_become_the_same_events_and_are_answered_the_same() {
    let [flume, ours] = &*OUTCOMES;
    let (open, before) = ours.talked.split_last().unwrap();
    assert_eq!(before, &flume.talked[..before.len()]);
    assert_eq!((&**open, &**flume.talked.last().unwrap()), ("OK\nOK\n", "OK\n"));
    let expected = [flume.records("talk-1"), vec![r#"{} "open""#]].concat();
    assert_eq!(ours.records("talk-1"), expected);
}

/// Where Flume's own code fails, ours says that the request is bad: nobody need send it again. So it does where the
/// bytes are no letters, which Flume replaces, and where the text is no JSON, though Flume's library takes it.
#[test]
fn what_is_posted_becomes_the_same_events_and_is_answered_the_same() {
    let [flume, ours] = &*OUTCOMES;
    for ((post, theirs), own) in inputs::POSTS.iter().zip(&flume.posted).zip(&ours.posted) {
        let text = String::from_utf8_lossy(post.body);
        let expected = match &**theirs {
            "500" => "400",
            "200" if text.contains("only Flume") => "400",
            same => same,
        };
        assert_eq!(own, expected, "{} {text}", post.method);
    }
    let mut events = flume.records("posts-1");
    events.retain(|event| !event.contains("only Flume"));
    assert_eq!(ours.records("posts-1"), events);
}

/// Flume's sink fails with it for ever, and with all that comes behind.
#[test]
fn a_header_that_is_null_holds_up_nothing() {
    let [flume, ours] = &*OUTCOMES;
    assert_eq!(flume.records("nulls-1"), Vec::<&str>::new());
    assert_eq!(ours.records("nulls-1"), [r#"{} "x""#]);
}

/// What has come of the agent that was written by hand.
struct ByHand {
    components: BTreeSet<String>,
    texts: Written,
    events: Vec<String>,
}

/// A source that lacks one of its channels works with the others in Flume, and what should go there is lost; and a
/// sink with an empty key has the default. Ours starts neither.
#[test]
fn of_a_file_with_mistakes_the_same_components_run() {
    let lay = |place: &Path| {
        for folder in ["in/logs", "out/texts", "out/events", "out/bare"] {
            std::fs::create_dir_all(place.join(folder)).unwrap();
        }
        let lines = "1 second\nadded\n22 \u{e9}dd\n 3\n4\t\n";
        std::fs::write(place.join("in/logs/lines"), lines).unwrap();
    };
    let outcome = |side: Side, which: usize| {
        side.await_delivered(&[("texts".to_owned(), 3), ("events".to_owned(), [11, 8][which])]);
        let (place, components) = (side.place.clone(), side.components());
        side.end();
        let out = |sink: &str, form| readers::written(&place, &place.join("out").join(sink), form);
        let events = out("events", Form::Avro);
        let mut events: Vec<_> = events.into_values().flatten().flatten().collect();
        events.sort_unstable();
        ByHand { components, texts: out("texts", Form::HeaderAndText), events }
    };
    let [mut flume, ours] =
        both(include_str!("by_hand.properties"), "logs numbers half", lay, outcome);
    assert!(flume.components.remove("SOURCE.half") && flume.components.remove("SINK.bare"));
    assert_eq!(ours.components, flume.components);
    assert_eq!(ours.texts, flume.texts);
    let many = flume.events.len();
    flume.events.retain(|event| !event.contains("half"));
    assert_eq!(ours.events, flume.events);
    assert_eq!(many, ours.events.len() + 3);
    let text = r#"{city=Malmö Skåne} "1 secon<d>\n""#;
    assert_eq!(ours.texts.values().next().unwrap()[0][0], text);
}
