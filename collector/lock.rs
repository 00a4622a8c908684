//! What one process has alone: a lock on a file, which ends with the process however that ends.

use std::fs::File;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How long a lock may be held by nobody: a command that is being started has a copy of every open file from
/// its fork to its exec, also of a lock that was let go meanwhile.
const MOMENT: Duration = Duration::from_secs(1);

/// Locks a file until it is dropped. Says whether it could be had; if not, another process has it.
///
/// # Errors
///
/// If the file system has no locks.
pub fn take(file: &File) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if begun.elapsed() >= MOMENT => return Ok(false),
            Err(Errno::WOULDBLOCK) => thread::park_timeout(MOMENT / 100),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_goes_in_a_moment_is_waited_for_and_one_that_stays_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let first = open();
        assert!(take(&first).unwrap());
        assert!(!take(&open()).unwrap());
        // As a fork has it.
        let copy = first.try_clone().unwrap();
        drop(first);
        let gone = thread::spawn(move || {
            thread::park_timeout(MOMENT / 10);
            drop(copy);
        });
        assert!(take(&open()).unwrap());
        gone.join().unwrap();
    }
}
