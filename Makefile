# Each target does all of its own set-up, on a fresh Debian or Ubuntu machine with Python >= 3.11;
# nothing is repeated when nothing changed. Settings: PYTHON, TORCH=cuda, CONFIG, ARGS.

PY := .venv/bin/python
CONFIG ?= configs/serve.toml

.PHONY: help setup serve test test-long check clean

help:
	@echo "make serve      set up, then start the server (ARGS are passed on)"
	@echo "make test       set up, then run every test (ARGS are passed to pytest)"
	@echo "make test-long  set up, then run the tests that take long"
	@echo "make check      set up, then lint and check types"
	@echo "make setup      set up for all of these"
	@echo "make clean      remove the virtual environment and caches (not the weights)"

setup:
	@scripts/setup.sh packages-dev libraries weights browser

serve:
	@scripts/setup.sh packages libraries weights
	@$(PY) -m stream.serve $(CONFIG) $(ARGS)

test:
	@scripts/setup.sh packages-dev libraries weights browser
	@$(PY) -m pytest $(ARGS)

test-long:
	@scripts/setup.sh packages-dev libraries weights browser
	@$(PY) -m pytest -m long $(ARGS)

check:
	@scripts/setup.sh packages-dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

clean:
	rm -rf .venv .setup .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
