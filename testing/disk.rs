//! A disk that can be full: a small file system in memory, which only root can mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kafka::wait_for;

/// A mounted file system of a few megabytes; gone when this is dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of this size, as `mount` writes it, on this new folder; where the system does not let it,
    /// says that the test is skipped.
    #[track_caller]
    pub fn mount(at: &Path, size: &str) -> Option<Disk> {
        fs::create_dir(at).unwrap();
        if mounts(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], at) {
            return Some(Disk(at.to_owned()));
        }
        eprintln!("SKIPPED: a full disk cannot be tested here, since mount needs root");
        None
    }

    /// Gives it another size.
    #[track_caller]
    pub fn grow(&self, size: &str) {
        assert!(mounts(&["-o", &format!("remount,size={size}")], &self.0));
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Who wrote to it may still be ending.
        wait_for("an idle disk", || {
            Command::new("umount").arg(&self.0).output().unwrap().status.success().then_some(())
        });
    }
}

fn mounts(args: &[&str], at: &Path) -> bool {
    let mount = Command::new("mount").args(args).arg(at).output();
    mount.is_ok_and(|output| output.status.success())
}
