# jaxrec: `make demo` and `make test` need Python 3.11 or newer, pip and make; everything else they install into $(VENV).
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-sms test test-faults test-processes slow lint types bench notebooks clean

VENV    ?= .venv
PYTHON  ?=
WORKERS ?= 2
TESTS   ?= tests
FAULTS  ?= 50
IMAGES  ?= 20
BENCH   ?= can_train can_infer tables_train_100k tables_train_1m loader_ctr

# Runs are on the CPU unless the caller says otherwise: JAX_PLATFORMS=cuda make test.
export JAX_PLATFORMS ?= cpu
# Where the real data sets lie; tests that want one skip by name where it is absent.
JAXREC_DATA ?= $(abspath $(wildcard ../shared/data))
ifneq ($(strip $(JAXREC_DATA)),)
export JAXREC_DATA
else
unexport JAXREC_DATA
endif

PY        := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
CHECKED   := $(wildcard jaxrec experiments configs)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED)  ## the environment in .venv (PYTHON=python3.12 chooses the interpreter)

# uv installs the locked versions in seconds; where it cannot, pip resolves them anew, and says so.
$(INSTALLED): pyproject.toml uv.lock
	@set -e; python=''; \
	for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python); do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'jaxrec needs Python 3.11 or newer and found none under: $(or $(PYTHON),python3.11 ... python3.14, python3, python).' >&2; \
	  echo 'Install one, or name it: make setup PYTHON=/path/to/python3.11' >&2; exit 1; \
	fi; \
	if [ ! -x $(PY) ]; then \
	  echo "setup: $$($$python --version) into $(VENV)"; \
	  $$python -m venv $(VENV) || $$python -m venv --clear --without-pip $(VENV); \
	fi; \
	pip() { if $(PY) -m pip --version >/dev/null 2>&1; then $(PY) -m pip "$$@"; else $$python -m pip --python $(PY) "$$@"; fi; }; \
	if pip install --quiet --disable-pip-version-check 'uv>=0.9' && \
	   UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 \
	   $(VENV)/bin/uv sync --quiet --locked --inexact --extra test --python $(PY); then \
	  echo 'setup: installed the versions of uv.lock'; \
	else \
	  echo 'setup: uv could not install uv.lock (reason above); pip resolves the versions anew'; \
	  pip install --quiet --disable-pip-version-check -e '.[test]'; \
	fi
	@touch $@

demo: setup  ## train CAN and its plain DNN base on simulated clicks, compare them
	$(VENV)/bin/jaxrec demo

demo-sms: setup  ## train SMS on rendered scenes, draw what it finds in held-out ones (IMAGES=20)
	$(VENV)/bin/jaxrec demo --model=sms --images=$(IMAGES)

test: setup  ## the tests, but for slow ones, kills and notebooks (WORKERS=4, TESTS=tests/data)
	$(PY) -m pytest -m 'not notebook and not slow and not faults and not together' -n $(WORKERS) --dist loadfile $(wildcard $(TESTS))

test-faults: setup  ## kill training of CAN and of OneRec so often and compare bits (FAULTS=5)
	KILLS=$(FAULTS) $(PY) -m pytest -m faults -rP -n $(WORKERS) --dist load tests/faults

test-processes: setup  ## several processes: the numbers of one, a lost peer, stopping (minutes)
	$(PY) -m pytest -m together tests/processes

slow: setup  ## tests that show on further models what a quicker one shows on some
	$(PY) -m pytest -m slow -n $(WORKERS) --dist worksteal $(wildcard $(TESTS))

notebooks: setup  ## every colabs/*.ipynb in a fresh kernel
	$(PY) -m pytest -m notebook -n $(WORKERS) --dist load tests/test_notebooks.py

lint: setup types  ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: setup
	$(VENV)/bin/mypy $(CHECKED)

bench: setup  ## one JSON line a benchmark (BENCH='can_train loader_ctr')
	@set -e; for name in $(BENCH); do $(PY) -m experiments.benchmark --name=$$name; done

clean:  ## remove what runs and tools wrote, keep .venv
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
