//! The keys of a file channel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::keys::Keys;

/// How large a segment is, unless `maxFileSize` is less.
const SEGMENT: u64 = 64 << 20;

/// A file channel as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where it is noted what was taken.
    pub(super) checkpoint: PathBuf,
    /// Where the log is.
    pub(super) data: PathBuf,
    /// How many events it holds.
    pub capacity: usize,
    /// How many are put or taken at once, at most.
    pub transaction_capacity: usize,
    pub(super) keep_alive: Duration,
    /// How many bytes a segment has.
    pub(super) segment: u64,
    /// How many bytes the disk must have left.
    pub(super) space: u64,
    /// How long a commit may not be durable; none where it always is.
    pub(super) interval: Option<Duration>,
}

impl Settings {
    /// Reads the keys of a file channel.
    pub fn read(keys: &Keys<'_>) -> Settings {
        Settings::with_capacity(keys, "capacity", 1_000_000)
    }

    /// Reads the keys of Flume's spillable memory channel, in whose place this one is.
    pub fn read_spillable(keys: &Keys<'_>) -> Settings {
        keys.doubtful("type", "it becomes a file channel: nothing waits in memory");
        for key in
            ["memoryCapacity", "overflowTimeout", "byteCapacity", "byteCapacityBufferPercentage"]
        {
            keys.ignore(key, "all events wait on the disk");
        }
        for key in ["avgEventSize", "overflowDeactivationThreshold"] {
            keys.ignore(key, "all events wait on the disk");
        }
        Settings::with_capacity(keys, "overflowCapacity", 100_000_000)
    }

    fn with_capacity(keys: &Keys<'_>, key: &str, default: usize) -> Settings {
        let capacity = keys.count(key, default);
        let transaction_capacity = keys.count("transactionCapacity", 10_000.min(capacity));
        if transaction_capacity > capacity {
            let text = format_args!("it is more than {key} ({capacity})");
            keys.mistaken("transactionCapacity", text);
        }
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let flumes = |name: &str| home.join(".flume/file-channel").join(name).display().to_string();
        let checkpoint = keys.text_or("checkpointDir", &flumes("checkpoint")).into();
        let folders = keys.text_or("dataDirs", &flumes("data"));
        let mut folders = folders.split(',').map(str::trim).filter(|folder| !folder.is_empty());
        let data = folders.next().unwrap_or_default().into();
        if folders.next().is_some() {
            keys.doubtful(
                "dataDirs",
                "the first folder is used, and no other: commits share its syncs",
            );
        }
        for key in ["useDualCheckpoints", "backupCheckpointDir", "compressBackupCheckpoint"] {
            keys.ignore(key, "a start needs no checkpoint: it reads the last segment");
        }
        for key in
            ["checkpointInterval", "checkpointOnClose", "use-fast-replay", "use-log-replay-v1"]
        {
            keys.ignore(key, "a start needs no checkpoint: it reads the last segment");
        }
        let instead = "encrypt the file system that dataDirs is on";
        for key in ["activeKey", "cipherProvider", "keyProvider"] {
            keys.refuse(&format!("encryption.{key}"), instead);
        }
        for (key, _) in keys.below("encryption.keyProvider.") {
            keys.refuse(&format!("encryption.keyProvider.{key}"), instead);
        }
        let most =
            keys.number("maxFileSize", 2_146_435_071, "a whole number from 1", |size: u64| {
                size > 0
            });
        let space =
            keys.number("minimumRequiredSpace", 524_288_000, "a whole number", |_: u64| true);
        let per_transaction = keys.flag("fsyncPerTransaction", true);
        let interval = keys.time("fsyncInterval", Duration::from_secs(1), 5);
        Settings {
            checkpoint,
            data,
            capacity,
            transaction_capacity,
            keep_alive: keys.time("keep-alive", Duration::from_secs(1), 3),
            segment: SEGMENT.min(most.max(1 << 20)),
            // Flume's floor.
            space: space.max(1 << 20),
            interval: (!per_transaction).then_some(interval),
        }
    }

    /// The folders that it works in, which no other channel may have.
    pub fn folders(&self) -> [&Path; 2] {
        [&self.checkpoint, &self.data]
    }
}
