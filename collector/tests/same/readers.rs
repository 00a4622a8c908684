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
        Form::HeaderAndText => lines(bytes).iter().map(|line| in_order(line)).collect(),
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

/// A line of headers and text, its headers sorted.
fn in_order(line: &str) -> String {
    let Some((headers, text)) = line.strip_prefix("\"{").and_then(|line| line.split_once("} "))
    else {
        return line.to_owned();
    };
    let mut headers: Vec<_> = headers.split(", ").collect();
    headers.sort_unstable();
    format!("{{{}}} {text}", headers.join(", "))
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

/// A file as Hadoop describes it, of records that are not packed.
fn sequence(bytes: &[u8]) -> Vec<String> {
    let mut rest = bytes;
    assert_eq!(take(&mut rest, 4), b"SEQ\x06");
    let classes = [text(&mut rest), text(&mut rest)];
    assert_eq!(take(&mut rest, 2), [0, 0], "it is packed");
    assert_eq!(int(&mut rest), 0, "it has metadata");
    let marker = take(&mut rest, 16);
    let mut all = vec![classes.join(" ")];
    while !rest.is_empty() {
        let length = int(&mut rest);
        if length == -1 {
            assert_eq!(take(&mut rest, 16), marker);
            continue;
        }
        assert_eq!(int(&mut rest), 8);
        let mut record = take(&mut rest, length as usize);
        let key = i64::from_be_bytes(take(&mut record, 8).try_into().unwrap());
        let body = match &*classes[1] {
            "org.apache.hadoop.io.Text" => text(&mut record).into_bytes(),
            _ => {
                let many = int(&mut record);
                take(&mut record, many as usize).to_vec()
            }
        };
        assert!(record.is_empty());
        all.push(format!("{key} {}", shown(&body)));
    }
    all
}

fn take<'a>(rest: &mut &'a [u8], many: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(many);
    *rest = after;
    taken
}

fn int(rest: &mut &[u8]) -> i32 {
    i32::from_be_bytes(take(rest, 4).try_into().unwrap())
}

/// A text with its length, which is one byte, or some behind their number.
fn text(rest: &mut &[u8]) -> String {
    let first = take(rest, 1)[0] as i8;
    let many = match first {
        -112.. => first as usize,
        _ => take(rest, (-112 - first) as usize)
            .iter()
            .fold(0, |many, byte| many << 8 | usize::from(*byte)),
    };
    String::from_utf8(take(rest, many).to_vec()).unwrap()
}
