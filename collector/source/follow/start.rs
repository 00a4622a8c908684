//! Where reading begins in a file that was never read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At its beginning.
    Beginning,
    /// At its end.
    End,
    /// So many lines before its end; one that is not ended yet counts.
    Last(u64),
    /// With this line, from 1.
    Line(u64),
}

const BLOCK: u64 = 64 << 10;

impl Start {
    /// The position in a file of this length.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn position(self, file: &File, size: u64) -> io::Result<u64> {
        match self {
            Start::Beginning | Start::Line(0 | 1) => Ok(0),
            Start::End | Start::Last(0) => Ok(size),
            Start::Last(lines) => {
                // The line's own end, where it has one, is not that of the one before.
                let mut wanted = lines;
                let mut end = size;
                let mut block = vec![0; BLOCK as usize];
                while end > 0 {
                    let from = end.saturating_sub(BLOCK);
                    let block = &mut block[..(end - from) as usize];
                    file.read_exact_at(block, from)?;
                    for place in memchr::memrchr_iter(b'\n', block) {
                        let behind = from + place as u64 + 1;
                        if behind == size {
                            continue;
                        }
                        wanted -= 1;
                        if wanted == 0 {
                            return Ok(behind);
                        }
                    }
                    end = from;
                }
                Ok(0)
            }
            Start::Line(line) => {
                let mut before = line - 1;
                let mut block = vec![0; BLOCK as usize];
                let mut at = 0;
                while at < size {
                    let long = BLOCK.min(size - at) as usize;
                    file.read_exact_at(&mut block[..long], at)?;
                    for place in memchr::memchr_iter(b'\n', &block[..long]) {
                        before -= 1;
                        if before == 0 {
                            return Ok(at + place as u64 + 1);
                        }
                    }
                    at += long as u64;
                }
                Ok(size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_where_tail_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let at = |text: &str, start: Start| {
            std::fs::write(&path, text).unwrap();
            let position = start.position(&File::open(&path).unwrap(), text.len() as u64).unwrap();
            text[position as usize..].to_owned()
        };
        assert_eq!(at("a\nb\nc\n", Start::Last(2)), "b\nc\n");
        assert_eq!(at("a\nb\nc", Start::Last(2)), "b\nc");
        assert_eq!(at("a\nb\n", Start::Last(9)), "a\nb\n");
        assert_eq!(at("a\nb\n", Start::Last(0)), "");
        assert_eq!(at("\n\n\n", Start::Last(1)), "\n");
        assert_eq!(at("a\nb\nc\n", Start::Line(2)), "b\nc\n");
        assert_eq!(at("a\nb\nc\n", Start::Line(1)), "a\nb\nc\n");
        assert_eq!(at("a\nb", Start::Line(9)), "");
        let long = "x".repeat(BLOCK as usize) + "\n";
        assert_eq!(at(&format!("{long}{long}a\nb\n"), Start::Last(3)), format!("{long}a\nb\n"));
        assert_eq!(at(&format!("{long}{long}a\nb\n"), Start::Line(3)), "a\nb\n");
    }
}
