//! `make demo`: a mesh of two nodes with a small shop, and a proof for each claim, with its
//! evidence. `KEEP=1` leaves it running to play with.

mod depot;
mod play;
mod proofs;
mod report;
mod shop;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use weft_harness::{Inside, enter};

use proofs::PROOFS;
use report::Report;
use shop::Shop;

#[derive(Debug, Parser)]
#[command(name = "demo", about = "A mesh of two nodes with a small shop, proved claim by claim")]
struct Arguments {
    /// Folder for manifests, logs and state; made anew.
    #[arg(long, default_value = "demo-state")]
    folder: PathBuf,
    /// Leave the mesh running after the proofs, until Ctrl-C.
    #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new())]
    keep: bool,
    /// Another ztunnel for one of the two nodes, `2=PATH`: whether both understand each other. Proofs of what only
    /// Weft's does then fail on that node.
    #[arg(long, value_name = "NODE=PATH")]
    peer: Option<Peer>,
    /// Only the proofs whose names contain one of these words.
    only: Vec<String>,
}

/// Another ztunnel, and where it runs.
#[derive(Debug, Clone)]
struct Peer {
    node: u8,
    program: PathBuf,
}

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (node, program) = text.split_once('=').context("not NODE=PATH")?;
        let program = PathBuf::from(program);
        ensure!(matches!(node, "1" | "2"), "the nodes are 1 and 2, not {node:?}");
        ensure!(program.is_file(), "{} is no file", program.display());
        Ok(Self { node: node.parse()?, program })
    }
}

fn main() -> ExitCode {
    let mut report = Report::new();
    // Before the command line is read: it may be the helper's.
    let inside = match enter() {
        Ok(inside) => inside,
        Err(error) => {
            report.failed("namespaces of its own", &error);
            return report.finish();
        }
    };
    let arguments = Arguments::parse();
    if let Err(error) = demonstrate(&arguments, &inside, &mut report) {
        report.failed("a mesh that comes up", &error);
    }
    report.finish()
}

fn demonstrate(arguments: &Arguments, inside: &Inside, report: &mut Report) -> Result<()> {
    report.note("starting a controller, two nodes with agent and ztunnel, the shop, and a depot with a waypoint");
    let shop = Shop::open(&arguments.folder, arguments.peer.as_ref())?;
    report.note(&shop.describe());
    for (name, proof) in PROOFS {
        let wanted = |word: &String| name.contains(word.as_str());
        if arguments.only.is_empty() || arguments.only.iter().any(wanted) {
            match proof(&shop) {
                Ok(evidence) => report.proved(name, &evidence),
                Err(error) => report.failed(name, &error),
            }
        }
    }
    if arguments.keep {
        let how = play::write_scripts(&shop, inside)?;
        report.summary();
        report.note(&how);
        loop {
            // Ctrl-C ends the program, and with it everything it started.
            std::thread::park();
        }
    }
    Ok(())
}
