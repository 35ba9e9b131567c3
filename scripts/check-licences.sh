#!/usr/bin/env bash
# Licences, bans and duplicates by deny.toml. Advisories need a data base from the network; they are another job.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools
deny=$tools/bin/cargo-deny
if [ "$("$deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
  # It is no Debian package. Without optimisations it is built in a quarter of the time, and runs for seconds.
  CARGO_TARGET_DIR=$tools/build cargo install cargo-deny \
    --version "=$version" --locked --no-default-features --debug --force --root "$tools"
  rm -rf "$tools/build"
fi
"$deny" --locked check bans licenses sources
