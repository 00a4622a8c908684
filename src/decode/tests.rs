//! The rules of records and reasons, one by one, literally. They catch a rule that is broken, not
//! a fast path that breaks one for some other record: `tests/decode.rs` does.

use super::*;

const USUAL: &str = r#"{"actionTime":"2019-04-10 18:15:32","readTime":"","channelId":18,"param":{"action": "click", "userId": "2", "articleId": "18005", "algorithmCombine": "C2"}}"#;

fn hit(user: &[u8], channel: u32, article: i64, action: Action) -> Result<Option<Click>, Reason> {
    let user = User::from_bytes(user);
    Ok(Some(Click { user, channel: Channel(channel), article: Article(article), action }))
}

/// Decodes a record on both paths.
fn decoded(record: impl AsRef<[u8]>) -> Result<Option<Click>, Reason> {
    let event = click(record.as_ref());
    assert_eq!(event, click_of_any_shape(record.as_ref()));
    event
}

fn in_usual(from: &str, to: &str) -> String {
    assert!(USUAL.contains(from), "{from}");
    USUAL.replacen(from, to, 1)
}

/// A hit with this text as the value of `channelId`, then the like for the other ids.
fn with_channel(value: &str) -> Result<Option<Click>, Reason> {
    decoded(in_usual("18,", &format!("{value},")))
}

fn with_user(value: &str) -> Result<Option<Click>, Reason> {
    decoded(in_usual(r#""2""#, value))
}

fn with_article(value: &str) -> Result<Option<Click>, Reason> {
    decoded(in_usual(r#""18005""#, value))
}

#[test]
fn the_usual_shapes_are_decoded_on_the_fast_path() {
    let exposure = in_usual("click", "exposure").replace("18005", "[18577, 14299]");
    let read = in_usual("click", "read").replace(r#"readTime":""#, r#"readTime":"2886"#);
    let click = hit(b"2", 18, 18005, Action::Click);
    assert_eq!(usual::click(USUAL.as_bytes()).map(Ok), Some(click));
    assert_eq!(usual::click(exposure.as_bytes()), Some(None));
    assert_eq!(usual::click(read.as_bytes()), Some(None));
}

#[test]
fn the_three_words_are_hits_and_all_others_none() {
    for (word, action) in
        [("click", Action::Click), ("collect", Action::Collect), ("share", Action::Share)]
    {
        assert_eq!(decoded(in_usual("click", word)), hit(b"2", 18, 18005, action));
    }
    for word in ["exposure", "read", "Click", "clicks", "", " click", r"\ud800", r"click\u0000"] {
        assert_eq!(decoded(in_usual("click", word)), Ok(None), "{word}");
    }
    assert_eq!(decoded(in_usual("click", r"cl\u0069ck")), hit(b"2", 18, 18005, Action::Click));
}

#[test]
fn a_record_of_more_than_a_mebibyte_is_too_long_whatever_it_holds() {
    let long = |length: usize| in_usual("C2", &"C".repeat(length + 2 - USUAL.len()));
    assert_eq!(decoded(long(MAX_RECORD)), hit(b"2", 18, 18005, Action::Click));
    assert_eq!(decoded(long(MAX_RECORD + 1)), Err(Reason::TooLong));
    assert_eq!(decoded(vec![0xff; MAX_RECORD + 1]), Err(Reason::TooLong));
    assert_eq!(new_article(&vec![b' '; MAX_RECORD + 1]), Err(Reason::TooLong));
    assert_eq!(new_article(&vec![b' '; MAX_RECORD]), Err(Reason::Empty));
}

#[test]
fn blanks_alone_are_empty() {
    for record in ["", " ", " \t\r\n"] {
        assert_eq!(decoded(record), Err(Reason::Empty));
        assert_eq!(new_article(record.as_bytes()), Err(Reason::Empty));
    }
    for record in ["\u{a0}", "\x0b", "\0"] {
        assert_eq!(decoded(record), Err(Reason::NotJson));
        assert_eq!(new_article(record.as_bytes()), Err(Reason::BadNewArticle));
    }
}

#[test]
fn what_is_not_utf8_is_judged_before_its_grammar() {
    for bytes in [&b"\xff"[..], b"{\xc3}", b"1,2\xed\xa0\x80"] {
        assert_eq!(decoded(bytes), Err(Reason::NotUtf8));
        assert_eq!(new_article(bytes), Err(Reason::NotUtf8));
    }
}

#[test]
fn only_exactly_one_object_is_json() {
    let records = [
        "[]",
        "null",
        "18",
        r#""x""#,
        "{",
        "{}{}",
        "{} x",
        "{},",
        "x{}",
        "\u{feff}{}",
        "{}\u{a0}",
        "{}\0",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        r#"{"a":}"#,
        "{a:1}",
        "{1:1}",
        r#"{'a':1}"#,
        r#"{"a":NaN}"#,
        r#"{"a":Infinity}"#,
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":-}"#,
        r#"{"a":0x1}"#,
        r#"{"a":tru}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12"}"#,
        "{\"a\":\"\t\"}",
        "{\"\t\":1}",
        "{\"a\n\":1}",
        "{\"\0\":1}",
        r#"{"a":1 "b":2}"#,
        r#"{"a":"}"#,
        "{} // x",
        r#"{"param":{"a":1,}}"#,
        "{\"param\":{\"\t\":1}}",
    ];
    for record in records {
        assert_eq!(decoded(record), Err(Reason::NotJson), "{record}");
    }
    assert_eq!(decoded(in_usual("}}", "}}}")), Err(Reason::NotJson));
    assert_eq!(decoded(in_usual("C2", "C\t2")), Err(Reason::NotJson));
    // Also where nobody reads the string, of an event that does not count.
    let exposure = in_usual("click", "exposure");
    for byte in ["\n", "\x00", "\x1f", r"\", r"\x", "\""] {
        for string in ["10 18", "2\"", "18005", "C2"] {
            assert_eq!(
                decoded(exposure.replacen(string, &format!("{byte}{string}"), 1)),
                Err(Reason::NotJson),
                "{byte:?} before {string}"
            );
        }
    }
    assert_eq!(decoded(format!(" \t\r\n{USUAL} \t\r\n")), hit(b"2", 18, 18005, Action::Click));
}

#[test]
fn objects_and_arrays_stand_128_deep_at_the_most() {
    let deep = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        [
            in_usual("{", &format!(r#"{{"x":{open}{close},"#)),
            in_usual(
                "{",
                &format!(r#"{{"x":{}1{},"#, r#"{"[":"#.repeat(levels), "}".repeat(levels)),
            ),
            in_usual(
                r#""param":{"#,
                &format!(r#""param":{{"x":{},"#, &format!("{open}{close}")[1..2 * levels - 1]),
            ),
            format!(r#"{{"channelId":18,"param":{open}{close}}}"#),
        ]
    };
    let [unread, objects, in_param, param] = deep(127);
    for record in [unread, objects, in_param] {
        assert_eq!(decoded(record), hit(b"2", 18, 18005, Action::Click));
    }
    assert_eq!(decoded(param), Err(Reason::NoAction));
    for record in deep(128) {
        assert_eq!(decoded(record), Err(Reason::NotJson));
    }
    // Beside each other they may be many; in a string they are none.
    let many = format!(r#"{{"x":[{}[]],"y":"\"{}","#, "[],".repeat(500), "[{".repeat(500));
    assert_eq!(decoded(in_usual("{", &many)), hit(b"2", 18, 18005, Action::Click));
    assert_eq!(decoded("[".repeat(MAX_RECORD)), Err(Reason::NotJson));
    assert_eq!(decoded(r#"{"x":"#.repeat(100_000)), Err(Reason::NotJson));
}

#[test]
fn a_field_that_is_not_read_need_only_be_well_formed() {
    let number = "9".repeat(400);
    for value in
        ["1e999", "-1e-999", &number, r#""\ud800""#, r#""\udc00\ud800""#, "null", "{}", "[[1]]"]
    {
        for field in ["readTime", "actionTime", r"\ud800"] {
            let field = format!(r#"{{"{field}":{value},"#);
            assert_eq!(decoded(in_usual("{", &field)), hit(b"2", 18, 18005, Action::Click));
        }
        let record = in_usual(r#""C2""#, value);
        assert_eq!(decoded(record), hit(b"2", 18, 18005, Action::Click), "{value}");
    }
}

#[test]
fn a_channel_is_a_number_or_its_string_up_to_the_greatest_i32() {
    for (value, channel) in [
        ("0", 0),
        ("2147483647", i32::MAX as u32),
        (r#""0""#, 0),
        (r#""25""#, 25),
        (r#""\u0031""#, 1),
    ] {
        assert_eq!(with_channel(value), hit(b"2", channel, 18005, Action::Click), "{value}");
    }
    let garbled = [
        "-1",
        "-0",
        "1.0",
        "1e1",
        "2147483648",
        "4294967296",
        "99999999999999999999",
        r#""""#,
        r#""01""#,
        r#"" 1""#,
        r#""1 ""#,
        r#""+1""#,
        r#""1.0""#,
        r#""\ud800""#,
        r#""x""#,
        r#""１""#,
        "null",
        "true",
        "[1]",
        "{}",
    ];
    for value in garbled {
        assert_eq!(with_channel(value), Err(Reason::BadChannel), "{value}");
    }
    // Whatever the action is, and before it.
    assert_eq!(decoded(in_usual("click", "read").replace("18,", "-1,")), Err(Reason::BadChannel));
    assert_eq!(decoded(r#"{"channelId":null}"#), Err(Reason::BadChannel));
    assert_eq!(decoded("{}"), Err(Reason::NoChannel));
    assert_eq!(decoded(in_usual("channelId", "channelID")), Err(Reason::NoChannel));
    assert_eq!(decoded(r#"{"param":{"channelId":1}}"#), Err(Reason::NoChannel));
}

#[test]
fn an_action_is_a_string_in_param() {
    for param in [
        "null",
        "[]",
        "1",
        r#""{}""#,
        "{}",
        r#"{"action":null}"#,
        r#"{"action":1}"#,
        r#"{"action":["click"]}"#,
        r#"{"Action":"click"}"#,
    ] {
        let record = format!(r#"{{"channelId":18,"param":{param}}}"#);
        assert_eq!(decoded(&record), Err(Reason::NoAction), "{param}");
    }
    assert_eq!(decoded(r#"{"channelId":18}"#), Err(Reason::NoAction));
    assert_eq!(decoded(r#"{"channelId":18,"action":"click"}"#), Err(Reason::NoAction));
}

#[test]
fn a_user_is_a_string_of_1_to_256_bytes_or_an_integer() {
    let long = |letter: &str, count: usize| {
        (format!("\"{}\"", letter.repeat(count)), letter.repeat(count))
    };
    let strings = [
        (r#""7""#.into(), "7".into()),
        (r#""007""#.into(), "007".into()),
        (r#"" ""#.into(), " ".into()),
        (r#""-1""#.into(), "-1".into()),
        (r#""10000000000000000000""#.into(), "10000000000000000000".into()),
        (r#""\u0000\"\\\/\b""#.into(), "\0\"\\/\u{8}".into()),
        (r#""\ud83d\ude00""#.into(), "😀".into()),
        ("\"用户\"".into(), "用户".into()),
        (r#""\u0037""#.into(), "7".into()),
        (r#""[1, 2]""#.into(), "[1, 2]".into()),
        long("a", 256),
        long("ü", 128),
    ];
    for (value, user) in strings {
        assert_eq!(with_user(&value), hit(user.as_bytes(), 18, 18005, Action::Click), "{value}");
    }
    for value in ["0", "7", "1115629498121846784", "9999999999999999999"] {
        assert_eq!(with_user(value), hit(value.as_bytes(), 18, 18005, Action::Click), "{value}");
    }
    let escaped = format!("\"{}\"", r"\u00fc".repeat(128));
    assert_eq!(with_user(&escaped), hit("ü".repeat(128).as_bytes(), 18, 18005, Action::Click));

    let garbled = [
        r#""""#,
        r#""\ud800""#,
        r#""a\udc00""#,
        r#""\ud800\u0061""#,
        "-1",
        "-0",
        "1.0",
        "1e3",
        "10000000000000000000",
        "null",
        "true",
        "[]",
        r#"{"userId":"2"}"#,
        &long("a", 257).0,
        &long("ü", 129).0,
    ];
    for value in garbled {
        assert_eq!(with_user(value), Err(Reason::BadUser), "{value}");
    }
    assert_eq!(decoded(in_usual("userId", "user")), Err(Reason::NoUser));
    assert_eq!(decoded(in_usual("userId", "user").replace("18005", "x")), Err(Reason::NoUser));
}

#[test]
fn an_article_is_an_i64_as_a_string_or_an_integer() {
    for article in [0, 1, -1, 18005, 12345678, 123456789, 1234567890123456789, i64::MAX, i64::MIN] {
        assert_eq!(with_article(&article.to_string()), hit(b"2", 18, article, Action::Click));
        assert_eq!(with_article(&format!("\"{article}\"")), hit(b"2", 18, article, Action::Click));
    }
    let garbled = [
        "-0",
        "1.0",
        "1e3",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "123456789012345678901234567890",
        r#""-0""#,
        r#""-01""#,
        r#""-""#,
        r#""""#,
        r#""007""#,
        r#""+7""#,
        r#"" 7""#,
        r#""7 ""#,
        r#""7a""#,
        r#""[1]""#,
        r#""9223372036854775808""#,
        r#""-9223372036854775809""#,
        r#""27670116110564327421""#,
        r#""\ud800""#,
        "null",
        "false",
        "[1]",
        "{}",
    ];
    for value in garbled {
        assert_eq!(with_article(value), Err(Reason::BadArticle), "{value}");
    }
    assert_eq!(decoded(in_usual("articleId", "article")), Err(Reason::NoArticle));
    // The user is judged first.
    assert_eq!(decoded(in_usual(r#""2""#, "null").replace("18005", "x")), Err(Reason::BadUser));
}

#[test]
fn nobody_reads_the_ids_of_an_event_that_does_not_count() {
    for word in ["exposure", "read", "other"] {
        let record = in_usual("click", word);
        for value in [r#""""#, r#""\ud800""#, "null", "1e999", "{}"] {
            assert_eq!(decoded(record.replace(r#""2""#, value)), Ok(None));
            assert_eq!(decoded(record.replace(r#""18005""#, value)), Ok(None));
        }
        assert_eq!(decoded(record.replace("userId", "x").replace("articleId", "y")), Ok(None));
    }
}

#[test]
fn of_a_key_that_stands_twice_the_last_one_counts() {
    let twice = |record: &str| decoded(record);
    let click = r#""action":"click","userId":"2","articleId":"5""#;
    assert_eq!(
        twice(&format!(r#"{{"channelId":null,"param":{{{click}}},"channelId":3}}"#)),
        hit(b"2", 3, 5, Action::Click)
    );
    assert_eq!(
        twice(&format!(r#"{{"channelId":3,"param":{{{click}}},"channel\u0049d":null}}"#)),
        Err(Reason::BadChannel)
    );
    assert_eq!(
        twice(&format!(
            r#"{{"channelId":3,"param":{{{click},"userId":"3","articleId":6,"action":"share"}}}}"#
        )),
        hit(b"3", 3, 6, Action::Share)
    );
    // A whole param: nothing of the first is left.
    assert_eq!(
        twice(&format!(r#"{{"channelId":3,"param":{{{click}}},"param":{{"action":"click"}}}}"#)),
        Err(Reason::NoUser)
    );
    assert_eq!(
        twice(&format!(r#"{{"channelId":3,"param":{{{click}}},"param":7}}"#)),
        Err(Reason::NoAction)
    );
    assert_eq!(
        twice(&format!(r#"{{"channelId":3,"param":"x","p\u0061ram":{{{click}}}}}"#)),
        hit(b"2", 3, 5, Action::Click)
    );
}

#[test]
fn a_new_article_is_a_channel_and_an_article() {
    let listed = |channel, article| Ok((Channel(channel), Article(article)));
    assert_eq!(new_article(b"18,13894"), listed(18, 13894));
    assert_eq!(new_article(b" \t18\t ,\t 13894 \t"), listed(18, 13894));
    assert_eq!(new_article(b"0,-9223372036854775808"), listed(0, i64::MIN));
    assert_eq!(new_article(b"2147483647,9223372036854775807"), listed(i32::MAX as u32, i64::MAX));
    for record in [
        "18",
        ",",
        "18,",
        ",13894",
        "18,13894,",
        "18,13894,1",
        "18;13894",
        "018,1",
        "18,01",
        "-1,1",
        "1,-0",
        "+1,1",
        "1,+1",
        "1.0,1",
        "2147483648,1",
        "1,9223372036854775808",
        "1 8,1",
        "18,1\r",
        "\n18,1",
        "18\u{a0},1",
        "\"18\",1",
        "\u{feff}18,1",
        "18，1",
        "{}",
        "x",
    ] {
        assert_eq!(new_article(record.as_bytes()), Err(Reason::BadNewArticle), "{record:?}");
    }
}

#[test]
fn a_reason_is_stored_by_its_name_and_reasons_are_ordered() {
    assert!(Reason::ALL.is_sorted());
    for reason in Reason::ALL {
        assert_eq!(serde_json::to_value(reason).ok(), Some(reason.name().into()));
    }
}
