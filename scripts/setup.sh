#!/usr/bin/env bash
# Installs the packages that building and running need, where they are missing.
# Asks for root only then; downloads nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
# Ordinary users don't have these in their path, and the programs are found there all the same.
PATH="$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin"

# Program or file, and the Debian package that has it.
needed=(
  cc:gcc                       # links, and compiles aws-lc and jemalloc
  make:make
  /usr/include/stdlib.h:libc6-dev
  ip:iproute2
  nft:nftables
  nsenter:util-linux
  setpriv:util-linux
  go:golang-go                 # builds the programs of others that judge the waypoint
  /etc/ssl/certs/ca-certificates.crt:ca-certificates # for Go's module proxy
  python3:python3              # the second origin of the tests of requests that hide in others
)

has() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing=()
for entry in "${needed[@]}"; do
  has "${entry%%:*}" || missing+=("${entry##*:}")
done

# From Debian 13 and Ubuntu 24.04 on there is a package for the toolchain, too.
if ! has cargo && apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
  missing+=(rustup)
fi

if [ ${#missing[@]} -gt 0 ]; then
  if ! has apt-get; then
    echo "setup: missing: ${missing[*]} (Debian's names), and there is no apt-get here: install them, then try again" >&2
    exit 1
  fi
  become=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! has sudo; then
      echo "setup: missing: ${missing[*]}. As root: apt-get install ${missing[*]}" >&2
      exit 1
    fi
    become=(sudo)
  fi
  echo "setup: installing ${missing[*]}"
  "${become[@]}" apt-get update -q
  "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

version=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
if ! has cargo; then
  cat >&2 <<EOF
setup: cargo is missing. Weft needs Rust $version; this distribution's own packages are too old
(Debian 12 has 1.63) or absent. Install rustup as https://rustup.rs says, as your own user and
with no default toolchain if you like, then try again: rust-toolchain.toml names the rest.
EOF
  exit 1
fi
# Through rustup this gets the pinned toolchain the first time; another cargo must be that version.
found=$(cargo --version | cut -d ' ' -f 2)
if [ "$(printf '%s\n' "$version" "$found" | sort -V | head -n 1)" != "$version" ]; then
  echo "setup: cargo is $found, Weft needs $version: install rustup as https://rustup.rs says" >&2
  exit 1
fi
