# Two commands matter: `make demo` and `make test`. Each builds .venv itself on a machine with nothing but Python >= 3.11.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# One pip run with the pinned files: pip takes the CPU build of torch where it lies on disk.
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install demo test test-fast check audit serve clean bench solver-report sensitivity-report kill-test load-test

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet torch -c constraints.txt
	$(PIP) install --quiet --editable '.[dev]' -c constraints.txt
	touch $@

install: $(STAMP) ## build .venv with the pinned dependencies

demo: $(STAMP) ## measure, plan and evaluate a real language model (SmolLM2-135M), embedded SQLite, no server
	$(BIN)/bitplan demo

test: $(STAMP) ## linters, types, import contracts, and the whole test suite (real model included)
	$(MAKE) --no-print-directory check
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m 'not benchmark' -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(STAMP) ## the suite without the real model
	$(BIN)/python -m pytest -m 'not real and not benchmark'

check: $(STAMP) ## ruff, mypy --strict, import contracts, dependencies (pins and licences; no network)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PIP) check
	$(BIN)/python -m tests.dependency_audit

audit: $(STAMP) ## known vulnerabilities of the pinned packages; asks a database on the network and fails where it is not reached
	test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install --quiet 'pip-audit>=2.10'; }
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

bench: $(STAMP) ## the recorded ratios of tests/benchmarks
	$(BIN)/python -m pytest -m benchmark -s tests/benchmarks

solver-report: $(STAMP) ## every solver beside HiGHS and CP-SAT; the last line begins ok: or short:
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.solver_report

sensitivity-report: $(STAMP) ## curves and plans on the real model (MODEL=, TEXT=, REPORT_DIR=); ends with ok: or short:
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tests.benchmarks.sensitivity_report $(SECTIONS)

kill-test: $(STAMP) ## kill -9, SIGSTOP, crashed databases, full disks, cut cables while a job runs (SEED=); ends with ok: or short:
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tests.kill $(if $(SEED),--seed $(SEED))

load-test: $(STAMP) ## plans a second under load, SQLite and PostgreSQL (needs wrk; ARGS='--seconds 60 --large'); ok: or short:
	$(BIN)/python -m tests.load $(ARGS)

serve: $(STAMP) ## the service with one worker on http://127.0.0.1:8000
	$(BIN)/bitplan serve

clean: ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
