use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::*;
use crate::source::trial::{Ends, Trial, bodies, read};

fn http(given: &[(&str, &str)]) -> Http {
    let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
    all.extend_from_slice(given);
    let (http, found) = read(&all, Http::read);
    assert!(found.is_empty(), "{found:?}");
    http
}

/// Does something with a source that serves into a channel of this capacity; returns what was put, too.
fn serving<T>(
    http: &Http,
    capacity: usize,
    work: impl FnOnce(SocketAddr, &Inlet) -> T,
) -> (T, Vec<Event>) {
    let trial = Trial::new(capacity);
    let listener = http.listen().unwrap();
    let address = listener.local_addr().unwrap();
    let done = std::thread::scope(|threads| {
        threads.spawn(|| http.serve(listener, &trial.inlet, &trial.stop).unwrap());
        let _ends = Ends(&trial.stop);
        work(address, &trial.inlet)
    });
    (done, trial.take(Duration::ZERO))
}

/// Posts to a source on a channel of this capacity; returns the answers' numbers, and what was put.
fn post(http: &Http, capacity: usize, posts: &[(&str, &str, &[u8])]) -> (Vec<u16>, Vec<Event>) {
    serving(http, capacity, |address, _| {
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
        answers.collect()
    })
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
        ("enableSSL", "true"),
        ("keystore", "/no/such/store"),
        ("QueuedThreadPool.maxThreads", "5"),
        ("SslContextFactory.needClientAuth", "true"),
        ("excludeProtocols", "TLSv1.2 TLSv1.3"),
    ];
    let (_, found) = read(&given, Http::read);
    let begins = [
        "line 1: sources.r1.handler is com.example.Mine; allowed",
        "line 2: warning: sources.r1.enableSSL is an old name of ssl",
        "line 3: sources.r1.keystore: cannot read /no/such/store: No such file",
        "line 4: warning: sources.r1.QueuedThreadPool.maxThreads: it has no effect",
        "line 5: sources.r1.SslContextFactory.needClientAuth: no peer is asked for a certificate",
        "line 6: warning: sources.r1.excludeProtocols is an old name of exclude-protocols",
        "line 6: sources.r1.exclude-protocols: neither TLSv1.2 nor TLSv1.3 is left to speak",
        "sources.r1.port is missing",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(found.starts_with(begin), "{found}");
    }
}

/// A folder with a certificate and its key: as cert.pem with key.pem, and as both.p12, whose password is "secret".
fn certified() -> (tempfile::TempDir, testing::tls::Certified) {
    let folder = tempfile::tempdir().unwrap();
    let made = testing::tls::Certified::make(folder.path());
    let mut openssl = Command::new("openssl");
    openssl.args("pkcs12 -export -in cert.pem -inkey key.pem -out both.p12 -passout".split(' '));
    let output = openssl.arg("pass:secret").current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (folder, made)
}

/// Posts an event with curl; returns the number of the answer, or why there is none.
fn curl(url: &str, more: &[&str]) -> Result<String, String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "20", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"]);
    let output = curl.args(["-d", r#"[{"body":"x"}]"#]).args(more).arg(url).output().unwrap();
    let [told, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    if output.status.success() { Ok(told) } else { Err(error) }
}

fn await_count(inlet: &Inlet, count: Count, many: u64) {
    let begun = Instant::now();
    while inlet.counters().get(count) != many {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", inlet.counters().get(count));
        std::thread::yield_now();
    }
}

#[test]
fn curl_posts_by_tls_with_stores_in_pem_and_pkcs12_and_flumes_old_names() {
    let (folder, made) = certified();
    let (pem, key) = (made.certificate.display().to_string(), made.key.display().to_string());
    let p12 = folder.path().join("both.p12").display().to_string();
    let in_pem = [("ssl", "true"), ("keystore", &*pem), ("keystore-key", &*key)];
    let in_p12 = [
        ("ssl", "true"),
        ("keystore", &*p12),
        ("keystore-password", "secret"),
        ("keystore-type", "PKCS12"),
        ("exclude-protocols", "SSLv3 TLSv1.3"),
    ];
    let of_old = [
        ("enableSSL", "true"),
        ("keystore", &*p12),
        ("keystorePassword", "secret"),
        ("excludeProtocols", "SSLv3 TLSv1.3"),
    ];
    for (given, speaks_1_3, warnings) in
        [(&in_pem[..], true, 0), (&in_p12[..], false, 0), (&of_old[..], false, 3)]
    {
        let all = [&[("bind", "127.0.0.1"), ("port", "0")][..], given].concat();
        let (http, found) = read(&all, Http::read);
        assert!(found.iter().all(|text| text.contains("is an old name of")), "{found:?}");
        assert_eq!(found.len(), warnings);
        let (_, put) = serving(&http, 100, |address, inlet| {
            let (tls, plain) = (format!("https://{address}/"), format!("http://{address}/"));
            let trusting = ["--cacert", &*pem];
            assert_eq!(curl(&tls, &trusting).unwrap(), "200");
            let newest = curl(&tls, &[&trusting[..], &["--tlsv1.3"]].concat());
            assert_eq!(newest.as_deref().ok(), speaks_1_3.then_some("200"), "{newest:?}");
            // Neither who does not trust the certificate nor who speaks plainly gets through.
            curl(&tls, &[]).unwrap_err();
            curl(&plain, &[]).unwrap_err();
            await_count(inlet, Count::GenericProcessingFail, 2 + u64::from(!speaks_1_3));
            assert_eq!(curl(&tls, &trusting).unwrap(), "200");
        });
        assert_eq!(put.len(), if speaks_1_3 { 3 } else { 2 });
    }
}

#[test]
fn a_peer_that_stalls_in_its_handshake_or_goes_away_is_dropped_and_holds_up_nobody() {
    let (_folder, made) = certified();
    let (pem, key) = (made.certificate.display().to_string(), made.key.display().to_string());
    let mut http = http(&[("ssl", "true"), ("keystore", &pem), ("keystore-key", &key)]);
    let well =
        |address| curl(&format!("https://{address}/"), &["--cacert", &pem]).unwrap() == "200";
    // As many as are put at once, and more.
    let stalled = |address: SocketAddr| {
        let peers = (0..3 * WORKERS).map(|nth| {
            let mut peer = TcpStream::connect(address).unwrap();
            peer.write_all(&[0x16, 3, 1, 2, 0][..nth % 6]).unwrap();
            peer
        });
        peers.collect::<Vec<_>>()
    };
    serving(&http, 100, |address, inlet| {
        let stalled = stalled(address);
        assert!(well(address));
        assert_eq!(inlet.counters().get(Count::GenericProcessingFail), 0);
        drop(stalled);
        await_count(inlet, Count::GenericProcessingFail, 3 * WORKERS as u64);
        assert!(well(address));
    });
    http.handshake = Duration::from_millis(200);
    serving(&http, 100, |address, inlet| {
        let begun = Instant::now();
        for mut peer in stalled(address) {
            peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert!(matches!(peer.read(&mut [0; 100]), Ok(0) | Err(_)));
        }
        assert!((http.handshake..Duration::from_secs(20)).contains(&begun.elapsed()));
        await_count(inlet, Count::GenericProcessingFail, 3 * WORKERS as u64);
        assert!(well(address));
    });
    // Who stalls does not keep the source from ending.
    http.handshake = HANDSHAKE;
    let (_stalled, begun) = (serving(&http, 100, |address, _| stalled(address)), Instant::now());
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_wrong_password_and_a_certificate_without_its_key_are_mistakes() {
    let (folder, made) = certified();
    let p12 = folder.path().join("both.p12").display().to_string();
    let pem = made.certificate.display().to_string();
    for (given, expected) in [
        (&[("keystore", &*p12), ("keystore-password", "guessed")][..], "cannot open "),
        (&[("keystore", &*pem)][..], "cannot open "),
        (&[("keystore", &*pem), ("keystore-key", "/no/key")][..], "cannot read /no/key: "),
        (&[][..], "sources.r1.keystore is missing: it has no default"),
    ] {
        let (_, found) = read(&[&[("port", "0"), ("ssl", "true")][..], given].concat(), Http::read);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
}
