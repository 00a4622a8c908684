//! What stands in the files that a sink has written, format by format: a line of text for each record, which
//! shows its headers or key and its body.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use apache_avro::types::Value;
use regex::Regex;

/// The form of a file.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Text,
    /// Headers as Java prints a map: in the order of its hashes, which ours does not copy.
    HeaderAndText,
    Avro,
    Sequence,
    Gzip,
    Bzip2,
}

/// The records of all files in a folder, by their paths in it; the number in a file's name is `N`, and of files
/// that differ in it alone the smaller is first. The name of the agent's folder is `PLACE`.
pub type Written = BTreeMap<String, Vec<Vec<String>>>;

/// Reads all files below a folder of a sink in `place`.
pub fn written(place: &Path, folder: &Path, form: Form) -> Written {
    // A number is of milliseconds, with that of a roll behind it.
    let number = Regex::new(r"\d{13}(-\d+)?").unwrap();
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    // Checksums, which Hadoop lays beside the files of this machine.
    let is_meant = |name: &str| !(name.starts_with('.') && name.ends_with(".crc"));
    let files = files
        .filter(|file| file.file_type().is_file() && is_meant(file.file_name().to_str().unwrap()));
    let mut paths: Vec<_> = files.map(|file| file.into_path()).collect();
    paths.sort();
    let mut all = Written::new();
    for path in paths {
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
        let (folder, name) = name.rsplit_once('/').unwrap_or(("", name));
        let name = format!("{folder}/{}", number.replace(name, "N"));
        let mut records = records(&std::fs::read(&path).unwrap(), form);
        for record in &mut records {
            *record = record.replace(place.to_str().unwrap(), "PLACE");
        }
        all.entry(name).or_default().push(records);
    }
    all
}

fn records(bytes: &[u8], form: Form) -> Vec<String> {
    match form {
        Form::Text => lines(bytes),
        Form::HeaderAndText => in_order(bytes),
        Form::Avro => avro(bytes),
        Form::Sequence => sequence(bytes),
        Form::Gzip => lines(&all(flate2::read::MultiGzDecoder::new(bytes))),
        Form::Bzip2 => lines(&all(bzip2::read::MultiBzDecoder::new(bytes))),
    }
}

fn all(mut reader: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("bytes {}", bytes.escape_ascii()),
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(shown).collect()
}

/// Lines of headers and text, the headers of each sorted.
fn in_order(bytes: &[u8]) -> Vec<String> {
    let line = |line: &[u8]| {
        let end =
            line.windows(2).position(|two| two == b"} ").expect("headers stand before a text");
        let (headers, text) = line.split_at(end);
        let mut headers: Vec<_> = std::str::from_utf8(&headers[1..]).unwrap().split(", ").collect();
        headers.sort_unstable();
        format!("{{{}}} {}", headers.join(", "), shown(&text[2..]))
    };
    bytes.split_inclusive(|byte| *byte == b'\n').map(line).collect()
}

fn avro(bytes: &[u8]) -> Vec<String> {
    let reader = apache_avro::Reader::new(bytes).unwrap();
    reader
        .map(|record| {
            let Value::Record(fields) = record.unwrap() else { panic!("no record") };
            let [(_, Value::Map(headers)), (_, Value::Bytes(body))] = &fields[..] else {
                panic!("no event: {fields:?}")
            };
            let headers: BTreeMap<_, _> = headers
                .iter()
                .map(|(name, value)| match value {
                    Value::String(value) => (name, value),
                    other => panic!("no text: {other:?}"),
                })
                .collect();
            format!("{headers:?} {}", shown(body))
        })
        .collect()
}

/// A file as Hadoop describes it: records, or blocks of packed ones.
fn sequence(bytes: &[u8]) -> Vec<String> {
    let mut rest = bytes;
    assert_eq!(take(&mut rest, 4), b"SEQ\x06");
    let mut head = vec![text(&mut rest), text(&mut rest)];
    let is_text = head[1] == "org.apache.hadoop.io.Text";
    let is_packed = take(&mut rest, 2) == [1, 1];
    if is_packed {
        head.push(text(&mut rest));
    }
    assert_eq!(int(&mut rest), 0, "it has metadata");
    let marker = take(&mut rest, 16);
    let mut all = vec![head.join(" ")];
    let mut record = |mut key: &[u8], mut body: &[u8]| {
        let key = i64::from_be_bytes(take(&mut key, 8).try_into().unwrap());
        let many = if is_text { number(&mut body) } else { int(&mut body) as usize };
        assert_eq!(many, body.len());
        all.push(format!("{key} {}", shown(body)));
    };
    while !rest.is_empty() {
        let length = int(&mut rest);
        if length == -1 {
            assert_eq!(take(&mut rest, 16), marker);
            if is_packed {
                block(&mut rest, &mut record);
            }
            continue;
        }
        assert_eq!(int(&mut rest), 8);
        let (key, body) = take(&mut rest, length as usize).split_at(8);
        record(key, body);
    }
    all
}

/// A block: how many records, the lengths of their keys, the keys, the lengths of their values, the values.
fn block(rest: &mut &[u8], record: &mut impl FnMut(&[u8], &[u8])) {
    let many = number(rest);
    let parts = [(); 4].map(|()| {
        let length = number(rest);
        all(flate2::read::MultiGzDecoder::new(take(rest, length)))
    });
    let [mut key_lengths, mut keys, mut lengths, mut values] =
        parts.each_ref().map(|part| &part[..]);
    for _ in 0..many {
        let (key, value) = (number(&mut key_lengths), number(&mut lengths));
        record(take(&mut keys, key), take(&mut values, value));
    }
    assert!(keys.is_empty() && values.is_empty());
}

fn take<'a>(rest: &mut &'a [u8], many: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(many);
    *rest = after;
    taken
}

fn int(rest: &mut &[u8]) -> i32 {
    i32::from_be_bytes(take(rest, 4).try_into().unwrap())
}

/// A number, which is one byte, or some behind how many they are.
fn number(rest: &mut &[u8]) -> usize {
    let first = take(rest, 1)[0] as i8;
    match first {
        -112.. => first as usize,
        _ => take(rest, (-112 - first) as usize)
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)),
    }
}

fn text(rest: &mut &[u8]) -> String {
    let many = number(rest);
    String::from_utf8(take(rest, many).to_vec()).unwrap()
}
