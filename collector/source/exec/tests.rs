use std::path::Path;

use super::*;
use crate::source::Source as _;
use crate::source::trial::{Trial, read};

fn exec(given: &[(&str, &str)]) -> (Exec, Vec<String>) {
    read(given, Exec::read)
}

fn with(folder: &Path, command: &str, more: &[(&str, &str)]) -> Exec {
    let position = folder.join("position").to_string_lossy().into_owned();
    let mut given = vec![("command", command)];
    if Tail::of(command).is_some() {
        given.push(("positionFile", &position));
    }
    given.extend_from_slice(more);
    let (exec, found) = exec(&given);
    assert!(found.iter().all(|found| found.contains("it runs as a command")), "{found:?}");
    exec
}

#[test]
fn a_command_runs_and_its_lines_are_put() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(folder.path(), "printf a\\nb\\r\\nc", &[]);
    let trial = Trial::new(100);
    trial.run_to_end(&mut exec);
    assert_eq!(trial.taken(), ["a", "b", "c"]);
    assert!(exec.loses().is_some());
}

#[test]
fn a_shell_gets_the_command_as_one_word() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(
        folder.path(),
        "for i in 1 2 3; do echo $i; done | tail -n 2",
        &[("shell", "/bin/sh -c")],
    );
    let trial = Trial::new(100);
    trial.run_to_end(&mut exec);
    assert_eq!(trial.taken(), ["2", "3"]);
}

#[test]
fn a_full_channel_loses_nothing_of_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(folder.path(), "seq 1 1000", &[("batchSize", "7")]);
    let trial = Trial::new(10);
    let all = trial.run_and_take(&mut exec, 1000);
    assert_eq!(all, (1..=1000).map(|number: u32| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_command_that_goes_on_for_ever_is_ended_with_all_that_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(
        folder.path(),
        "echo x; sleep 1000 & sleep 1000",
        &[("shell", "/bin/sh -c"), ("batchTimeout", "0")],
    );
    let trial = Trial::new(10);
    // It is read to its end, which comes when the last of them has ended.
    assert_eq!(trial.run_and_take(&mut exec, 1), ["x"]);
}

#[test]
fn a_command_runs_again_if_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = with(folder.path(), "echo x", &[("restart", "true"), ("restartThrottle", "0")]);
    let trial = Trial::new(10);
    assert_eq!(trial.run_and_take(&mut exec, 3), ["x", "x", "x"]);
}

#[test]
fn tail_is_followed_and_goes_on_where_it_stood() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let numbers = |range: std::ops::RangeInclusive<u32>| -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    };
    std::fs::write(&log, numbers(1..=30).join("\n") + "\n").unwrap();
    let command = format!("tail -F {}", log.display());
    let mut exec = with(folder.path(), &command, &[]);
    assert!(exec.loses().is_none());
    let trial = Trial::new(100);
    assert_eq!(trial.run_and_take(&mut exec, 10), numbers(21..=30));
    std::fs::rename(&log, folder.path().join("log.1")).unwrap();
    std::fs::write(&log, numbers(31..=90).join("\n") + "\n").unwrap();
    let mut exec = with(folder.path(), &command, &[("batchSize", "7")]);
    let trial = Trial::new(7);
    assert_eq!(trial.run_and_take(&mut exec, 60), numbers(31..=90));
}

#[test]
fn keys_are_known_and_what_cannot_be_is_a_mistake() {
    let (_, found) = exec(&[("command", "tail -F /a"), ("charset", "UTF-16"), ("batchSize", "0")]);
    assert_eq!(found.len(), 2, "{found:?}");
    let (_, found) = exec(&[("command", "x"), ("positionFile", "/p"), ("restart", "true")]);
    assert_eq!(found.len(), 1, "{found:?}");
}
