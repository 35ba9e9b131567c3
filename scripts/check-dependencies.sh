#!/usr/bin/env bash
# Fails if one of our crates depends on another against the direction of the design:
#   proto <- core <- {ztunnel, waypoint, controller, cni, cli}; cli may use the controller's library.
# Nobody depends on ztunnel, waypoint or cni; they meet in running programs only. The exception is weft-parsers-fuzz,
# which ships nowhere and hands bytes to all parsers.
set -euo pipefail
cd "$(dirname "$0")/.."

allowed() {
  case $1 in
    weft-proto) echo ;;
    weft-core) echo weft-proto ;;
    weft-ztunnel | weft-waypoint | weft-controller | weft-cni) echo weft-proto weft-core ;;
    weft) echo weft-proto weft-core weft-controller ;;
    weft-tests) echo weft-proto weft-core weft-controller ;;
    weft-parsers-fuzz) echo weft-proto weft-core weft-ztunnel weft-waypoint weft-controller ;;
    weft-bench) echo weft-proto weft-core weft-controller weft-tests ;;
    *) return 1 ;;
  esac
}

# Our crates are the packages without a source in the lock file.
crates=$(awk '/^\[\[package\]\]/ { name = ""; source = 0 }
  /^name = / { name = $3; gsub(/"/, "", name) }
  /^source = / { source = 1 }
  /^$/ { if (name != "" && !source) print name; name = "" }
  END { if (name != "" && !source) print name }' Cargo.lock)
[ -n "$crates" ] || { echo "check-dependencies: no crates in Cargo.lock" >&2; exit 1; }

status=0
for crate in $crates; do
  if ! may=$(allowed "$crate"); then
    echo "check-dependencies: $crate is new: say in $0 what it may depend on" >&2
    status=1
    continue
  fi
  tree=$(cargo tree --locked --package "$crate" --depth 1 --edges all --prefix none --format '{p}')
  for used in $(tail -n +2 <<<"$tree" | cut -d ' ' -f 1 | grep -E '^weft(-|$)' | sort -u || true); do
    case " $may " in
      *" $used "*) ;;
      *)
        echo "check-dependencies: $crate must not depend on $used (may: ${may:-none of ours})" >&2
        status=1
        ;;
    esac
  done
done
[ "$status" -eq 0 ] && echo "check-dependencies: $(wc -w <<<"$crates") crates, all in direction"
exit "$status"
