# Two commands are all that is needed: `make run` and `make test`. Each sets up .venv first; a second call finds it done.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# the first interpreter on the PATH that is one of the supported versions
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	then echo $$python; break; fi; done)

# Trackers bring 70 packages, and one of them an older Pillow: tests use them as a run with runtime.tracker_python does.
TRACKERS := .bench/trackers/.installed
PEERS := $(patsubst benchmarks/peers/%.txt,.bench/%/.installed,$(wildcard benchmarks/peers/*.txt))

.PHONY: run test lint format bench bench-setup gpu-check crash soak mutations docs clean

run: $(INSTALLED)  ## generate, train, evaluate with the default profile (options: make run ARGS="--profile quick")
	$(BIN)/pipeline run $(ARGS)

# On every core; who runs out of tests takes over some of the others'. In one process: make test ARGS="-n 0".
test: $(INSTALLED) $(TRACKERS)  ## the whole test suite (options: make test ARGS="-k decide")
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

lint: $(INSTALLED)  ## ruff and mypy, both on the whole tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# each measures ours beside its peers and writes its section of benchmarks/RESULTS.md
BENCHMARKS := startup noop deep loader resume-cost compression step-tax step-lot checkpoint save-often data-generation coco \
	standard incremental seen
bench: bench-setup $(BENCHMARKS:%=bench-%)  ## all figures about speed (about an hour); one of them: make bench-loader

bench-%: $(INSTALLED)
	$(BIN)/python benchmarks/$(subst -,_,$*).py $(ARGS)

bench-setup: $(PEERS)  ## install the peers that are measured beside ours, each into an environment of its own

.bench/%/.installed: benchmarks/peers/%.txt | $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .bench/$*
	$(BIN)/uv pip install --quiet --compile-bytecode --python .bench/$*/bin/python --requirement $<
	@touch $@

$(TRACKERS): tests/trackers.txt | $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .bench/trackers
	$(BIN)/uv pip install --quiet --python .bench/trackers/bin/python --requirement $<
	@touch $@

GPU_PYTHON ?= python3
gpu-check:  ## on a machine with a GPU, for which .venv is not needed: writes benchmarks/GPU.md; the same command goes on
	$(GPU_PYTHON) benchmarks/gpu_check.py $(ARGS)

crash: $(INSTALLED)  ## every fault point and every crash state, exhaustively (minutes)
	$(BIN)/python benchmarks/crash.py $(ARGS)

KILLS ?= 1000
soak: $(INSTALLED)  ## random SIGKILLs of a quick run, compared with the run that was never killed (make soak KILLS=1000)
	$(BIN)/python benchmarks/soak.py --kills $(KILLS) $(ARGS)

mutations: $(INSTALLED)  ## remove each protective step in turn; a test must go red each time
	$(BIN)/python benchmarks/mutations.py $(ARGS)

# What Sphinx warns of is an error. All pages are read each time: generated parts change without their page.
docs: $(VENV)/.docs-installed  ## the documentation, as build/docs/index.html; needs no network but for its set-up
	$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going docs build/docs
	@echo "documentation: build/docs/index.html"

clean:  ## remove what was installed, never what was computed
	rm -rf $(VENV)

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found; set PYTHON=/path/to/python" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $(PYTHON) cannot make a virtual environment; install its venv module (Debian: python3-venv)" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.docs-installed: $(INSTALLED)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[docs]'
	@touch $@
