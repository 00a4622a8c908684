//! The bytes of a transaction: a frame, checked as a whole before anything in it is believed.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::event::{Event, Headers, Text};

/// How many bytes stand before a frame's events.
pub(super) const HEADER: usize = 28;

const MAGIC: u32 = 0x4652_414d;

/// The largest frame: what a length may ask to be read.
pub(super) const LARGEST: usize = 1 << 30;

/// What stands before a frame's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How many bytes follow.
    pub length: usize,
    /// Over the rest of the header and all that follows.
    crc: u32,
    /// How many events they are.
    pub count: u32,
    /// The number of the first of them.
    pub first: u64,
}

impl Header {
    /// Reads one; none where none can stand.
    pub fn read(mut bytes: &[u8]) -> Option<Header> {
        if bytes.len() < HEADER || bytes.get_u32_le() != MAGIC {
            return None;
        }
        let crc = bytes.get_u32_le();
        let (length, count, first) = (bytes.get_u64_le(), bytes.get_u32_le(), bytes.get_u64_le());
        let length = usize::try_from(length).ok().filter(|length| *length <= LARGEST)?;
        (count > 0).then_some(Header { length, crc, count, first })
    }

    /// Whether these events are what was written.
    pub fn holds(&self, events: &[u8]) -> bool {
        events.len() == self.length && self.crc == checksum(self.count, self.first, events)
    }

    /// The number behind the last of its events.
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

fn checksum(count: u32, first: u64, events: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&(events.len() as u64).to_le_bytes());
    crc.update(&count.to_le_bytes());
    crc.update(&first.to_le_bytes());
    crc.update(events);
    crc.finalize()
}

/// Events as the bytes of a frame, whose place in the log is not known yet.
pub(super) struct Encoded {
    bytes: BytesMut,
    /// How many events they are.
    pub count: u32,
}

impl Encoded {
    /// Encodes a batch.
    pub fn of(events: &[Event]) -> Encoded {
        let size: usize = events.iter().map(|event| event.body.len() + 16).sum();
        let mut bytes = BytesMut::with_capacity(HEADER + size + size / 2);
        bytes.put_bytes(0, HEADER);
        for event in events {
            put_number(&mut bytes, event.headers.len());
            for (name, value) in event.headers.iter() {
                put_bytes(&mut bytes, name.as_bytes());
                put_bytes(&mut bytes, value.as_bytes());
            }
            put_bytes(&mut bytes, &event.body);
        }
        Encoded { bytes, count: u32::try_from(events.len()).expect("a transaction is small") }
    }

    /// The frame, of which this is the number of the first event.
    pub fn at(&mut self, first: u64) -> &[u8] {
        let (mut header, events) = self.bytes.split_at_mut(HEADER);
        let crc = checksum(self.count, first, events);
        header.put_u32_le(MAGIC);
        header.put_u32_le(crc);
        header.put_u64_le(events.len() as u64);
        header.put_u32_le(self.count);
        header.put_u64_le(first);
        &self.bytes
    }

    /// How many bytes the frame has.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The events of a frame whose checksum holds. None where they are not what they should be all the same.
pub(super) fn decode(mut bytes: Bytes, count: u32) -> Option<Vec<Event>> {
    let mut events: Vec<Event> = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let many = number(&mut bytes)?;
        let mut headers = Headers::default();
        for nth in 0..many {
            let known = events.last().and_then(|event| event.headers.iter().nth(nth));
            let name = text(&mut bytes, known.map(|(name, _)| name))?;
            let value = text(&mut bytes, known.map(|(_, value)| value))?;
            headers.set(name, value);
        }
        let body = take(&mut bytes)?;
        events.push(Event { headers, body });
    }
    bytes.is_empty().then_some(events)
}

fn put_bytes(into: &mut BytesMut, bytes: &[u8]) {
    put_number(into, bytes.len());
    into.put_slice(bytes);
}

/// Seven bits a byte, the lowest first.
fn put_number(into: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        into.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    into.put_u8(number as u8);
}

fn number(bytes: &mut Bytes) -> Option<usize> {
    let mut number = 0;
    for shift in (0..35).step_by(7) {
        let byte = bytes.first().copied()?;
        bytes.advance(1);
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take(bytes: &mut Bytes) -> Option<Bytes> {
    let length = number(bytes)?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

/// A text; that of the event before where it is the same, as it mostly is.
fn text(bytes: &mut Bytes, before: Option<&Text>) -> Option<Text> {
    let taken = take(bytes)?;
    match before {
        Some(before) if before.as_bytes() == taken => Some(before.clone()),
        _ => std::str::from_utf8(&taken).ok().map(Text::from),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_event() -> impl Strategy<Value = Event> {
        let headers = prop::collection::vec((".{0,4}", ".{0,300}"), 0..4);
        (headers, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(headers, body)| Event {
            headers: headers.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
            body: body.into(),
        })
    }

    proptest! {
        #[test]
        fn events_come_back_as_they_were(events in prop::collection::vec(any_event(), 1..20), first: u64) {
            let first = first / 2;
            let mut encoded = Encoded::of(&events);
            let bytes = Bytes::copy_from_slice(encoded.at(first));
            let header = Header::read(&bytes).unwrap();
            prop_assert_eq!((header.count as usize, header.first), (events.len(), first));
            prop_assert!(header.holds(&bytes[HEADER..]));
            prop_assert_eq!(decode(bytes.slice(HEADER..), header.count), Some(events));
        }

        #[test]
        fn no_flipped_bit_goes_unnoticed(bodies in prop::collection::vec(".{0,40}", 1..5), at: prop::sample::Index, bit in 0..8) {
            let events: Vec<_> = bodies.into_iter().map(Event::new).collect();
            let mut encoded = Encoded::of(&events);
            let mut bytes = encoded.at(7).to_vec();
            let place = at.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
            let holds = Header::read(&bytes).is_some_and(|header| header.holds(&bytes[HEADER..]));
            prop_assert!(!holds);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 1..50_u32) {
            decode(bytes.clone().into(), count);
            Header::read(&bytes);
        }
    }
}
