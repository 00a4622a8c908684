//! The file system of this machine.
//!
//! A file is synced to the disk, not only handed to the system as Flume does. Flume's hidden `.crc` beside
//! each file is not written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{Later, Out, Storage};

/// The file system of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Local;

/// Does what waits for the disk on a thread that may.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl Storage for Local {
    fn create<'a>(&'a self, path: &'a str) -> Later<'a, Box<dyn Out>> {
        let path = path.to_owned();
        Box::pin(beside(move || {
            if let Some(folder) = Path::new(&path).parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            let out: Box<dyn Out> = Box::new(LocalOut { file: Some(file), written: 0, synced: 0 });
            Ok(out)
        }))
    }

    fn length<'a>(&'a self, path: &'a str) -> Later<'a, Option<u64>> {
        let path = path.to_owned();
        Box::pin(beside(move || match std::fs::symlink_metadata(&path) {
            Ok(status) => Ok(Some(status.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }))
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> Later<'a, ()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        Box::pin(beside(move || rename(&from, &to)))
    }

    fn remove<'a>(&'a self, path: &'a str) -> Later<'a, ()> {
        let path = path.to_owned();
        Box::pin(beside(move || match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }))
    }

    fn recover<'a>(&'a self, path: &'a str) -> Later<'a, bool> {
        let path = path.to_owned();
        // A writer that is gone holds nothing here.
        Box::pin(beside(move || std::fs::symlink_metadata(&path).map(|_| true)))
    }
}

fn rename(from: &str, to: &str) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot refuse to replace: there it is looked for first.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if std::fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        renamed => Ok(renamed?),
    }
}

/// A file of this machine; without it while it is lent to another thread, or when that was not waited for.
struct LocalOut {
    file: Option<File>,
    written: u64,
    synced: u64,
}

impl LocalOut {
    async fn on_file(
        &mut self,
        work: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let gone = || io::Error::other("an earlier call has not come back");
        let mut file = self.file.take().ok_or_else(gone)?;
        let (file, result) = beside(move || {
            let result = work(&mut file);
            Ok((file, result))
        })
        .await?;
        self.file = Some(file);
        result
    }
}

impl Out for LocalOut {
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()> {
        Box::pin(async move {
            let many = bytes.len() as u64;
            self.on_file(move |file| file.write_all(&bytes)).await?;
            self.written += many;
            Ok(())
        })
    }

    fn sync(&mut self) -> Later<'_, ()> {
        Box::pin(async move {
            self.on_file(|file| file.sync_data()).await?;
            self.synced = self.written;
            Ok(())
        })
    }

    fn may_sync_again(&self) -> bool {
        // The system forgets what it could not write: a second sync would be well, and say nothing.
        false
    }

    fn close(&mut self) -> Later<'_, ()> {
        Box::pin(async move {
            self.file = None;
            Ok(())
        })
    }

    fn give_up(mut self: Box<Self>) -> Later<'static, ()> {
        Box::pin(async move {
            let synced = self.synced;
            self.on_file(move |file| file.set_len(synced)).await
        })
    }
}
