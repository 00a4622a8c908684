//! What the bytes that were passed in a file leave behind.

use super::identity::{COMPARED, Position, crc};

/// The bytes passed so far in a file, as far as they matter: their number, first and last ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    pub lines: u64,
    pub bytes: u64,
    head: Vec<u8>,
    tail: Tail,
}

impl Trail {
    /// Passes bytes of the file, unpacked.
    pub fn pass(&mut self, bytes: &[u8]) {
        let room = COMPARED as usize - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.tail.pass(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Passes bytes beyond the head that nobody looked at, but for the last ones.
    pub fn pass_unseen(&mut self, number: u64, tail: Tail) {
        self.bytes += number;
        self.tail = tail;
    }

    /// The first bytes.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The last bytes.
    pub fn tail(&self) -> &[u8] {
        &self.tail.0
    }

    /// The position that is reached.
    pub fn position(&self) -> Position {
        Position {
            lines: self.lines,
            bytes: self.bytes,
            unended: self.tail().last().is_some_and(|last| *last != b'\n'),
            head: crc(&self.head),
            tail: crc(self.tail()),
            packed: None,
            renamed_from: None,
        }
    }
}

/// The last bytes of what has passed: as many as are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub fn pass(&mut self, bytes: &[u8]) {
        const ROOM: usize = COMPARED as usize;
        let bytes = &bytes[bytes.len().saturating_sub(ROOM)..];
        let kept = self.0.len().min(ROOM - bytes.len());
        self.0.drain(..self.0.len() - kept);
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_the_same_however_its_bytes_are_cut() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| (n * n % 251) as u8).collect();
        for step in [1, 7, 4095, 4096, 4097, 20_000] {
            for end in [0, 1, 4095, 4096, 4097, 9000, 20_000] {
                let mut trail = Trail::default();
                bytes[..end].chunks(step).for_each(|piece| trail.pass(piece));
                assert_eq!(trail.bytes, end as u64);
                assert_eq!(trail.head(), &bytes[..end.min(4096)]);
                assert_eq!(trail.tail(), &bytes[end.saturating_sub(4096)..end]);
            }
        }
    }
}
