//! How far the file that is read has come, as Flume keeps it: a container of Avro with the file's name and the
//! offset, so that Flume may go on from it.
//!
//! Flume appends a record a batch; here there is one, which is replaced in place. Its number always takes ten
//! bytes, and what changes lies in one sector, so that a crash leaves the old one or the new one.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::container::{self, Header};
use crate::avro::datum::{put_bytes, put_long};

/// The file's name in the trackers' folder.
const NAME: &str = ".flumespool-main.meta";

const SCHEMA: &str = r#"{"type":"record","name":"TransferStateFileMeta","namespace":"org.apache.flume.serialization","fields":[{"name":"offset","type":"long"}]}"#;

const SECTOR: usize = 512;

/// Where reading stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Up to this byte all is read.
    pub offset: u64,
    /// So many events that begin there are read too.
    pub skip: u64,
}

/// What a file was when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its device and inode.
    pub id: (u64, u64),
    /// Its length.
    pub size: u64,
    /// When it was written last, in nanoseconds since 1970.
    pub modified: i128,
}

impl Stamp {
    /// That of a file now.
    pub fn of(metadata: &std::fs::Metadata) -> Stamp {
        let modified =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Stamp { id: (metadata.dev(), metadata.ino()), size: metadata.len(), modified }
    }

    fn text(&self) -> String {
        format!("{} {} {}", self.id.1, self.size, self.modified)
    }

    /// Whether this is what was noted of a file; its device may have another number now.
    pub fn is(&self, noted: &str) -> bool {
        self.text() == noted
    }

    /// Whether what was noted was of the same file, if perhaps written to since.
    pub fn is_of_file(&self, noted: &str) -> bool {
        noted.split(' ').next() == Some(&*self.id.1.to_string())
    }
}

/// What a run before has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The file that was being read.
    pub path: PathBuf,
    /// How far.
    pub place: Place,
    /// What it was; Flume does not note it.
    pub stamp: Option<String>,
}

/// Notes how far a file is read.
#[derive(Debug)]
pub struct Tracker {
    file: File,
    path: PathBuf,
    sync: [u8; 16],
    /// Where what changes begins.
    at: u64,
}

/// The tracker's file in a folder.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

impl Tracker {
    /// What a run before has left; none where there is nothing, or nothing that can be read: then a file is
    /// read from its start.
    ///
    /// # Errors
    ///
    /// If there is something and the system does not let it be read.
    pub fn left(folder: &Path) -> io::Result<Option<Left>> {
        let bytes = match std::fs::read(path(folder)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let left = parsed(&bytes);
        if left.is_none() && !bytes.is_empty() {
            log::warn!(
                "a tracker cannot be read, and does not count: path={}",
                path(folder).display()
            );
        }
        Ok(left)
    }

    /// Begins to note how far this file is read, in place of what was noted before.
    ///
    /// # Errors
    ///
    /// If it cannot be noted.
    pub fn begin(
        folder: &Path,
        target: &Path,
        stamp: &Stamp,
        place: Place,
        synced: bool,
    ) -> io::Result<Tracker> {
        let sync: [u8; 16] = *uuid::Uuid::new_v4().as_bytes();
        let header = |fill: usize| {
            let mut bytes = container::MAGIC.to_vec();
            put_long(&mut bytes, 5);
            let fill = ".".repeat(fill);
            for (name, value) in [
                ("avro.schema", SCHEMA.as_bytes()),
                ("avro.codec", b"null"),
                ("file", target.as_os_str().as_bytes()),
                ("online-recall.stamp", stamp.text().as_bytes()),
                ("online-recall.fill", fill.as_bytes()),
            ] {
                put_bytes(&mut bytes, name.as_bytes());
                put_bytes(&mut bytes, value);
            }
            bytes
        };
        let long = header(0).len();
        // The length of what fills up takes one byte or two.
        let fill = long.next_multiple_of(SECTOR) - long;
        let mut bytes = header(fill.saturating_sub(if fill > 64 { 1 } else { 0 }));
        let at = bytes.len() as u64;
        bytes.extend(changing(place, &sync));
        let path = path(folder);
        let beside = folder.join(format!("{NAME}.new"));
        let mut file = File::options().write(true).create(true).truncate(true).open(&beside)?;
        file.write_all(&bytes)?;
        if synced {
            file.sync_all()?;
        }
        std::fs::rename(&beside, &path)?;
        if synced {
            File::open(folder)?.sync_all()?;
        }
        Ok(Tracker { file, path, sync, at })
    }

    /// Notes how far it is read now.
    ///
    /// # Errors
    ///
    /// If it cannot be noted.
    pub fn note(&self, place: Place, synced: bool) -> io::Result<()> {
        self.file.write_all_at(&changing(place, &self.sync), self.at)?;
        if synced { self.file.sync_data() } else { Ok(()) }
    }

    /// Forgets the file.
    ///
    /// # Errors
    ///
    /// If that cannot be noted.
    pub fn end(self) -> io::Result<()> {
        std::fs::remove_file(self.path)
    }
}

/// What changes: the last entry of the header, and the one block.
fn changing(place: Place, sync: &[u8; 16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    put_long(&mut bytes, 1);
    put_bytes(&mut bytes, b"online-recall.skip");
    put_bytes(&mut bytes, format!("{:020}", place.skip).as_bytes());
    put_long(&mut bytes, 0);
    bytes.extend_from_slice(sync);
    put_long(&mut bytes, 1);
    put_long(&mut bytes, 10);
    // As many bytes as the longest number takes: zeros are let stand at its upper end.
    let mut number = Vec::with_capacity(10);
    put_long(&mut number, place.offset as i64);
    let last = number.len() - 1;
    if last < 9 {
        number[last] |= 0x80;
        number.resize(9, 0x80);
        number.push(0);
    }
    bytes.extend_from_slice(&number);
    bytes.extend_from_slice(sync);
    bytes
}

/// What a tracker says, ours or Flume's: of its records the last counts.
fn parsed(bytes: &[u8]) -> Option<Left> {
    let header = Header::parse(bytes)?;
    let text = |name: &str| std::str::from_utf8(header.get(name)?).ok();
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(header.get("file")?));
    let mut rest = &bytes[header.long as usize..];
    let mut offset = 0;
    // A block that was not written to its end is none.
    while let Some(mut block) = Some(rest).filter(|rest| !rest.is_empty()) {
        let (Some(count), Some(long)) = (container::long(&mut block), container::long(&mut block))
        else {
            break;
        };
        let Some((mut datums, behind)) =
            usize::try_from(long).ok().and_then(|long| block.split_at_checked(long))
        else {
            break;
        };
        let Some(behind) = behind.strip_prefix(&header.sync) else { break };
        for _ in 0..count {
            offset = u64::try_from(container::long(&mut datums)?).ok()?;
        }
        rest = behind;
    }
    let skip = text("online-recall.skip").map_or(Some(0), |skip| skip.parse().ok())?;
    let stamp = text("online-recall.stamp").map(str::to_owned);
    Some(Left { path, place: Place { offset, skip }, stamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> apache_avro::Schema {
        apache_avro::Schema::parse_str(SCHEMA).unwrap()
    }

    #[test]
    fn what_is_noted_is_there_again_and_any_reader_of_avro_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = Stamp { id: (1, 2), size: 3, modified: 4 };
        for long in 0..600 {
            let target = PathBuf::from(format!("/spool/{}", "x".repeat(long)));
            let place = Place { offset: 5, skip: 0 };
            let tracker = Tracker::begin(folder.path(), &target, &stamp, place, false).unwrap();
            assert!(tracker.at as usize % SECTOR <= SECTOR - 128, "{}", tracker.at);
            for offset in [0, 63, 64, 1 << 20, 1 << 40, i64::MAX as u64] {
                let place = Place { offset, skip: offset / 3 };
                tracker.note(place, false).unwrap();
                let left = Tracker::left(folder.path()).unwrap().unwrap();
                let stamp = Some("2 3 4".to_owned());
                assert_eq!(left, Left { path: target.clone(), place, stamp });
            }
            if long % 100 == 0 {
                let bytes = std::fs::read(path(folder.path())).unwrap();
                let reader = apache_avro::Reader::new(&bytes[..]).unwrap();
                let all: Vec<_> = reader.map(Result::unwrap).collect();
                let offset = apache_avro::types::Value::Long(i64::MAX);
                let record = vec![("offset".to_owned(), offset)];
                assert_eq!(all, [apache_avro::types::Value::Record(record)]);
            }
        }
    }

    #[test]
    fn a_tracker_that_flume_has_written_is_read() {
        // By `DurablePositionTracker` of Flume 1.11.0, which also reads ours.
        let left = parsed(include_bytes!("flume.meta")).unwrap();
        let place = Place { offset: 3_000_000_000, skip: 0 };
        assert_eq!(left, Left { path: "/spool/a".into(), place, stamp: None });
    }

    #[test]
    fn flumes_trackers_are_read_with_their_last_record_that_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let schema = schema();
        let mut writer = apache_avro::Writer::new(&schema, Vec::new()).unwrap();
        writer.add_user_metadata("file".to_owned(), b"/spool/a").unwrap();
        for offset in [100_i64, 20_000] {
            let offset = apache_avro::types::Value::Long(offset);
            let record = apache_avro::types::Value::Record(vec![("offset".to_owned(), offset)]);
            writer.append_value(record).unwrap();
            writer.flush().unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let left = |bytes: &[u8]| {
            std::fs::write(path(folder.path()), bytes).unwrap();
            Tracker::left(folder.path()).unwrap()
        };
        let expected = |offset| {
            let place = Place { offset, skip: 0 };
            Some(Left { path: "/spool/a".into(), place, stamp: None })
        };
        assert_eq!(left(&bytes), expected(20_000));
        assert_eq!(left(&bytes[..bytes.len() - 1]), expected(100));
        assert_eq!(left(&bytes[..20]), None);
        assert_eq!(left(b""), None);
    }
}
