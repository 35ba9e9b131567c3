//! The command line: what the mesh is and does, as tables.
//!
//! ```text
//!  args ──▶ fetch (controller's or proxy's admin server, a file) ──▶ typed document ──▶ table | JSON
//! ```
//!
//! Everything between `fetch` and the text is pure. Nothing here needs Kubernetes.

mod args;
mod fetch;
mod proxy_config;
mod route_explain;
mod status;
mod table;
mod token;
mod version;
mod waypoint;
mod ztunnel_config;

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Args, Color, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    let use_color = match args.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stdout().is_terminal(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let output = match runtime {
        Ok(runtime) => runtime.block_on(run(args.command, use_color)),
        Err(error) => Err(error.into()),
    };
    let written = output.and_then(|text| match std::io::stdout().write_all(text.as_bytes()) {
        // `weft … | head` is no error.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    });
    weft_core::program::ended("weft", written)
}

async fn run(command: Command, use_color: bool) -> anyhow::Result<String> {
    match command {
        Command::Status(args) => status::run(&args, use_color).await,
        Command::ZtunnelConfig(args) => ztunnel_config::run(&args).await,
        Command::Waypoint(args) => waypoint::run(&args, use_color).await,
        Command::ProxyConfig(args) => proxy_config::run(&args).await,
        Command::Route(args) => route_explain::run(&args, use_color).await,
        Command::Token(args) => token::run(&args).await,
        Command::Version(args) => version::run(&args).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "weft", &mut script);
            Ok(String::from_utf8(script)?)
        }
    }
}
