//! What comes out does not depend on how many workers compute it (*deterministic*): not a byte. Another
//! size of epochs only groups the recalled articles into other lists.
//!
//! Catches effects that depend on workers, batches, threads or the order in which they get anywhere.
//! That the results are right is for `replay_oracle.rs` to say.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::collections::BTreeMap;
use std::path::Path;

use testing::exported::Exported;
use testing::oracle::Oracle;
use testing::{folder, program};

/// Replays what was generated into a new store.
fn replayed(place: &Path, workers: usize, size: usize) -> Exported {
    let store = format!("store-{workers}-{size}");
    program::run_line(place, &format!("tables load --history history.tsv --store {store}")).done();
    let line = format!(
        "replay userClick.log --articles new-article.log --similar similar.tsv --store {store} \
         -w {workers} --epoch-records {size} --at 2019-04-11T00:00:00Z"
    );
    program::run_line(place, &line).done();
    Exported::of(&place.join(store))
}

/// What was recalled to whom in a channel, in order, in however many lists.
fn recalled(exported: &Exported, file: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut versions: Vec<_> = exported.rows(file);
    versions.sort_by_key(|row| row[2].parse::<u64>().unwrap());
    let mut recalled: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for row in versions {
        let articles = row[3].trim_matches(['[', ']']).split(", ").map(str::to_owned);
        recalled.entry((row[0].to_owned(), row[1].to_owned())).or_default().extend(articles);
    }
    recalled
}

#[test]
fn any_number_of_workers_exports_the_same_bytes() {
    let place = folder();
    let options = "--seed 3 --clicks 20000 --users 400 --articles 300 --channels 6 --garbage 0.05";
    Oracle::start().generate(place.path(), options);
    let one = replayed(place.path(), 1, 500);
    assert!(one.rows("cb_recall.tsv").len() > 1000, "there is something to compare");
    for workers in [2, 3, 5, 8] {
        replayed(place.path(), workers, 500).must_be(&one, &format!("{workers} workers"));
    }
}

#[test]
fn another_size_of_epochs_recalls_the_same_articles_in_the_same_order() {
    let place = folder();
    let options = "--seed 4 --clicks 3000 --users 60 --articles 200 --channels 4 --garbage 0.05";
    Oracle::start().generate(place.path(), options);
    let usual = replayed(place.path(), 1, 100);
    for (workers, size) in [(2, 1), (1, 7), (3, 101), (5, 1000), (2, 100_000)] {
        let other = replayed(place.path(), workers, size);
        for file in ["hot.tsv", "new.tsv", "similar.tsv", "dead_letters.tsv"] {
            assert!(other.file(file) == usual.file(file), "{file}, epochs of {size}");
        }
        assert_eq!(recalled(&other, "cb_recall.tsv"), recalled(&usual, "cb_recall.tsv"), "{size}");
        let lists = |exported: &Exported| exported.rows("cb_recall.tsv").len();
        assert_eq!(size < 50, lists(&other) > lists(&usual), "epochs of {size} group otherwise");
    }
}
