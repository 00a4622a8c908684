//! Hadoop's file systems, as the crate hdfs-native reaches them: HDFS by host and port or by name service,
//! and mount tables.
//!
//! Hadoop's own configuration is read from `HADOOP_CONF_DIR`, or `HADOOP_HOME/etc/hadoop`. Where it asks for
//! Kerberos, a principal logs in with its keytab, or without one with its ticket in the default cache
//! (`kinit`); the system must have the library libgssapi_krb5.
//!
//! A sync reaches the disks of the DataNodes (`hsync`). What a reader sees of a file that is being written is
//! what was synced, to Hadoop's own clients at least.
//!
//! **A sync that has failed may be tried again** where the NameNode is away. hdfs-native first has the DataNodes
//! acknowledge every packet of the block, and then tells the NameNode how long the file is. When the second step
//! fails, the first is done, and either may be repeated. When the first fails, because a DataNode does, the
//! pipeline is taken from the writer, and stays away unless the NameNode helps to make another within
//! the same call: then every later sync of the writer fails, and none is well by mistake. Blocks before the last are
//! whole, or a write would have failed; a write is never repeated.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use hdfs_native::client::WriteOptions;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, ClientBuilder, HdfsError};
use tokio::runtime::Handle;

use super::{Later, Out, Storage};
use crate::hdfs::failed;

/// Who writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user on whose behalf it is written; else the one who logs in, or runs the process.
    pub user: Option<String>,
    /// Who logs in to Kerberos.
    pub principal: Option<String>,
    /// With which keys; without them the principal's ticket in the default cache counts.
    pub keytab: Option<String>,
}

/// One of Hadoop's file systems.
#[derive(Debug)]
pub struct Hadoop {
    client: Client,
}

impl Hadoop {
    /// Connects to the file system of this URL without a path, or to the default one.
    ///
    /// # Errors
    ///
    /// If Hadoop's configuration cannot be read, or has no such file system.
    pub fn connect(root: &str, credentials: &Credentials, runtime: &Handle) -> io::Result<Hadoop> {
        // A NameNode that is named by its port has no other to go over to: it is asked for some seconds,
        // not for minutes.
        let host = root.split_once("://").map_or("", |(_, host)| host);
        let alone = host.contains(':').then_some(("dfs.client.failover.max.attempts", "3"));
        let mut builder = ClientBuilder::new().with_config(alone).with_io_runtime(runtime.clone());
        if !root.is_empty() {
            builder = builder.with_url(format!("{root}/"));
        }
        if let Some(user) = &credentials.user {
            builder = builder.with_user(user);
        }
        if let Some(principal) = &credentials.principal {
            builder = builder.with_kerberos_principal(principal);
        }
        if let Some(keytab) = &credentials.keytab {
            builder = builder.with_kerberos_keytab(keytab);
        }
        Ok(Hadoop { client: builder.build().map_err(failed)? })
    }
}

/// The file system that Hadoop's configuration names as the default one.
pub fn default_file_system() -> Option<String> {
    let folder = std::env::var_os("HADOOP_CONF_DIR")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HADOOP_HOME")?).join("etc/hadoop")))?;
    default_in(&std::fs::read_to_string(folder.join("core-site.xml")).ok()?)
}

fn default_in(core_site: &str) -> Option<String> {
    let comments = regex::Regex::new("(?s)<!--.*?-->").expect("the pattern is well");
    let property = regex::Regex::new(
        r"(?s)<name>\s*fs\.default(?:FS|\.name)\s*</name>.*?<value>\s*([^<]*?)\s*</value>",
    )
    .expect("the pattern is well");
    let text = comments.replace_all(core_site, "");
    Some(property.captures(&text)?[1].to_owned())
}

impl Storage for Hadoop {
    fn create<'a>(&'a self, path: &'a str) -> Later<'a, Box<dyn Out>> {
        Box::pin(async move {
            let writer = self.client.create(path, WriteOptions::default()).await.map_err(failed)?;
            let out: Box<dyn Out> = Box::new(HadoopOut { writer, is_away: false });
            Ok(out)
        })
    }

    fn length<'a>(&'a self, path: &'a str) -> Later<'a, Option<u64>> {
        Box::pin(async move {
            match self.client.get_file_info(path).await.map_err(failed) {
                Ok(status) => Ok(Some(status.length as u64)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> Later<'a, ()> {
        Box::pin(async move { self.client.rename(from, to, false).await.map_err(failed) })
    }

    fn remove<'a>(&'a self, path: &'a str) -> Later<'a, ()> {
        // It says no where nothing is there.
        Box::pin(async move { self.client.delete(path, false).await.map(|_| ()).map_err(failed) })
    }

    fn recover<'a>(&'a self, path: &'a str) -> Later<'a, bool> {
        Box::pin(async move { self.client.recover_lease(path).await.map_err(failed) })
    }
}

/// A file that is written. Dropped, it keeps its lease at the NameNode until that is recovered.
struct HadoopOut {
    writer: FileWriter,
    /// Whether the last sync has failed because nobody was there.
    is_away: bool,
}

/// A file takes no syncs.
#[derive(Debug, thiserror::Error)]
#[error(
    "its folder has an erasure coding policy, and such files take no syncs: write elsewhere, or let it keep copies \
     (hdfs ec -setPolicy -replicate -path FOLDER)"
)]
struct ErasureCoded;

/// Whether a call has failed because the NameNode is not there, or not yet.
fn is_away(error: &HdfsError) -> bool {
    match error {
        HdfsError::IOError(_) => true,
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => [
            "org.apache.hadoop.hdfs.server.namenode.SafeModeException",
            "org.apache.hadoop.ipc.RetriableException",
            "org.apache.hadoop.ipc.StandbyException",
        ]
        .contains(&&**class),
        _ => false,
    }
}

/// Why a sync has failed. The writer itself has but one reason to refuse one.
fn unsynced(error: HdfsError) -> io::Error {
    match error {
        HdfsError::OperationFailed(_) => io::Error::new(io::ErrorKind::Unsupported, ErasureCoded),
        other => failed(other),
    }
}

impl Out for HadoopOut {
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()> {
        Box::pin(async move { self.writer.write_bytes(bytes).await.map(|_| ()).map_err(failed) })
    }

    fn sync(&mut self) -> Later<'_, ()> {
        self.is_away = false;
        Box::pin(async move {
            let synced = self.writer.hsync().await;
            self.is_away = synced.as_ref().is_err_and(is_away);
            synced.map_err(unsynced)
        })
    }

    fn may_sync_again(&self) -> bool {
        self.is_away
    }

    fn close(&mut self) -> Later<'_, ()> {
        Box::pin(async move { self.writer.close().await.map_err(failed) })
    }

    fn give_up(self: Box<Self>) -> Later<'static, ()> {
        // What was not synced may stay: the NameNode ends the file where its DataNodes agree.
        drop(self);
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namenode_that_is_away_and_a_file_that_takes_no_syncs_are_told_apart() {
        let refused = || HdfsError::IOError(io::ErrorKind::ConnectionRefused.into());
        let said = |class: &str| HdfsError::RPCError(class.to_owned(), String::new());
        let away = [
            refused(),
            said("org.apache.hadoop.hdfs.server.namenode.SafeModeException"),
            HdfsError::FatalRPCError(
                "org.apache.hadoop.ipc.StandbyException".into(),
                String::new(),
            ),
        ];
        assert!(away.iter().all(is_away));
        let lost = [
            said("org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException"),
            HdfsError::DataTransferError("Block writer is closed".to_owned()),
            HdfsError::OperationFailed(String::new()),
        ];
        assert!(!lost.iter().any(is_away));
        let refused = HdfsError::OperationFailed("hsync is not supported".to_owned());
        assert!(unsynced(refused).to_string().contains("hdfs ec -setPolicy -replicate"));
    }

    #[test]
    fn the_default_file_system_is_read_from_core_site() {
        let site = "<configuration><!-- <property><name>fs.defaultFS</name><value>x</value></property> -->\n\
                    <property><name>a</name><value>b</value></property>\n\
                    <property>\n <name>fs.defaultFS</name>\n <value> hdfs://site </value></property>";
        assert_eq!(default_in(site).as_deref(), Some("hdfs://site"));
        assert_eq!(default_in("<configuration/>"), None);
    }
}
