//! The other end of a connection: what it sends comes as it is cut.

use std::io::{self, Read, Write};

/// How what is sent is cut.
#[derive(Clone, Debug)]
pub struct Cuts(u64);

impl Cuts {
    /// It comes as a whole.
    pub fn none() -> Cuts {
        Cuts(0)
    }

    /// Sizes that follow from a number.
    pub fn of(number: u8) -> Cuts {
        Cuts(u64::from(number) * 2 + 1)
    }

    /// The next size, or that for once nothing comes.
    fn next(&mut self) -> Result<usize, io::ErrorKind> {
        if self.0 == 0 {
            return Ok(usize::MAX);
        }
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = (self.0 >> 33) as usize;
        match drawn % 16 {
            0 => Err(io::ErrorKind::WouldBlock),
            1 => Err(io::ErrorKind::Interrupted),
            2..5 => Ok(1),
            5..9 => Ok(1 + drawn / 16 % 9),
            9..13 => Ok(1 + drawn / 16 % 100),
            _ => Ok(1 + drawn / 16 % 100_000),
        }
    }
}

/// Sends some bytes, and keeps what it is sent.
#[derive(Debug)]
pub struct Peer<'a> {
    bytes: &'a [u8],
    cuts: Cuts,
    sent: Vec<u8>,
    /// What it was sent when all its own was read and nothing came any more: no answer waits for its end.
    before_the_end: Option<usize>,
}

impl<'a> Peer<'a> {
    pub fn new(bytes: &'a [u8], cuts: Cuts) -> Peer<'a> {
        Peer { bytes, cuts, sent: Vec::new(), before_the_end: None }
    }

    /// What it was sent.
    pub fn sent(self) -> Vec<u8> {
        if let Some(before) = self.before_the_end {
            assert_eq!(before, self.sent.len(), "something was answered only at the end");
        }
        self.sent
    }
}

impl Read for Peer<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            if self.before_the_end.is_none() {
                self.before_the_end = Some(self.sent.len());
                return Err(io::ErrorKind::WouldBlock.into());
            }
            return Ok(0);
        }
        let most = self.cuts.next()?.min(to.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(most);
        to[..most].copy_from_slice(now);
        self.bytes = later;
        Ok(most)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A socket may take less than it is given.
        let some = bytes.len().min(1 << 12);
        self.sent.extend_from_slice(&bytes[..some]);
        Ok(some)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a peer reads of what is compressed and was flushed.
pub fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut inflate = flate2::Decompress::new(true);
    loop {
        plain.reserve(1 << 12);
        let before = (inflate.total_in(), inflate.total_out());
        let rest = &bytes[inflate.total_in() as usize..];
        inflate
            .decompress_vec(rest, &mut plain, flate2::FlushDecompress::Sync)
            .expect("what was compressed can be read");
        if (inflate.total_in(), inflate.total_out()) == before {
            assert!(rest.is_empty(), "what was compressed is read to its end");
            return plain;
        }
    }
}
