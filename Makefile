# Segmenter. `make help` lists the targets; every one sets up what it needs, and a second run finds it done.
# Written for GNU make 3.81 (macOS) and later.

# The first interpreter that the lock has wheels for, unless PYTHON names one. (macOS' own python3 is older than that.)
SUITS := -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python $(SUITS) 2>/dev/null && echo $$python && exit; done; echo python3)
endif
DATASET ?=
PYTEST_ARGS ?=
MINUTES ?= 5
SEED ?= 1

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

# Each runs, whatever became of those before it: one look shows all that is wrong.
CHECKS := "$(BIN)/ruff format --check --output-format concise ." "$(BIN)/ruff check --output-format concise ." "$(BIN)/mypy" \
	"$(BIN)/python -m pytest -q tests/test_imports.py tests/test_repository.py $(wildcard tests/test_docs.py)" \
	"sh .ci/audit $(BIN)/pip-audit requirements.lock"

.DEFAULT_GOAL := help
.PHONY: help install demo test bench bench-peers clv spark faults chaos check format lock clean

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter (3.11 to 3.14); PYTEST_ARGS='-k ledger' is passed on to pytest."

install: $(STAMP) ## the environment alone, in .venv: for `segmenter` by hand

demo: $(STAMP) ## history in, purchases through Kafka, segments out, verified; DATASET=path takes another file than the sample
	@$(BIN)/segmenter demo $(if $(DATASET),--dataset "$(DATASET)")

test: $(STAMP) ## every test, on a real Kafka broker and a real Redis-compatible server
	$(BIN)/python -m $(if $(PYTEST_ARGS),pytest $(PYTEST_ARGS),tests.side_by_side)

clv: $(VENV)/.clv ## customers' value: installs the extra clv (335 MB, two minutes, once), then runs its tests
	$(BIN)/python -m pytest -m clv tests/reports/workbench $(PYTEST_ARGS)

spark: $(VENV)/.spark ## bootstrap by Spark: installs the extra spark (450 MB, once; Java 17 has to be there), then runs its tests
	$(BIN)/python -m pytest -m spark tests/consumer/history $(PYTEST_ARGS)

faults: $(STAMP) ## every fault of docs/reliability.md at length, under an hour; writes its table anew
	SEGMENTER_FAULT_RESULTS=write $(BIN)/python -m $(if $(PYTEST_ARGS),pytest tests/faults -m "long or not long" $(PYTEST_ARGS),tests.side_by_side --faults)
	$(BIN)/python -m tests.faults.table

bench: $(STAMP) ## throughput beside others, latency, memory, workers, bootstrap, in 20 minutes; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks.suite

bench-peers: $(STAMP) ## the other engines (Flink, Bytewax, Spark) beside ours, a million customers, 50 million rows; an hour; joins the page
	$(BIN)/python -m benchmarks.suite --peers

chaos: $(STAMP) ## random crashes and outages for MINUTES, reproducible by SEED; the result joins docs/reliability.md
	$(BIN)/python -m tests.faults.chaos --minutes $(MINUTES) --seed $(SEED)
	$(BIN)/python -m tests.faults.table

check: $(STAMP) ## formatting, lint, types, import directions, docs, known vulnerabilities
	@failed=; for step in $(CHECKS); do \
		echo "==> $$step"; sh -c "$$step" || failed="$$failed\n  $$step"; \
	done; \
	if [ -n "$$failed" ]; then printf "make check: failed:$$failed\n" >&2; exit 1; fi

format: $(STAMP) ## formats the code and mends what lint can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: $(STAMP) ## resolves pyproject.toml and requirements.in into the lock files; UPGRADE=1 takes newer releases
	@echo "Resolving the dependencies; this takes a few minutes."
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra dev --extra serve --extra dashboard --extra otel --output-file requirements.lock pyproject.toml requirements.in
	$(COMPILE) --constraint requirements.lock --extra serve --extra dashboard --extra otel --output-file deploy/requirements.lock pyproject.toml requirements.in
	$(COMPILE) --constraint requirements.lock --extra clv --output-file requirements-clv.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --extra spark --output-file requirements-spark.lock pyproject.toml

clean: ## removes the environment, the caches, and what runs left behind
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .segmenter demo.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted installation is begun again. An environment whose interpreter still runs is
# brought up to date in place; one that was moved, or whose Python was upgraded away, is made anew.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) $(SUITS) 2>/dev/null || { \
		echo "make: $(PYTHON) is not Python 3.11 to 3.14. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) lacks its venv module. On Debian, Ubuntu and WSL: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) from requirements.lock: one to three minutes, once."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable . \
		>$(VENV)/install.log 2>&1 || { cat $(VENV)/install.log >&2; exit 1; }
	@touch $@
	@echo "$(VENV) is ready."

$(VENV)/.clv: $(STAMP) requirements-clv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-clv.lock
	@touch $@

$(VENV)/.spark: $(STAMP) requirements-spark.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-spark.lock
	@touch $@
