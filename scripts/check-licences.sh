#!/usr/bin/env bash
# Licences, bans and duplicates by deny.toml, where cargo-deny is installed: it is no Debian package.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo deny --version >/dev/null 2>&1; then
  echo "check-licences: NOT CHECKED: cargo-deny isn't installed (cargo install cargo-deny)"
  exit 0
fi
# Advisories need a data base from the network; they are another job.
cargo deny --locked check bans licenses sources
