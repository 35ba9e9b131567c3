//! The strangers' programs, built of pinned modules (`tests/conformance/go.mod`).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use weft_harness::config;

/// What is built: a name, and its package.
const PROGRAMS: [(&str, &str); 4] = [
    ("h2spec", "github.com/summerwind/h2spec/cmd/h2spec"),
    ("client", "google.golang.org/grpc/interop/client"),
    ("server", "google.golang.org/grpc/interop/server"),
    ("origin", "./origin"),
];

/// Beside cargo's own folders, where a clean build begins anew: `target/conformance`.
fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the running program's folder")?;
    // `target/<profile>/deps/<program>`
    let target = own.ancestors().nth(3).context("the program isn't in a target folder")?;
    Ok(target.join("conformance"))
}

/// Where a program was built.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    Ok(folder()?.join(name))
}

/// Builds all that isn't built yet. Inside of the namespaces there is no way to the module proxy, so this comes before them.
pub(crate) fn build() -> Result<()> {
    let folder = folder()?;
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    for (name, package) in PROGRAMS {
        let built = Command::new("go")
            .args(["build", "-mod=readonly", "-trimpath", "-o"])
            .arg(folder.join(name))
            .arg(package)
            .current_dir(&modules)
            // One build for all machines, by the toolchain that is here.
            .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-buildvcs=false")])
            .env("GOCACHE", folder.join("cache"))
            .output()
            .context("running go, which scripts/setup.sh installs")?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "go build {package}: {said}");
    }
    Ok(())
}

/// Whether this is the process that was started from outside, and not one of those that it becomes.
pub(crate) fn is_to_build() -> bool {
    let is_asked_only = std::env::args().any(|word| word == "--list");
    config::is_outermost() && !is_asked_only
}
