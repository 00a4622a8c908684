use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::source::trial::{Trial, bodies, read};

fn http(given: &[(&str, &str)]) -> Http {
    let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
    all.extend_from_slice(given);
    let (http, found) = read(&all, Http::read);
    assert!(found.is_empty(), "{found:?}");
    http
}

/// Posts to a source on a channel of this capacity; returns the answers' numbers, and what was put.
fn post(http: &Http, capacity: usize, posts: &[(&str, &str, &[u8])]) -> (Vec<u16>, Vec<Event>) {
    let trial = Trial::new(capacity);
    let listener = http.listen().unwrap();
    let address = listener.local_addr().unwrap();
    let answers = std::thread::scope(|threads| {
        threads.spawn(|| http.serve(listener, &trial.inlet, &trial.stop).unwrap());
        let answers = posts.iter().map(|(path, content_type, body)| {
            let mut peer = TcpStream::connect(address).unwrap();
            let (method, path) = path.split_once(' ').unwrap_or(("POST", path));
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: \
                 {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            peer.write_all(head.as_bytes()).unwrap();
            peer.write_all(body).unwrap();
            let mut answer = String::new();
            peer.read_to_string(&mut answer).unwrap();
            answer.split(' ').nth(1).unwrap().parse().unwrap()
        });
        let answers = answers.collect();
        trial.stop.stop();
        answers
    });
    (answers, trial.take(Duration::ZERO))
}

const JSON: &str = "application/json";

#[test]
fn an_array_of_events_is_put_and_anything_else_is_a_bad_request() {
    let two = br#"[{"headers":{"a":"b","n":1},"body":"x\u00fc"},{"body":"y","more":0},{}]"#;
    let posts: [(&str, &str, &[u8]); 7] = [
        ("/", JSON, two),
        ("/any", "application/json; charset=UTF-8", b"[]"),
        ("/", JSON, b"[{\"body\":\"z\"}"),
        ("/", JSON, b"{\"body\":\"z\"}"),
        ("/", JSON, b"[{\"body\":\"z\"},{\"body\":[1]}]"),
        ("/", JSON, b"[{\"body\":\"\xff\"}]"),
        ("/", "text/plain; charset=latin1", b"[]"),
    ];
    let (answers, put) = post(&http(&[]), 100, &posts);
    assert_eq!(answers, [200, 200, 400, 400, 400, 400, 400]);
    assert_eq!(bodies(&put), ["xü", "y", ""]);
    let headers: Vec<_> = put[0].headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(headers, [("a", "b"), ("n", "1")]);
}

#[test]
fn json_is_understood_as_flumes_library_does() {
    let posts: [(&str, &str, &[u8]); 7] = [
        ("/", JSON, br#"[{"headers":{"n":1.50,"e":1E2,"y":true,"null":null},"body":12345678901234567890123}]"#),
        ("/", JSON, br#"[{"headers":[],"body":"php"},{"headers":[["a","1"]],"body":"pair"}]"#),
        ("/", JSON, br#"[{"body":"first","headers":null,"body":"last"}]"#),
        ("/", JSON, b"[[]]"),
        ("/", JSON, br#"[[{"a":"b"},"x"]]"#),
        ("/", JSON, br#"[{"headers":{"a":"1","a":"2"},"body":"x"}]"#),
        ("/", JSON, br#"[{"headers":[["a"]],"body":"x"}]"#),
    ];
    let (answers, put) = post(&http(&[]), 100, &posts);
    assert_eq!(answers, [200, 200, 200, 400, 400, 400, 400]);
    assert_eq!(bodies(&put), ["12345678901234567890123", "php", "pair", "last"]);
    let headers = |event: &Event| {
        event.headers.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(headers(&put[0]), ["e=1E2", "n=1.50", "y=true"]);
    assert_eq!(headers(&put[2]), ["a=1"]);
}

#[test]
fn events_are_posted_and_no_other_method_brings_them() {
    let event = br#"[{"body":"x"}]"#;
    let methods = ["POST", "GET", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];
    let paths = methods.map(|method| format!("{method} /"));
    let posts: Vec<_> = paths.iter().map(|path| (&**path, JSON, &event[..])).collect();
    let (answers, put) = post(&http(&[]), 100, &posts);
    assert_eq!(answers, [200, 200, 405, 405, 403, 403, 501]);
    assert_eq!(put.len(), 2);
}

#[test]
fn bodies_have_the_charset_of_the_request() {
    let text = r#"[{"body":"ü"}]"#;
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let utf32: Vec<u8> = text.chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect();
    let utf32 = [&[0xff, 0xfe, 0, 0][..], &utf32].concat();
    let posts: [(&str, &str, &[u8]); 2] = [
        ("/", "application/json; charset=utf-16", &utf16),
        ("/", "application/json;charset=\"UTF-32\"", &utf32),
    ];
    let (answers, put) = post(&http(&[]), 100, &posts);
    assert_eq!(answers, [200, 200]);
    assert_eq!(&*put[0].body, b"\xfe\xff\0\xfc");
    assert_eq!(&*put[1].body, b"\0\0\0\xfc");
}

#[test]
fn a_full_channel_is_told() {
    let posts: [(&str, &str, &[u8]); 2] =
        [("/", JSON, b"[{\"body\":\"a\"},{\"body\":\"b\"}]"), ("/", JSON, b"[{\"body\":\"c\"}]")];
    let (answers, put) = post(&http(&[]), 2, &posts);
    assert_eq!(answers, [200, 503]);
    assert_eq!(bodies(&put), ["a", "b"]);
}

#[test]
fn any_body_is_an_event_with_the_parameters_as_headers() {
    let morphline = http(&[
        ("handler", "org.apache.flume.sink.solr.morphline.BlobHandler"),
        ("handler.maxBlobLength", "3"),
    ]);
    let posts: [(&str, &str, &[u8]); 1] = [("/?name=a%20b+c&name=d&x", "text/x", b"\xff\x00123")];
    let (answers, put) = post(&morphline, 100, &posts);
    assert_eq!((answers, &*put[0].body), (vec![200], &b"\xff\x001"[..]));
    let get = |name: &str| put[0].headers.get(name).map(|value| &**value);
    assert_eq!(
        (get("name"), get("x"), get("Content-Type")),
        (Some("a b c"), Some(""), Some("text/x"))
    );
    let flume = http(&[
        ("handler", "org.apache.flume.source.http.BLOBHandler"),
        ("handler.mandatoryParameters", "id,kind"),
    ]);
    let posts: [(&str, &str, &[u8]); 2] = [("/?id=1", "", b"x"), ("/?id=1&kind=2", "", b"x")];
    assert_eq!(post(&flume, 100, &posts).0, [400, 200]);
}

#[test]
fn mistakes_are_told() {
    let given = [
        ("handler", "com.example.Mine"),
        ("ssl", "true"),
        ("keystore", "/k"),
        ("QueuedThreadPool.maxThreads", "5"),
    ];
    let (_, found) = read(&given, Http::read);
    let begins = [
        "line 1: sources.r1.handler is com.example.Mine; allowed",
        "line 2: sources.r1.ssl: TLS is not supported here",
        "line 3: warning: sources.r1.keystore has no effect",
        "line 4: warning: sources.r1.QueuedThreadPool.maxThreads: it has no effect",
        "sources.r1.port is missing",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(found.starts_with(begin), "{found}");
    }
}
