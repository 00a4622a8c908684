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
    ("lines", "pairs.log", "eighteen letters..\u{1d11e}, then a pair that fits\n".as_bytes()),
    ("lines", "open.log", b"ended\nnot ended"),
    ("lines", "no-thanks.log", b"ignored by its pattern\n"),
    ("lines", "other.txt", b"not in the pattern\n"),
    ("lines", ".hidden.log", b"hidden\n"),
    ("lines", "before.log.COMPLETED", b"read before\n"),
    ("cut", "fits", b"five.\nnext\nten and 10\nfive."),
    ("cut", "pairs", "four\u{1d11e}\n".as_bytes()),
    ("youngest", "1", b"oldest\n"),
    ("youngest", "2", b"in the middle \xe9\x80\xff\n"),
    ("youngest", "3", b"youngest\n"),
    ("latin", "only", b"\xe9t\xe9\nna\xefve\n\n\x80\xa4\xfflonger"),
    ("replace", "broken", BROKEN),
    ("end", "cut", b"cut \xe2\x82"),
    ("bytes", "lines", b"a \xe9\xff b\na \xe2\x82\xac b\na \xed\xa0\x80 b\nno \xff match\n"),
    ("bad", "1", b"good\n"),
    ("bad", "2", b"before\nbad \xff\nbehind\n"),
    ("bad", "3", b"next\n"),
    ("exec", "lines", "one\ntwo\r\nthree\rfour\n\n\u{e9}\u{20ac}\u{1d11e}\nopen".as_bytes()),
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
    overlong \xf0\x80\x80\x80 four\n\
    half a pair \xed\xa0\x80\n\
    two halves \xed\xa0\xbd\xed\xb8\x80\n\
    cut half \xed\xa0 of three\n\
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
    side.await_accepted("tail", 7);
    let mut log = OpenOptions::new().append(true).open(&file).unwrap();
    log.write_all(b"ee\nfour\n").unwrap();
    side.await_accepted("tail", 9);
    std::fs::rename(&file, side.place.join("in/tail/app.log.1")).unwrap();
    std::fs::write(&file, "five\nsix\n").unwrap();
    side.await_accepted("tail", 11);
    std::fs::write(side.place.join("in/tail/others/new.txt"), "n1\n").unwrap();
    side.await_accepted("tail", 12);
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

/// What is posted.
pub struct Post {
    pub method: &'static str,
    kind: &'static str,
    pub body: &'static [u8],
}

const fn json(body: &'static [u8]) -> Post {
    of("application/json", body)
}

const fn of(kind: &'static str, body: &'static [u8]) -> Post {
    Post { method: "POST", kind, body }
}

const fn by(method: &'static str, body: &'static [u8]) -> Post {
    Post { method, kind: "application/json", body }
}

/// What is posted to `posts`. What only Flume takes says so in its body.
pub const POSTS: &[Post] = &[
    json(br#"[{"headers":{"a":"1","b":""},"body":"first"}]"#),
    json(br#"[{"headers":{},"body":"\u00e9\n\"\\ \ud834\udd1e"}]"#),
    json(br#" [ { "body" : "spaced" } , {"headers":{"x":"y"}} ] "#),
    json(b"[]"),
    json(br#"[{"body":"more","more":{"x":[1]}}]"#),
    json(br#"[{"headers":null,"body":null},{}]"#),
    json(br#"[{"headers":{"n":1,"f":1.50,"e":1E2,"t":true},"body":5}]"#),
    json(br#"[{"headers":[],"body":"headers of PHP"},{"headers":[["a","1"]],"body":"pairs"}]"#),
    json(br#"[{"body":"a","body":"b"}]"#),
    json(br#"[{"headers":{"a":"1","a":"2"},"body":"x"}]"#),
    json(br#"[{"headers":{"1":"x","":"y"},"body":"odd names"}]"#),
    of(
        "application/json; charset=UTF-8",
        "[{\"headers\":{\"\u{e9}\":\"\u{20ac}\u{1d11e}\"},\"body\":\"\u{e9}\u{20ac}\u{1d11e}\"}]"
            .as_bytes(),
    ),
    of("text/plain", br#"[{"body":"of any type"}]"#),
    of("", br#"[{"body":"of no type"}]"#),
    of("application/json;charset=UTF-16", b"\0[\0{\0\"\0b\0o\0d\0y\0\"\0:\0\"\0u\0\"\0}\0]"),
    of("application/json;charset=UTF-16BE", b"\0[\0]"),
    of("application/json;charset=latin1", b"[]"),
    of("application/json;charset=nosuch", b"[]"),
    json(b""),
    json(b"null"),
    json(b"{}"),
    json(b"[1]"),
    json(b"[[]]"),
    json(b"[null]"),
    json(br#"["x"]"#),
    json(br#"{"headers":{},"body":"x"}"#),
    json(br#"[{"body":"x"}"#),
    json(br#"[{"body":"x"},]"#),
    json(br#"[{"body":"x"}] more"#),
    json(br#"[{"body":"x"},{"body":{}}]"#),
    json(br#"[{"body":[]}]"#),
    json(br#"[{"headers":{"a":{}},"body":"x"}]"#),
    json(br#"[{"headers":"a","body":"x"}]"#),
    json(b"not json"),
    json(b"[{\"body\":\"only Flume takes \xff\"}]"),
    json(b"[{body:'only Flume takes such quotes'}]"),
    by("GET", br#"[{"body":"got"}]"#),
    by("GET", b""),
    by("HEAD", b""),
    by("PUT", br#"[{"body":"put"}]"#),
    by("DELETE", br#"[{"body":"x"}]"#),
    by("OPTIONS", b""),
    by("TRACE", b""),
    by("PATCH", br#"[{"body":"x"}]"#),
];

/// Posts something, and returns the status of the answer.
pub fn post(side: &Side, port: u16, Post { method, kind, body }: &Post) -> String {
    let mut peer = side.connect(port);
    let head = format!(
        "{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n\
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

/// What is posted to `full`: more than its channel takes at once, and as much as it takes.
pub const MANY: [Post; 2] =
    [json(br#"[{"body":"1"},{"body":"2"},{"body":"3"}]"#), json(br#"[{"body":"4"},{"body":"5"}]"#)];

/// What is posted to `nulls`.
pub const NULL: Post = json(br#"[{"headers":{"a":null},"body":"x"}]"#);

/// What is posted to `access`.
pub const ACCESS: Post = json(
    r#"[
    {"headers":{"a":"1","b":"2","c":"3"},"body":"[10/Oct/2000:13:55:36 -0700] \"GET /é HTTP/1.0\" 200 2326"},
    {"body":"10.0.0.1 - - [31/Dec/1999:23:59:59 +0000] \"POST /x?y=€ HTTP/1.1\""},
    {"headers":{"timestamp":"1"},"body":"[29/Feb/2016:00:00:14 +0530] \"GET /\""},
    {"headers":{"timestamp":"1445017139123","host":"other"},"body":"no line of a log"}
    ]"#
    .as_bytes(),
);

/// What is posted to `chain`.
pub const CHAIN: Post = json(
    r#"[
    {"headers":{"secret":"s","tmp2":"t","x-a":"x","ax-b":"kept"},"body":"2015-10-16 17:38:59,123 kind=web user=ann é1"},
    {"headers":{"tmp1":"t","tmp3":"t","tmp4":"t"},"body":"2015-10-16 17:40:00,000 kind=web user=bob 2"},
    {"body":"2015-12-31 23:59:59,999 kind=web user=ann 3"},
    {"body":"2016-02-29 00:00:00,001 kind=web user=bob 4"},
    {"body":"2016-03-13 07:00:00,000 kind=web user=ann 5"},
    {"body":"2016-11-06 05:30:00,000 kind=web user=bob 6"},
    {"body":"2015-10-16 17:31:00,5 kind=web user=ann 7"},
    {"body":"2015-10-16 17:39:00,000 kind=web user=ann 8"},
    {"body":"2015-10-16 17:39:00,000 kind=web user="},
    {"headers":{"site":"london","stage":"live"},"body":"2015-10-16 17:38:59,123 kind=app user=ann 1"},
    {"headers":{"site":"","X-A":"kept"},"body":"2015-10-16 17:38:59,123 kind=app user=ann 12-34 56 78-90 12"},
    {"body":"2015-10-16 17:38:59,123 kind=other user=ann"},
    {"headers":{"timestamp":"1444988339123"},"body":"no time, but kind=web"},
    {"body":"2015-10-16 17:38:59,123 kind=web user=ann DEBUG"},
    {"body":"2015-10-16 17:38:59,123 kinds"}
    ]"#
    .as_bytes(),
);
