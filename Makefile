# make demo needs nothing but make and Python 3.11 or newer; `make help` lists the rest.

PYTHON   ?= python3
TOPOLOGY ?= topology.toml
DURATION ?=
JOBS     ?= 2
SPEED    ?= 60
FAULTS   ?=
SEED     ?= 1
KINDS    ?=
ONLY     ?=
PROOF    ?=
WRITE    ?=
EXCHANGE ?= BINANCE
MINUTES  ?= 5
FRAMES   ?= 1000000
DAYS     ?= 7
STREAMS  ?= 100
SOAK_MINUTES ?= 10

VENV  := .venv
BIN   := $(VENV)/bin
CHECK := build/venv
ROOT  := $(CURDIR)

# A topology that plays bokeh-sampledata needs that package; no other does.
SAMPLE := $(if $(shell grep -ls package:bokeh_sampledata $(TOPOLOGY)),$(BIN)/.sample)

.DEFAULT_GOAL := help
.PHONY: help demo real lab live-check chaos fuzz soak test lint pictures bench bench-limits bench-venues clean wheel
.DELETE_ON_ERROR:

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile

demo: $(BIN)/.installed $(SAMPLE) ## run TOPOLOGY (topology.toml), for DURATION if that is given
	@$(BIN)/pynelive up $(TOPOLOGY) $(if $(DURATION),--duration $(DURATION))

lab: $(BIN)/.venues ## run the real providers against local venues: SPEED=60 FAULTS=0 SEED=1 DURATION=
	@PYTHONPATH=tests $(BIN)/python -m venues.up examples/lab.toml --speed $(SPEED) --faults $(or $(FAULTS),0) --seed $(SEED) \
		$(if $(DURATION),--duration $(DURATION))

live-check: $(BIN)/.venues ## compare live bars with the venue's history, over the network: EXCHANGE=BINANCE MINUTES=5
	@PYTHONPATH=tests $(BIN)/python -m venues.live --exchange $(EXCHANGE) --minutes $(MINUTES)

chaos: $(BIN)/.installed ## do harm to a run and compare what it leaves: FAULTS=200 SEED=1 (or 1..3) KINDS= ONLY= PROOF= WRITE=
	@PYTHONPATH=tests $(BIN)/python -m chaos --faults $(or $(FAULTS),200) --seed $(SEED) --kinds "$(KINDS)" --only "$(ONLY)" \
		--proof "$(PROOF)" $(if $(WRITE),--write) $(ARGS)

test: wheel ## build the wheel and test it, away from the checkout
	@cd build && venv/bin/python -m pytest -c "$(ROOT)/pyproject.toml" --rootdir "$(ROOT)" -n $(JOBS) --dist worksteal "$(ROOT)/tests" $(ARGS)

fuzz: wheel ## hostile bytes at every socket and in every journal file: FRAMES=1000000 SEED=1
	@cd build && PYTHONPATH="$(ROOT)/tests" venv/bin/python -m fuzz --frames $(FRAMES) --seed $(SEED)

soak: wheel ## a week in minutes, does anything grow: DAYS=7 STREAMS=100 SOAK_MINUTES=10
	@cd build && PYTHONPATH="$(ROOT)/tests" venv/bin/python -m soak --days $(DAYS) --streams $(STREAMS) --minutes $(SOAK_MINUTES)

lint: wheel ## ruff on the checkout, mypy on the wheel, TypeScript's checker on the pages' modules
	@$(CHECK)/bin/ruff check .
	@$(CHECK)/bin/python build_backend/chart_bundle.py check
	@cd build && venv/bin/mypy --strict --config-file "$(ROOT)/pyproject.toml" -p pynelive

pictures: wheel ## take the pictures in docs again, of a demo with a fixed seed; needs Chromium
	@cd build && PYTHONPATH="$(ROOT)/tests" venv/bin/python -m pictures "$(ROOT)/docs/pictures"

real: ## run thirteen years of real AAPL bars, out of a PyPI package
	@$(MAKE) --no-print-directory demo TOPOLOGY=examples/real-bars.toml

bench-venues: $(BIN)/.venues ## measure 1,000 streams of a venue, beside ccxt's own way and PyneCore's
	@$(BIN)/python benchmarks/venues.py $(ARGS)

bench: $(BIN)/.bench ## measure the bus on this machine, or some of it: ONLY=P1,P4
	@$(BIN)/python benchmarks/run.py $(if $(ONLY),--only $(ONLY)) $(ARGS)

bench-limits: $(BIN)/.installed ## measure how much this machine holds
	@$(BIN)/python benchmarks/limits.py $(ARGS)

clean: ## remove all that make has made
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis $(VENV) sinks/web/bundle sinks/web/node_modules

# The checkout itself, installed so that an edit takes effect at once; again when what it needs changes.
$(BIN)/.installed: pyproject.toml sinks/web/package-lock.json
	@$(call venv,$(VENV))
	@echo "installing pynelive into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@test -e sinks/web/bundle/hash || echo "npm's registry is out of reach: the dashboard has no chart until 'make clean demo' finds it" >&2
	@touch $@

$(BIN)/.sample: $(BIN)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'bokeh-sampledata>=2026.1'
	@touch $@

$(BIN)/.venues: $(BIN)/.installed
	@echo "installing what the venues need into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[venues]"
	@touch $@

# One that cannot be built here is left out, and what is compared with it is skipped.
$(BIN)/.bench: $(BIN)/.installed
	@echo "installing what the bus is compared with into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]" || \
		echo "without all of it: benchmarks that need the rest are skipped" >&2
	@touch $@

# The wheel in an environment of its own, so that what is checked is what is shipped.
wheel: $(CHECK)/.installed
	@rm -rf build/lib build/bdist.* build/wheel
	@$(CHECK)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	@rm -rf build/lib build/bdist.*
	@$(CHECK)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall build/wheel/*.whl

$(CHECK)/.installed: pyproject.toml
	@$(call venv,$(CHECK))
	@echo "installing the tools into $(CHECK) …"
	@$(CHECK)/bin/python -m pip install --quiet --disable-pip-version-check ".[dev]"
	@touch $@

define venv
mkdir -p $(dir $(1)); $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "pynelive needs Python 3.11 or newer, and $(PYTHON) is not: name one with make PYTHON=python3.12" >&2; exit 1; }; \
test -x $(1)/bin/pip || $(PYTHON) -m venv --clear $(1) >$(1).log 2>&1 || { \
	cat $(1).log >&2; rm -rf $(1) $(1).log; echo "$(PYTHON) cannot make an environment: on Debian, apt-get install python3-venv" >&2; exit 1; }; \
rm -f $(1).log
endef
