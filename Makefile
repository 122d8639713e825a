# Two commands: `make demo` and `make test`. Each works on a machine with python3, venv and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check format docs clean

help:
	@echo "make demo    export StarNet, rewrite it, check it and evaluate it on rendered words"
	@echo "make test    format, lint, types and tests"
	@echo "make check   format, lint and types only"
	@echo "make format  format and sort imports in place"
	@echo "make docs    regenerate the table of passes"

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/onnx-passes flow run starnet

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .

test: check
	$(BIN)/pytest -q -n 2

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)
	$(BIN)/python -m onnx_passes.passes

clean:
	rm -rf build dist work .pytest_cache .mypy_cache .ruff_cache .hypothesis
