//! The bytes of a transaction: a frame, checked as a whole before anything in it is believed.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};

use super::ranges::LAST;
use crate::avro::datum::{Datum, put_bytes, put_long};
use crate::channel::Origin;
use crate::event::{Event, Headers, Text};

/// How many bytes stand before a frame's events.
pub(super) const HEADER: usize = Tag::BYTES + 24;

/// The largest frame: what a length may ask to be read.
pub(super) const LARGEST: usize = 1 << 30;

/// What every frame of a segment begins with: drawn for it alone. Whoever sends events chooses their bodies,
/// and knows none; so none holds what could be taken for a frame where one is looked for behind damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub [u8; Tag::BYTES]);

impl Tag {
    /// How many bytes it has.
    pub const BYTES: usize = 8;

    /// No frame's: what nothing was written to is zeros.
    pub const NONE: Tag = Tag([0; Tag::BYTES]);

    /// Draws one.
    pub fn draw() -> Tag {
        // Of its first eight bytes all bits but the version's are random; that is not 0.
        Tag::of(uuid::Uuid::new_v4().as_bytes())
    }

    /// The one that these bytes begin with; none where they are too few.
    pub fn of(bytes: &[u8]) -> Tag {
        bytes.first_chunk().map_or(Tag::NONE, |bytes| Tag(*bytes))
    }
}

/// What stands before a frame's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    tag: Tag,
    /// How many bytes follow.
    pub length: usize,
    /// Over the tag, the rest of the header and all that follows.
    crc: u32,
    /// How many events they are.
    pub count: u32,
    /// The number of the first of them.
    pub first: u64,
}

impl Header {
    /// Reads one of a segment with this tag; none where none can stand.
    pub fn read(bytes: &[u8], tag: Tag) -> Option<Header> {
        if bytes.len() < HEADER || tag == Tag::NONE || Tag::of(bytes) != tag {
            return None;
        }
        let mut bytes = &bytes[Tag::BYTES..];
        let crc = bytes.get_u32_le();
        let (length, count, first) = (bytes.get_u64_le(), bytes.get_u32_le(), bytes.get_u64_le());
        let length = usize::try_from(length).ok().filter(|length| *length <= LARGEST)?;
        let is_one = first.checked_add(count.into()).is_some_and(|end| end <= LAST);
        is_one.then_some(Header { tag, length, crc, count, first })
    }

    /// Whether these events are what was written.
    pub fn holds(&self, events: &[u8]) -> bool {
        events.len() == self.length
            && self.crc == checksum(self.tag, self.count, self.first, events)
    }

    /// The number behind the last of its events.
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }
}

fn checksum(tag: Tag, count: u32, first: u64, events: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&tag.0);
    crc.update(&(events.len() as u64).to_le_bytes());
    crc.update(&count.to_le_bytes());
    crc.update(&first.to_le_bytes());
    crc.update(events);
    crc.finalize()
}

/// Events as the bytes of a frame, whose place in the log is not known yet.
pub(super) struct Encoded {
    bytes: Vec<u8>,
    /// How many events they are.
    pub count: u32,
}

impl Encoded {
    /// Encodes a batch.
    pub fn of(events: &[Event], origin: Option<&Origin>) -> Encoded {
        let origin = origin.map(|origin| (&*origin.source, &*origin.batch));
        Encoded::with(events, origin.as_slice())
    }

    /// A frame without events, of these sources with the last batch of each.
    pub fn of_origins(origins: &Origins) -> Encoded {
        let origins: Vec<_> = origins.iter().map(|(source, batch)| (&**source, &**batch)).collect();
        Encoded::with(&[], &origins)
    }

    fn with(events: &[Event], origins: &[(&str, &[u8])]) -> Encoded {
        let size: usize = events.iter().map(|event| event.body.len() + 16).sum();
        let mut bytes = Vec::with_capacity(HEADER + size + size / 2);
        bytes.resize(HEADER, 0);
        put_long(&mut bytes, origins.len() as i64);
        for (source, batch) in origins {
            put_bytes(&mut bytes, source.as_bytes());
            put_bytes(&mut bytes, batch);
        }
        for event in events {
            put_long(&mut bytes, event.headers.len() as i64);
            for (name, value) in event.headers.iter() {
                put_bytes(&mut bytes, name.as_bytes());
                put_bytes(&mut bytes, value.as_bytes());
            }
            put_bytes(&mut bytes, &event.body);
        }
        Encoded { bytes, count: u32::try_from(events.len()).expect("a transaction is small") }
    }

    /// The frame, in a segment with this tag, of which this is the number of the first event.
    pub fn at(&mut self, tag: Tag, first: u64) -> &[u8] {
        let (mut header, events) = self.bytes.split_at_mut(HEADER);
        let crc = checksum(tag, self.count, first, events);
        header.put_slice(&tag.0);
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

/// By source: the last batch that is known of it.
pub(super) type Origins = BTreeMap<String, Bytes>;

/// Adds the origins of a frame whose checksum holds.
pub(super) fn origins(bytes: Bytes, into: &mut Origins) {
    // What is no frame of ours has none.
    read_origins(&mut Datum::new(bytes), |source, batch| {
        // It must not keep the whole frame.
        into.insert(source.to_owned(), Bytes::copy_from_slice(&batch));
    });
}

fn read_origins(datum: &mut Datum, mut each: impl FnMut(&str, Bytes)) -> Option<()> {
    for _ in 0..datum.long().ok()? {
        let source = str::from_utf8(datum.text().ok()?).ok()?.to_owned();
        each(&source, datum.shared().ok()?);
    }
    Some(())
}

/// The events of a frame whose checksum holds. None where they are not what they should be all the same.
pub(super) fn decode(bytes: Bytes, count: u32) -> Option<Vec<Event>> {
    let mut datum = Datum::new(bytes);
    read_origins(&mut datum, |_, _| {})?;
    // An event has two bytes at least: no count makes more room than that.
    let mut events: Vec<Event> = Vec::with_capacity((count as usize).min(datum.rest().len()));
    for _ in 0..count {
        let many = datum.long().ok()?;
        let mut headers = Headers::default();
        for nth in 0..usize::try_from(many).ok()? {
            let known = events.last().and_then(|event| event.headers.iter().nth(nth));
            let name = text(datum.text().ok()?, known.map(|(name, _)| name))?;
            let value = text(datum.text().ok()?, known.map(|(_, value)| value))?;
            headers.set(name, value);
        }
        events.push(Event { headers, body: datum.shared().ok()? });
    }
    datum.end().ok().map(|()| events)
}

/// Whether [`decode`] has an answer.
pub(super) fn can_decode(bytes: Bytes, count: u32) -> bool {
    let mut datum = Datum::new(bytes);
    if read_origins(&mut datum, |_, _| {}).is_none() {
        return false;
    }
    let mut pass = || {
        for _ in 0..usize::try_from(datum.long().ok()?).ok()? {
            for _ in 0..2 {
                str::from_utf8(datum.text().ok()?).ok()?;
            }
        }
        datum.text().ok().map(drop)
    };
    (0..count).all(|_| pass().is_some()) && datum.end().is_ok()
}

/// A text; that of the event before where it is the same, as it mostly is.
fn text(bytes: &[u8], before: Option<&Text>) -> Option<Text> {
    match before {
        Some(before) if before.as_bytes() == bytes => Some(before.clone()),
        _ => str::from_utf8(bytes).ok().map(Text::from),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: Tag = Tag(*b"some tag");

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
            let first = first >> 3;
            let mut encoded = Encoded::of(&events, None);
            let bytes = Bytes::copy_from_slice(encoded.at(TAG, first));
            let header = Header::read(&bytes, TAG).unwrap();
            prop_assert_eq!((header.count as usize, header.first), (events.len(), first));
            prop_assert!(header.holds(&bytes[HEADER..]));
            prop_assert!(can_decode(bytes.slice(HEADER..), header.count));
            prop_assert_eq!(decode(bytes.slice(HEADER..), header.count), Some(events));
        }

        #[test]
        fn no_flipped_bit_goes_unnoticed(bodies in prop::collection::vec(".{0,40}", 1..5), at: prop::sample::Index, bit in 0..8) {
            let events: Vec<_> = bodies.into_iter().map(Event::new).collect();
            let mut encoded = Encoded::of(&events, None);
            let mut bytes = encoded.at(TAG, 7).to_vec();
            let place = at.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
            let holds = Header::read(&bytes, TAG).is_some_and(|header| header.holds(&bytes[HEADER..]));
            prop_assert!(!holds);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 1..50_u32) {
            let decoded = decode(bytes.clone().into(), count);
            prop_assert_eq!(can_decode(bytes.clone().into(), count), decoded.is_some());
            Header::read(&bytes, TAG);
        }
    }
}
