//! The shop: one small program with roles, and the tools to call, load and measure it.
//!
//! ```text
//! web ──▶ checkout ──▶ payment
//!              └─────▶ inventory        intruder: has no business with any of them
//! ```

mod bench_client;
mod bench_http;
mod bench_server;
mod call;
mod client;
mod figures;
mod load;
mod mood;
mod serve;
mod socket;
mod spans;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "shop", about = "A small shop of HTTP services, and tools to drive it")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves one role of the shop.
    Serve(serve::Arguments),
    /// Makes one request and shows what came back.
    Call(call::Arguments),
    /// Makes requests at a steady rate and counts what failed.
    Load(load::Arguments),
    /// Answers the bench client: echo, sink, source and one-shot connections on one port.
    BenchServer(bench_server::Arguments),
    /// Answers small requests of HTTP/1.1 for the bench client.
    BenchHttp(bench_http::Arguments),
    /// Measures latency, request rate, bulk, new connections, or holds connections open.
    BenchClient(bench_client::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Call(arguments) => call::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::BenchServer(arguments) => bench_server::run(&arguments),
        Command::BenchHttp(arguments) => bench_http::run(&arguments),
        Command::BenchClient(arguments) => bench_client::run(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say_error(&format!("shop: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line of output.
fn say(line: &str) {
    use std::io::Write as _;
    // Whoever reads it has gone: nobody left to tell.
    let _gone = writeln!(std::io::stdout().lock(), "{line}");
}

fn say_error(line: &str) {
    use std::io::Write as _;
    let _gone = writeln!(std::io::stderr().lock(), "{line}");
}
