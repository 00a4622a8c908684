use std::io::Read;

use super::*;

/// A reader of its own, from Hadoop's description of the format.
struct Reader<'a> {
    rest: &'a [u8],
    marker: Vec<u8>,
    packed: bool,
    is_text: bool,
    markers: usize,
}

fn take<'a>(rest: &mut &'a [u8], many: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(many);
    *rest = after;
    taken
}

fn int(rest: &mut &[u8]) -> i32 {
    i32::from_be_bytes(take(rest, 4).try_into().unwrap())
}

fn varied(rest: &mut &[u8]) -> i64 {
    let first = take(rest, 1)[0] as i8;
    if first >= -112 {
        return i64::from(first);
    }
    let (many, is_negative) =
        if first >= -120 { (-112 - first, false) } else { (-120 - first, true) };
    let value =
        take(rest, many as usize).iter().fold(0, |value, byte| value << 8 | i64::from(*byte));
    if is_negative { !value } else { value }
}

fn string<'a>(rest: &mut &'a [u8]) -> &'a str {
    let many = varied(rest) as usize;
    std::str::from_utf8(take(rest, many)).unwrap()
}

impl<'a> Reader<'a> {
    fn open(bytes: &'a [u8]) -> Reader<'a> {
        let mut rest = bytes;
        assert_eq!(take(&mut rest, 4), b"SEQ\x06");
        assert_eq!(string(&mut rest), "org.apache.hadoop.io.LongWritable");
        let is_text = string(&mut rest).ends_with(".Text");
        let packed = take(&mut rest, 2) == [1, 1];
        if packed {
            assert_eq!(string(&mut rest), "org.apache.hadoop.io.compress.GzipCodec");
        }
        assert_eq!(int(&mut rest), 0);
        let marker = take(&mut rest, 16).to_vec();
        Reader { rest, marker, packed, is_text, markers: 0 }
    }

    fn value(&self, mut bytes: &[u8]) -> Vec<u8> {
        let many =
            if self.is_text { varied(&mut bytes) } else { i64::from(int(&mut bytes)) } as usize;
        assert_eq!(bytes.len(), many);
        bytes.to_vec()
    }

    fn all(&mut self) -> Vec<(i64, Vec<u8>)> {
        let mut all = Vec::new();
        while !self.rest.is_empty() {
            let length = int(&mut self.rest);
            if length == -1 {
                assert_eq!(take(&mut self.rest, 16), self.marker);
                self.markers += 1;
                if self.packed {
                    self.block(&mut all);
                }
                continue;
            }
            assert!(!self.packed);
            assert_eq!(int(&mut self.rest), 8);
            let mut record = take(&mut self.rest, length as usize);
            let key = i64::from_be_bytes(take(&mut record, 8).try_into().unwrap());
            all.push((key, self.value(record)));
        }
        all
    }

    fn block(&mut self, all: &mut Vec<(i64, Vec<u8>)>) {
        let many = varied(&mut self.rest);
        let parts: Vec<Vec<u8>> = (0..4)
            .map(|_| {
                let length = varied(&mut self.rest) as usize;
                let mut part = Vec::new();
                let packed = take(&mut self.rest, length);
                flate2::read::GzDecoder::new(packed).read_to_end(&mut part).unwrap();
                part
            })
            .collect();
        let [mut key_lengths, mut keys, mut lengths, mut values] =
            [0, 1, 2, 3].map(|at| &parts[at][..]);
        for _ in 0..many {
            assert_eq!(varied(&mut key_lengths), 8);
            let key = i64::from_be_bytes(take(&mut keys, 8).try_into().unwrap());
            let length = varied(&mut lengths) as usize;
            all.push((key, self.value(take(&mut values, length))));
        }
        assert!(
            key_lengths.is_empty() && keys.is_empty() && lengths.is_empty() && values.is_empty()
        );
    }
}

fn event(key: i64, body: Vec<u8>) -> Event {
    let mut event = Event::new(body);
    event.headers.set("timestamp", key.to_string());
    event
}

fn events() -> Vec<(i64, Vec<u8>)> {
    let lengths = [0, 1, 127, 128, 5_000, 70_000, 40_000, 300_000, 900_000, 3];
    let all = lengths.into_iter().enumerate();
    all.map(|(at, length)| (at as i64 * 1_000_000_007 - 5, vec![at as u8; length])).collect()
}

fn written(values: Values, codec: Option<Codec>) -> Vec<u8> {
    let mut file = SequenceFile::new(values, codec);
    let mut out = Vec::new();
    file.begin(&mut out);
    for (at, (key, body)) in events().into_iter().enumerate() {
        file.write(&event(key, body), &mut out);
        if at == 3 || at == 9 {
            file.flush(&mut out);
            file.flush(&mut out);
        }
    }
    assert_eq!(file.length, out.len() as u64);
    out
}

#[test]
fn another_reader_finds_every_record() {
    for values in [Values::Writable, Values::Text] {
        for codec in [None, Some(Codec::Gzip)] {
            let out = written(values, codec);
            let mut reader = Reader::open(&out);
            assert_eq!(reader.all(), events(), "{values:?} {codec:?}");
            // Two flushes; and a marker behind each 100 KiB, or a block behind each megabyte.
            let expected = if codec.is_some() { 3 } else { 2 + 3 };
            assert_eq!(reader.markers, expected, "{values:?} {codec:?}");
        }
    }
}

#[test]
fn a_file_has_the_bytes_that_hadoop_writes() {
    let mut file = SequenceFile::new(Values::Writable, None);
    file.marker = *b"0123456789abcdef";
    let mut out = Vec::new();
    file.begin(&mut out);
    file.write(&event(258, b"hi".to_vec()), &mut out);
    file.flush(&mut out);
    let expected: &[&[u8]] = &[
        b"SEQ\x06\x21org.apache.hadoop.io.LongWritable\x22org.apache.hadoop.io.BytesWritable\x00\x00",
        b"\x00\x00\x00\x000123456789abcdef",
        b"\x00\x00\x00\x0e\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x02hi",
        b"\xff\xff\xff\xff0123456789abcdef",
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn numbers_are_hadoops() {
    for (value, bytes) in [
        (0, &b"\x00"[..]),
        (127, b"\x7f"),
        (-112, b"\x90"),
        (128, b"\x8f\x80"),
        (255, b"\x8f\xff"),
        (256, b"\x8e\x01\x00"),
        (-113, b"\x87\x70"),
        (i64::MAX, b"\x88\x7f\xff\xff\xff\xff\xff\xff\xff"),
    ] {
        let mut out = Vec::new();
        number(value, &mut out);
        assert_eq!(out, bytes, "{value}");
        assert_eq!(varied(&mut &out[..]), value);
    }
}
