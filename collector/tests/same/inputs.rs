//! What the flows are given: files before the agents start, and what is said to them at work.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::sides::Side;

/// Files of the `spooldir` flows: the flow, the name, what is in it; the first is the oldest.
const FILES: &[(&str, &str, &[u8])] = &[
    ("lines", "z-first.log", b"one\ntwo\nthree\nfour\n"),
    ("lines", "a-second.log", b"\n\nbehind empty lines\n\n"),
    ("lines", "empty.log", b""),
    ("lines", "newline.log", b"\n"),
    ("lines", "crlf.log", b"x\r\ny\r\n\r\n"),
    ("lines", "letters.log", "a\u{e9}\u{20ac}\u{1d11e}z\n\u{fffd}\u{feff}\0\t\n".as_bytes()),
    ("lines", "long.log", b"21 letters, cut after\n43 letters are cut twice, and one is left..\n"),
    (
        "lines",
        "fits.log",
        b"just twenty letters.\nnext\nforty letters are two pieces, and thats it\n",
    ),
    ("lines", "pairs.log", "eighteen letters..\u{1d11e}, then a pair that fits\n".as_bytes()),
    ("lines", "open.log", b"ended\nnot ended"),
    ("lines", "no-thanks.log", b"ignored by its pattern\n"),
    ("lines", "other.txt", b"not in the pattern\n"),
    ("lines", ".hidden.log", b"hidden\n"),
    ("lines", "before.log.COMPLETED", b"read before\n"),
    ("youngest", "1", b"oldest\n"),
    ("youngest", "2", b"in the middle \xe9\x80\xff\n"),
    ("youngest", "3", b"youngest\n"),
    ("latin", "only", b"\xe9t\xe9\nna\xefve\n\n\x80\xa4\xfflonger"),
    ("replace", "broken", BROKEN),
    ("ignore", "broken", BROKEN),
];

/// Bytes that are no letters of UTF-8, one way a line.
const BROKEN: &[u8] = b"good\n\
    lone \xff byte\n\
    lone \x80\x81 tails\n\
    cut \xc3\n\
    cut \xe2\x82 three\n\
    cut \xf0\x9d\x84 four\n\
    cut twice \xe2\x82\xe2\x82\xac\n\
    overlong \xc0\xaf\n\
    overlong \xe0\x80\xaf three\n\
    surrogate \xed\xa0\x80\n\
    too high \xf4\x90\x80\x80\n\
    much too high \xf8\x88\x80\x80\x80\n\
    \xfe\n";

/// Lays the files that are there before an agent starts.
pub fn lay(place: &Path) {
    let old = SystemTime::now() - Duration::from_secs(3600);
    for (nth, (flow, name, bytes)) in FILES.iter().enumerate() {
        let folder = place.join("in").join(flow);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
        let file = File::options().write(true).open(folder.join(name)).unwrap();
        file.set_modified(old + Duration::from_secs(nth as u64)).unwrap();
    }
    let tail = place.join("in/tail/others");
    std::fs::create_dir_all(&tail).unwrap();
    std::fs::write(place.join("in/tail/app.log"), "one\r\ntwo \u{20ac}\n\nthr").unwrap();
    std::fs::write(tail.join("a.txt"), "a1\na2\n").unwrap();
    std::fs::write(tail.join("b.log"), "b1\nb\u{e9}2\n").unwrap();
    std::fs::write(tail.join("c.csv"), "c1\n").unwrap();
}

/// Lets a tailed file grow, be rotated to a name that nobody reads, and followed by another. What is written
/// into the rotated one behind that is the last line.
pub fn rotate(side: &Side) {
    let file = side.place.join("in/tail/app.log");
    side.await_delivered("tail-1", 7);
    let mut log = OpenOptions::new().append(true).open(&file).unwrap();
    log.write_all(b"ee\nfour\n").unwrap();
    side.await_delivered("tail-1", 9);
    std::fs::rename(&file, side.place.join("in/tail/app.log.1")).unwrap();
    std::fs::write(&file, "five\nsix\n").unwrap();
    side.await_delivered("tail-1", 11);
    std::fs::write(side.place.join("in/tail/others/new.txt"), "n1\n").unwrap();
    side.await_delivered("tail-1", 12);
    log.write_all(b"written late\n").unwrap();
}

/// What peers say to `netcat`, a connection each.
const SAID: &[&str] = &[
    "one\ntwo\r\n\nseven..\n",
    "\u{e9}\u{20ac}\u{1d11e}\u{1d11e}\n",
    "a\neight...\nb\n",
    "a\nnine and more",
    // Four letters, and eight units of UTF-16.
    "\u{1d11e}\u{1d11e}\u{1d11e}\u{1d11e}\n",
    "a\nnot ended",
    "b\nopen",
];

/// What is answered to each of them.
pub fn talk(side: &Side) -> Vec<String> {
    let mut answers = Vec::new();
    for said in SAID {
        let mut peer = side.connect(2);
        peer.write_all(said.as_bytes()).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A peer whose line is too long may be cut off before it has read all.
        if let Err(error) = peer.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        answers.push(String::from_utf8(answer).unwrap());
    }
    answers
}

/// Posts a body, and returns the status of the answer.
pub fn post(side: &Side, port: u16, head: &str, body: &[u8]) -> String {
    let mut peer = side.connect(port);
    let (method, type_) = head.split_once(' ').unwrap_or(("POST", head));
    let head = format!(
        "{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {type_}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    peer.write_all(head.as_bytes()).unwrap();
    peer.write_all(body).unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}")).to_owned()
}

/// What is posted: a method where it is not `POST`, the content type, the body.
pub const POSTS: &[(&str, &[u8])] = &[
    ("application/json", br#"[{"headers":{"a":"1","b":""},"body":"first"}]"#),
    (
        "application/json; charset=UTF-8",
        "[{\"headers\":{\"\u{e9}\":\"\u{20ac}\u{1d11e}\"},\"body\":\"\u{e9}\u{20ac}\u{1d11e}\"},{\"body\":\"2\"}]"
            .as_bytes(),
    ),
    ("application/json", br#"[{"headers":{},"body":"\u00e9\n\"\\ \ud834\udd1e"}]"#),
    ("application/json", b"[]"),
    ("application/json", b" [ ] "),
    ("application/json", br#"[{"body":"3","more":{"x":[1]}}]"#),
    ("text/plain", br#"[{"headers":{"n":"1"},"body":""}]"#),
    ("", br#"[{"headers":null,"body":"4"}]"#),
    ("application/json", br#"[{"headers":{"n":1,"f":1.50,"t":true},"body":5}]"#),
    ("application/json;charset=UTF-16BE", b"\0[\0]"),
    ("application/json;charset=UTF-16", b"\0[\0{\0\"\0b\0o\0d\0y\0\"\0:\0\"\0u\0\"\0}\0]"),
    ("application/json;charset=latin1", b"[]"),
    ("application/json;charset=nosuch", b"[]"),
    ("application/json", b""),
    ("application/json", b"null"),
    ("application/json", b"{}"),
    ("application/json", br#"{"headers":{},"body":"x"}"#),
    ("application/json", b"[1]"),
    ("application/json", b"[[]]"),
    ("application/json", br#"["x"]"#),
    ("application/json", br#"[{"body":"x"}"#),
    ("application/json", br#"[{"body":"x"},]"#),
    ("application/json", br#"[{"body":{}}]"#),
    ("application/json", br#"[{"headers":[],"body":"x"}]"#),
    ("application/json", br#"[{"headers":{"a":{}},"body":"x"}]"#),
    ("application/json", br#"[{"headers":{"a":null},"body":"x"}]"#),
    ("application/json", b"not json"),
    ("application/json", b"[{\"body\":\"\xff\"}]"),
    ("application/json", br#"[{}]"#),
    ("application/json", br#"[null]"#),
    ("application/json", br#"[{"body":"x"}] more"#),
    ("application/json", br#"[{body:'y'}]"#),
    ("GET application/json", b""),
    ("GET application/json", br#"[{"body":"got"}]"#),
    ("PUT application/json", br#"[{"body":"put"}]"#),
    ("DELETE application/json", b""),
    ("OPTIONS application/json", b""),
    ("TRACE application/json", b""),
    ("HEAD application/json", b""),
];

/// What is posted to the chain of interceptors.
pub fn chain() -> Vec<u8> {
    let event =
        |headers: &str, body: &str| format!(r#"{{"headers":{{{headers}}},"body":"{body}"}}"#);
    let mut events = Vec::new();
    for (nth, time) in (1..).zip([
        "2015-10-16 17:38:59,123",
        "2015-10-16 17:40:00,000",
        "2015-12-31 23:59:59,999",
        "2016-02-29 00:00:00,001",
        "2016-03-13 07:00:00,000",
        "2016-11-06 05:30:00,000",
        "2015-10-16 17:31:00,5",
    ]) {
        let user = ["ann", "bob"][nth % 2];
        let headers = format!(r#""secret":"s","tmp2":"t","x-a":"x","ax-b":"kept","nth":"{nth}""#);
        events.push(event(&headers, &format!("{time} kind=web user={user} \u{e9}{nth}")));
    }
    events.push(event("", "2015-10-16 17:39:00,000 kind=web user=ann"));
    events.push(event("", "2015-10-16 17:39:00,000 kind=web user="));
    events.push(event(
        r#""site":"london","stage":"live""#,
        "2015-10-16 17:38:59,123 kind=app user=ann 1",
    ));
    events.push(event(
        r#""site":"","X-A":"kept""#,
        "2015-10-16 17:38:59,123 kind=app user=ann 12-34 56 78-90 12",
    ));
    events.push(event("", "2015-10-16 17:38:59,123 kind=other user=ann"));
    events.push(event(r#""timestamp":"1444988339123""#, "no time, but kind=web"));
    events.push(event("", "2015-10-16 17:38:59,123 kind=web user=ann DEBUG"));
    events.push(event("", "2015-10-16 17:38:59,123 kinds"));
    format!("[{}]", events.join(",")).into_bytes()
}
