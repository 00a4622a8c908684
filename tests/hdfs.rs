//! `replay` of files in a real HDFS: what comes of them is what comes of the same files here, and a file
//! is known again there as it is here.
//!
//! What is not tested: Kerberos, encryption, two NameNodes of which one fails.

#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use hdfs_native::WriteOptions;
use hdfs_native::sync::{Client, ClientBuilder, FileWriter};
use testing::exported::Exported;
use testing::place::{AT, CLICK, Place};
use testing::program::{self, Outcome};
use testing::{servers, small};

/// A folder of its own in the HDFS that all tests share.
struct Folder {
    client: Client,
    path: String,
}

impl Folder {
    fn new() -> Folder {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let path = format!("/{}", FOLDERS.fetch_add(1, Ordering::Relaxed));
        let client = ClientBuilder::new()
            .with_url(format!("hdfs://{}", servers::hdfs().address()))
            .build()
            .unwrap();
        client.mkdirs(&path, 0o755, true).unwrap();
        Folder { client, path }
    }

    fn url(&self, name: &str) -> String {
        format!("hdfs://{}{}/{name}", servers::hdfs().address(), self.path)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Begins a file, and syncs what is written so far.
    fn begin(&self, name: &str, bytes: &[u8], options: WriteOptions) -> FileWriter {
        let mut writer = self.client.create(&self.path(name), options).unwrap();
        writer.write_all(bytes).unwrap();
        writer.hsync().unwrap();
        writer
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let options = WriteOptions::default().overwrite(true);
        let mut writer = self.client.create(&self.path(name), options).unwrap();
        writer.write_all(bytes).unwrap();
        writer.close().unwrap();
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        let mut writer = self.client.append(&self.path(name)).unwrap();
        writer.write_all(bytes).unwrap();
        writer.close().unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        self.client.rename(&self.path(from), &self.path(to), false).unwrap();
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// So many clicks, each of another user.
fn clicks(users: std::ops::Range<u32>) -> Vec<u8> {
    let click = |user: u32| CLICK.replace("\"2\"", &format!("\"{user}\"")) + "\n";
    users.map(click).collect::<String>().into_bytes()
}

/// How many hits the store `s` of a place has counted.
fn hits(place: &Place) -> u64 {
    place.run("show job --store s --json").done().json()["records_total"]["hit"].as_u64().unwrap()
}

fn replay(place: &Place, urls: &[String]) -> Outcome {
    let args = ["replay", "--store", "s", "--epoch-records", "100"].map(str::to_owned);
    program::run(place.folder(), args.iter().chain(urls)).done()
}

#[test]
fn files_there_are_replayed_to_the_bytes_of_the_same_files_here() {
    let there = Folder::new();
    let read = |name: &str| std::fs::read(small().join(name)).unwrap();
    let log = read("userClick.log");
    // A folder with folders in it, of which one file is packed; cut within no line.
    let half = log[..log.len() / 2].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    there.write("logs/2019-04-10/a.log", &log[..half]);
    there.write("logs/2019-04-11/b.log.gz", &packed(&log[half..]));
    there.write("new-article.log", &read("new-article.log"));
    there.write("logs/_SUCCESS", b"not a click\n");

    let here = Place::empty();
    here.write("logs/2019-04-10/a.log", &log[..half]);
    here.write("logs/2019-04-11/b.log.gz", packed(&log[half..]));
    here.write("new-article.log", read("new-article.log"));
    let similar = small().join("similar.tsv");
    let run = |store: &str, logs: &str, articles: &str| {
        let options = format!("--similar {} --at {AT} --epoch-records 50", similar.display());
        here.run(&format!("replay {logs} --articles {articles} {options} --store {store}")).done();
        Exported::of(&here.path(store))
    };
    let expected = run("here", "logs", "new-article.log");
    let found = run("there", &there.url("logs"), &there.url("new-article.log"));
    for name in ["hot.tsv", "new.tsv", "cb_recall.tsv", "history_recall.tsv", "similar.tsv"] {
        assert!(!found.file(name).is_empty(), "{name}");
        assert_eq!(
            found.file(name).escape_ascii().to_string(),
            expected.file(name).escape_ascii().to_string(),
            "{name}"
        );
    }
    // A place is the file as given, joined with the folder.
    let letters =
        |exported: &Exported| String::from_utf8(exported.file("dead_letters.tsv").to_vec());
    let (found, expected) = (letters(&found).unwrap(), letters(&expected).unwrap());
    assert!(found.contains(&there.url("logs/2019-04-11/b.log.gz:")), "{found}");
    assert_eq!(found.replace(&there.url(""), ""), expected);
}

#[test]
fn a_file_that_grew_was_renamed_or_packed_goes_on_where_it_was() {
    let (there, place) = (Folder::new(), Place::empty());
    there.write("l/a.log", &clicks(0..1000));
    there.write("l/b.log", &clicks(1000..2000));
    let folder = [there.url("l")];
    replay(&place, &folder);
    assert_eq!(hits(&place), 2000);
    replay(&place, &folder);
    assert_eq!(hits(&place), 2000);

    there.append("l/a.log", &clicks(2000..2500));
    there.rename("l/b.log", "l/b.log.1");
    there.append("l/b.log.1", &clicks(2500..2600));
    let outcome = replay(&place, &folder);
    assert!(outcome.log.contains(&format!("path={}", there.url("l/b.log.1"))), "{outcome:?}");
    assert_eq!(hits(&place), 2600);

    // Packed, with more behind it than was read.
    let all = [clicks(0..1000), clicks(2000..2500), clicks(3000..3001)].concat();
    there.write("l/a.log.gz", &packed(&all));
    there.client.delete(&there.path("l/a.log"), false).unwrap();
    replay(&place, &folder);
    assert_eq!(hits(&place), 2601);

    // Moved from here to there, it is the same file.
    place.write("local.log", clicks(5000..5010));
    replay(&place, &["local.log".to_owned()]);
    std::fs::remove_file(place.path("local.log")).unwrap();
    there.write("moved/local.log", &clicks(5000..5011));
    replay(&place, &[there.url("moved")]);
    assert_eq!(hits(&place), 2612);
}

#[test]
#[cfg(feature = "failpoints")]
fn bound_epochs_of_files_there_run_again_where_live_servers_count_them() {
    let (there, place) = (Folder::new(), Place::empty());
    let redis = servers::redis().address();
    let text = format!(
        "job = 'far'\ndataflows = ['hot']\n[redis]\nurl = 'redis://{redis}/0'\nhot = 'far:{{channel}}'\n"
    );
    place.write("job.toml", text);
    there.write("a.log", &clicks(0..1000));
    let replay = |url: &str, stop_at: Option<&str>| {
        let args = ["replay", "--config", "job.toml", "--epoch-records", "100", url];
        let mut command = program::command(place.folder(), args);
        if let Some(stop_at) = stop_at {
            command.env(program::STOP_AT, stop_at);
        }
        program::end(command)
    };
    let killed = replay(&there.url("a.log"), Some("after-binding:1"));
    assert!(killed.killed(), "{killed:#?}");
    // Packed, and grown, while it was bound.
    there.write("a.log.gz", &packed(&clicks(0..1050)));
    there.client.delete(&there.path("a.log"), false).unwrap();
    replay(&there.url("a.log.gz"), None).done();
    let hot = place.run("show hot 18 --config job.toml --json").done().json();
    assert_eq!(hot, serde_json::json!([{ "article": "18005", "score": 1050 }]));
}

#[test]
fn a_file_that_changed_stops_the_run_before_anything_is_read() {
    let (there, place) = (Folder::new(), Place::empty());
    there.write("l/a.log", &clicks(0..100));
    there.write("l/b.log", &clicks(100..200));
    replay(&place, &[there.url("l")]);
    there.append("l/a.log", &clicks(200..300));
    there.write("l/b.log", &clicks(0..50));
    let (url, changed) = (there.url("l"), there.url("l/b.log"));
    place.refuses(&format!("replay {url} --store s"), 1, &[&changed, "nothing was applied"]);
    assert_eq!(hits(&place), 200);
}

#[test]
fn globs_are_sorted_and_unfinished_files_are_skipped_and_named() {
    let (there, place) = (Folder::new(), Place::empty());
    there.write("d/b.log", b"b\n");
    there.write("d/a.log", b"a\n");
    there.write("d/a.log.tmp", b"tmp\n");
    there.write("d/_logs/x.log", b"logs\n");
    let glob = there.url("{d,e}/[ab]*");
    let outcome = replay(&place, &[glob]);
    assert!(outcome.log.contains(&format!("skipped: path={}", there.url("d/a.log.tmp"))));
    let outcome = replay(&place, &[there.url("d")]);
    assert!(
        outcome.log.contains(&format!("skipped: path={}", there.url("d/_logs"))),
        "{outcome:?}"
    );
    let letters = place.export();
    let places: Vec<_> =
        letters.rows("dead_letters.tsv").iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(places, [there.url("d/a.log:1"), there.url("d/b.log:1")]);
    let none = there.url("none*");
    place.run(&format!("replay {none} --store s")).refused(1, &["no file matches", &none]);
}

#[test]
fn a_file_that_is_being_written_is_named_and_read_when_it_is_closed() {
    let (there, place) = (Folder::new(), Place::empty());
    let urls = [there.url("l"), there.url("l/open.log")];
    there.write("l/closed.log", &clicks(0..10));
    let mut open = there.begin("l/open.log", &clicks(10..20), WriteOptions::default());
    let skipped =
        format!("skipped: path={} reason=it is still being written", there.url("l/open.log"));
    let outcome = replay(&place, &urls);
    assert!(outcome.log.contains(&skipped), "{outcome:?}");
    assert_eq!(hits(&place), 10);
    open.write_all(&clicks(20..30)).unwrap();
    open.close().unwrap();
    replay(&place, &urls);
    assert_eq!(hits(&place), 30);

    // One that was read, and is open again.
    let mut again = there.client.append(&there.path("l/open.log")).unwrap();
    again.write_all(&clicks(30..31)).unwrap();
    again.hsync().unwrap();
    let outcome = replay(&place, &urls);
    assert!(outcome.log.contains(&skipped), "{outcome:?}");
    again.close().unwrap();
    replay(&place, &urls);
    assert_eq!(hits(&place), 31);
}

#[test]
fn of_a_file_whose_blocks_are_all_whole_the_end_tells_whether_it_is_open() {
    let (there, place) = (Folder::new(), Place::empty());
    // A block of 1 MiB that ends within a line; of the next one nothing is synced.
    const BLOCK: usize = 1 << 20;
    let all = clicks(0..20_000);
    let small_blocks = WriteOptions::default().block_size(BLOCK as u64);
    let mut open = there.begin("l/open.log", &all[..BLOCK], small_blocks.clone());
    open.write_all(&all[BLOCK..BLOCK + 1000]).unwrap();
    let outcome = replay(&place, &[there.url("l")]);
    assert!(outcome.log.contains("it is still being written"), "{outcome:?}");
    open.write_all(&all[BLOCK + 1000..]).unwrap();
    open.close().unwrap();
    replay(&place, &[there.url("l")]);
    assert_eq!(hits(&place), 20_000);

    // One that is closed, of whole blocks, with a whole last line.
    let mut whole = clicks(30_000..37_000);
    whole.truncate(BLOCK - 1);
    whole.push(b'\n');
    assert_eq!(whole.len(), BLOCK);
    let mut closed = there.begin("l/closed.log", &whole, small_blocks);
    closed.close().unwrap();
    replay(&place, &[there.url("l")]);
    assert!(hits(&place) > 20_000 + 5_000);
}

#[test]
fn a_name_service_is_found_in_the_configuration_of_hadoop() {
    let (there, place) = (Folder::new(), Place::empty());
    there.write("l/a.log", &clicks(0..10));
    let property = |name: &str, value: &str| {
        format!("<property><name>{name}</name><value>{value}</value></property>")
    };
    let service = [
        property("dfs.nameservices", "site"),
        property("dfs.ha.namenodes.site", "n1"),
        property("dfs.namenode.rpc-address.site.n1", &servers::hdfs().address()),
    ];
    let default = property("fs.defaultFS", "hdfs://site");
    let write = |name: &str, properties: &str| {
        place.write(name, format!("<configuration>{properties}</configuration>"));
    };
    write("conf/hdfs-site.xml", &service.concat());
    write("conf/core-site.xml", &default);
    let run = |url: &str| {
        let mut command = program::command(place.folder(), ["replay", url, "--store", "s"]);
        program::end({
            command.env("HADOOP_CONF_DIR", place.path("conf"));
            command
        })
        .done();
    };
    run(&format!("hdfs://site{}", there.path("l")));
    assert_eq!(hits(&place), 10);
    // The default one: another name, so another file, as its place says.
    run(&format!("hdfs://{}", there.path("l")));
    assert_eq!(hits(&place), 20);
}

#[test]
fn what_is_not_there_is_named_in_a_line() {
    let (there, place) = (Folder::new(), Place::empty());
    let missing = there.url("missing.log");
    let outcome = place.run(&format!("replay {missing} --store s"));
    let outcome = outcome.refused(1, &["cannot find", &missing]);
    assert_eq!(outcome.log.lines().count(), 1, "{outcome:?}");
    let nobody = "hdfs://127.0.0.1:1/a.log";
    place.run(&format!("replay {nobody} --store s")).refused(1, &["cannot find", nobody]);
}
