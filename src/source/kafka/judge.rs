//! Whether a partition can be read on where it was left.

/// What is to be said of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It can be read on.
    Whole,
    /// It can, if the record before is the one that was read.
    Compare,
    /// What is needed is gone from its beginning.
    Gap,
    /// What is needed is gone from its end.
    Shrunk,
}

/// Judges a partition that holds the offsets `earliest..end`, and is to be read from `next` on;
/// `mark` is the checksum of the record before, 0 if none was read.
pub(super) fn judge(next: u64, mark: u64, earliest: u64, end: u64) -> Verdict {
    if next < earliest {
        Verdict::Gap
    } else if next > end {
        Verdict::Shrunk
    } else if mark != 0 && next > earliest {
        Verdict::Compare
    } else {
        // The record before is gone by its age, or there was none: nothing speaks against it.
        Verdict::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_judged_by_what_it_holds() {
        for (next, mark, earliest, end, verdict) in [
            (0, 0, 0, 0, Verdict::Whole),
            (5, 0, 0, 9, Verdict::Whole),
            (5, 1, 0, 9, Verdict::Compare),
            (9, 1, 0, 9, Verdict::Compare),
            (10, 1, 0, 9, Verdict::Shrunk),
            (10, 0, 0, 9, Verdict::Shrunk),
            (5, 1, 5, 9, Verdict::Whole),
            (5, 1, 6, 9, Verdict::Gap),
            (5, 0, 6, 9, Verdict::Gap),
            (9, 1, 9, 9, Verdict::Whole),
        ] {
            assert_eq!(judge(next, mark, earliest, end), verdict, "{next} {mark} {earliest} {end}");
        }
    }
}
