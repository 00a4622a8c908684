//! Names that rotated files have.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What packed files end with: they are not read.
const PACKED: [&str; 8] = [".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".lzo", ".Z"];

/// Whether a file of this name may be an earlier one of the log of that name, in the same folder: `log.1`,
/// `log-20251016`, `log.2015-10-16-17`, `log.old`; of `app.log` also `app.1.log` and `app-2015-10-16.log`.
/// Packed files are none.
pub fn is_of(log: &OsStr, name: &OsStr) -> bool {
    let (log, name) = (log.as_bytes(), name.as_bytes());
    if let Some(rest) = name.strip_prefix(log) {
        return is_number(rest) || matches!(rest, b".old" | b".bak" | b".prev" | b"~");
    }
    let Some(dot) = log.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0) else {
        return false;
    };
    let (stem, extension) = log.split_at(dot);
    let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
    rest.is_some_and(is_number)
}

/// A mark, a digit, and what stands in dates and numbers.
fn is_number(rest: &[u8]) -> bool {
    let [b'.' | b'-' | b'_', rest @ ..] = rest else { return false };
    rest.first().is_some_and(u8::is_ascii_digit)
        && rest.iter().all(|byte| {
            byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b'T' | b':' | b'+' | b'Z')
        })
}

/// Whether a file of this name may hold what another one held, in the same folder: it begins with its stem.
pub fn may_hold(log: &OsStr, name: &OsStr) -> bool {
    let stem = Path::new(log).file_stem().unwrap_or(log);
    let name = name.as_bytes();
    name.starts_with(stem.as_bytes())
        && !PACKED.iter().any(|ending| name.ends_with(ending.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_are_known_by_their_names() {
        let of = |log: &str, name: &str| is_of(OsStr::new(log), OsStr::new(name));
        for name in [
            "a.log.1",
            "a.log-20251016",
            "a.log.2015-10-16-17",
            "a.log.old",
            "a.1.log",
            "a-2015.log",
        ] {
            assert!(of("a.log", name), "{name}");
        }
        for name in ["a.log", "a.log.wf", "a.log.1.gz", "ab.log", "a.log1", "b.log.1", "a.err.log"]
        {
            assert!(!of("a.log", name), "{name}");
        }
        assert!(of("messages", "messages-20251016") && !of(".log", "1.log"));
    }
}
