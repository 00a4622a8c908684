use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::findings::{Finding, Findings};
use crate::properties::Property;

fn with<T>(given: &[(&str, &str)], read: impl FnOnce(&Keys<'_>) -> T) -> (T, Vec<String>) {
    let findings = Findings::default();
    let property = |(key, value): &(&str, &str)| Property {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        line: 1,
    };
    let properties: Vec<_> = given.iter().map(property).collect();
    let given = properties.iter().map(|property| (property.key.clone(), property));
    let keys = Keys::new("a1", "sources.r1", given, &findings);
    let read = read(&keys);
    keys.finish();
    (read, findings.into_sorted().iter().map(Finding::to_string).collect())
}

/// A folder with cert.pem and key.pem, in which these commands of openssl were run.
fn made(commands: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    testing::tls::Certified::make(folder.path());
    for command in commands {
        let mut openssl = Command::new("openssl");
        openssl.args(command.split_whitespace()).current_dir(folder.path()).stdin(Stdio::null());
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    folder
}

/// What a server of this store would show, and what is found wrong with its keys.
fn shown(folder: &Path, store: &str, more: &[(&str, &str)]) -> (Shown, Vec<String>) {
    let store = folder.join(store).display().to_string();
    let given = [&[("ssl", "true"), ("keystore", store.as_str())][..], more].concat();
    let (shown, found) = with(&given, Shown::read);
    (shown.unwrap(), found)
}

#[test]
fn a_server_shows_what_stands_in_pem_or_pkcs12_old_and_new() {
    let folder = made(&[
        "pkcs12 -export -in cert.pem -inkey key.pem -out new.p12 -passout pass:secret",
        "pkcs12 -export -legacy -in cert.pem -inkey key.pem -out old.p12 -passout pass:secret",
        "rsa -in key.pem -traditional -out rsa.pem",
        "pkcs8 -topk8 -in key.pem -out locked.pem -passout pass:secret",
    ]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let both = ["cert.pem", "key.pem"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
    std::fs::write(folder.path().join("both.pem"), both.concat()).unwrap();
    let password = ("keystore-password", "secret");
    for (store, more) in [
        ("both.pem", &[][..]),
        ("cert.pem", &[("keystore-key", path("key.pem").as_str())][..]),
        ("cert.pem", &[("keystore-key", path("rsa.pem").as_str())][..]),
        ("cert.pem", &[("keystore-key", path("locked.pem").as_str()), password][..]),
        ("new.p12", &[password, ("keystore-type", "PKCS12")][..]),
        ("new.p12", &[password][..]),
        ("old.p12", &[password][..]),
    ] {
        let (shown, found) = shown(folder.path(), store, more);
        assert!(found.is_empty(), "{store} {more:?}: {found:?}");
        shown.acceptor().unwrap();
    }
    for (store, more) in [
        ("new.p12", &[("keystore-password", "guessed")][..]),
        ("cert.pem", &[]),
        (
            "cert.pem",
            &[("keystore-key", path("locked.pem").as_str()), ("keystore-password", "x")][..],
        ),
    ] {
        let (shown, found) = shown(folder.path(), store, more);
        let error = shown.acceptor().err().unwrap();
        assert!(matches!(error, Error::Open { .. }), "{error:?}");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("line 1: sources.r1.keystore: cannot open "), "{found:?}");
    }
}

#[test]
fn what_a_client_trusts_has_certificates() {
    let folder =
        made(&["pkcs12 -export -nokeys -in cert.pem -out trusted.p12 -passout pass:secret"]);
    for store in ["cert.pem", "trusted.p12"] {
        Trusted::of(Some(&folder.path().join(store)), "secret").connector().unwrap();
    }
    let error = Trusted::of(Some(&folder.path().join("key.pem")), "").connector().unwrap_err();
    assert!(matches!(error, Error::Lacks { what: "certificate", .. }), "{error:?}");
}

#[test]
fn a_name_is_checked_where_anybodys_certificate_would_do() {
    let folder = made(&[]);
    let store = folder.path().join("cert.pem").display().to_string();
    for (more, checks) in [
        (&[][..], true),
        (&[("truststore", store.as_str())][..], false),
        (&[("truststore", store.as_str()), ("verifyHostname", "true")][..], true),
        (&[("trust-all-certs", "true")][..], false),
    ] {
        let (trusted, found) = with(&[&[("ssl", "true")][..], more].concat(), Trusted::read);
        assert_eq!((trusted.unwrap().checks_name, found.len()), (checks, 0), "{more:?}");
    }
}

#[test]
fn versions_are_those_that_are_left_and_not_broken() {
    let read = |keys: &[(&str, &str)]| {
        let (versions, found) = with(keys, Versions::read);
        (versions.is_1_2, versions.is_1_3, found.join("; "))
    };
    assert_eq!(read(&[]), (true, true, String::new()));
    assert_eq!(read(&[("exclude-protocols", "SSLv3 TLSv1.3")]), (true, false, String::new()));
    let old = read(&[("include-protocols", "TLSv1 TLSv1.2")]);
    assert_eq!((old.0, old.1), (true, false));
    assert!(old.2.contains("TLSv1 is never spoken"), "{}", old.2);
    let none = read(&[("include-protocols", "TLSv1.1")]).2;
    assert!(none.contains("neither TLSv1.2 nor TLSv1.3 is left"), "{none}");
    let wrong = read(&[("exclude-protocols", "TLS1.2")]).2;
    assert!(wrong.contains("exclude-protocols is TLS1.2; allowed: "), "{wrong}");
    let ciphers = read(&[("include-cipher-suites", "TLS_AES_128_GCM_SHA256")]).2;
    assert!(ciphers.contains("include-cipher-suites is not supported; "), "{ciphers}");
}

#[test]
fn a_server_speaks_the_versions_that_are_left() {
    let folder = made(&[]);
    let key = folder.path().join("key.pem").display().to_string();
    let client = |least| {
        let mut client = TlsConnector::builder();
        client.min_protocol_version(Some(least)).max_protocol_version(Some(least));
        client.danger_accept_invalid_certs(true).build().unwrap()
    };
    for (included, speaks) in [("TLSv1.2 TLSv1.3", [true, true]), ("TLSv1.3", [false, true])] {
        let more = [("keystore-key", &*key), ("include-protocols", included)];
        let acceptor = shown(folder.path(), "cert.pem", &more).0.acceptor().unwrap();
        for (version, speaks) in [Protocol::Tlsv12, Protocol::Tlsv13].into_iter().zip(speaks) {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let accepted = std::thread::scope(|threads| {
                let server =
                    threads.spawn(|| acceptor.accept(listener.accept().unwrap().0).is_ok());
                let socket = std::net::TcpStream::connect(address).unwrap();
                let connected = client(version).connect("127.0.0.1", socket).is_ok();
                (server.join().unwrap(), connected)
            });
            assert_eq!(accepted, (speaks, speaks), "{included} {version:?}");
        }
    }
}

#[test]
fn a_store_that_cannot_be_used_is_a_mistake_of_its_key() {
    let folder = made(&[]);
    let jks = folder.path().join("old.jks");
    std::fs::write(&jks, b"\xfe\xed\xfe\xed\0\0\0\x02").unwrap();
    let jks = jks.display().to_string();
    for (store, expected) in [
        (jks.as_str(), "keytool -importkeystore -srckeystore"),
        ("/no/such/store", "cannot read /no/such/store: No such file"),
    ] {
        let (_, found) = with(&[("ssl", "true"), ("keystore", store)], Shown::read);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("line 1: sources.r1.keystore: "), "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
    let (_, found) = with(&[("ssl", "true")], Shown::read);
    assert_eq!(found, ["sources.r1.keystore is missing: it has no default"]);
    // What is not switched on is not looked at.
    assert_eq!(with(&[("keystore", "/no/such/store")], Shown::read), (None, Vec::new()));
}
