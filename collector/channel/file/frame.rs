//! A batch of events as bytes: a frame of a segment. The picture is in [`super`].

use bytes::Bytes;

use crate::event::{Event, Headers, Text};

/// What stands before the events.
pub const HEADER: usize = 40;

/// What a frame begins with. Not zero, and no text.
pub const MAGIC: [u8; 4] = [0xf7, 0x0e, 0xe5, 0x91];

/// How many bytes the events of a frame have at most.
pub const MOST: usize = 1 << 30;

/// What stands before the events of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many bytes its events have.
    pub length: u32,
    /// The sequence number of the first.
    pub first: u64,
    /// How many they are.
    pub count: u32,
    /// Their checksum.
    pub crc: u32,
    /// Every event below this stood on the disk when the frame was written.
    pub durable: u64,
}

impl Header {
    /// Reads one; None where none stands whole.
    pub fn parse(bytes: &[u8], salt: u32) -> Option<Header> {
        if bytes.len() < HEADER || bytes[..4] != MAGIC || u32_at(bytes, 36) != salted(bytes, salt) {
            return None;
        }
        let header = Header {
            length: u32_at(bytes, 4),
            first: u64_at(bytes, 8),
            count: u32_at(bytes, 16),
            crc: u32_at(bytes, 20),
            durable: u64_at(bytes, 24),
        };
        let fits = header.length as usize <= MOST
            && header.count > 0
            && header.first.checked_add(header.count.into()).is_some();
        fits.then_some(header)
    }

    /// The sequence number behind the last event.
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// How many bytes the whole frame takes.
    pub fn size(&self) -> u64 {
        padded(self.length as usize) as u64
    }
}

/// How many bytes a frame takes with events of this length: it ends where the next can begin.
pub fn padded(length: usize) -> usize {
    (HEADER + length).next_multiple_of(8)
}

/// How many bytes these events come to.
pub fn length(events: &[Event]) -> usize {
    events.iter().map(length_of).sum()
}

fn length_of(event: &Event) -> usize {
    let text = |text: &Text| varint_length(text.len()) + text.len();
    let headers: usize = event.headers.iter().map(|(name, value)| text(name) + text(value)).sum();
    let body = varint_length(event.body.len()) + event.body.len();
    varint_length(event.headers.len()) + headers + body
}

/// A frame of these events, which come to this length; its header is still to be [sealed](seal).
pub fn encode(events: &[Event], length: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(padded(length));
    frame.resize(HEADER, 0);
    for event in events {
        put_varint(&mut frame, event.headers.len());
        for (name, value) in event.headers.iter() {
            put(&mut frame, name.as_bytes());
            put(&mut frame, value.as_bytes());
        }
        put(&mut frame, &event.body);
    }
    let (length, count) = (frame.len() - HEADER, events.len());
    let crc = crc32fast::hash(&frame[HEADER..]);
    frame[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    frame[16..20].copy_from_slice(&(count as u32).to_le_bytes());
    frame[20..24].copy_from_slice(&crc.to_le_bytes());
    frame.resize(padded(length), 0);
    frame
}

/// Gives a frame its place in the order of all.
pub fn seal(frame: &mut [u8], first: u64, durable: u64, salt: u32) {
    frame[..4].copy_from_slice(&MAGIC);
    frame[8..16].copy_from_slice(&first.to_le_bytes());
    frame[24..32].copy_from_slice(&durable.to_le_bytes());
    let crc = salted(frame, salt);
    frame[36..40].copy_from_slice(&crc.to_le_bytes());
}

/// How many events a frame has.
pub fn count(frame: &[u8]) -> u32 {
    u32_at(frame, 16)
}

/// The events of a frame; their bodies share its bytes. None where they are not what they should be.
pub fn decode(payload: &Bytes, count: u32) -> Option<Vec<Event>> {
    let mut rest = Rest { payload, at: 0 };
    // The shortest event has two bytes.
    let mut events = Vec::with_capacity((count as usize).min(payload.len() / 2));
    // Batches have mostly the same headers: those of the event before are shared where they are equal.
    let mut last: Vec<(Text, Text)> = Vec::new();
    for _ in 0..count {
        let many = rest.varint()?;
        if many > payload.len() / 2 {
            return None;
        }
        last.truncate(many);
        for place in 0..many {
            let (name, value) = (rest.bytes()?, rest.bytes()?);
            match last.get_mut(place) {
                Some((known, known_value)) => {
                    share(known, name)?;
                    share(known_value, value)?;
                }
                None => last.push((text(name)?, text(value)?)),
            }
        }
        let headers: Headers = last.iter().cloned().collect();
        let (from, length) = rest.span()?;
        events.push(Event { headers, body: payload.slice(from..from + length) });
    }
    (rest.at == payload.len()).then_some(events)
}

fn text(bytes: &[u8]) -> Option<Text> {
    std::str::from_utf8(bytes).ok().map(Text::from)
}

fn share(known: &mut Text, bytes: &[u8]) -> Option<()> {
    if known.as_bytes() != bytes {
        *known = text(bytes)?;
    }
    Some(())
}

/// What of a frame is still to be read.
struct Rest<'a> {
    payload: &'a Bytes,
    at: usize,
}

impl<'a> Rest<'a> {
    fn varint(&mut self) -> Option<usize> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.payload.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return usize::try_from(value).ok();
            }
        }
        None
    }

    /// Where so many bytes stand as are said before them.
    fn span(&mut self) -> Option<(usize, usize)> {
        let length = self.varint()?;
        let from = self.at;
        self.at = from.checked_add(length).filter(|to| *to <= self.payload.len())?;
        Some((from, length))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let (from, length) = self.span()?;
        Some(&self.payload[from..from + length])
    }
}

fn put(frame: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(frame, bytes.len());
    frame.extend_from_slice(bytes);
}

fn put_varint(frame: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        frame.push(value as u8 | 0x80);
        value >>= 7;
    }
    frame.push(value as u8);
}

fn varint_length(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Its checksum begins with the segment's salt: a frame of another segment, or one that stands within an
/// event, is none here.
fn salted(bytes: &[u8], salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&bytes[..36]);
    hasher.finalize()
}

/// A number within bytes.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A number within bytes.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(events: &[Event]) -> Vec<u8> {
        let mut frame = encode(events, length(events));
        seal(&mut frame, 7, 3, 99);
        frame
    }

    fn read(frame: &[u8]) -> Option<Vec<Event>> {
        let header = Header::parse(frame, 99)?;
        let payload = frame.get(HEADER..HEADER + header.length as usize)?;
        (crc32fast::hash(payload) == header.crc).then_some(())?;
        decode(&Bytes::copy_from_slice(payload), header.count)
    }

    fn event() -> impl Strategy<Value = Event> {
        let headers = proptest::collection::vec(("[a-c]{0,2}", ".{0,200}"), 0..4);
        (headers, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(headers, body)| {
            let headers =
                headers.iter().map(|(name, value)| (Text::from(&**name), Text::from(&**value)));
            Event { headers: headers.collect(), body: body.into() }
        })
    }

    proptest! {
        #[test]
        fn events_come_back_as_they_were(events in proptest::collection::vec(event(), 1..20)) {
            let frame = sealed(&events);
            prop_assert_eq!(frame.len(), padded(length(&events)));
            prop_assert_eq!(frame.capacity(), frame.len());
            prop_assert_eq!(count(&frame), events.len() as u32);
            let header = Header::parse(&frame, 99).unwrap();
            prop_assert_eq!((header.first, header.durable, header.size()), (7, 3, frame.len() as u64));
            prop_assert_eq!(Header::parse(&frame, 98), None);
            prop_assert_eq!(read(&frame).unwrap(), events);
        }

        #[test]
        fn a_flipped_bit_is_seen(bit in any::<usize>()) {
            let mut event = Event::new("body of an event");
            event.headers.set("host", "machine");
            let mut frame = sealed(&[event.clone(), event]);
            let header = Header::parse(&frame, 99).unwrap();
            let bit = bit % ((HEADER + header.length as usize) * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(read(&frame), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), count in any::<u32>()
        ) {
            if let Some(events) = decode(&Bytes::from(bytes), count) {
                prop_assert_eq!(events.len(), count as usize);
            }
        }
    }

    #[test]
    fn headers_that_are_equal_are_shared() {
        let mut events = vec![Event::new("a"), Event::new("b"), Event::new("c")];
        for (event, value) in events.iter_mut().zip(["1", "1", "2"]) {
            event.headers.set("host", value);
        }
        let frame = sealed(&events);
        let read = read(&frame).unwrap();
        let header = |at: usize| read[at].headers.iter().next().unwrap();
        assert!(std::sync::Arc::ptr_eq(header(0).1, header(1).1));
        assert!(std::sync::Arc::ptr_eq(header(0).0, header(2).0));
        assert_eq!(read, events);
    }
}
