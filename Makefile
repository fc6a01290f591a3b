# Everything runs from .venv, which `make setup` builds from uv.lock. Wanted on the machine: git, make, python3.11 or newer.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$name && break; done)
UV_VERSION := 0.13.9
TEST_JOBS ?= 2
BIN := .venv/bin

# An active environment of somebody else's must not be synchronised in place of ours.
unexport VIRTUAL_ENV
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup demo test check fmt browser ibsim alertmanager node-sdk

help: ## Show this list
	@echo 'Usage: make TARGET [PYTHON=python3.13] [DEMO_ARGS=…] [TEST_JOBS=N] [PYTEST_ARGS=…] [BENCH_ARGS=…]'
	@awk -F ':.*## ' '/^[a-zA-Z%-]+:.*## / { sub("%", "NAME", $$1); printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.synced ## Build .venv from uv.lock (does nothing when it is up to date)

demo: setup ## Start everything on loopback with the simulated cloud and print the URL
	@$(BIN)/tailsight demo $(DEMO_ARGS)

test: check ## Run all checks, then all tests, TEST_JOBS files at a time
	@$(BIN)/pytest --numprocesses $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: setup ## Check the lock file, format, lint, types and import contracts
	@echo 'check: uv.lock';   $(BIN)/uv lock --check --quiet
	@echo 'check: format';    $(BIN)/ruff format --check --quiet
	@echo 'check: lint';      $(BIN)/ruff check --quiet
	@echo 'check: types';     $(BIN)/mypy --no-error-summary
	@echo 'check: imports';   $(BIN)/lint-imports --no-logo

fmt: setup ## Format the code and fix what the linter can fix
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

browser: ## Install what the browser tests need (Chromium; by apt, as root)
	@if command -v chromium >/dev/null; then echo "browser: $$(command -v chromium) is there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo 'browser: installing chromium by apt (about 100 MB to download)'; export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq; apt-get install -qq -y --no-install-recommends chromium fonts-liberation >/dev/null; \
	else echo 'browser: no chromium on PATH, and installing it takes apt and root: run `sudo make browser`,' \
		'or install Chromium as your system does, so that the command `chromium` is on PATH' >&2; exit 1; fi

ibsim: ## Install what the test of the InfiniBand fabric needs (a simulator; by apt, as root; not on a real fabric)
	@if command -v ibsim >/dev/null; then echo "ibsim: $$(command -v ibsim) is there"; \
	elif [ -d /sys/class/infiniband ] && [ -n "$$(ls /sys/class/infiniband)" ]; then \
		echo 'ibsim: this machine is on a real fabric, where installing opensm starts a subnet manager: not done' >&2; exit 1; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo 'ibsim: installing ibsim-utils, infiniband-diags and opensm by apt'; export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq; apt-get install -qq -y --no-install-recommends ibsim-utils infiniband-diags opensm >/dev/null; \
	else echo 'ibsim: no ibsim on PATH, and installing it takes apt and root: run `sudo make ibsim`' >&2; exit 1; fi

alertmanager: ## Install what the tests with a real Alertmanager need (by apt, as root; where systemd runs, it starts one)
	@if command -v prometheus-alertmanager >/dev/null; then echo "alertmanager: $$(command -v prometheus-alertmanager) is there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo 'alertmanager: installing prometheus-alertmanager (with amtool) by apt'; export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq; apt-get install -qq -y --no-install-recommends prometheus-alertmanager >/dev/null; \
	else echo 'alertmanager: none on PATH, and installing it takes apt and root: run `sudo make alertmanager`' >&2; exit 1; fi

node-sdk: ## Install what the test with OpenTelemetry's Node SDK needs (npm packages, beside the test)
	@if ! command -v npm >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo 'node-sdk: installing npm by apt'; export DEBIAN_FRONTEND=noninteractive; \
			apt-get update -qq; apt-get install -qq -y --no-install-recommends npm >/dev/null; \
		else echo 'node-sdk: no npm on PATH, and installing it takes apt and root: run `sudo make node-sdk`' >&2; exit 1; fi; fi
	@npm ci --silent --ignore-scripts --no-audit --no-fund --prefix tests/scenarios/node_sdk
	@echo 'node-sdk: installed in tests/scenarios/node_sdk/node_modules'

bench-%: setup ## Run benchmarks/NAME.py: a table, then one line of JSON (bench-ingest, bench-metrics, bench-against, bench-scrape, bench-soak, bench-explain, bench-week, bench-causes, bench-slo, bench-routing, bench-pages, bench-cost, bench-cost_month, bench-cost_forecast, bench-cost_advice, bench-weekly_report, bench-simulator_honesty)
	@$(BIN)/python -m benchmarks.$* $(BENCH_ARGS)

.venv/.synced: pyproject.toml uv.lock | .venv/bin/uv
	@echo 'setup: installing what uv.lock names (the first time: about 500 MB to download, a third of it the embedded ClickHouse)'
	@$(BIN)/uv sync --frozen 2>&1 | sed -u '/^ [-+~] /d'  # the names are in uv.lock; sizes and errors stay
	@touch $@

.venv/bin/uv:
	@test -n "$(PYTHON)" || { echo 'setup: no Python 3.11 to 3.14 found: install python3.11, or say where one is: make PYTHON=/path/to/python' >&2; exit 1; }
	@echo "setup: making .venv with $(PYTHON) ($$($(PYTHON) -c 'import platform; print(platform.python_version())'))"
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv .venv; \
	else $(PYTHON) -m venv --without-pip .venv; $(BIN)/python -c "$$FETCH_PIP" $(PIP_URL) $(PIP_SHA256) $(PIP_WHEEL); fi
	@echo 'setup: downloading uv $(UV_VERSION) (about 25 MB)'
	@PYTHONPATH=$(PIP_WHEEL) $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Debian keeps ensurepip out of python3.11 (it is in python3.11-venv), so there pip comes as its own wheel, only to install uv.
PIP_URL := https://files.pythonhosted.org/packages/07/25/ee8c38ae72d66b844ce8eb9711ba905dba21ca1a8a0c960057c41cd23337/pip-26.3-py3-none-any.whl
PIP_WHEEL := .venv/$(notdir $(PIP_URL))
PIP_SHA256 := f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13
define FETCH_PIP
import hashlib, pathlib, sys, urllib.request
url, sha256, path = sys.argv[1:]
try:
    wheel = urllib.request.urlopen(url, timeout=60).read()
except OSError as error:
    sys.exit(f"setup: this Python has no ensurepip, and pip could not be fetched from {url} ({error}):"
             " install python3.11-venv (Debian: apt install python3.11-venv), then run make again")
if hashlib.sha256(wheel).hexdigest() != sha256:
    sys.exit(f"setup: {url} does not have the SHA-256 {sha256}: not used")
pathlib.Path(path).write_bytes(wheel)
endef
export FETCH_PIP
