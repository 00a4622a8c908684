//! What fails, stands still, or fails after it had its effect.

use super::faulty::{Fault, Faulty, Plan};
use super::*;

fn trial(
    more: &[(&str, &str)],
    faults: &[(Action, &'static str, Fault, usize)],
) -> (Trial, Arc<Plan>) {
    let mut trial = Trial::new(&folder(), "%{h}", &[&[("hdfs.batchSize", "2")], more].concat());
    let plan = Plan::new(faults);
    let storage = Arc::new(Faulty(Arc::clone(&plan)));
    let runtime = work::runtime().unwrap();
    trial.sink.work = Some(Work::start_on(&trial.sink.settings, runtime, storage).unwrap());
    (trial, plan)
}

fn of(body: &str, host: &str) -> Event {
    event(body, &[("h", host)])
}

#[test]
fn a_file_that_stands_still_holds_up_no_other() {
    let (mut trial, plan) = trial(&[], &[(Action::Sync, "/slow/", Fault::Stands, 1)]);
    trial.put(&[of("1", "slow"), of("2", "quick")]);
    trial.put(&[of("3", "quick"), of("4", "quick")]);
    trial.put(&[of("5", "slow"), of("6", "slow")]);
    trial.turn_until(|trial| trial.channel.len() == 4);
    assert_eq!(trial.shown()[0], "quick/FlumeData.N.tmp: 2|3|4|");
    assert_eq!(trial.count(Count::EventDrainSuccessCount), 2);
    plan.release();
    trial.deliver();
    trial.close();
    assert_eq!(trial.shown(), ["quick/FlumeData.N: 2|3|4|", "slow/FlumeData.N: 1|5|6|"]);
}

#[test]
fn what_a_failed_file_did_not_sync_is_written_into_another_and_nothing_twice() {
    for action in [Action::Create, Action::Write, Action::Sync] {
        let (mut trial, plan) = trial(&[], &[(action, "/bad/", Fault::Fails, 2)]);
        trial.put(&[of("1", "bad"), of("2", "good")]);
        trial.put(&[of("3", "good"), of("4", "bad")]);
        trial.sink.start(&trial.tap).unwrap();
        // A turn fails only where nothing else went on.
        while !trial.channel.is_empty() {
            if let Err(error) = trial.sink.turn(&trial.tap) {
                let error = crate::stop::chain(&*error);
                assert!(error.contains("events wait for a file: cannot "), "{error}");
            }
        }
        trial.close();
        assert!(plan.is_used_up());
        assert_eq!(
            trial.shown(),
            ["bad/FlumeData.N: 1|4|", "good/FlumeData.N: 2|3|"],
            "{action:?}"
        );
        assert!(trial.count(Count::EventWriteFail) >= 2);
    }
}

#[test]
fn synced_events_of_a_file_that_fails_stay_in_it() {
    let (mut trial, plan) = trial(&[], &[]);
    trial.put(&[of("1", "a"), of("2", "a")]);
    trial.deliver();
    plan.add(Action::Sync, "/a/", Fault::Fails);
    trial.put(&[of("3", "a")]);
    while !trial.channel.is_empty() {
        trial.sink.turn(&trial.tap).ok();
    }
    trial.close();
    assert!(plan.is_used_up());
    assert_eq!(trial.shown(), ["a/FlumeData.N: 1|2|", "a/FlumeData.N: 3|"]);
}

#[test]
fn a_sync_that_fails_after_its_effect_doubles_nothing_in_a_file_that_was_new() {
    let faults = [(Action::Sync, "/a/", Fault::HasEffectAndFails, 1)];
    let (mut trial, plan) = trial(&[], &faults);
    trial.put(&[of("1", "a"), of("2", "a")]);
    while !trial.channel.is_empty() {
        trial.sink.turn(&trial.tap).ok();
    }
    trial.close();
    assert!(plan.is_used_up());
    assert_eq!(trial.shown(), ["a/FlumeData.N: 1|2|"]);
}

#[test]
fn a_sync_that_fails_after_its_effect_doubles_what_was_in_doubt_and_nothing_else() {
    let (mut trial, plan) = trial(&[], &[]);
    trial.put(&[of("1", "a"), of("2", "a")]);
    trial.deliver();
    plan.add(Action::Sync, "/a/", Fault::HasEffectAndFails);
    trial.put(&[of("3", "a"), of("4", "a")]);
    while !trial.channel.is_empty() {
        trial.sink.turn(&trial.tap).ok();
    }
    trial.close();
    assert_eq!(trial.shown(), ["a/FlumeData.N: 1|2|3|4|", "a/FlumeData.N: 3|4|"]);
}

#[test]
fn a_sync_for_which_nobody_was_there_is_tried_again_and_doubles_nothing() {
    let (mut trial, plan) = trial(&[], &[]);
    trial.put(&[of("1", "a"), of("2", "a")]);
    trial.deliver();
    for _ in 0..3 {
        plan.add(Action::Sync, "/a/", Fault::IsAway);
    }
    trial.put(&[of("3", "a"), of("4", "a")]);
    // No turn fails.
    trial.deliver();
    trial.close();
    assert!(plan.is_used_up());
    assert_eq!(trial.shown(), ["a/FlumeData.N: 1|2|3|4|"]);
    assert_eq!(trial.count(Count::EventWriteFail), 0);
}

#[test]
fn a_file_system_that_is_away_for_longer_than_a_call_may_take_has_failed() {
    let away = [(Action::Sync, "/a/", Fault::IsAway, usize::MAX)];
    let (mut trial, _) = trial(&[("hdfs.callTimeout", "300")], &away);
    trial.put(&[of("1", "a")]);
    trial.sink.start(&trial.tap).unwrap();
    let error = loop {
        if let Err(error) = trial.sink.turn(&trial.tap) {
            break crate::stop::chain(&*error);
        }
    };
    // It ends with what is wrong.
    assert!(error.contains("cannot sync") && error.contains("unreachable"), "{error}");
    assert_eq!(trial.count(Count::EventDrainSuccessCount), 0);
}

#[test]
fn when_nothing_goes_on_the_turn_fails_and_what_is_taken_is_bounded() {
    let (mut trial, _) = trial(&[], &[(Action::Look, "/a/", Fault::Fails, usize::MAX)]);
    let many: Vec<_> = (0..30_000).map(|number| of(&number.to_string(), "a")).collect();
    trial.put(&many);
    trial.sink.start(&trial.tap).unwrap();
    let mut failures = 0;
    while failures < 20 {
        failures += u32::from(trial.sink.turn(&trial.tap).is_err());
        let out = trial.count(Count::EventDrainAttemptCount);
        assert!(out <= 10_002, "{out}");
    }
    assert_eq!(trial.count(Count::EventDrainSuccessCount), 0);
    // Passed over, it gives all back, in order.
    while !trial.sink.settle(&trial.tap).unwrap() {}
    let taken = trial.tap.take(30_000).unwrap();
    assert!(taken.events() == many, "{:?} …", &taken.events()[..10]);
}

#[test]
fn a_close_or_rename_that_fails_is_tried_again_or_left_to_the_next_start() {
    let faults =
        [(Action::Close, "/a/", Fault::Fails, 1), (Action::Rename, "/a/", Fault::Fails, 1)];
    let keys = [("hdfs.idleTimeout", "1"), ("hdfs.retryInterval", "1"), ("hdfs.closeTries", "2")];
    let (mut first, _) = trial(&keys, &faults);
    first.put(&[of("1", "a")]);
    first.deliver();
    first.turn_until(|trial| trial.shown() == ["a/FlumeData.N: 1|"]);
    assert_eq!(first.count(Count::ConnectionFailedCount), 1);

    let (mut second, _) = trial(&[("hdfs.closeTries", "1")], &[faults[1]]);
    second.put(&[of("1", "a")]);
    second.deliver();
    second.close();
    assert_eq!(second.shown(), ["a/FlumeData.N.tmp: 1|"]);
    let mut next = Trial::new(&second.folder, "b", &[]);
    next.sink.start(&next.tap).unwrap();
    next.turn_until(|trial| trial.shown() == ["a/FlumeData.N: 1|"]);
}

#[test]
fn a_rename_whose_answer_is_lost_has_happened() {
    let faults = [(Action::Rename, "/a/", Fault::HasEffectAndFails, 1)];
    let (mut trial, _) = trial(&[("hdfs.idleTimeout", "1")], &faults);
    trial.put(&[of("1", "a")]);
    trial.deliver();
    trial.turn_until(|trial| trial.count(Count::ConnectionFailedCount) == 1);
    let list = trial.folder.path().join("home/open-files.json");
    trial.turn_until(|_| std::fs::read_to_string(&list).unwrap().contains("ended"));
    assert_eq!(trial.shown(), ["a/FlumeData.N: 1|"]);
}

#[test]
fn a_call_that_takes_too_long_has_failed() {
    let (mut trial, plan) =
        trial(&[("hdfs.callTimeout", "50")], &[(Action::Sync, "/a/", Fault::Stands, 1)]);
    trial.put(&[of("1", "a")]);
    trial.sink.start(&trial.tap).unwrap();
    let mut said = String::new();
    while !trial.channel.is_empty() {
        if let Err(error) = trial.sink.turn(&trial.tap) {
            said = crate::stop::chain(&*error);
        }
    }
    plan.release();
    trial.close();
    assert!(said.contains("cannot sync") && said.contains("hdfs.callTimeout"), "{said}");
    assert_eq!(trial.shown(), ["a/FlumeData.N: 1|"]);
}
