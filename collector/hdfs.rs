//! Files in Hadoop's file system: `hdfs://NAMENODE:PORT/path`, `hdfs://NAMESERVICE/path`, or `hdfs:///path` in
//! the default one. Name services stand in Hadoop's own configuration, in `HADOOP_CONF_DIR` or
//! `HADOOP_HOME`.
//!
//! A path is what stands behind the host, byte by byte: nothing in it is escaped, and no `?` begins
//! anything. It must be UTF-8.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hdfs_native::client::FileStatus;
use hdfs_native::file::FileReader;
use hdfs_native::{Client, ClientBuilder, HdfsError};
use tokio::runtime::Runtime;

const SCHEME: &str = "hdfs://";

/// How much is read at once.
const STEP: usize = 1 << 20;

/// Whether this is not a path but the URL of a file in Hadoop's file system.
pub fn is_url(path: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(SCHEME.as_bytes())
}

/// Connections to Hadoop's file systems, each made when it is first needed.
///
/// A call waits, and is not for a thread that must not. All share a runtime with one thread, which
/// moves their bytes.
#[derive(Debug, Default)]
pub struct Hdfs(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    runtime: Option<Arc<Runtime>>,
    /// By what stands between scheme and path.
    clients: BTreeMap<String, Client>,
}

/// A file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its URL, with the host as it was given.
    pub url: PathBuf,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// Why something is not done. Within an [`io::Error`] that is `NotFound` where nothing stands there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is none.
    #[error("a URL hdfs:// must be UTF-8")]
    Url,
    /// Somebody writes the file: it is not known where it will end.
    #[error("it is still being written")]
    BeingWritten,
    /// What Hadoop says: its first line, behind which it puts stack traces.
    #[error("{0}")]
    Hadoop(String),
}

impl From<HdfsError> for Error {
    fn from(error: HdfsError) -> Error {
        let text = error.to_string();
        Error::Hadoop(text.lines().next().unwrap_or_default().to_owned())
    }
}

impl Error {
    /// The error within another one, if it is one of these.
    pub fn within(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }
}

pub(crate) fn failed(error: HdfsError) -> io::Error {
    let kind = match &error {
        HdfsError::AlreadyExists(_) => io::ErrorKind::AlreadyExists,
        HdfsError::FileNotFound(_) => io::ErrorKind::NotFound,
        HdfsError::RPCError(class, _) if class == "java.io.FileNotFoundException" => {
            io::ErrorKind::NotFound
        }
        HdfsError::IOError(error) => error.kind(),
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, Error::from(error))
}

/// A URL, taken apart.
struct Url<'a> {
    host: &'a str,
    /// It begins with `/`, and ends with one only where it is the root.
    path: &'a str,
}

impl Url<'_> {
    fn parse(url: &Path) -> io::Result<Url<'_>> {
        let text = url.to_str().and_then(|url| url.strip_prefix(SCHEME));
        let text = text.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, Error::Url))?;
        let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let trimmed = path.trim_end_matches('/');
        Ok(Url { host, path: if trimmed.is_empty() { "/" } else { trimmed } })
    }

    fn entry(&self, status: &FileStatus) -> Entry {
        let url = OsString::from(format!("{SCHEME}{}{}", self.host, status.path));
        Entry { url: url.into(), is_folder: status.isdir }
    }
}

impl Hdfs {
    /// Looks what stands there.
    ///
    /// # Errors
    ///
    /// If nothing stands there, or Hadoop does not say.
    pub fn look(&self, url: &Path) -> io::Result<Entry> {
        let url = Url::parse(url)?;
        let (client, runtime) = self.client(url.host)?;
        let status = runtime.block_on(client.get_file_info(url.path)).map_err(failed)?;
        Ok(url.entry(&status))
    }

    /// Lists what a folder holds, in no order.
    ///
    /// # Errors
    ///
    /// If there is none, or Hadoop does not say.
    pub fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let url = Url::parse(folder)?;
        let (client, runtime) = self.client(url.host)?;
        let all = runtime.block_on(client.list_status(url.path, false)).map_err(failed)?;
        Ok(all.iter().map(|status| url.entry(status)).collect())
    }

    /// Lists what a glob matches, in no order: `*`, `?`, `[…]` and `{…}` as Hadoop's shell has them.
    ///
    /// # Errors
    ///
    /// If it is no glob, or Hadoop does not say.
    pub fn matches(&self, glob: &Path) -> io::Result<Vec<Entry>> {
        let url = Url::parse(glob)?;
        let (client, runtime) = self.client(url.host)?;
        let all = runtime.block_on(client.glob_status(url.path)).map_err(failed)?;
        Ok(all.iter().map(|status| url.entry(status)).collect())
    }

    /// Opens a file at its beginning.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or is still being written as far as the NameNode lets us see
    /// ([`File::may_go_on`]).
    pub fn open(&self, url: &Path) -> io::Result<File> {
        let url = Url::parse(url)?;
        let (client, runtime) = self.client(url.host)?;
        let reader = runtime.block_on(client.read(url.path)).map_err(failed)?;
        let status = runtime.block_on(client.get_file_info(url.path)).map_err(failed)?;
        // What can be read lacks the block that is being written, and grows when that is complete.
        if reader.file_length() != status.length {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, Error::BeingWritten));
        }
        let length = reader.file_length() as u64;
        let block = status.blocksize.unwrap_or(0);
        let may_go_on = length > 0 && block > 0 && length.is_multiple_of(block);
        let raw = Raw { reader, runtime };
        Ok(File { buffered: BufReader::with_capacity(STEP, raw), length, may_go_on })
    }

    fn client(&self, host: &str) -> io::Result<(Client, Arc<Runtime>)> {
        // A connection is kept only when it is whole.
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = match &connections.runtime {
            Some(runtime) => Arc::clone(runtime),
            None => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .thread_name("hdfs")
                    .enable_all()
                    .build()?;
                Arc::clone(connections.runtime.insert(Arc::new(runtime)))
            }
        };
        if let Some(client) = connections.clients.get(host) {
            return Ok((client.clone(), runtime));
        }
        // A NameNode that is named by its port has no other to go over to: it is asked for some seconds,
        // not for minutes.
        let alone = host.contains(':').then_some(("dfs.client.failover.max.attempts", "3"));
        let client = ClientBuilder::new()
            .with_config(alone)
            .with_url(format!("{SCHEME}{host}/"))
            .with_io_runtime(runtime.handle().clone())
            .build()
            .map_err(failed)?;
        connections.clients.insert(host.to_owned(), client.clone());
        Ok((client, runtime))
    }
}

/// An open file.
#[derive(Debug)]
pub struct File {
    buffered: BufReader<Raw>,
    length: u64,
    may_go_on: bool,
}

struct Raw {
    reader: FileReader,
    runtime: Arc<Runtime>,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").field("at", &self.reader.tell()).finish_non_exhaustive()
    }
}

impl File {
    /// How many bytes it had when it was opened; no more are read.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether it ends where a block does. Then the NameNode says the same of a file whose next block
    /// is being written and was not synced: its end alone tells whether it is whole.
    pub fn may_go_on(&self) -> bool {
        self.may_go_on
    }
}

impl Read for Raw {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.reader.read_into(bytes)).map_err(failed)
    }
}

impl Seek for Raw {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (length, now) = (self.reader.file_length() as i128, self.reader.tell() as i128);
        let to = match to {
            SeekFrom::Start(to) => i128::from(to),
            SeekFrom::End(by) => length + i128::from(by),
            SeekFrom::Current(by) => now + i128::from(by),
        };
        // The reader would panic.
        if !(0..=length).contains(&to) {
            let beyond = "a place beyond the end of the file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, beyond));
        }
        self.reader.set_position(to as usize);
        Ok(to as u64)
    }
}

impl Read for File {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.buffered.read(bytes)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.buffered.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_path_as_it_stands() {
        for (url, host, path) in [
            ("hdfs://127.0.0.1:9000/logs/a b?#%20.log", "127.0.0.1:9000", "/logs/a b?#%20.log"),
            ("hdfs://site/logs/", "site", "/logs"),
            ("hdfs:///logs", "", "/logs"),
            ("hdfs://site", "site", "/"),
            ("hdfs://site//", "site", "/"),
        ] {
            let parsed = Url::parse(Path::new(url)).unwrap();
            assert_eq!((parsed.host, parsed.path), (host, path), "{url}");
        }
        let bytes = std::ffi::OsStr::from_bytes(b"hdfs://site/\xff");
        assert_eq!(Url::parse(Path::new(bytes)).err().unwrap().kind(), io::ErrorKind::InvalidInput);
        assert!(is_url(Path::new(bytes)) && !is_url(Path::new("./hdfs:/logs")));
    }

    #[test]
    fn what_hadoop_says_is_cut_at_its_stack_trace() {
        let text = "File does not exist: /a\n\tat org.apache.hadoop…";
        let class = "java.io.FileNotFoundException";
        let error = failed(HdfsError::RPCError(class.to_owned(), text.to_owned()));
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), format!("RPC error: {class} File does not exist: /a"));
        assert!(matches!(Error::within(&error), Some(Error::Hadoop(_))));
    }
}
