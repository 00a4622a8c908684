//! File systems that sinks write into: Hadoop's, and the one of this machine.
//!
//! **The contract.** [`Storage::create`] makes a file that was not there, with the folders above it.
//! What was written into it is safe after [`Out::sync`], and only then. [`Out::close`] ends the writing; a file
//! whose writer has failed or is gone is ended by [`Storage::recover`], asked until it says yes: then it holds
//! at least what was synced. [`Storage::rename`] never replaces a file.
//!
//! All of it is done on a runtime of tokio, of which every future must be a part. A future may be dropped
//! at any time: then it is not known whether it has had its effect.

pub mod hadoop;
pub mod local;

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

pub use hadoop::{Credentials, Hadoop};
pub use local::Local;

/// What comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A file system. Paths are without scheme and host.
pub trait Storage: Debug + Send + Sync {
    /// Makes a file.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if there is one.
    fn create<'a>(&'a self, path: &'a str) -> Later<'a, Box<dyn Out>>;

    /// How long a file is, as far as it is known; `None` where there is none.
    fn length<'a>(&'a self, path: &'a str) -> Later<'a, Option<u64>>;

    /// Gives a file another name in its folder.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if another file has the name; `NotFound` if there is no file.
    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> Later<'a, ()>;

    /// Removes a file, if it is there.
    fn remove<'a>(&'a self, path: &'a str) -> Later<'a, ()>;

    /// Takes a file from whoever writes it; says whether it is ended. Until it is, it is asked again.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no file.
    fn recover<'a>(&'a self, path: &'a str) -> Later<'a, bool>;
}

/// A file that is being written.
pub trait Out: Send {
    /// Writes at the end.
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()>;

    /// Makes safe what was written, all of it: a sync that is well after one that has failed is no less.
    fn sync(&mut self) -> Later<'_, ()>;

    /// Whether the sync that has failed last may be tried again: the file is as it was, and its file system
    /// was only away.
    fn may_sync_again(&self) -> bool;

    /// Ends the file.
    fn close(&mut self) -> Later<'_, ()>;

    /// Gives the file up after a failure; takes back what was not synced, where that can be done.
    fn give_up(self: Box<Self>) -> Later<'static, ()>;
}

/// Where a path is: its file system, as a configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// The one of this machine: `file:`.
    Local,
    /// One of Hadoop's: `hdfs://HOST:PORT`, `hdfs://NAMESERVICE` or `viewfs://NAME`; empty for its default.
    Hadoop(String),
}

/// Why a path names no file system that is known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no file system {0}: here; there is hdfs://, viewfs:// and file:")]
pub struct UnknownScheme(pub String);

impl Root {
    /// Takes a file system and the path in it apart. What has no scheme is in the default one, which is
    /// this machine's where Hadoop's configuration names none, as with Hadoop.
    ///
    /// # Errors
    ///
    /// If the scheme is not known.
    pub fn split<'a>(
        path: &'a str,
        default: Option<&str>,
    ) -> Result<(Root, &'a str), UnknownScheme> {
        let scheme = path.split_once(':').map(|(scheme, _)| scheme);
        let scheme = scheme.filter(|scheme| !scheme.contains(['/', '%']));
        match scheme.map(str::to_ascii_lowercase).as_deref() {
            None => match default.map(|default| Root::split(default, None)).transpose()? {
                None | Some((Root::Local, _)) => Ok((Root::Local, path)),
                Some(_) => Ok((Root::Hadoop(String::new()), path)),
            },
            Some("file") => {
                let behind = &path["file:".len()..];
                let behind = behind.strip_prefix("//").unwrap_or(behind);
                Ok((Root::Local, behind))
            }
            Some(scheme @ ("hdfs" | "viewfs")) => {
                let behind = &path[scheme.len() + 1..];
                let behind = behind.strip_prefix("//").unwrap_or(behind);
                let (host, path) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
                let root =
                    if host.is_empty() { String::new() } else { format!("{scheme}://{host}") };
                Ok((Root::Hadoop(root), path))
            }
            Some(other) => Err(UnknownScheme(other.to_owned())),
        }
    }

    /// As [`Root::read`] reads it.
    pub fn name(&self) -> &str {
        match self {
            Root::Local => "file:",
            Root::Hadoop(root) => root,
        }
    }

    /// What [`Root::name`] has named.
    pub fn read(name: &str) -> Root {
        if name == "file:" { Root::Local } else { Root::Hadoop(name.to_owned()) }
    }

    /// Connects to it; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// If Hadoop's configuration cannot be read, or names no such file system.
    pub fn open(
        &self,
        credentials: &Credentials,
        runtime: &Handle,
    ) -> io::Result<Arc<dyn Storage>> {
        Ok(match self {
            Root::Local => Arc::new(Local),
            Root::Hadoop(root) => Arc::new(Hadoop::connect(root, credentials, runtime)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_into_its_file_system_and_the_rest() {
        let hadoop = |root: &str| Root::Hadoop(root.to_owned());
        for (path, default, root, rest) in [
            ("hdfs://h:9000/a/%Y", None, hadoop("hdfs://h:9000"), "/a/%Y"),
            ("HDFS://site/a", None, hadoop("hdfs://site"), "/a"),
            ("hdfs:///a", None, hadoop(""), "/a"),
            ("viewfs://x/a", None, hadoop("viewfs://x"), "/a"),
            ("file:///a/b", None, Root::Local, "/a/b"),
            ("file:/a/b", None, Root::Local, "/a/b"),
            ("/a/b", None, Root::Local, "/a/b"),
            ("/a/%c:b", Some("hdfs://h:9000"), hadoop(""), "/a/%c:b"),
            ("/a", Some("file:///"), Root::Local, "/a"),
        ] {
            assert_eq!(Root::split(path, default), Ok((root.clone(), rest)), "{path}");
            assert_eq!(Root::read(root.name()), root);
        }
        assert_eq!(Root::split("s3a://b/a", None), Err(UnknownScheme("s3a".to_owned())));
    }
}
