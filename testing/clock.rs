//! Clocks that are wrong: a process sees another date than the machine, and it jumps when a test says so.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

/// A clock, that of a process which is started under its [`variables`](Clock::variables).
pub struct Clock {
    library: String,
    ahead: String,
    folder: TempDir,
}

impl Clock {
    /// One that is right.
    ///
    /// # Panics
    ///
    /// If what lets a process see it cannot be built, by cc.
    pub fn new() -> Clock {
        let folder = crate::folder();
        let [library, ahead] =
            ["clock.so", "ahead"].map(|file| folder.path().join(file).display().to_string());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/clock.c");
        let ran = Command::new("cc").args(["-shared", "-fPIC", "-o", &library, source]).output();
        let ran = ran.expect("there is a C compiler");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let clock = Clock { library, ahead, folder };
        clock.be_ahead(0);
        clock
    }

    /// From now on it is so many seconds ahead.
    pub fn be_ahead(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(new, &self.ahead).unwrap();
    }

    /// What lets a process see it.
    pub fn variables(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", &self.library), ("CLOCK_AHEAD", &self.ahead)]
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}
