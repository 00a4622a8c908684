//! What the tests of online-recall share. They drive the real program from outside, and judge what it
//! leaves behind by the oracle in `fixtures/`.
//!
//! ```text
//!  random ──▶ story ──plays──▶ program ──▶ exported ─┐
//!               │                                    ├─ the same bytes?
//!               └───── plan ─▶ oracle ───▶ exported ─┘
//! ```
//!
//! - [`program`]: runs the program and judges how it ended;
//! - [`oracle`]: the oracle and the generator, in one Python process;
//! - [`place`]: a directory to run it in;
//! - [`disk`]: a disk that can be full;
//! - [`proxy`]: what networks do to connections, between the program and a server;
//! - [`exported`]: the files that both write, compared;
//! - [`flume`]: agents of Flume, and its client;
//! - [`kafka`]: topics on a real broker, made and filled from outside;
//! - [`random`]: reproducible random numbers;
//! - [`servers`]: real servers on loopback;
//! - [`seeds`]: runs a test for many seeds, and says how to run it again for one;
//! - [`story`]: log files that grow, are renamed and packed, and the runs that read them;
//! - [`tls`]: TLS before servers that speak none, and certificates.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "here a panic is a test's verdict, and what is printed is its report"
)]

use std::path::{Path, PathBuf};

pub mod clock;
pub mod disk;
pub mod exported;
pub mod flume;
pub mod kafka;
pub mod oracle;
pub mod place;
pub mod program;
pub mod proxy;
pub mod random;
pub mod seeds;
pub mod servers;
pub mod story;
pub mod tls;

/// The project's own directory.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The committed fixtures, with `expected/`.
pub fn small() -> PathBuf {
    project().join("fixtures/small")
}

/// Whether the full numbers are asked for, which take many minutes.
pub fn all() -> bool {
    std::env::var_os("ONLINE_RECALL_TEST_ALL").is_some_and(|value| value == "1")
}

/// An empty directory, removed when it is dropped.
///
/// In memory where the system has much of it: a killed process loses nothing there that it would keep
/// on a disk, and a thousand small stores need not wait for one.
pub fn folder() -> tempfile::TempDir {
    const ROOM: u64 = 2 << 30;
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |there| there.f_bavail * there.f_frsize);
    if room >= ROOM
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}

/// Copies a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}
