//! What the harness reads from its environment, in one place.
#![expect(clippy::disallowed_methods, reason = "this is the config module")]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Set by the outer process for the inner one: the namespaces have been made.
pub(crate) const INSIDE: &str = "WEFT_HARNESS_INSIDE";
/// `1`: make a user namespace even as root, as an ordinary user must.
pub(crate) const FORCE_USER_NAMESPACE: &str = "WEFT_HARNESS_USERNS";
/// Folder of the binaries to run; by default where the running one is.
pub(crate) const BINARIES: &str = "WEFT_BIN_DIR";
/// Folder that receives the logs of failed tests.
pub(crate) const FAILED_LOGS: &str = "WEFT_TEST_LOGS";

/// The value of a variable.
pub(crate) fn value(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether a variable is set to something other than empty or `0`.
#[must_use]
pub fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0")
}

/// The search path with the folders of `ip` and `nft`, which ordinary users may not have in it.
#[must_use]
pub fn path_with_system_programs() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{own}:/usr/sbin:/sbin")
}

/// Whether this is the process that somebody started, and neither the one in the namespaces nor a helper of that.
#[must_use]
pub fn is_outermost() -> bool {
    let is_helper = std::env::args_os().nth(1).is_some_and(|first| first == crate::launch::FLAG);
    !is_helper && !is_set(INSIDE)
}

/// Where logs of failed tests go, if anywhere: the state folders themselves vanish.
#[must_use]
pub fn failed_logs_folder() -> Option<PathBuf> {
    std::env::var(FAILED_LOGS).ok().filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The built program called `name`.
///
/// # Errors
/// When it isn't there, with the command that builds it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folders: Vec<PathBuf> = match std::env::var(BINARIES) {
        Ok(folder) if !folder.is_empty() => vec![PathBuf::from(folder)],
        // Test binaries are in `deps/` below the folder of the programs.
        _ => {
            let own = std::env::current_exe().context("finding the running program's folder")?;
            own.ancestors().skip(1).take(2).map(Path::to_path_buf).collect()
        }
    };
    for folder in &folders {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!(
        "{name} is not built: none in {}; run `make build`, or set {BINARIES}",
        folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ")
    )
}
