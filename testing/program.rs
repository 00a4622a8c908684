//! Runs the program, and judges how it ended.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

/// The variable that names a point to stop at.
pub const STOP_AT: &str = "ONLINE_RECALL_STOP_AT";

/// The program as it was built beside the test that runs.
pub fn path() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("online-recall");
    assert!(program.exists(), "{} is not built", program.display());
    program
}

/// The program with these arguments, to be run within a directory.
pub fn command(within: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(path());
    command.args(args).current_dir(within).env_remove("RUST_LOG").env_remove(STOP_AT);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program with these arguments to its end.
pub fn run(within: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Outcome {
    end(command(within, args))
}

/// Runs the program with arguments that blanks divide to its end.
pub fn run_line(within: &Path, line: &str) -> Outcome {
    run(within, line.split_ascii_whitespace())
}

/// Runs a command to its end.
pub fn end(mut command: Command) -> Outcome {
    let shown = format!("{command:?}");
    outcome_of(command.spawn().unwrap(), shown)
}

/// Runs a command to its end with this on its standard input.
pub fn end_with_input(mut command: Command, input: &[u8]) -> Outcome {
    let shown = format!("{command:?}");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let outcome = outcome_of(child, shown);
    // A program that ends early reads less.
    writing.join().unwrap().unwrap_or(());
    outcome
}

/// Waits for the end of a started command; `shown` is how reports call it.
pub fn outcome_of(child: Child, shown: String) -> Outcome {
    let output = child.wait_with_output().unwrap();
    let outcome = Outcome {
        shown,
        status: output.status,
        printed: output.stdout,
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    let panicked = outcome.log.contains("panicked at") || outcome.log.contains("stack backtrace");
    assert!(!panicked, "a panic is no way to end: {outcome:#?}");
    outcome
}

/// How a run of the program ended.
pub struct Outcome {
    /// The command.
    pub shown: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub printed: Vec<u8>,
    /// Its standard error.
    pub log: String,
}

impl Outcome {
    /// Requires that it did what it was told.
    #[track_caller]
    pub fn done(self) -> Outcome {
        assert_eq!(self.status.code(), Some(0), "{self:#?}");
        self
    }

    /// Requires that it ended with this status, said all of this on standard error, and printed
    /// nothing.
    #[track_caller]
    pub fn refused(self, status: i32, said: &[&str]) -> Outcome {
        assert_eq!(self.status.code(), Some(status), "{self:#?}");
        for said in said {
            assert!(self.log.contains(said), "`{said}` is not said: {self:#?}");
        }
        assert!(self.printed.is_empty(), "{self:#?}");
        self
    }

    /// Whether it was killed by `kill -9`.
    pub fn killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// What it printed, as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.printed).unwrap()
    }

    /// What it printed: one JSON document, on one line.
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = self.text();
        assert_eq!(text.matches('\n').count(), 1, "{self:#?}");
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { shown, status, printed, log } = self;
        let printed = String::from_utf8_lossy(printed);
        write!(f, "{shown}\n{status}; it printed\n{printed}\nand logged\n{log}")
    }
}
