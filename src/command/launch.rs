//! `launch`: all processes of a cluster on this machine; they are watched, and started again.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Error as CommandError;
use crate::cli;
use crate::config::{self, Config, Need};

/// How often it is looked whether a process has ended.
const LOOKED_EVERY: Duration = Duration::from_millis(20);

/// How long the others have to say why they end, when one has ended, before they are killed.
const GRACE: Duration = Duration::from_secs(1);

/// How long processes have to end that were asked to: longer than they take to be done with what was read.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first wait before a new start; each later one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// What ran for so long has started well: the next wait is the first again.
const WELL: Duration = Duration::from_secs(10);

/// The variable that holds a secret that was drawn.
const SECRET: &str = "ONLINE_RECALL_LAUNCH_SECRET";

/// Why processes are not started, or not again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cluster has no store.
    #[error("a cluster works with live servers: a store has one process")]
    Store,
    /// Something that they need cannot be had.
    #[error("cannot {what}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A process has ended in a way that a new start would not mend.
    #[error("process {index} has ended with status {status}, which a new start would not mend")]
    Ended {
        /// Which.
        index: usize,
        /// Its exit status.
        status: u8,
    },
}

impl Error {
    /// The exit status that tells it.
    pub(super) fn status(&self) -> u8 {
        match self {
            Error::Store => 2,
            Error::Io { .. } => 1,
            Error::Ended { status, .. } => *status,
        }
    }
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what, source }
}

/// How a generation of processes has ended.
enum Came {
    /// All with 0: as they were asked to.
    Done,
    /// One has failed, and nobody has asked it to end.
    Failed,
}

pub(super) fn launch(args: &cli::Launch) -> Result<String, CommandError> {
    let config = Config::load(Some(&args.config), &args.set, Need::Everything)?;
    if let Some(config::Outside::Embedded { .. }) = config.outside {
        return Err(Error::Store.into());
    }
    let mut heard = Signals::new([SIGTERM, SIGINT]).map_err(CommandError::Signals)?;
    let (hear, signals) = crossbeam_channel::unbounded();
    std::thread::spawn(move || {
        // Nobody hears the signals of a launcher that has ended.
        heard.forever().take_while(|signal| hear.send(*signal).is_ok()).for_each(drop);
    });
    let folder = Folder::make().map_err(io("make a folder for the host file"))?;
    let secret = match config.cluster.secret {
        Some(_) => None,
        None => Some(draw().map_err(io("draw a secret"))?),
    };
    let mut wait = FIRST_WAIT;
    // What --reset and --after-loss ask for is done once.
    let has_begun = Arc::new(AtomicBool::new(false));
    loop {
        let begun = Instant::now();
        let mut processes = Processes::start(args, &folder.0, secret.as_deref(), &has_begun)?;
        match processes.watch(&signals)? {
            Came::Done => return Ok(String::new()),
            Came::Failed => {}
        }
        drop(processes);
        if begun.elapsed() >= WELL {
            wait = FIRST_WAIT;
        }
        log::warn!("starting all processes again: wait_ms={}", wait.as_millis());
        match signals.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Ok(String::new()),
        }
        wait = (wait * 2).min(config.cluster.restart_wait);
    }
}

/// A folder that only this user sees, as long as this lives.
struct Folder(PathBuf);

impl Folder {
    fn make() -> io::Result<Folder> {
        let name = format!("online-recall-launch-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            // Of a process that had this number before, and was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&path)?;
                fs::DirBuilder::new().mode(0o700).create(&path)?;
            }
            made => made?,
        }
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            log::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

fn draw() -> io::Result<String> {
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a host file of ports that are free now.
fn write_hosts(path: &Path, processes: u16) -> io::Result<()> {
    // All at once, so that none is given twice.
    let free: io::Result<Vec<_>> =
        (0..processes).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    for listener in free? {
        writeln!(file, "{}", listener.local_addr()?)?;
    }
    Ok(())
}

/// Processes that run; they are killed when this is dropped.
struct Processes {
    /// With how they have ended.
    all: Vec<(Child, Option<ExitStatus>)>,
    /// What passes on what each logs, to its end.
    logs: Vec<JoinHandle<()>>,
}

impl Processes {
    fn start(
        args: &cli::Launch,
        folder: &Path,
        secret: Option<&str>,
        has_begun: &Arc<AtomicBool>,
    ) -> Result<Processes, Error> {
        let is_first = !has_begun.load(Ordering::Relaxed);
        let hosts = folder.join("hosts");
        write_hosts(&hosts, args.processes).map_err(io("write the host file"))?;
        let program = std::env::current_exe().map_err(io("find this program"))?;
        let mut processes = Processes { all: Vec::new(), logs: Vec::new() };
        for index in 0..args.processes {
            let mut command = Command::new(&program);
            command.arg("run").arg("--config").arg(&args.config);
            command.args(args.set.iter().flat_map(|set| ["--set", set]));
            if let Some(secret) = secret {
                command.args(["--set", &format!("cluster.secret=${{env:{SECRET}}}")]);
                command.env(SECRET, secret);
            }
            for (flag, value) in [
                ("-w", u32::from(args.workers)),
                ("-n", args.processes.into()),
                ("-p", index.into()),
                ("--launched-by", std::process::id()),
            ] {
                command.arg(flag).arg(value.to_string());
            }
            command.arg("--hostfile").arg(&hosts);
            if is_first && args.reset && index == 0 {
                command.arg("--reset");
            }
            if is_first && args.after_loss {
                command.arg("--after-loss");
            }
            // In a group of its own: what a terminal says comes to the launcher alone, which passes it on.
            command.stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0);
            let mut child = command.spawn().map_err(io("start a process"))?;
            let log = child.stderr.take().expect("it was just asked for");
            processes.all.push((child, None));
            let begins = Arc::clone(has_begun);
            let pass = move || pass_on(index, log, &begins);
            let spawned = std::thread::Builder::new().name(format!("log-{index}")).spawn(pass);
            processes.logs.push(spawned.map_err(io("start a thread"))?);
        }
        Ok(processes)
    }

    /// Waits until all have ended.
    fn watch(&mut self, signals: &Receiver<i32>) -> Result<Came, Error> {
        let mut asked: Option<Instant> = None;
        let mut first_ended: Option<Instant> = None;
        loop {
            if signals.recv_timeout(LOOKED_EVERY).is_ok() {
                asked.get_or_insert_with(Instant::now);
                self.signal(Signal::TERM);
            }
            let ended = self.look()?;
            if let Some((index, status)) = ended {
                if first_ended.is_none() {
                    log::warn!("a process has ended: process={index} {status}");
                }
                first_ended.get_or_insert_with(Instant::now);
                // One that was asked to end passes it on to the others, if they know each other already.
                if asked.is_none() && was_asked(status) {
                    asked = Some(Instant::now());
                    self.signal(Signal::TERM);
                }
            }
            if self.all.iter().all(|(_, status)| status.is_some()) {
                return self.came(asked.is_some());
            }
            let patience = if asked.is_some() { PATIENCE } else { GRACE };
            let since = match (asked, first_ended) {
                (Some(asked), _) => Some(asked),
                (None, ended) => ended,
            };
            if since.is_some_and(|since| since.elapsed() > patience) {
                self.signal(Signal::KILL);
            }
        }
    }

    /// Looks who has ended; returns one that was found now.
    fn look(&mut self) -> Result<Option<(usize, ExitStatus)>, Error> {
        let mut found = None;
        for (index, (child, status)) in self.all.iter_mut().enumerate() {
            if status.is_none() {
                *status = child.try_wait().map_err(io("wait for a process"))?;
                found = found.or(status.map(|status| (index, status)));
            }
        }
        Ok(found)
    }

    fn came(&self, asked: bool) -> Result<Came, Error> {
        let statuses = || self.all.iter().map(|(_, status)| status.unwrap_or_default());
        // 2: the configuration is wrong; 3: a newer start does the work.
        for wanted in [3, 2] {
            if let Some(index) = statuses().position(|status| status.code() == Some(wanted)) {
                let status = u8::try_from(wanted).expect("it is small");
                return Err(Error::Ended { index, status });
            }
        }
        let was_killed = statuses().any(|status| !was_asked(status) && status.signal().is_some());
        match asked && !was_killed || statuses().all(|status| status.success()) {
            true => Ok(Came::Done),
            false if asked => {
                log::warn!("not all ended in time: what was read and is not done is bound");
                Ok(Came::Done)
            }
            false => Ok(Came::Failed),
        }
    }

    fn signal(&self, signal: Signal) {
        for (child, _) in self.all.iter().filter(|(_, status)| status.is_none()) {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
                log::debug!("a process does not hear a signal: {error}");
            }
        }
    }
}

/// Whether a process has ended because somebody asked it to, also before it listened to that.
fn was_asked(status: ExitStatus) -> bool {
    status.success() || matches!(status.signal(), Some(SIGTERM | SIGINT))
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        for (child, status) in &mut self.all {
            if status.is_none()
                && let Err(error) = child.wait()
            {
                log::warn!("cannot wait for a process: {error}");
            }
        }
        // What they said last is passed on.
        for log in self.logs.drain(..) {
            log.join().expect("a panic ends the process");
        }
    }
}

/// Passes on what a process logs, each line with its index; notes when it says that the job has begun.
fn pass_on(index: u16, log: impl Read, has_begun: &AtomicBool) {
    let mut lines = BufReader::new(log);
    let mut line = format!("{index}: ").into_bytes();
    let start = line.len();
    while let Ok(1..) = lines.read_until(b'\n', &mut line) {
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        if io::stderr().write_all(&line).is_err() {
            return;
        }
        if memchr::memmem::find(&line, b" begun: job=").is_some() {
            has_begun.store(true, Ordering::Relaxed);
        }
        line.truncate(start);
    }
}
