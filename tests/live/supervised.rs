//! A cluster under supervisor, as sites run one: each process by itself, stopped by SIGKILL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use testing::kafka::wait_for;
use testing::oracle::Oracle;
use testing::program;
use testing::random::Random;

use super::input::Input;
use super::judge::Doubts;
use super::readers::python;
use super::site::{Plan, Site};

/// A supervisor, and the programs that it has started; all are killed when this is dropped.
struct Supervisor {
    child: Child,
    programs: PathBuf,
    config: PathBuf,
}

impl Supervisor {
    fn start(folder: &Path, config: &str) -> Supervisor {
        let programs = python().parent().unwrap().to_owned();
        let path = folder.join("supervisor.conf");
        fs::write(&path, config).unwrap();
        let child = Command::new(programs.join("supervisord"))
            .arg("-c")
            .arg(&path)
            .current_dir(folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let supervisor = Supervisor { child, programs, config: path };
        wait_for("a supervisor", || supervisor.control(&["pid"]).then_some(()));
        supervisor
    }

    /// Tells it something; says whether it did that.
    fn control(&self, words: &[&str]) -> bool {
        let mut command = Command::new(self.programs.join("supervisorctl"));
        command.arg("-c").arg(&self.config).args(words);
        command.output().unwrap().status.success()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.control(&["shutdown"]);
        self.child.wait().unwrap();
    }
}

#[test]
fn under_supervisor_which_stops_by_kill_in_a_loop_no_effect_is_lost_or_doubled() {
    let mut oracle = Oracle::start();
    let site = Site::new(Plan::shared(4), Input::usual(79, 3000, &mut oracle));
    let hosts = site.hosts(2);
    let (folder, program) = (site.folder().display(), program::path());
    let sets = site.sets().iter().map(|set| format!(" --set {set}")).collect::<String>();
    let programs = [0, 1].map(|index| {
        format!(
            "[program:p{index}]\ncommand={} run --config job.toml -n 2 -p {index} --hostfile {} \
             --set cluster.secret=of-the-test{sets}\n\
             directory={folder}\nautorestart=unexpected\nexitcodes=0,2,3\nstopsignal=KILL\n\
             startsecs=0\nstartretries=100000\nstderr_logfile={folder}/log-p{index}\n",
            program.display(),
            hosts.file(),
        )
    });
    let config = format!(
        "[supervisord]\nnodaemon=true\nlogfile={folder}/log-s\npidfile={folder}/pid-s\n\
         [unix_http_server]\nfile={folder}/socket\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{folder}/socket\n{}",
        programs.concat()
    );
    let supervisor = Supervisor::start(site.folder(), &config);
    let mut flow = site.flow(79, false);
    let mut random = Random::new(79);
    let mut doubts = std::collections::BTreeSet::new();
    for _ in 0..if testing::all() { 25 } else { 5 } {
        flow.some(100);
        let standing = site.mark();
        wait_for("a mark", || (site.mark() > standing + 1).then_some(()));
        flow.some(100);
        let which = *random.one_of(&[&["p0"][..], &["p1"], &["p0", "p1"]]);
        supervisor.control(&[&["stop"], which].concat());
        doubts.extend(site.under_way());
        // Where one is stopped, the other one ends; supervisor starts it again by itself.
        supervisor.control(&[&["start"], which].concat());
    }
    flow.rest();
    let ends = site.ends();
    wait_for("the end of what was produced", || {
        site.progress(&ends).is_some_and(|it| it.is_done).then_some(())
    });
    drop(supervisor);
    site.must_be_right(&mut oracle, &Doubts::Of(doubts));
}
