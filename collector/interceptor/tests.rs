use super::*;
use crate::event::Headers;
use crate::kafka::given;
use crate::machine;

/// Reads an interceptor, which must be well.
fn interceptor(kind: &str, keys: &[(&str, &str)]) -> Box<dyn Interceptor> {
    let (read, found) = given::keys("sources.r1.interceptors.i1", keys, |keys| read(kind, keys));
    assert!(found.is_empty(), "{found:?}");
    read.unwrap()
}

fn found(kind: &str, keys: &[(&str, &str)]) -> Vec<String> {
    given::keys("sources.r1.interceptors.i1", keys, |keys| read(kind, keys)).1
}

fn event(body: &str, headers: &[(&str, &str)]) -> Event {
    let mut event = Event::new(body.to_owned());
    for (name, value) in headers {
        event.headers.set(*name, *value);
    }
    event
}

fn shown(headers: &Headers) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (&**name, &**value)).collect()
}

const FLUMES: &str = "org.apache.flume.interceptor.";

#[test]
fn the_machine_is_its_address_or_the_name_that_this_has() {
    let mut looked_at = event("", &[]);
    interceptor("host", &[]).intercept(&mut looked_at);
    let keys = [("useIP", "false"), ("hostHeader", "name")];
    interceptor("host", &keys).intercept(&mut looked_at);
    let (address, name) = (machine::named("IP").unwrap(), machine::full_name());
    assert_eq!(shown(&looked_at.headers), [("host", &*address), ("name", &name)]);
}

#[test]
fn a_static_header_stays_as_it_is_unless_it_is_told_otherwise() {
    let mut plain = event("", &[("key", "old")]);
    assert!(interceptor("static", &[]).intercept(&mut plain));
    assert_eq!(shown(&plain.headers), [("key", "old")]);
    let keys = [("key", "site"), ("value", "a"), ("preserveExisting", "false")];
    let fixed = interceptor(&format!("{FLUMES}StaticInterceptor$Builder"), &keys);
    let mut other = event("", &[("site", "b")]);
    fixed.intercept(&mut other);
    assert_eq!(shown(&other.headers), [("site", "a")]);
    assert!(fixed.sets("site") && !fixed.sets("key"));
}

#[test]
fn an_id_is_new_for_every_event_that_has_none() {
    let kind = "org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder";
    let id = interceptor(kind, &[("prefix", "p-")]);
    let (mut one, mut other, mut old) = (event("", &[]), event("", &[]), event("", &[("id", "x")]));
    for event in [&mut one, &mut other, &mut old] {
        assert!(id.intercept(event));
    }
    let of = |event: &Event| event.headers.get("id").unwrap().to_string();
    assert!(of(&one).starts_with("p-") && of(&one).len() == 38 && of(&one) != of(&other));
    assert_eq!(of(&old), "x");
}

#[test]
fn bodies_are_filtered_by_what_stands_in_them() {
    let keeps = |keys: &[(&str, &str)], body: &[u8]| {
        interceptor("regex_filter", keys).intercept(&mut Event::new(body.to_vec()))
    };
    assert!(keeps(&[], b"anything") && keeps(&[], b""));
    let errors = [("regex", r"\bERROR\b")];
    assert!(keeps(&errors, b"an ERROR here") && !keeps(&errors, b"TERRORS"));
    assert!(keeps(&errors, b"\xff ERROR"));
    let excludes = [("regex", "^#"), ("excludeEvents", "true")];
    assert!(keeps(&excludes, b"a#") && !keeps(&excludes, b"# a"));
}

#[test]
fn headers_are_removed_by_name_list_and_pattern() {
    let all = [("a", "1"), ("b", "2"), ("c", "3"), ("dx", "4"), ("xd", "5")];
    for (keys, left) in [
        (&[("withName", "a")][..], &["b", "c", "dx", "xd"][..]),
        (&[("fromList", "a , c,nosuch")], &["b", "dx", "xd"]),
        (&[("fromList", "a;c"), ("fromListSeparator", ";")], &["b", "dx", "xd"]),
        (&[("matching", "d.")], &["a", "b", "c", "xd"]),
        (&[("withName", "b"), ("fromList", "c"), ("matching", ".*d.*")], &["a"]),
        (&[], &["a", "b", "c", "dx", "xd"]),
    ] {
        let mut event = event("", &all);
        interceptor("remove_header", keys).intercept(&mut event);
        let names: Vec<_> = event.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, left, "{keys:?}");
    }
}

#[test]
fn what_is_found_may_be_replaced_by_nothing() {
    for keys in [
        &[("searchPattern", "^[A-Z]+ ")][..],
        &[("searchPattern", "^[A-Z]+ "), ("replaceString", "")],
    ] {
        let mut event = event("GET /a", &[]);
        interceptor("search_replace", keys).intercept(&mut event);
        assert_eq!(event.body, "/a");
    }
}

#[test]
fn groups_become_headers_with_serializers_of_two_kinds() {
    let keys = [
        ("regex", r"^(\d+-\d+-\d+)T\S+ (\w+)"),
        ("serializers", "s1 s2"),
        (
            "serializers.s1.type",
            "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer",
        ),
        ("serializers.s1.name", "timestamp"),
        ("serializers.s1.pattern", "yyyy-MM-dd"),
        ("serializers.s2.name", "level"),
    ];
    let mut event = event("2015-10-16T01:02:03 WARN x", &[]);
    interceptor("regex_extractor", &keys).intercept(&mut event);
    let day = jiff::civil::date(2015, 10, 16).to_zoned(jiff::tz::TimeZone::system()).unwrap();
    let expected = day.timestamp().as_millisecond().to_string();
    assert_eq!(shown(&event.headers), [("timestamp", &*expected), ("level", "WARN")]);
}

#[test]
fn mistakes_are_named() {
    for (kind, keys, named) in [
        ("regex_filter", &[("regex", "a**")][..], "i1.regex: a quantifier stands behind another"),
        (
            "regex_filter",
            &[("regex", r"\p{InGreek}")],
            r"i1.regex: \p{InGreek} is not supported, at character 1",
        ),
        ("search_replace", &[], "searchPattern is missing"),
        (
            "search_replace",
            &[("searchPattern", "a"), ("replaceString", "$1")],
            "no group 1, in the replacement",
        ),
        ("search_replace", &[("searchPattern", "a"), ("charset", "UTF-16")], "charset is UTF-16"),
        ("regex_extractor", &[("regex", "(a)")], "serializers is missing"),
        (
            "regex_extractor",
            &[("regex", "(a)"), ("serializers", "s")],
            "serializers.s.name is missing",
        ),
        (
            "regex_extractor",
            &[
                ("regex", "(a)"),
                ("serializers", "s"),
                ("serializers.s.name", "n"),
                (
                    "serializers.s.type",
                    "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer",
                ),
                ("serializers.s.pattern", "yyyy ZZZ"),
            ],
            "serializers.s.pattern: ZZZ is not supported in a date",
        ),
        ("remove_header", &[("matching", "(")], "matching: a group is not closed"),
    ] {
        let found = found(kind, keys);
        assert!(found.iter().any(|found| found.contains(named)), "{named}: {found:#?}");
    }
}
