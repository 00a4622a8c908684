//! Bytes become blocks of whole lines, in bounded memory.

use std::io::{self, Read};

use memchr::{memchr, memchr_iter, memrchr};

use super::trail::Tail;
use crate::decode::MAX_RECORD;

/// How many bytes a block is to have: with fewer, the workers and what wakes them take more steps; with
/// more, what was read has left the cache before it is decoded.
const BLOCK: usize = 512 << 10;

/// What is kept of a line: more than the longest record, with the longest timestamp before it
/// (`LogAppendTime:`, 15 digits, a tab) and a carriage return behind it, so that whoever decodes the
/// line sees that it is too long.
const KEPT: usize = MAX_RECORD + 64;

/// Room behind a block's bytes, without which reading to the brim of its buffer would make it grow.
const BRIM: usize = 64;

/// A run of consecutive lines of a file.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The lines, each with its newline but for the last one of the file.
    pub lines: Vec<u8>,
    /// How many they are. Counted here, where they are still near.
    pub count: u64,
    /// What the last line lacks, if it was too long to be kept.
    pub cut: Option<Cut>,
}

/// What was left out of a line, between what is kept of it and its newline.
#[derive(Debug)]
pub(super) struct Cut {
    /// How many bytes.
    pub bytes: u64,
    /// The last bytes of the file up to the end of the line.
    pub tail: Tail,
}

impl Block {
    fn new(mut lines: Vec<u8>, cut: Option<Cut>) -> Block {
        // The blocks of many small files wait together: they are to take the room that they need.
        if lines.len() < BLOCK / 2 {
            lines.shrink_to_fit();
        }
        let newlines = memchr_iter(b'\n', &lines).count() as u64;
        let count = newlines + u64::from(lines.last().is_some_and(|last| *last != b'\n'));
        Block { lines, count, cut }
    }

    /// How many bytes of the file it stands for.
    pub fn bytes(&self) -> u64 {
        self.lines.len() as u64 + self.cut.as_ref().map_or(0, |cut| cut.bytes)
    }
}

/// Reads blocks: about 512 KiB each, more only where one line is longer, never more than about 1.5 MiB.
pub(super) struct Blocks<R> {
    rest: R,
    /// The beginning of the next block.
    begun: Vec<u8>,
    ended: bool,
    failure: Option<io::Error>,
}

impl<R: Read> Blocks<R> {
    /// Reads from here on: `ahead`, then `rest`, or then `failure`.
    pub fn new(ahead: Vec<u8>, rest: R, failure: Option<io::Error>) -> Blocks<R> {
        Blocks { rest, begun: ahead, ended: failure.is_some(), failure }
    }

    /// Reads the next block; none, if the file is at its end. An error comes after all whole lines
    /// before it.
    pub fn next(&mut self) -> io::Result<Option<Block>> {
        if self.ended && self.failure.is_none() && self.begun.is_empty() {
            return Ok(None);
        }
        let mut lines = Vec::with_capacity(BLOCK + BRIM);
        lines.append(&mut self.begun);
        let mut searched = 0;
        loop {
            // A line that has no newline within this is too long to be kept.
            let most = (KEPT + 1 - lines.len().min(KEPT)).min(BLOCK);
            let wanted = BLOCK.saturating_sub(lines.len()).max(BLOCK / 4).min(most);
            self.read(wanted, &mut lines);
            if let Some(last) = memrchr(b'\n', &lines[searched..]) {
                let end = searched + last + 1;
                if !self.ended || self.failure.is_some() {
                    self.begun.extend_from_slice(&lines[end..]);
                    lines.truncate(end);
                }
                return Ok(Some(Block::new(lines, None)));
            }
            searched = lines.len();
            if lines.len() > KEPT {
                let cut = self.cut(&mut lines);
                if self.failure.is_none() {
                    return Ok(Some(Block::new(lines, Some(cut))));
                }
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.ended {
                return Ok((!lines.is_empty()).then(|| Block::new(lines, None)));
            }
        }
    }

    /// Cuts a line that is too long, and passes what is left of it.
    fn cut(&mut self, line: &mut Vec<u8>) -> Cut {
        let mut tail = Tail::default();
        tail.pass(line);
        let mut bytes = (line.len() - KEPT) as u64;
        line.truncate(KEPT);
        let mut passed = Vec::with_capacity(BLOCK + BRIM);
        while !self.ended {
            passed.clear();
            self.read(BLOCK, &mut passed);
            if let Some(end) = memchr(b'\n', &passed) {
                bytes += end as u64;
                tail.pass(&passed[..=end]);
                line.push(b'\n');
                self.begun.extend_from_slice(&passed[end + 1..]);
                break;
            }
            bytes += passed.len() as u64;
            tail.pass(&passed);
        }
        Cut { bytes, tail }
    }

    /// Reads so many bytes, fewer only before the end or a failure.
    fn read(&mut self, wanted: usize, bytes: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        match self.rest.by_ref().take(wanted as u64).read_to_end(bytes) {
            Ok(number) => self.ended = number < wanted,
            Err(failure) => {
                self.ended = true;
                self.failure = Some(failure);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that are made while they are read, in pieces of odd sizes.
    struct Made<F> {
        at: u64,
        length: u64,
        byte: F,
        piece: usize,
    }

    impl<F: FnMut(u64) -> u8> Read for Made<F> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let number = (self.length - self.at).min(bytes.len().min(self.piece) as u64);
            for byte in &mut bytes[..number as usize] {
                *byte = (self.byte)(self.at);
                self.at += 1;
            }
            Ok(number as usize)
        }
    }

    fn blocks<R: Read>(rest: R) -> Vec<Block> {
        let mut blocks = Blocks::new(Vec::new(), rest, None);
        std::iter::from_fn(|| blocks.next().unwrap()).collect()
    }

    #[test]
    fn a_line_of_fifty_megabytes_is_cut_without_being_held() {
        const LONG: u64 = 50 << 20;
        for (newline, after) in [(true, 0), (true, 5), (false, 0)] {
            let length = 2 + LONG + u64::from(newline) + after;
            let byte = |at| if at == 1 || (newline && at == 2 + LONG) { b'\n' } else { b'x' };
            let found = blocks(Made { at: 0, length, byte, piece: 50_000 });
            assert_eq!(found.iter().map(Block::bytes).sum::<u64>(), length);
            assert!(found.iter().all(|block| block.lines.capacity() <= 3 << 20));
            let lines: Vec<u8> = found.iter().flat_map(|block| block.lines.clone()).collect();
            let lines: Vec<_> = lines.split_inclusive(|byte| *byte == b'\n').collect();
            assert_eq!(lines[0], b"x\n");
            assert_eq!(lines[1].len(), KEPT + usize::from(newline));
            assert_eq!(lines.len(), if after > 0 { 3 } else { 2 });
            let cut = found.iter().find_map(|block| block.cut.as_ref()).unwrap();
            assert_eq!(cut.bytes, LONG - KEPT as u64);
            let mut tail = Tail::default();
            tail.pass(&[b'x'; 5000]);
            tail.pass(if newline { b"\n" } else { b"" });
            assert_eq!(cut.tail, tail);
        }
    }

    #[test]
    fn the_longest_record_is_kept_whole_with_all_that_may_stand_around_it() {
        for (length, cut) in [(MAX_RECORD + 31, false), (KEPT, false), (KEPT + 1, true)] {
            let line = [&vec![b'x'; length][..], b"\ny\n"].concat();
            let found = blocks(&line[..]);
            assert_eq!(found[0].cut.is_some(), cut, "{length}");
            let lines: Vec<u8> = found.iter().flat_map(|block| block.lines.clone()).collect();
            assert_eq!(lines.len(), length.min(KEPT) + 3);
        }
    }

    #[test]
    fn an_error_comes_after_the_whole_lines_before_it() {
        struct Torn(usize);
        impl Read for Torn {
            fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let number = self.0.min(bytes.len());
                bytes[..number].fill(b'x');
                (4..number).step_by(5).for_each(|at| bytes[at] = b'\n');
                self.0 -= number;
                Ok(number)
            }
        }
        let mut torn = Blocks::new(Vec::new(), Torn(12), None);
        assert_eq!(torn.next().unwrap().unwrap().lines, b"xxxx\nxxxx\n");
        assert!(torn.next().is_err());
        let mut torn = Blocks::new(Vec::new(), Torn(2 << 20), None);
        let mut bytes = 0;
        let failure = loop {
            match torn.next() {
                Ok(block) => bytes += block.unwrap().bytes(),
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure.kind(), io::ErrorKind::UnexpectedEof);
        assert!(bytes > (2 << 20) - 10, "{bytes}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn blocks_are_the_file_in_whole_lines(
            lengths in proptest::collection::vec(prop_oneof![
                8 => 0_usize..300, 2 => 0_usize..300_000, 1 => MAX_RECORD..MAX_RECORD + 64,
            ], 0..60),
            ended: bool,
            ahead in 0_usize..5000,
        ) {
            let mut file: Vec<u8> = Vec::new();
            for (n, length) in lengths.iter().enumerate() {
                file.resize(file.len() + length, b'a' + (n % 26) as u8);
                file.push(b'\n');
            }
            if !ended {
                file.pop();
            }
            let ahead = ahead.min(file.len());
            let mut blocks = Blocks::new(file[..ahead].to_vec(), &file[ahead..], None);
            let mut found = Vec::new();
            while let Some(block) = blocks.next().unwrap() {
                prop_assert!(found.is_empty() || found.ends_with(b"\n"));
                prop_assert!(block.cut.is_none() && block.lines.len() <= KEPT + 1);
                found.extend_from_slice(&block.lines);
            }
            prop_assert!(found == file);
        }
    }
}
