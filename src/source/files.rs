//! The source of records in log files.

use serde::{Deserialize, Serialize};

/// How far a file has been read, and by what it is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// How many lines have been read.
    pub lines: u64,
    /// How many bytes, unpacked, they take.
    pub bytes: u64,
}
