# Two commands matter: `make demo` and `make test`. Each builds .venv itself on a machine with nothing but Python >= 3.11.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# One pip run with the pinned files: pip takes the CPU build of torch where it lies on disk.
PIP    := $(BIN)/python -m pip --disable-pip-version-check

# The libraries of the engines that load our exports: an environment of their own that sees .venv as well.
ENGINES        := .venv-exports
ENGINES_TESTED := torchao mlx mlx-cpu mlx-lm gptqmodel pypcre tokenicer logbar device-smi defuser threadpoolctl
ENGINES_PIP    := $(ENGINES)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps
PURELIB        := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

.PHONY: help install demo test test-fast check audit serve clean bench solver-report sensitivity-report kill-test load-test \
	export-test screenshots web-test

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet torch -c constraints.txt
	$(PIP) install --quiet --editable '.[dev]' -c constraints.txt
	touch $@

$(ENGINES)/.tested: $(STAMP) constraints-exports.txt
	test -x $(ENGINES)/bin/python || $(BIN)/python -m venv $(ENGINES)
	echo "import site; site.addsitedir('$$($(BIN)/python $(PURELIB))')" > $$($(ENGINES)/bin/python $(PURELIB))/base.pth
	$(ENGINES_PIP) -c constraints-exports.txt $(ENGINES_TESTED)
	touch $@

$(ENGINES)/.all: $(ENGINES)/.tested
	$(ENGINES_PIP) -r constraints-exports.txt
	touch $@

install: $(STAMP) ## build .venv with the pinned dependencies

demo: $(STAMP) ## measure, plan and evaluate a real language model (SmolLM2-135M), embedded SQLite, no server
	$(BIN)/bitplan demo --no-page

test: $(STAMP) $(ENGINES)/.tested ## linters, types, import contracts, and the whole test suite (real model included)
	$(MAKE) --no-print-directory check
	BITPLAN_EXPORT_ENGINES=required OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m 'not benchmark' -n 2 --dist loadfile --no-loadscope-reorder

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

export-test: $(STAMP) $(ENGINES)/.all ## every export loaded by its own library (TARGETS='mlx torchao'); ends with ok: or short:
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tests.exports $(TARGETS)

web-test: $(STAMP) ## the page in headless Chromium, and how fast its slider is; the last line begins ok: or short:
	$(BIN)/python -m tests.web

screenshots: $(STAMP) ## pictures of every view in build/screenshots, three of them in docs/screenshots; ends with ok: or short:
	$(BIN)/python -m tests.web.screenshots

serve: $(STAMP) ## the service with one worker on http://127.0.0.1:8000
	$(BIN)/bitplan serve

clean: ## remove .venv, .venv-exports and caches
	rm -rf $(VENV) $(ENGINES) .mypy_cache .ruff_cache .pytest_cache .hypothesis
