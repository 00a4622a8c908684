//! A disk that is full: a clear error, nothing half written taken for whole, and where there is room
//! again the same command completes.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::fs;

use testing::disk::Disk;
use testing::exported::{Exported, totals_must_be};
use testing::oracle::Oracle;
use testing::{folder, program};

#[test]
fn a_replay_that_fills_the_disk_says_so_and_completes_where_there_is_room() {
    let place = folder();
    let path = |name: &str| place.path().join(name);
    let Some(disk) = Disk::mount(&path("disk"), "2m") else { return };
    let options = "--seed 6 --clicks 60000 --users 40000 --articles 500 --epoch-records 500";
    let mut oracle = Oracle::start();
    oracle.generate(place.path(), options);
    oracle.judge(&path("plan.json"), &path("expected"));
    let expected = Exported::read(&path("expected"));
    let run = |line: &str| program::run_line(place.path(), line);
    let load = "tables load --history history.tsv --similar similar.tsv --store";
    let replay = "replay userClick.log --articles new-article.log --epoch-records 500 \
                  --at 2019-04-11T00:00:00Z --store";

    run(&format!("{load} disk/s")).done();
    let said = ["disk/s", "No space left on device"];
    run(&format!("{replay} disk/s")).refused(1, &said);
    // It fails again in the same way, and does not get worse.
    run(&format!("{replay} disk/s")).refused(1, &["disk/s"]);

    // What stands, copied to where there is room, is what the epochs up to the mark left.
    testing::copy(&path("disk/s"), &path("copy"));
    let job = run("show job --store copy --json").done().json();
    let mark = job["epoch_mark"].as_u64().unwrap();
    assert!(0 < mark && mark < 120, "the disk was full in the middle: {job}");
    run(&format!("{replay} copy -w 3")).done();
    Exported::of(&path("copy")).must_be(&expected, "completed in a copy");
    totals_must_be(&path("copy"), &path("expected/totals.json"));

    disk.grow("300m");
    run(&format!("{replay} disk/s -w 2")).done();
    Exported::of(&path("disk/s")).must_be(&expected, "completed in place");
}

#[test]
fn a_load_or_an_export_that_fills_the_disk_leaves_what_stood_there() {
    let place = folder();
    let path = |name: &str| place.path().join(name);
    let Some(disk) = Disk::mount(&path("disk"), "3m") else { return };
    let similar = |neighbour: u32, count: u32| -> String {
        (0..count).map(|n| format!("{}\t{}\t0.5\n", n / 3, neighbour + n)).collect()
    };
    fs::write(path("few.tsv"), similar(1, 9000)).unwrap();
    fs::write(path("many.tsv"), similar(2, 200_000)).unwrap();
    let run = |line: &str| program::run_line(place.path(), line);

    run("tables load --similar few.tsv --store disk/s").done();
    let before = Exported::of(&path("disk/s"));
    run("tables load --similar many.tsv --store disk/s")
        .refused(1, &["disk/s", "No space left on device"]);
    testing::copy(&path("disk/s"), &path("copy"));
    Exported::of(&path("copy")).must_be(&before, "after a load that found no room");
    disk.grow("300m");
    Exported::of(&path("disk/s")).must_be(&before, "after there is room again");
    run("tables load --similar many.tsv --store disk/s").done();
    run("tables load --similar many.tsv --store copy").done();
    Exported::of(&path("disk/s"))
        .must_be(&Exported::of(&path("copy")), "loaded where there is room");

    // An export replaces a file only by a whole one.
    let whole = Exported::of(&path("disk/s"));
    run("export --store copy --out disk/out").done();
    fs::write(path("disk/filler"), vec![0; 1 << 20]).unwrap();
    let used = rustix::fs::statvfs(path("disk").as_path()).unwrap();
    let used = (used.f_blocks - used.f_bavail) * used.f_frsize;
    disk.grow(&(used + (64 << 10)).to_string());
    run("export --store copy --out disk/out")
        .refused(1, &["disk/out/similar.tsv", "No space left on device"]);
    Exported::read(&path("disk/out")).must_be(&whole, "after an export that found no room");
}
