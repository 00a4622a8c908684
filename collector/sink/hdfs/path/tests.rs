use super::*;

const THEN: &str = "1444988339123";

fn places(folder: &str, name: &str, rounding: Option<Rounding>, is_local: bool) -> Places {
    let zone = zone::named("Asia/Shanghai").unwrap();
    let clock = Clock { zone, rounding, is_local };
    let parse = |text| Template::parse(text).unwrap();
    Places::new(parse(folder), parse(name), clock, 20, false)
}

fn event(headers: &[(&str, &str)]) -> Event {
    let mut event = Event::new("x");
    for (name, value) in headers {
        event.headers.set(*name, *value);
    }
    event
}

fn shown(folder: &str, name: &str, headers: &[(&str, &str)]) -> String {
    let rounding = Some(Rounding::Minutes(10));
    match places(folder, name, rounding, false).of(&event(headers), 0) {
        Ok(place) => format!("{}|{}", place.folder, place.name),
        Err(nowhere) => nowhere.reason.to_owned(),
    }
}

#[test]
fn an_event_of_17_38_59_lands_in_1730() {
    let headers = [("timestamp", THEN)];
    assert_eq!(
        shown("/flume/events/%y-%m-%d/%H%M/", "FlumeData", &headers),
        "/flume/events/15-10-16/1730/|FlumeData"
    );
}

#[test]
fn every_kind_of_escape_has_its_place() {
    let headers = [("timestamp", THEN), ("a.b-c", "x$1\\"), ("host", "h")];
    let shown = |folder| shown(folder, "n", &headers);
    assert_eq!(shown("/%{a.b-c}/%{none}/%{host}%{host}"), "/x$1\\/hh/|n");
    assert_eq!(shown("/%%H/%q%_%9x/100%"), "/%H/x/100%/|n");
    assert_eq!(shown("/%{a b}/%{}/%[a b]/%-"), "/%{a b}/%{}/%[a b]/%-/|n");
    assert_eq!(shown("/%D/%t/%s"), "/10/16/15/1444988339123/1444987800/|n");
    let host = machine::named("localhost").unwrap();
    assert_eq!(shown("/%[LOCALHOST]"), format!("/{host}/|n"));
    assert_eq!(Template::parse("/%[mac]"), Err(UnknownHost("mac".to_owned())));
}

#[test]
fn a_path_is_as_hadoop_takes_it() {
    let headers = [("up", "../.."), ("colon", "a:b"), ("long", &*"x".repeat(250)), ("b", "c/d")];
    let shown = |folder, name| shown(folder, name, &headers);
    assert_eq!(shown("//a/./%{none}//b/", "n"), "/a/b/|n");
    assert_eq!(shown("a/b", "%{b}"), "a/b/c/|d");
    assert_eq!(shown("/", "n"), "/|n");
    assert_eq!(shown("/a/%{up}", "n"), "bad_path");
    assert_eq!(shown("/a/%{colon}", "n"), "bad_path");
    assert_eq!(shown("/a", "%{long}"), "bad_path");
    assert_eq!(shown("/%{long}%{long}", "n"), "bad_path");
    assert_eq!(shown("/%{long}", "n"), format!("/{}/|n", headers[2].1));
}

#[test]
fn a_time_that_is_not_there_is_nowhere() {
    for timestamp in ["", "now", "1.5", "99999999999999999", "0", "-5"] {
        assert_eq!(shown("/%H", "n", &[("timestamp", timestamp)]), "no_timestamp", "{timestamp}");
    }
    assert_eq!(shown("/a", "%H", &[]), "no_timestamp");
    // Nothing in them needs a time.
    assert_eq!(shown("/a/%%/%{x}/%q", "n", &[]), "/a/%/|n");
    let mut without_rounding = places("/%Y", "n", None, false);
    assert_eq!(without_rounding.of(&event(&[("timestamp", "0")]), 0).unwrap().folder, "/1970/");
}

#[test]
fn the_clock_counts_where_it_is_asked_for() {
    let mut places = places("/%H%M", "n", None, true);
    assert!(!places.needs_timestamp());
    let event = event(&[("timestamp", "nonsense")]);
    assert_eq!(places.of(&event, 1_444_988_339_123).unwrap().folder, "/1738/");
    assert_eq!(places.of(&event, 1_444_988_399_123).unwrap().folder, "/1739/");
}

#[test]
fn places_are_remembered_by_the_time_that_is_shown_and_the_headers_that_count() {
    let start = 1_444_988_339_000_i64;
    for (folder, rounding) in [
        ("/%H%M/%{h}", None),
        ("/%H%M%S/%{h}", None),
        ("/%t/%{h}", None),
        ("/%s/%{h}", Some(Rounding::Seconds(7))),
        ("/%c/%{h}", Some(Rounding::Hours(5))),
        ("/%d/%{h}", Some(Rounding::Minutes(7))),
    ] {
        let mut one = places(folder, "n", rounding, false);
        one.takes_colons = true;
        for step in 0..2000_i64 {
            let millis = (start + (step * step * 37) % 200_000).to_string();
            let header = ["a", "b", "c"][step as usize % 3];
            let event = event(&[("timestamp", &millis), ("h", header), ("other", &millis)]);
            let mut fresh = places(folder, "n", rounding, false);
            fresh.takes_colons = true;
            assert_eq!(one.of(&event, 0), fresh.of(&event, 0), "{folder} {millis}");
        }
        assert!(one.remembered.len() <= REMEMBERED);
    }
}

/// Flume's own pattern, applied as Flume applies it.
fn by_pattern(text: &str, headers: &Event) -> Option<String> {
    let pattern =
        regex::Regex::new(r"%(?:([0-9A-Za-z_%])|\{([0-9A-Za-z_.-]+)\}|\[([0-9A-Za-z_]+)\])");
    let time = zone::at(1_444_988_339_123, &TimeZone::UTC, None).unwrap();
    let mut is_known = true;
    let replaced = pattern.unwrap().replace_all(text, |found: &regex::Captures<'_>| {
        if let Some(name) = found.get(2) {
            return headers.headers.get(name.as_str()).map_or(String::new(), ToString::to_string);
        }
        if let Some(word) = found.get(3) {
            let named = machine::named(word.as_str());
            is_known &= named.is_some();
            return named.unwrap_or_default();
        }
        let mut out = String::new();
        match &found[1] {
            "%" => out.push('%'),
            letter => {
                zone::write(letter.chars().next().unwrap(), &time, 1_444_988_339_123, &mut out)
            }
        }
        out
    });
    let replaced = replaced.into_owned();
    is_known.then_some(replaced)
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_as_flumes_pattern_reads_it(text in "[%\\[\\]{}.a-cHMq_é/ -]{0,16}|(%(\\{a\\}|\\[ip\\]|[a-zA-Z%])?){0,6}") {
        let mut headers = Event::new("");
        headers.headers.set("a", "1");
        headers.headers.set("a.b", "2");
        let expected = by_pattern(&text, &headers);
        let time = zone::at(1_444_988_339_123, &TimeZone::UTC, None).map(|time| (time, 1_444_988_339_123));
        let found = Template::parse(&text).ok().map(|template| {
            let mut out = String::new();
            template.write(&headers, time.as_ref(), &mut out);
            out
        });
        proptest::prop_assert_eq!(found, expected);
    }
}
