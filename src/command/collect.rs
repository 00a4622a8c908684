//! `collect`: an agent at work, or judged.

mod numbers;
mod work;

use std::collections::BTreeMap;
use std::fmt::Write;

use collector::agent::{self, Agent};
use collector::findings::{Finding, Weight};
use collector::properties::{self, Properties, Variables};

use super::{Error, print};
use crate::config::Address;
use crate::{cli, http};

/// A file, read and judged.
struct Reading {
    file: Vec<u8>,
    agent: Agent,
    findings: Vec<Finding>,
}

pub(super) fn collect(args: &cli::Collect) -> Result<String, Error> {
    let path = args.file.display().to_string();
    let file =
        std::fs::read(&args.file).map_err(|source| properties::Error::Read { path, source })?;
    let reading = read(args, &file)?;
    if args.check {
        let text = told(&reading.findings) + &summary(&reading.findings) + "\n";
        if reading.is_refused(args) {
            print(&text)?;
            return Err(Error::Checked);
        }
        return Ok(text);
    }
    log(args, &reading.findings);
    if args.print {
        return Ok(printed(&reading.agent));
    }
    if reading.is_refused(args) {
        return Err(Error::Agent(summary(&reading.findings)));
    }
    let now = numbers::Now::default();
    let _http = serve(args, &now)?;
    work::work(args, reading, &now)?;
    Ok(String::new())
}

/// Reads the file of an agent.
fn read(args: &cli::Collect, file: &[u8]) -> Result<Reading, Error> {
    let (agent, findings) = agent::read(&properties(args, file)?, &args.name);
    Ok(Reading { file: file.to_owned(), agent, findings })
}

fn properties(args: &cli::Collect, file: &[u8]) -> Result<Properties, properties::Error> {
    let defined = args.define.iter().map(|define| define.split_once('=').unwrap_or((define, "")));
    let system: BTreeMap<_, _> =
        defined.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Properties::parse(file, &Variables::of_process(system))
}

/// The system property of this name.
fn defined<'a>(args: &'a cli::Collect, name: &str) -> Option<&'a str> {
    let mut values = args.define.iter().rev().filter_map(|define| define.split_once('='));
    values.find(|(key, _)| *key == name).map(|(_, value)| value)
}

impl Reading {
    /// Whether it is not to be started as it stands.
    fn is_refused(&self, args: &cli::Collect) -> bool {
        let worst = if args.strict { Weight::Warning } else { Weight::Mistake };
        let has_mistakes = self.findings.iter().any(|finding| finding.weight >= worst);
        (has_mistakes && !args.lenient) || self.agent.is_empty()
    }
}

/// Logs what was found.
fn log(args: &cli::Collect, findings: &[Finding]) {
    let at = args.file.display();
    for finding in findings {
        match finding.weight {
            Weight::Mistake => log::error!("{at}: {finding}"),
            Weight::Warning | Weight::Advice => log::warn!("{at}: {finding}"),
        }
    }
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

/// Answers over HTTP, where that is asked for: by our own option, or by Flume's properties.
fn serve(args: &cli::Collect, now: &numbers::Now) -> Result<Vec<http::Server>, Error> {
    const FLUMES: &str = "flume.monitoring.port";
    let mut servers = Vec::new();
    if let Some(address) = &args.listen {
        let address = Address::parse(address)
            .ok_or_else(|| Error::Usage(format!("--listen {address}: allowed: HOST:PORT")))?;
        servers.push(http::Server::start(
            &address,
            "--listen",
            numbers::router(now.clone(), false),
        )?);
    }
    let kind = defined(args, "flume.monitoring.type");
    let as_flume = match kind {
        None => return Ok(servers),
        Some(kind) if kind.eq_ignore_ascii_case("http") => true,
        Some(kind) if kind.to_lowercase().contains("prometheus") => false,
        Some(kind) => {
            let why = format!("flume.monitoring.type is {kind}; allowed: http, prometheus");
            return Err(Error::Usage(why));
        }
    };
    let port = defined(args, FLUMES).unwrap_or("41414");
    let port =
        port.parse().map_err(|_| Error::Usage(format!("{FLUMES} is {port}; allowed: a port")))?;
    let address = Address { host: "0.0.0.0".to_owned(), port };
    servers.push(http::Server::start(&address, FLUMES, numbers::router(now.clone(), as_flume))?);
    Ok(servers)
}
