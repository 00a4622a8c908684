//! The oracle and the generator of `fixtures/`, in one Python process.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A Python process that waits for requests.
pub struct Oracle {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle::start()
    }
}

impl Oracle {
    /// Starts Python.
    pub fn start() -> Oracle {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle_process.py");
        let mut process = Command::new("python3")
            .args([OsStr::new("-B"), script.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs the oracle");
        let requests = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Oracle { process, requests, answers }
    }

    /// Generates into a directory, with options that blanks divide.
    pub fn generate(&mut self, out: &Path, options: &str) {
        let out = ["--out", out.to_str().unwrap()];
        let options: Vec<_> = options.split_ascii_whitespace().chain(out).collect();
        self.ask("generate", &options);
    }

    /// Writes what must come of a plan, whose paths start from the directory that it stands in.
    pub fn judge(&mut self, plan: &Path, out: &Path) {
        self.ask("oracle", &[plan.to_str().unwrap(), out.to_str().unwrap()]);
    }

    fn ask(&mut self, name: &str, args: &[&str]) {
        let request: Vec<_> = std::iter::once(name).chain(args.iter().copied()).collect();
        let mut requests = self.requests.as_ref().unwrap();
        writeln!(requests, "{}", json!(request)).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer)
            .unwrap_or_else(|_| panic!("the oracle died on {request:?}; see above"));
        assert_eq!(answer, json!({ "failed": null }), "{request:?}");
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.requests.take());
        self.process.wait().unwrap();
    }
}
