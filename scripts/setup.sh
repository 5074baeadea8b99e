#!/usr/bin/env bash
# Set-up in steps, each of which does nothing when its result is already there:
#   packages      .venv with the project and what it needs to run
#   packages-dev  the same, with what tests and checks need
#   libraries     system libraries that mediapipe loads
#   weights       model files, verified, in the cache folder
#   browser       a Chromium or Chrome for the browser tests
#   tools         what `make lock`, `make sbom` and `make audit` need, apart from .venv
# Settings: PYTHON (interpreter for .venv), TORCH=cuda (default: the CPU build of torch).
set -euo pipefail
cd "$(dirname "$0")/.."

py=.venv/bin/python
libraries="libgl1 libegl1 libgles2 libglib2.0-0"
torch_index=https://download.pytorch.org/whl/cpu
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

# Two -q: errors only. Without them a fresh installation prints hundreds of lines.
pip_install() { "$py" -m pip install -qq "$@"; }

apt_install() {
    local output
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "missing system packages; run: sudo apt-get install -y --no-install-recommends $*"
    fi
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    if ! output=$(apt-get update 2>&1 && apt-get install -y --no-install-recommends "$@" 2>&1); then
        echo "$output" >&2
        fail "apt-get could not install $*; see above"
    fi
}

usable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 found; install one or name it: make setup PYTHON=/path/to/it"
}

make_venv() {
    if [ -x "$py" ] && usable "$py"; then return; fi
    local python
    python=$(find_python)
    # Debian and Ubuntu ship venv without what it needs; their package for it is versioned.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # The libraries come later; asked for here, they are in the same line for who is not root.
        # shellcheck disable=SC2086
        apt_install "python3.$("$python" -c 'import sys; print(sys.version_info[1])')-venv" $libraries
    fi
    say "creating .venv with $("$python" --version)"
    rm -rf .setup
    "$python" -m venv --clear .venv
}

# Prints "installed", or "cpu" when pip's configured folders of wheels offer a CPU build, or nothing.
# No index is asked: an index may answer with the CUDA build, gigabytes of it.
torch_at_hand() {
    { "$py" -m pip install -qq --dry-run --no-index --no-deps --report - "$1" 2>/dev/null ||
        true; } | "$py" -c '
import json, sys
text = sys.stdin.read()
if text.strip():
    found = [item["metadata"]["version"] for item in json.loads(text)["install"]]
    print("installed" if not found else "cpu" if found[0].endswith("+cpu") else "")'
}

answers() { timeout 5 "$py" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1])' "$1" 2>/dev/null; }

install_torch() {
    local wanted at_hand
    wanted=$("$py" -c '
import tomllib
needs = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]
print(next(need for need in needs if need.startswith("torch")))')
    if [ "${TORCH:-cpu}" = cuda ]; then
        if "$py" -m pip freeze 2>/dev/null | grep -q '^torch==.*+cpu'; then
            "$py" -m pip uninstall -qq -y torch
        fi
        say "installing torch with CUDA"
        pip_install "$wanted"
        return
    fi
    at_hand=$(torch_at_hand "$wanted")
    if [ "$at_hand" = installed ]; then return; fi
    say "installing torch (CPU build)"
    if [ "$at_hand" = cpu ]; then
        pip_install --no-index --no-deps "$wanted"
    elif answers "$torch_index/torch/"; then
        pip_install --no-deps --index-url "$torch_index" "$wanted"
    else
        say "$torch_index does not answer: taking torch from pip's configured index (may be large)"
        pip_install "$wanted"
    fi
}

# Versions and hashes as locked. Where an index lacks one of them, what pyproject.toml allows; where
# a file is not the one that was locked, nothing.
install_project() {
    local extra=$1 output
    if output=$(pip_install --require-hashes --no-deps -r "requirements$extra.lock" 2>&1); then
        pip_install --no-deps --no-build-isolation -e .
        return
    fi
    if grep -q 'DO NOT MATCH THE HASHES' <<<"$output"; then
        echo "$output" >&2
        fail "a package is not the one that requirements$extra.lock names; nothing was installed"
    fi
    say "$(grep -m1 '^ERROR' <<<"$output" || echo "requirements$extra.lock cannot be installed here")"
    say "taking the versions that pyproject.toml allows instead"
    if [ -n "$extra" ]; then pip_install -e '.[dev]'; else pip_install -e .; fi
}

install_packages() {
    local extra=$1 mark state
    make_venv
    # The editable installation points here, so the place is part of what must not have changed.
    mark="$(cat pyproject.toml requirements*.lock | cksum) $("$py" --version) ${TORCH:-cpu} $PWD"
    state=.setup/packages$extra
    for done in "$state" .setup/packages-dev; do
        if [ -f "$done" ] && [ "$(cat "$done")" = "$mark" ]; then return; fi
    done
    "$py" -m pip --version >/dev/null 2>&1 || "$py" -m ensurepip >/dev/null
    install_torch
    say "installing packages (minutes the first time)"
    install_project "$extra"
    mkdir -p .setup
    echo "$mark" >"$state"
}

install_tools() {
    local tools=.setup/tools wanted="uv==0.13.9 cyclonedx-bom==7.5.0 pip-audit==2.10.1"
    if [ "$(cat "$tools/wanted" 2>/dev/null)" = "$wanted" ]; then return; fi
    make_venv
    say "installing tools for the lock, the bill of materials and the audit"
    "$py" -m venv --clear "$tools"
    # shellcheck disable=SC2086
    "$tools/bin/python" -m pip install -qq $wanted
    echo "$wanted" >"$tools/wanted"
}

have_libraries() {
    "$py" -c '
import ctypes
for name in ("libGL.so.1", "libEGL.so.1", "libGLESv2.so.2", "libgthread-2.0.so.0"):
    ctypes.CDLL(name)' 2>/dev/null
}

install_libraries() {
    if have_libraries; then return; fi
    # shellcheck disable=SC2086
    apt_install $libraries
}

find_browser() {
    local candidate
    for candidate in "${LDDU_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable \
        "$(cat .setup/browser 2>/dev/null || true)"; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null; then return; fi
    done
    return 1
}

install_browser() {
    if find_browser; then return; fi
    # Ubuntu has no such package (its chromium-browser is a snap): there, Playwright's own build.
    if apt-cache policy chromium 2>/dev/null | grep -q 'Candidate: [0-9]' ||
        ! grep -qi '^ID=ubuntu' /etc/os-release; then
        apt_install chromium fonts-liberation
    else
        say "installing a browser for the tests"
        local with_deps=
        if [ "$(id -u)" = 0 ]; then with_deps=--with-deps; fi
        "$py" -m playwright install $with_deps chromium >/dev/null
        "$py" -c '
from playwright.sync_api import sync_playwright
with sync_playwright() as p:
    print(p.chromium.executable_path)' >.setup/browser
    fi
    find_browser || fail "no browser for the tests; install Chromium or Chrome, or name it: LDDU_BROWSER=/path/to/it"
}

for step in "$@"; do
    case $step in
        packages) install_packages "" ;;
        packages-dev) install_packages -dev ;;
        libraries) install_libraries ;;
        weights) "$py" -m stream.models fetch ;;
        browser) install_browser ;;
        tools) install_tools ;;
        *) fail "unknown step $step" ;;
    esac
done
