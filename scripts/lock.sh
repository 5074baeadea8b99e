#!/usr/bin/env bash
# Writes requirements.lock and requirements-dev.lock from pyproject.toml: every package with its
# version and hashes, for all supported Pythons and platforms. torch and what only its CUDA build
# needs are left out: set-up chooses that build.
set -euo pipefail
cd "$(dirname "$0")/.."

lock() {
    local out=$1
    shift
    .setup/tools/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
        --generate-hashes --no-annotate --custom-compile-command "make lock" "$@" |
        awk '/^[^ ]/ { skip = /^(torch|triton|nvidia-[^ ]*|cuda-[^ ]*)==/ } !skip' >"$out.new"
    mv "$out.new" "$out"
}

lock requirements.lock
lock requirements-dev.lock --extra dev --constraint requirements.lock
