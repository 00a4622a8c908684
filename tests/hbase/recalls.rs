//! Receipt and mailbox.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use online_recall::ledger::{Fence, now};
use online_recall::outside::Told;
use testing::kafka::LONG;
use testing::proxy::{Fault, Proxy};
use testing::random::Random;

use super::site::{Sink, Site, cell, client, recall, request, text};

#[test]
fn a_list_stands_in_the_history_at_its_date_and_in_the_mailbox_at_the_servers() {
    let site = Site::new("both_puts");
    let mut sink = Sink::start(&site.client, 0);
    let time = now() - 1_000_000;
    let recalls =
        [recall("2", 18, &[116644, 18577]), recall("2", 0, &[5]), recall("ü ü", 7, &[-1])];
    let before = now();
    sink.recalls(&site.binding(1, time), &recalls);
    sink.recalled(1);
    for recall in &recalls {
        let ids: Vec<_> = recall.articles.iter().map(|article| article.0).collect();
        let history = site.versions(&site.history, &recall.cell);
        assert_eq!(history, [(time, text(&ids))]);
        let mailed = site.versions(&site.mailbox, &recall.cell);
        assert_eq!(mailed.len(), 1, "{mailed:?}");
        assert_eq!(mailed[0].1, text(&ids));
        assert!((before..=now()).contains(&mailed[0].0), "{mailed:?}");
    }
}

#[test]
fn lists_of_one_cell_follow_each_other_with_dates_of_their_own_whatever_others_do() {
    let site = Site::new("order");
    let mut sink = Sink::start(&site.client, 0);
    let time = now();
    // All at once: one cell in every epoch, many others now and then, and epochs without any.
    let mut random = Random::new(7);
    let mut expected = vec![Vec::new(); 40];
    for epoch in 1..=30 {
        let mut recalls = vec![recall("0", 18, &[epoch])];
        expected[0].push(text(&[epoch]));
        for (user, expected) in expected.iter_mut().enumerate().skip(1) {
            if random.percent(30) {
                recalls.push(recall(&user.to_string(), 18, &[epoch, -epoch]));
                expected.push(text(&[epoch, -epoch]));
            }
        }
        sink.recalls(&site.binding(epoch.cast_unsigned(), time + epoch.cast_unsigned()), &recalls);
    }
    sink.recalls(&site.binding(31, time + 31), &[]);
    (1..=31).for_each(|epoch| sink.recalled(epoch));
    for (user, lists) in expected.iter().enumerate() {
        let cell = cell(&user.to_string(), 18);
        assert_eq!(&site.mailed(&cell), lists, "user {user}");
        let history = site.versions(&site.history, &cell);
        assert_eq!(&history.into_iter().map(|(_, list)| list).collect::<Vec<_>>(), lists);
    }
    let dates: Vec<_> =
        site.versions(&site.mailbox, &cell("0", 18)).into_iter().map(|(at, _)| at).collect();
    assert!(dates.windows(2).all(|pair| pair[1] >= pair[0] + 2), "{dates:?}");
}

#[test]
fn nothing_of_a_later_epoch_is_sent_before_both_puts_of_this_one_are_acknowledged() {
    let site = Site::new("later");
    let proxy = Proxy::before(&site.server, 1);
    let mut sink = Sink::start(&client(&[&proxy.address()]), 0);
    let time = now();
    // The connection is there before, so that what is held is a reply.
    sink.recalls(&site.binding(1, time), &[recall("9", 1, &[1])]);
    sink.recalled(1);
    proxy.fault(Fault::HoldReplies);
    sink.recalls(&site.binding(2, time + 2), &[recall("2", 18, &[1])]);
    sink.recalls(&site.binding(3, time + 3), &[recall("2", 18, &[2])]);
    proxy.until(|counts| counts.held > 0);
    // The receipt of epoch 2 has been put, and its acknowledgement is held: nothing else was sent.
    let two = cell("2", 18);
    assert_eq!(site.versions(&site.history, &two), [(time + 2, text(&[1]))]);
    assert!(site.mailed(&two).is_empty());
    proxy.pass();
    sink.recalled(2);
    sink.recalled(3);
    assert_eq!(site.mailed(&two), [text(&[1]), text(&[2])]);
}

#[test]
fn a_user_whose_put_is_held_up_holds_up_no_other_user() {
    let site = Site::new("held_up");
    let proxy = Proxy::before(&site.server, 1);
    let mut sink = Sink::start(&client(&[&proxy.address()]), 0);
    let time = now();
    proxy.fault(Fault::HoldReplies);
    sink.recalls(&site.binding(1, time), &[recall("slow", 18, &[1])]);
    let held = proxy.until(|counts| counts.held > 0).held;
    sink.recalls(&site.binding(2, time + 2), &[recall("quick", 18, &[2])]);
    proxy.until(|counts| counts.held > held);
    assert_eq!(site.versions(&site.history, &cell("quick", 18)), [(time + 2, text(&[2]))]);
    assert!(sink.told.is_empty());
    proxy.pass();
    sink.recalled(1);
    sink.recalled(2);
}

#[test]
fn a_lost_reply_doubles_nothing_and_loses_nothing() {
    for call in ["mutateRows", "mutateRowsTs"] {
        let site = Site::new(&format!("lost_{call}"));
        let proxy = Proxy::before(&site.server, 1);
        let mut sink = Sink::start(&client(&[&proxy.address()]), 0);
        let time = now();
        proxy.fault(Fault::lose_replies_to(&request(call)));
        let recalls: Vec<_> =
            (0..300).map(|user| recall(&user.to_string(), 3, &[user, 7])).collect();
        sink.recalls(&site.binding(1, time), &recalls);
        proxy.until(|counts| counts.lost >= 2);
        proxy.pass();
        sink.recalled(1);
        for user in 0..300_i64 {
            let cell = cell(&user.to_string(), 3);
            assert_eq!(site.mailed(&cell), [text(&[user, 7])], "{call}");
            assert_eq!(site.versions(&site.history, &cell), [(time, text(&[user, 7]))], "{call}");
        }
    }
}

#[test]
fn in_doubt_a_list_that_a_reader_took_comes_again_and_no_other_does() {
    let site = Site::new("taken");
    let proxy = Proxy::before(&site.server, 1);
    let mut sink = Sink::start(&client(&[&proxy.address()]), 0);
    let recalls: Vec<_> = (0..9).map(|user| recall(&user.to_string(), 18, &[user, 7])).collect();
    let taken = cell("4", 18);
    // The lists stand, and the reply that says so never comes.
    proxy.fault(Fault::HoldRepliesTo(request("mutateRows")));
    sink.recalls(&site.binding(1, now()), &recalls);
    proxy.until(|counts| counts.held > 0);
    assert_eq!(site.mailed(&taken), [text(&[4, 7])]);
    site.delete(&site.mailbox, site.mailbox.spot(&taken));
    proxy.cut();
    proxy.pass();
    sink.recalled(1);
    assert!(proxy.counts().cut > 0);
    for user in 0..9_i64 {
        assert_eq!(site.mailed(&cell(&user.to_string(), 18)), [text(&[user, 7])], "user {user}");
    }
}

#[test]
fn a_second_run_sends_of_what_stands_only_what_is_not_in_the_mailbox() {
    let site = Site::new("second_run");
    let (time, later) = (now(), now() + 5);
    let both = cell("both", 18);
    let receipt_only = cell("receipt", 18);
    let neither = cell("neither", 18);
    let late = cell("late", 18);
    for cell in [&both, &receipt_only] {
        site.put(&site.history, site.history.spot(cell), &text(&[1, 2]), Some(time));
    }
    // Among other lists, and as another writer would write it.
    for list in [&text(&[8]), "[1,2,]", "['nonsense", &text(&[2, 1])] {
        site.put(&site.mailbox, site.mailbox.spot(&both), list, None);
    }
    // A call that was given up has landed after the history was read.
    site.put(&site.mailbox, site.mailbox.spot(&late), &text(&[1, 2]), None);
    let stands = |user| dataflows::Recall { stands: true, ..recall(user, 18, &[1, 2]) };
    let again = [
        stands("both"),
        stands("receipt"),
        recall("neither", 18, &[1, 2]),
        recall("late", 18, &[1, 2]),
    ];
    let before = site.mailed(&both);
    let mut sink = Sink::start(&site.client, 1);
    sink.recalls(&site.binding(1, time), &again);
    sink.recalls(&site.binding(2, later), &[recall("both", 18, &[3])]);
    sink.recalled(1);
    sink.recalled(2);
    assert_eq!(site.mailed(&both), [before, vec![text(&[3])]].concat());
    for cell in [&receipt_only, &neither, &late] {
        assert_eq!(site.mailed(cell), [text(&[1, 2])], "{cell:?}");
        assert_eq!(site.versions(&site.history, cell), [(time, text(&[1, 2]))], "{cell:?}");
    }
}

#[test]
fn nothing_is_sent_before_a_token_is_confirmed() {
    let site = Site::new("fenced");
    let fence = Arc::new(Fence::default());
    let mut fenced = Sink::behind(&site.client, 0, &fence);
    let time = now();
    fenced.recalls(&site.binding(1, time), &[recall("2", 18, &[1])]);
    // Meanwhile another one, whose token stands, does much.
    let mut free = Sink::start(&site.client, 0);
    for epoch in 1..=20 {
        free.recalls(&site.binding(epoch, time + epoch), &[recall("3", 18, &[1])]);
        free.recalled(epoch);
    }
    assert!(site.mailed(&cell("2", 18)).is_empty());
    assert!(site.versions(&site.history, &cell("2", 18)).is_empty());
    fence.confirm(Instant::now());
    fenced.recalled(1);
    assert_eq!(site.mailed(&cell("2", 18)), [text(&[1])]);
}

#[test]
fn a_job_that_stops_waits_for_no_token_and_no_server() {
    let site = Site::new("stopped");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut fenced = Sink::behind(&site.client, 0, &Arc::default());
    let mut waiting = Sink::start(&client(&[&gone]), 0);
    for sink in [&mut fenced, &mut waiting] {
        sink.recalls(&site.binding(1, now()), &[recall("2", 18, &[1])]);
        sink.stop.stop();
        assert!(matches!(sink.told.recv_timeout(LONG).unwrap(), Told::Stopped));
    }
    assert!(site.versions(&site.history, &cell("2", 18)).is_empty());
}

#[test]
fn a_missing_table_ends_the_job_with_the_line_that_makes_it() {
    let server = testing::servers::hbase();
    for missing in ["history", "mailbox"] {
        let site = Site::without_tables(server, &format!("missing_{missing}"));
        let (there, not_there) = match missing {
            "history" => (&site.mailbox, &site.history),
            _ => (&site.history, &site.mailbox),
        };
        site.client.create(online_recall::hbase::Trying::COMMAND, there).unwrap();
        let mut sink = Sink::start(&site.client, 0);
        sink.recalls(&site.binding(1, now()), &[recall("2", 18, &[1]), recall("3", 18, &[1])]);
        match sink.told.recv_timeout(LONG).unwrap() {
            Told::Failed(error) => {
                let said = error.to_string();
                assert!(said.contains(&not_there.shell_create()), "{said}");
            }
            other => panic!("{other:?}"),
        }
    }
}
