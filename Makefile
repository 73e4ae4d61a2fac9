# Two commands for a newcomer: `make demo` and `make test`. `make help` lists the others.
PYTHON ?= python3
# further arguments: `make demo ARGS=--keep`, `make test ARGS="-k gate -x"`
ARGS ?=
# slots that have a user of their own, if not those of deploy/kubernetes: `make deploy-render SLOTS="candidate control"`
SLOTS ?=
# files of tests that run side by side; 0 for one test after the other, as a debugger wants it
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# a folder with data that is not part of the repository; its tests are deselected where it is missing
DATA ?= ../shared/data
# REQUIRE=1: a missing optional part fails the tests instead of deselecting them
REQUIRE ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# an absolute address in the lock files would tie them to one index
LOCKED := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
COMPILE := $(BIN)/uv --quiet pip compile pyproject.toml $(LOCKED) --extra shadow --extra fast --extra protobuf --extra signing --extra notify --extra oidc --extra archive --extra files --extra local --extra build
IMAGE := $(BIN)/uv --quiet pip compile pyproject.toml $(LOCKED) --extra shadow --extra fast --extra protobuf --extra signing --extra notify --extra oidc --extra build
# what the archive's image has
ARCHIVE := $(IMAGE) --extra archive --extra backtest
# what the image has with stores of objects: the same, but for python-dateutil, of which botocore needs an older one
STORES := $(IMAGE) --extra stores
# a folder of custom resource definitions; the checks that need them are deselected where it is missing
CRDS ?= ../shared/crds
export CRDS DATA REQUIRE
.DEFAULT_GOAL := help
.PHONY: help demo setup test check lint types imports integration faults attack soak study release-study train-study deploy-render \
	deploy-check docs pictures bench bench-quick scale lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

demo: .venv/.setup ## show the product on embedded servers, in three minutes (ARGS=--keep leaves it running)
	$(BIN)/python deploy/local/demo.py $(ARGS)

setup: .venv/.setup ## install both commands into .venv

test: .venv/.dev ## run the tests, half an hour on two cores (JOBS: files side by side; ARGS="-m quick": quick units)
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types imports test ## run ruff, mypy --strict, import-linter and the tests: what must pass before a merge

lint: .venv/.dev ## check style and format with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev ## check types with mypy --strict
	$(BIN)/mypy

imports: .venv/.dev ## check which package imports which
	$(BIN)/lint-imports --no-cache

integration: .venv/.dev ## run the integration tests on every server: Apache Kafka, Redis, Redis Cluster, Valkey
	$(BIN)/pytest -m "variant or not variant" tests/integration $(ARGS)

faults: .venv/.dev ## strike every fault while transactions stream, on Apache Kafka and Redis (ARGS="kill_scorer --seed 2")
	@cd tests && ../$(BIN)/python -m faults.run $(ARGS)

attack: .venv/.dev .venv/.attack ## attack whatever is read with hostile input, 30 minutes (ARGS="--share 0.01", ARGS=records)
	@cd tests && ../$(BIN)/python -m attack.run $(ARGS)

soak: .venv/.dev ## run at half of saturation for 20 minutes: memory, files and lag must stay flat (ARGS="--minutes 2")
	@cd tests && ../$(BIN)/python -m faults.soak $(ARGS)

study: .venv/.bench ## judge 2,000 releases of known truth, beside simpler rules (ARGS=--publish writes docs/study.md)
	@cd tests && ../$(BIN)/python -m study.run $(ARGS)

release-study: .venv/.bench ## simulate two years of releases, their automation and the watch after each, half an hour (ARGS="--share 0.1")
	@cd tests && ../$(BIN)/python -m study.rotations.run $(ARGS)

bench: .venv/.bench .venv/.peers ## measure speed, latency and memory, 35 minutes (ARGS=--publish writes docs/performance.md)
	cd tests && ../$(BIN)/python -m bench.run $(ARGS)

bench-quick: .venv/.bench .venv/.peers ## measure only the speed beside floors and peers, three minutes
	cd tests && ../$(BIN)/python -m bench.run --quick $(ARGS)

train-study: .venv/.bench ## train by a published protocol on public data, and measure it, five minutes (ARGS=--publish)
	@cd tests && ../$(BIN)/python -m study.training.run $(ARGS)

scale: .venv/.bench ## reckon the bill for 1,000 to 1,000,000 a second, and see where it bends (ARGS="--short", --publish)
	cd tests && ../$(BIN)/python -m bench.scale.run $(ARGS)

deploy-render: .venv/.dev ## write rules, alerts, dashboards (ARGS="--grafana URL") and rights (SLOTS="candidate …")
	PYTHONPATH=deploy $(BIN)/python -m monitoring.render $(ARGS)
	PYTHONPATH=deploy $(BIN)/python -m rights.render $(SLOTS)

deploy-check: .venv/.dev .venv/.deploy ## run every check of deploy/: build and run the image, strike a live fault for each severity
	$(BIN)/pytest -m "deploy or not deploy" tests/deploy $(ARGS)

docs: .venv/.dev ## write the tables of settings and metrics, and the schemas of topics, from the code
	PYTHONPATH=deploy $(BIN)/python docs/render.py

pictures: .venv/.dev ## take the pictures of docs/explorer.md anew, in chromium, two minutes (ARGS="overview phone")
	@cd tests && ../$(BIN)/python -m page.pictures $(ARGS)

lock: .venv/.dev ## resolve the lock files in requirements/ from pyproject.toml
	@mkdir -p build
	$(PIP) install uv
	$(COMPILE) --upgrade --output-file requirements/base.lock
	$(IMAGE) --constraint requirements/base.lock --output-file requirements/image.lock
	grep -E '^[A-Za-z0-9._-]+==' requirements/image.lock | sed 's/ *\\$$//' | grep -v '^python-dateutil==' > build/image.txt
	$(ARCHIVE) --constraint requirements/base.lock --output-file requirements/archive.lock
	$(STORES) --constraint build/image.txt --output-file requirements/stores.lock
	$(BIN)/uv --quiet pip compile --group pyproject.toml:deploy $(LOCKED) --upgrade --output-file requirements/deploy.lock
	$(BIN)/uv --quiet pip compile --group pyproject.toml:attack $(LOCKED) --upgrade --output-file requirements/attack.lock
	$(COMPILE) --upgrade --extra dev --constraint requirements/base.lock --output-file requirements/dev.lock
	$(COMPILE) --upgrade --extra bench --constraint requirements/base.lock --output-file requirements/bench.lock
	$(COMPILE) --upgrade --extra bench --extra peers --output-file requirements/peers.lock

clean: ## remove .venv and everything built
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/.setup: requirements/base.lock pyproject.toml | .venv/.made
	$(PIP) install --require-hashes --no-deps -r requirements/base.lock
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

.venv/.dev: requirements/dev.lock .venv/.setup
	$(PIP) install --require-hashes --no-deps -r requirements/dev.lock
	@touch $@

.venv/.bench: requirements/bench.lock .venv/.setup
	$(PIP) install --require-hashes --no-deps -r requirements/bench.lock
	@touch $@

# an environment of their own: the frameworks that the scorer is measured against pin what we pin, otherwise
.venv/.peers: requirements/peers.lock .venv/.bench
	@$(PYTHON) -m venv .venv/peers
	.venv/peers/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps -r requirements/peers.lock
	@touch $@

# and one more: checkov pins what we pin, too
.venv/.deploy: requirements/deploy.lock | .venv/.made
	@$(PYTHON) -m venv .venv/deploy
	.venv/deploy/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps -r requirements/deploy.lock
	@touch $@

# and one for what attacks the API, and for stores of objects and a server to test them on
.venv/.attack: requirements/attack.lock | .venv/.made
	@$(PYTHON) -m venv .venv/attack
	.venv/attack/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps -r requirements/attack.lock
	@touch $@

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is not Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "could not make .venv; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@touch $@
