//! By what a file is known again: what stands in it before the position, at its very beginning and just
//! before it. Inodes are used again, and files are cut and grow again; what was read does not change.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How long each of the two is, at most.
pub const LONGEST: usize = 224;

/// What stands in a file around what was read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Print {
    /// How much was read.
    pub position: u64,
    /// The first bytes that were read.
    pub head: Vec<u8>,
    /// The last bytes that were read.
    pub tail: Vec<u8>,
}

impl Print {
    /// That of a file which is read up to here.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is shorter.
    pub fn of(file: &File, position: u64) -> io::Result<Print> {
        let long = position.min(LONGEST as u64);
        let read = |at: u64| {
            let mut bytes = vec![0; long as usize];
            file.read_exact_at(&mut bytes, at).map(|()| bytes)
        };
        Ok(Print { position, head: read(0)?, tail: read(position - long)? })
    }

    /// Whether it can be the same file: it has at least what was read, and that is the same at both ends.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn fits(&self, file: &File) -> io::Result<bool> {
        match Print::of(file, self.position) {
            Ok(now) => Ok(now == *self),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a file that begins so can be a copy of this one, as far as either is known. Nothing is known
    /// of what nothing was read of.
    pub fn begins(&self, head: &[u8]) -> bool {
        let long = self.head.len().min(head.len());
        long > 0 && self.head[..long] == head[..long]
    }

    /// That of the file when the bytes that follow are read too.
    pub fn and(&self, bytes: &[u8]) -> Print {
        let mut head = self.head.clone();
        head.extend_from_slice(&bytes[..bytes.len().min(LONGEST - head.len())]);
        let mut tail = Vec::with_capacity(LONGEST);
        let kept = LONGEST.saturating_sub(bytes.len()).min(self.tail.len());
        tail.extend_from_slice(&self.tail[self.tail.len() - kept..]);
        tail.extend_from_slice(&bytes[bytes.len().saturating_sub(LONGEST)..]);
        Print { position: self.position + bytes.len() as u64, head, tail }
    }
}

/// The first bytes of a file, as many as are compared.
///
/// # Errors
///
/// If it cannot be read.
pub fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LONGEST];
    let mut long = 0;
    while long < LONGEST {
        match file.read_at(&mut bytes[long..], long as u64)? {
            0 => break,
            read => long += read,
        }
    }
    bytes.truncate(long);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_that_grows_with_what_is_read_is_that_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let bytes: Vec<u8> = (0..2000_u32).map(|number| number as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        for step in [1, 7, 100, 224, 225, 999] {
            let mut print = Print::default();
            for piece in bytes.chunks(step) {
                print = print.and(piece);
                assert_eq!(print, Print::of(&file, print.position).unwrap(), "{step}");
                assert!(print.fits(&file).unwrap());
            }
        }
        assert!(!Print::of(&file, 2000).unwrap().and(b"x").fits(&file).unwrap());
    }

    #[test]
    fn a_beginning_of_which_nothing_is_known_is_no_copy() {
        assert!(!Print::default().begins(b"abc"));
        assert!(!Print::default().and(b"abc").begins(b""));
        assert!(Print::default().and(b"abc").begins(b"ab"));
        assert!(Print::default().and(b"abc").begins(b"abcd"));
        assert!(!Print::default().and(b"abc").begins(b"abd"));
    }
}
