//! A store that is no longer as it was written is named, or was not needed where it was damaged.
//!
//! Every file of a store is flipped, cut, emptied, zeroed or taken away, one at a time. What the tests
//! cannot show: damage that comes while the store is open.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is a test's verdict"
)]

use std::fs;
use std::path::{Path, PathBuf};

use testing::exported::Exported;
use testing::folder;
use testing::oracle::Oracle;
use testing::program;
use testing::random::Random;

const DAMAGES: [&str; 8] =
    ["flip", "flip", "flip", "truncate", "truncate", "empty", "delete", "zero"];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn damage(file: &Path, how: &str, random: &mut Random) {
    let mut bytes = fs::read(file).unwrap();
    let at = if bytes.is_empty() { 0 } else { random.below(bytes.len()) };
    match how {
        "delete" => return fs::remove_file(file).unwrap(),
        "flip" if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        "truncate" => bytes.truncate(at),
        "zero" => {
            let end = bytes.len().min(at + 4096);
            bytes[at..end].fill(0);
        }
        _ => bytes.clear(),
    }
    fs::write(file, bytes).unwrap();
}

/// Damages each file of a store that holds so many clicks; says how often it was named.
fn named(clicks: usize, seed: u64) -> usize {
    let place = folder();
    let place = place.path();
    let generate = format!("--seed {seed} --clicks {clicks} --users {clicks} --articles 3000");
    Oracle::start().generate(place, &generate);
    let run = |line: &str| program::run_line(place, line).done();
    run("tables load --history history.tsv --similar similar.tsv --store kept");
    run("replay userClick.log --articles new-article.log --epoch-records 1000 \
         --at 2019-04-11T00:00:00Z --store kept");
    let kept = place.join("kept");
    let expected = Exported::of(&kept);
    let mut random = Random::new(seed);
    let mut named = 0;
    for file in files(&kept) {
        let name = file.strip_prefix(&kept).unwrap().to_owned();
        for how in DAMAGES {
            let store = place.join("store");
            if store.exists() {
                fs::remove_dir_all(&store).unwrap();
            }
            testing::copy(&kept, &store);
            damage(&store.join(&name), how, &mut random);
            // Twice: what was named once is named again.
            for _ in 0..2 {
                let outcome = program::run(place, ["export", "--store", "store", "--out", "out"]);
                let case = format!("{} after {how}: {outcome:#?}", name.display());
                match outcome.status.code() {
                    Some(0) => {
                        let found = Exported::read(&place.join("out"));
                        assert!(found == expected, "taken for whole: {case}");
                    }
                    Some(1) => {
                        assert!(outcome.log.contains("store"), "not named: {case}");
                        named += 1;
                    }
                    _ => panic!("no such status: {case}"),
                }
            }
        }
    }
    named
}

#[test]
fn a_damaged_store_is_named_and_never_taken_for_whole() {
    let small = named(3000, 2);
    eprintln!("a store of one journal was named {small} times");
    assert!(small > 0);
}

#[test]
fn a_damaged_store_of_tables_and_journals_is_named_and_never_taken_for_whole() {
    let large = named(if testing::all() { 300_000 } else { 60_000 }, 3);
    eprintln!("a store of tables and journals was named {large} times");
    assert!(large > 0);
}
