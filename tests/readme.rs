//! What README shows is what the program does.
//!
//! Every ```` ```console ```` block is run, in order, in a copy of the small fixtures. Its `$` lines are
//! commands; what stands below one is what it prints. Lines that tell time, rate or memory differ from
//! run to run, and are passed over.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::fs;

use testing::program;

/// What the lines begin with that no two runs share.
const DIFFERENT: [&str; 3] = ["rate ", "time ", "peak memory "];

#[test]
fn the_commands_of_the_readme_print_what_it_shows() {
    let readme = fs::read_to_string(testing::project().join("README.md")).unwrap();
    let place = testing::folder();
    testing::copy(&testing::small(), place.path());
    let mut commands = 0;
    for block in readme.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        for shown in block.split("$ online-recall ").skip(1) {
            let (command, shown) = shown.split_once('\n').unwrap();
            let outcome = program::run_line(place.path(), command);
            let printed = String::from_utf8(outcome.printed.clone()).unwrap();
            assert_eq!(lasting(&printed), lasting(shown), "online-recall {command}: {outcome:#?}");
            commands += 1;
        }
    }
    assert!(commands >= 5, "README shows {commands} commands");
}

fn lasting(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim_end);
    let lines = lines.filter(|line| !DIFFERENT.iter().any(|start| line.starts_with(start)));
    lines.filter(|line| !line.is_empty()).collect()
}
