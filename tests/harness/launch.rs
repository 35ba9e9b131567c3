//! The last step before a program of the mesh: this executable, started as a helper, moves into a
//! network namespace, covers some files by others, and becomes the program.
//!
//! A helper process and not a hook between fork and exec, which can't be had without unsafe code.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};

/// First argument that asks for the helper; the order follows as JSON, then the program.
pub(crate) const FLAG: &str = "--weft-harness-launch";

/// Where a program is to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Network namespace.
    pub(crate) netns: PathBuf,
    /// Files or folders (first) that appear in the place of others (second).
    pub(crate) binds: Vec<(PathBuf, PathBuf)>,
}

/// Becomes the program when started as the helper; returns otherwise.
pub(crate) fn run_if_asked() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != FLAG) {
        return Ok(());
    }
    let order = arguments.next().context("the helper was given no order")?;
    let place: Place = serde_json::from_str(&order.to_string_lossy()).context("the order")?;
    let program = arguments.next().context("the helper was given no program")?;
    let rest: Vec<OsString> = arguments.collect();
    move_to(&place)?;
    let error = Command::new(&program).args(rest).exec();
    Err(error).with_context(|| format!("can't run {}", program.display()))
}

fn move_to(place: &Place) -> Result<()> {
    let netns = File::open(&place.netns)
        .with_context(|| format!("opening namespace {}", place.netns.display()))?;
    setns(netns, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("entering namespace {}", place.netns.display()))?;
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
    let none: Option<&str> = None;
    // Slave: network namespaces named later still show, our own mounts stay here.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .context("turning mounts into followers")?;
    for (source, target) in &place.binds {
        mount(Some(source), target, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("putting {} over {}", source.display(), target.display()))?;
    }
    Ok(())
}
