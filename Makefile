# The whole reproduction behind a few words. Nothing has to be installed beforehand but Python 3.11
# or later: the first target makes a virtual environment in .venv from requirements.lock.
#
#   make table3                 a table of the paper, or `all`; PRESET=smoke|laptop|gpu|paper
#   make plan                   what would run, and what it costs, before anything starts
#   make ui                     browse every run in MLflow
#   make test                   style, types, workflow and all tests
#   make bench                  time and memory of the hot paths
#   make doctor                 is this machine able to run the preset?

PRESET ?= laptop
CORES  ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
PYTHON ?= python3
VENV   ?= .venv

STAMP  := $(VENV)/installed
NOTEBOOKS := $(wildcard analysis/*.ipynb)
RUN    := PATH="$(abspath $(VENV))/bin:$$PATH"

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.PHONY: help test style types pytest ui plan bench doctor lock

help:
	@sed -n 's/^#   //p' Makefile

plan doctor: $(STAMP)
	@$(RUN) lemon $@ --preset $(PRESET)

ui: $(STAMP)
	@$(RUN) lemon ui

test: style types pytest

style: $(STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check workflow
	$(if $(NOTEBOOKS),$(RUN) nbstripout --verify $(NOTEBOOKS))

types: $(STAMP)
	$(RUN) mypy

pytest: $(STAMP)
	$(RUN) pytest

# The packages that are timed beside ours are no part of the environment; without a network the
# benchmarks say that they are absent, and run the rest.
bench: $(STAMP)
	@$(RUN) snakemake data/laptop/source/manifest.json data/laptop/tasks/manifest.json --cores $(CORES) --quiet all
	-@$(VENV)/bin/python -m pip install --quiet --no-deps $$($(VENV)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])')
	@set -e; for benchmark in benchmarks/[a-z]*.py; do echo "== $$benchmark"; $(RUN) python $$benchmark; done

# Every other word is a target of the workflow: table3, all, fetch, ...
%: $(STAMP)
	@$(RUN) snakemake $@ --cores $(CORES) --config preset=$(PRESET) target=$@

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, $(PYTHON) is %d.%d; choose another by PYTHON=" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# Resolve pyproject.toml anew and pin what comes out.
lock:
	$(PYTHON) -m venv --clear $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet 'setuptools>=77,<81' '.[dev]'
	{ sed -n '/^#/p' requirements.lock; \
	  $(VENV)-lock/bin/python -m pip freeze --all \
	  | grep -vE '^(pip|wheel|lemon-reproduction|nvidia-[^=]*|triton)( |=)' | sed 's/+cpu$$//'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf $(VENV)-lock

# Files that make must not take for targets of the workflow.
Makefile requirements.lock pyproject.toml: ;
