#!/bin/sh
# Every test, against the real Envoy, Pebble and Knot DNS, and in a real Chromium. Needs Rust and
# Python 3, and root or sudo once, for Debian's packages of the last three and of curl. Arguments go to
# `cargo test`.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/tests/setup.sh"

setup_rust
setup_envoy
setup_pebble
setup_knot
setup_helm
setup_chromium
setup_curl
cd "$root"
# Many tests wait for something most of the time.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(nproc) * 2))}"
exec cargo test --locked "$@"
