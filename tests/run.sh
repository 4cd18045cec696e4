#!/bin/sh
# Every test, against the real Envoy and the real Pebble. Needs Rust and Python 3, and root or
# sudo once, for Debian's package of Pebble. Arguments go to `cargo test`.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/tests/setup.sh"

setup_rust
setup_envoy
setup_pebble
setup_helm
cd "$root"
exec cargo test --locked "$@"
