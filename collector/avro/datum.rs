//! Avro's encoding: numbers as zigzag varints, texts and bytes behind their lengths, arrays and maps in
//! blocks.

use bytes::Bytes;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A value does not end where the bytes do.
    #[error("a value ends beyond the frame")]
    Short,
    /// A number has more bytes than numbers have.
    #[error("a number of more than 64 bits")]
    Number,
    /// A length or count that can be none.
    #[error("a length or count of {0}")]
    Length(i64),
    /// A branch of a union, or a symbol, that there is not.
    #[error("there is no {what} of the number {number}")]
    Choice {
        /// What it should be.
        what: &'static str,
        /// What it is.
        number: i64,
    },
    /// Bytes behind the last value.
    #[error("{0} bytes stand behind the last value")]
    Rest(usize),
    /// An event has more headers than anybody means.
    #[error("an event of {0} headers")]
    Headers(usize),
    /// A protocol that is not Flume's.
    #[error("the peer's protocol is not Flume's: {0}")]
    Protocol(String),
    /// It would take more memory than is allowed.
    #[error(transparent)]
    TooMuch(#[from] super::frame::TooMuch),
}

/// Values, read one after another.
#[derive(Clone, Debug)]
pub struct Datum {
    bytes: Bytes,
    at: usize,
}

impl Datum {
    /// Those of these bytes.
    pub fn new(bytes: Bytes) -> Datum {
        Datum { bytes, at: 0 }
    }

    /// What is not read yet.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// How much is read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What was read since a place.
    pub fn since(&self, at: usize) -> Bytes {
        self.bytes.slice(at..self.at)
    }

    /// Passes over so many bytes.
    ///
    /// # Errors
    ///
    /// If they are not there.
    pub fn skip(&mut self, many: usize) -> Result<(), Malformed> {
        if many > self.rest().len() {
            return Err(Malformed::Short);
        }
        self.at += many;
        Ok(())
    }

    /// A number.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn long(&mut self) -> Result<i64, Malformed> {
        let (number, size) = long(self.rest())?;
        self.at += size;
        Ok(number)
    }

    /// The number of a branch or symbol, of so many.
    ///
    /// # Errors
    ///
    /// If it is none of them.
    pub fn choice(&mut self, what: &'static str, many: i64) -> Result<usize, Malformed> {
        match self.long()? {
            number if (0..many).contains(&number) => Ok(number as usize),
            number => Err(Malformed::Choice { what, number }),
        }
    }

    /// Yes or no.
    ///
    /// # Errors
    ///
    /// If it is neither.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.slice(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(Malformed::Choice { what: "boolean", number: other[0].into() }),
        }
    }

    /// A text or bytes, not copied. Whether a text is UTF-8 is the caller's to ask.
    ///
    /// # Errors
    ///
    /// If it is not all there.
    pub fn text(&mut self) -> Result<&[u8], Malformed> {
        let length = self.length()?;
        self.slice(length)
    }

    /// Bytes, which share those of the whole.
    ///
    /// # Errors
    ///
    /// If they are not all there.
    pub fn shared(&mut self) -> Result<Bytes, Malformed> {
        let length = self.length()?;
        self.skip(length)?;
        Ok(self.bytes.slice(self.at - length..self.at))
    }

    /// 16 bytes.
    ///
    /// # Errors
    ///
    /// If they are not there.
    pub fn hash(&mut self) -> Result<super::Hash, Malformed> {
        Ok(self.slice(16)?.try_into().expect("16 bytes were asked for"))
    }

    /// How many items the next block has; 0 ends them. Each item takes at least so many bytes: a count that
    /// cannot be is refused before anybody makes room for it.
    ///
    /// # Errors
    ///
    /// If they cannot all be there.
    pub fn block(&mut self, least: usize) -> Result<usize, Malformed> {
        let mut count = self.long()?;
        if count < 0 {
            // The block's size in bytes follows, for those who pass over it.
            let size = self.long()?;
            if size < 0 {
                return Err(Malformed::Length(size));
            }
            count = count.checked_neg().ok_or(Malformed::Length(count))?;
        }
        match usize::try_from(count) {
            Ok(count) if count <= self.rest().len() / least => Ok(count),
            Ok(_) => Err(Malformed::Short),
            Err(_) => Err(Malformed::Length(count)),
        }
    }

    /// Passes over a map of texts or bytes.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn skip_map(&mut self) -> Result<(), Malformed> {
        loop {
            match self.block(2)? {
                0 => return Ok(()),
                // A name and a value each.
                many => {
                    for _ in 0..2 * many {
                        self.text()?;
                    }
                }
            }
        }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// If something is.
    pub fn end(&self) -> Result<(), Malformed> {
        match self.rest().len() {
            0 => Ok(()),
            rest => Err(Malformed::Rest(rest)),
        }
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| Malformed::Length(length))
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], Malformed> {
        self.skip(length)?;
        Ok(&self.bytes[self.at - length..self.at])
    }
}

/// The number that stands first in these bytes, and how many of them it has.
///
/// # Errors
///
/// If there is none.
pub fn long(bytes: &[u8]) -> Result<(i64, usize), Malformed> {
    let mut value = 0u64;
    for (nth, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            if nth == 9 && byte > 1 {
                return Err(Malformed::Number);
            }
            return Ok(((value >> 1) as i64 ^ -((value & 1) as i64), nth + 1));
        }
    }
    Err(if bytes.len() < 10 { Malformed::Short } else { Malformed::Number })
}

/// Writes a number.
pub fn put_long(to: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

/// Writes a text or bytes.
pub fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_long(to, bytes.len() as i64);
    to.extend_from_slice(bytes);
}
