//! Files that are written, renamed, copied, cut and deleted, by hand and at random. What is read is noted
//! batch by batch; a run ends by being dropped, as if it was killed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;

use testing::random::Random;

use super::*;

/// A folder of logs, and how one of them is followed.
struct Logs {
    folder: tempfile::TempDir,
    settings: Settings,
}

fn beginning() -> Logs {
    let folder = testing::folder();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let subject = Subject::File(logs.join("log"));
    let mut settings = Settings::new(subject, folder.path().join("position"));
    settings.linger = Duration::from_secs(1000);
    settings.relist = Duration::ZERO;
    Logs { folder, settings }
}

impl Logs {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("logs").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.path(name);
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    fn cut(&self, name: &str) {
        std::fs::OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
    }

    fn follower(&self) -> Follower {
        Follower::open(self.settings.clone()).unwrap()
    }
}

fn lines(follower: &mut Follower) -> Vec<String> {
    let mut all = Vec::new();
    // That a file was cut may be seen when it is read.
    for _ in 0..2 {
        follower.look().unwrap();
        for cell in follower.due() {
            while let Some(lines) = follower.read(cell, 3).unwrap() {
                let bodies = lines.bodies.iter();
                all.extend(bodies.map(|body| String::from_utf8(body.to_vec()).unwrap()));
                follower.note(lines, false).unwrap();
            }
        }
    }
    all
}

#[test]
fn lines_are_read_as_they_end() {
    let place = beginning();
    place.append("log", "a\nb\r\nc");
    let mut follower = place.follower();
    assert_eq!(lines(&mut follower), ["a", "b"]);
    assert!(lines(&mut follower).is_empty());
    place.append("log", "d\n\n\r\n");
    assert_eq!(lines(&mut follower), ["cd", "", ""]);
    place.append("log", &"x\n".repeat(10));
    assert_eq!(lines(&mut follower).len(), 10);
}

#[test]
fn what_was_noted_is_not_read_again_and_what_was_not_is() {
    let place = beginning();
    place.append("log", "a\nb\nc\n");
    let mut follower = place.follower();
    let cell = follower.due()[0];
    let first = follower.read(cell, 2).unwrap().unwrap();
    follower.note(first, true).unwrap();
    let second = follower.read(cell, 2).unwrap().unwrap();
    assert_eq!(second.bodies, ["c"]);
    drop(follower);
    assert_eq!(lines(&mut place.follower()), ["c"]);
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    let place = beginning();
    place.append("log", "a\n");
    let mut follower = place.follower();
    assert_eq!(lines(&mut follower), ["a"]);
    place.append("log", "b\n");
    place.rename("log", "log.1");
    place.append("log", "d\n");
    place.append("log.1", "c\n");
    assert_eq!(lines(&mut follower), ["b", "c", "d"]);
    // Whoever has it open still writes.
    place.append("log.1", "e\n");
    assert_eq!(lines(&mut follower), ["e"]);
}

#[test]
fn a_file_that_is_renamed_while_nobody_looks_is_found_again() {
    let place = beginning();
    place.append("log", "a\n");
    assert_eq!(lines(&mut place.follower()), ["a"]);
    place.append("log", "b\n");
    place.rename("log", "whatever");
    place.append("log", "c\n");
    assert_eq!(lines(&mut place.follower()), ["b", "c"]);
}

#[test]
fn files_that_came_and_were_renamed_while_nobody_looked_are_read() {
    let place = beginning();
    place.append("log.1", "old\n");
    place.append("log.wf", "another log\n");
    place.append("log", "a\n");
    assert_eq!(lines(&mut place.follower()), ["a"]);
    place.append("log", "b\n");
    for (number, text) in ["c\n", "d\n", "e\n"].into_iter().enumerate() {
        place.rename("log", &format!("log.{}", 4 - number));
        place.append("log", text);
        // A clock that stands still tells no order.
        let time = std::time::SystemTime::now() + Duration::from_secs(number as u64);
        std::fs::File::open(place.path("log")).unwrap().set_modified(time).unwrap();
    }
    place.append("log.wf.1", "another log\n");
    let mut follower = place.follower();
    assert_eq!(lines(&mut follower), ["b", "c", "d", "e"]);
    assert!(lines(&mut follower).is_empty());
}

#[test]
fn a_file_that_shrinks_is_read_from_its_start() {
    let place = beginning();
    place.append("log", "aaaa\nbbbb\n");
    let mut follower = place.follower();
    assert_eq!(lines(&mut follower).len(), 2);
    place.cut("log");
    place.append("log", "c\n");
    assert_eq!(lines(&mut follower), ["c"]);
    place.cut("log");
    assert!(lines(&mut follower).is_empty());
    place.append("log", "d\n");
    assert_eq!(lines(&mut follower), ["d"]);
}

#[test]
fn a_file_that_was_cut_and_has_grown_beyond_the_position_is_read_from_its_start() {
    for kill in [false, true] {
        let place = beginning();
        place.append("log", "aaaa\nbbbb\n");
        let mut follower = place.follower();
        assert_eq!(lines(&mut follower).len(), 2);
        place.cut("log");
        place.append("log", "cccc\ndddd\neeee\n");
        if kill {
            drop(follower);
            follower = place.follower();
        }
        assert_eq!(lines(&mut follower), ["cccc", "dddd", "eeee"]);
    }
}

#[test]
fn of_a_file_that_is_copied_and_cut_the_copy_gives_what_was_not_read() {
    for kill in [false, true] {
        let place = beginning();
        place.append("log", "a\nb\n");
        let mut follower = place.follower();
        assert_eq!(lines(&mut follower), ["a", "b"]);
        place.append("log", "c\nd\n");
        place.copy("log", "log.1");
        if !kill {
            // The copy is there, and the file not cut yet.
            follower.look().unwrap();
        }
        place.cut("log");
        place.append("log", "e\nf\ng\nh\ni\n");
        if kill {
            drop(follower);
            follower = place.follower();
        }
        assert_eq!(lines(&mut follower), ["c", "d", "e", "f", "g", "h", "i"]);
        place.rename("log.1", "log.2");
        assert!(lines(&mut follower).is_empty());
        drop(follower);
        assert!(lines(&mut place.follower()).is_empty());
    }
}

#[test]
fn a_copy_that_holds_less_than_was_read_is_not_read() {
    for kill in [false, true] {
        let place = beginning();
        place.append("log", "a\nb\n");
        let mut follower = place.follower();
        place.copy("log", "log.1");
        place.append("log", "c\n");
        assert_eq!(lines(&mut follower), ["a", "b", "c"]);
        place.cut("log");
        if kill {
            drop(follower);
            follower = place.follower();
        }
        assert!(lines(&mut follower).is_empty());
        place.append("log", "d\n");
        assert_eq!(lines(&mut follower), ["d"]);
    }
}

#[test]
fn a_copy_that_is_being_made_is_not_read() {
    let place = beginning();
    place.append("log", "a\nb\nc\n");
    let mut follower = place.follower();
    for piece in ["", "a", "\nb\n", "c\n"] {
        place.append("log.1", piece);
        follower.look().unwrap();
    }
    assert_eq!(lines(&mut follower), ["a", "b", "c"]);
    place.append("log", "d\n");
    place.append("log.1", "d\n");
    assert_eq!(lines(&mut follower), ["d"]);
    place.cut("log");
    assert!(lines(&mut follower).is_empty());
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let place = beginning();
    place.append("log", "a\nb\n");
    assert_eq!(lines(&mut place.follower()), ["a", "b"]);
    // In place of waiting for the system to use the inode again: the same inode, other contents, other name.
    place.rename("log", "log.1");
    place.cut("log.1");
    place.append("log.1", "c\nd\ne\n");
    assert_eq!(lines(&mut place.follower()), ["c", "d", "e"]);
    place.rename("log.1", "other");
    place.cut("other");
    place.append("other", "f\n");
    assert!(lines(&mut place.follower()).is_empty());
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_closed() {
    let mut place = beginning();
    place.settings.linger = Duration::ZERO;
    place.append("log", "a\n");
    let mut follower = place.follower();
    assert_eq!(lines(&mut follower), ["a"]);
    place.append("log", "b\nc");
    std::fs::remove_file(place.path("log")).unwrap();
    assert_eq!(lines(&mut follower), ["b", "c"]);
    follower.look().unwrap();
    assert!(follower.files.iter().all(|file| !file.is_open()));
    place.append("log", "d\n");
    assert_eq!(lines(&mut follower), ["d"]);
}

#[test]
fn the_last_line_of_a_renamed_file_needs_no_end() {
    let mut place = beginning();
    place.append("log", "a\nb");
    let mut follower = place.follower();
    place.rename("log", "log.1");
    assert_eq!(lines(&mut follower), ["a"]);
    place.append("log.1", "b\nc");
    assert_eq!(lines(&mut follower), ["bb"]);
    drop(follower);
    place.settings.linger = Duration::ZERO;
    assert_eq!(lines(&mut place.follower()), ["c"]);
    assert!(lines(&mut place.follower()).is_empty());
}

#[test]
fn a_first_start_begins_where_it_is_told_and_a_later_one_where_it_stood() {
    let mut place = beginning();
    place.settings.start = Start::Last(1);
    place.append("log", "a\nb\n");
    assert_eq!(lines(&mut place.follower()), ["b"]);
    place.append("log", "c\nd\n");
    assert_eq!(lines(&mut place.follower()), ["c", "d"]);
}

#[test]
fn a_file_behind_a_link_is_followed_where_the_link_points_to() {
    let place = beginning();
    place.append("day.1", "a\n");
    let link = |to: &str| {
        let path = place.path("log");
        if path.is_symlink() {
            std::fs::remove_file(&path).unwrap();
        }
        std::os::unix::fs::symlink(place.path(to), path).unwrap();
    };
    link("day.1");
    let mut follower = place.follower();
    assert_eq!(lines(&mut follower), ["a"]);
    place.append("day.1", "b\n");
    place.append("day.2", "c\n");
    link("day.2");
    assert_eq!(lines(&mut follower), ["b", "c"]);
}

#[test]
fn a_file_in_a_folder_that_has_another_name_is_followed_with_its_copies() {
    let mut place = beginning();
    let alias = place.folder.path().join("alias");
    std::os::unix::fs::symlink(place.path(""), &alias).unwrap();
    place.settings.subject = Subject::File(alias.join("log"));
    place.append("log", "a\n");
    assert_eq!(lines(&mut place.follower()), ["a"]);
    place.append("log", "b\n");
    place.copy("log", "log.1");
    place.cut("log");
    place.append("log", "c\n");
    assert_eq!(lines(&mut place.follower()), ["b", "c"]);
    place.rename("log.1", "log.3");
    place.rename("log", "log.2");
    place.append("log", "d\n");
    place.rename("log", "log.1");
    place.append("log", "e\n");
    assert_eq!(lines(&mut place.follower()), ["d", "e"]);
}

#[test]
fn groups_read_a_file_once_whatever_it_is_renamed_to() {
    let mut place = beginning();
    let (properties, findings) = (Vec::new(), crate::findings::Findings::default());
    let keys = crate::keys::Keys::new("a1", "sources.r1", properties, &findings);
    let pattern = |text: &str| crate::source::pattern::Pattern::read(&keys, "x", text);
    let folder = place.path("");
    let folder = folder.parent().unwrap().join("logs");
    place.settings.subject = Subject::Groups(vec![
        folder::Group { folder: folder.clone(), pattern: pattern("log.*") },
        folder::Group { folder, pattern: pattern("other") },
    ]);
    place.append("log", "a\n");
    place.append("other", "b\n");
    place.append("third", "x\n");
    let mut follower = place.follower();
    let mut all = lines(&mut follower);
    all.sort();
    assert_eq!(all, ["a", "b"]);
    place.append("log", "c\n");
    place.rename("log", "log.1");
    place.append("log", "d\n");
    assert_eq!(lines(&mut follower), ["c", "d"]);
    place.append("other", "e\n");
    place.rename("other", "elsewhere");
    drop(follower);
    let mut follower = place.follower();
    assert_eq!(lines(&mut follower), ["e"]);
    place.copy("log", "log.2");
    place.cut("log");
    place.append("log", "f\n");
    assert_eq!(lines(&mut follower), ["f"]);
    // Two files may hold the same.
    place.append("log-a", "f\n");
    assert_eq!(lines(&mut follower), ["f"]);
}

/// What a writer and whoever rotates its log may do, in any order; between, the follower reads, or is killed
/// and begins anew. Every line is read once; one that is cut off before it could be read is none.
#[test]
fn whatever_happens_to_a_log_every_line_is_read_once() {
    let seeds = if testing::all() { 1..=2000 } else { 1..=300 };
    let one = std::env::var("ONLINE_RECALL_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in one.map_or(seeds, |seed: u64| seed..=seed) {
        let result = std::panic::catch_unwind(|| any_life_of_a_log(seed));
        assert!(result.is_ok(), "seed {seed} failed: ONLINE_RECALL_TEST_SEED={seed}");
    }
}

fn any_life_of_a_log(seed: u64) {
    let mut random = Random::new(seed);
    let place = beginning();
    let mut written = 0_u64;
    let mut read: BTreeMap<u64, u64> = BTreeMap::new();
    // What a channel that outlives the reader knows.
    let last = RefCell::new(Vec::new());
    let begin = || {
        let settings = Settings { last_batches: last.borrow().clone(), ..place.settings.clone() };
        Follower::open(settings).unwrap()
    };
    let mut follower = Some(begin());
    let write = |written: &mut u64, random: &mut Random, name: &str| {
        for _ in 0..random.below(40) {
            let fill = "x".repeat(random.below(60));
            place.append(name, &format!("{written} {fill}\n"));
            *written += 1;
        }
    };
    let shift = |random: &mut Random| {
        // As logrotate does: the oldest goes.
        let most = 2 + random.below(3);
        for number in (1..most).rev() {
            if place.path(&format!("log.{number}")).exists() {
                place.rename(&format!("log.{number}"), &format!("log.{}", number + 1));
            }
        }
    };
    // Says whether it was killed when a batch was put and not noted.
    let mut take = |follower: &mut Follower, random: &mut Random, all: bool| {
        follower.look().unwrap();
        for cell in follower.due() {
            while let Some(lines) = follower.read(cell, 1 + random.below(20)).unwrap() {
                let batch = vec![follower.batch(&lines)];
                let is_there = last.replace(batch.clone()) == batch;
                for body in lines.bodies.iter().filter(|_| !is_there) {
                    let number = body.split(|byte| *byte == b' ').next().unwrap();
                    let number: u64 = std::str::from_utf8(number).unwrap().parse().unwrap();
                    *read.entry(number).or_default() += 1;
                }
                if !all && random.percent(10) {
                    return true;
                }
                follower.note(lines, false).unwrap();
                if !all && random.percent(20) {
                    return false;
                }
            }
        }
        false
    };
    for _ in 0..30 + random.below(60) {
        match random.below(100) {
            0..40 => write(&mut written, &mut random, "log"),
            40..65 => match &mut follower {
                Some(one) => {
                    if take(one, &mut random, false) {
                        follower = None;
                    }
                }
                None => follower = Some(begin()),
            },
            65..73 => follower = None,
            // What goes away was read before: else it is lost, whatever is done.
            choice => {
                if choice < 90 && place.path("log.2").exists() {
                    let mut one = follower.take().unwrap_or_else(begin);
                    take(&mut one, &mut random, true);
                    take(&mut one, &mut random, true);
                    if random.percent(50) {
                        follower = Some(one);
                    }
                    for number in 2..6 {
                        let path = place.path(&format!("log.{number}"));
                        if path.exists() {
                            std::fs::remove_file(path).unwrap();
                        }
                    }
                }
                if !place.path("log").exists() {
                    continue;
                }
                match choice {
                    73..80 => {
                        shift(&mut random);
                        place.rename("log", "log.1");
                        // Whoever has it open still writes, and a new one is made or not.
                        if random.percent(50) {
                            write(&mut written, &mut random, "log.1");
                        }
                        if random.percent(70) {
                            place.append("log", "");
                        }
                    }
                    80..90 => {
                        shift(&mut random);
                        place.copy("log", "log.1");
                        if random.percent(30)
                            && let Some(one) = &mut follower
                            && take(one, &mut random, false)
                        {
                            follower = None;
                        }
                        place.cut("log");
                    }
                    _ => {
                        let mut one = follower.take().unwrap_or_else(begin);
                        take(&mut one, &mut random, true);
                        take(&mut one, &mut random, true);
                        if random.percent(50) {
                            follower = Some(one);
                        }
                        if choice < 96 {
                            place.cut("log");
                        } else {
                            std::fs::remove_file(place.path("log")).unwrap();
                        }
                    }
                }
            }
        }
    }
    let mut follower = follower.unwrap_or_else(begin);
    take(&mut follower, &mut random, true);
    take(&mut follower, &mut random, true);
    let missed: Vec<_> = (0..written).filter(|number| !read.contains_key(number)).collect();
    let doubled: Vec<_> = read.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missed.is_empty() && doubled.is_empty(), "{missed:?} {doubled:?} of {written}");
}

/// What a source that was killed between the channels' commit and its own note finds when it is back.
#[test]
fn a_batch_that_was_put_and_not_noted_is_read_again_as_it_was() {
    let mut place = beginning();
    place.append("log", "a\nb\nc\n");
    let mut follower = place.follower();
    let cell = follower.due()[0];
    let first = follower.read(cell, 1).unwrap().unwrap();
    let put = follower.batch(&first);
    follower.note(first, true).unwrap();
    let second = follower.read(cell, 5).unwrap().unwrap();
    assert_eq!(second.bodies, ["b", "c"]);
    let (put, unnoted) = ([put], [follower.batch(&second)]);
    assert_ne!(put, unnoted);
    drop(follower);
    place.append("log", "d\n");
    let mut read = |last: &[Bytes], most: usize| {
        place.settings.last_batches = last.to_vec();
        let mut follower = place.follower();
        let lines = follower.read(cell, most).unwrap().unwrap();
        let (batch, bodies) = (follower.batch(&lines), lines.bodies.clone());
        follower.note(lines, false).unwrap();
        let next = follower.read(cell, 5).unwrap().map(|lines| follower.batch(&lines));
        (bodies, batch, next)
    };
    // Though more has come, and less is asked for.
    let (bodies, batch, next) = read(&unnoted, 1);
    assert_eq!(bodies, ["b", "c"]);
    assert_eq!(batch, unnoted[0]);
    assert_ne!(next.unwrap(), unnoted[0]);
    // It is noted now: neither it nor one that was noted before says anything any more.
    assert_eq!(read(&[unnoted, put].concat(), 5).0, ["d"]);
}

#[test]
fn a_batch_of_which_the_file_has_something_else_now_is_not_taken_for_it() {
    let mut place = beginning();
    place.append("log", "a\nb\n");
    let mut follower = place.follower();
    let cell = follower.due()[0];
    let lines = follower.read(cell, 2).unwrap().unwrap();
    place.settings.last_batches = vec![follower.batch(&lines)];
    drop(follower);
    place.cut("log");
    place.append("log", "a\nc\n");
    let mut follower = place.follower();
    let lines = follower.read(cell, 1).unwrap().unwrap();
    assert_eq!(lines.bodies, ["a"]);
    assert_ne!(follower.batch(&lines), place.settings.last_batches[0]);
}
