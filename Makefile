# The whole reproduction behind a few words. Nothing has to be installed beforehand but Python 3.11
# or later: the first target makes a virtual environment in .venv from requirements.lock.
#
#   make table3                 a table of the paper; PRESET=smoke|laptop|gpu|paper|my.yaml
#   make table3 SEEDS=3         with three seeds of each learned row, in place of the preset's number
#   make all                    every table and figure of the paper; `everything`: ours as well
#   make table3 FROM=bundle     render it from the finished runs in results/, without learning; also
#                               FROM=operators (fuse and score anew), FROM=rest, FROM=path
#   make check-results          two rows of Table 3 from their operators, against what is committed
#   make bundle                 pack the finished runs into results/<preset>/runs.bundle
#   make plan TABLE=table3      what is left to run, and what it costs; without TABLE, of them all
#   make tuning                 the trials behind the learning rates of the preset (hours)
#   make claims                 a verdict on every published claim, from the results that are there
#   make report                 the same with every table and figure that is there, on one page
#   make ui                     browse every run in MLflow; at first those of results/<preset>/runs.bundle
#   make follow                 in another terminal: the curves of what is learning, live in MLflow
#   make check                  style, types and the fast tests, while you work
#   make test                   style, types and all tests
#   make bench                  time and memory of the hot paths
#   make gpu-check              a GPU against the CPU, its speed and memory, into docs/gpu-check.md
#   make doctor                 is this machine able to run the preset?

PRESET ?= laptop
SEEDS  ?=
TABLE  ?=
FROM   ?=
PYTHON ?= python3
VENV   ?= .venv

ifeq ($(origin CORES),undefined)
# Where OMP_NUM_THREADS is set, nproc prints it in place of the cores.
CORES  := $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
endif

# What a user gives is one word and no more: `value` keeps make from expanding it, `quote` the shell.
override PRESET := $(value PRESET)
override SEEDS  := $(value SEEDS)
override TABLE  := $(value TABLE)
override FROM   := $(value FROM)
override CORES  := $(value CORES)
override PYTHON := $(value PYTHON)
override VENV   := $(value VENV)
define newline


endef
quote = '$(subst ','\'',$(subst $(newline), ,$1))'

workflow = $(RUN) snakemake $(call quote,$1) --cores $(call quote,$(CORES)) --config $(call quote,preset=$(PRESET)) $(call quote,target=$1) $(if $(SEEDS),$(call quote,seeds=$(SEEDS))) $(if $(FROM),$(call quote,from=$(FROM)))

seeds = $(if $(SEEDS),--seeds $(call quote,$(SEEDS)))

BIN := $(if $(patsubst /%,,$(firstword $(VENV))),$(CURDIR)/)$(VENV)/bin
OLD_PYTHON := import sys; sys.exit("Python 3.11 or later is needed, %s is %d.%d; choose another by PYTHON=" % (sys.executable, *sys.version_info[:2]) if sys.version_info < (3, 11) else 0)
RUN := PATH=$(call quote,$(BIN)):"$$PATH"

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.PHONY: environment help check test style types pytest ui follow claims report check-results bundle plan bench gpu-check doctor lock

help:
	@sed -n 's/^#   //p' Makefile

plan: environment
	@$(RUN) lemon plan --preset $(call quote,$(PRESET)) $(seeds) $(if $(TABLE),--table $(call quote,$(TABLE)))

doctor: environment
	@$(RUN) lemon doctor --preset $(call quote,$(PRESET)) $(seeds)

# Where nothing is recorded yet, what the committed runs give is rendered and recorded first.
ui: environment
	@$(NAMED) [ -n "$$MLFLOW_TRACKING_URI" ] || [ -e mlflow.db ] || [ ! -e "results/$$name/runs.bundle" ] \
	  || $(MAKE) --no-print-directory report FROM=bundle
	@$(RUN) lemon ui

follow: environment
	@$(NAMED) $(RUN) lemon track --follow --preset $(call quote,$(PRESET)) $(seeds) --runs "runs/$$name"

# A preset that is a file is named by its stem.
NAMED = name=$$(basename -- $(call quote,$(PRESET))); name=$${name%.yaml}; name=$${name%.yml};

# Takes what is given and no more: `rest` would make everything that the bundle lacks.
define given
@[ $(call quote,$(FROM)) != rest ] || { \
  echo "make $@ takes FROM=bundle, FROM=operators or a path; FROM=rest makes a table, or all" >&2; \
  exit 2; \
}
@$(if $(FROM),$(call workflow,$@))
endef

# Of what is there; with FROM what the finished runs give is rendered first.
claims: environment
	$(given)
	@$(NAMED) \
	$(RUN) lemon claims --preset $(call quote,$(PRESET)) --results "results/$$name" --out "results/$$name/claims.md"

# What is there, on one page; with FROM everything that the finished runs give is rendered first.
report: environment
	$(given)
	@$(NAMED) \
	$(RUN) lemon report --preset $(call quote,$(PRESET)) --results "results/$$name" --out "results/$$name/report.html"

# Fuses and scores in checks/, so that no run in runs/ is touched.
check-results: override FROM := operators
check-results: environment
	@$(call workflow,check_results) folder=checks
	@$(NAMED) $(RUN) lemon compare --preset $(call quote,$(PRESET)) --bundle "results/$$name/runs.bundle" --folder checks

bundle: environment
	@$(NAMED) $(RUN) lemon bundle --preset $(call quote,$(PRESET)) $(seeds) --out "results/$$name/runs.bundle"

test: style types pytest

check: style types
	$(RUN) pytest $(TESTS_APART) -m 'not slow and not workflow' tests/contract tests/unit

style: environment
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) nbstripout --verify analysis/*.ipynb

types: environment
	$(RUN) mypy

# A file's tests stay in one process, and share what is slow to build; the slowest files come first.
TESTS_APART = --numprocesses $(call quote,$(CORES)) --dist loadfile --no-loadscope-reorder

# Every run draws the same examples; `pytest --hypothesis-profile=fresh` draws others.
pytest: environment
	$(RUN) pytest $(TESTS_APART) --durations 30

# The packages that are timed beside ours are no part of the environment; without a network the
# benchmarks say that they are absent, and run the rest.
bench: environment
	@$(RUN) snakemake data/laptop/source/manifest.json data/laptop/tasks/manifest.json --cores $(call quote,$(CORES)) --quiet all
	-@$(RUN) python -m pip install --quiet --no-deps $$($(RUN) python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])')
	@set -e; for benchmark in $(filter-out %/gpu_check.py,$(sort $(wildcard benchmarks/[a-z]*.py))); do echo "== $$benchmark"; $(RUN) python "$$benchmark"; done

# Needs no preset and no download; ends with 1 if what the GPU computes differs, 2 without a GPU.
gpu-check: environment
	@$(RUN) python benchmarks/gpu_check.py

# Every other word is a target of the workflow: table3, all, fetch, ...
%: environment
	@$(call workflow,$@)

# Its stamp is no target: a folder's name may hold what make reads as more than a name.
environment:
	@stamp=$(call quote,$(VENV)/installed); \
	if [ ! -e "$$stamp" ] || [ requirements.lock -nt "$$stamp" ] || [ pyproject.toml -nt "$$stamp" ]; then \
	  set -ex; \
	  $(call quote,$(PYTHON)) -c $(call quote,$(OLD_PYTHON)); \
	  $(call quote,$(PYTHON)) -m venv $(call quote,$(VENV)); \
	  $(RUN) python -m pip install --quiet -r requirements.lock; \
	  $(RUN) python -m pip install --quiet --no-deps --no-build-isolation -e .; \
	  touch "$$stamp"; \
	fi

.venv/installed: environment ;

# Resolve pyproject.toml anew and pin what comes out.
lock:
	$(call quote,$(PYTHON)) -m venv --clear $(call quote,$(VENV)-lock)
	$(call quote,$(VENV)-lock)/bin/python -m pip install --quiet 'setuptools>=77,<81' '.[dev]'
	{ sed -n '/^#/p' requirements.lock; \
	  $(call quote,$(VENV)-lock)/bin/python -m pip freeze --all \
	  | grep -vE '^(pip|wheel|lemon-reproduction|nvidia-[^=]*|triton)( |=)' | sed 's/+cpu$$//'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf $(call quote,$(VENV)-lock)

# Files that make must not take for targets of the workflow.
Makefile requirements.lock pyproject.toml: ;
