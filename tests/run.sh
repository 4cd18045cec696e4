#!/bin/sh
# Every test, against the real Envoy, Pebble and Knot DNS. Needs Rust and Python 3, and root or
# sudo once, for Debian's packages of the last two. Arguments go to `cargo test`.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/tests/setup.sh"

setup_rust
setup_envoy
setup_pebble
setup_knot
setup_helm
cd "$root"
exec cargo test --locked "$@"
