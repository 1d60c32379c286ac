# make demo   trains, scores and draws a word aligner on real text; all it needs is Python 3.11 and pip
# make test   lints, type-checks and runs the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test clean

demo: $(VENV)/installed
	$(BIN)/python data_prep/bible.py --out data/bible
	$(BIN)/python recipes/alignment/train.py recipes/alignment/bible.toml --out out/bible
	$(BIN)/python recipes/alignment/extract.py out/bible
	$(BIN)/python recipes/alignment/evaluate.py out/bible

test: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "latentnlp needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "make: $(PYTHON) could not make $(VENV): is its venv module installed?"; exit 1; }

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(call install,.)
	@touch $@

$(VENV)/installed-test: $(VENV)/installed pyproject.toml
	$(call install,.[test])
	@touch $@

# Installs the package as it stands; says what to do where there is no network.
define install
$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '$(1)' || \
  { echo "make: pip could not install $(1): is there a network (or a local index)?" \
    "Nothing was left half-done: run the same command again."; exit 1; }
endef

clean:
	rm -rf $(VENV) build out *.egg-info
