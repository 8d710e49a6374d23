# `make` lists the targets. Every target that needs the environment makes it first.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
UV := .uv/bin/uv
READY := $(VENV)/.ready

# What runs at once in the tests; two cores are the smallest machine we promise to test on.
JOBS ?= 2
# Some images set it. Without the bytecode of the tests, each worker would translate all of them again.
unexport PYTHONDONTWRITEBYTECODE

# The parts of `make check`, the longest first. One run each: nobody imports all, nor hands out nine thousand tests.
PARTS := rest protocols host services
part = $(BIN)/pytest -q -p no:xdist -m "not slow" --hypothesis-profile=quick

.PHONY: help setup run demo test check $(PARTS:%=check-%) coverage fmt lint types bench fuzz soak docs wheel lock proto clean

help: ## list the targets
	@awk 'BEGIN{FS=":.*## "} /^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv, with `nexusd` and `nexus` in it

$(UV):
	@bash tools/preflight.sh $(PYTHON)
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(READY): requirements-dev.lock pyproject.toml | $(UV)
	@echo "Setting up $(VENV) (once; about a minute) ..."
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" $(VENV)
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements-dev.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --compile-bytecode --python $(BIN)/python --editable .
	@# trio-typing, which libp2p imports, also installs stubs of a years-old trio over the types that trio ships
	@rm -rf $(VENV)/lib/python*/site-packages/trio-stubs
	@touch $@
	@echo "Ready: $(BIN)/nexusd and $(BIN)/nexus"

run: $(READY) ## run a daemon in the foreground
	@$(BIN)/nexusd run

demo: $(READY) ## two daemons find each other, talk, and call a capability
	@$(BIN)/python -m tools.demo

fmt: $(READY) ## format the code
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix-only .

lint: $(READY)
	@$(BIN)/ruff format --quiet --check . || { echo "run: make fmt"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@PYTHONPATH=. $(BIN)/lint-imports --verbose --no-logo 2>/dev/null >$(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

types: $(READY)
	@$(BIN)/mypy

check: $(READY) ## format, lint, types, import contracts, unit and simulation tests (under a minute)
	@# one more than there are cores: tests wait, too
	@$(MAKE) --no-print-directory --keep-going --jobs=$$(($(JOBS) + 1)) \
		$(if $(filter output-sync,$(.FEATURES)),--output-sync=target) $(PARTS:%=check-%) types lint

check-rest: $(READY)
	@$(part) tests/sim tests/unit --ignore=tests/unit/protocols --ignore=tests/unit/host --ignore=tests/unit/services

check-protocols check-host check-services: check-%: $(READY)
	@$(part) tests/unit/$*

test: lint types ## everything
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal tests

coverage: $(READY) ## branch coverage of the muxer and Noise cores (100 %, or it fails) and of the host
	@COVERAGE_FILE=.coverage.cores $(BIN)/coverage run -m pytest -q tests/unit/protocols/yamux tests/unit/protocols/noise
	@COVERAGE_FILE=.coverage.cores $(BIN)/coverage report --show-missing --fail-under=100 \
		--include='*/nexusd_protocols/yamux/*,*/nexusd_protocols/noise/*'
	@COVERAGE_FILE=.coverage.host $(BIN)/coverage run -m pytest -q tests/unit/host
	@COVERAGE_FILE=.coverage.host $(BIN)/coverage report --show-missing --include='*/nexusd/host/*'

bench: $(READY) ## measure against other implementations doing the same work
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.transport
	@$(BIN)/python -m bench.gossip
	@$(BIN)/python -m bench.pay
	@$(BIN)/python -m bench.content
	@$(BIN)/python -m bench.sync

fuzz: $(READY) ## each parser's fuzz target, for FUZZ_SECONDS (30) each
	@$(BIN)/python -m tests.fuzz --seconds $${FUZZ_SECONDS:-30}

soak: $(READY) ## power cuts, full disks and flipped bits at every operation, in all their variants, 200 kills, and 60 more at paid calls (half an hour)
	@NEXUS_TEST_SOAK=1 $(BIN)/pytest -q -n $(JOBS) --dist worksteal --timeout=1800 tests/crash

docs: $(READY) ## remake the pages of docs/reference that follow from the code
	@$(BIN)/python -m tools.reference

wheel: $(READY) ## build the wheel and try it from an empty directory
	@bash tools/wheel.sh $(UV)

lock: $(UV) ## resolve the dependencies anew
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		pyproject.toml -o requirements.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		pyproject.toml --extra dev --extra fuzz --no-emit-package nexusd -o requirements-dev.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		tests/fixtures/token/vyper.in -o tests/fixtures/token/vyper.lock

proto: $(READY) ## regenerate the committed protobuf modules
	@cd protocols && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. nexusd_protocols/pubsub/rpc.proto nexusd_protocols/kad/kademlia.proto nexusd_protocols/relay/circuit.proto nexusd_protocols/content/merkledag.proto nexusd_protocols/content/unixfs.proto nexusd_protocols/bitswap/message.proto

clean: ## remove what the other targets made
	@rm -rf $(VENV) .uv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/interop/node_modules tests/interop/helia/node_modules tests/interop/anvil/node_modules \
		tests/interop/go/build tests/fixtures/token/.vyper tests/interop/.fail2ban
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
