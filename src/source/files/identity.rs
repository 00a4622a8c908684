//! By what a file is known again, and what it may have become.
//!
//! A file is known by its path. Its [`Position`] says how far it was read, and holds checksums of the
//! first 4 KiB and of the 4 KiB before the position, unpacked: what begins alike and is the same
//! where the reading ended is the same file; packed, renamed or grown since.

use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::error::Change;

/// How many bytes are compared at the beginning of a file, and before a position.
pub(super) const COMPARED: u64 = 4096;

/// How far a file has been read, and by what it is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// How many lines have been read.
    pub lines: u64,
    /// How many bytes, unpacked, they take.
    pub bytes: u64,
    /// Whether the last of the lines had no newline.
    pub unended: bool,
    /// A CRC-32 of the first 4 KiB of these bytes.
    pub head: u32,
    /// A CRC-32 of the last 4 KiB of these bytes.
    pub tail: u32,
    /// The length of the packed file, where it was read to its end: while it keeps that, nothing is
    /// new.
    pub packed: Option<u64>,
    /// The path by which the file was known until now: whoever records this position takes the entry
    /// of that path away.
    pub renamed_from: Option<Vec<u8>>,
}

impl Position {
    /// How many bytes the checksum of the head covers, and that of the tail as well.
    pub(super) fn compared(&self) -> u64 {
        self.bytes.min(COMPARED)
    }

    /// Judges the first bytes of what stands there now, as many as are compared.
    pub(super) fn judge_head(&self, head: &[u8]) -> Result<(), Change> {
        self.judge_length(head.len() as u64, self.compared())?;
        if crc(head) == self.head {
            return Ok(());
        }
        Err(Change::BegunOtherwise { lines: self.lines, compared: self.compared() })
    }

    /// Judges the last bytes before the position, as many as are compared, of what stands there now.
    pub(super) fn judge_tail(&self, tail: &[u8]) -> Result<(), Change> {
        if crc(tail) == self.tail {
            return Ok(());
        }
        let (lines, compared, known) = (self.lines, self.compared(), self.bytes);
        Err(Change::Rewritten { lines, compared, known })
    }

    /// Judges how many bytes there are, where so many are needed.
    pub(super) fn judge_length(&self, found: u64, needed: u64) -> Result<(), Change> {
        if found >= needed {
            return Ok(());
        }
        Err(Change::Shorter { known: self.bytes, lines: self.lines, found })
    }

    /// Judges what follows on the position, after the byte `last`: how many bytes still belong to the
    /// end of the last line. `next` is short only at the end of the file.
    pub(super) fn judge_rest(&self, last: Option<u8>, next: &[u8]) -> Result<usize, Change> {
        if !self.unended {
            return Ok(0);
        }
        // Where the line ended with a carriage return, that one was taken for a part of its end: one
        // more would make the first a part of the record.
        let returned = last == Some(b'\r');
        match next {
            [] => Ok(0),
            [b'\n', ..] => Ok(1),
            [b'\r'] if !returned => Ok(1),
            [b'\r', b'\n', ..] if !returned => Ok(2),
            _ => Err(Change::LineLonger { line: self.lines, known: self.bytes }),
        }
    }
}

/// Chooses, of the files whose path is gone, those that a new file with this head may be: those that
/// it begins like, the one of which the most was read first.
///
/// A new file that is too short to be compared with one is not that one.
pub(super) fn like<'a, K>(
    head: &[u8],
    gone: impl IntoIterator<Item = (K, &'a Position)>,
) -> Vec<(K, &'a Position)> {
    let alike = |position: &Position| {
        let beginning = head.get(..position.compared() as usize);
        position.bytes > 0 && beginning.is_some_and(|head| crc(head) == position.head)
    };
    let mut found: Vec<_> = gone.into_iter().filter(|(_, position)| alike(position)).collect();
    found.sort_by_key(|(_, position)| std::cmp::Reverse(position.bytes));
    found
}

/// The checksum by which bytes are known again.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Position {
        let compared = bytes.len().min(COMPARED as usize);
        Position {
            lines: memchr::memchr_iter(b'\n', bytes).count() as u64,
            bytes: bytes.len() as u64,
            unended: bytes.last().is_some_and(|byte| *byte != b'\n'),
            head: crc(&bytes[..compared]),
            tail: crc(&bytes[bytes.len() - compared..]),
            ..Position::default()
        }
    }

    #[test]
    fn only_an_end_of_line_may_follow_on_an_unended_line() {
        const LONGER: Result<usize, ()> = Err(());
        for (known, next, judged) in [
            // The line had ended: anything may follow.
            (&b"a\n"[..], &b"b"[..], Ok(0)),
            (b"a\n", b"\n", Ok(0)),
            (b"a\r\n", b"\r\n", Ok(0)),
            (b"", b"a", Ok(0)),
            // It had not.
            (b"a", b"", Ok(0)),
            (b"a", b"\n", Ok(1)),
            (b"a", b"\nb", Ok(1)),
            (b"a", b"\n\n", Ok(1)),
            (b"a", b"\r", Ok(1)),
            (b"a", b"\r\n", Ok(2)),
            (b"a", b"\r\nb", Ok(2)),
            (b"a", b"\rb", LONGER),
            (b"a", b"\r\r\n", LONGER),
            (b"a", b"b", LONGER),
            (b"a", b" \n", LONGER),
            // It had not, and its record had lost a carriage return that ended it.
            (b"a\r", b"", Ok(0)),
            (b"a\r", b"\n", Ok(1)),
            (b"a\r", b"\r", LONGER),
            (b"a\r", b"\r\n", LONGER),
            (b"a\r", b"b", LONGER),
        ] {
            let found = read(known).judge_rest(known.last().copied(), next).map_err(drop);
            assert_eq!(found, judged, "{known:?} then {next:?}");
        }
    }

    #[test]
    fn a_new_file_is_the_gone_one_that_it_begins_like_with_the_most_lines_read() {
        let long: Vec<u8> = (0..2000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let [nothing, short, alike, longer, other, unlike_later] = [
            read(b""),
            read(b"0\n1\n"),
            read(&long[..5000]),
            read(&long),
            read(b"1\n"),
            read(&[&long[..3000], b"x\n"].concat()),
        ];
        let gone = [
            ("nothing", &nothing),
            ("short", &short),
            ("alike", &alike),
            ("longer", &longer),
            ("other", &other),
            ("unlike_later", &unlike_later),
        ];
        for (head, names) in [
            (&long[..4096], &["longer", "alike", "short"][..]),
            (&long[..4095], &["short"]),
            (b"0\n1\n", &["short"]),
            (b"0\n1", &[]),
            (b"1\n2\n", &["other"]),
            (b"", &[]),
        ] {
            let found: Vec<_> = like(head, gone).into_iter().map(|(name, _)| name).collect();
            assert_eq!(found, names, "{} bytes", head.len());
        }
    }
}
