//! An event with its headers in one message: Avro's datum of Flume's `AvroFlumeEvent`, which is a map of
//! strings and then bytes, without schema or frame.

use bytes::Bytes;

use crate::event::{Event, Headers, Text};

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They end within it.
    #[error("it ends too early")]
    Short,
    /// A length is negative, or more than a number can be.
    #[error("a length is none")]
    Length,
    /// A header is not UTF-8.
    #[error("a header is not UTF-8")]
    Text,
}

/// Appends an event.
pub fn write(event: &Event, to: &mut Vec<u8>) {
    if !event.headers.is_empty() {
        long(event.headers.len() as i64, to);
        for (name, value) in event.headers.iter() {
            bytes(name.as_bytes(), to);
            bytes(value.as_bytes(), to);
        }
    }
    long(0, to);
    bytes(&event.body, to);
}

fn bytes(bytes: &[u8], to: &mut Vec<u8>) {
    long(bytes.len() as i64, to);
    to.extend_from_slice(bytes);
}

/// Zigzag, seven bits a byte.
fn long(number: i64, to: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

/// Reads an event. As in Java's reader, what stands behind it does not count.
///
/// # Errors
///
/// If it is none.
pub fn read(from: &[u8]) -> Result<Event, Error> {
    let mut rest = from;
    let mut headers = Headers::default();
    loop {
        let many = take_long(&mut rest)?;
        if many == 0 {
            break;
        }
        if many < 0 {
            // The block's size in bytes, for those who skip it.
            take_long(&mut rest)?;
        }
        for _ in 0..many.unsigned_abs() {
            let name = take_text(&mut rest)?;
            headers.set(name, take_text(&mut rest)?);
        }
    }
    let body = Bytes::copy_from_slice(take_bytes(&mut rest)?);
    Ok(Event { headers, body })
}

fn take_long(rest: &mut &[u8]) -> Result<i64, Error> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first().ok_or(Error::Short)?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(Error::Length)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let length = usize::try_from(take_long(rest)?).map_err(|_| Error::Length)?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(Error::Short)?;
    *rest = behind;
    Ok(bytes)
}

fn take_text(rest: &mut &[u8]) -> Result<Text, Error> {
    Ok(str::from_utf8(take_bytes(rest)?).map_err(|_| Error::Text)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_avro_makes_of_it() {
        let mut event = Event::new("body");
        event.headers.set("a", "xyz");
        let mut written = Vec::new();
        write(&event, &mut written);
        assert_eq!(written, b"\x02\x02a\x06xyz\x00\x08body");
        assert_eq!(read(&written), Ok(event));
        let mut bare = Vec::new();
        write(&Event::new(""), &mut bare);
        assert_eq!(bare, b"\x00\x00");
        assert_eq!(read(&bare), Ok(Event::new("")));
    }

    #[test]
    fn what_the_librarys_own_writer_makes_is_read() {
        let schema = r#"{"type": "record", "name": "AvroFlumeEvent", "fields": [
            {"name": "headers", "type": {"type": "map", "values": "string"}},
            {"name": "body", "type": "bytes"}]}"#;
        let schema = apache_avro::Schema::parse_str(schema).unwrap();
        let mut event = Event::new(vec![0; 300]);
        event.headers.set("host", "a".repeat(200));
        event.headers.set("", "");
        let headers = event.headers.iter().map(|(name, value)| {
            (name.to_string(), apache_avro::types::Value::String(value.to_string()))
        });
        let value = apache_avro::types::Value::Record(vec![
            ("headers".to_owned(), apache_avro::types::Value::Map(headers.collect())),
            ("body".to_owned(), apache_avro::types::Value::Bytes(event.body.to_vec())),
        ]);
        let writer =
            apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().unwrap();
        let written = writer.write_value_to_vec(value).unwrap();
        assert_eq!(read(&written), Ok(event));
    }

    #[test]
    fn a_block_may_say_its_size_and_what_is_cut_off_is_no_event() {
        // A count of -1, a size of 4, the pair, no more; a body.
        let blocked = b"\x01\x08\x02a\x02b\x00\x02c";
        let event = read(blocked).unwrap();
        assert_eq!(
            (event.headers.get("a").map(|value| &**value), &event.body[..]),
            (Some("b"), &b"c"[..])
        );
        for length in 0..blocked.len() {
            assert!(read(&blocked[..length]).is_err(), "{length}");
        }
        assert_eq!(read(b"\x00\x01"), Err(Error::Length));
        assert_eq!(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Err(Error::Length));
        assert_eq!(read(b"\x02\x02\xff\x00\x00\x00"), Err(Error::Text));
    }
}
