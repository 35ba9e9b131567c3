//! The controller's program: arguments, logs, signals.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use weft_controller::ca::{Authority, Root};
use weft_controller::config::{Cli, Command, Config, RunArgs, TokenArgs};
use weft_controller::owner;
use weft_controller::run::Controller;
use weft_controller::serving_limits::LEAF_TTL_DEFAULT;
use weft_controller::sources::files::{FolderSettings, watch_folder};
use weft_controller::state_dir::StateDir;
use weft_controller::tokens::TokenIssuer;
use weft_core::program;
use weft_core::signals::Signals;
use weft_core::telemetry::{self, LogSettings};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Token(args)) => print_token(&args),
        Some(Command::Run(args)) => run(*args),
        None => run(cli.run),
    };
    program::ended("weft-controller", outcome)
}

fn run(args: RunArgs) -> anyhow::Result<()> {
    let settings = LogSettings { levels: args.log.clone(), format: args.log_format.into() };
    // Writes out what is left, at any end but a panic's.
    let (log, _guard) = telemetry::init(&settings).context("--log")?;
    let config = Config::try_from(args)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut signals = Signals::new()?;
        let folder = watch_folder(FolderSettings::new(&config.manifests))?;
        let inputs = owner::spawn(folder, owner::settings(&config));
        let controller = Controller::start(&config, inputs).await?;
        controller.metrics().count_dropped_lines(log);
        let stop = async move {
            signals.next().await;
            tracing::info!("stopping");
        };
        controller.run_until(stop).await?;
        Ok(())
    })
}

fn print_token(args: &TokenArgs) -> anyhow::Result<()> {
    use std::io::Write;
    let unused = "the state folder has no root yet: start the controller with it first";
    let state = StateDir::open_existing(&args.state)?.context(unused)?;
    let tokens = TokenIssuer::open_existing(&state, &args.token_issuer, &args.root_namespace)?;
    let root = match &args.ca_dir {
        Some(folder) => {
            Authority::new(Root::plugged_in(folder)?, LEAF_TTL_DEFAULT)?.anchor().clone()
        }
        None => Root::existing_certificate(&state)?.context(unused)?,
    };
    let token = tokens.join_token(&root, &args.node, args.ttl)?;
    writeln!(std::io::stdout(), "{}", token.to_line())?;
    Ok(())
}
