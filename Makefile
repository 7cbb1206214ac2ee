# The words of the daily loop; CONTRIBUTING.md says when.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup quick test check docs release

setup: ## an environment to work in, and the hooks of a commit
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev,docs]'
	$(BIN)/pre-commit install

quick: ## the tests but the slow ones, for every change
	$(BIN)/python -m pytest -q -m "not slow"

test: ## all tests, before a push
	$(BIN)/python -m pytest -q

check: ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format .
	$(BIN)/mypy

docs: ## the site, in site/
	$(BIN)/python docs/make/build.py

release: ## everything a release must pass, beside .ci/run
	.ci/release
