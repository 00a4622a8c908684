//! `collect`: an agent at work, or judged.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use collector::agent::{self, Agent};
use collector::findings::{Finding, Weight};
use collector::properties::{Properties, Variables};
use collector::running::Running;
use collector::stop::Stop;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Error, print};
use crate::cli;

/// How long what waits in memory may take to be delivered once a signal asks the agent to end.
const DRAIN: Duration = Duration::from_secs(30);

pub(super) fn collect(args: &cli::Collect) -> Result<String, Error> {
    let mut system = BTreeMap::new();
    for define in &args.define {
        let (key, value) = define.split_once('=').unwrap_or((define, ""));
        system.insert(key.to_owned(), value.to_owned());
    }
    let properties = Properties::read(&args.file, &Variables::of_process(system))?;
    let (agent, findings) = agent::read(&properties, &args.name);
    let refused = refused(args, &findings);
    if args.check {
        let text = told(&findings) + &summary(&findings) + "\n";
        return if refused { print(&text).and(Err(Error::Checked)) } else { Ok(text) };
    }
    for finding in &findings {
        let at = args.file.display();
        match finding.weight {
            Weight::Mistake => log::error!("{at}: {finding}"),
            Weight::Warning | Weight::Advice => log::warn!("{at}: {finding}"),
        }
    }
    if args.print {
        return Ok(printed(&agent));
    }
    if (refused && !args.lenient) || agent.is_empty() {
        return Err(Error::Agent(summary(&findings)));
    }
    work(agent)
}

/// Whether an agent with these findings is not as it should be.
fn refused(args: &cli::Collect, findings: &[Finding]) -> bool {
    let worst = if args.strict { Weight::Warning } else { Weight::Mistake };
    findings.iter().any(|finding| finding.weight >= worst)
}

fn told(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

fn summary(findings: &[Finding]) -> String {
    let count = |weight| findings.iter().filter(|finding| finding.weight == weight).count();
    let of = |many: usize, one: &str| format!("{many} {one}{}", if many == 1 { "" } else { "s" });
    let warnings = count(Weight::Warning) + count(Weight::Advice);
    format!("{}, {}", of(count(Weight::Mistake), "mistake"), of(warnings, "warning"))
}

/// Every key with what it comes to, as properties.
fn printed(agent: &Agent) -> String {
    let mut text = String::new();
    for (path, settings) in &agent.settings {
        for setting in settings {
            let (mark, value) = match (&setting.value, setting.given) {
                (Some(value), true) => ("", value),
                (Some(value), false) => ("#default# ", value),
                (None, _) => continue,
            };
            writeln!(text, "{mark}{}.{path}.{} = {value}", agent.name, setting.key)
                .expect("a string takes it");
        }
    }
    text
}

fn work(agent: Agent) -> Result<String, Error> {
    let [stop, hurry] = signals()?;
    let name = agent.name.clone();
    let running = Running::start(agent, &[])?;
    log::info!("agent {name} has started");
    while !stop.wait(Duration::from_secs(60)) {}
    let mut lost = 0;
    for opened in running.end(DRAIN, &hurry) {
        let left = opened.channel.len();
        if left > 0 && !opened.channel.is_durable() {
            let channel = &opened.name;
            log::error!(
                "channel {channel}: {left} events are lost: they were not delivered in time"
            );
            lost += left;
        }
    }
    log::info!("agent {name} has ended: {lost} events lost");
    Ok(String::new())
}

/// What is stopped by the first signal that asks the agent to end, and by the second.
fn signals() -> Result<[Stop; 2], Error> {
    let stops = [Stop::default(), Stop::default()];
    let told = stops.clone();
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::Signals)?;
    std::thread::spawn(move || {
        for (nth, _) in signals.forever().enumerate() {
            told[nth.min(1)].stop();
        }
    });
    Ok(stops)
}
