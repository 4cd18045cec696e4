#!/bin/sh
# The whole way from OpenSVC to a request answered through a real Envoy, on one machine.
# Needs Rust and Python 3. Arguments go to `osvc-igw demo`, for example --check.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/tests/setup.sh"

setup_rust
setup_envoy
cd "$root"
cargo build --release --locked
exec "${CARGO_TARGET_DIR:-target}/release/osvc-igw" demo "$@"
