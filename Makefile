# `make` alone lists what there is. ARGS goes to the command: make train ARGS="model=resnet18 seed=1"
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup train test bench lint format tensorboard clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## create .venv once and install medclf with its tested versions

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[dev]"
	@touch $@

train: setup ## train, test and log a classifier; embedded phantom images unless ARGS says otherwise
	$(BIN)/python -m medclf.train $(ARGS)

test: setup lint ## check lint, format, layers and types, then run the tests
	$(BIN)/python -m pytest -n auto $(ARGS)

bench: setup ## measure runs beside a plain loop, fastai and timm (ARGS=--full: an hour and more, with all other benchmarks)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python experiments/bench_speed.py $(ARGS)
	$(if $(filter --full,$(ARGS)),$(BIN)/python experiments/bench_data.py 5000)
	$(if $(filter --full,$(ARGS)),$(BIN)/python experiments/bench_evaluation.py)

lint: setup ## check lint, format, layers and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## sort imports and format the code
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

tensorboard: setup ## look at the runs in a browser
	$(BIN)/tensorboard --logdir runs $(ARGS)

clean: ## remove .venv and caches; runs/ and data/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
