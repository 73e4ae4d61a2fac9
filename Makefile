# Two commands for a newcomer: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
# further arguments: `make demo ARGS=--keep`, `make test ARGS="-k gate -x"`
ARGS ?=
# a folder with data that is not part of the repository; its tests are deselected where it is missing
DATA ?= ../shared/data
# REQUIRE=1: a missing optional part fails the tests instead of deselecting them
REQUIRE ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# an absolute address in the lock files would tie them to one index
LOCKED := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
COMPILE := $(BIN)/uv --quiet pip compile pyproject.toml $(LOCKED) --extra shadow --extra files --extra local --extra build
IMAGE := $(BIN)/uv --quiet pip compile pyproject.toml $(LOCKED) --extra shadow --extra build
# a folder of custom resource definitions; the checks that need them are deselected where it is missing
CRDS ?= ../shared/crds
export CRDS DATA REQUIRE
.DEFAULT_GOAL := help
.PHONY: help demo setup test check lint types imports integration faults soak study deploy-render deploy-check \
	dashboards-preview docs bench bench-quick lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

demo: .venv/.setup ## the main job on embedded servers, in a minute or two (ARGS=--keep leaves it running)
	$(BIN)/python deploy/local/demo.py $(ARGS)

setup: .venv/.setup ## what the demo and both commands need, into .venv

test: .venv/.dev ## every test, in one pytest run
	$(BIN)/pytest $(ARGS)

check: lint types imports test ## ruff, mypy --strict, import-linter, the tests

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

imports: .venv/.dev
	$(BIN)/lint-imports --no-cache

integration: .venv/.dev ## the integration tests on every server: Apache Kafka, Redis, Redis Cluster, Valkey
	$(BIN)/pytest -m "variant or not variant" tests/integration $(ARGS)

faults: .venv/.dev ## every fault while transactions stream, on Apache Kafka and Redis (ARGS="kill_scorer --seed 2")
	@cd tests && ../$(BIN)/python -m faults.run $(ARGS)

soak: .venv/.dev ## 20 minutes at half of saturation: memory, files and lag stay flat (ARGS="--minutes 2")
	@cd tests && ../$(BIN)/python -m faults.soak $(ARGS)

study: .venv/.bench ## the gate on 2,000 releases of known truth, beside simpler rules (ARGS="--share 0.1")
	@cd tests && ../$(BIN)/python -m study.run $(ARGS)

bench: .venv/.bench .venv/.peers ## speed, latency and memory beside floors and peers, 35 minutes (ARGS=--publish)
	cd tests && ../$(BIN)/python -m bench.run $(ARGS)

bench-quick: .venv/.bench .venv/.peers ## only how fast it is beside floors and peers, three minutes
	cd tests && ../$(BIN)/python -m bench.run --quick $(ARGS)

deploy-render: .venv/.dev ## write rules, alerts and dashboards anew from deploy/monitoring (ARGS="--grafana URL")
	PYTHONPATH=deploy $(BIN)/python -m monitoring.render $(ARGS)

dashboards-preview: .venv/.dev ## pictures of the dashboards from a real Prometheus, two minutes, into build/dashboards
	@cd tests && PYTHONPATH=.:../deploy ../$(BIN)/python -m deploy.grafana.preview $(ARGS)

deploy-check: .venv/.dev .venv/.deploy ## every check of deploy/, also the image built and run, and a fault for each alert
	$(BIN)/pytest -m "deploy or not deploy" tests/deploy $(ARGS)

docs: .venv/.dev ## write the tables of settings and metrics anew
	$(BIN)/python docs/render.py

lock: .venv/.dev ## resolve the lock files anew from pyproject.toml
	$(PIP) install uv
	$(COMPILE) --upgrade --output-file requirements.lock
	$(IMAGE) --constraint requirements.lock --output-file requirements-image.lock
	$(BIN)/uv --quiet pip compile --group pyproject.toml:deploy $(LOCKED) --upgrade --output-file requirements-deploy.lock
	$(COMPILE) --upgrade --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(COMPILE) --upgrade --extra bench --constraint requirements.lock --output-file requirements-bench.lock
	$(COMPILE) --upgrade --extra bench --extra peers --output-file requirements-peers.lock

clean: ## remove .venv and everything built
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/.setup: requirements.lock pyproject.toml | .venv/.made
	$(PIP) install --require-hashes --no-deps -r requirements.lock
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.setup
	$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

.venv/.bench: requirements-bench.lock .venv/.setup
	$(PIP) install --require-hashes --no-deps -r requirements-bench.lock
	@touch $@

# an environment of their own: the frameworks that the scorer is measured against pin what we pin, otherwise
.venv/.peers: requirements-peers.lock .venv/.bench
	@$(PYTHON) -m venv .venv/peers
	.venv/peers/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps -r requirements-peers.lock
	@touch $@

# and one more: checkov pins what we pin, too
.venv/.deploy: requirements-deploy.lock | .venv/.made
	@$(PYTHON) -m venv .venv/deploy
	.venv/deploy/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps -r requirements-deploy.lock
	@touch $@

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is not Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "could not make .venv; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@touch $@
