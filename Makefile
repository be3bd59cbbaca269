# Everything a newcomer needs: `make demo` and `make test`. All other tasks are `fibrokd` commands.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
STAMP := $(VENV)/.installed
EXTRAS := train app dicom dev
# Without compiled files every process of the tests compiles torch anew: some 40 s of each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo app test test-all check docs lock format
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fibrokd needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=…" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	touch $@

setup: $(STAMP) ## Make the environment in .venv from requirements.lock

demo: $(STAMP) ## Run the main job on the embedded phantom cohort (under 10 minutes on 2 cores)
	$(BIN)/fibrokd run configs/demo.yaml $(DEMO)

app: $(STAMP) ## Open the bedside app on the demo bundle
	@test -f $(DEMO)/bundle/bundle.json || { echo "No bundle in $(DEMO)/bundle yet: run 'make demo' first." >&2; exit 2; }
	$(BIN)/fibrokd app $(DEMO)/bundle

test: $(STAMP) ## Run the test suite (under 6 minutes on 2 cores)
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not browser and not real_data"

# Shapes and types are checked at every call there and not under `test`, where they take a quarter of the time.
test-all: $(STAMP) ## Run everything, with shapes checked: also killed runs, several processes, browser and real data
	$(BIN)/python -m pytest -q -n 2 --jaxtyping-packages=fibrokd,beartype.beartype

docs: $(STAMP) ## Write the pages that are made from the catalogue, the register of claims and committed results
	$(BIN)/fibrokd methods --markdown --studies docs/study --register configs/study/claims.yaml > docs/methods.md.new
	mv docs/methods.md.new docs/methods.md
	$(BIN)/fibrokd claims configs/study/claims.yaml > docs/claims.md.new
	mv docs/claims.md.new docs/claims.md

check: $(STAMP) ## Lint, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Resolve requirements.lock anew
	test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links --python-version 3.11 $(addprefix --extra ,$(EXTRAS)) pyproject.toml -o requirements.lock
