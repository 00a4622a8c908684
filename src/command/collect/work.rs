//! An agent at work: watched, audited, started anew when its file changes, and ended by signals.

use std::fs;
use std::time::{Duration, Instant};

use collector::agent::{self, Agent};
use collector::parts::{Parts, Sums};
use collector::running::{Opened, Running};
use collector::stop::{Stop, chain};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::numbers::Now;
use super::{Error, Reading, cli};

/// How long what waits in memory may take to be delivered once a signal asks the agent to end.
const DRAIN: Duration = Duration::from_secs(30);

/// How often it is looked whether the file has changed.
const LOOKED_EVERY: Duration = Duration::from_secs(2);

/// How often it is said what has become of the events.
const AUDITED_EVERY: Duration = Duration::from_secs(60);

/// Works until a signal asks it to end.
pub(super) fn work(args: &cli::Collect, reading: Reading, now: &Now) -> Result<(), Error> {
    let [stop, hurry] = signals()?;
    // What the agent at work is made of, and what was looked at last.
    let (mut file, mut seen) = (reading.file.clone(), reading.file);
    let mut running = Running::start(reading.agent, &[])?;
    now.set(running.parts().clone());
    log::info!("agent {} has started", args.name);
    let (mut audited, mut sums) = (Instant::now(), running.parts().begun());
    while !stop.wait(LOOKED_EVERY) {
        if audited.elapsed() >= AUDITED_EVERY {
            let latest = running.parts().sums(pause);
            audit(&latest.since(&sums), audited.elapsed());
            (audited, sums) = (Instant::now(), latest);
        }
        if args.no_reload_conf {
            continue;
        }
        // An editor may have taken it away for a moment.
        let Ok(changed) = fs::read(&args.file) else { continue };
        if changed == seen {
            continue;
        }
        seen = changed;
        let Some(agent) = taken_up(args, &seen) else { continue };
        audit(&running.parts().sums(pause).since(&sums), audited.elapsed());
        // Who watches holds the channels too, and their folders with them.
        now.set(Parts::default());
        let (next, is_new) = anew(args, running, agent, &file, &hurry)?;
        if is_new {
            file.clone_from(&seen);
        }
        running = next;
        now.set(running.parts().clone());
        (audited, sums) = (Instant::now(), running.parts().begun());
    }
    log::info!("agent {} ends: what waits in memory is delivered", args.name);
    let parts = running.parts().clone();
    let lost = lost(running.end(DRAIN, &hurry, &[]));
    audit(&parts.sums(pause).since(&sums), audited.elapsed());
    log::info!("agent {} has ended: events_lost={lost}", args.name);
    Ok(())
}

fn pause(time: Duration) {
    Stop::default().wait(time);
}

/// Says what has become of the events of so long.
fn audit(sums: &Sums, of: Duration) {
    let missing = sums.missing() + sums.unaccounted();
    let rate = sums.read as f64 / of.as_secs_f64();
    if missing == 0 {
        log::info!("audit: seconds={} {sums} rate={rate:.0}", of.as_secs());
    } else {
        log::error!("audit: events are missing: seconds={} {sums} rate={rate:.0}", of.as_secs());
    }
}

/// The agent of a changed file, unless there is something wrong with it.
fn taken_up(args: &cli::Collect, changed: &[u8]) -> Option<Agent> {
    let at = args.file.display();
    match super::read(args, changed) {
        Ok(reading) if reading.is_refused(args) => {
            super::log(args, &reading.findings);
            log::error!("{at} has changed, and is refused: the agent goes on as before");
            None
        }
        Ok(reading) => {
            super::log(args, &reading.findings);
            log::info!("{at} has changed: the agent starts anew");
            Some(reading.agent)
        }
        Err(error) => {
            log::error!("{at} has changed, and is refused: error={}", chain(&error));
            None
        }
    }
}

/// Ends an agent and starts another in its place; or the same again, of the old file, where that one does not
/// start. Says whether it is the other one. Channels that both have alike are handed over with what waits in
/// them; what waits in memory otherwise is delivered before, as long as it takes.
fn anew(
    args: &cli::Collect,
    running: Running,
    agent: Agent,
    old: &[u8],
    hurry: &Stop,
) -> Result<(Running, bool), Error> {
    let is_alike = |opened: &Opened| {
        let mut channels = agent.channels.iter();
        channels.any(|(name, settings)| *name == opened.name && *settings == opened.settings)
    };
    let channels = running.parts().channels.iter().map(|(opened, _)| opened);
    let kept: Vec<_> =
        channels.filter(|opened| is_alike(opened)).map(|opened| opened.name.clone()).collect();
    let mut left = running.end(Duration::MAX, hurry, &kept);
    // The others are closed before it starts: it may have their folders.
    lost(left.extract_if(.., |opened| !kept.contains(&opened.name)).collect());
    match Running::start(agent, &left) {
        Ok(running) => Ok((running, true)),
        Err(error) => {
            let error = chain(&error);
            log::error!("the changed file is refused: error={error}; the agent goes on as before");
            let (agent, _) = agent::read(&super::properties(args, old)?, &args.name);
            Ok((Running::start(agent, &left)?, false))
        }
    }
}

/// How many events are left in channels in memory, which are given up.
fn lost(channels: Vec<Opened>) -> usize {
    let mut lost = 0;
    for Opened { name, channel, .. } in channels {
        let left = channel.len();
        if left > 0 && !channel.is_durable() {
            log::error!("channel {name}: {left} events are lost: they were not delivered in time");
            lost += left;
        }
    }
    lost
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
