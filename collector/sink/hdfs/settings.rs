//! The keys of the HDFS sink.

use std::path::PathBuf;
use std::time::Duration;

use super::format::Format;
use super::path::{Clock, Places, Template};
use super::zone::{self, Rounding};
use crate::keys::Keys;
use crate::machine;
use crate::running;
use crate::storage::{Credentials, Root, hadoop};

/// A HDFS sink as it is configured, but for the places of events.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file system.
    pub root: Root,
    /// Who writes.
    pub credentials: Credentials,
    /// What files hold.
    pub format: Format,
    /// What their names begin and end with.
    pub naming: Naming,
    /// When a file ends.
    pub rolling: Rolling,
    /// How many events are taken at once.
    pub batch: usize,
    /// How many files are open at once.
    pub max_open: usize,
    /// How long a call may take; `None` for as long as it likes.
    pub call_timeout: Option<Duration>,
    /// How often a file is tried to be ended; `None` for as often as it takes.
    pub close_tries: Option<u32>,
    /// How long between two of these tries.
    pub retry_interval: Duration,
    /// The list of open files.
    pub open_files: PathBuf,
}

/// What the names of files begin and end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// Before the name, while it is written.
    pub in_use_prefix: String,
    /// Behind the name, while it is written.
    pub in_use_suffix: String,
    /// Behind the number.
    pub suffix: String,
}

/// When a file ends: as soon as one of these is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rolling {
    /// So long after it was opened.
    pub interval: Option<Duration>,
    /// So long after something was written.
    pub idle: Option<Duration>,
    /// Before the event behind so many bytes of bodies.
    pub size: Option<u64>,
    /// Before the event behind so many.
    pub count: Option<u64>,
}

/// How much longer than the beginning a name gets by a dot and a number of 13 digits, or a few more.
const NUMBER: usize = 20;

impl Settings {
    /// Reads all keys.
    pub fn read(keys: &Keys<'_>) -> (Settings, Places) {
        let path = keys.required("hdfs.path");
        let (root, folder) = root(keys, &path);
        let format = Format::read(keys);
        let naming = Naming::read(keys, &format);
        let places = places(keys, &folder, &naming, root == Root::Local);
        if matches!(format, Format::Sequence(..)) && !keys.is_given("hdfs.fileType") {
            keys.advise(
                "hdfs.fileType",
                "files are Hadoop's SequenceFiles, which is Flume's default: text needs hdfs.fileType = DataStream",
            );
        }
        let tries = keys.number("hdfs.closeTries", 0_i64, "a whole number", |_| true);
        let retry = keys.number("hdfs.retryInterval", 180_i64, "a whole number", |_| true);
        let close_tries = match tries {
            _ if retry <= 0 => Some(1),
            tries => u32::try_from(tries).ok().filter(|&tries| tries > 0),
        };
        let call_timeout = keys.number("hdfs.callTimeout", 30_000_i64, "a whole number", |_| true);
        keys.ignore("hdfs.threadsPoolSize", "calls wait beside each other and need no threads");
        keys.ignore("hdfs.rollTimerPoolSize", "no timer needs a thread");
        keys.ignore(
            "hdfs.minBlockReplicas",
            "a block with too few replicas does not end a file here, which this key keeps Flume from",
        );
        keys.ignore(
            "hdfs.useRawLocalFileSystem",
            "files of this machine never have a .crc beside them",
        );
        // Ours, as are dead letters.
        let open_files = running::folder(keys.agent(), keys.name()).join("open-files.json");
        let open_files = keys.text_or("openFiles", &open_files.to_string_lossy()).into();
        let settings = Settings {
            credentials: credentials(keys, &root),
            root,
            format,
            naming,
            rolling: Rolling::read(keys),
            batch: keys.count("hdfs.batchSize", 100),
            max_open: keys.count("hdfs.maxOpenFiles", 5000),
            call_timeout: u64::try_from(call_timeout)
                .ok()
                .filter(|&time| time > 0)
                .map(Duration::from_millis),
            close_tries,
            retry_interval: Duration::from_secs(u64::try_from(retry).unwrap_or(0)),
            open_files,
        };
        (settings, places)
    }
}

fn root(keys: &Keys<'_>, path: &str) -> (Root, String) {
    let default = hadoop::default_file_system();
    match Root::split(path, default.as_deref()) {
        Ok((Root::Hadoop(root), _)) if root.contains('%') => {
            keys.mistaken("hdfs.path", "a host cannot have escapes");
            (Root::Local, path.to_owned())
        }
        Ok((root, folder)) => {
            if root == Root::Local && default.is_none() && path.starts_with('/') {
                keys.advise(
                    "hdfs.path",
                    "no HADOOP_CONF_DIR or HADOOP_HOME names a file system: this is a folder of this machine",
                );
            }
            (root, folder.to_owned())
        }
        Err(error) => {
            keys.mistaken("hdfs.path", error);
            (Root::Local, path.to_owned())
        }
    }
}

fn places(keys: &Keys<'_>, folder: &str, naming: &Naming, is_local: bool) -> Places {
    let parse = |key: &str, text: &str| {
        let template = Template::parse(text).unwrap_or_else(|error| {
            keys.mistaken(key, error);
            Template::default()
        });
        for letter in &template.unknown {
            keys.doubtful(key, format_args!("%{letter} is no escape, and stands for nothing"));
        }
        let has_colon = template.times().any(|letter| letter == 'c')
            || template.texts().any(|text| text.contains(':'));
        if has_colon && !is_local {
            keys.mistaken(key, "no file of HDFS can have a colon in its path");
        }
        template
    };
    let prefix = keys.text_or("hdfs.filePrefix", "FlumeData");
    let (folder, name) = (parse("hdfs.path", folder), parse("hdfs.filePrefix", &prefix));
    let clock = clock(keys);
    let affixes =
        naming.in_use_prefix.len() + NUMBER + naming.suffix.len() + naming.in_use_suffix.len();
    Places::new(folder, name, clock, affixes, is_local)
}

fn clock(keys: &Keys<'_>) -> Clock {
    let zone = match keys.text("hdfs.timeZone") {
        None => jiff::tz::TimeZone::system(),
        Some(name) => zone::named(&name).unwrap_or_else(|| {
            keys.wrong(
                "hdfs.timeZone",
                &name,
                "a time zone as Asia/Shanghai, or GMT+8; Flume takes GMT for what it does not know",
            );
            jiff::tz::TimeZone::UTC
        }),
    };
    let is_local = keys.flag("hdfs.useLocalTimeStamp", false);
    Clock { zone, rounding: rounding(keys), is_local }
}

fn rounding(keys: &Keys<'_>) -> Option<Rounding> {
    if !keys.flag("hdfs.round", false) {
        for key in ["hdfs.roundValue", "hdfs.roundUnit"] {
            keys.ignore(key, "hdfs.round is not true");
        }
        return None;
    }
    let unit = keys.text_or("hdfs.roundUnit", "second").to_ascii_lowercase();
    let (rounding, most): (fn(i8) -> Rounding, i8) = match &*unit {
        "hour" => (Rounding::Hours, 24),
        "minute" => (Rounding::Minutes, 60),
        "second" => (Rounding::Seconds, 60),
        _ => {
            keys.doubtful(
                "hdfs.roundUnit",
                "it is none of second, minute, hour: nothing is rounded",
            );
            keys.ignore("hdfs.roundValue", "nothing is rounded");
            return None;
        }
    };
    let allowed = format!("1 to {most}");
    let value = keys.number("hdfs.roundValue", 1, &allowed, |value| (1..=most).contains(&value));
    Some(rounding(value))
}

fn credentials(keys: &Keys<'_>, root: &Root) -> Credentials {
    let [user, principal, keytab] =
        ["hdfs.proxyUser", "hdfs.kerberosPrincipal", "hdfs.kerberosKeytab"];
    if *root == Root::Local {
        for key in [user, principal, keytab] {
            keys.ignore(key, "the files are of this machine");
        }
        return Credentials::default();
    }
    let credentials = Credentials {
        user: keys.text(user),
        principal: keys.text(principal).map(|name| match name.contains("_HOST") {
            true => name.replace("_HOST", &machine::full_name().to_ascii_lowercase()),
            false => name,
        }),
        keytab: keys.text(keytab),
    };
    if let Some(path) = &credentials.keytab {
        if credentials.principal.is_none() {
            keys.mistaken(keytab, "it needs hdfs.kerberosPrincipal");
        }
        if let Err(error) = std::fs::File::open(path) {
            keys.mistaken(keytab, format_args!("{path} cannot be read: {error}"));
        }
    }
    credentials
}

impl Naming {
    fn read(keys: &Keys<'_>, format: &Format) -> Naming {
        let in_use_suffix = if keys.flag("hdfs.emptyInUseSuffix", false) {
            keys.ignore("hdfs.inUseSuffix", "hdfs.emptyInUseSuffix is true");
            String::new()
        } else {
            keys.text_or("hdfs.inUseSuffix", ".tmp")
        };
        let naming = Naming {
            in_use_prefix: keys.text("hdfs.inUsePrefix").unwrap_or_default(),
            in_use_suffix,
            suffix: keys.text("hdfs.fileSuffix").unwrap_or_else(|| format.extension().to_owned()),
        };
        for (key, text) in [
            ("hdfs.inUsePrefix", &naming.in_use_prefix),
            ("hdfs.inUseSuffix", &naming.in_use_suffix),
            ("hdfs.fileSuffix", &naming.suffix),
        ] {
            if text.contains('/') {
                keys.mistaken(key, "it is of a name, and can have no /");
            }
        }
        naming
    }
}

impl Rolling {
    fn read(keys: &Keys<'_>) -> Rolling {
        // As in Flume, what is not above 0 is never.
        let number = |key: &str, default: i64| {
            let number = keys.number(key, default, "a whole number; 0 for never", |_| true);
            u64::try_from(number).ok().filter(|&number| number > 0)
        };
        let seconds = |key, default| number(key, default).map(Duration::from_secs);
        let rolling = Rolling {
            interval: seconds("hdfs.rollInterval", 30),
            idle: seconds("hdfs.idleTimeout", 0),
            size: number("hdfs.rollSize", 1024),
            count: number("hdfs.rollCount", 10),
        };
        rolling.advise(keys);
        rolling
    }

    /// How many files a day a thousand events of 200 bytes a second would make.
    fn advise(&self, keys: &Keys<'_>) {
        const DAY: u64 = 24 * 3600;
        const MANY: u64 = 10_000;
        let by_count = self.count.map(|count| (1000 * DAY / count, "hdfs.rollCount", count));
        let by_size = self.size.map(|size| (200_000 * DAY / size.max(200), "hdfs.rollSize", size));
        let (files, key, value) =
            [by_count, by_size].into_iter().flatten().max().unwrap_or_default();
        if files >= MANY {
            let default = if keys.is_given(key) { "" } else { ", Flume's default," };
            keys.advise(
                key,
                format_args!(
                    "{key} = {value}{default} makes {files} files a day of 1,000 events of 200 bytes a second \
                     (hdfs.rollCount = 0, hdfs.rollSize = 134217728 and an hdfs.rollInterval of minutes make large \
                     ones)"
                ),
            );
        }
        if *self == (Rolling { idle: self.idle, ..Rolling::default() }) && self.idle.is_none() {
            keys.advise(
                "hdfs.rollInterval",
                "no file ends before the agent does, or hdfs.maxOpenFiles is reached",
            );
        }
    }
}
