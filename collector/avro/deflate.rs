//! A stream that is compressed as a whole, both ways: zlib, brought to a point where the other side can read
//! all of it whenever it is flushed.

use std::io::{self, Read, Write};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// How much is read or written at once.
const BLOCK: usize = 16 << 10;

/// Speaks zlib over a stream.
#[derive(Debug)]
pub struct Deflated<S> {
    inner: S,
    inflate: Decompress,
    deflate: Compress,
    /// What came, of which a part is used.
    input: Vec<u8>,
    used: usize,
    /// Whether there may be more in the inflater than was asked of it.
    has_more: bool,
    /// What is to be sent when there is enough, or at a flush.
    output: Vec<u8>,
}

impl<S> Deflated<S> {
    /// Over this stream; what is written is compressed so hard.
    pub fn new(inner: S, level: u32) -> Deflated<S> {
        Deflated {
            inner,
            inflate: Decompress::new(true),
            deflate: Compress::new(Compression::new(level), true),
            input: Vec::new(),
            used: 0,
            has_more: false,
            output: Vec::new(),
        }
    }
}

impl<S: Read> Read for Deflated<S> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        loop {
            if self.used < self.input.len() || self.has_more {
                let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
                let input = &self.input[self.used..];
                let status = self.inflate.decompress(input, to, FlushDecompress::None);
                let status =
                    status.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                self.used += (self.inflate.total_in() - taken) as usize;
                let made = (self.inflate.total_out() - made) as usize;
                self.has_more = made == to.len();
                if made > 0 || status == Status::StreamEnd {
                    return Ok(made);
                }
                if self.used < self.input.len() && status == Status::BufError {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "no zlib stream"));
                }
            }
            self.input.resize(BLOCK, 0);
            self.used = 0;
            let read = self.inner.read(&mut self.input);
            self.input.truncate(*read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(0);
            }
        }
    }
}

impl<S: Write> Deflated<S> {
    /// Compresses; returns how much of it was taken.
    fn compress(&mut self, bytes: &[u8], flush: FlushCompress) -> io::Result<usize> {
        let taken = self.deflate.total_in();
        self.output.reserve(BLOCK);
        let done = self.deflate.compress_vec(bytes, &mut self.output, flush);
        done.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((self.deflate.total_in() - taken) as usize)
    }

    fn send(&mut self) -> io::Result<()> {
        let sent = self.inner.write_all(&self.output);
        self.output.clear();
        sent
    }
}

impl<S: Write> Write for Deflated<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.output.len() >= BLOCK {
            self.send()?;
        }
        self.compress(bytes, FlushCompress::None)
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            self.compress(&[], FlushCompress::Sync)?;
            // All of it is there when there was room left.
            let is_whole = self.output.len() < self.output.capacity();
            self.send()?;
            if is_whole {
                return self.inner.flush();
            }
        }
    }
}
