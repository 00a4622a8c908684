//! Flume 1.11 at the other end of the wire: its agents before and behind ours, and its client; plainly,
//! compressed, encrypted, and both.
//!
//! Catches what two ends of ours would agree on by mistake. What a peer does that means harm is tried in
//! `source/avro/tests.rs`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collector::counters::Source as Count;
use collector::properties::{Properties, Variables};
use collector::running::{Opened, Running};
use collector::stop::Stop;
use testing::flume::Flume;
use testing::servers::free_ports;
use testing::tls::Certified;

const PATIENCE: Duration = Duration::from_secs(60);

/// How a connection is made, as both files say it.
const KINDS: [&str; 4] = ["plain", "deflate", "ssl", "both"];

/// An agent of ours.
fn ours(text: &str) -> Running {
    let properties = Properties::parse(text.as_bytes(), &Variables::default()).unwrap();
    let (agent, findings) = collector::agent::read(&properties, "a1");
    assert!(!agent.sources.is_empty(), "{findings:#?}");
    Running::start(agent, &[]).unwrap()
}

/// Stores as Java and we read them, of one certificate.
struct Stores {
    folder: tempfile::TempDir,
    pem: Certified,
}

impl Stores {
    fn make() -> Stores {
        let folder = testing::folder();
        let pem = Certified::make(folder.path());
        let stores = Stores { folder, pem };
        stores.run(
            "openssl",
            "pkcs12 -export -in cert.pem -inkey key.pem -out own.p12 -passout pass:secret -name own",
        );
        stores.run(
            "keytool",
            "-importcert -noprompt -alias ca -file cert.pem -keystore trusted.p12 -storetype PKCS12 \
             -storepass secret",
        );
        stores.run(
            "keytool",
            "-importcert -noprompt -alias ca -file cert.pem -keystore old.jks -storetype JKS -storepass secret",
        );
        stores
    }

    fn run(&self, program: &str, args: &str) {
        let mut command = Command::new(program);
        command.args(args.split_whitespace()).current_dir(self.folder.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The keys of a component for this kind of connection.
    fn keys(&self, kind: &str, component: &str) -> String {
        let mut keys = String::new();
        if kind == "deflate" || kind == "both" {
            keys += &format!("{component}.compression-type = deflate\n");
        }
        if kind == "ssl" || kind == "both" {
            let (key, store) = match component.contains(".sources.") {
                true => ("keystore", "own.p12"),
                false => ("truststore", "trusted.p12"),
            };
            let store = self.path(store);
            keys += &format!(
                "{component}.ssl = true\n{component}.{key} = {store}\n{component}.{key}-type = PKCS12\n\
                 {component}.{key}-password = secret\n"
            );
        }
        keys
    }
}

/// A channel, and what is at its ends, with these keys.
fn memory(channel: &str) -> String {
    let of = format!("a1.channels.{channel}");
    format!("{of}.type = memory\n{of}.capacity = 100000\n{of}.transactionCapacity = 10000\n")
}

fn all(of: &str) -> String {
    (1..=4).map(|nth| format!("{of}{nth} ")).collect()
}

fn head() -> String {
    format!("a1.sources = {}\na1.channels = {}\na1.sinks = {}\n", all("r"), all("c"), all("k"))
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn our_sinks_deliver_to_flumes_sources() {
    const MANY: u64 = 5000;
    let stores = Stores::make();
    let mut text = head();
    for (nth, kind) in (1..).zip(KINDS) {
        let source = format!("a1.sources.r{nth}");
        text += &format!(
            "{source}.type = avro\n{source}.bind = 127.0.0.1\n{source}.port = ${{env:PORT_{nth}}}\n\
             {source}.channels = c{nth}\na1.sinks.k{nth}.channel = c{nth}\na1.sinks.k{nth}.type = file_roll\n\
             a1.sinks.k{nth}.sink.directory = ${{env:DATA}}\na1.sinks.k{nth}.sink.pathManager.prefix = {kind}-\n\
             a1.sinks.k{nth}.sink.rollInterval = 0\n{}{}",
            stores.keys(kind, &source),
            memory(&format!("c{nth}"))
        );
    }
    let flume = Flume::start(&text);
    let mut text = head();
    for (nth, kind) in (1..).zip(KINDS) {
        let (source, sink) = (format!("a1.sources.r{nth}"), format!("a1.sinks.k{nth}"));
        text += &format!(
            "{source}.type = seq\n{source}.totalEvents = {MANY}\n{source}.batchSize = 70\n\
             {source}.channels = c{nth}\n{source}.interceptors = i1\n{source}.interceptors.i1.type = timestamp\n\
             {sink}.type = avro\n{sink}.hostname = 127.0.0.1\n{sink}.port = {}\n{sink}.batch-size = 99\n\
             {sink}.channel = c{nth}\n{}{}",
            flume.port(nth),
            stores.keys(kind, &sink),
            memory(&format!("c{nth}"))
        );
    }
    let running = ours(&text);
    for (nth, kind) in (1..).zip(KINDS) {
        flume.await_count(&format!("SOURCE.r{nth}"), "EventAcceptedCount", MANY);
        await_that(kind, || {
            bodies(flume.server().data(), &format!("{kind}-")).len() as u64 == MANY
        });
        let numbers: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
        assert_eq!(bodies(flume.server().data(), &format!("{kind}-")), numbers, "{kind}");
    }
    running.end(PATIENCE, &Stop::default(), &[]);
}

/// The lines of all files of a folder whose names begin so.
fn bodies(folder: &Path, prefix: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    lines
}

/// An agent of ours with a source of every kind, from this port on, and channels that nobody takes from.
fn our_sources(stores: &Stores, port: u16) -> Running {
    let mut text = head();
    for (nth, kind) in (1..).zip(KINDS) {
        let source = format!("a1.sources.r{nth}");
        text += &format!(
            "{source}.type = avro\n{source}.bind = 127.0.0.1\n{source}.port = {}\n{source}.channels = c{nth}\n{}{}",
            port + nth,
            stores.keys(kind, &source),
            memory(&format!("c{nth}"))
        );
    }
    ours(&text)
}

/// What is in a channel, with a header of each.
fn taken(opened: &Opened, header: &str) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    loop {
        let taken = Arc::clone(&opened.channel).take(10_000, Duration::ZERO).unwrap();
        if taken.events().is_empty() {
            return all;
        }
        all.extend(taken.events().iter().map(|event| {
            let value = event.headers.get(header).map(ToString::to_string);
            (String::from_utf8(event.body.to_vec()).unwrap(), value)
        }));
        taken.commit().unwrap();
    }
}

fn channel<'r>(running: &'r Running, name: &str) -> &'r Opened {
    running
        .parts()
        .channels
        .iter()
        .map(|(opened, _)| opened)
        .find(|opened| opened.name == name)
        .unwrap()
}

#[test]
fn flumes_sinks_deliver_to_our_sources() {
    const MANY: usize = 5000;
    let stores = Stores::make();
    let port = free_ports();
    let running = our_sources(&stores, port);
    let mut text = head();
    for (nth, kind) in (1..).zip(KINDS) {
        let (source, sink) = (format!("a1.sources.r{nth}"), format!("a1.sinks.k{nth}"));
        text += &format!(
            "{source}.type = seq\n{source}.totalEvents = {MANY}\n{source}.batchSize = 70\n\
             {source}.channels = c{nth}\n{source}.interceptors = i1\n{source}.interceptors.i1.type = static\n\
             {source}.interceptors.i1.key = kind\n{source}.interceptors.i1.value = {kind}\n\
             {sink}.type = avro\n{sink}.hostname = 127.0.0.1\n{sink}.port = {}\n{sink}.batch-size = 99\n\
             {sink}.channel = c{nth}\n{}{}",
            port + nth,
            stores.keys(kind, &sink),
            memory(&format!("c{nth}"))
        );
    }
    let _flume = Flume::start(&text);
    for (nth, kind) in (1..).zip(KINDS) {
        let opened = channel(&running, &format!("c{nth}"));
        await_that(kind, || opened.channel.len() == MANY);
        let expected: Vec<_> =
            (0..MANY).map(|number| (number.to_string(), Some(kind.to_owned()))).collect();
        assert_eq!(taken(opened, "kind"), expected, "{kind}");
    }
    running.end(Duration::ZERO, &Stop::default(), &[]);
}

#[test]
fn flumes_client_delivers_to_our_sources() {
    let stores = Stores::make();
    let port = free_ports();
    let running = our_sources(&stores, port);
    let file = stores.folder.path().join("lines");
    let lines: Vec<_> = (0..2500).map(|number| format!("line {number}")).collect();
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let trusted = stores.path("trusted.p12");
    let ssl = format!(
        "ssl = true\ntruststore = {trusted}\ntruststore-type = PKCS12\ntruststore-password = secret\n"
    );
    let deflate = "compression-type = deflate\n";
    for (nth, properties) in (1..).zip(["", deflate, &ssl]) {
        Flume::client(port + nth, &file, properties);
        let bodies: Vec<_> = taken(channel(&running, &format!("c{nth}")), "")
            .into_iter()
            .map(|(body, _)| body)
            .collect();
        assert_eq!(bodies, lines, "{properties}");
        let inlet =
            running.parts().inlets.iter().find(|inlet| inlet.name() == format!("r{nth}")).unwrap();
        assert_eq!(inlet.counters().get(Count::EventAcceptedCount), 2500);
    }
    running.end(Duration::ZERO, &Stop::default(), &[]);
}

/// Flume is killed while it sends; what it starts with again is what our source has not acknowledged to it.
#[test]
fn a_sender_that_is_killed_and_started_again_loses_nothing() {
    const MANY: usize = 40_000;
    let port = free_ports();
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sources.r1.type = avro\n\
         a1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\na1.sources.r1.channels = c1\n\
         {}",
        memory("c1")
    );
    let running = ours(&text);
    let spool = testing::folder();
    let lines: String = (0..MANY).map(|number| format!("{number}\n")).collect();
    std::fs::write(spool.path().join("lines"), lines).unwrap();
    let spool = spool.path().display();
    let flume = Flume::start(&format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = spooldir\n\
         a1.sources.r1.spoolDir = {spool}\na1.sources.r1.batchSize = 1000\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = file\na1.channels.c1.checkpointDir = ${{env:DATA}}/checkpoint\n\
         a1.channels.c1.dataDirs = ${{env:DATA}}/log\na1.channels.c1.minimumRequiredSpace = 1048576\n\
         a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n\
         a1.sinks.k1.batch-size = 50\na1.sinks.k1.channel = c1\n"
    ));
    let opened = channel(&running, "c1");
    await_that("some arrive", || opened.channel.len() > 1000);
    flume.server().kill(&[]);
    assert!(opened.channel.len() < MANY, "it was killed too late");
    flume.server().restart(&[]);
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    await_that("all arrive", || {
        for (body, _) in taken(opened, "") {
            *seen.entry(body.parse().unwrap()).or_default() += 1;
        }
        seen.len() == MANY
    });
    running.end(Duration::ZERO, &Stop::default(), &[]);
}

#[test]
fn a_store_in_javas_own_format_is_refused_with_the_command_that_converts_it() {
    let stores = Stores::make();
    let old = stores.path("old.jks");
    let text = format!(
        "a1.sinks = k1\na1.channels = c1\na1.sources = r1\na1.sinks.k1.type = avro\na1.sinks.k1.hostname = h\n\
         a1.sinks.k1.port = 1\na1.sinks.k1.channel = c1\na1.sinks.k1.ssl = true\na1.sinks.k1.truststore = {old}\n"
    );
    let properties = Properties::parse(text.as_bytes(), &Variables::default()).unwrap();
    let (_, findings) = collector::agent::read(&properties, "a1");
    let found =
        findings.iter().map(ToString::to_string).find(|found| found.contains("keytool")).unwrap();
    let expected = format!(
        "line 9: sinks.k1.truststore: {old} is a store in Java's own format; make PKCS12 of it: keytool "
    );
    assert!(found.starts_with(&expected), "{found}");
    assert!(stores.pem.certificate.exists());
}
