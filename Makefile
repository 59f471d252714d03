# One command a job, the same at hand and in CI. They make what they need in .venv and keep it there.
# Needs Python 3.11 to 3.13 and make. Another Python: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
FUZZ_SECONDS ?= 600
ARGS ?=

# ARGS are for this make alone, not for one that a test runs.
MAKEOVERRIDES :=
unexport ARGS

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
NEEDS := pyproject.toml constraints.txt src/antiphon/__init__.py
CLIENTS := tests/e2e/requirements-clients.txt tests/e2e/node/package.json \
	tests/e2e/node/package-lock.json
SEAL_JS := $(wildcard clients/seal-js/*.json clients/seal-js/src/*.ts)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-codec test-clients test-engines soak check format docs bench fuzz clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Talk to a tiny gpt-oss of our own in a real engine, live
	@$(BIN)/antiphon demo $(ARGS)

test: $(VENV)/.dev ## Run the tests (ARGS='-k word' for some of them)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-slow: $(VENV)/.dev ## Run the long tests: wide differential runs, real engines, packaging
	$(BIN)/python -m pytest -n $(JOBS) -m slow $(ARGS)

test-codec: $(VENV)/.dev ## Run the codec's tests alone, as CI does on further Pythons
	$(BIN)/python -m pytest -n $(JOBS) tests/codec tests/model tests/vocab tests/net $(ARGS)

test-clients: $(VENV)/.dev $(VENV)/.clients $(VENV)/.seal-js ## Run Python and Node clients against the gateway
	ANTIPHON_COMMAND="$(abspath $(BIN))/python -m antiphon.cli" \
		$(VENV)/clients/bin/python -m pytest -m clients --confcutdir=tests/e2e/clients \
		tests/e2e/clients $(ARGS)

test-engines: $(VENV)/.dev $(VENV)/.engines ## Run transformers serve and mlx-lm on the tiny model (6 GB)
	ANTIPHON_ENGINES_PYTHON="$(abspath $(VENV))/engines/bin/python" \
		$(BIN)/python -m pytest -m slow tests/engines/test_real_engines.py $(ARGS)

soak: $(VENV)/.dev ## Fuzz and load the gateway with the full counts, ten times those of the tests
	ANTIPHON_SOAK=10 $(BIN)/python -m pytest -n $(JOBS) -m "not clients" tests/robustness $(ARGS)

check: $(VENV)/.dev ## Lint, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## Write the generated parts of the documentation
	$(BIN)/python tools/docs/cli_help.py
	$(BIN)/python tools/docs/module_table.py
	$(BIN)/python tools/docs/figures.py
	$(BIN)/python tools/docs/state_diagram.py
	$(BIN)/python tools/docs/settings.py

bench: $(VENV)/.dev $(VENV)/.litellm ## Measure everything and write benchmarks/RESULTS.md (35 min)
	$(BIN)/python benchmarks/codec.py --write
	$(BIN)/python benchmarks/gateway.py --write --litellm $(VENV)/litellm/bin/litellm
	$(BIN)/python benchmarks/responses.py --write
	$(BIN)/python benchmarks/store.py --write
	$(BIN)/python benchmarks/seal.py --write
	$(BIN)/python benchmarks/agent.py --write
	$(BIN)/python tools/docs/figures.py

fuzz: $(VENV)/.fuzz ## Fuzz the parser for FUZZ_SECONDS (Linux, Python 3.11)
	$(BIN)/python fuzz/parse.py -max_total_time=$(FUZZ_SECONDS) $(ARGS)

clean: ## Remove everything that was made here
	rm -rf $(VENV) tests/e2e/node/node_modules clients/seal-js/node_modules clients/seal-js/dist build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"antiphon needs Python 3.11 or newer, this is %d.%d; try: make PYTHON=python3.12" \
		% sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(NEEDS) | $(VENV)/bin/python
	@echo "Installing antiphon[local] into $(VENV)"
	@$(PIP) --editable '.[local]'
	@touch $@

$(VENV)/.dev: $(NEEDS) | $(VENV)/bin/python
	$(PIP) pip
	$(PIP) --editable '.[all]' --group dev
	@touch $@ $(VENV)/.demo

# Clients live apart from the server: each side has the releases that it wants itself.
$(VENV)/.clients: $(CLIENTS) | $(VENV)/bin/python
	@command -v npm > /dev/null || { echo "make test-clients needs Node 18 or newer with npm"; exit 1; }
	$(PYTHON) -m venv $(VENV)/clients
	$(VENV)/clients/bin/python -m pip --disable-pip-version-check --quiet install \
		--requirement tests/e2e/requirements-clients.txt
	cd tests/e2e/node && npm install --no-save --no-audit --no-fund --loglevel=error
	@touch $@

# The module for browsers and Node; installing it builds it.
$(VENV)/.seal-js: $(SEAL_JS) | $(VENV)/bin/python
	@command -v npm > /dev/null || { echo "make test-clients needs Node 18 or newer with npm"; exit 1; }
	cd clients/seal-js && npm install --no-save --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV)/.engines: tests/engines/requirements-engines.txt | $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)/engines
	$(VENV)/engines/bin/python -m pip --disable-pip-version-check --quiet install --no-cache-dir \
		--requirement tests/engines/requirements-engines.txt
	@touch $@

# What the gateway is measured against.
$(VENV)/.litellm: | $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)/litellm
	$(VENV)/litellm/bin/python -m pip --disable-pip-version-check --quiet install \
		'litellm[proxy]==1.106.2'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	$(PIP) --group fuzz
	@touch $@
