//! Arguments in, exit status out.

use std::process::ExitCode;

use clap::Parser;
use online_recall::cli::Cli;
use online_recall::cluster;
use online_recall::command::{self, Error};
use online_recall::retry::chain;

/// Keeps memory flat where some threads allocate what others free; `.cargo/config.toml` tunes it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    exit_on_panic();
    env_logger::Builder::new().parse_filters(&log_filter()).format_target(false).init();
    match command::run(&Cli::parse().command).and_then(|text| command::print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let status = error.status();
            if !matches!(error, Error::Checked) {
                report(&error);
            }
            ExitCode::from(status)
        }
    }
}

/// Says why the program ends: whatever is to be logged, this is not left out.
#[expect(clippy::print_stderr, reason = "the one message that is no line of the log")]
fn report(error: &(dyn std::error::Error + 'static)) {
    eprintln!("error: {}", chain(error));
}

/// What is logged: a level alone is that of this program, and of the libraries what goes wrong.
fn log_filter() -> String {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    match &*wanted {
        "" => log_filter_at("info"),
        level if level.parse::<log::LevelFilter>().is_ok() => log_filter_at(level),
        _ => wanted,
    }
}

fn log_filter_at(level: &str) -> String {
    format!("warn,online_recall={level},collector={level},fjall=error,lsm_tree=error")
}

/// Ends the process when any of its threads panics: the others would wait for that one for ever.
#[expect(clippy::disallowed_methods, reason = "where the process ends is said in this file")]
fn exit_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !cluster::reports(panic) {
            report(panic);
        }
        std::process::exit(1);
    }));
}
