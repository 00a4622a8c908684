//! The keys of a file channel, and of a spillable memory channel, which becomes one.

use std::path::PathBuf;
use std::time::Duration;

use crate::keys::Keys;

/// How many bytes a segment has, if `maxFileSize` allows so many.
const SEGMENT: u64 = 64 << 20;

/// The least that `maxFileSize` and `minimumRequiredSpace` may be.
const LEAST: u64 = 1 << 20;

/// A file channel as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many events it holds.
    pub capacity: usize,
    /// How many are put or taken at once, at most.
    pub transaction_capacity: usize,
    /// How long a put waits for room.
    pub keep_alive: Duration,
    /// Where events may stand; the first counts, unless another one holds some.
    pub data: Vec<PathBuf>,
    /// Where it stands what is done with.
    pub checkpoint: PathBuf,
    /// How many bytes a segment has.
    pub segment: u64,
    /// How many bytes the disk must have left for a put.
    pub required_space: u64,
    /// How often what is written is synced; at every commit, if not given.
    pub sync_every: Option<Duration>,
}

impl Settings {
    /// Reads the keys of a file channel.
    pub fn read(keys: &Keys<'_>) -> Settings {
        let capacity = keys.count("capacity", 1_000_000);
        let keep_alive = keys.time("keep-alive", Duration::from_secs(1), 3);
        Settings::of(keys, capacity, keep_alive, 10_000)
    }

    /// Reads the keys of a spillable memory channel: what it keeps in memory and what it spills are together
    /// in files.
    pub fn read_spillable(keys: &Keys<'_>) -> Settings {
        keys.doubtful(
            "type",
            "a spillablememory channel loses what it has in memory; here it is a file channel, which loses \
             nothing (write type = file)",
        );
        let any = "a whole number from 0";
        let memory = keys.number("memoryCapacity", 10_000, any, |_| true);
        let overflow = keys.number("overflowCapacity", 100_000_000, any, |_| true);
        let capacity = usize::saturating_add(memory, overflow);
        if capacity == 0 {
            keys.mistaken("memoryCapacity", "there is no room for any event");
        }
        let keep_alive = Duration::from_secs(3);
        for key in ["overflowTimeout", "overflowDeactivationThreshold"] {
            keys.ignore(key, "all events go to the disk at once");
        }
        for key in ["byteCapacity", "byteCapacityBufferPercentage", "avgEventSize"] {
            keys.ignore(key, "events wait on the disk, and not in memory");
        }
        for key in ["capacity", "keep-alive"] {
            keys.ignore(key, "Flume does not read it of this type either");
        }
        Settings::of(keys, capacity.max(1), keep_alive, 10_000.min(capacity.max(1)))
    }

    fn of(keys: &Keys<'_>, capacity: usize, keep_alive: Duration, transaction: usize) -> Settings {
        let transaction_capacity = keys.count("transactionCapacity", transaction);
        if transaction_capacity > capacity {
            let given = ["transactionCapacity", "capacity", "overflowCapacity", "memoryCapacity"];
            let key = given.into_iter().find(|key| keys.is_given(key)).unwrap_or(given[0]);
            let text = format!(
                "transactionCapacity ({transaction_capacity}) is more than capacity ({capacity})"
            );
            keys.mistaken(key, text);
        }
        let home = std::env::var("HOME").unwrap_or_else(|_| ".".to_owned());
        let flumes = |folder: &str| format!("{home}/.flume/file-channel/{folder}");
        let checkpoint = keys.text_or("checkpointDir", &flumes("checkpoint"));
        let data = keys.text_or("dataDirs", &flumes("data"));
        let data: Vec<PathBuf> = data
            .split(',')
            .map(str::trim)
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from)
            .collect();
        match &*data {
            [] => keys.wrong("dataDirs", ",", "folders, separated by commas"),
            [_] => {}
            [first, ..] => keys.doubtful(
                "dataDirs",
                format_args!(
                    "events are not spread over several folders: all stand in {}, or in the one that holds some",
                    first.display()
                ),
            ),
        }
        let any = "a whole number from 1";
        let most = keys.number("maxFileSize", 1_623_195_647, any, |size: u64| size >= 1);
        if most < LEAST {
            keys.doubtful("maxFileSize", format_args!("{LEAST} counts, which is the least"));
        }
        let required = keys.number("minimumRequiredSpace", 524_288_000, any, |size: u64| size >= 1);
        if required < LEAST {
            keys.doubtful(
                "minimumRequiredSpace",
                format_args!("{LEAST} counts, which is the least"),
            );
        }
        let each = keys.flag("fsyncPerTransaction", true);
        let interval = keys.number("fsyncInterval", 5, any, |seconds: u32| seconds >= 1);
        if !each {
            keys.advise(
                "fsyncPerTransaction",
                format_args!(
                    "when the machine loses its power, up to {interval} s of events are lost"
                ),
            );
        }
        unread(keys);
        Settings {
            capacity,
            transaction_capacity,
            keep_alive,
            data,
            checkpoint: checkpoint.into(),
            segment: most.clamp(LEAST, SEGMENT),
            required_space: required.max(LEAST),
            sync_every: (!each).then(|| Duration::from_secs(interval.into())),
        }
    }

    /// The folders in which its files may stand.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.data.iter().chain([&self.checkpoint])
    }
}

/// Keys of Flume's file channel that are understood, and change nothing here.
fn unread(keys: &Keys<'_>) {
    for key in ["useDualCheckpoints", "backupCheckpointDir", "compressBackupCheckpoint"] {
        keys.ignore(key, "the last two checkpoints are always kept, and one of them is enough");
    }
    for key in ["use-log-replay-v1", "use-fast-replay"] {
        keys.ignore(key, "nothing is replayed at a start");
    }
    keys.ignore("checkpointInterval", "every commit notes for itself what is done with");
    keys.ignore("checkpointOnClose", "a checkpoint is always made on closing");
    for (key, _) in keys.below("encryption.") {
        keys.refuse(
            &format!("encryption.{key}"),
            "put the channel's folders on an encrypted disk (dm-crypt)",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{Finding, Findings};
    use crate::properties::Property;

    fn read(
        all: &[(&str, &str)],
        read: impl FnOnce(&Keys<'_>) -> Settings,
    ) -> (Settings, Vec<String>) {
        let property = |(at, (key, value)): (usize, &(&str, &str))| Property {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            line: at + 1,
        };
        let all: Vec<_> = all.iter().enumerate().map(property).collect();
        let findings = Findings::default();
        let given = all.iter().map(|property| (property.key.clone(), property));
        let keys = Keys::new("a1", "channels.c1", given, &findings);
        let settings = read(&keys);
        keys.finish();
        (settings, findings.into_sorted().iter().map(Finding::to_string).collect())
    }

    #[test]
    fn the_defaults_are_flumes() {
        let (settings, found) = read(&[], Settings::read);
        assert_eq!(found, [""; 0]);
        assert_eq!((settings.capacity, settings.transaction_capacity), (1_000_000, 10_000));
        assert_eq!((settings.keep_alive, settings.sync_every), (Duration::from_secs(3), None));
        assert_eq!((settings.segment, settings.required_space), (64 << 20, 524_288_000));
        assert!(settings.checkpoint.ends_with(".flume/file-channel/checkpoint"));
        assert!(settings.data[0].ends_with(".flume/file-channel/data"));
    }

    #[test]
    fn every_key_of_flumes_is_understood() {
        let given = [
            ("checkpointDir", "/c"),
            ("dataDirs", "/a, /b"),
            ("maxFileSize", "1000"),
            ("fsyncPerTransaction", "false"),
            ("fsyncInterval", "7"),
            ("useDualCheckpoints", "true"),
            ("checkpointInterval", "30000"),
            ("encryption.keyProvider.keys.k.passwordFile", "/p"),
            ("capacity", "100"),
        ];
        let (settings, found) = read(&given, Settings::read);
        let expected = [
            "line 2: warning: channels.c1.dataDirs: events are not spread over several folders: all stand in /a, or \
             in the one that holds some",
            "line 3: warning: channels.c1.maxFileSize: 1048576 counts, which is the least",
            "line 4: warning: channels.c1: when the machine loses its power, up to 7 s of events are lost",
            "line 6: warning: channels.c1.useDualCheckpoints has no effect: the last two checkpoints are always \
             kept, and one of them is enough",
            "line 7: warning: channels.c1.checkpointInterval has no effect: every commit notes for itself what is \
             done with",
            "line 8: channels.c1.encryption.keyProvider.keys.k.passwordFile is not supported; put the channel's \
             folders on an encrypted disk (dm-crypt)",
            "line 9: channels.c1.capacity: transactionCapacity (10000) is more than capacity (100)",
        ];
        assert_eq!(found, expected);
        assert_eq!(settings.sync_every, Some(Duration::from_secs(7)));
        assert_eq!(settings.data, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!((settings.segment, settings.checkpoint), (1 << 20, PathBuf::from("/c")));
    }

    #[test]
    fn a_spillable_channel_has_all_its_room_in_files() {
        let given = [
            ("type", "SPILLABLEMEMORY"),
            ("memoryCapacity", "20000"),
            ("overflowCapacity", "5"),
            ("byteCapacity", "800000"),
        ];
        let (settings, found) = read(&given, |keys| {
            keys.required("type");
            Settings::read_spillable(keys)
        });
        assert_eq!((settings.capacity, settings.transaction_capacity), (20_005, 10_000));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("line 1: warning: channels.c1.type: a spillablememory channel")
        );
        assert!(found[1].contains("byteCapacity has no effect"));
    }
}
