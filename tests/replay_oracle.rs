//! Random stories against the oracle: everything that a replay leaves behind is, byte for byte, what
//! a plain sequential fold over the same lines leaves.
//!
//! Catches whatever makes the program and the oracle differ: decoding, order, epochs, histories and
//! their age, settings, files that grow or get other names, the numbers of workers. Does not catch
//! what both read wrongly out of the formats; `replay.rs` and `dead_letters.rs` spell those out.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use testing::exported::{Exported, totals_must_be};
use testing::oracle::Oracle;
use testing::random::Random;
use testing::story::Story;
use testing::{all, folder, program, seeds};

#[test]
fn random_stories_end_as_the_oracle_tells() {
    seeds::each("replay_oracle", if all() { 500 } else { 16 }, |seed, oracle| {
        let story = Story::new(seed, oracle);
        let expected = folder();
        story.judge(oracle, expected.path());
        let expected = (expected.path(), Exported::read(expected.path()));
        // One number of workers for all runs of a story, or another one for each.
        let (mut any, mut turn) = (Random::new(seed), 0);
        let fixed: &[u16] = if all() { &[[1, 2, 3, 5][seed as usize % 4]] } else { &[1, 2, 3, 5] };
        for workers in fixed {
            plays(&story, || *workers, &expected);
        }
        plays(
            &story,
            || {
                turn += 1;
                *any.one_of(&[1, 2, 3, 5])
            },
            &expected,
        );
        assert!(turn > 0);
    });
}

fn plays(story: &Story, mut workers: impl FnMut() -> u16, expected: &(&std::path::Path, Exported)) {
    let place = folder();
    let store = place.path().join("store");
    let mut counted = Vec::new();
    let mut run = |args: &[std::ffi::OsString]| {
        let mut command = program::command(place.path(), args);
        if args[0] == "replay" {
            command.arg("-w").arg(workers().to_string());
        }
        let outcome = program::end(command).done();
        if args[0] == "replay" {
            counted.push(outcome.json());
        }
    };
    story.play(place.path(), &mut run);
    Exported::of(&store).must_be(&expected.1, "after all runs");
    totals_must_be(&store, &expected.0.join("totals.json"));

    // The same command again finds nothing new.
    run(&story.last());
    let idle = counted.pop().unwrap();
    for name in ["records", "hits", "recalls", "epochs"] {
        assert_eq!(idle[name], 0, "{idle}");
    }
    Exported::of(&store).must_be(&expected.1, "after the last command was given again");

    // The summaries of the runs add up to the totals.
    let totals = std::fs::read(expected.0.join("totals.json")).unwrap();
    let totals: serde_json::Value = serde_json::from_slice(&totals).unwrap();
    for name in ["hits", "others", "new_articles", "recalls", "epochs"] {
        let sum: u64 = counted.iter().map(|run| run[name].as_u64().unwrap()).sum();
        assert_eq!(totals[name], sum, "{name}");
    }
}

#[test]
fn the_small_fixture_ends_as_it_was_written_down() {
    let place = folder();
    let small = testing::small();
    let run = |args: &[&str]| program::run(&small, args).done();
    let store = place.path().join("store");
    let at = store.to_str().unwrap();
    run(&["tables", "load", "--similar", "similar.tsv", "--history", "history.tsv", "--store", at]);
    let replay = ["replay", "userClick.log", "oversized.log.gz", "--articles", "new-article.log"];
    let time = ["--at", "2019-04-11T00:00:00Z", "--epoch-records", "100", "--store", at];
    run(&[&replay[..], &time[..]].concat());
    let expected = small.join("expected");
    Exported::of(&store).must_be(&Exported::read(&expected), "fixtures/small");
    totals_must_be(&store, &expected.join("totals.json"));
}

#[test]
fn what_comes_through_a_pipe_is_one_file() {
    let (place, mut oracle) = (folder(), Oracle::start());
    oracle.generate(place.path(), "--nasty --seed 5 --clicks 300 --users 8 --articles 14");
    oracle.generate(&place.path().join("b"), "--seed 5 --clicks 300 --users 8 --articles 14");
    let lines = std::fs::read(place.path().join("b/userClick.log")).unwrap();
    let plan = serde_json::json!({
        "similar": ["similar.tsv"],
        "runs": [{ "at": "2019-04-11T00:00:00Z", "epoch_records": 50,
                   "clicks": [{ "file": "b/userClick.log", "place": "-" }] }],
    });
    std::fs::write(place.path().join("plan.json"), plan.to_string()).unwrap();
    oracle.judge(&place.path().join("plan.json"), &place.path().join("expected"));
    let expected = Exported::read(&place.path().join("expected"));
    let args = "replay - --similar similar.tsv --store s --at 2019-04-11T00:00:00Z \
                --epoch-records 50 -w 3 --json";
    let pipe = |input: &[u8]| {
        let command = program::command(place.path(), args.split_ascii_whitespace());
        program::end_with_input(command, input).done().json()
    };
    // Cut where an epoch ends: then two runs are cut as one would be.
    let cut = lines.split_inclusive(|byte| *byte == b'\n').take(100).map(<[u8]>::len).sum();
    assert_eq!(pipe(&lines[..cut])["records"], 100);
    assert_eq!(pipe(&lines)["records"], 200, "what was read before is passed over");
    assert_eq!(pipe(&lines)["records"], 0);
    Exported::of(&place.path().join("s")).must_be(&expected, "through a pipe");
}
