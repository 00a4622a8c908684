use super::*;
use crate::source::trial::{bodies, read as keys};

fn settings(given: &[(&str, &str)]) -> Settings {
    let (settings, found) = keys(given, |keys| {
        let own = keys.part("deserializer.");
        Settings::read(keys, &own)
    });
    assert!(found.is_empty(), "{found:?}");
    settings
}

/// Reads bytes batch by batch, and again from every place between.
fn all(bytes: &[u8], given: &[(&str, &str)], most: usize) -> Result<Vec<String>, Bad> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let open = |place| {
        let file = File::open(&path).unwrap();
        Lines::new(file, bytes.len() as u64, place, Headers::default(), settings(given)).unwrap()
    };
    let (mut lines, mut all) = (open(Place::default()), Vec::new());
    while !lines.has_ended() {
        let place = lines.place();
        let events = lines.read(most)?;
        assert!(!events.is_empty() && events.len() <= most);
        assert!(open(place).read(most)? == events, "{place:?}");
        all.extend(bodies(&events));
    }
    assert!(lines.read(most)?.is_empty());
    Ok(all)
}

#[test]
fn a_line_is_an_event_whatever_the_batch() {
    for most in [1, 2, 3, 100] {
        let read = |text: &str| all(text.as_bytes(), &[], most).unwrap();
        assert_eq!(read("a\nb\n"), ["a", "b"]);
        assert_eq!(read("a\r\n\nüb"), ["a\r", "", "üb"]);
        assert_eq!(read("\n"), [""]);
        assert!(read("").is_empty());
    }
}

#[test]
fn a_long_line_is_cut_and_its_rest_is_further_events() {
    let given = [("deserializer.maxLineLength", "3")];
    for most in [1, 2, 100] {
        let read = |text: &str| all(text.as_bytes(), &given, most).unwrap();
        assert_eq!(read("abcdefgh\nx\n"), ["abc", "def", "gh", "x"]);
        assert_eq!(read("abcdef\n\nabc"), ["abc", "def", "", "abc"]);
        // In units of UTF-16, and no letter is cut in two.
        assert_eq!(read("üüüü\na😀😀b"), ["üüü", "ü", "a😀", "😀b"]);
        let latin = [("deserializer.maxLineLength", "3"), ("inputCharset", "ISO-8859-1")];
        assert_eq!(all(b"\xfcbcd\ne", &latin, most).unwrap(), ["übc", "d", "e"]);
    }
}

#[test]
fn the_old_name_of_the_longest_line_counts_before_the_new_one() {
    let given = [("deserializer.maxLineLength", "3"), ("bufferMaxLineLength", "4")];
    let (settings, found) = keys(&given, |keys| Settings::read(keys, &keys.part("deserializer.")));
    assert_eq!(settings.longest, 4);
    let said =
        "sources.r1.deserializer.maxLineLength: it does not count beside bufferMaxLineLength";
    assert_eq!(found, [format!("line 1: warning: {said}")]);
}

#[test]
fn lines_longer_than_any_block_are_cut_likewise() {
    let long = "xü".repeat(BLOCK);
    let text = format!("a\n{long}\nb\n{long}");
    let longest = ("deserializer.maxLineLength", "100000");
    for given in
        [vec![longest], vec![longest, ("inputCharset", "GBK"), ("decodeErrorPolicy", "REPLACE")]]
    {
        let read = all(text.as_bytes(), &given, 3).unwrap();
        let lengths: Vec<_> = read.iter().map(|line| line.encode_utf16().count()).collect();
        assert!(lengths.iter().all(|length| *length <= 100_000));
        if given.len() == 1 {
            assert_eq!(read.concat(), text.replace('\n', ""));
            assert!(read.contains(&"b".to_owned()));
        }
    }
}

#[test]
fn what_is_no_letter_is_told_with_its_place_after_what_is_well_before() {
    let bytes = b"ab\nc\xffd\ne\n";
    for most in [1, 100] {
        let replace = [("decodeErrorPolicy", "REPLACE")];
        assert_eq!(all(bytes, &replace, most).unwrap(), ["ab", "c\u{fffd}d", "e"]);
        let ignore = [("decodeErrorPolicy", "ignore")];
        assert_eq!(all(bytes, &ignore, most).unwrap(), ["ab", "cd", "e"]);
        let error = all(bytes, &[], most).unwrap_err();
        assert!(matches!(error, Bad::Undecodable { at: 4 }), "{error:?}");
    }
}

#[test]
fn charsets_are_read_and_written() {
    let gbk = [("inputCharset", "GBK")];
    assert_eq!(all(b"\xc4\xe3\nb\n", &gbk, 9).unwrap(), ["你", "b"]);
    for (name, bytes) in [
        ("UTF-16", &b"\xff\xfea\0\n\0b\0"[..]),
        ("UTF-16", b"\xfe\xff\0a\0\n\0b"),
        ("UTF-16", b"\0a\0\n\0b"),
        ("UTF-16LE", b"a\0\n\0b\0"),
    ] {
        for most in [1, 9] {
            assert_eq!(all(bytes, &[("inputCharset", name)], most).unwrap(), ["a", "b"]);
        }
    }
    let narrow = [("deserializer.outputCharset", "US-ASCII")];
    assert_eq!(all("aü".as_bytes(), &narrow, 9).unwrap(), ["a?"]);
}
