//! The fast path of the decoder changes no answer: random records, decoded on both paths.
//!
//! The records are of the usual shape, or near it: what the fast path might take for usual. That
//! both paths are wrong together this cannot catch; the tables in `src/decode/tests.rs` can.

use online_recall::decode::{Reason, click, click_of_any_shape};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What stands where the usual shape has a string or a number, with its quotes if it has some.
fn value() -> impl Strategy<Value = String> {
    let usual = prop_oneof![
        4 => "(0|[1-9][0-9]{0,21})",
        1 => "-?[0-9]{1,21}",
        1 => Just(String::from("2019-04-10 18:15:32")),
        1 => prop::collection::vec(any::<u32>(), 0..12).prop_map(|ids| format!("{ids:?}")),
        1 => "[ !#-~]{0,40}",
    ];
    let odd = select(vec![
        "\\ud800",
        "\\ud83d\\ude00",
        "\\udc00x",
        "cl\\u0069ck",
        "\\\"",
        "\\\\",
        "\\",
        "\\x",
        "\"",
        "\t",
        "\u{0}",
        "\u{7f}",
        "ü",
        "用户",
        "\u{feff}",
        "\"}}",
        "\", \"userId\": \"3",
        "{\"channelId\":1}",
    ])
    .prop_map(String::from);
    let bare = prop_oneof![
        4 => "(0|[1-9][0-9]{0,21})",
        1 => select(vec![
            "-0", "1.0", "1e3", "1e999", "2147483647", "2147483648", "9223372036854775807",
            "9223372036854775808", "null", "true", "NaN", "[]", "{}", "[1, 2]", " 7 ", "",
        ])
        .prop_map(String::from),
        1 => Just("9".repeat(400)),
        1 => (120usize..135).prop_map(|levels| "[".repeat(levels) + &"]".repeat(levels)),
    ];
    prop_oneof![
        6 => usual.prop_map(|text| format!("\"{text}\"")),
        1 => odd.prop_map(|text| format!("\"{text}\"")),
        1 => bare,
    ]
}

fn action() -> impl Strategy<Value = String> {
    let words = vec!["click", "collect", "share", "exposure", "read", "Click", "clicks", ""];
    select(words).prop_map(|word| format!("\"{word}\""))
}

/// The usual shape, mostly with usual values.
fn usual() -> impl Strategy<Value = String> {
    let channel = prop_oneof![9 => "(0|[1-9][0-9]{0,10})", 1 => value()];
    let action = prop_oneof![9 => action(), 1 => value()];
    (value(), value(), channel, action, value(), value(), value()).prop_map(
        |(time, read, channel, action, user, article, algorithm)| {
            format!(
                r#"{{"actionTime":{time},"readTime":{read},"channelId":{channel},"param":{{"action": {action}, "userId": {user}, "articleId": {article}, "algorithmCombine": {algorithm}}}}}"#
            )
        },
    )
}

/// Objects of the keys that count and others, in any order and number, with any blanks.
fn any_shape() -> impl Strategy<Value = String> {
    let blank = || select(vec!["", "", "", " ", "\n", "\t\r", "\u{a0}"]);
    let key = || {
        select(vec![
            "channelId",
            "param",
            "action",
            "userId",
            "articleId",
            "readTime",
            "channel\\u0049d",
            "p\\u0061ram",
            "\\ud800",
            "userid",
            "",
        ])
    };
    let leaf = prop_oneof![2 => value(), 1 => action()];
    let object = leaf.prop_recursive(4, 32, 8, move |inner| {
        prop::collection::vec((key(), blank(), inner, blank()), 0..8).prop_map(|fields| {
            let field = |(key, before, value, after): &(&str, &str, String, &str)| {
                format!("{before}\"{key}\":{after}{value}{before}")
            };
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        })
    });
    (blank(), object, blank())
        .prop_map(|(before, object, after)| before.to_owned() + &object + after)
}

/// What goes wrong with bytes on their way.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    Truncate(Index),
    Repeat(Index, Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let marks = select(b"\"\\{}[]:, 0-19a\n\x00\x1f\x7f\x80\xff".to_vec());
    let at = any::<Index>;
    prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, 1 << bit)),
        (at(), marks.clone()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at(), prop::collection::vec(marks, 1..4))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (at(), 1..20usize).prop_map(|(at, count)| Mutation::Delete(at, count)),
        at().prop_map(Mutation::Truncate),
        (at(), at()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
    ]
}

impl Mutation {
    fn apply(&self, record: &mut Vec<u8>) {
        if record.is_empty() {
            return;
        }
        let length = record.len();
        match self {
            Mutation::Flip(at, bits) => record[at.index(length)] ^= bits,
            Mutation::Set(at, byte) => record[at.index(length)] = *byte,
            Mutation::Insert(at, bytes) => {
                let at = at.index(length);
                record.splice(at..at, bytes.iter().copied());
            }
            Mutation::Delete(at, count) => {
                let at = at.index(length);
                record.drain(at..length.min(at + count));
            }
            Mutation::Truncate(at) => record.truncate(at.index(length)),
            Mutation::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                record.extend_from_within(from.min(to)..from.max(to));
            }
        }
    }
}

fn mutated(records: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    (records, prop::collection::vec(mutation(), 0..4)).prop_map(|(record, mutations)| {
        let mut record = record.into_bytes();
        mutations.iter().for_each(|mutation| mutation.apply(&mut record));
        record
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_paths_agree_on_the_usual_shape(record in usual()) {
        prop_assert_eq!(click(record.as_bytes()), click_of_any_shape(record.as_bytes()));
    }

    #[test]
    fn both_paths_agree_on_what_is_nearly_usual(record in mutated(usual())) {
        prop_assert_eq!(click(&record), click_of_any_shape(&record));
    }

    #[test]
    fn both_paths_agree_on_any_shape(record in mutated(any_shape())) {
        prop_assert_eq!(click(&record), click_of_any_shape(&record));
    }

    #[test]
    fn both_paths_agree_on_any_bytes(record in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(click(&record), click_of_any_shape(&record));
    }
}

/// One byte of a record at a time, each of all 256 values: nothing is taken for granted anywhere.
#[test]
fn both_paths_agree_whichever_byte_of_a_usual_record_is_another() {
    let records = [
        r#"{"actionTime":"2019-04-10 18:15:32","readTime":"","channelId":18,"param":{"action": "click", "userId": "2", "articleId": "18005", "algorithmCombine": "C2"}}"#,
        r#"{"actionTime":"","readTime":"2886","channelId":0,"param":{"action": "read", "userId": "1115629498121846784", "articleId": "18005", "algorithmCombine": ""}}"#,
        r#"{"actionTime":"2019-04-10 18:15:35","readTime":"","channelId":7,"param":{"action": "exposure", "userId": "a b", "articleId": "[18577, 14299]", "algorithmCombine": "a long name"}}"#,
    ];
    for record in records {
        assert!(click(record.as_bytes()).is_ok());
        for at in 0..record.len() {
            for byte in 0..=u8::MAX {
                let mut other = record.as_bytes().to_vec();
                other[at] = byte;
                assert_eq!(click(&other), click_of_any_shape(&other), "{byte:#04x} at {at}");
            }
            assert_eq!(
                click(&record.as_bytes()[..at]),
                Err(if at == 0 { Reason::Empty } else { Reason::NotJson })
            );
        }
    }
}
