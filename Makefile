PYTHON ?= python3
ELSA_CONFIG_GIVEN := $(ELSA_CONFIG)
CONFIG ?= $(or $(ELSA_CONFIG_GIVEN),config/movielens.yaml)
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help nightly explore test test-slow test-mutations test-crash test-damage test-operations test-gpu test-pages docs audit held-back lock server deploy worker lint bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

nightly: .venv/.ready  ## a full run on the demo data, or on your own: make nightly CONFIG=my.yaml
	@$(if $(filter config/movielens.yaml,$(CONFIG)),test -e data/movielens/ratings.parquet || $(BIN)/python -m tasks.data.demo data/movielens)
	@$(BIN)/elsa nightly --config $(CONFIG)

explore: .venv/.explore  ## a page for walking through the published tables, on this machine only
	@$(BIN)/elsa explore --config $(CONFIG)

# one thread each, or they trip over one another; files in their order, for the longest are not last
test: .venv/.ready lint  ## the tests (9 minutes on 2 cores)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow'

test-slow: .venv/.ready  ## the tests that take minutes
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m 'slow and not crash and not operations and not damage and not mutations and not held_back'

test-mutations: .venv/.ready  ## the product broken in every way that is listed; each must be noticed (20 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m mutations tests/test_mutations.py

test-crash: .venv/.ready  ## nights that are killed at every step and at random moments, and the counts
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m crash -s

test-damage: .venv/.ready  ## every file of a warehouse damaged in every way, idle and under way, and the counts
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m damage

test-operations: .venv/.ready  ## a real Prefect server and worker, nights that are killed, a web page that attacks (5 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m operations

test-gpu: .venv/.ready  ## the tests that need a CUDA device; skipped, with the reason, where there is none
	@$(BIN)/pytest -m gpu

test-pages: .venv/.explore .venv/.pages  ## the report and the explore page in Chromium, which is installed where apt can do it
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends chromium; }
	@OMP_NUM_THREADS=1 $(BIN)/pytest tests/flows/test_pages.py

docs: .venv/.ready  ## rewrite the outputs and generated pages in README.md and docs/, on a demo of their own
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.docs.write

audit: .venv/.audit  ## known vulnerabilities of what is installed: Error 1, or Error 2 where no database is reached
	@$(BIN)/python .ci/audit.py

held-back: .venv/.ready  ## which of the dependencies that are held back can go, asked of the package index
	@$(BIN)/pytest -m held_back tests/docs/test_dependencies.py

# without .ready, which cannot be made while pyproject.toml contradicts the old lock
lock: | $(BIN)/pip  ## constraints.txt from pyproject.toml, keeping pins that fit; the newest of all: make lock UPGRADE=--upgrade
	@$(INSTALL) uv
	@$(BIN)/uv pip compile pyproject.toml --quiet --universal --all-extras --fork-strategy fewest \
		--annotation-style line --custom-compile-command 'make lock' $(UPGRADE) --output-file constraints.txt

# a real Prefect on this machine alone; for another one, set PREFECT_API_URL
WITH_AUTH := $(BIN)/python -m flows.auth
server deploy worker: export PREFECT_HOME ?= $(CURDIR)/.prefect
server deploy worker: export PREFECT_API_URL ?= http://127.0.0.1:4200/api
server deploy worker: export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
server deploy worker: export DO_NOT_TRACK ?= 1
server: export PREFECT_SERVER_CORS_ALLOWED_ORIGINS ?= http://127.0.0.1:4200,http://localhost:4200
deploy: export ELSA_CONFIG = $(if $(filter file,$(origin CONFIG)),$(or $(ELSA_CONFIG_GIVEN),$(error which configuration? make deploy CONFIG=my.yaml)),$(CONFIG))
deploy: export ELSA_HOME ?= $(CURDIR)

server: .venv/.ready  ## a Prefect server on 127.0.0.1:4200; stop it with Ctrl-C
	@$(WITH_AUTH) $(BIN)/prefect server start --host 127.0.0.1 --port 4200

deploy: .venv/.ready  ## put the deployments and automations in place on the server
	@$(WITH_AUTH) $(BIN)/prefect work-pool inspect elsa >/dev/null 2>&1 || $(WITH_AUTH) $(BIN)/prefect work-pool create elsa --type process
	@$(WITH_AUTH) $(BIN)/prefect --no-prompt deploy --all
	@$(WITH_AUTH) $(BIN)/python -m flows.automations

worker: .venv/.ready  ## run what is scheduled; stop it with Ctrl-C
	@$(WITH_AUTH) $(BIN)/prefect worker start --pool elsa

lint: .venv/.ready  ## style, unused code and types
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@! test -x $(BIN)/hadolint || $(BIN)/hadolint Dockerfile

bench: nightly  ## benchmarks (two hours; most need the shared data); results belong in benchmarks/RESULTS.md
	@$(INSTALL) -e '.[bench]'
	@set -e; for run in step demo topk growth 'residual growth' 'residual topk' 'residual kept' ingest drift warm_start \
		'time_to_quality mtg' 'time_to_quality gowalla' 'time_to_quality generated' 'models mtg' gowalla \
		equal_settings 'residual table' 'queries queries' 'queries pairs' 'queries materialize' 'refresh 200000' source_formats max_users; do \
		set -- $$run; echo "== $$run"; PYTHONPATH=. $(BIN)/python benchmarks/$$1.py $$2; done

clean:  ## remove the environment and the demo data, never a warehouse
	rm -rf .venv data/movielens build *.egg-info

.venv/.audit .venv/.explore .venv/.pages: .venv/.ready
	@$(INSTALL) -e '.[$(patsubst .venv/.%,%,$@)]'
	@touch $@

.venv/.ready: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "setting up .venv (some minutes on first use)"
	@$(INSTALL) -e '.[demo,test]'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv
