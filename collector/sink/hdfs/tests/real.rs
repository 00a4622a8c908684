//! The sink with a real HDFS: what it writes is there and has its last name, also when servers die in a write,
//! or the sink itself does.

use std::path::Path;
use std::time::Instant;

use testing::servers::{self, Server};

use super::*;

/// A sink that writes below a folder of this server.
fn trial(server: &Server, home: &Arc<TempDir>, path: &str, more: &[(&str, &str)]) -> Trial {
    Trial::at(home, &format!("hdfs://{}{path}", server.address()), more)
}

/// The files in a folder of HDFS with what they hold, as far as readers see it.
fn read_all(server: &Server, folder: &str) -> Vec<(String, Vec<u8>)> {
    let hdfs = crate::hdfs::Hdfs::default();
    let url = format!("hdfs://{}{folder}", server.address());
    let mut all: Vec<_> = hdfs
        .list(Path::new(&url))
        .unwrap_or_default()
        .into_iter()
        .map(|entry| {
            let mut bytes = Vec::new();
            if let Ok(mut file) = hdfs.open(&entry.url) {
                file.read_to_end(&mut bytes).unwrap();
            }
            (entry.url.file_name().unwrap().to_str().unwrap().to_owned(), bytes)
        })
        .collect();
    all.sort();
    all
}

fn lines(files: &[(String, Vec<u8>)]) -> Vec<u32> {
    let all = files.iter().flat_map(|(_, bytes)| std::str::from_utf8(bytes).unwrap().lines());
    let mut all: Vec<u32> = all.map(|line| line.parse().unwrap()).collect();
    all.sort_unstable();
    all
}

fn numbers(range: std::ops::Range<u32>) -> Vec<Event> {
    range.map(|number| event(&number.to_string(), &[("timestamp", "1444988339123")])).collect()
}

#[test]
fn files_of_hdfs_are_rolled_renamed_and_read_by_hadoop() {
    let server = servers::hdfs();
    let mut text = trial(server, &folder(), "/roll/%Y", &[("hdfs.rollCount", "10")]);
    text.put(&numbers(0..35));
    text.deliver();
    text.close();
    let files = read_all(server, "/roll/2015");
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.iter().all(|(name, _)| !name.ends_with(".tmp")), "{files:?}");
    assert_eq!(lines(&files), (0..35).collect::<Vec<_>>());

    let sequences = [
        ("/text", &[("hdfs.fileType", "SequenceFile"), ("hdfs.writeFormat", "Text")][..]),
        (
            "/packed",
            &[
                ("hdfs.fileType", "SequenceFile"),
                ("hdfs.writeFormat", "Text"),
                ("hdfs.codeC", "gzip"),
            ],
        ),
        ("/gzip", &[("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "gzip")]),
        ("/avro", &[("serializer", "AVRO_EVENT"), ("hdfs.fileSuffix", ".avro")]),
    ];
    for (path, keys) in sequences {
        let keys = [&[("hdfs.batchSize", "100")], keys].concat();
        let mut trial = trial(server, &folder(), path, &keys);
        trial.put(&numbers(0..300));
        trial.deliver();
        trial.close();
    }
    let urls =
        ["text", "packed", "gzip"].map(|path| format!("hdfs://{}/{path}/*", server.address()));
    let shell = ["org.apache.hadoop.fs.FsShell", "-text", &urls[0], &urls[1], &urls[2]];
    let printed = server.tool(&shell);
    let keyed = |number| format!("1444988339123\t{number}\n");
    let sequence: String = (0..300).map(keyed).collect();
    let plain: String = (0..300).map(|number| format!("{number}\n")).collect();
    assert_eq!(printed, format!("{sequence}{sequence}{plain}"));
}

#[test]
fn files_that_a_dead_sink_has_left_in_hdfs_are_ended_by_the_next() {
    let server = servers::hdfs();
    let home = folder();
    let mut dead = trial(server, &home, "/left", &[]);
    dead.put(&numbers(0..50));
    dead.deliver();
    drop(dead.sink);
    assert!(read_all(server, "/left")[0].0.ends_with(".tmp"));
    let mut next = trial(server, &home, "/other", &[]);
    next.sink.start(&next.tap).unwrap();
    next.turn_until(|_| !read_all(server, "/left")[0].0.ends_with(".tmp"));
    assert_eq!(lines(&read_all(server, "/left")), (0..50).collect::<Vec<_>>());
    next.close();
}

#[test]
fn a_datanode_and_a_namenode_that_die_in_a_write_lose_nothing() {
    let server = Server::start("hdfs", &[]);
    let keys =
        [("hdfs.batchSize", "100"), ("hdfs.callTimeout", "10000"), ("hdfs.retryInterval", "2")];
    let mut trial = trial(&server, &folder(), "/a", &keys);
    trial.put(&numbers(0..500));
    trial.deliver();
    let mut from = 500;
    for part in ["datanode", "namenode"] {
        server.kill(&[part]);
        trial.put(&numbers(from..from + 500));
        let before = trial.count(Count::EventDrainSuccessCount);
        let mut failures = 0;
        while failures < 2 {
            failures += u32::from(trial.sink.turn(&trial.tap).is_err());
        }
        assert_eq!(trial.count(Count::EventDrainSuccessCount), before, "{part}");
        server.restart(&[part]);
        while !trial.channel.is_empty() {
            trial.sink.turn(&trial.tap).ok();
        }
        from += 500;
    }
    trial.close();
    // Files that were given up are ended beside, when their servers are back.
    let mut next = Trial::at(&trial.folder, &format!("hdfs://{}/b", server.address()), &[]);
    next.sink.start(&next.tap).unwrap();
    let is_ended = |_: &Trial| {
        let files = read_all(&server, "/a");
        files.iter().all(|(name, _)| !name.ends_with(".tmp"))
    };
    next.turn_until(is_ended);
    next.close();
    // At least once: what a failed sync may have left is written again.
    let mut all = lines(&read_all(&server, "/a"));
    let doubles = all.len();
    all.dedup();
    assert_eq!(all, (0..1500).collect::<Vec<_>>());
    assert!(doubles - all.len() <= 1000, "{}", doubles - all.len());
}

/// The NameNode is killed in the middle of writing, is away for twenty seconds, and comes back from its disk: the file
/// that is open goes on. Where a new one is about to be made it fails, and nothing was written into it.
#[test]
fn a_namenode_that_is_away_for_a_while_loses_and_doubles_nothing() {
    let server = Server::start("hdfs", &[]);
    let keys =
        [("hdfs.batchSize", "100"), ("hdfs.callTimeout", "120000"), ("hdfs.rollCount", "30000")];
    let mut trial = trial(&server, &folder(), "/a", &keys);
    let mut from = 0;
    let mut load = |trial: &mut Trial| {
        if trial.channel.len() < 5000 {
            trial.put(&numbers(from..from + 500));
            from += 500;
        }
        trial.sink.start(&trial.tap).unwrap();
        trial.sink.turn(&trial.tap).unwrap();
    };
    let delivered = |trial: &Trial| trial.count(Count::EventDrainSuccessCount);
    while delivered(&trial) < 10_000 {
        load(&mut trial);
    }
    server.kill(&["namenode"]);
    let (killed, before) = (Instant::now(), delivered(&trial));
    std::thread::scope(|threads| {
        let back = threads.spawn(|| {
            Stop::default().wait(Duration::from_secs(20));
            server.restart(&["namenode"]);
        });
        while !back.is_finished() {
            load(&mut trial);
        }
    });
    assert!(killed.elapsed() >= Duration::from_secs(20));
    while delivered(&trial) < before + 20_000 {
        load(&mut trial);
    }
    while !trial.channel.is_empty() {
        trial.sink.turn(&trial.tap).unwrap();
    }
    trial.close();
    assert_eq!(trial.count(Count::EventWriteFail), 0);
    let files = read_all(&server, "/a");
    assert!(files.len() > 1);
    assert!(files.iter().all(|(name, _)| !name.ends_with(".tmp")), "{}", files.len());
    assert_eq!(lines(&files), (0..from).collect::<Vec<_>>());
}
