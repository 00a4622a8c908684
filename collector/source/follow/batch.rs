//! A batch of lines as channels know it: by the note that follows it, and by what it holds. A source that was
//! killed over it asks them whether they have it ([`Inlet::last_batches`](crate::source::Inlet::last_batches)).

use bytes::{Buf, BufMut, Bytes};

const SIZE: usize = 36;

/// Where a batch stands, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The file of positions and its number in it: see
    /// [`Positions::next_batch`](super::positions::Positions::next_batch).
    pub number: [u64; 2],
    /// Where it begins in its file.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// The CRC-32 of its bytes.
    pub crc: u32,
}

impl Batch {
    /// As channels keep it.
    pub fn bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(SIZE);
        self.number
            .iter()
            .chain([&self.from, &self.to])
            .for_each(|number| bytes.put_u64_le(*number));
        bytes.put_u32_le(self.crc);
        bytes.into()
    }

    /// As it was kept; none where it is of another kind of source.
    pub fn read(mut bytes: &[u8]) -> Option<Batch> {
        if bytes.len() != SIZE {
            return None;
        }
        let [file, nth, from, to] = std::array::from_fn(|_| bytes.get_u64_le());
        (from <= to).then(|| Batch { number: [file, nth], from, to, crc: bytes.get_u32_le() })
    }
}
