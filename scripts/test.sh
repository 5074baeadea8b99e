#!/usr/bin/env bash
# Runs the tests: what only computes in as many processes as there are cores, then what runs against
# the clock (servers, calls, browsers: marked `live`) one after the other, undisturbed.
# With arguments: one run of pytest with these.
set -uo pipefail
cd "$(dirname "$0")/.."

py=.venv/bin/python
if [ $# -gt 0 ]; then exec "$py" -m pytest "$@"; fi

failed=0
# One thread each: the processes share the cores.
OMP_NUM_THREADS=1 "$py" -m pytest -m "not live and not long" --numprocesses auto --maxprocesses 4 || failed=1
"$py" -m pytest -m "live and not long" || failed=1
exit $failed
