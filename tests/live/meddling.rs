//! Others at the topics: another member of the group, offsets that are moved, partitions that are added.

use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use testing::kafka::wait_for;
use testing::oracle::Oracle;

use super::input::Input;
use super::judge::Doubts;
use super::site::{Plan, Site};

#[test]
fn another_member_of_the_group_and_offsets_that_it_moves_have_no_effect() {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(3), Input::usual(41, 1500, &mut oracle));
    let mut flow = site.flow(41, false);
    flow.some(300);
    let mut job = site.start(2);
    site.wait_for_mark(&mut job, 2);
    let member = site.topics.member(&site.name);
    member.subscribe(&[&site.topics.clicks]).unwrap();
    wait_for("an assignment", || {
        // What it is given is lost to nobody.
        drop(member.poll(Duration::from_millis(100)));
        (member.assignment().unwrap().count() == 3).then_some(())
    });
    let moved = [0, 7, 123_456];
    let move_offsets = || {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(moved) {
            list.add_partition_offset(&site.topics.clicks, partition, Offset::Offset(offset))
                .unwrap();
        }
        member.commit(&list, CommitMode::Sync).unwrap();
    };
    move_offsets();
    flow.some(300);
    site.wait_until_done(&mut job);
    drop(site.kill(job));
    move_offsets();
    assert_eq!(site.topics.committed(&site.name, 3), moved);
    let mut job = site.start(1);
    flow.rest();
    site.wait_until_done(&mut job);
    member.unsubscribe();
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::None);
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning_without_a_restart() {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(2), Input::usual(42, 1500, &mut oracle));
    let mut job = site.start(2);
    let mut flow = site.flow(42, false);
    flow.some(300);
    site.wait_until_done(&mut job);
    site.topics.grow(5);
    // Those who produce know of them before the job does.
    flow.over(5);
    flow.some(600);
    site.wait_until_done(&mut job);
    // And a start finds them in the ledger.
    drop(site.kill(job));
    let mut job = site.start(3);
    flow.rest();
    site.wait_until_done(&mut job);
    job.stop();
    site.must_be_right(&mut oracle, &Doubts::None);
    let new: u64 = site.ends()[0][2..].iter().sum();
    assert!(new > 100, "the new partitions have {new} records");
}
