# Each target does all of its own set-up, on a fresh Debian or Ubuntu machine with Python >= 3.11;
# nothing is repeated when nothing changed. Settings: PYTHON, TORCH=cuda, CONFIG, DATA, TEXT, ARGS.

PY := .venv/bin/python
CONFIG ?= configs/serve.toml
DATA ?= ../shared
TEXT ?= minilm
SETS := sets/live
PREPARE := configs/prepare-live.toml
CHOSEN := --set analysis.text_model=$(TEXT)
NAME := $(if $(filter minilm,$(TEXT)),live-v1,live-multi)

.PHONY: help setup serve test test-long check checkpoint lock sbom audit clean

help:
	@echo "make serve       set up, then start the server (ARGS are passed on)"
	@echo "make test        set up, then run every test (ARGS are passed to pytest)"
	@echo "make test-long   set up, then run the tests that take long"
	@echo "make check       set up, then lint and check types"
	@echo "make checkpoint  set up, then train the shipped checkpoint anew from the folder DATA (TEXT=e5-small: Chinese too)"
	@echo "make lock        pin every package anew, with hashes (requirements*.lock)"
	@echo "make sbom        write the bill of materials, weights included (build/sbom.json, CycloneDX)"
	@echo "make audit       ask PyPI for known vulnerabilities of the locked packages"
	@echo "make setup       set up for all of these"
	@echo "make clean       remove the virtual environment and caches (not the weights)"

setup:
	@scripts/setup.sh packages-dev libraries weights browser

serve:
	@scripts/setup.sh packages libraries weights
	@$(PY) -m stream.serve $(CONFIG) $(ARGS)

test:
	@scripts/setup.sh packages-dev libraries weights browser
	@scripts/test.sh $(ARGS)

test-long:
	@scripts/setup.sh packages-dev libraries weights browser
	@$(PY) -m pytest -m long $(ARGS)

check:
	@scripts/setup.sh packages-dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

checkpoint:
	@scripts/setup.sh packages libraries weights
	@$(PY) -m stream.models fetch $(TEXT)
	@$(MAKE) --no-print-directory $(SETS)/.prepared $(SETS)/.generated
	@$(PY) -m lddu_model.train configs/train-live.toml --set name=$(NAME) --out runs/$(NAME) $(ARGS)

# Features are made anew when what makes them has changed.
FEATURES := $(PREPARE) $(addprefix stream/,spec.py samples.py corruption.py datasets.py) \
	$(addprefix workers/,voice.py descriptors.py text.py pieces.py minilm.py e5.py q4.py) \
	$(addprefix workers/,vad.py timeline.py windows.py) $(SETS)/.words-$(TEXT)
FACES := $(PREPARE) stream/faces.py stream/spec.py workers/face_features.py workers/neutral.py \
	$(wildcard lddu_model/data/facs*.py) $(SETS)/.words-$(TEXT)

$(SETS)/.words-$(TEXT):
	@mkdir -p $(SETS)
	@rm -f $(SETS)/.words-*
	@touch $@

$(SETS)/.prepared: $(FEATURES)
	@$(PY) -m stream.prepare $(PREPARE) --out $(SETS) --set root=$(DATA) $(CHOSEN)
	@touch $@

$(SETS)/.generated: $(FACES)
	@$(PY) -m stream.faces $(PREPARE) --out $(SETS)/faces $(CHOSEN)
	@$(PY) -m stream.faces $(PREPARE) --out $(SETS)/faces-test --count 1200 --seed 2 $(CHOSEN)
	@touch $@

lock:
	@scripts/setup.sh tools
	@scripts/lock.sh

sbom:
	@scripts/setup.sh packages tools
	@mkdir -p build
	@.setup/tools/bin/cyclonedx-py environment $(PY) --pyproject pyproject.toml --of JSON -o build/sbom.json
	@$(PY) -m stream.bill build/sbom.json

audit:
	@scripts/setup.sh tools
	@.setup/tools/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock

clean:
	rm -rf .venv .setup .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
