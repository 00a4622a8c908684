//! Arguments in, exit status out.

use std::process::ExitCode;

use clap::Parser;
use online_recall::cli::Cli;
use online_recall::command::{self, Error};

/// Keeps memory flat where some threads allocate what others free; `.cargo/config.toml` tunes it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    exit_on_panic();
    env_logger::Builder::from_env(
        env_logger::Env::default()
            .default_filter_or("warn,online_recall=info,fjall=error,lsm_tree=error"),
    )
    .format_target(false)
    .init();
    match command::run(&Cli::parse().command) {
        Ok(text) => {
            command::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let status = error.status();
            if !matches!(error, Error::Checked) {
                log::error!("{:#}", anyhow::Error::new(error));
            }
            ExitCode::from(status)
        }
    }
}

/// Ends the process when any of its threads panics: the others would wait for that one for ever.
#[expect(clippy::disallowed_methods, reason = "where the process ends is said in this file")]
fn exit_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(1);
    }));
}
