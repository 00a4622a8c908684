//! What stands in a channel's files, by another way than the channel's own: every frame whose checksum holds,
//! wherever it is.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::avro::datum::Datum;
use crate::event::{Event, Headers};
use crate::files::{CHECKPOINT, Files, LAST};

/// Every event by its number; more than one where frames of the same numbers stand there.
pub fn events(files: &Files) -> BTreeMap<u64, Vec<Event>> {
    let mut all: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for (_, bytes) in files.all().filter(|(name, _)| name.ends_with(".log")) {
        for at in 0..bytes.len() {
            for (number, event) in frame(&bytes[at..]).unwrap_or_default() {
                all.entry(number).or_default().push(event);
            }
        }
    }
    all
}

fn frame(bytes: &[u8]) -> Option<Vec<(u64, Event)>> {
    // Which tag it has is the channel's affair.
    let (tag, rest) = bytes.split_first_chunk::<8>()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let (length, behind) = rest.split_first_chunk()?;
    let (count, behind) = behind.split_first_chunk()?;
    let (first, events) = behind.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let events = events.get(..length)?;
    if crc32fast::hash(&[&tag[..], &rest[..20 + length]].concat()) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut datum = Datum::new(bytes::Bytes::copy_from_slice(events));
    for _ in 0..datum.long().ok()? {
        str::from_utf8(datum.text().ok()?).ok()?;
        datum.shared().ok()?;
    }
    let mut numbers = u64::from_le_bytes(*first)..=u64::MAX;
    let mut all = Vec::new();
    let count = u32::from_le_bytes(*count);
    if u64::from_le_bytes(*first).checked_add(count.into()).is_none_or(|end| end > LAST) {
        return None;
    }
    for _ in 0..count {
        let headers = (0..datum.long().ok()?).map(|_| {
            let mut text = || Some(str::from_utf8(datum.text().ok()?).ok()?.into());
            Some((text()?, text()?))
        });
        let headers = headers.collect::<Option<Headers>>()?;
        all.push((numbers.next()?, Event { headers, body: datum.shared().ok()? }));
    }
    Some(all)
}

/// Which numbers are noted as taken: none if the file is not what it should be.
pub fn taken(files: &Files) -> Vec<Range<u64>> {
    let name = format!("{CHECKPOINT}taken");
    let bytes = files.all().find(|(known, _)| *known == name).map(|(_, bytes)| bytes);
    let Some(records) = bytes.and_then(|bytes| bytes.strip_prefix(b"ORTAKEN2")) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for record in records.chunks_exact(20) {
        let (both, crc) = record.split_at(16);
        let number = |at: usize| u64::from_le_bytes(both[at..at + 8].try_into().expect("eight"));
        if crc32fast::hash(both).to_le_bytes() != *crc || number(0) > number(8) || number(8) > LAST
        {
            continue;
        }
        all.push(number(0)..number(8));
    }
    all
}
