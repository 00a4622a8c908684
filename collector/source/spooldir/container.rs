//! Avro's container files: a header with a schema, then blocks of datums. Only the frame is read here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::avro::datum;

/// What a container begins with.
pub const MAGIC: &[u8; 4] = b"Obj\x01";

/// How long a header or a block is, at most.
const LONGEST: u64 = 1 << 30;

/// What stands at the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Names and values.
    pub metadata: Vec<(String, Vec<u8>)>,
    /// What stands after every block.
    pub sync: [u8; 16],
    /// How long it is, with that.
    pub long: u64,
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// How many datums it has.
    pub count: u64,
    /// Them, packed as the header says.
    pub bytes: Vec<u8>,
    /// Where the next one begins.
    pub end: u64,
}

/// What is wrong with a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[from] io::Error),
    /// It is none.
    #[error("it is no container of Avro")]
    Foreign,
    /// It is damaged.
    #[error("it is damaged at byte {0}")]
    Damaged(u64),
}

impl Header {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.metadata.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Reads that of a file.
    ///
    /// # Errors
    ///
    /// If the file has none.
    pub fn read(file: &File, size: u64) -> Result<Header, Error> {
        let mut long = size.min(64 << 10);
        loop {
            let mut bytes = vec![0; long as usize];
            file.read_exact_at(&mut bytes, 0)?;
            match Header::parse(&bytes) {
                Some(header) => return Ok(header),
                None if !bytes.starts_with(MAGIC) || long >= size.min(LONGEST) => {
                    return Err(Error::Foreign);
                }
                None => long = (long * 8).min(size),
            }
        }
    }

    /// The one that stands at the beginning of these bytes, if it is whole.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut metadata = Vec::new();
        loop {
            let mut count = long(&mut rest)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                long(&mut rest)?;
                count = count.checked_neg()?;
            }
            for _ in 0..count {
                let name = piece(&mut rest)?;
                let name = std::str::from_utf8(name).ok()?.to_owned();
                metadata.push((name, piece(&mut rest)?.to_owned()));
            }
        }
        let (sync, rest) = rest.split_first_chunk()?;
        Some(Header { metadata, sync: *sync, long: (bytes.len() - rest.len()) as u64 })
    }

    /// The block that begins here; none at the end of the file.
    ///
    /// # Errors
    ///
    /// If there is something else.
    pub fn block(&self, file: &File, at: u64, size: u64) -> Result<Option<Block>, Error> {
        if at >= size {
            return Ok(None);
        }
        let mut numbers = vec![0; (size - at).min(20) as usize];
        file.read_exact_at(&mut numbers, at)?;
        let mut rest = &*numbers;
        let damaged = || Error::Damaged(at);
        let count = long(&mut rest).and_then(|count| u64::try_from(count).ok());
        let length = long(&mut rest).and_then(|long| u64::try_from(long).ok());
        let (count, length) = count.zip(length).ok_or_else(damaged)?;
        let begin = at + (numbers.len() - rest.len()) as u64;
        if length > LONGEST || begin + length + 16 > size {
            return Err(damaged());
        }
        let mut bytes = vec![0; length as usize + 16];
        file.read_exact_at(&mut bytes, begin)?;
        if bytes[length as usize..] != self.sync {
            return Err(damaged());
        }
        bytes.truncate(length as usize);
        Ok(Some(Block { count, bytes, end: begin + length + 16 }))
    }

    /// Where the first block begins whose mark stands here or behind, as Flume seeks it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn block_behind(&self, file: &File, mark: u64, size: u64) -> io::Result<u64> {
        if mark < self.long {
            return Ok(self.long);
        }
        const BLOCK: usize = 64 << 10;
        let mut from = mark;
        while from < size {
            let mut bytes = vec![0; (size - from).min(BLOCK as u64) as usize];
            file.read_exact_at(&mut bytes, from)?;
            if let Some(at) = memchr::memmem::find(&bytes, &self.sync) {
                return Ok(from + at as u64 + 16);
            }
            if bytes.len() < BLOCK {
                break;
            }
            from += (BLOCK - 15) as u64;
        }
        Ok(size)
    }
}

/// Takes a number from the beginning of these bytes.
pub fn long(bytes: &mut &[u8]) -> Option<i64> {
    let (number, size) = datum::long(bytes).ok()?;
    *bytes = &bytes[size..];
    Some(number)
}

fn piece<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let long = usize::try_from(long(bytes)?).ok()?;
    let (piece, rest) = bytes.split_at_checked(long)?;
    *bytes = rest;
    Some(piece)
}
